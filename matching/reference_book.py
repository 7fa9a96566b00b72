"""The naive twin of `Book`: the rule book written to be read, not to be fast.

One flat list of resting orders and one of stop orders, both in order of arrival, sorted and scanned
in full for every decision; what an order would trade is found by trying it on a copy. It shares the
words (orders, events, reasons) with the real book and none of its structure, gives the same events
and has the same `state()`. Tests compare the two event for event.
"""

from __future__ import annotations

from operator import attrgetter

from matching.digest import state_digest
from matching.events import (
    Armed,
    BookEvent,
    Cancelled,
    Decremented,
    Rejected,
    Rested,
    StateChanged,
    Triggered,
)
from matching.order import AT_LEAST, STOP, UNSEEN, Order
from matching.reference_terms import (
    end_budget,
    fill,
    improved,
    is_crossed,
    peak,
    reaches,
    reaches_own,
    refusal,
    replace_refusal,
    stop_price_of,
)
from matching.types import (
    PRICE_MAX,
    BookState,
    CancelReason,
    RejectReason,
    SelfTradePrevention,
    Side,
    Terms,
    TimeInForce,
)

_RESTING = (TimeInForce.GTC, TimeInForce.GTD)
_OLDEST = SelfTradePrevention.CANCEL_OLDEST


