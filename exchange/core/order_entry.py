"""What an explicit order may ask, and how its book is asked for it. Pure checks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from exchange.core.commands import (
    AccountKind,
    ClearingMode,
    OrderType,
    PlaceConditionalOrder,
    PlaceOrder,
    PostOnlyMode,
)
from exchange.core.limits import MFLOP_PER_CU, OPEN_ORDERS_PER_ACCOUNT_MAX, POSITION_MAX_MFLOP
from exchange.core.open_orders import ORDER_TYPES, SIDES, exceeds_position
from exchange.core.reasons import Reason
from matching.order import Order
from matching.types import RejectReason, SelfTradePrevention, Side, Terms, TimeInForce

if TYPE_CHECKING:
    from exchange.core.accounts import Account
    from exchange.core.instruments import Instrument
    from exchange.core.state import State

# Members stand here as plain ints, and in dictionaries: an enum's constructor and its attributes
# cost more than the order's escrow.
# Members stand here by themselves: looking one up in its enum costs a tenth of an order's entry.
_NONE: Final = Reason.NONE
_CONTINUOUS: Final = ClearingMode.CONTINUOUS
_PAPER: Final = AccountKind.PAPER
_TIMES_IN_FORCE: Final = {int(time_in_force) for time_in_force in TimeInForce}
_SELF_TRADES: Final = {int(mode) for mode in SelfTradePrevention}
_POST_ONLY_MODES: Final = {int(mode) for mode in PostOnlyMode}
_BID: Final = int(Side.BID)
_GTC: Final = int(TimeInForce.GTC)
_GTD: Final = int(TimeInForce.GTD)
_IOC: Final = int(TimeInForce.IOC)
_FOK: Final = int(TimeInForce.FOK)
_LIMIT: Final = int(OrderType.LIMIT)
_STOPS: Final = (int(OrderType.STOP), int(OrderType.STOP_LIMIT))
_LIMITED: Final = (_LIMIT, int(OrderType.STOP_LIMIT))
_PLAIN_FIELDS: Final = len(PlaceOrder.__struct_fields__)

BOOK_REFUSALS: Final = {
    RejectReason.TERMS_CONFLICT: Reason.CONDITIONS_CONFLICT,
    RejectReason.DISPLAY_TOO_SMALL: Reason.DISPLAY_TOO_SMALL,
    RejectReason.TOO_MANY_STOPS: Reason.BOOK_FULL,
    RejectReason.TOO_MANY_MINIMUMS: Reason.BOOK_FULL,
    RejectReason.NOT_IN_AUCTION: Reason.NOT_IN_AUCTION,
}
"""What a book refuses that was not refused before; anything else would be a defect."""


def as_the_client_wrote(command: PlaceOrder) -> PlaceOrder:
    """The order without the stream that it came over: a repeat may come over another one."""
    if type(command) is PlaceOrder:
        return command
    if type(command) is PlaceConditionalOrder and not _conditions(command):
        return PlaceOrder(*msgspec.structs.astuple(command)[:_PLAIN_FIELDS])
    return msgspec.structs.replace(command, stream_id=0)


def _budget(command: PlaceOrder, price: int, works: int) -> int:
    """What the book must keep to, price x MFLOP; 0 where the limit cannot exceed the cap."""
    if works in (_IOC, _FOK) or (command.max_cost_nanos and _exceeds_cap(command, price)):
        return command.max_cost_nanos * MFLOP_PER_CU
    return 0


def limit_price(command: PlaceOrder, instrument: Instrument) -> int:
    """The worst price that the order may trade at: without one of its own, the edge of the band."""
    if command.order_type in _LIMITED:
        return command.price_nanos
    terms = instrument.terms
    return terms.price_max_nanos if command.side == _BID else terms.price_min_nanos


def time_in_force(command: PlaceOrder) -> int:
    """How long it works once it trades: an order without a limit never rests."""
    if command.order_type in _LIMITED or command.time_in_force == _FOK:
        return command.time_in_force
    return _IOC


def book_order(command: PlaceOrder, order_id: int, price: int) -> Order:
    """The order as its book takes it."""
    limited = command.order_type == _LIMIT
    works = command.time_in_force if limited else time_in_force(command)
    if type(command) is PlaceOrder and not command.max_cost_nanos:
        return Order(
            order_id,
            command.account_id,
            command.side,
            price,
            command.quantity_mflop,
            works,
            command.self_trade,
        )
    asked = command if isinstance(command, PlaceConditionalOrder) else None
    return Order(
        order_id,
        command.account_id,
        command.side,
        price,
        command.quantity_mflop,
        works,
        command.self_trade,
        terms=_terms(asked) if asked else 0,
        minimum=asked.min_quantity_mflop if asked else 0,
        display=asked.display_quantity_mflop if asked else 0,
        stop_price=asked.stop_price_nanos if asked else 0,
        budget=_budget(command, price, works),
    )


def _terms(asked: PlaceConditionalOrder) -> int:
    terms = 0
    if asked.post_only:
        terms |= Terms.POST_ONLY
    if asked.post_only == PostOnlyMode.REPRICE:
        terms |= Terms.REPRICE
    if asked.hidden:
        terms |= Terms.HIDDEN
    if asked.all_or_none:
        terms |= Terms.ALL_OR_NONE
    return int(terms)


def refusal(
    state: State, account: Account, instrument: Instrument, command: PlaceOrder, price: int
) -> Reason:
    """Why the order cannot be taken, or NONE. Nothing has changed yet."""
    if account.halted:
        return Reason.ACCOUNT_HALTED
    if not instrument.takes_orders:
        return Reason.INSTRUMENT_HALTED
    if instrument.terms.mode != _CONTINUOUS or account.kind != _PAPER:
        return Reason.ORDER_TYPE_UNSUPPORTED
    reason = terms_refusal(state, command)
    if not reason:
        reason = instrument.quantity_refusal(command.quantity_mflop)
    if not reason and command.order_type in _LIMITED:
        reason = instrument.price_refusal(command.price_nanos)
    if not reason and (type(command) is not PlaceOrder or command.order_type in _STOPS):
        reason = _conditions_refusal(instrument, command)
    if reason:
        return reason
    if account.open_orders >= OPEN_ORDERS_PER_ACCOUNT_MAX:
        return Reason.TOO_MANY_OPEN_ORDERS
    if command.max_cost_nanos:
        reason = _cap_refusal(command, price)
        if reason:
            return reason
    if exceeds_position(
        account,
        command.instrument_id,
        command.side,
        command.quantity_mflop,
        POSITION_MAX_MFLOP,
    ):
        return Reason.POSITION_TOO_LARGE
    return _NONE


def terms_refusal(state: State, command: PlaceOrder) -> Reason:
    """What is wrong with an order's side, type, time in force or self-trade prevention."""
    if command.side not in SIDES or command.order_type not in ORDER_TYPES:
        return Reason.FIELD_INVALID
    if command.time_in_force not in _TIMES_IN_FORCE or command.self_trade not in _SELF_TRADES:
        return Reason.FIELD_INVALID
    if command.time_in_force == _GTD and command.expire_time_ns <= state.now_ns:
        return Reason.DEADLINE_PASSED
    return _NONE


