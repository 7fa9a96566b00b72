"""Multi-leg bids: several ways to fill one order, at most one of which does, whole.

What they trade is `matching.book_legs`'s to decide. A multi-leg bid holds the money of its dearest
leg, and counts towards the position in every instrument that it names, until it ends.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from exchange.core.accounts import Stake
from exchange.core.commands import AccountKind, OrderType, PlaceMultiLegOrder, TradingState
from exchange.core.events import OrderAccepted, OrderState
from exchange.core.limits import OPEN_ORDERS_PER_ACCOUNT_MAX, POSITION_MAX_MFLOP
from exchange.core.open_orders import OpenOrder, expose_legs, no_book_order
from exchange.core.order_entry import BOOK_REFUSALS, terms_refusal
from exchange.core.reasons import Reason
from exchange.core.throttle import ratio_refusal
from exchange.core.timers import TimerKind
from exchange.metering.costs import escrow_nanos
from matching.book_legs import BookLeg, LeggedOrder
from matching.types import LEGS_MAX, SelfTradePrevention, Side, TimeInForce

if TYPE_CHECKING:
    from exchange.core.accounts import Account
    from exchange.core.ledger import Hold
    from exchange.core.order_fills import FillDesk
    from exchange.core.placements import Placement
    from exchange.core.state import State
    from exchange.core.trading import TradingDesk

_NUMBERS: Final = 3
"""Of a leg in its record: instrument, price and quantity."""


class MultiLegDesk:
    """Takes multi-leg bids in."""

    def __init__(self, state: State, fills: FillDesk, trading: TradingDesk) -> None:
        self._state = state
        self._fills = fills
        self._trading = trading

    def place(self, account: Account, command: PlaceMultiLegOrder, placed: Placement) -> Reason:
        """A new multi-leg bid: it fills one leg at once, rests all of them, or ends."""
        state = self._state
        reason = self._refusal(account, command, placed)
        if reason:
            return reason
        legs = _legs(command)
        order_id = state.counters.order + 1
        legged = LeggedOrder(
            order_id,
            command.account_id,
            TimeInForce(command.time_in_force),
            SelfTradePrevention(command.self_trade),
            legs,
        )
        refused = state.legs.refusal(legged)
        if refused is not None:
            return BOOK_REFUSALS[refused]
        dearest = max(escrow_nanos(leg.price, leg.quantity) for leg in legs)
        hold = state.ledger.hold(command.account_id, dearest)
        if hold is None:
            return Reason.INSUFFICIENT_FUNDS
        state.counters.order = order_id
        order = self._enter(account, placed, legs, hold)
        steps = state.legs.place(legged)
        self._trading.carry_out(steps)
        if not steps:
            killed = command.time_in_force == TimeInForce.FOK
            why = Reason.FILL_OR_KILL if killed else Reason.IMMEDIATE_OR_CANCEL
            self._fills.end(order, OrderState.CANCELED, why, 0)
        return Reason.NONE

    def _enter(
        self,
        account: Account,
        placed: Placement,
        legs: tuple[BookLeg, ...],
        hold: Hold,
    ) -> OpenOrder:
        state = self._state
        order_id = state.counters.order
        account.client_ids.add(placed.client_order_id, placed.kind, placed.digest, order_id)
        resting = no_book_order(order_id, placed)
        order = OpenOrder(account, None, Stake(), placed, resting, hold)
        order.legs = legs
        state.orders.add(order)
        account.add_order(order)
        expose_legs(order, 1)
        if order.expire_time_ns:
            state.timers.set(TimerKind.ORDER_EXPIRY, order_id, order.expire_time_ns)
        for leg in legs:
            guards = state.instruments[leg.instrument_id].guards
            if guards and guards.ratio:
                guards.ratio.message(account.account_id, leg.instrument_id, state.now_ns)
        state.emit(
            OrderAccepted(
                order_id, account.account_id, placed.client_order_id, 0, placed.side, 0, 0
            )
        )
        return order

    def _refusal(self, account: Account, command: PlaceMultiLegOrder, placed: Placement) -> Reason:
        """Why the order cannot be taken, or NONE. Nothing has changed yet."""
        if account.halted:
            return Reason.ACCOUNT_HALTED
        if account.kind != AccountKind.PAPER:
            return Reason.ORDER_TYPE_UNSUPPORTED
        reason = terms_refusal(self._state, placed)
        if reason:
            return reason
        if command.instrument_id or command.price_nanos or command.quantity_mflop:
            return Reason.FIELD_INVALID
        if command.side != Side.BID or command.order_type != OrderType.LIMIT:
            return Reason.CONDITIONS_CONFLICT
        if command.self_trade == SelfTradePrevention.DECREMENT:
            return Reason.CONDITIONS_CONFLICT  # a leg would be for less than the order
        count, odd = divmod(len(command.legs), _NUMBERS)
        if odd or not 0 < count <= LEGS_MAX or len(set(command.legs[::_NUMBERS])) < count:
            return Reason.LEGS_INVALID
        if account.open_orders >= OPEN_ORDERS_PER_ACCOUNT_MAX:
            return Reason.TOO_MANY_OPEN_ORDERS
        if command.max_cost_nanos < 0:
            return Reason.AMOUNT_NOT_POSITIVE
        for leg in _legs(command):
            reason = self._leg_refusal(account, leg)
            if reason:
                return reason
            if 0 < command.max_cost_nanos < escrow_nanos(leg.price, leg.quantity):
                return Reason.MONEY_CAP
        return Reason.NONE

    def _leg_refusal(self, account: Account, leg: BookLeg) -> Reason:
        state = self._state
        instrument = state.instruments.get(leg.instrument_id)
        if instrument is None:
            return Reason.UNKNOWN_INSTRUMENT
        book = state.books.get(leg.instrument_id)
        if book is None:
            return Reason.LEGS_INVALID
        if not instrument.takes_orders:
            return Reason.INSTRUMENT_HALTED
        reason = instrument.quantity_refusal(leg.quantity) or instrument.price_refusal(leg.price)
        if reason:
            return reason
        worst = account.stake(leg.instrument_id).worst(Side.BID) + leg.quantity
        if worst > POSITION_MAX_MFLOP:
            return Reason.POSITION_TOO_LARGE
        guards = instrument.guards
        if guards is None:
            return Reason.NONE
        if 0 < guards.terms.book_orders_max <= len(book):
            return Reason.BOOK_FULL
        if instrument.state == TradingState.OPEN and not guards.takes_bid(leg.price):
            return Reason.BEYOND_BAND
        return ratio_refusal(state, guards.ratio, account.account_id, leg.instrument_id)


def _legs(command: PlaceMultiLegOrder) -> tuple[BookLeg, ...]:
    numbers = command.legs
    return tuple(BookLeg(*numbers[at : at + _NUMBERS]) for at in range(0, len(numbers), _NUMBERS))
