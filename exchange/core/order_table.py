"""The open orders of all accounts by their ids.

Compiled, this is a hash table that is chained through the orders, as `matching.index` is through a
book's, and grows like it: one look at a slot leads to an order, where a dict of a million leads
through its index, its entry and the object of a number, each of them a wait for memory, and is made
anew as ids come and go. Interpreted, a dict is quicker, as its steps are not interpreted. It is not
one class with that of the book: compiled code reaches `chain` at a fixed place of one class, or
else by its name.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from matching.index import SLOTS_PER_ORDER
from matching.packed import COMPILED

if TYPE_CHECKING:
    from collections.abc import Iterator

    from exchange.core.open_orders import OpenOrder

_SLOTS_MIN: Final = 8
_FOLD: Final = 16
"""Higher bits of an id have a say, as in `matching.index`: where every 64th order stays and the
others go, all that are left would share a few slots."""


class OrderTable:
    """Open orders by id. Compiled code has `_slots`, interpreted code `_by_id`.

    Ids are counted up, so that those placed one after the other stand side by side.
    """

    __slots__ = ("_by_id", "_count", "_mask", "_slots")

    def __init__(self) -> None:
        self._by_id: dict[int, OpenOrder] = {}
        self._count = 0
        self._mask = _SLOTS_MIN - 1
        # As `matching.index` has them: each holds the first order of its chain.
        self._slots: list[OpenOrder | None] = [None] * _SLOTS_MIN

    def clear(self) -> None:
        """Forget all; none leads to another any more. Costs O(orders)."""
        for order in self._all():
            order.chain = None
        self._by_id.clear()
        self._count = 0
        self._mask = _SLOTS_MIN - 1
        self._slots = [None] * _SLOTS_MIN

    def __len__(self) -> int:
        return self._count if COMPILED else len(self._by_id)

    def __contains__(self, order_id: int) -> bool:
        return self.get(order_id) is not None

    def __getitem__(self, order_id: int) -> OpenOrder:
        order = self.get(order_id)
        if order is None:
            raise KeyError(order_id)
        return order

    def __iter__(self) -> Iterator[int]:
        """The ids, in order."""
        return iter([order.order_id for order in self.values()])

    def get(self, order_id: int) -> OpenOrder | None:
        """The order of this id. Costs O(1)."""
        if not COMPILED:
            return self._by_id.get(order_id)
        order = self._slots[self._slot(order_id)]
        while order is not None and order.order_id != order_id:
            order = order.chain
        return order

    def add(self, order: OpenOrder) -> None:
        """Put in an order whose id is not there. Costs O(1)."""
        if not COMPILED:
            self._by_id[order.order_id] = order
            return
        self._count += 1
        if self._count * SLOTS_PER_ORDER > len(self._slots):
            for _ in range(SLOTS_PER_ORDER):
                self._add_slot()
        self._put(order)

    def remove(self, order: OpenOrder) -> None:
        """Take out an order that is there; the slots stay. Costs O(1)."""
        if not COMPILED:
            del self._by_id[order.order_id]
            return
        slot = self._slot(order.order_id)
        before = self._slots[slot]
        if before is order:
            self._slots[slot] = order.chain
        else:
            assert before is not None, "the order is not here"
            while before.chain is not order:
                before = before.chain
                assert before is not None, "the order is not here"
            before.chain = order.chain
        order.chain = None
        self._count -= 1

    def values(self) -> list[OpenOrder]:
        """All orders by id. Costs O(slots + orders x log orders)."""
        if not COMPILED:
            return list(self._by_id.values())
        return oldest_first(self._all())

    def reserve(self, count: int) -> None:
        """Have slots for so many orders, in a table without any."""
        assert not len(self), "it holds orders"
        size = max(_SLOTS_MIN, count * SLOTS_PER_ORDER)
        if not COMPILED or size <= len(self._slots):
            return
        self._slots = [None] * size
        while self._mask < size - 1:
            self._mask = self._mask * 2 + 1

    def check(self) -> None:
        """Assert that every order is found by its id. Costs O(orders)."""
        assert len(self._slots) >= self._count * SLOTS_PER_ORDER
        assert self._mask >> 1 < len(self._slots) <= self._mask + 1
        orders = self.values()
        ids = [order.order_id for order in orders]
        assert len(ids) == len(self), "the count is wrong"
        assert ids == sorted(set(ids)), "an order stands twice, or not in its turn"
        assert all(self.get(order.order_id) is order for order in orders), "an order is not found"

    def _all(self) -> list[OpenOrder]:
        found: list[OpenOrder] = []
        for first in self._slots:
            order = first
            while order is not None:
                found.append(order)
                order = order.chain
        return found

    def _slot(self, order_id: int) -> int:
        slot = (order_id ^ order_id >> _FOLD) & self._mask
        return slot if slot < len(self._slots) else slot & self._mask >> 1

    def _put(self, order: OpenOrder) -> None:
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


def oldest_first(orders: list[OpenOrder]) -> list[OpenOrder]:
    """The orders by id, which is by age. Costs O(orders x log orders)."""
    return sorted(orders, key=_number)


def _number(order: OpenOrder) -> int:
    return order.order_id
