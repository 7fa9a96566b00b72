"""Candles at several widths, and the hourly index: what trades come to over time. Pure.

The index of an hour is a trimmed, volume-weighted mean: of the hour's trades, less those between
two orders of one account, sorted by price, a tenth of the volume at each end is left out, and the
rest is averaged by volume, rounded down. So a few odd prices move it little, and trading with
oneself not at all.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

from exchange.core.limits import NS_PER_S
from exchange.readmodel.schema import VOLUME_MAX_MFLOP

WIDTHS_S: Final = (1, 60, 300, 900, 3_600, 14_400, 86_400)
"""Widths of candles, seconds. All divide a day, so candles begin at whole multiples since 1970."""
HOUR_NS: Final = 3_600 * NS_PER_S
TRIM_DIVISOR: Final = 10
"""This part of the hour's volume is left out at each end."""


class Candle:
    """Open, high, low, close and volume of the trades in one interval."""

    __slots__ = ("close", "high", "low", "open", "start_ns", "trades", "volume")

    def __init__(self, start_ns: int, price: int) -> None:
        self.start_ns = start_ns
        self.open = self.high = self.low = self.close = price
        self.volume = self.trades = 0

    def trade(self, price: int, quantity: int) -> None:
        """One more trade, the latest so far."""
        self.high = max(self.high, price)
        self.low = min(self.low, price)
        self.close = price
        self.volume = min(self.volume + quantity, VOLUME_MAX_MFLOP)
        self.trades += 1


class Hour:
    """The trades of one instrument in the present hour, by price; those with oneself are not."""

    __slots__ = ("trades", "volumes")

    def __init__(self) -> None:
        self.volumes: dict[int, int] = {}
        self.trades = 0

    def trade(self, price: int, quantity: int) -> None:
        """One more trade."""
        self.volumes[price] = self.volumes.get(price, 0) + quantity
        self.trades += 1


class IndexPoint(NamedTuple):
    """The index of an hour.

    Attributes:
        price_nanos: Nano-dollars per CU.
        volume_mflop: What traded, before trimming.
    """

    price_nanos: int
    volume_mflop: int


def index_point(volumes: Mapping[int, int]) -> IndexPoint:
    """The index of an hour's volumes by price; there is at least one. O(prices).

    >>> index_point({100: 80, 1_000: 10, 1: 10}).price_nanos
    100
    """
    total = sum(volumes.values())
    assert total > 0, "an hour without trades has no index"
    trimmed = total // TRIM_DIVISOR
    kept, notional, passed = total - 2 * trimmed, 0, 0
    for price in sorted(volumes):
        begin, passed = passed, passed + volumes[price]
        inside = min(passed, total - trimmed) - max(begin, trimmed)
        notional += price * max(0, inside)
    return IndexPoint(notional // kept, min(total, VOLUME_MAX_MFLOP))
