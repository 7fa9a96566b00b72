"""Explicit orders on continuous instruments: escrow, matching, settlement of paper trades.

A bid holds its worst case (limit x quantity, rounded up) from entry to its end. Each fill posts the
maker's price: the exact sum of price x quantity per order, rounded up, minus what was posted before
(`exchange.metering.costs`). The seller is credited exactly what the buyer is debited.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from exchange.core.accounts import Account, content_digest
from exchange.core.commands import (
    PLACEMENTS,
    AccountKind,
    CancelOrder,
    ClearingMode,
    EndOrderStream,
    MassCancel,
    OrderType,
    PlaceConditionalOrder,
    PlaceMultiLegOrder,
    PlaceOrder,
    ReplaceOrder,
)
from exchange.core.events import (
    EntryKind,
    OrderAccepted,
    OrderClosed,
    OrderFilled,
    OrderReplaced,
    OrdersCancelled,
    OrderState,
    Posted,
    Repeated,
)
from exchange.core.limits import (
    OPEN_ORDERS_PER_ACCOUNT_MAX,
    POSITION_MAX_MFLOP,
)
from exchange.core.reasons import Reason
from exchange.core.timers import TimerKind
from exchange.metering.costs import escrow_nanos
from matching.book import Cancelled, Decremented, Fill, Order, Rested
from matching.types import CancelReason, SelfTradePrevention, Side, TimeInForce

if TYPE_CHECKING:
    from collections.abc import Iterable

    from exchange.core.instruments import Instrument
    from exchange.core.state import State
    from matching.book import BookEvent

_CANCEL_REASON = {
    CancelReason.IOC_REST: Reason.IMMEDIATE_OR_CANCEL,
    CancelReason.FOK_UNFILLABLE: Reason.FILL_OR_KILL,
    CancelReason.SELF_TRADE: Reason.SELF_TRADE,
    CancelReason.REPLACED_BELOW_FILLED: Reason.REPLACED_BELOW_FILLED,
}


# Looked up, not converted: an enum's constructor costs more than the order's escrow. For the same
# reason members stand here as plain ints.
_SIDES: Final = {int(side): side for side in Side}
_TIMES_IN_FORCE: Final = {int(time_in_force): time_in_force for time_in_force in TimeInForce}
_SELF_TRADES: Final = {int(mode): mode for mode in SelfTradePrevention}
_BID: Final = int(Side.BID)
_GTD: Final = int(TimeInForce.GTD)
_LIMIT: Final = int(OrderType.LIMIT)
_MARKET: Final = int(OrderType.MARKET)
_TRADE: Final = EntryKind.TRADE
_PLAIN_FIELDS: Final = len(PlaceOrder.__struct_fields__)


class OpenOrder:
    """An order that works, as its owner sees it; `resting` is the book's part of it."""

    __slots__ = (
        "account",
        "account_id",
        "client_order_id",
        "exposed",
        "instrument_id",
        "max_cost_nanos",
        "notional",
        "order_id",
        "posted_nanos",
        "resting",
        "side",
        "stream_id",
        "transfer_id",
    )

    def __init__(
        self, account: Account, command: PlaceOrder, resting: Order, transfer_id: int
    ) -> None:
        self.order_id = resting.order_id
        self.account = account
        self.account_id = account.account_id
        self.client_order_id = command.client_order_id
        self.instrument_id = command.instrument_id
        self.side = resting.side
        self.exposed = (command.instrument_id, command.side)  # where its leaves count
        self.max_cost_nanos = command.max_cost_nanos  # 0: no cap
        self.resting = resting
        self.stream_id = command.stream_id if type(command) is PlaceConditionalOrder else 0
        self.transfer_id = transfer_id  # 0 for an ask
        self.notional = 0  # exact sum of price x MFLOP bought
        self.posted_nanos = 0

    @property
    def price_nanos(self) -> int:
        """Limit, nano-dollars per CU."""
        return self.resting.price

    @property
    def quantity_mflop(self) -> int:
        """Total quantity."""
        return self.resting.quantity

    @property
    def leaves_mflop(self) -> int:
        """Still open."""
        return self.resting.leaves

    @property
    def time_in_force(self) -> TimeInForce:
        """How long it works."""
        return self.resting.time_in_force

    def state_tuple(self) -> tuple[object, ...]:
        """Canonical state beside the book's, for the digest. Notional may exceed 64 bits."""
        return (
            self.order_id,
            self.client_order_id,
            self.instrument_id,
            self.max_cost_nanos,
            self.stream_id,
            self.transfer_id,
            str(self.notional),
            self.posted_nanos,
        )


