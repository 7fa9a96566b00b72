"""Whether the exchange is shutting down."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator


class Drain:
    """Whether the exchange is shutting down; streams wait for it to say goodbye."""

    def __init__(self) -> None:
        self._event = asyncio.Event()
        self._callbacks: dict[object, Callable[[], object]] = {}

    @property
    def active(self) -> bool:
        """Whether no new work is taken."""
        return self._event.is_set()

    def begin(self) -> None:
        """Take no new work from now on."""
        self._event.set()
        for callback in tuple(self._callbacks.values()):
            callback()

    @contextlib.contextmanager
    def calls(self, callback: Callable[[], object]) -> Iterator[None]:
        """Inside, `callback` runs once when the exchange begins to drain."""
        key = object()
        self._callbacks[key] = callback
        try:
            yield
        finally:
            del self._callbacks[key]

    async def wait(self) -> None:
        """Return once the exchange drains."""
        await self._event.wait()
