"""What an explicit order may ask, and how its book is asked for it. Pure checks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from exchange.core.commands import (
    AccountKind,
    OrderType,
    PlaceConditionalOrder,
    PostOnlyMode,
)
from exchange.core.limits import MFLOP_PER_CU, OPEN_ORDERS_PER_ACCOUNT_MAX, POSITION_MAX_MFLOP
from exchange.core.reasons import Reason
from matching.order import Order
from matching.types import RejectReason, SelfTradePrevention, Side, Terms, TimeInForce

if TYPE_CHECKING:
    from exchange.core.accounts import Account, Stake
    from exchange.core.instruments import Instrument
    from exchange.core.placements import Placement
    from exchange.core.state import State

# Members stand here by themselves: looking one up in its enum costs a tenth of an order's entry.
_NONE: Final = Reason.NONE
_PAPER: Final = AccountKind.PAPER
_SIDES: Final = len(Side)
_ORDER_TYPES: Final = len(OrderType)
_TIMES_IN_FORCE: Final = len(TimeInForce)
_SELF_TRADES: Final = len(SelfTradePrevention)
_POST_ONLY_MODES: Final = {int(mode) for mode in PostOnlyMode}
_BID: Final = int(Side.BID)
_GTC: Final = int(TimeInForce.GTC)
_GTD: Final = int(TimeInForce.GTD)
_IOC: Final = int(TimeInForce.IOC)
_FOK: Final = int(TimeInForce.FOK)
_LIMIT: Final = int(OrderType.LIMIT)
_STOPS: Final = (int(OrderType.STOP), int(OrderType.STOP_LIMIT))
_LIMITED: Final = (_LIMIT, int(OrderType.STOP_LIMIT))

BOOK_REFUSALS: Final = {
    RejectReason.TERMS_CONFLICT: Reason.CONDITIONS_CONFLICT,
    RejectReason.DISPLAY_TOO_SMALL: Reason.DISPLAY_TOO_SMALL,
    RejectReason.TOO_MANY_STOPS: Reason.BOOK_FULL,
    RejectReason.TOO_MANY_MINIMUMS: Reason.BOOK_FULL,
    RejectReason.NOT_IN_AUCTION: Reason.NOT_IN_AUCTION,
}
"""What a book refuses that was not refused before; anything else would be a defect."""


def _budget(placed: Placement, price: int, works: int) -> int:
    """What the book must keep to, price x MFLOP; 0 where the limit cannot exceed the cap."""
    if works in (_IOC, _FOK) or (placed.max_cost_nanos and _exceeds_cap(placed, price)):
        return placed.max_cost_nanos * MFLOP_PER_CU
    return 0


def limit_price(placed: Placement, instrument: Instrument) -> int:
    """The worst price that the order may trade at: without one of its own, the edge of the band."""
    if placed.order_type in _LIMITED:
        return placed.price_nanos
    return instrument.price_max_nanos if placed.side == _BID else instrument.price_min_nanos


def time_in_force(placed: Placement) -> int:
    """How long it works once it trades: an order without a limit never rests."""
    if placed.order_type in _LIMITED or placed.time_in_force == _FOK:
        return placed.time_in_force
    return _IOC


def book_order(placed: Placement, order_id: int, price: int) -> Order:
    """The order as its book takes it."""
    limited = placed.order_type == _LIMIT
    works = placed.time_in_force if limited else time_in_force(placed)
    if placed.is_plain and not placed.max_cost_nanos:
        return Order(
            order_id,
            placed.account_id,
            placed.side,
            price,
            placed.quantity_mflop,
            works,
            placed.self_trade,
        )
    asked = placed.command if isinstance(placed.command, PlaceConditionalOrder) else None
    return Order(
        order_id,
        placed.account_id,
        placed.side,
        price,
        placed.quantity_mflop,
        works,
        placed.self_trade,
        terms=_terms(asked) if asked else 0,
        minimum=asked.min_quantity_mflop if asked else 0,
        display=asked.display_quantity_mflop if asked else 0,
        stop_price=asked.stop_price_nanos if asked else 0,
        budget=_budget(placed, price, works),
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
    state: State,
    account: Account,
    instrument: Instrument,
    stake: Stake,
    placed: Placement,
    price: int,
) -> Reason:
    """Why the order cannot be taken, or NONE. Nothing has changed yet."""
    if account.halted:
        return Reason.ACCOUNT_HALTED
    if not instrument.takes_orders:
        return Reason.INSTRUMENT_HALTED
    if not instrument.is_continuous or account.kind is not _PAPER:
        return Reason.ORDER_TYPE_UNSUPPORTED
    reason = terms_refusal(state, placed)
    if reason is _NONE:
        reason = instrument.quantity_refusal(placed.quantity_mflop)
    if reason is _NONE and placed.order_type in _LIMITED:
        reason = instrument.price_refusal(placed.price_nanos)
    if reason is _NONE and not (placed.is_plain and placed.order_type not in _STOPS):
        reason = _conditions_refusal(instrument, placed)
    if reason is not _NONE:
        return reason
    if account.open_orders >= OPEN_ORDERS_PER_ACCOUNT_MAX:
        return Reason.TOO_MANY_OPEN_ORDERS
    if placed.max_cost_nanos:
        reason = _cap_refusal(placed, price)
        if reason:
            return reason
    worst = stake.worst(placed.side) + placed.quantity_mflop
    return Reason.POSITION_TOO_LARGE if worst > POSITION_MAX_MFLOP else _NONE


def terms_refusal(state: State, placed: Placement) -> Reason:
    """What is wrong with an order's side, type, time in force or self-trade prevention."""
    works = placed.time_in_force
    if not 1 <= placed.side <= _SIDES or not 1 <= placed.order_type <= _ORDER_TYPES:
        return Reason.FIELD_INVALID
    if not 1 <= works <= _TIMES_IN_FORCE or not 1 <= placed.self_trade <= _SELF_TRADES:
        return Reason.FIELD_INVALID
    if works == _GTD and placed.expire_time_ns <= state.now_ns:
        return Reason.DEADLINE_PASSED
    return _NONE


