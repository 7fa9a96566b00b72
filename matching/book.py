"""A continuous order book: strict price-time priority, trades at the resting order's price.

Each side is a plain sorted list of price keys with the best key *last*, so the touch is `keys[-1]`
and most insertions and removals happen near the end. A bid's key is its price, an ask's key the
negated price: larger is better on both sides, and one code path serves both. A level is an
intrusive doubly linked list of orders, so a cancel costs no search.

Rules that a reader may ask about:

* Self-trade prevention is decided order by order as the incoming order meets its own, by the
  incoming order's mode.
* A FOK order is checked before its first fill. Own orders do not count towards it; unless its mode
  is CANCEL_OLDEST, it is unfillable as soon as an own order stands in its way. A FOK order that is
  cancelled has touched nothing.
* `quantity` is the total, `quantity - leaves` what has traded. DECREMENT takes from both, so that
  this stays true.
* A replace states a new total, so one in flight while the order trades cannot overfill it. Less at
  the same price keeps the place in the queue; more, or another price, loses it and may trade.
* Market orders and GTD expiry are the caller's: a market order is an IOC at a protection price,
  and an expiry is a cancel.

An order that is no order (price, quantity or a repeated id) raises ValueError and changes nothing:
the caller checks first. Unknown ids in `cancel` and `replace` are an answer, None, not an error.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Final

from matching.events import BookEvent, Cancelled, Decremented, Fill, Rested
from matching.levels import BookSide, Level
from matching.order import Order
from matching.types import (
    PRICE_MAX,
    QUANTITY_MAX,
    BookState,
    CancelReason,
    Side,
)

__all__ = ["Book"]

# Plain ints: in the inner loop an enum member costs an attribute look-up each time.
_BID: Final = 1
_IOC: Final = 3
_FOK: Final = 4
_CANCEL_NEWEST: Final = 1
_CANCEL_OLDEST: Final = 2
_CANCEL_BOTH: Final = 3


class Book:
    """A continuous book of one instrument."""

    def __init__(self, tick: int = 1, lot: int = 1) -> None:
        self.tick = tick
        self.lot = lot
        self._bids = BookSide(1)
        self._asks = BookSide(-1)
        self._orders: dict[int, Order] = {}

    def place(self, order: Order) -> list[BookEvent]:
        """Trade an order against the other side, then rest or cancel what is left.

        `order.leaves` is what is placed, so a book is rebuilt by placing its orders in `orders()`
        order. Costs O(fills), plus a binary search for a new price.

        Raises:
            ValueError: the price or quantity is outside its limits, or the id is in the book.
        """
        if (
            not 0 < order.price <= PRICE_MAX
            or not 0 < order.leaves <= order.quantity <= QUANTITY_MAX
            or order.order_id in self._orders
        ):
            raise ValueError(self._why_refused(order))
        return self._enter(order)

    def cancel(self, order_id: int) -> Order | None:
        """Take an order out; None if it is not in the book. Costs O(1)."""
        order = self._orders.pop(order_id, None)
        if order is not None:
            self._side(order).remove(order)
        return order

    def replace(self, order_id: int, price: int, quantity: int) -> list[BookEvent] | None:
        """Change price and total quantity of a resting order; None if it is not in the book.

        Raises:
            ValueError: the price or quantity is outside its limits.
        """
        if not 0 < price <= PRICE_MAX or not 0 < quantity <= QUANTITY_MAX:
            raise ValueError(_outside_limits(price, quantity))
        order = self._orders.get(order_id)
        if order is None:
            return None
        filled = order.quantity - order.leaves
        if quantity <= filled:
            self.cancel(order_id)
            return [_cancelled(order, CancelReason.REPLACED_BELOW_FILLED)]
        if price == order.price and quantity <= order.quantity:
            level = order.level
            assert level is not None
            level.quantity -= order.quantity - quantity
            order.quantity = quantity
            order.leaves = quantity - filled
            return [Rested(order_id, price, order.leaves)]
        self.cancel(order_id)
        order.price = price
        order.quantity = quantity
        order.leaves = quantity - filled
        return self._enter(order)

    # Declared first, built next

    def mass_cancel(self, account_id: int, side: int = 0) -> list[BookEvent]:
        """Cancel all orders of an account, on one side or (0) on both, stops included.

        Events in this order: bids, then asks; best price first; at one price the shown before the
        hidden, oldest first; then the stop orders, oldest first. After them what the change makes
        tradable. Costs O(orders in the book).
        """
        raise NotImplementedError

    def set_state(self, state: int) -> list[BookEvent]:
        """Go to a `BookState`. Opening a book that is crossed is refused (CROSSED).

        Opening re-checks resting minimums, then stop orders against the last trade.
        """
        raise NotImplementedError

    def uncross(self, price: int) -> list[BookEvent]:
        """Trade a book in auction at one price; what is left of IOC orders is cancelled.

        Bids at `price` or higher meet asks at `price` or lower, each side in price-visibility-time
        order. The book stays in auction. `matching.auction` finds the price, `interest` is what it
        needs to know.
        """
        raise NotImplementedError

    def interest(self, side: int) -> list[tuple[int, int]]:
        """(price, quantity) of all that an uncross may trade, best price first.

        Hidden quantity and the reserve of icebergs count; orders with a minimum do not: they take
        part in an uncross, not in its price.
        """
        raise NotImplementedError

    def apply(self, rows: bytes) -> bytes:
        """Carry out packed command rows; returns the packed event rows (`matching.packed`).

        Raises:
            ValueError: the bytes are no whole number of rows; nothing is changed.
        """
        raise NotImplementedError

    def last_rows(self) -> bytes:
        """The packed event rows of the last command given by a method of this class."""
        raise NotImplementedError

    @property
    def sequence(self) -> int:
        """The sequence of the last public event row; 0 before the first."""
        raise NotImplementedError

    @property
    def state_now(self) -> BookState:
        """What the book does with orders now."""
        raise NotImplementedError

    @property
    def last_price(self) -> int:
        """The price of the last trade; 0 before the first."""
        raise NotImplementedError

    def snapshot(self) -> bytes:
        """The displayed book as ADD rows, each with the sequence of the last public row.

        Bids then asks, best price first, oldest first: adding them in turn gives the book that the
        public rows up to that sequence give.
        """
        raise NotImplementedError

    def stops(self) -> list[Order]:
        """The stop orders that wait, oldest first."""
        raise NotImplementedError

    def restore(self, order: Order) -> None:
        """Put an order, or a waiting stop, where `orders()` and `stops()` had it; no matching.

        Raises:
            ValueError: the order would be refused.
        """
        raise NotImplementedError

    def best(self, side: Side) -> int | None:
        """The best resting price of a side. Costs O(1)."""
        book_side = self._bids if side == _BID else self._asks
        return book_side.sign * book_side.keys[-1] if book_side.keys else None

    def depth(self, side: Side, levels: int) -> list[tuple[int, int, int]]:
        """The best `levels` levels as (price, quantity, orders), best first."""
        book_side = self._bids if side == _BID else self._asks
        best_keys = book_side.keys[: -levels - 1 : -1]
        found = [book_side.levels[key] for key in best_keys]
        return [(level.price, level.quantity, level.count) for level in found]

    def order(self, order_id: int) -> Order | None:
        """The resting order of this id. Costs O(1)."""
        return self._orders.get(order_id)

    def orders(self) -> list[Order]:
        """All resting orders: bids then asks, best price first, oldest first."""
        found: list[Order] = []
        for book_side in (self._bids, self._asks):
            for level in book_side.best_first():
                order = level.oldest
                while order is not None:
                    found.append(order)
                    order = order.newer
        return found

    def __len__(self) -> int:
        return len(self._orders)

    def state(self) -> tuple[tuple[tuple[int, tuple[tuple[int, ...], ...]], ...], ...]:
        """(bids, asks) as plain nested tuples, equal for equal books of any implementation.

        A side is its levels best first; a level is (price, the rows of its orders oldest first).
        """
        return tuple(
            tuple((level.price, _rows(level)) for level in side.best_first())
            for side in (self._bids, self._asks)
        )

    def check(self) -> None:
        """Assert every invariant of the structure. Costs O(orders)."""
        seen = 0
        for side in (self._bids, self._asks):
            # Keys strictly rise and are exactly the levels that exist.
            assert all(a < b for a, b in pairwise(side.keys))
            assert len(side.keys) == len(side.levels)
            for level in side.best_first():
                seen += self._check_level(side, level)
        assert seen == len(self._orders)
        # No two orders that could trade rest against each other.
        bid, ask = self.best(Side.BID), self.best(Side.ASK)
        assert bid is None or ask is None or bid < ask, (bid, ask)

    def _check_level(self, side: BookSide, level: Level) -> int:
        count = quantity = 0
        older: Order | None = None
        order = level.oldest
        while order is not None:
            assert self._orders[order.order_id] is order
            assert self._side(order) is side
            assert order.level is level
            assert order.price == level.price
            assert order.older is older
            assert 0 < order.leaves <= order.quantity
            assert order.time_in_force not in {_IOC, _FOK}
            count += 1
            quantity += order.leaves
            older, order = order, order.newer
        # Totals are those of the orders, and an empty level does not stay.
        assert (count, quantity) == (level.count, level.quantity)
        assert count > 0
        assert level.newest is older
        return count

    def _side(self, order: Order) -> BookSide:
        return self._bids if order.side == _BID else self._asks

    def _why_refused(self, order: Order) -> str:
        if order.order_id in self._orders:
            return f"order {order.order_id} is already in the book"
        if 0 < order.quantity < order.leaves or order.leaves < 1 <= order.quantity:
            return f"leaves {order.leaves} of quantity {order.quantity}"
        return _outside_limits(order.price, order.quantity)

    def _enter(self, order: Order) -> list[BookEvent]:
        """Match, then rest or cancel the remainder."""
        events: list[BookEvent] = []
        if order.side == _BID:
            own, makers = self._bids, self._asks
        else:
            own, makers = self._asks, self._bids
        keys = makers.keys
        limit = makers.sign * order.price
        if keys and keys[-1] >= limit:
            if order.time_in_force == _FOK and not _fillable(order, makers, limit):
                events.append(_cancelled(order, CancelReason.FOK_UNFILLABLE))
                return events
            if not self._match(order, makers, limit, events):
                return events
        time_in_force = order.time_in_force
        if time_in_force < _IOC:
            own.add(order)
            self._orders[order.order_id] = order
            events.append(Rested(order.order_id, order.price, order.leaves))
        elif time_in_force == _IOC:
            events.append(_cancelled(order, CancelReason.IOC_REST))
        else:
            events.append(_cancelled(order, CancelReason.FOK_UNFILLABLE))
        return events

    def _match(self, taker: Order, makers: BookSide, limit: int, events: list[BookEvent]) -> bool:
        """Trade the taker down to its limit key; True if some of it is left to rest or cancel."""
        keys = makers.keys
        levels = makers.levels
        account_id = taker.account_id
        leaves = taker.leaves
        while keys and keys[-1] >= limit:
            level = levels[keys[-1]]
            maker = level.oldest
            assert maker is not None
            if maker.account_id == account_id:
                taker.leaves = leaves
                if not self._prevent_self_trade(taker, maker, events):
                    return False
                leaves = taker.leaves
                continue
            traded = maker.leaves
            if traded > leaves:
                # The maker absorbs the taker and keeps its place.
                maker.leaves -= leaves
                level.quantity -= leaves
                taker.leaves = 0
                events.append(
                    Fill(
                        maker.order_id, maker.account_id, taker.order_id, account_id,
                        level.price, leaves, maker.leaves, 0,
                    )
                )  # fmt: skip
                return False
            leaves -= traded
            makers.remove(maker)
            maker.leaves = 0
            del self._orders[maker.order_id]
            events.append(
                Fill(
                    maker.order_id, maker.account_id, taker.order_id, account_id,
                    level.price, traded, 0, leaves,
                )
            )  # fmt: skip
            if leaves == 0:
                taker.leaves = 0
                return False
        taker.leaves = leaves
        return True

    def _prevent_self_trade(self, taker: Order, maker: Order, events: list[BookEvent]) -> bool:
        """Apply the taker's mode to its own resting order; False if the taker is done."""
        mode = taker.self_trade
        if mode == _CANCEL_NEWEST:
            events.append(_cancelled(taker, CancelReason.SELF_TRADE))
            return False
        if mode in (_CANCEL_OLDEST, _CANCEL_BOTH):
            self.cancel(maker.order_id)
            events.append(_cancelled(maker, CancelReason.SELF_TRADE))
            if mode == _CANCEL_OLDEST:
                return True
            events.append(_cancelled(taker, CancelReason.SELF_TRADE))
            return False
        taken = min(taker.leaves, maker.leaves)
        if taken == maker.leaves:
            self.cancel(maker.order_id)
        else:
            level = maker.level
            assert level is not None
            level.quantity -= taken
        for order in (maker, taker):
            order.quantity -= taken
            order.leaves -= taken
            events.append(Decremented(order.order_id, order.account_id, taken, order.leaves))
        return taker.leaves > 0


def _outside_limits(price: int, quantity: int) -> str:
    return f"price {price} not in 1..{PRICE_MAX} or quantity {quantity} not in 1..{QUANTITY_MAX}"


def _cancelled(order: Order, reason: CancelReason) -> Cancelled:
    return Cancelled(order.order_id, order.account_id, order.leaves, reason)


def _fillable(order: Order, makers: BookSide, limit: int) -> bool:
    """Whether a FOK order trades in full, own orders left out. Costs O(orders it would meet)."""
    missing = order.leaves
    for key in reversed(makers.keys):
        if key < limit:
            return False
        maker = makers.levels[key].oldest
        while maker is not None:
            if maker.account_id != order.account_id:
                missing -= maker.leaves
                if missing <= 0:
                    return True
            elif order.self_trade != _CANCEL_OLDEST:
                return False
            maker = maker.newer
    return False


def _rows(level: Level) -> tuple[tuple[int, ...], ...]:
    rows: list[tuple[int, ...]] = []
    order = level.oldest
    while order is not None:
        rows.append(order.row())
        order = order.newer
    return tuple(rows)
