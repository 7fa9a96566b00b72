"""Clocks for tests: one that stands still until it is moved, and one that waits for its process."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Final

START_NS: Final = 1_800_000_000_000_000_000
"""Some time in January 2027, nanoseconds since the epoch."""
STEP_MAX_NS: Final = 100_000_000
"""More than this never passes between two looks at a `PatientClock`, nanoseconds."""
TICK_S: Final = 0.02
"""How often a `PatientClock` is looked at while its process runs, seconds."""


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


class PatientClock:
    """The machine's clock without the time in which this process stood still.

    A busy machine may stop a test for seconds in any line. By this clock nobody was late then: no
    lease ran out before the worker beside the exchange could take it. It runs while `tick` does.
    """

    def __init__(self) -> None:
        self._now_ns = time.time_ns()
        self._looked_ns = time.monotonic_ns()

    def now_ns(self) -> int:
        """Nanoseconds since the epoch; behind the machine's clock by what was left out."""
        looked_ns = time.monotonic_ns()
        self._now_ns += min(looked_ns - self._looked_ns, STEP_MAX_NS)
        self._looked_ns = looked_ns
        return self._now_ns

    async def tick(self) -> None:
        """Look at it all the time, until cancelled."""
        while True:
            self.now_ns()
            await asyncio.sleep(TICK_S)