def _cap_refusal(command: PlaceOrder, price: int) -> Reason:
    """An order trades, and rests for, what its cap pays; one that cannot be cut must fit it."""
    if command.max_cost_nanos < 0:
        return Reason.AMOUNT_NOT_POSITIVE
    if command.side != _BID:
        return Reason.CONDITIONS_CONFLICT
    if time_in_force(command) not in (_GTC, _GTD):
        return _NONE
    whole = command.order_type != _LIMIT or (
        isinstance(command, PlaceConditionalOrder)
        and (command.all_or_none or command.min_quantity_mflop)
    )
    return Reason.MONEY_CAP if whole and _exceeds_cap(command, price) else _NONE


def _exceeds_cap(command: PlaceOrder, price: int) -> bool:
    """Whether the whole quantity at its limit costs more than the cap."""
    return price * command.quantity_mflop > command.max_cost_nanos * MFLOP_PER_CU


def _conditions_refusal(instrument: Instrument, command: PlaceOrder) -> Reason:
    """What is wrong with each condition by itself; the book knows which exclude each other."""
    is_stop = command.order_type in _STOPS
    if not isinstance(command, PlaceConditionalOrder):
        return Reason.CONDITIONS_CONFLICT if is_stop else Reason.ORDER_TYPE_UNSUPPORTED
    if command.post_only not in _POST_ONLY_MODES or command.all_or_none > 1 or command.hidden > 1:
        return Reason.FIELD_INVALID
    if is_stop != (command.stop_price_nanos != 0):
        return Reason.CONDITIONS_CONFLICT
    for part in (command.min_quantity_mflop, command.display_quantity_mflop):
        if part < 0:
            return Reason.QUANTITY_NOT_POSITIVE
        if part > command.quantity_mflop:
            return Reason.CONDITIONS_CONFLICT
        if part % instrument.terms.lot_mflop:
            return Reason.QUANTITY_OFF_LOT
    return instrument.price_refusal(command.stop_price_nanos) if is_stop else _NONE


def _conditions(command: PlaceConditionalOrder) -> bool:
    """Whether it has any condition beside a stream."""
    return any(msgspec.structs.astuple(command)[_PLAIN_FIELDS:-1])
