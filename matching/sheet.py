"""The sheet of a book: its orders, where they stand, and the few ways in which they change.

Every change goes through a method here, and each of them tells the tape. What is shown and what is
hidden stand apart, so that whoever trades with shown orders alone pays nothing for the others.
"""

from __future__ import annotations

from typing import Final

from matching.index import OrderIndex
from matching.levels import BookSide, Level
from matching.order import AT_LEAST, ICEBERG, UNSEEN, Order
from matching.stops import StopOrders
from matching.tape import Tape
from matching.types import BookState, CancelReason

BID: Final = 1
CANCEL_NEWEST: Final = 1
CANCEL_OLDEST: Final = 2
DECREMENT: Final = 4
# It stands here by itself: looking it up in its enum costs a good part of what it is for.
_SELF_TRADE: Final = CancelReason.SELF_TRADE


class Sheet:
    """All orders of one book."""

    __slots__ = (
        "asks",
        "bids",
        "hidden_asks",
        "hidden_bids",
        "last_price",
        "lot",
        "minimums",
        "open",
        "orders",
        "state",
        "stops",
        "tape",
        "tick",
    )

    def __init__(self, tick: int, lot: int) -> None:
        self.tick = tick
        self.lot = lot
        self.bids = BookSide(1, tick)
        self.asks = BookSide(-1, tick)
        self.hidden_bids = BookSide(1, tick)
        self.hidden_asks = BookSide(-1, tick)
        self.orders = OrderIndex()
        self.minimums: dict[int, Order] = {}  # those of `orders` with a minimum, oldest first
        self.stops = StopOrders()
        self.tape = Tape()
        self.state = BookState.OPEN
        self.open = True
        self.last_price = 0

    def __del__(self) -> None:
        """Let go of the orders, whose links the garbage collector does not follow when compiled."""
        for book_side in (self.bids, self.asks, self.hidden_bids, self.hidden_asks):
            book_side.forget()

    def is_simple(self) -> bool:
        """Whether it is open, without resting minimums and stop orders that a trade may wake."""
        return self.open and not self.minimums and not self.stops.waiting

    def side(self, side: int) -> BookSide:
        """The shown orders of a side."""
        return self.bids if side == BID else self.asks

    def hidden(self, side: int) -> BookSide:
        """The hidden orders of a side."""
        return self.hidden_bids if side == BID else self.hidden_asks

    def rest(self, order: Order) -> None:
        """Put an order behind all others of its price and visibility."""
        self.place(order)
        self.tape.rested(order)

    def place(self, order: Order) -> None:
        """`rest` without a word."""
        conditions = order.conditions
        if conditions is not None:
            if conditions.terms & AT_LEAST:
                self.minimums[order.order_id] = order
            elif conditions.terms & ICEBERG:
                conditions.reserve = max(0, order.leaves - conditions.display)
        self.put(order)

    def put(self, order: Order) -> None:
        """Put an order into the index and its queue, an iceberg with the reserve that it has."""
        self.orders.add(order)
        conditions = order.conditions
        if conditions is None:
            self.side(order.side).append(order, order.leaves)
        elif conditions.terms & UNSEEN:
            self.hidden(order.side).append(order, order.leaves)
        else:
            self.side(order.side).append(order, order.leaves - conditions.reserve)

    def take_out(self, order: Order) -> bool:
        """Take a resting order out of its queue and the index; True if it was shown."""
        self.orders.remove(order)
        level = order.level
        assert level is not None
        conditions = order.conditions
        if conditions is None:
            level.quantity -= order.leaves
            level.remove(order)
            return True
        if conditions.terms & UNSEEN:
            level.quantity -= order.leaves
            level.remove(order)
            self.minimums.pop(order.order_id, None)
            return False
        level.quantity -= order.leaves - conditions.reserve
        level.remove(order)
        return True

    def cancel(self, order: Order, reason: CancelReason) -> None:
        """Take a resting order, or a stop that waits, out of the book."""
        level = order.level
        if level is None:
            self.stops.remove(order)
            self.tape.cancelled(order, reason, False)
        elif order.conditions is None:
            self.orders.remove(order)
            level.quantity -= order.leaves
            level.remove(order)
            if self.tape.listening:
                self.tape.cancelled(order, reason, True)
            else:
                self.tape.deleted(order, reason)
        else:
            was_shown = self.take_out(order)
            self.tape.cancelled(order, reason, was_shown)

    def shrink(self, order: Order, quantity: int) -> int:
        """Take open quantity off a resting order that keeps its place; an iceberg's reserve first.

        Returns how much of it was shown.
        """
        level = order.level
        assert level is not None
        shown = order.shown
        order.leaves -= quantity
        conditions = order.conditions
        if conditions is None:
            level.quantity -= quantity
            return quantity
        if conditions.terms & UNSEEN:
            level.quantity -= quantity
            return 0
        conditions.reserve = max(0, conditions.reserve - quantity)
        less = shown - order.shown
        level.quantity -= less
        return less

    def trade(self, maker: Order, taker: Order, quantity: int, price: int) -> None:
        """One trade: the maker loses `quantity` of its present peak, and goes if it is empty."""
        self.traded(price)
        maker.leaves -= quantity
        taker.leaves -= quantity
        level = maker.level
        assert level is not None
        level.quantity -= quantity
        conditions = maker.conditions
        if conditions is not None and conditions.terms & UNSEEN:
            self.tape.filled(maker, taker, price, quantity, -1, taker.leaves)
        else:
            self.tape.filled(maker, taker, price, quantity, maker.shown, taker.leaves)
        if maker.leaves == 0:
            self.emptied(maker)
        elif maker.shown == 0 and conditions is not None and not conditions.terms & UNSEEN:
            self.refresh(maker)

    def emptied(self, order: Order) -> None:
        """Forget a resting order of which nothing is left."""
        self.orders.remove(order)
        level = order.level
        assert level is not None
        level.remove(order)
        conditions = order.conditions
        if conditions is not None and conditions.terms & UNSEEN:
            self.minimums.pop(order.order_id, None)

    def refresh(self, order: Order) -> None:
        """An iceberg whose peak has traded shows the next one, behind all others at its price."""
        level = order.level
        conditions = order.conditions
        assert level is not None
        assert conditions is not None
        conditions.reserve = max(0, order.leaves - conditions.display)
        book_side = level.side
        level.remove(order)
        book_side.append(order, order.leaves - conditions.reserve)
        self.tape.added(order)

    def hold_back(self, order: Order, reserve: int) -> None:
        """Let an iceberg's reserve be larger, as after a part of its peak has traded."""
        level, conditions = order.level, order.conditions
        assert level is not None
        assert conditions is not None
        level.quantity -= reserve - conditions.reserve
        conditions.reserve = reserve

    def traded(self, price: int) -> None:
        """Remember the price of a trade."""
        self.last_price = price
        if self.stops.waiting:
            self.stops.seen(price)

    def prevent_self_trade(self, maker: Order, taker: Order) -> bool:
        """Apply the taker's mode to a resting order of its own account; False if it is done."""
        mode = taker.self_trade
        if mode == CANCEL_OLDEST:
            self.cancel(maker, _SELF_TRADE)
            return True
        if mode == DECREMENT:
            quantity = min(maker.leaves, taker.leaves)
            self.decrement(maker, quantity)
            taker.quantity -= quantity
            taker.leaves -= quantity
            self.tape.decremented(taker, quantity, 0)
            return taker.leaves > 0
        if mode != CANCEL_NEWEST:
            self.cancel(maker, _SELF_TRADE)
        self.tape.cancelled(taker, _SELF_TRADE, False)
        return False

    def decrement(self, order: Order, quantity: int) -> None:
        """Take quantity off a resting order, total and leaves, without a trade."""
        order.quantity -= quantity
        less = self.shrink(order, quantity)
        self.tape.decremented(order, quantity, less)
        if order.leaves == 0:
            self.emptied(order)

    def find(self, order_id: int) -> Order | None:
        """The order of this id, resting or a stop that waits."""
        order = self.orders.get(order_id)
        return order if order is not None else self.stops.get(order_id)

    def turns(self, side: int) -> list[Level]:
        """The levels of a side by price, at one price the shown before the hidden."""
        shown, hidden = self.side(side), self.hidden(side)
        if hidden.best is None:
            return shown.best_first()
        found: list[Level] = []
        for key in sorted({*shown.keys, *hidden.keys}, reverse=True):
            for book_side in (shown, hidden):
                level = book_side.levels.get(key)
                if level is not None:
                    found.append(level)
        return found

    def queue(self, side: int) -> list[Order]:
        """The resting orders of a side by price, visibility and time."""
        found: list[Order] = []
        for level in self.turns(side):
            found += level.orders()
        return found

    def check(self) -> None:
        """Assert every invariant. Costs O(orders)."""
        found: dict[int, Order] = {}
        for side in (1, 2):
            for book_side, unseen in ((self.side(side), False), (self.hidden(side), True)):
                book_side.check()
                for level in book_side.best_first():
                    total = 0
                    for order in level.orders():
                        assert 0 < order.leaves <= order.quantity
                        assert order.side == side
                        assert bool(order.terms & UNSEEN) == unseen
                        assert unseen or order.shown > 0, f"order {order.order_id} shows nothing"
                        assert order.order_id not in found, f"order {order.order_id} stands twice"
                        found[order.order_id] = order
                        total += order.leaves if unseen else order.shown
                    assert level.quantity == total, f"total of level {level.price}"
        self.orders.check()
        assert len(found) == len(self.orders), "an order is lost, or was not removed"
        assert all(self.orders.get(order_id) is order for order_id, order in found.items())
        with_minimum = {o.order_id for o in found.values() if o.terms & AT_LEAST}
        assert self.minimums.keys() == with_minimum
        if self.open:
            assert self.stops.high == 0, "a trade was not examined"
        self.stops.check()
