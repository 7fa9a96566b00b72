"""Latencies as a histogram: short enough to send, exact to half a percent.

A trial may have a million of them. Each falls into a bucket whose width is at most 1/128 of its
value, so that two processes exchange some hundred numbers instead of all.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Final

MANTISSA_BITS: Final = 7


def bucket(latency_us: int) -> int:
    """The bucket of a latency in microseconds: its leading bits, and how many follow.

    >>> bucket(3), value_us(bucket(3)), value_us(bucket(1_000_000))
    (3, 3, 1000448)
    """
    shift = max(0, latency_us.bit_length() - MANTISSA_BITS - 1)
    return shift << (MANTISSA_BITS + 1) | latency_us >> shift


def value_us(number: int) -> int:
    """The middle of a bucket, in microseconds."""
    shift = number >> (MANTISSA_BITS + 1)
    low = (number & (1 << (MANTISSA_BITS + 1)) - 1) << shift
    return low + (1 << shift >> 1)


class Latencies:
    """How many orders took how long."""

    def __init__(self, counts: Mapping[int, int] | None = None) -> None:
        self.counts: Counter[int] = Counter(counts or {})

    def __len__(self) -> int:
        return self.counts.total()

    def add(self, latencies_us: Iterable[int]) -> None:
        """Count latencies, in microseconds."""
        self.counts.update([bucket(max(0, latency)) for latency in latencies_us])

    def merge(self, other: Latencies) -> None:
        """Count those of another, too."""
        self.counts += other.counts

    def percentile_ms(self, share: float) -> float:
        """A percentile in milliseconds; infinity where there is none."""
        wanted = int(share * len(self))
        seen = 0
        for number in sorted(self.counts):
            seen += self.counts[number]
            if seen > min(wanted, len(self) - 1):
                return value_us(number) / 1e3
        return float("inf")
