"""Telling each webhook what it was not told yet, in its order, again and again until it is taken.

Nothing waits in memory but a page for each endpoint that is being told now. A page is told at once,
event by event at the same time; the place moves on once all of it was taken or given up.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final, NamedTuple

import structlog

from exchange.readmodel import queries
from exchange.readmodel.database import Database
from exchange.readmodel.progress import read_progress
from exchange.webhooks import events
from exchange.webhooks.events import Event
from exchange.webhooks.sender import Answer, Sender
from exchange.webhooks.store import Store, Webhook

PAGE_MAX: Final = 8
"""Events that one endpoint is told at the same time."""
TELLING_MAX: Final = 64
"""Endpoints that are told at the same time; others wait for their turn."""
ATTEMPTS_MAX: Final = 36
"""Attempts in a row that may fail, over about a day; then what was tried is given up."""
WAIT_MIN_S: Final = 1.0
WAIT_MAX_S: Final = 3_600.0
"""Wait after a failed attempt: doubled each time, up to this; less a random part of it."""

_log = structlog.get_logger(__name__)


class Pending(NamedTuple):
    """Something to tell, and what to note once it is told."""

    event: Event
    told: Callable[[], object]


class Page(NamedTuple):
    """What an endpoint is told next.

    Attributes:
        done: Notes that all of it is.
    """

    pending: list[Pending]
    done: Callable[[], object]


class Deliveries:
    """Tells all webhooks; one event loop's.

    Args:
        store: Their places.
        database: The read model, to read.
        sender: Tells one endpoint one event.
    """

    def __init__(self, store: Store, database: Database, sender: Sender) -> None:
        self._store = store
        self._database = database
        self._sender = sender
        self._version: tuple[int, int] | None = None
        self._sequence = 0
        self._webhooks: dict[int, Webhook] = {}
        self._waiting: set[int] = set()
        self._telling: dict[int, asyncio.Task[None]] = {}
        self._taken: dict[int, set[str]] = {}
        self._not_before_s: dict[int, float] = {}
        self._asked: dict[int, int] = {}

    def __len__(self) -> int:
        """Endpoints that are being told now."""
        return len(self._telling)

    def look(self) -> None:
        """Begin to tell whoever has something to be told and is due. O(those who may have)."""
        self._look_for_news()
        now_s = time.monotonic()
        for webhook_id in sorted(self._waiting - self._telling.keys()):
            if len(self._telling) >= TELLING_MAX:
                return
            webhook = self._webhooks[webhook_id]
            if webhook.gone or self._due_s(webhook) > now_s:
                continue
            page = self._page(webhook)
            if page.pending:
                task = asyncio.create_task(self._tell(webhook, page))
                self._telling[webhook_id] = task
                task.add_done_callback(partial(self._told, webhook_id))
            else:
                self._waiting.discard(webhook_id)

    async def stop(self) -> None:
        """Let go of what is under way: it is told again after the next start."""
        tasks = tuple(self._telling.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _look_for_news(self) -> None:
        """Who may have something to be told that had nothing before."""
        version = self._store.version
        if version != self._version:
            # Added, moved on, asked for a test, or an alert went off.
            self._version = version
            self._webhooks = {found.webhook_id: found for found in self._store.webhooks()}
            self._waiting = set(self._webhooks)
            for webhook_id in self._not_before_s.keys() - self._webhooks.keys():
                self._forget(webhook_id)
        progress = read_progress(self._database)
        sequence = progress.sequence if progress is not None else 0
        if sequence != self._sequence:
            accounts = queries.accounts_with_endings(self._database, self._sequence)
            self._sequence = sequence
            self._waiting |= {
                webhook_id
                for webhook_id, webhook in self._webhooks.items()
                if webhook.account_id in accounts
            }

    def _due_s(self, webhook: Webhook) -> float:
        """When it may be told again, on the monotonic clock."""
        webhook_id = webhook.webhook_id
        if self._asked.get(webhook_id) != webhook.tests_asked:
            # Its owner says that it is worth a try.
            self._asked[webhook_id] = webhook.tests_asked
            if webhook.tests_asked > webhook.tests_told:
                return 0
        if webhook_id not in self._not_before_s:
            # A restart is no reason to call an endpoint that has failed for hours.
            self._not_before_s[webhook_id] = time.monotonic() + wait_s(webhook.failures)
        return self._not_before_s[webhook_id]

    def _page(self, webhook: Webhook) -> Page:
        """What comes next for it: a test, alerts, then the endings of jobs."""
        store, webhook_id = self._store, webhook.webhook_id
        if webhook.tests_asked > webhook.tests_told:
            done = partial(store.test_told, webhook_id, webhook.tests_asked)
            return Page([Pending(events.test(webhook, time.time_ns()), int)], done)
        alerts = store.untold(webhook_id, PAGE_MAX)
        if alerts:
            pending = [
                Pending(events.alert_triggered(alert), partial(store.alert_told, alert.alert_id))
                for alert in alerts
            ]
            return Page(pending, int)
        rows = queries.endings(
            self._database, webhook.account_id, webhook.sequence, webhook.job_id, PAGE_MAX
        )
        if not rows:
            return Page([], int)
        done = partial(store.move, webhook_id, rows[-1].sequence, rows[-1].job_id)
        return Page([Pending(events.job_ended(row), int) for row in rows], done)

    async def _tell(self, webhook: Webhook, page: Page) -> None:
        taken = self._taken.setdefault(webhook.webhook_id, set())
        waiting = [found for found in page.pending if found.event.event_id not in taken]
        answers = await asyncio.gather(
            *(self._sender.send(webhook, found.event) for found in waiting)
        )
        for found, answer in zip(waiting, answers, strict=True):
            if answer.taken:
                found.told()
                taken.add(found.event.event_id)
        self._note(webhook, page, waiting, answers)

    def _note(
        self, webhook: Webhook, page: Page, waiting: Sequence[Pending], answers: Sequence[Answer]
    ) -> None:
        """Keep how a page went, and when the next attempt is due."""
        webhook_id = webhook.webhook_id
        refused = [answer for answer in answers if not answer.taken]
        given_up = 0
        if refused and webhook.failures + 1 >= ATTEMPTS_MAX:
            given_up = len(refused)
            for found, answer in zip(waiting, answers, strict=True):
                if not answer.taken:
                    found.told()
            _log.warning("a webhook's events are given up", webhook_id=webhook_id, events=given_up)
        failures = webhook.failures + 1 if refused and not given_up else 0
        if not failures:
            page.done()
            self._taken.pop(webhook_id, None)
        self._store.note(
            webhook_id,
            time.time_ns(),
            (refused or answers)[0].status,
            failures=failures,
            told=len(answers) - len(refused),
            given_up=given_up,
            gone=any(answer.gone for answer in answers),
        )
        self._not_before_s[webhook_id] = time.monotonic() + wait_s(failures)

    def _told(self, webhook_id: int, task: asyncio.Task[None]) -> None:
        del self._telling[webhook_id]
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("a webhook could not be told", webhook_id=webhook_id, exc_info=error)
            self._not_before_s[webhook_id] = time.monotonic() + WAIT_MAX_S / 60

    def _forget(self, webhook_id: int) -> None:
        for known in (self._not_before_s, self._taken, self._asked):
            known.pop(webhook_id, None)


def wait_s(failures: int) -> float:
    """How long to wait after so many failures in a row: between half of the bound and all of it."""
    if not failures:
        return 0.0
    longest: float = min(WAIT_MAX_S, WAIT_MIN_S * 2 ** min(failures - 1, 20))
    return longest * random.uniform(0.5, 1)
