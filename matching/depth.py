"""The visible book, rebuilt from per-order events: levels (L2), best prices (L1), a checksum.

The engine reports what happens to single orders (L3, the public rows of `matching.packed`). A
reader applies them to a `Depth` and has the book that everybody may see: only displayed quantity
shows, so a hidden order is never in it, and an iceberg is there with its peak alone. `apply` takes
packed rows; underneath, three events are enough:

* `add`: an order, or the next peak of an iceberg, joins the end of the queue at its price;
* `change`: its displayed quantity is now another, and its place in the queue is kept;
* `remove`: it is gone.

Events carry the book's sequence, which has no gaps; `Depth` refuses one that is not the next. A
snapshot holds the orders in priority and the sequence of the last event in it, so that a reader who
missed something takes a snapshot and goes on with the events after it.

The checksum is that of docs/reference/market-data.md: the CRC-32 (polynomial of zlib, PNG and
Ethernet) of an ASCII text, the ten best bids, the best first, each as `price:quantity,`, then `|`,
then the ten best asks likewise, all numbers in decimal. A book with a bid of 5 at 99 and an ask of
7 at 101 gives the CRC-32 of `99:5,|101:7,`, which is 2460465810. Whoever keeps levels only can
compute it too.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable
from itertools import pairwise
from typing import Final, NamedTuple
from zlib import crc32

from matching.packed import EVENT, EVENT_BYTES, Kind
from matching.types import Side

CHECKSUM_LEVELS: Final = 10
"""How many levels of each side the checksum covers."""

# Plain ints: in the inner loop an enum member costs an attribute look-up each time.
_BID: Final = int(Side.BID)
_ASK: Final = int(Side.ASK)
_ADD: Final = int(Kind.ADD)
_EXECUTE: Final = int(Kind.EXECUTE)
_REDUCE: Final = int(Kind.REDUCE)
_DELETE: Final = int(Kind.DELETE)


class Level(NamedTuple):
    """A price, its displayed quantity and the number of its orders that show; all 0: no such level.

    As a change, a level with quantity 0 has left the book.
    """

    price: int
    quantity: int
    orders: int


class LevelChange(NamedTuple):
    """What a level is now, after one or more events."""

    side: Side
    level: Level


class BestPrices(NamedTuple):
    """L1: the best level of each side; None where a side is empty."""

    bid: Level | None
    ask: Level | None


class VisibleOrder(NamedTuple):
    """One order as the market sees it."""

    order_id: int
    side: Side
    price: int
    quantity: int


class Snapshot(NamedTuple):
    """The visible book after event `sequence`.

    Bids then asks, each side from the best price on, and at one price in the order in which they
    would trade.
    """

    sequence: int
    orders: tuple[VisibleOrder, ...]


class SequenceGapError(ValueError):
    """An event is not the next one: take a snapshot. The book has not changed."""

    def __init__(self, expected: int, got: int) -> None:
        super().__init__(f"expected event {expected}, got {got}")
        self.expected = expected
        self.got = got


class BookMismatchError(ValueError):
    """An event does not fit the book: take a snapshot. The book has not changed."""


class _Order:
    __slots__ = ("order_id", "price", "quantity", "side")

    def __init__(self, order_id: int, side: int, price: int, quantity: int) -> None:
        self.order_id = order_id
        self.side = side
        self.price = price
        self.quantity = quantity


class _Level:
    __slots__ = ("orders", "quantity")

    def __init__(self) -> None:
        self.quantity = 0
        self.orders = 0


class _Ladder:
    """One side: the price keys in a sorted list with the best last, as in the engine's book."""

    __slots__ = ("changed", "keys", "levels", "sign")

    def __init__(self, sign: int) -> None:
        self.sign = sign
        self.keys: list[int] = []
        self.levels: dict[int, _Level] = {}
        self.changed: dict[int, None] = {}

    def shift(self, price: int, quantity: int, orders: int) -> None:
        """Add to a level's totals, which may make it or end it."""
        key = self.sign * price
        level = self.levels.get(key)
        if level is None:
            level = self.levels[key] = _Level()
            self.keys.insert(bisect_left(self.keys, key), key)
        level.quantity += quantity
        level.orders += orders
        if not level.orders:
            del self.levels[key]
            del self.keys[bisect_left(self.keys, key)]
        self.changed[key] = None

    def level(self, key: int) -> Level:
        """The totals at a key; 0 where there is nothing."""
        found = self.levels.get(key)
        if found is None:
            return Level(self.sign * key, 0, 0)
        return Level(self.sign * key, found.quantity, found.orders)

    def top(self, most: int) -> list[Level]:
        """The best levels, the best first."""
        return [self.level(key) for key in self.keys[: -most - 1 : -1]]


