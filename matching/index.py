"""The resting orders of a book by their ids.

Compiled, this is a hash table that is chained through the orders. In a book too large for a cache
nearly every step from one address to the next waits for the memory: finding an order is two such
steps, its slot and itself, where a dict takes four (index, entry, key, order) and needs an object
per key. It grows by a slot or two with each order, so that none waits until a million others have
been moved: linear hashing (Litwin: VLDB 1980). Interpreted, a dict is quicker, as its steps are not
interpreted; where it doubles, it moves all.
"""

from __future__ import annotations

from typing import Final

from matching.order import Order
from matching.packed import COMPILED

SLOTS_PER_ORDER: Final = 2
"""At least. Where there are no more, an order brings its own."""
_SLOTS_MIN: Final = 8
_FOLD: Final = 16
"""Ids that differ in multiples of a power of two would share slots, if higher bits had no say.
Ids that follow each other still get slots that do, which lie in one line of a cache."""


class OrderIndex:
    """Orders by id. Compiled code has `_slots`, interpreted code `by_id`."""

    __slots__ = ("_count", "_mask", "_slots", "by_id")

    def __init__(self) -> None:
        self.by_id: dict[int, Order] = {}
        self._count = 0
        self._mask = _SLOTS_MIN - 1
        # Each holds the first order of its chain. They are more than half of those that the mask
        # can tell apart; what would stand in one that is not there yet, stands at its lower bits.
        self._slots: list[Order | None] = [None] * _SLOTS_MIN

    def __len__(self) -> int:
        return self._count if COMPILED else len(self.by_id)

    def get(self, order_id: int) -> Order | None:
        """The order of this id. Costs O(1)."""
        if not COMPILED:
            return self.by_id.get(order_id)
        order = self._slots[self._slot(order_id)]
        while order is not None and order.order_id != order_id:
            order = order.chain
        return order

    def add(self, order: Order) -> None:
        """Put in an order whose id is not there. Costs O(1)."""
        if not COMPILED:
            self.by_id[order.order_id] = order
            return
        self._count += 1
        if self._count * SLOTS_PER_ORDER > len(self._slots):
            for _ in range(SLOTS_PER_ORDER):
                self._add_slot()
        self._put(order)

    def remove(self, order: Order) -> None:
        """Take out an order that is there; the slots stay. Costs O(1)."""
        if not COMPILED:
            del self.by_id[order.order_id]
            return
        slot = self._slot(order.order_id)
        before = self._slots[slot]
        if before is order:
            self._slots[slot] = order.chain
        else:
            assert before is not None
            while before.chain is not order:
                before = before.chain
                assert before is not None
            before.chain = order.chain
        order.chain = None
        self._count -= 1

    def orders(self) -> list[Order]:
        """All orders, in no order that means anything."""
        if not COMPILED:
            return list(self.by_id.values())
        found: list[Order] = []
        for first in self._slots:
            order = first
            while order is not None:
                found.append(order)
                order = order.chain
        return found

    def check(self) -> None:
        """Assert that every order is found by its id. Costs O(orders)."""
        orders = self.orders()
        assert len(orders) == len(self), "the count is wrong"
        assert len(self._slots) >= self._count * SLOTS_PER_ORDER
        assert self._mask >> 1 < len(self._slots) <= self._mask + 1
        for order in orders:
            assert self.get(order.order_id) is order, f"order {order.order_id} is not found"

    def reserve(self, count: int) -> None:
        """Have slots for so many orders, in an index without any."""
        assert not len(self), "it holds orders"
        size = max(_SLOTS_MIN, count * SLOTS_PER_ORDER)
        if not COMPILED or size <= len(self._slots):
            return
        self._slots = [None] * size
        while self._mask < size - 1:
            self._mask = self._mask * 2 + 1

    def _slot(self, order_id: int) -> int:
        slot = (order_id ^ order_id >> _FOLD) & self._mask
        return slot if slot < len(self._slots) else slot & self._mask >> 1

    def _put(self, order: Order) -> None:
        slot = self._slot(order.order_id)
        order.chain = self._slots[slot]
        self._slots[slot] = order

    def _add_slot(self) -> None:
        """One more slot, for those who stood at its lower bits."""
        slots = self._slots
        size = len(slots)
        if size > self._mask:
            self._mask = self._mask * 2 + 1
        slots.append(None)
        lower = size & self._mask >> 1
        order = slots[lower]
        slots[lower] = None
        while order is not None:
            later = order.chain
            self._put(order)
            order = later
