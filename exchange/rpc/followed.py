"""Jobs whose answers the OpenAI API of a gateway reads: they end with their readers.

A gateway cancels the job of a client that has gone. Where the gateway itself has died, nobody else
would: the job would run unread to its budget. So a job that a gateway has submitted or follows ends
here, once nobody has followed it for a while. (An engine that starts again does not know of them.)
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

import structlog

from exchange.core.commands import CancelJob
from exchange.engine import EngineBusy, EngineStopped, Outcome

if TYPE_CHECKING:
    from exchange.rpc.services import Services

ABANDONED_S: Final = 15.0
"""Such a job goes on for so long without a reader: longer than a gateway lets one wait for the
retry of its client (`LINGER_S`), so that a gateway which lives decides by itself."""

_log = structlog.get_logger(__name__)


class FollowedJobs:
    """Who follows which job. All methods belong to the engine's loop."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._readers: Counter[int] = Counter()
        self._left: dict[int, asyncio.TimerHandle] = {}

    def __len__(self) -> int:
        """Jobs that are followed, were a moment ago, or are about to be."""
        return len(self._readers) + len(self._left)

    def expect(self, job_id: int, *, again: bool) -> None:
        """A job was submitted by a gateway, which is about to follow it.

        Args:
            job_id: Of the job.
            again: It was there before; who submitted it may have been somebody else, and does not
                follow it.
        """
        if job_id in self._left or not (again or job_id in self._readers):
            self._stop_waiting(job_id)
            self._expect_another(job_id)

    @contextlib.contextmanager
    def follow(self, job_id: int) -> Iterator[None]:
        """Inside, the job has a reader."""
        self._stop_waiting(job_id)
        self._readers[job_id] += 1
        try:
            yield
        finally:
            self._readers[job_id] -= 1
            if not self._readers[job_id]:
                del self._readers[job_id]
                self._expect_another(job_id)

    def check(self) -> None:
        """Assert that nobody waits for the reader of a job that has one."""
        assert min(self._readers.values(), default=1) > 0
        assert not self._readers.keys() & self._left.keys()

    def _stop_waiting(self, job_id: int) -> None:
        if (waiting := self._left.pop(job_id, None)) is not None:
            waiting.cancel()

    def _expect_another(self, job_id: int) -> None:
        job = self._services.core.jobs.get(job_id)
        # A drain ends every call; jobs go on in the exchange that starts next.
        if job is not None and job.is_open and not self._services.drain.active:
            loop = asyncio.get_running_loop()
            self._left[job_id] = loop.call_later(ABANDONED_S, self._give_up, job_id)

    def _give_up(self, job_id: int) -> None:
        del self._left[job_id]
        job = self._services.core.jobs.get(job_id)
        if job is None or not job.is_open or job.cancelling or self._services.drain.active:
            return
        _log.info("a job that nobody reads any more is cancelled", job_id=job_id)
        try:
            self._services.engine.submit(CancelJob(job.account_id, job_id)).add_done_callback(_seen)
        except EngineBusy:
            self._expect_another(job_id)
        except EngineStopped:
            _log.info("a job that nobody reads goes on: the engine stops", job_id=job_id)


def _seen(answer: asyncio.Future[Outcome]) -> None:
    """It may have ended meanwhile, or the engine: nobody waits for the answer."""
    if not answer.cancelled():
        answer.exception()