def _cap_refusal(placed: Placement, price: int) -> Reason:
    """An order trades, and rests for, what its cap pays; one that cannot be cut must fit it."""
    if placed.max_cost_nanos < 0:
        return Reason.AMOUNT_NOT_POSITIVE
    if placed.side != _BID:
        return Reason.CONDITIONS_CONFLICT
    if time_in_force(placed) not in (_GTC, _GTD):
        return _NONE
    whole = placed.order_type != _LIMIT or (
        isinstance(placed.command, PlaceConditionalOrder)
        and (placed.command.all_or_none or placed.command.min_quantity_mflop)
    )
    return Reason.MONEY_CAP if whole and _exceeds_cap(placed, price) else _NONE


def _exceeds_cap(placed: Placement, price: int) -> bool:
    """Whether the whole quantity at its limit costs more than the cap."""
    return price * placed.quantity_mflop > placed.max_cost_nanos * MFLOP_PER_CU


def _conditions_refusal(instrument: Instrument, placed: Placement) -> Reason:
    """What is wrong with each condition by itself; the book knows which exclude each other."""
    is_stop = placed.order_type in _STOPS
    asked = placed.command
    if not isinstance(asked, PlaceConditionalOrder):
        return Reason.CONDITIONS_CONFLICT if is_stop else Reason.ORDER_TYPE_UNSUPPORTED
    if asked.post_only not in _POST_ONLY_MODES or asked.all_or_none > 1 or asked.hidden > 1:
        return Reason.FIELD_INVALID
    if is_stop != (asked.stop_price_nanos != 0):
        return Reason.CONDITIONS_CONFLICT
    for part in (asked.min_quantity_mflop, asked.display_quantity_mflop):
        if part < 0:
            return Reason.QUANTITY_NOT_POSITIVE
        if part > placed.quantity_mflop:
            return Reason.CONDITIONS_CONFLICT
        if part % instrument.lot_mflop:
            return Reason.QUANTITY_OFF_LOT
    return instrument.price_refusal(asked.stop_price_nanos) if is_stop else _NONE
