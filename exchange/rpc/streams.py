"""Bounded mailboxes between the event feed and a stream's writer."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Generic, NamedTuple, TypeVar

T = TypeVar("T")


class Queue(NamedTuple):
    """Something that can fill up: where there are many of a kind, the fullest counts."""

    depth: Callable[[], int]
    limit: int


class Mailbox(Generic[T]):
    """What one reader has not taken yet. Full is for good: the reader is cut off.

    The putting side never waits; the taking side is one task.

    Args:
        size_max: Items that may wait.
    """

    def __init__(self, size_max: int) -> None:
        self._size_max = size_max
        self._items: deque[T] = deque()
        self._news = asyncio.Event()
        self._idle = False
        self.overflowed = False

    def __len__(self) -> int:
        return len(self._items)

    @property
    def idle(self) -> bool:
        """Whether the reader waits: it has dealt with all that it took."""
        return self._idle

    def put(self, item: T) -> None:
        """Add an item, or overflow."""
        self.add(item)
        self._news.set()

    def add(self, item: T) -> None:
        """As `put`, but the reader sleeps on: to be followed by `wake`."""
        if len(self._items) >= self._size_max:
            self.overflowed = True
        else:
            self._items.append(item)

    def wake(self) -> None:
        """Let the reader look up."""
        self._news.set()

    def take(self, count: int) -> list[T]:
        """Up to `count` items, oldest first; does not wait."""
        items = self._items
        if count >= len(items):
            taken = list(items)
            items.clear()
            return taken
        return [items.popleft() for _ in range(count)]

    async def wait(self) -> None:
        """Return at once where something waits, else with the next `put` or `wake`."""
        if not self._items and not self.overflowed:
            self._idle = True
            try:
                await self._news.wait()
            finally:
                self._idle = False
        self._news.clear()
