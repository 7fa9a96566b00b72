"""Stop orders: those that wait for a price, and the queue of those whose price has come."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import deque

from matching.order import Order
from matching.types import STOP_ORDERS_MAX


class StopOrders:
    """The stop orders of a book.

    Each side is a list of (key, -arrival, order id), sorted so that those which a trade reaches
    first come *last*: the lowest stop prices of bids, the highest of asks.
    """

    __slots__ = ("_arrivals", "_asks", "_bids", "_orders", "high", "low", "queue", "waiting")

    def __init__(self) -> None:
        self._arrivals = 0
        self._orders: dict[int, tuple[Order, tuple[int, int, int]]] = {}
        self._bids: list[tuple[int, int, int]] = []
        self._asks: list[tuple[int, int, int]] = []
        self.waiting = 0
        self.low = 0  # lowest and highest trade since the last examination; 0: no trade
        self.high = 0
        self.queue: deque[Order] = deque()

    def full(self) -> bool:
        """Whether no more stop order may wait."""
        return self.waiting >= STOP_ORDERS_MAX

    def get(self, order_id: int) -> Order | None:
        """The stop order of this id that waits."""
        found = self._orders.get(order_id)
        return found[0] if found is not None else None

    def orders(self) -> list[Order]:
        """All that wait, oldest first."""
        return [order for order, _ in self._orders.values()]

    def add(self, order: Order) -> None:
        """Let an order wait, behind all others of its stop price."""
        self._arrivals += 1
        self._insert(order, -self._arrivals)

    def move(self, order: Order, stop_price: int) -> None:
        """Change the stop price of an order that waits; its age stays."""
        conditions = order.conditions
        assert conditions is not None
        _, (_, age, order_id) = self._orders[order.order_id]
        side = self._side(order)
        del side[bisect_left(side, self._orders[order_id][1])]
        self.waiting -= 1
        conditions.stop_price = stop_price
        self._insert(order, age)

    def trigger(self, order: Order) -> None:
        """Queue an order up that waits: its price has come."""
        self.remove(order)
        self.queue.append(order)

    def remove(self, order: Order) -> None:
        """Take out an order that waits."""
        _, entry = self._orders.pop(order.order_id)
        side = self._side(order)
        del side[bisect_left(side, entry)]
        self.waiting -= 1

    def seen(self, price: int) -> None:
        """There was a trade at this price."""
        if self.high == 0:
            self.low = self.high = price
        elif price > self.high:
            self.high = price
        elif price < self.low:
            self.low = price

    def examine(self, last_price: int) -> None:
        """Queue up those that a trade since the last examination has reached.

        Furthest from the last price first, then the oldest.
        """
        low, high = self.low, self.high
        if high == 0:
            return
        self.low = self.high = 0
        reached: list[tuple[int, int, int]] = []
        bids, asks = self._bids, self._asks
        while bids and -bids[-1][0] <= high:
            key, age, order_id = bids.pop()
            reached.append((-abs(last_price + key), -age, order_id))
        while asks and asks[-1][0] >= low:
            key, age, order_id = asks.pop()
            reached.append((-abs(last_price - key), -age, order_id))
        reached.sort()
        for _, _, order_id in reached:
            order, _ = self._orders.pop(order_id)
            self.queue.append(order)
        self.waiting -= len(reached)

    def rows(self) -> tuple[tuple[int, ...], ...]:
        """Canonical state: those that wait, oldest first."""
        return tuple((order.side, order.price, *order.row()) for order in self.orders())

    def check(self) -> None:
        """Assert every invariant."""
        assert not self.queue, "a triggered order was left behind"
        assert self.waiting == len(self._orders) == len(self._bids) + len(self._asks)
        assert self._bids == sorted(self._bids)
        assert self._asks == sorted(self._asks)
        entries = {*self._bids, *self._asks}
        for order_id, (order, entry) in self._orders.items():
            assert entry in entries, f"stop order {order_id} stands in no list"
            assert order.leaves == order.quantity

    def _insert(self, order: Order, age: int) -> None:
        conditions = order.conditions
        assert conditions is not None
        key = -conditions.stop_price if order.side == 1 else conditions.stop_price
        entry = (key, age, order.order_id)
        self._orders[order.order_id] = (order, entry)
        insort(self._side(order), entry)
        self.waiting += 1

    def _side(self, order: Order) -> list[tuple[int, int, int]]:
        return self._bids if order.side == 1 else self._asks
