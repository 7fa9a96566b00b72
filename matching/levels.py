"""Price levels: the orders at one price, and one side of a book.

A side is a plain sorted list of price keys with the best key *last*, so most insertions and
removals happen at its end. A bid's key is its price, an ask's the negated price: larger is better
on both sides, and one code path serves both. A level is an intrusive doubly linked list of orders,
so that a cancel costs no search. docs/adr/0012 has the measurements behind this choice.

Compiled, a level is mostly found without its dict, which leads through an index, an entry and the
object of a number to what one look at a slot leads to: levels also stand by price in a list that
need not have them all.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from itertools import pairwise
from typing import Final

from mypy_extensions import i64, mypyc_attr

from matching.order import Order
from matching.packed import COMPILED
from matching.types import PRICE_MAX

_SLOTS_MIN: Final = 8


@mypyc_attr(acyclic=True)
class Level:
    """The orders at one price, oldest first, and the total of what they show (or hide)."""

    __slots__ = ("count", "key", "newest", "oldest", "price", "quantity", "side")

    def __init__(self, side: BookSide, key: int, price: int) -> None:
        self.side = side
        self.key = key
        self.price = price
        self.quantity = 0
        self.count = 0
        self.oldest: Order | None = None
        self.newest: Order | None = None

    def remove(self, order: Order) -> None:
        """Take an order out, wherever it stands; the caller keeps `quantity`."""
        older, newer = order.older, order.newer
        if older is None:
            self.oldest = newer
        else:
            older.newer = newer
        if newer is None:
            self.newest = older
        else:
            newer.older = older
        order.level = order.older = order.newer = None
        self.count -= 1
        if self.oldest is None:
            self.side.drop(self)

    def pop_oldest(self) -> None:
        """`remove` for the oldest order, of which nothing is left."""
        order = self.oldest
        assert order is not None
        newer = self.oldest = order.newer
        order.level = order.newer = None
        self.count -= 1
        if newer is None:
            self.side.drop(self)
        else:
            newer.older = None

    def orders(self) -> list[Order]:
        """All orders, oldest first."""
        found: list[Order] = []
        order = self.oldest
        while order is not None:
            found.append(order)
            order = order.newer
        return found


class BookSide:
    """One side: levels by key, keys sorted with the best last, and the best level at hand."""

    __slots__ = ("_mask", "_slots", "_tick", "best", "keys", "levels", "sign")

    def __init__(self, sign: int, tick: int) -> None:
        self.sign = sign
        self.keys: list[int] = []
        self.levels: dict[int, Level] = {}
        self.best: Level | None = None
        # What compiled code looks at first: each slot holds a level of its prices, or none. Prices
        # that follow each other tick by tick have slots that do.
        self._tick: i64 = min(tick, PRICE_MAX)
        self._mask: i64 = _SLOTS_MIN - 1
        self._slots: list[Level | None] = [None] * _SLOTS_MIN

    def append(self, order: Order, quantity: int) -> None:
        """Put an order behind all others at its price; it adds `quantity` to the level's total."""
        price = order.price
        if COMPILED:
            level = self._slots[self._slot(price)]
            if level is None or level.price != price:
                level = self._find(price)
        else:
            key = self.sign * price
            level = self.levels.get(key)
            if level is None:
                level = self._open(key, price)
        newest = level.newest
        if newest is None:
            level.oldest = order
        else:
            newest.newer = order
            order.older = newest
        level.newest = order
        order.level = level
        level.quantity += quantity
        level.count += 1

    def drop(self, level: Level) -> None:
        """Forget a level that is empty."""
        keys = self.keys
        key = level.key
        del self.levels[key]
        if COMPILED:
            slot = self._slot(level.price)
            if self._slots[slot] is level:
                self._slots[slot] = None
        if level is self.best:
            keys.pop()
            self.best = self.levels[keys[-1]] if keys else None
        else:
            del keys[bisect_left(keys, key)]

    def forget(self) -> None:
        """Take all links apart: nothing that stands here refers to anything else any more."""
        for level in self.levels.values():
            order = level.oldest
            level.oldest = level.newest = None
            while order is not None:
                newer = order.newer
                order.level = order.older = order.newer = None
                order = newer
        self.levels.clear()
        self._slots.clear()
        self.keys.clear()
        self.best = None

    def best_first(self) -> list[Level]:
        """All levels, best price first."""
        levels = self.levels
        return [levels[key] for key in reversed(self.keys)]

    def check(self) -> None:
        """Assert every invariant of the side. Costs O(orders)."""
        assert self.keys == sorted(self.levels), "keys and levels disagree"
        assert self.best is (self.levels[self.keys[-1]] if self.keys else None), "best is stale"
        assert len(self._slots) == self._mask + 1
        for slot, level in enumerate(self._slots):
            if level is not None:
                assert self._slot(level.price) == slot, "a level stands in another's slot"
                assert self.levels.get(level.key) is level, "a slot holds a level that is gone"
        for key, level in self.levels.items():
            orders = level.orders()
            assert orders, f"level {level.price} is empty"
            assert level.count == len(orders)
            assert level.newest is orders[-1]
            assert orders[0].older is None
            assert level.side is self
            assert level.key == key == self.sign * level.price
            for older, newer in pairwise(orders):
                assert newer.older is older, f"links around order {newer.order_id}"
            assert all(order.level is level and order.price == level.price for order in orders)

    def _open(self, key: int, price: int) -> Level:
        level = self.levels[key] = Level(self, key, price)
        keys = self.keys
        best = self.best
        if best is None or key > best.key:
            keys.append(key)
            self.best = level
        else:
            insort(keys, key)
        return level

    def _slot(self, price: i64) -> i64:
        return price // self._tick & self._mask

    def _find(self, price: int) -> Level:
        """The level of a price, opened if it is not there; from now on its slot holds it."""
        key = self.sign * price
        level = self.levels.get(key)
        if level is None:
            level = self._open(key, price)
            if len(self.levels) * 2 > len(self._slots):
                size = len(self._slots) * 2
                self._slots = [None] * size
                self._mask = size - 1
        self._slots[self._slot(price)] = level
        return level
