"""Candles at several widths, and the hourly index: what trades come to over time. Pure.

The index of an hour is a trimmed, volume-weighted mean: of the hour's trades, less those between
two orders of one account, sorted by price, a tenth of the volume at each end is left out, and the
rest is averaged by volume, rounded down. So a few odd prices move it little, and trading with
oneself not at all.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple

from exchange.core.limits import NS_PER_S
from exchange.readmodel.schema import VOLUME_MAX_MFLOP

WIDTHS_S: Final = (1, 60, 300, 900, 3_600, 14_400, 86_400)
"""Widths of candles, seconds. All divide a day, so candles begin at whole multiples since 1970."""
NARROWEST_NS: Final = WIDTHS_S[0] * NS_PER_S
HOUR_NS: Final = 3_600 * NS_PER_S
TRIM_DIVISOR: Final = 10
"""This part of the hour's volume is left out at each end."""

Row = tuple[int, ...]


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

    def take(self, later: Candle) -> None:
        """The trades of a candle within this one's interval come after those so far."""
        self.high = max(self.high, later.high)
        self.low = min(self.low, later.low)
        self.close = later.close
        self.volume = min(self.volume + later.volume, VOLUME_MAX_MFLOP)
        self.trades += later.trades

    def row(self, instrument_id: int, width_s: int) -> Row:
        """As it stands in the table."""
        return (
            instrument_id, width_s, self.start_ns,
            self.open, self.high, self.low, self.close, self.volume, self.trades,
        )  # fmt: skip


class Candles:
    """The latest candle of every instrument at every width.

    A trade changes one of the narrowest width, to which those since the last `fold` are added up.
    All begin at whole multiples of that width, so each of the wider ones contains it or does not.
    """

    def __init__(self) -> None:
        self._latest: dict[tuple[int, int], Candle] = {}  # (instrument, width)
        self._now: dict[int, Candle] = {}

    def trade(self, instrument_id: int, now_ns: int, price: int, quantity: int) -> list[Row]:
        """One more trade; rows of the candles that are over by it."""
        now = self._now.get(instrument_id)
        rows: list[Row] = []
        if now is None or now_ns - now.start_ns >= NARROWEST_NS:
            if now is not None:
                rows = self._fold(instrument_id, now)
            start_ns = now_ns - now_ns % NARROWEST_NS
            now = self._now[instrument_id] = Candle(start_ns, price)
        now.trade(price, quantity)
        return rows

    def fold(self) -> Iterator[Row]:
        """Rows of all candles that have changed, as they are now."""
        for instrument_id, now in self._now.items():
            yield from self._fold(instrument_id, now)
        self._now.clear()

    def load(self, row: Row) -> None:
        """Go on from the row of a latest candle."""
        candle = self._latest[row[0], row[1]] = Candle(row[2], row[3])
        candle.high, candle.low, candle.close, candle.volume, candle.trades = row[4:]

    def _fold(self, instrument_id: int, now: Candle) -> list[Row]:
        rows = []
        for width_s in WIDTHS_S:
            start_ns = now.start_ns - now.start_ns % (width_s * NS_PER_S)
            candle = self._latest.get((instrument_id, width_s))
            if candle is None or candle.start_ns != start_ns:
                candle = self._latest[instrument_id, width_s] = Candle(start_ns, now.open)
            candle.take(now)
            rows.append(candle.row(instrument_id, width_s))
        return rows


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
