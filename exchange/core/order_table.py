"""The open orders of all accounts by their ids.

Compiled, this is a hash table that is chained through the orders, as `matching.index` is through a
book's: one look at a slot leads to an order, where a dict of a million leads through its index, its
entry and the object of a number, each of them a wait for memory, and is made anew as ids come and
go. Interpreted, a dict is quicker, as its steps are not interpreted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from matching.packed import COMPILED

if TYPE_CHECKING:
    from collections.abc import Iterator

    from exchange.core.open_orders import OpenOrder

_SLOTS_MIN: Final = 8


class OrderTable:
    """Open orders by id. Compiled code has `_slots`, interpreted code `_by_id`.

    Ids are counted up, so that those placed one after the other stand side by side.
    """

    __slots__ = ("_by_id", "_count", "_mask", "_slots")

    def __init__(self) -> None:
        self._by_id: dict[int, OpenOrder] = {}
        self.clear()

    def clear(self) -> None:
        """Forget all."""
        self._by_id.clear()
        self._count = 0
        self._mask = _SLOTS_MIN - 1
        # Each holds the newest order of its chain. At most as many orders as slots.
        self._slots: list[OpenOrder | None] = [None] * _SLOTS_MIN

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
        order = self._slots[order_id & self._mask]
        while order is not None and order.order_id != order_id:
            order = order.chain
        return order

    def add(self, order: OpenOrder) -> None:
        """Put in an order whose id is not there. Costs O(1), and O(orders) when it grows."""
        if not COMPILED:
            self._by_id[order.order_id] = order
            return
        self._count += 1
        if self._count > self._mask:
            self.reserve(self._count)
        self._put(order)

    def remove(self, order: OpenOrder) -> None:
        """Take out an order that is there. Costs O(1)."""
        if not COMPILED:
            del self._by_id[order.order_id]
            return
        slot = order.order_id & self._mask
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
        """All orders by id. Costs O(orders x log orders)."""
        if not COMPILED:
            return list(self._by_id.values())
        found = self._all()
        found.sort(key=_number)
        return found

    def reserve(self, count: int) -> None:
        """Have slots for so many orders."""
        size = len(self._slots)
        while count >= size:
            size *= 2
        if not COMPILED or size == len(self._slots):
            return
        orders = self._all()
        self._slots = [None] * size
        self._mask = size - 1
        for order in orders:
            self._put(order)

    def check(self) -> None:
        """Assert that every order is found by its id. Costs O(orders)."""
        orders = self.values()
        ids = [order.order_id for order in orders]
        assert len(ids) == len(self), "the count is wrong"
        assert ids == sorted(set(ids)), "an order stands twice, or not in its turn"
        assert all(self.get(order.order_id) is order for order in orders), "an order is not found"

    def _all(self) -> list[OpenOrder]:
        found: list[OpenOrder] = []
        for newest in self._slots:
            order = newest
            while order is not None:
                found.append(order)
                order = order.chain
        return found

    def _put(self, order: OpenOrder) -> None:
        slot = order.order_id & self._mask
        order.chain = self._slots[slot]
        self._slots[slot] = order


def _number(order: OpenOrder) -> int:
    return order.order_id
