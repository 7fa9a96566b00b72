"""What books did to orders: fills, money, positions, ends.

A bid holds its worst case from entry to its end. Each fill posts: the exact sum of price x quantity
per order, rounded up, minus what was posted before (`exchange.metering.costs`). The seller is
credited exactly what the buyer is debited.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from exchange.core.events import (
    EntryKind,
    OrderReplaced,
    OrderState,
    OrderTriggered,
)
from exchange.core.open_orders import OpenOrder, expose_legs
from exchange.core.reasons import Reason
from exchange.core.timers import TimerKind
from exchange.metering.costs import notional_nanos
from matching.events import Armed, Cancelled, Decremented, Fill, Triggered
from matching.types import CancelReason

if TYPE_CHECKING:
    from collections.abc import Iterable

    from exchange.core.instruments import Instrument
    from exchange.core.state import State
    from matching.events import BookEvent

_CANCEL_REASON: Final = {
    CancelReason.IOC_REST: Reason.IMMEDIATE_OR_CANCEL,
    CancelReason.FOK_UNFILLABLE: Reason.FILL_OR_KILL,
    CancelReason.SELF_TRADE: Reason.SELF_TRADE,
    CancelReason.REPLACED_BELOW_FILLED: Reason.REPLACED_BELOW_FILLED,
    CancelReason.POST_ONLY_WOULD_TAKE: Reason.POST_ONLY,
    CancelReason.BUDGET_SPENT: Reason.MONEY_CAP,
    CancelReason.MINIMUM_UNFILLABLE: Reason.MIN_QUANTITY,
}
_TRADE: Final = EntryKind.TRADE
_CANCELED: Final = OrderState.CANCELED
_REQUESTED: Final = CancelReason.REQUESTED
_Cancelled: Final = Cancelled
_Fill: Final = Fill


class FillDesk:
    """Settles what happens in the books."""

    def __init__(self, state: State) -> None:
        self._state = state

    def settle(self, instrument: Instrument, events: Iterable[BookEvent]) -> None:
        """Carry out what an instrument's book says, in its order."""
        for event in events:
            if type(event) is _Fill:
                self._fill(instrument, event)
            elif type(event) is _Cancelled:
                self._cancelled(event)
            elif type(event) is Decremented:
                self._decrement(event)
            elif type(event) is Armed:
                self._state.orders[event.order_id].waiting = True
            elif type(event) is Triggered:
                self._trigger(event)

    def changed(self, order: OpenOrder, leaves_mflop: int) -> None:
        """Say that an order works under other terms, and hold what they need at worst."""
        if order.hold is not None:
            held = self._state.ledger.resize(order.hold, order.worst_nanos(leaves_mflop))
            assert held, "an order's terms changed to what its account cannot pay"
        self._state.emit(
            OrderReplaced(
                order.order_id,
                order.account_id,
                order.instrument_id,
                order.price_nanos,
                order.quantity_mflop,
                leaves_mflop,
            )
        )

    def end(self, order: OpenOrder, ending: OrderState, reason: Reason, leaves_mflop: int) -> None:
        """The order is out of its book with something left."""
        if order.legs:
            expose_legs(order, -1)
        else:
            order.stake.expose(order.side, -leaves_mflop)
        self._forget(order)
        self._state.tape.closed(
            order.order_id, order.account_id, order.instrument_id, ending, reason, leaves_mflop
        )

    def _cancelled(self, event: Cancelled) -> None:
        """A book let go of an order; of a multi-leg bid the first leg to go is the end of all."""
        order = self._state.orders.get(event.order_id)
        if order is None:
            assert event.reason is _REQUESTED, "an order ended twice"
            return  # one more leg of a bid that has ended
        leaves = 0 if order.legs else event.quantity
        self.end(order, _CANCELED, _CANCEL_REASON[event.reason], leaves)

    def _fill(self, instrument: Instrument, fill: Fill) -> None:
        state, instrument_id = self._state, instrument.instrument_id
        (
            maker_id, maker_account_id, taker_id, taker_account_id,
            price, quantity, maker_leaves, taker_leaves,
        ) = fill  # fmt: skip
        maker, taker = state.orders[maker_id], state.orders[taker_id]
        buyer, seller = (taker, maker) if taker.hold is not None else (maker, taker)
        hold = buyer.hold
        assert hold is not None, "a bid holds its worst case"
        state.counters.trade += 1
        trade_id = state.counters.trade
        buyer.notional += price * quantity
        amount = notional_nanos(buyer.notional) - buyer.posted_nanos
        buyer.posted_nanos += amount
        state.ledger.post(hold, seller.account_id, amount)
        # A multi-leg bid counts with the instrument of its leg.
        bought = buyer.account.stake(instrument_id) if buyer.legs else buyer.stake
        bought.position += quantity
        bought.bids -= quantity
        seller.stake.position -= quantity
        seller.stake.asks -= quantity
        instrument.last_price_nanos = price
        state.tape.filled(
            trade_id, instrument_id, price, quantity,
            maker_id, maker_account_id, maker_leaves,
            taker_id, taker_account_id, taker_leaves, taker.side,
        )  # fmt: skip
        now_ns = state.now_ns
        if buyer.account.limits is not None:
            buyer.account.limits.trade(now_ns)
        if seller.account.limits is not None:
            seller.account.limits.trade(now_ns)
        state.tape.posted(_TRADE, buyer.account_id, seller.account_id, amount, trade_id)
        if not maker_leaves:
            self._filled(maker, instrument_id)
        if not taker_leaves:
            self._filled(taker, instrument_id)

    def _filled(self, order: OpenOrder, instrument_id: int) -> None:
        """Nothing is left of the order: of a multi-leg bid, its other legs count no more."""
        if order.legs:
            expose_legs(order, -1, instrument_id)
        self._forget(order)

    def _decrement(self, event: Decremented) -> None:
        order = self._state.orders[event.order_id]
        if order.legs:  # what is left is for less than the order: the other legs' end is its own
            self.end(order, OrderState.CANCELED, Reason.SELF_TRADE, 0)
            return
        order.stake.expose(order.side, -event.quantity)
        if event.leaves:
            self.changed(order, event.leaves)
        else:
            self.end(order, OrderState.CANCELED, Reason.SELF_TRADE, 0)

    def _trigger(self, event: Triggered) -> None:
        order = self._state.orders[event.order_id]
        order.waiting = False
        self._state.emit(
            OrderTriggered(order.order_id, order.account_id, order.instrument_id, event.stop_price)
        )

    def _forget(self, order: OpenOrder) -> None:
        state = self._state
        state.orders.remove(order)
        if order.hold is not None:
            state.ledger.void(order.hold)
        if order.expire_time_ns:
            state.timers.cancel(TimerKind.ORDER_EXPIRY, order.order_id)
        order.account.remove_order(order)
        state.order_ids.ended(order.account, order.client_order_id, state.now_ns)
