"""A clock that stands still until a test moves it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

START_NS: Final = 1_800_000_000_000_000_000
"""Some time in January 2027, nanoseconds since the epoch."""


class ManualClock:
    """Give it to a server or an engine in place of the machine's clock.

    Attributes:
        on_change: Called after each step; the in-process exchange wakes its engine by it.
    """

    def __init__(self, now_ns: int = START_NS) -> None:
        self._now_ns = now_ns
        self.on_change: Callable[[], None] = lambda: None

    def now_ns(self) -> int:
        """Nanoseconds since the epoch."""
        return self._now_ns

    def advance(self, by_ns: int) -> None:
        """Let time pass, or step back where negative."""
        self._now_ns += by_ns
        self.on_change()
