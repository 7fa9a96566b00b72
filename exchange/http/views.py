"""What the HTTP edge shows: an interface, as the exchange may be in another process."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import NamedTuple, Protocol

import msgspec
from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest

from exchange.engine import Group
from exchange.http.metrics import ExchangeCollector
from exchange.http.overview import overview
from exchange.http.sources import Sources


class Built(NamedTuple):
    """An overview as JSON: of which sequence, and how long it took to build, seconds."""

    sequence: int
    text: bytes
    took_s: float


class Views(Protocol):
    """Where the HTTP edge reads; it changes nothing."""

    @property
    def state(self) -> str:
        """One of "ok", "draining" and "stopped"."""
        ...

    async def overview(self, newer_than: int, wait_s: float) -> Built:
        """The overview, once something has happened after this sequence, or after so long."""
        ...

    async def exposition(self) -> bytes:
        """The exchange's metrics, in Prometheus' text format."""
        ...


class LocalViews:
    """The views of an exchange in this process.

    Args:
        sources: Where to read.
        alone: Whether the edge is in another process: then the metrics tell of this one, too.
    """

    def __init__(self, sources: Sources, alone: bool = False) -> None:
        self._sources = sources
        self._started_s = time.monotonic()
        self._encoder = msgspec.json.Encoder()
        self._changed = asyncio.Event()
        self._registry = CollectorRegistry()
        self._registry.register(ExchangeCollector(sources))
        if alone:
            ProcessCollector(namespace="flopex_engine", registry=self._registry)
        sources.engine.subscribe(self._on_group)

    @property
    def state(self) -> str:
        """See `Views`."""
        if not self._sources.engine.running:
            return "stopped"
        return "draining" if self._sources.draining() else "ok"

    async def overview(self, newer_than: int, wait_s: float) -> Built:
        """See `Views`."""
        core = self._sources.engine.core
        if core.sequence <= newer_than:
            self._changed.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    await self._changed.wait()
        began_s = time.perf_counter()
        uptime_s = int(time.monotonic() - self._started_s)
        text = self._encoder.encode(overview(self._sources, uptime_s))
        return Built(core.sequence, text, time.perf_counter() - began_s)

    async def exposition(self) -> bytes:
        """See `Views`. O(accounts + workers + levels)."""
        return generate_latest(self._registry)

    def _on_group(self, _: Group) -> None:
        self._changed.set()
