"""Keeping a read model at the end of a journal, for as long as the exchange runs."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Final

import structlog

from exchange.readmodel.database import connect
from exchange.readmodel.feed import Feed
from exchange.readmodel.turns import Turns

IDLE_MIN_S: Final = 0.002
IDLE_MAX_S: Final = 0.02
"""How soon and how late a new command is looked for; the wait doubles while nothing comes."""
REST: Final = 4
REST_MAX_S: Final = 0.05
"""Where it keeps up it rests after each batch, so many times as long as that took: the next batch
is larger, costs less for each command, and the processor is the exchange's meanwhile."""
CATCH_UP_S: Final = 2.0
"""Longest time that it goes on for once it was told to stop."""
VERIFY_EVERY_S: Final = 1.0
"""How often it is made sure, while nothing comes, that nobody else has written."""

if TYPE_CHECKING:
    from exchange.readmodel.traces import JobTraces

_log = structlog.get_logger(__name__)


def follow(
    directory: Path,
    url: str,
    stop: Event,
    wanted: Callable[[], bool] = lambda: True,
    traces: JobTraces | None = None,
    snapshots: Path | None = None,
    yields: bool = False,
) -> None:
    """Feed a read model until told to stop, and then until it has caught up.

    Args:
        directory: The journal's folder; it holds a segment.
        url: The database.
        stop: Set to end it within `CATCH_UP_S`.
        wanted: It ends at once where this does not hold any more.
        traces: Sees what happens from when the read model has caught up on.
        snapshots: The snapshots' folder, for a quick start.
        yields: The process has nothing else to do, and leaves the processors to others (`Turns`).

    Raises:
        ReadModelError: as `Feed.open` and `Feed.step`.
        JournalError: the journal cannot be read.
    """
    database = connect(url)
    try:
        began = time.monotonic()
        feed = Feed.open(directory, database, snapshots)
        _log.info(
            "the read model is fed",
            sequence=feed.progress.sequence,
            replay_s=round(time.monotonic() - began, 3),
        )
        with closing(feed), closing(Turns(yields)) as turns:
            _follow(feed, turns, stop, wanted, traces)
    finally:
        database.close()


def _follow(
    feed: Feed, turns: Turns, stop: Event, wanted: Callable[[], bool], traces: JobTraces | None
) -> None:
    idle_s = IDLE_MIN_S
    stop_by = None
    verified_at = time.monotonic()
    while wanted():
        if stop_by is None and stop.is_set():
            stop_by = time.monotonic() + CATCH_UP_S
        began = time.monotonic()
        if feed.has_news() and (feed.step() if stop_by is not None else turns.take(feed.step)):
            idle_s = IDLE_MIN_S
            turns.saw(feed.behind)
            if stop_by is None or time.monotonic() < stop_by:
                if not feed.behind:
                    stop.wait(min(REST * (time.monotonic() - began), REST_MAX_S))
                continue
        if stop_by is not None:
            return
        turns.saw(behind=False)
        if traces is not None:
            feed.watch(traces)
            traces = None
        if time.monotonic() - verified_at > VERIFY_EVERY_S:
            feed.verify()
            verified_at = time.monotonic()
        stop.wait(idle_s)
        idle_s = min(2 * idle_s, IDLE_MAX_S)
