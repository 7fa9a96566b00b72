"""Whose turn it is: the exchange's, unless the read model has been behind for too long."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from exchange.processors import give_way

BEHIND_MAX_S: Final = 60.0
"""Longest time for which it stays behind and leaves the processors to others all the same."""


class Turns:
    """Does the work where nobody else wants a processor (SCHED_IDLE, sched(7)) while that will do.

    A thread without privileges can go there and not come back, so there are two: the caller's, and
    one that yields. Where the system has no such class, all work is the caller's.

    Args:
        yields: Not where the process has other work: a thread that waits for a processor may hold
            the interpreter's lock.
        clock: Seconds.
    """

    def __init__(self, yields: bool, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._behind_since: float | None = clock() - BEHIND_MAX_S  # a start is not put off
        self._yielding: ThreadPoolExecutor | None = None
        if yields and hasattr(os, "SCHED_IDLE"):
            self._yielding = ThreadPoolExecutor(1, "read-model-yields", give_way)

    @property
    def late(self) -> bool:
        """Whether it has been behind for so long that it yields no more."""
        since = self._behind_since
        return since is not None and self._clock() - since >= BEHIND_MAX_S

    def take(self, work: Callable[[], int]) -> int:
        """Do a piece of work in the thread whose turn it is; its result, or what it raises."""
        if self._yielding is None or self.late:
            return work()
        return self._yielding.submit(work).result()

    def saw(self, behind: bool) -> None:
        """Whether there is more to do at once."""
        if not behind:
            self._behind_since = None
        elif self._behind_since is None:
            self._behind_since = self._clock()

    def close(self) -> None:
        """End the thread."""
        if self._yielding is not None:
            self._yielding.shutdown()