class Depth:
    """The visible book after event `sequence` (0: before the first).

    Orders stand in one dictionary in the order in which they joined their queues, so that those of
    one price are in priority.
    """

    __slots__ = ("_asks", "_bids", "_orders", "sequence")

    def __init__(self, snapshot: Snapshot | None = None) -> None:
        """An empty book, or the book of a snapshot.

        Raises:
            BookMismatchError: the snapshot holds an order twice, or one without quantity.
        """
        self.sequence = 0
        self._orders: dict[int, _Order] = {}
        self._bids = _Ladder(1)
        self._asks = _Ladder(-1)
        if snapshot is not None:
            for order_id, side, price, quantity in snapshot.orders:
                self._insert(order_id, side, price, quantity)
            self.sequence = snapshot.sequence
            self.take_changes()

    @classmethod
    def from_rows(cls, sequence: int, rows: bytes) -> Depth:
        """The book that the ADD rows of `Book.snapshot` describe, at the book's `sequence`.

        Raises:
            BookMismatchError: another row is among them, or they contradict each other.
        """
        depth = cls()
        _whole(rows)
        for kind, side, _, _, _, _, order_id, price, quantity, *_ in EVENT.iter_unpack(rows):
            if kind != _ADD:
                raise BookMismatchError(f"a snapshot holds no row of kind {kind}")
            depth._insert(order_id, side, price, quantity)
        depth.sequence = sequence
        depth.take_changes()
        return depth

    def apply(self, rows: bytes) -> None:
        """Follow packed event rows; private ones (sequence 0) are passed over.

        Raises:
            SequenceGapError: a row is missing. All rows before the gap have been applied.
            BookMismatchError: a row does not fit. All rows before it have been applied.
        """
        for row in EVENT.iter_unpack(rows):
            kind, side, _, _, _, sequence, order_id, price, quantity, _, shown, _, _ = row
            if sequence == 0:
                continue
            if kind == _ADD:
                self.add(sequence, order_id, side, price, quantity)
            elif kind == _DELETE:
                self.remove(sequence, order_id)
            elif kind not in {_EXECUTE, _REDUCE}:
                self.skip(sequence)
            elif shown:
                self.change(sequence, order_id, shown)
            else:
                self.remove(sequence, order_id)

    def add(self, sequence: int, order_id: int, side: int, price: int, quantity: int) -> None:
        """An order joins the end of the queue at its price, showing `quantity`.

        Raises:
            SequenceGapError: an event is missing.
            BookMismatchError: the order is in the book already, or shows nothing.
        """
        self._expect(sequence)
        self._insert(order_id, side, price, quantity)
        self.sequence = sequence

    def change(self, sequence: int, order_id: int, quantity: int) -> None:
        """An order now shows `quantity`, at least 1, and keeps its place.

        Raises:
            SequenceGapError: an event is missing.
            BookMismatchError: no such order, or nothing left to show (that is `remove`).
        """
        self._expect(sequence)
        order = self._orders.get(order_id)
        if order is None or quantity < 1:
            raise BookMismatchError(f"order {order_id} cannot show {quantity}")
        self._ladder(order.side).shift(order.price, quantity - order.quantity, 0)
        order.quantity = quantity
        self.sequence = sequence

    def remove(self, sequence: int, order_id: int) -> None:
        """An order has left the visible book.

        Raises:
            SequenceGapError: an event is missing.
            BookMismatchError: no such order.
        """
        self._expect(sequence)
        order = self._orders.pop(order_id, None)
        if order is None:
            raise BookMismatchError(f"order {order_id} is not in the book")
        self._ladder(order.side).shift(order.price, -order.quantity, -1)
        self.sequence = sequence

    def skip(self, sequence: int) -> None:
        """An event that changes nothing visible, such as one about a hidden order.

        Raises:
            SequenceGapError: an event is missing.
        """
        self._expect(sequence)
        self.sequence = sequence

    def best(self) -> BestPrices:
        """L1: the best bid and the best ask."""
        bids, asks = self._bids, self._asks
        return BestPrices(
            bids.level(bids.keys[-1]) if bids.keys else None,
            asks.level(asks.keys[-1]) if asks.keys else None,
        )

    def levels(self, side: Side, most: int) -> list[Level]:
        """L2: up to `most` levels of a side, the best first."""
        return self._ladder(side).top(most)

    def take_changes(self) -> list[LevelChange]:
        """The levels that have changed since the last call, bids first, each as it is now."""
        changes: list[LevelChange] = []
        for side, ladder in ((Side.BID, self._bids), (Side.ASK, self._asks)):
            changes += [LevelChange(side, ladder.level(key)) for key in ladder.changed]
            ladder.changed.clear()
        return changes

    def checksum(self) -> int:
        """CRC-32 over the ten best levels of each side."""
        return levels_checksum(
            self._bids.top(CHECKSUM_LEVELS),
            self._asks.top(CHECKSUM_LEVELS),
        )

    def snapshot(self) -> Snapshot:
        """The whole visible book with the sequence of its last event."""
        bids = [order for order in self._orders.values() if order.side == _BID]
        asks = [order for order in self._orders.values() if order.side != _BID]
        # Sorting keeps the order of equals: at one price, priority.
        bids.sort(key=lambda order: -order.price)
        asks.sort(key=lambda order: order.price)
        return Snapshot(
            self.sequence,
            tuple(VisibleOrder(o.order_id, Side(o.side), o.price, o.quantity) for o in bids + asks),
        )

    def check(self) -> None:
        """Assert that the levels are the sums of the orders, and sorted."""
        sums: dict[tuple[int, int], tuple[int, int]] = {}
        for order_id, order in self._orders.items():
            assert order.order_id == order_id, "an order stands under another's id"
            assert order.quantity > 0, "an order shows nothing"
            quantity, count = sums.get((order.side, order.price), (0, 0))
            sums[order.side, order.price] = (quantity + order.quantity, count + 1)
        for side in Side:
            ladder = self._ladder(side)
            assert all(a < b for a, b in pairwise(ladder.keys)), "levels are not sorted"
            assert sorted(ladder.levels) == ladder.keys, "a level is not in the list of prices"
            for level in ladder.top(len(ladder.keys)):
                assert sums.pop((side, level.price)) == (level.quantity, level.orders)
        assert not sums, "orders stand outside all levels"

    def _ladder(self, side: int) -> _Ladder:
        return self._bids if side == _BID else self._asks

    def _expect(self, sequence: int) -> None:
        if sequence != self.sequence + 1:
            raise SequenceGapError(self.sequence + 1, sequence)

    def _insert(self, order_id: int, side: int, price: int, quantity: int) -> None:
        if order_id in self._orders or quantity < 1 or side not in {_BID, _ASK}:
            raise BookMismatchError(f"order {order_id} cannot be added with {quantity}")
        self._orders[order_id] = _Order(order_id, side, price, quantity)
        self._ladder(side).shift(price, quantity, 1)


def _whole(rows: bytes) -> None:
    if len(rows) % EVENT_BYTES:
        raise BookMismatchError(f"{len(rows)} bytes are no whole number of rows")


def levels_checksum(bids: Iterable[Level], asks: Iterable[Level]) -> int:
    """The checksum of given levels, which are the ten best of each side, the best first."""
    text = "".join(f"{level.price}:{level.quantity}," for level in bids)
    text += "|" + "".join(f"{level.price}:{level.quantity}," for level in asks)
    return crc32(text.encode("ascii"))
