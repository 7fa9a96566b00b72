"""One overview for all who watch: built when something changed, encoded once, conflated.

A reader takes the newest text when it is ready for one. What it missed meanwhile is in it, so a
slow reader costs no memory and holds nobody up.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from typing import Final

import structlog

from exchange.http.views import Views

INTERVAL_S: Final = 0.1
"""Least time between two overviews: what happens meanwhile is conflated."""
HEARTBEAT_S: Final = 1.0
"""An overview goes out at least this often, so that silence means that something is broken."""
REST_PER_WORK: Final = 19
"""After an overview that took long to build, the feed rests so many times as long: it never takes
more than a twentieth of the process's time from the market."""

_log = structlog.get_logger(__name__)


class OverviewFeed:
    """Builds the overview while somebody watches.

    Args:
        views: Where to read.
    """

    def __init__(self, views: Views) -> None:
        self._views = views
        self._published = asyncio.Event()
        self._readers = 0
        self._pump: asyncio.Task[None] | None = None
        self.version = 0
        self._text = ""

    @property
    def readers(self) -> int:
        """How many watch."""
        return self._readers

    @contextlib.contextmanager
    def watch(self) -> Iterator[OverviewReader]:
        """Inside, the reader yields the newest overview again and again."""
        self._readers += 1
        if self._pump is None:
            self._pump = asyncio.create_task(self._run())
        try:
            yield OverviewReader(self)
        finally:
            self._readers -= 1
            if not self._readers:
                self._pump.cancel()
                self._pump = None

    async def newer_than(self, version: int) -> tuple[int, str]:
        """The newest overview and its version, once there is one after this version."""
        while self.version <= version:
            await self._published.wait()
        return self.version, self._text

    async def _run(self) -> None:
        sequence = -1
        while True:
            rest_s = INTERVAL_S
            try:
                built = await self._views.overview(sequence, HEARTBEAT_S)
                sequence = built.sequence
                rest_s = max(INTERVAL_S, built.took_s * REST_PER_WORK)
                self._publish(built.text.decode())
            except Exception:
                _log.exception("the overview could not be built")
            await asyncio.sleep(rest_s)

    def _publish(self, text: str) -> None:
        self._text = text
        self.version += 1
        published, self._published = self._published, asyncio.Event()
        published.set()


class OverviewReader:
    """One reader's place in the feed."""

    def __init__(self, feed: OverviewFeed) -> None:
        self._feed = feed
        # The last text may be old where nobody watched: wait for a fresh one.
        self._version = feed.version if feed.readers == 1 else 0

    async def next(self) -> str:
        """The newest overview that this reader has not had."""
        self._version, text = await self._feed.newer_than(self._version)
        return text
