"""The naive twin of `Book`: the same rules, written to be read, not to be fast.

One flat list of orders, scanned in full for every decision. It shares the words (orders, events)
with the real one and none of its structure, gives the same events, and has the same `state()`.
Tests compare the two event for event. The twin of batch clearing is in `reference_clearing`.
"""

from __future__ import annotations

from matching.book import Order
from matching.events import BookEvent, Cancelled, Decremented, Fill, Rested
from matching.types import (
    PRICE_MAX,
    QUANTITY_MAX,
    CancelReason,
    SelfTradePrevention,
    Side,
    TimeInForce,
)

_Depth = list[tuple[int, int, int]]


class NaiveBook:
    """`matching.book.Book` as one list of orders in order of arrival."""

    def __init__(self) -> None:
        self._orders: list[Order] = []

    def place(self, order: Order) -> list[BookEvent]:
        """See `Book.place`."""
        _check_terms(order.price, order.quantity)
        if not 0 < order.leaves <= order.quantity or self.order(order.order_id):
            raise ValueError(order.order_id)
        if order.time_in_force == TimeInForce.FOK and not self._fillable(order):
            return [_cancelled(order, CancelReason.FOK_UNFILLABLE)]
        events: list[BookEvent] = []
        while order.leaves:
            makers = self._makers(order)
            if not makers:
                break
            if makers[0].account_id != order.account_id:
                events.append(self._trade(makers[0], order))
            elif not self._prevent_self_trade(makers[0], order, events):
                return events
        if order.leaves and order.time_in_force == TimeInForce.IOC:
            events.append(_cancelled(order, CancelReason.IOC_REST))
        elif order.leaves:
            self._orders.append(order)
            events.append(Rested(order.order_id, order.price, order.leaves))
        return events

    def cancel(self, order_id: int) -> Order | None:
        """See `Book.cancel`."""
        order = self.order(order_id)
        if order is not None:
            self._orders.remove(order)
        return order

    def replace(self, order_id: int, price: int, quantity: int) -> list[BookEvent] | None:
        """See `Book.replace`."""
        _check_terms(price, quantity)
        order = self.order(order_id)
        if order is None:
            return None
        filled = order.quantity - order.leaves
        if quantity <= filled:
            self._orders.remove(order)
            return [_cancelled(order, CancelReason.REPLACED_BELOW_FILLED)]
        keeps_place = price == order.price and quantity <= order.quantity
        order.price, order.quantity, order.leaves = price, quantity, quantity - filled
        if keeps_place:
            return [Rested(order_id, price, order.leaves)]
        self._orders.remove(order)
        return self.place(order)

    def best(self, side: Side) -> int | None:
        """See `Book.best`."""
        queue = self._queue(side)
        return queue[0].price if queue else None

    def depth(self, side: Side, levels: int) -> _Depth:
        """See `Book.depth`."""
        return _levels([(order.price, order.leaves) for order in self._queue(side)], levels)

    def order(self, order_id: int) -> Order | None:
        """See `Book.order`."""
        return next((order for order in self._orders if order.order_id == order_id), None)

    def orders(self) -> list[Order]:
        """See `Book.orders`."""
        return self._queue(Side.BID) + self._queue(Side.ASK)

    def __len__(self) -> int:
        return len(self._orders)

    def state(self) -> tuple[tuple[tuple[int, tuple[tuple[int, ...], ...]], ...], ...]:
        """See `Book.state`."""
        sides = []
        for side in Side:
            queue = self._queue(side)
            prices = dict.fromkeys(order.price for order in queue)
            sides.append(
                tuple(
                    (p, tuple(order.row() for order in queue if order.price == p)) for p in prices
                )
            )
        return tuple(sides)

    def check(self) -> None:
        """See `Book.check`."""
        assert all(0 < order.leaves <= order.quantity for order in self._orders)

    def _queue(self, side: Side) -> list[Order]:
        """The orders of a side, best first; the sort is stable, so oldest first at one price."""
        orders = [order for order in self._orders if order.side == side]
        sign = -1 if side == Side.BID else 1
        return sorted(orders, key=lambda order: sign * order.price)

    def _makers(self, taker: Order) -> list[Order]:
        """The orders that the taker would meet, in turn."""
        if taker.side == Side.BID:
            return [order for order in self._queue(Side.ASK) if order.price <= taker.price]
        return [order for order in self._queue(Side.BID) if order.price >= taker.price]

    def _fillable(self, taker: Order) -> bool:
        missing = taker.leaves
        for maker in self._makers(taker):
            own = maker.account_id == taker.account_id
            if own and taker.self_trade != SelfTradePrevention.CANCEL_OLDEST:
                return False
            missing -= 0 if own else maker.leaves
            if missing <= 0:
                return True
        return False

    def _trade(self, maker: Order, taker: Order) -> Fill:
        quantity = min(maker.leaves, taker.leaves)
        maker.leaves -= quantity
        taker.leaves -= quantity
        if maker.leaves == 0:
            self._orders.remove(maker)
        return Fill(
            maker.order_id,
            maker.account_id,
            taker.order_id,
            taker.account_id,
            maker.price,
            quantity,
            maker.leaves,
            taker.leaves,
        )

    def _prevent_self_trade(self, maker: Order, taker: Order, events: list[BookEvent]) -> bool:
        """False if the taker is done."""
        mode = taker.self_trade
        if mode == SelfTradePrevention.DECREMENT:
            quantity = min(maker.leaves, taker.leaves)
            for order in (maker, taker):
                order.leaves -= quantity
                order.quantity -= quantity
                events.append(Decremented(order.order_id, order.account_id, quantity, order.leaves))
            if maker.leaves == 0:
                self._orders.remove(maker)
            return taker.leaves > 0
        if mode in {SelfTradePrevention.CANCEL_OLDEST, SelfTradePrevention.CANCEL_BOTH}:
            self._orders.remove(maker)
            events.append(_cancelled(maker, CancelReason.SELF_TRADE))
        if mode in {SelfTradePrevention.CANCEL_NEWEST, SelfTradePrevention.CANCEL_BOTH}:
            events.append(_cancelled(taker, CancelReason.SELF_TRADE))
            return False
        return True


def _check_terms(price: int, quantity: int) -> None:
    if not 0 < price <= PRICE_MAX or not 0 < quantity <= QUANTITY_MAX:
        raise ValueError(price, quantity)


def _cancelled(order: Order, reason: CancelReason) -> Cancelled:
    return Cancelled(order.order_id, order.account_id, order.leaves, reason)


def _levels(rows: list[tuple[int, int]], levels: int) -> _Depth:
    """Sum (price, quantity) rows into (price, quantity, orders), keeping their order."""
    prices = list(dict.fromkeys(price for price, _ in rows))[:levels]
    quantities = [[quantity for p, quantity in rows if p == price] for price in prices]
    return [(p, sum(q), len(q)) for p, q in zip(prices, quantities, strict=True)]