class OrderDesk:
    """Places, cancels and replaces explicit orders, and settles their fills."""

    def __init__(self, state: State) -> None:
        self._state = state

    def place(self, command: PlaceOrder) -> Reason:
        """A new order, or the first result of the same client id."""
        state = self._state
        account = state.accounts.get(command.account_id)
        if account is None:
            return Reason.UNKNOWN_ACCOUNT
        content = content_digest(_as_the_client_wrote(command))
        known = state.order_ids.find(account, command.client_order_id, content, state.now_ns)
        if known.reason:
            return known.reason
        if known.result_id:
            state.emit(Repeated(account.account_id, known.result_id))
            return Reason.NONE
        instrument = state.instruments.get(command.instrument_id)
        if instrument is None:
            return Reason.UNKNOWN_INSTRUMENT
        price = _limit_price(command, instrument)
        escrow = escrow_nanos(price, command.quantity_mflop)
        refusal = _refusal(state, account, instrument, command, escrow)
        if refusal:
            return refusal
        transfer_id = 0
        if command.side == _BID:
            transfer_id = state.ledger.hold(account.account_id, escrow)
            if not transfer_id:
                return Reason.INSUFFICIENT_FUNDS
        self._enter(account, command, price, transfer_id, content)
        return Reason.NONE

    def _enter(
        self, account: Account, command: PlaceOrder, price: int, transfer_id: int, content: bytes
    ) -> None:
        state = self._state
        state.counters.order += 1
        order_id = state.counters.order
        resting = Order(
            order_id,
            account.account_id,
            _SIDES[command.side],
            price,
            command.quantity_mflop,
            _time_in_force(command),
            _SELF_TRADES[command.self_trade],
        )
        order = state.orders[order_id] = OpenOrder(account, command, resting, transfer_id)
        state.order_ids.remember(account, command.client_order_id, content, order_id)
        account.orders[order_id] = order
        _expose(order, command.quantity_mflop)
        state.emit(
            OrderAccepted(
                order_id,
                account.account_id,
                command.client_order_id,
                command.instrument_id,
                command.side,
                price,
                command.quantity_mflop,
            )
        )
        self._settle(command.instrument_id, state.books[command.instrument_id].place(resting))
        if command.time_in_force == _GTD and order_id in state.orders:
            state.timers.set(TimerKind.ORDER_EXPIRY, order_id, command.expire_time_ns)

    def cancel(self, command: CancelOrder) -> Reason:
        """Cancel what is left of an order."""
        order = self.find(command.account_id, command.order_id, command.client_order_id)
        if isinstance(order, Reason):
            return order
        self.close(order, OrderState.CANCELED, Reason.CANCELLED_BY_OWNER)
        return Reason.NONE

    def mass_cancel(self, command: MassCancel) -> Reason:
        """Cancel an account's open orders. O(orders of the account)."""
        account = self._state.accounts.get(command.account_id)
        if account is None:
            return Reason.UNKNOWN_ACCOUNT
        if command.instrument_id and command.instrument_id not in self._state.instruments:
            return Reason.UNKNOWN_INSTRUMENT
        if command.side and command.side not in _SIDES:
            return Reason.FIELD_INVALID
        named = [
            order
            for order in account.orders.values()
            if command.instrument_id in (0, order.instrument_id) and command.side in (0, order.side)
        ]
        self._cancel_all(account, named, Reason.CANCELLED_BY_OWNER)
        return Reason.NONE

    def end_stream(self, command: EndOrderStream) -> Reason:
        """Cancel the orders that were to live as long as a stream. O(orders of the account)."""
        account = self._state.accounts.get(command.account_id)
        if account is None:
            return Reason.UNKNOWN_ACCOUNT
        if not command.stream_id:
            return Reason.FIELD_INVALID
        named = [o for o in account.orders.values() if o.stream_id == command.stream_id]
        self._cancel_all(account, named, Reason.DISCONNECTED)
        return Reason.NONE

    def end_streams(self) -> None:
        """The exchange was away, so every stream is over. O(orders)."""
        for account in self._state.accounts.values():
            named = [order for order in account.orders.values() if order.stream_id]
            if named:
                self._cancel_all(account, named, Reason.DISCONNECTED)

    def _cancel_all(self, account: Account, orders: list[OpenOrder], reason: Reason) -> None:
        self._state.emit(OrdersCancelled(account.account_id, reason, len(orders)))
        for order in orders:
            self.close(order, OrderState.CANCELED, reason)

    def find(self, account_id: int, order_id: int, client_order_id: bytes) -> OpenOrder | Reason:
        """An open order by either id, if it is the account's."""
        state = self._state
        if not order_id:
            account = state.accounts.get(account_id)
            order_id = account.result_of(PLACEMENTS, client_order_id) or 0 if account else 0
        order = state.orders.get(order_id)
        if order is None:
            return Reason.UNKNOWN_ORDER
        return order if order.account_id == account_id else Reason.NOT_OWNER

    def replace(self, command: ReplaceOrder) -> Reason:
        """New price and new total quantity; priority is kept only where the size shrinks."""
        state = self._state
        order = self.find(command.account_id, command.order_id, b"")
        if isinstance(order, Reason):
            return order
        if order.account.halted:
            return Reason.ACCOUNT_HALTED
        instrument = state.instruments[order.instrument_id]
        if not instrument.is_open:
            return Reason.INSTRUMENT_HALTED
        price, quantity = command.price_nanos, command.quantity_mflop
        refusal = instrument.price_refusal(price) or instrument.quantity_refusal(quantity)
        if refusal:
            return refusal
        resting = order.resting
        leaves = max(0, quantity - (resting.quantity - resting.leaves))
        more = leaves - resting.leaves
        if more > 0 and _exceeds_position(order.account, *order.exposed, more):
            return Reason.POSITION_TOO_LARGE
        worst = order.posted_nanos + escrow_nanos(price, leaves)
        if order.max_cost_nanos and worst > order.max_cost_nanos:
            return Reason.MONEY_CAP
        if order.transfer_id and not state.ledger.resize(order.transfer_id, worst):
            return Reason.INSUFFICIENT_FUNDS
        events = state.books[order.instrument_id].replace(order.order_id, price, quantity)
        assert events is not None, "an open order is not in its book"
        if leaves:  # else the book has cancelled it: replaced below what is filled
            _expose(order, more)
            state.emit(
                OrderReplaced(
                    order.order_id, order.account_id, order.instrument_id, price, quantity, leaves
                )
            )
        self._settle(order.instrument_id, events)
        return Reason.NONE

    def expiry_due(self, order_id: int) -> None:
        """Timer: a GTD order's time has passed."""
        self.close(self._state.orders[order_id], OrderState.EXPIRED, Reason.ORDER_EXPIRED)

    def close(self, order: OpenOrder, ending: OrderState, reason: Reason) -> None:
        """Take an open order out of its book and end it."""
        self._state.books[order.instrument_id].cancel(order.order_id)
        self._end(order, ending, reason)

    # What the book did

    def _settle(self, instrument_id: int, events: Iterable[BookEvent]) -> None:
        for event in events:
            if isinstance(event, Rested):
                continue
            if isinstance(event, Fill):
                self._fill(instrument_id, event)
            elif isinstance(event, Cancelled):
                order = self._state.orders[event.order_id]
                self._end(order, OrderState.CANCELED, _CANCEL_REASON[event.reason])
            else:
                self._decrement(event)

    def _fill(self, instrument_id: int, fill: Fill) -> None:
        state = self._state
        (
            maker_id, maker_account_id, taker_id, taker_account_id,
            price, quantity, maker_leaves, taker_leaves,
        ) = fill  # fmt: skip
        maker, taker = state.orders[maker_id], state.orders[taker_id]
        buyer, seller = (taker, maker) if taker.transfer_id else (maker, taker)
        state.counters.trade += 1
        trade_id = state.counters.trade
        buyer.notional += price * quantity
        amount = escrow_nanos(1, buyer.notional) - buyer.posted_nanos
        buyer.posted_nanos += amount
        state.ledger.post(buyer.transfer_id, seller.account_id, amount)
        bought, sold = buyer.account.positions, seller.account.positions
        bought[instrument_id] = bought.get(instrument_id, 0) + quantity
        sold[instrument_id] = sold.get(instrument_id, 0) - quantity
        _expose(buyer, -quantity)
        _expose(seller, -quantity)
        state.instruments[instrument_id].last_price_nanos = price
        state.emit(
            OrderFilled(
                trade_id, instrument_id, price, quantity,
                maker_id, maker_account_id, maker_leaves,
                taker_id, taker_account_id, taker_leaves, taker.side,
            )
        )  # fmt: skip
        state.emit(Posted(_TRADE, buyer.account_id, seller.account_id, amount, trade_id))
        if not maker_leaves:
            self._forget(maker)
        if not taker_leaves:
            self._forget(taker)

    def _decrement(self, event: Decremented) -> None:
        order = self._state.orders[event.order_id]
        _expose(order, -event.quantity)
        if event.leaves:
            if order.transfer_id:
                worst = order.posted_nanos + escrow_nanos(order.price_nanos, event.leaves)
                self._state.ledger.resize(order.transfer_id, worst)
            self._state.emit(
                OrderReplaced(
                    order.order_id,
                    order.account_id,
                    order.instrument_id,
                    order.price_nanos,
                    order.quantity_mflop,
                    event.leaves,
                )
            )
        else:
            self._end(order, OrderState.CANCELED, Reason.SELF_TRADE)

    def _end(self, order: OpenOrder, ending: OrderState, reason: Reason) -> None:
        """The order is out of its book with something left."""
        leaves = order.leaves_mflop
        _expose(order, -leaves)
        self._forget(order)
        self._state.emit(
            OrderClosed(
                order.order_id, order.account_id, order.instrument_id, ending, reason, leaves
            )
        )

    def _forget(self, order: OpenOrder) -> None:
        state = self._state
        del state.orders[order.order_id]
        if order.transfer_id:
            state.ledger.void(order.transfer_id)
        if order.resting.time_in_force == _GTD:
            state.timers.cancel(TimerKind.ORDER_EXPIRY, order.order_id)
        del order.account.orders[order.order_id]
        state.order_ids.ended(order.account, order.client_order_id, state.now_ns)