class NaiveBook:
    """`matching.book.Book` as a list of orders in order of arrival."""

    def __init__(self, tick: int = 1, lot: int = 1) -> None:
        self.tick, self.lot = tick, lot
        self.state_now = BookState.OPEN
        self.last_price = 0
        self._orders: list[Order] = []
        self._stops: list[Order] = []
        self._triggered: list[Order] = []
        self._trades: list[int] = []  # prices since stops were last examined
        self._events: list[BookEvent] = []

    # Commands

    def place(self, order: Order) -> list[BookEvent]:
        """See `Book.place`."""
        self._events = []
        reason = refusal(self, order)
        if reason is not None:
            return [Rejected(order.order_id, reason)]
        self._enter(order)
        return self._settled()

    def cancel(self, order_id: int) -> list[BookEvent]:
        """See `Book.cancel`."""
        self._events = []
        order = self.order(order_id)
        if order is None:
            return [Rejected(order_id, RejectReason.UNKNOWN_ORDER)]
        self._cancel(order, CancelReason.REQUESTED)
        return self._settled()

    def replace(
        self, order_id: int, price: int, quantity: int, stop_price: int = 0
    ) -> list[BookEvent]:
        """See `Book.replace`."""
        self._events = []
        order = self.order(order_id)
        reason = replace_refusal(self, order, price, quantity, stop_price)
        if order is None or reason is not None:
            return [Rejected(order_id, reason or RejectReason.UNKNOWN_ORDER)]
        filled = order.quantity - order.leaves
        if quantity <= filled:
            self._cancel(order, CancelReason.REPLACED_BELOW_FILLED)
        elif order in self._stops:
            self._replace_stop(order, price, quantity, stop_price)
        elif price == order.price and quantity <= order.quantity:
            self._shrink(order, order.quantity - quantity)
            order.quantity = quantity
            self._events.append(Rested(order_id, price, order.leaves))
        else:
            self._orders.remove(order)
            order.price, order.quantity, order.leaves = price, quantity, quantity - filled
            self._enter(order)
        return self._settled()

    def mass_cancel(self, account_id: int, side: int = 0) -> list[BookEvent]:
        """See `Book.mass_cancel`."""
        self._events = []
        if side not in (0, Side.BID, Side.ASK):
            return [Rejected(0, RejectReason.TERMS_CONFLICT)]
        for order in self.orders() + self.stops():
            if order.account_id == account_id and side in (0, order.side):
                self._cancel(order, CancelReason.MASS_CANCEL)
        return self._settled()

    def set_state(self, state: int) -> list[BookEvent]:
        """See `Book.set_state`."""
        self._events = []
        if state not in tuple(BookState):
            return [Rejected(0, RejectReason.UNKNOWN_COMMAND)]
        was_open = self.state_now == BookState.OPEN
        bids, asks = self.interest(Side.BID), self.interest(Side.ASK)
        crossed = bids and asks and bids[0][0] >= asks[0][0]
        if state == BookState.OPEN and not was_open and crossed:
            return [Rejected(0, RejectReason.CROSSED)]
        if self.state_now == BookState.AUCTION and state != BookState.AUCTION:
            self._cancel_immediate()
        self.state_now = BookState(state)
        self._events.append(StateChanged(self.state_now))
        self._trades = [self.last_price]
        return self._settled()

    def uncross(self, price: int) -> list[BookEvent]:
        """See `Book.uncross`."""
        self._events = []
        if self.state_now != BookState.AUCTION:
            return [Rejected(0, RejectReason.NO_AUCTION)]
        if not 0 < price <= PRICE_MAX:
            return [Rejected(0, RejectReason.PRICE_OUTSIDE_LIMITS)]
        for bid in self._within(Side.BID, price):
            for ask in self._within(Side.ASK, price):
                if ask.account_id == bid.account_id and bid in self._orders:
                    self._separate(bid, ask)
        if self._events:
            return self._events
        while True:
            bids, asks = self._within(Side.BID, price), self._within(Side.ASK, price)
            if not bids or not asks:
                break
            self._pair(bids[0], asks[0], price)
        self._cancel_immediate()
        return self._events

    def best(self, side: int) -> int | None:
        """See `Book.best`."""
        shown = [order.price for order in self._queue(side) if order.shown]
        return shown[0] if shown else None

    def depth(self, side: int, levels: int) -> list[tuple[int, int, int]]:
        """See `Book.depth`."""
        shown = [order for order in self._queue(side) if order.shown]
        prices = list(dict.fromkeys(order.price for order in shown))[:levels]
        at = [[order.shown for order in shown if order.price == price] for price in prices]
        return [(price, sum(q), len(q)) for price, q in zip(prices, at, strict=True)]

    def order(self, order_id: int) -> Order | None:
        """See `Book.order`."""
        found = [order for order in self._orders + self._stops if order.order_id == order_id]
        return found[0] if found else None

    def orders(self) -> list[Order]:
        """See `Book.orders`."""
        return self._queue(Side.BID) + self._queue(Side.ASK)

    def stops(self) -> list[Order]:
        """See `Book.stops`."""
        return list(self._stops)

    def minimums(self) -> list[Order]:
        """The resting orders with a minimum, oldest first."""
        return [order for order in self._orders if order.terms & AT_LEAST]

    def interest(self, side: int) -> list[tuple[int, int]]:
        """See `Book.interest`."""
        plain = [order for order in self._queue(side) if not order.terms & AT_LEAST]
        prices = dict.fromkeys(order.price for order in plain)
        return [(p, sum(o.leaves for o in plain if o.price == p)) for p in prices]

    def __len__(self) -> int:
        return len(self._orders) + len(self._stops)

    def state(self) -> tuple[object, ...]:
        """See `Book.state`."""
        sides = []
        for side in Side:
            queue = self._queue(side)
            prices = dict.fromkeys(order.price for order in queue)
            sides.append(tuple((p, tuple(o.row() for o in queue if o.price == p)) for p in prices))
        stops = tuple((order.side, order.price, *order.row()) for order in self._stops)
        return (*sides, stops, int(self.state_now), self.last_price)

    def digest(self) -> bytes:
        """See `Book.digest`."""
        return state_digest(self.state())

    def check(self) -> None:
        """See `Book.check`; and that no resting order is left able to trade."""
        assert all(0 < order.leaves <= order.quantity for order in self._orders)
        assert not self._triggered
        if self.state_now == BookState.OPEN:
            assert all(self._block(order) is None for order in self._orders)

    # Entering

    def _enter(self, order: Order) -> None:
        tif = order.time_in_force
        if order.terms & STOP:
            if self._is_reached(order, [self.last_price]):
                self._triggered.append(order)
            else:
                self._stops.append(order)
                self._events.append(Armed(order.order_id, stop_price_of(order), order.leaves))
        elif self.state_now == BookState.AUCTION:
            self._rest(order)
        elif order.terms & Terms.POST_ONLY:
            self._enter_post_only(order)
        elif tif == TimeInForce.FOK and self._sure(order) < order.leaves:
            self._drop(order, CancelReason.FOK_UNFILLABLE)
        elif order.terms & AT_LEAST and self._sure(order) < order.least():
            if tif in _RESTING:
                self._rest(order)
            else:
                self._drop(order, CancelReason.MINIMUM_UNFILLABLE)
        elif self._match(order):
            if tif in _RESTING:
                self._rest(order)
            else:
                self._drop(order, CancelReason.IOC_REST)

    def _enter_post_only(self, order: Order) -> None:
        met: set[int] = set()
        # A budget that pays no lot here pays none at the order's limit.
        while (found := self._next(order, met)) is not None and found[1]:
            maker = found[0]
            if maker.account_id == order.account_id:
                if not self._prevent_self_trade(maker, order):
                    return
                continue
            price = maker.price + (-self.tick if order.side == Side.BID else self.tick)
            if not order.terms & Terms.REPRICE or not 0 < price <= PRICE_MAX:
                self._drop(order, CancelReason.POST_ONLY_WOULD_TAKE)
                return
            order.price = price
            break
        self._rest(order)

    def _sure(self, order: Order) -> int:
        """What the order is certain to trade, tried on a copy."""
        trial = NaiveBook(self.tick, self.lot)
        trial._orders = [resting.copy() for resting in self._orders]
        taker = order.copy()
        traded = 0
        met: set[int] = set()
        while taker.leaves and (found := trial._next(taker, met)) is not None:
            maker, quantity, price = found
            if maker.account_id == taker.account_id:
                if taker.self_trade != _OLDEST:
                    break
                trial._prevent_self_trade(maker, taker)
                continue
            if not quantity:
                break
            traded += quantity
            wanted = min(peak(maker), taker.leaves)
            trial._trade(maker, taker, quantity, price)
            if quantity < wanted:
                break
        return traded

    def _match(self, taker: Order) -> bool:
        """Trade with one maker after the other; True if something is left to rest or cancel."""
        passed: set[int] = set()
        while taker.leaves and (found := self._next(taker, passed)) is not None:
            maker, quantity, price = found
            if maker.account_id == taker.account_id:
                if not self._prevent_self_trade(maker, taker):
                    return False
                continue
            wanted = min(peak(maker), taker.leaves)
            if quantity:
                self._trade(maker, taker, quantity, price)
            if quantity < wanted:
                self._drop(taker, CancelReason.BUDGET_SPENT)
                return False
        return taker.leaves > 0

    def _next(self, taker: Order, passed: set[int]) -> tuple[Order, int, int] | None:
        """The maker that the taker meets next, what it can trade with it, and the price."""
        own_best = self.best(taker.side)
        for maker in self._queue(3 - taker.side):
            if not reaches(taker, maker.price):
                return None
            if maker.order_id in passed:
                continue
            price = maker.price
            if maker.terms & AT_LEAST and own_best is not None:
                if reaches_own(taker, own_best):
                    passed.add(maker.order_id)
                    continue
                price = improved(maker, taker, own_best, self.best(maker.side), self.tick)
            quantity = min(peak(maker), taker.leaves)
            if taker.terms & Terms.BUDGET and maker.account_id != taker.account_id:
                assert taker.conditions is not None
                lots = taker.conditions.budget // price // self.lot
                quantity = min(quantity, lots * self.lot)
            if maker.terms & AT_LEAST and quantity < maker.least():
                passed.add(maker.order_id)
                continue
            return maker, quantity, price
        return None

    # After a command

    def _settled(self) -> list[BookEvent]:
        """Re-check minimums, then let one stop order after the other enter."""
        while self.state_now == BookState.OPEN:
            while is_crossed(self._orders) and any(self._trade_block(o) for o in self.minimums()):
                pass
            reached = [order for order in self._stops if self._is_reached(order, self._trades)]
            reached.sort(key=lambda order: -abs(stop_price_of(order) - self.last_price))
            self._stops = [order for order in self._stops if order not in reached]
            self._triggered += reached
            self._trades = []
            if not self._triggered:
                break
            order = self._triggered.pop(0)
            self._events.append(Triggered(order.order_id, stop_price_of(order)))
            assert order.conditions is not None
            order.conditions.terms &= ~STOP
            if not order.conditions.terms:
                order.conditions = None
            self._enter(order)
        return self._events

    def _is_reached(self, order: Order, prices: list[int]) -> bool:
        if self.state_now != BookState.OPEN:
            return False
        if order.side == Side.BID:
            return any(price >= stop_price_of(order) for price in prices if price)
        return any(price <= stop_price_of(order) for price in prices if price)

    def _replace_stop(self, order: Order, price: int, quantity: int, stop_price: int) -> None:
        assert order.conditions is not None
        order.price, order.quantity, order.leaves = price, quantity, quantity
        order.conditions.stop_price = stop_price or order.conditions.stop_price
        if self._is_reached(order, [self.last_price]):
            self._stops.remove(order)
            self._triggered.append(order)
        else:
            self._events.append(Armed(order.order_id, stop_price_of(order), quantity))

    def _block(self, order: Order) -> int | None:
        """The one price at which a resting order could trade now, or None."""
        left, price = order.leaves, 0
        for maker in self._queue(3 - order.side):
            if not left or not reaches(order, maker.price):
                break  # all that follow are dearer
            give = min(left, maker.leaves)
            own = maker.account_id == order.account_id
            if not own and give >= maker.least():
                left -= give
                price = maker.price
        return price if order.leaves - left >= order.least() else None

    def _trade_block(self, order: Order) -> bool:
        price = self._block(order)
        if price is None:
            return False
        while order.leaves:
            able = [
                maker
                for maker in self._queue(3 - order.side)
                if reaches(order, maker.price)
                and maker.account_id != order.account_id
                and min(order.leaves, maker.leaves) >= maker.least()
            ]
            if not able:
                break
            self._trade(able[0], order, min(order.leaves, peak(able[0])), price)
        if not order.leaves:
            self._orders.remove(order)
        return True

    # Small changes

    def _rest(self, order: Order) -> None:
        if order.terms & Terms.BUDGET:
            self._events += end_budget(order, self.lot)
            if not order.leaves:
                return
        if order.conditions is not None and order.terms & Terms.ICEBERG:
            order.conditions.reserve = max(0, order.leaves - order.conditions.display)
        self._orders.append(order)
        self._events.append(Rested(order.order_id, order.price, order.leaves))

    def _drop(self, order: Order, reason: CancelReason) -> None:
        self._events.append(Cancelled(order.order_id, order.account_id, order.leaves, reason))

    def _cancel(self, order: Order, reason: CancelReason) -> None:
        (self._stops if order in self._stops else self._orders).remove(order)
        self._drop(order, reason)

    def _cancel_immediate(self) -> None:
        for order in self.orders():
            if order.time_in_force == TimeInForce.IOC:
                self._cancel(order, CancelReason.IOC_REST)

    def _trade(self, maker: Order, taker: Order, quantity: int, price: int) -> None:
        self.last_price = price
        self._trades.append(price)
        maker.leaves -= quantity
        taker.leaves -= quantity
        if taker.conditions is not None and taker.terms & Terms.BUDGET:
            taker.conditions.budget -= quantity * price
        self._events.append(fill(maker, taker, price, quantity))
        if not maker.leaves:
            self._orders.remove(maker)
        elif maker.conditions is not None and not maker.terms & UNSEEN and not maker.shown:
            # The next peak, behind all others at its price.
            maker.conditions.reserve = max(0, maker.leaves - maker.conditions.display)
            self._orders.remove(maker)
            self._orders.append(maker)

    def _shrink(self, order: Order, quantity: int) -> None:
        order.leaves -= quantity
        if order.conditions is not None:
            order.conditions.reserve = max(0, order.conditions.reserve - quantity)

    def _decrement(self, order: Order, quantity: int) -> None:
        self._shrink(order, quantity)
        order.quantity -= quantity
        self._events.append(Decremented(order.order_id, order.account_id, quantity, order.leaves))
        if not order.leaves and order in self._orders:
            self._orders.remove(order)

    def _prevent_self_trade(self, maker: Order, taker: Order) -> bool:
        """False if the taker is done."""
        mode = taker.self_trade
        if mode == SelfTradePrevention.DECREMENT:
            quantity = min(maker.leaves, taker.leaves)
            self._decrement(maker, quantity)
            self._decrement(taker, quantity)
            return taker.leaves > 0
        if mode in {SelfTradePrevention.CANCEL_OLDEST, SelfTradePrevention.CANCEL_BOTH}:
            self._cancel(maker, CancelReason.SELF_TRADE)
        if mode in {SelfTradePrevention.CANCEL_NEWEST, SelfTradePrevention.CANCEL_BOTH}:
            self._drop(taker, CancelReason.SELF_TRADE)
            return False
        return True

    # An auction

    def _within(self, side: int, price: int) -> list[Order]:
        plain = [order for order in self._queue(side) if not order.terms & AT_LEAST]
        if side == Side.BID:
            return [order for order in plain if order.price >= price]
        return [order for order in plain if order.price <= price]

    def _separate(self, bid: Order, ask: Order) -> None:
        """Two orders of one account; the bid counts as the newest."""
        mode = bid.self_trade
        if mode == SelfTradePrevention.DECREMENT:
            quantity = min(bid.leaves, ask.leaves)
            self._decrement(ask, quantity)
            self._decrement(bid, quantity)
        if mode in {SelfTradePrevention.CANCEL_OLDEST, SelfTradePrevention.CANCEL_BOTH}:
            self._cancel(ask, CancelReason.SELF_TRADE)
        if mode in {SelfTradePrevention.CANCEL_NEWEST, SelfTradePrevention.CANCEL_BOTH}:
            self._cancel(bid, CancelReason.SELF_TRADE)

    def _pair(self, bid: Order, ask: Order, price: int) -> None:
        quantity = min(bid.leaves, ask.leaves)
        self.last_price = price
        for order in (bid, ask):
            self._shrink(order, quantity)
            if not order.leaves:
                self._orders.remove(order)
        self._events.append(fill(ask, bid, price, quantity))

    def _queue(self, side: int) -> list[Order]:
        """The orders of a side by price, visibility and time (the sort is stable)."""
        orders = [order for order in self._orders if order.side == side]
        hidden = [o for o in orders if o.conditions and o.conditions.terms & UNSEEN]
        if hidden:
            orders = [order for order in orders if order not in hidden] + hidden
        orders.sort(key=attrgetter("price"), reverse=side == Side.BID)
        return orders
