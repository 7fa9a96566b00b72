"""Explicit orders on continuous instruments: what owners may do with them.

A bid holds its worst case (limit x quantity, rounded up, or its money cap) from entry to its end: a
stop order from entry too, an iceberg its whole quantity. What its book then does is settled by
`exchange.core.order_fills`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from exchange.core.accounts import Account
from exchange.core.commands import (
    PLACEMENTS,
    CancelOrder,
    EndOrderStream,
    MassCancel,
    OrderType,
    PlaceMultiLegOrder,
    PlaceOrder,
    ReplaceOrder,
    TradingState,
)
from exchange.core.events import (
    OrderReplaced,
    OrdersCancelled,
    OrderState,
    Repeated,
)
from exchange.core.limits import POSITION_MAX_MFLOP
from exchange.core.multi_leg import MultiLegDesk
from exchange.core.open_orders import OpenOrder
from exchange.core.order_entry import (
    BOOK_REFUSALS,
    book_order,
    limit_price,
    refusal,
)
from exchange.core.order_table import oldest_first
from exchange.core.placements import Placement
from exchange.core.reasons import Reason
from exchange.core.throttle import ratio_refusal
from exchange.core.timers import TimerKind
from exchange.metering.costs import escrow_nanos
from matching.events import Rejected
from matching.types import Side, Terms, TimeInForce

if TYPE_CHECKING:
    from exchange.core.accounts import Stake
    from exchange.core.instruments import Instrument
    from exchange.core.ledger import Hold
    from exchange.core.order_fills import FillDesk
    from exchange.core.state import State
    from exchange.core.trading import TradingDesk

# Members stand here by themselves: looking one up in its enum costs a tenth of an order's entry.
_NONE: Final = Reason.NONE
_BY_OWNER: Final = Reason.CANCELLED_BY_OWNER
_NOT_OWNER: Final = Reason.NOT_OWNER
_UNKNOWN_ORDER: Final = Reason.UNKNOWN_ORDER
_CANCELED: Final = OrderState.CANCELED
_BID: Final = int(Side.BID)
_FOK: Final = int(TimeInForce.FOK)
_IOC: Final = int(TimeInForce.IOC)
_LIMIT: Final = int(OrderType.LIMIT)
_LIMITED: Final = (_LIMIT, int(OrderType.STOP_LIMIT))
_STOPS: Final = (int(OrderType.STOP), int(OrderType.STOP_LIMIT))
_POST_ONLY: Final = int(Terms.POST_ONLY)
_OPEN: Final = TradingState.OPEN
_PLAIN: Final = PlaceOrder.KIND
_PLACEMENTS: Final = {kind.KIND for kind in PLACEMENTS}
_Rejected: Final = Rejected


class OrderDesk:
    """Places, cancels and replaces explicit orders."""

    def __init__(self, state: State, fills: FillDesk, trading: TradingDesk) -> None:
        self._state = state
        self._fills = fills
        self._trading = trading
        self._multi_leg = MultiLegDesk(state, fills, trading)
        self._placed = Placement()  # the command under way

    def place(self, command: PlaceOrder) -> Reason:
        """A new order, or the first result of the same client id."""
        self._placed.read(command)
        return self.take_in(self._placed)

    def take_in(self, placed: Placement) -> Reason:
        """`place` for a command that was read."""
        state = self._state
        account = state.accounts.get(placed.account_id)
        if account is None:
            return Reason.UNKNOWN_ACCOUNT
        known = state.order_ids.find(
            account, placed.client_order_id, placed.kind, placed.digest, state.now_ns
        )
        if known is not None:
            if not known.reason:
                state.emit(Repeated(account.account_id, known.result_id))
            return known.reason
        limits = account.limits
        if limits is None:
            return self._place_new(account, placed)
        reason = limits.refusal(state) or self._place_new(account, placed)
        if not reason:
            limits.message(state.now_ns)
        return reason

    def _place_new(self, account: Account, placed: Placement) -> Reason:
        state = self._state
        if not placed.is_plain and isinstance(placed.command, PlaceMultiLegOrder):
            return self._multi_leg.place(account, placed.command, placed)
        instrument = state.instruments.get(placed.instrument_id)
        if instrument is None:
            return Reason.UNKNOWN_INSTRUMENT
        limited = placed.order_type == _LIMIT
        price = placed.price_nanos if limited else limit_price(placed, instrument)
        stake = account.stake(placed.instrument_id)
        reason = refusal(state, account, instrument, stake, placed, price)
        if reason is not _NONE:
            return reason
        if instrument.guards is None:
            entered = self._enter(account, instrument, stake, placed, price)
        else:
            entered = self._enter_guarded(account, instrument, stake, placed, price)
        return _NONE if isinstance(entered, OpenOrder) else entered

    def _enter(
        self, account: Account, instrument: Instrument, stake: Stake, placed: Placement, price: int
    ) -> OpenOrder | Reason:
        """Let the book take the order; nothing has changed where it, or the money, refuses."""
        state = self._state
        order_id = state.counters.order + 1
        instrument_id, quantity, side = placed.instrument_id, placed.quantity_mflop, placed.side
        hold: Hold | None = None
        if side == _BID:
            escrow = escrow_nanos(price, quantity)
            if placed.max_cost_nanos:
                escrow = min(escrow, placed.max_cost_nanos)
            hold = state.ledger.hold(placed.account_id, escrow)
            if hold is None:
                return Reason.INSUFFICIENT_FUNDS
        resting = book_order(placed, order_id, price)
        book = instrument.book
        assert book is not None, "orders are for continuous books"
        events = book.place(resting, tell_rests=False)
        if events and type(events[0]) is _Rejected:
            if hold is not None:
                state.ledger.take_back(hold)
            return BOOK_REFUSALS[events[0].reason]
        if state.heard:
            state.hear(instrument_id)
        state.counters.order = order_id
        account.client_ids.add(placed.client_order_id, placed.kind, placed.digest, order_id)
        order = OpenOrder(account, instrument, stake, placed, resting, hold)
        state.orders.add(order)
        account.add_order(order)
        stake.expose(side, quantity)
        if order.expire_time_ns:
            state.timers.set(TimerKind.ORDER_EXPIRY, order_id, order.expire_time_ns)
        state.tape.accepted(
            order_id,
            placed.account_id,
            placed.client_order_id,
            instrument_id,
            side,
            price,
            quantity,
        )
        if events:  # most orders rest, and nothing else happens
            self._trading.settle(instrument, events)
        if resting.price != price and order_id in state.orders:
            self._fills.changed(order, resting.leaves)  # post-only, and rests at another price
        return order

    def _enter_guarded(
        self, account: Account, instrument: Instrument, stake: Stake, placed: Placement, price: int
    ) -> OpenOrder | Reason:
        """As `_enter`, within what the book's protections allow."""
        state = self._state
        guards = instrument.guards
        assert guards is not None
        instrument_id = placed.instrument_id
        if 0 < guards.terms.book_orders_max <= len(state.books[instrument_id]):
            return Reason.BOOK_FULL
        too_much = ratio_refusal(state, guards.ratio, account.account_id, instrument_id)
        if too_much:
            return too_much
        edge = price
        if instrument.state == _OPEN and placed.order_type not in _STOPS:
            if placed.order_type == _LIMIT and not guards.bands.static_range().holds(price):
                return Reason.BEYOND_BAND
            low, high = guards.allowed(instrument.tick_nanos)
            edge = min(price, high) if placed.side == _BID else max(price, low)
        order = self._enter(account, instrument, stake, placed, edge)
        if isinstance(order, Reason):
            return order
        self._count_message(order, instrument)
        if edge != price and self._would_trade_on(order, price):
            self._trading.stop(instrument, Reason.BEYOND_BAND)
        return order

    def _would_trade_on(self, order: OpenOrder, price: int) -> bool:
        """Whether an order that met the edge of the bands could trade beyond it at its price."""
        never = order.time_in_force == _FOK or order.resting.terms & _POST_ONLY
        if never or not order.leaves_mflop:
            return False
        best = self._state.books[order.instrument_id].best(3 - order.side)
        return best is not None and (best <= price if order.side == _BID else best >= price)

    def cancel_order(self, command: CancelOrder) -> Reason:
        """Cancel what is left of an order."""
        return self.cancel(command.account_id, command.order_id, command.client_order_id)

    def cancel(self, account_id: int, order_id: int, client_order_id: bytes) -> Reason:
        """`cancel_order` for a command that was read."""
        order = self._named(account_id, order_id, client_order_id)
        if order is None:
            return _UNKNOWN_ORDER
        if order.account_id != account_id:
            return _NOT_OWNER
        self.close(order, _CANCELED, _BY_OWNER)
        if order.account.limits is not None:
            order.account.limits.message(self._state.now_ns)
        if order.instrument is not None:
            self._count_message(order, order.instrument)
        for leg in order.legs:
            self._count_message(order, self._state.instruments[leg.instrument_id])
        return _NONE

    def _count_message(self, order: OpenOrder, instrument: Instrument) -> None:
        guards = instrument.guards
        if guards is not None and guards.ratio is not None:
            guards.ratio.message(order.account_id, instrument.instrument_id, self._state.now_ns)

    def _named(self, account_id: int, order_id: int, client_order_id: bytes) -> OpenOrder | None:
        """The open order of either id; by its own id anybody's."""
        if order_id:
            return self._state.orders.get(order_id)
        account = self._state.accounts.get(account_id)
        if account is None:
            return None
        kind, result_id = account.client_ids.led_to(client_order_id)
        if kind != _PLAIN and kind not in _PLACEMENTS:
            return None
        return self._state.orders.get(result_id)

    def mass_cancel(self, command: MassCancel) -> Reason:
        """Cancel an account's open orders, the oldest first. O(its orders + named x log named)."""
        account = self._state.accounts.get(command.account_id)
        if account is None:
            return Reason.UNKNOWN_ACCOUNT
        if command.instrument_id and command.instrument_id not in self._state.instruments:
            return Reason.UNKNOWN_INSTRUMENT
        if command.side > len(Side):
            return Reason.FIELD_INVALID
        named = [
            order
            for order in account.orders
            if command.side in (0, order.side) and order.is_on(command.instrument_id)
        ]
        if account.limits is not None:
            account.limits.message(self._state.now_ns, is_order=False)
        self._cancel_all(account, named, Reason.CANCELLED_BY_OWNER)
        return _NONE

    def end_stream(self, command: EndOrderStream) -> Reason:
        """Cancel the orders that were to live as long as a stream, the oldest first.

        O(orders of the account + named x log named).
        """
        account = self._state.accounts.get(command.account_id)
        if account is None:
            return Reason.UNKNOWN_ACCOUNT
        if not command.stream_id:
            return Reason.FIELD_INVALID
        named = [order for order in account.orders if order.stream_id == command.stream_id]
        self._cancel_all(account, named, Reason.DISCONNECTED)
        return _NONE

    def end_streams(self) -> None:
        """The exchange was away, so every stream is over. O(orders)."""
        for account in self._state.accounts.values():
            named = [order for order in account.orders if order.stream_id]
            if named:
                self._cancel_all(account, named, Reason.DISCONNECTED)

    def _cancel_all(self, account: Account, named: list[OpenOrder], reason: Reason) -> None:
        """End orders in one step: all are gone before anything can trade with what is left."""
        orders = oldest_first(named)
        self._state.emit(OrdersCancelled(account.account_id, reason, len(orders)))
        legged = [order.order_id for order in orders if order.legs]
        others: dict[int, list[int]] = {}
        for order in orders:
            if not order.legs:
                others.setdefault(order.instrument_id, []).append(order.order_id)
        left = [order.leaves_mflop for order in orders]
        steps = self._state.legs.cancel_all(legged, others)
        for order, leaves in zip(orders, left, strict=True):
            self._fills.end(order, OrderState.CANCELED, reason, leaves)
        # Mostly a book has nothing to tell but these ends.
        self._trading.carry_out(
            [step for step in steps if len(step.events) > len(others.get(step.instrument_id, ()))]
        )

    def replace(self, command: ReplaceOrder) -> Reason:
        """New price and new total quantity; priority is kept only where the size shrinks."""
        state = self._state
        order = state.orders.get(command.order_id)
        if order is None:
            return Reason.UNKNOWN_ORDER
        if order.account_id != command.account_id:
            return Reason.NOT_OWNER
        instrument = order.instrument
        if instrument is None:
            return Reason.ORDER_TYPE_UNSUPPORTED
        resting, quantity = order.resting, command.quantity_mflop
        # An order without a limit keeps the edge that protects it.
        price = command.price_nanos if order.order_type in _LIMITED else resting.price
        reason = self._replace_refusal(order, instrument, price, command)
        if reason:
            return reason
        leaves = max(0, quantity - (resting.quantity - resting.leaves))
        more = leaves - resting.leaves
        if more > 0 and order.stake.worst(order.side) + more > POSITION_MAX_MFLOP:
            return Reason.POSITION_TOO_LARGE
        worst = order.posted_nanos + escrow_nanos(price, leaves)
        if order.max_cost_nanos and worst > order.max_cost_nanos:
            if resting.time_in_force < _IOC:
                return Reason.MONEY_CAP
            worst = order.max_cost_nanos
        if order.hold is not None:
            needed = worst - order.hold.amount
            if needed > state.ledger.available(order.account_id):
                return Reason.INSUFFICIENT_FUNDS
        stop_price = command.stop_price_nanos if order.waiting else 0
        book = state.books[order.instrument_id]
        events = book.replace(order.order_id, price, quantity, stop_price)
        if isinstance(events[0], Rejected):
            return BOOK_REFUSALS[events[0].reason]
        state.hear(order.instrument_id)
        if order.hold is not None:
            resized = state.ledger.resize(order.hold, worst)
            assert resized, "a hold that was checked does not fit"
        if leaves:  # else the book has cancelled it: replaced below what is filled
            order.stake.expose(order.side, more)
            state.emit(
                OrderReplaced(
                    order.order_id, order.account_id, order.instrument_id, price, quantity, leaves
                )
            )
        if order.account.limits is not None:
            order.account.limits.message(state.now_ns)
        self._count_message(order, instrument)
        self._trading.settle(instrument, events)
        if resting.price != price and order.order_id in state.orders:
            self._fills.changed(order, resting.leaves)
        return _NONE

    def _replace_refusal(
        self, order: OpenOrder, instrument: Instrument, price: int, command: ReplaceOrder
    ) -> Reason:
        """Why the order cannot get such terms, or NONE."""
        if order.account.halted:
            return Reason.ACCOUNT_HALTED
        limits = order.account.limits
        if limits is not None and (too_much := limits.refusal(self._state)):
            return too_much
        if not instrument.takes_orders:
            return Reason.INSTRUMENT_HALTED
        reason = instrument.price_refusal(price)
        reason = reason or instrument.quantity_refusal(command.quantity_mflop)
        if not reason and command.stop_price_nanos:
            if not order.waiting:
                return Reason.CONDITIONS_CONFLICT
            reason = instrument.price_refusal(command.stop_price_nanos)
        state, guards = self._state, instrument.guards
        if reason or guards is None:
            return reason
        if instrument.state == _OPEN and not order.waiting:
            low, high = guards.bands.static_range()
            allowed = guards.bands.allowed()
            if order.side == _BID:
                high = allowed.high
            else:
                low = allowed.low
            if not low <= price <= high:
                return Reason.BEYOND_BAND
        return ratio_refusal(state, guards.ratio, order.account_id, order.instrument_id)

    def expiry_due(self, order_id: int) -> None:
        """Timer: a GTD order's time has passed."""
        self.close(self._state.orders[order_id], OrderState.EXPIRED, Reason.ORDER_EXPIRED)

    def close(self, order: OpenOrder, ending: OrderState, reason: Reason) -> None:
        """Take an open order out of its book, or its books, and end it."""
        instrument = order.instrument
        if instrument is None:
            steps = self._state.legs.cancel(order.order_id)
            self._fills.end(order, ending, reason, 0)
            self._trading.carry_out(steps)
            return
        assert instrument.book is not None
        resting = order.resting
        events = instrument.book.take_out(resting)
        if self._state.heard:
            self._state.hear(order.instrument_id)
        self._fills.end(order, ending, reason, resting.leaves)
        if events:
            self._trading.settle(instrument, events)
