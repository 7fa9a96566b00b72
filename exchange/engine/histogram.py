"""How often a figure fell into which range: cheap enough to count everything."""

from __future__ import annotations

from bisect import bisect_left
from itertools import accumulate
from typing import Final

from exchange.core.limits import NS_PER_MS

_NS_PER_US: Final = 1_000

LATENCY_BOUNDS_NS: Final = (
    *(us * _NS_PER_US for us in (50, 100, 200, 500)),
    *(ms * NS_PER_MS for ms in (1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 5_000)),
)
"""Upper ends of the ranges of a latency; what took longer is counted as well."""
COUNT_BOUNDS: Final = (0, *(1 << power for power in range(13)))
"""The same for how many commands a group holds: up to 4,096."""


class Histogram:
    """Counts by range.

    Args:
        bounds: Upper ends, rising; each belongs to its range.

    >>> found = Histogram((1, 10))
    >>> for value in (0, 1, 2, 50): found.add(value)
    >>> found.cumulative(), found.total
    ([2, 3, 4], 53)
    """

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: tuple[int, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0

    def add(self, value: int) -> None:
        """One more. O(log ranges)."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value

    def cumulative(self) -> list[int]:
        """How many are at most each bound, and last how many there are."""
        return list(accumulate(self.counts))