def _as_the_client_wrote(command: PlaceOrder) -> PlaceOrder:
    """The order without the stream that it came over: a repeat may come over another one."""
    if type(command) is PlaceOrder:
        return command
    if not isinstance(command, PlaceConditionalOrder):
        return msgspec.structs.replace(command, stream_id=0)
    fields = msgspec.structs.astuple(command)
    if not any(fields[_PLAIN_FIELDS:-1]):
        return PlaceOrder(*fields[:_PLAIN_FIELDS])
    return msgspec.structs.replace(command, stream_id=0)


def _time_in_force(command: PlaceOrder) -> TimeInForce:
    """A market order never rests."""
    time_in_force = _TIMES_IN_FORCE[command.time_in_force]
    if command.order_type != _LIMIT and time_in_force != TimeInForce.FOK:
        return TimeInForce.IOC
    return time_in_force


def _limit_price(command: PlaceOrder, instrument: Instrument) -> int:
    """A market order's limit is the edge of the band."""
    if command.order_type == _LIMIT:
        return command.price_nanos
    terms = instrument.terms
    return terms.price_max_nanos if command.side == _BID else terms.price_min_nanos


def _refusal(
    state: State, account: Account, instrument: Instrument, command: PlaceOrder, escrow: int
) -> Reason:
    """Why the order cannot be taken, or NONE. Nothing has changed yet."""
    if account.halted:
        return Reason.ACCOUNT_HALTED
    if not instrument.is_open:
        return Reason.INSTRUMENT_HALTED
    if instrument.terms.mode != ClearingMode.CONTINUOUS or account.kind != AccountKind.PAPER:
        return Reason.ORDER_TYPE_UNSUPPORTED
    if _is_unknown_kind(command):
        return Reason.ORDER_TYPE_UNSUPPORTED
    if command.side not in _SIDES or command.order_type not in (_LIMIT, _MARKET):
        return Reason.FIELD_INVALID
    if command.time_in_force not in _TIMES_IN_FORCE or command.self_trade not in _SELF_TRADES:
        return Reason.FIELD_INVALID
    if command.time_in_force == _GTD and command.expire_time_ns <= state.now_ns:
        return Reason.DEADLINE_PASSED
    refusal = instrument.quantity_refusal(command.quantity_mflop)
    if not refusal and command.order_type == _LIMIT:
        refusal = instrument.price_refusal(command.price_nanos)
    if refusal:
        return refusal
    book_max = instrument.protections.book_orders_max
    if book_max and len(state.books[command.instrument_id]) >= book_max:
        return Reason.BOOK_FULL
    if account.open_orders >= OPEN_ORDERS_PER_ACCOUNT_MAX:
        return Reason.TOO_MANY_OPEN_ORDERS
    if command.max_cost_nanos < 0:
        return Reason.AMOUNT_NOT_POSITIVE
    if command.max_cost_nanos and escrow > command.max_cost_nanos:
        return Reason.MONEY_CAP
    if _exceeds_position(account, command.instrument_id, command.side, command.quantity_mflop):
        return Reason.POSITION_TOO_LARGE
    return Reason.NONE


def _is_unknown_kind(command: PlaceOrder) -> bool:
    """Whether the books cannot trade such an order yet."""
    if type(command) is PlaceConditionalOrder:
        return any(msgspec.structs.astuple(command)[_PLAIN_FIELDS:-1])
    return type(command) is PlaceMultiLegOrder


def _exceeds_position(account: Account, instrument_id: int, side: int, more: int) -> bool:
    """Whether the position could pass its bound if all that is open on this side filled."""
    held = account.positions.get(instrument_id, 0)
    open_mflop = account.exposure.get((instrument_id, side), 0)
    return (held if side == _BID else -held) + open_mflop + more > POSITION_MAX_MFLOP


def _expose(order: OpenOrder, change_mflop: int) -> None:
    """Keep count of what an account has open on one side of one instrument."""
    exposure, key = order.account.exposure, order.exposed
    left = exposure.get(key, 0) + change_mflop
    if left:
        exposure[key] = left
    else:
        exposure.pop(key, None)
