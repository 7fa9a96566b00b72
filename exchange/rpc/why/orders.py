"""Whether an order would fill now, and if not, what would make it."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, NamedTuple

from exchange.core.commands import TradingState
from exchange.core.exchange import Exchange
from exchange.core.instruments import Instrument
from exchange.core.reasons import Reason
from exchange.metering.costs import MFLOP_PER_CU, escrow_nanos
from exchange.rpc.convert import enums, market
from exchange.rpc.errors import refusal_text
from exchange.rpc.why.supply import (
    LEVELS_MAX,
    Level,
    ahead,
    batch_price,
    dollars,
    seconds,
    supply,
)
from exchange.v1 import market_data_service_pb2 as pb
from matching.protection import EVERY_PRICE
from matching.types import Side

_SIGN: Final = {Side.BID: 1, Side.ASK: -1}
_OPEN: Final = TradingState.OPEN


@dataclass(frozen=True, slots=True)
class Order:
    """An order that might be placed, and the book that it would come into.

    Attributes:
        limit_nanos: Its limit; of one that takes any price, the edge of the price band.
        own: The best levels of its own side.
        other: The best levels of the other side.
    """

    instrument: Instrument
    side: Side
    limit_nanos: int
    quantity_mflop: int
    own: list[Level]
    other: list[Level]

    @property
    def sign(self) -> int:
        """1 for a bid, -1 for an ask."""
        return _SIGN[self.side]

    def reaches(self, price: int, limit_nanos: int) -> bool:
        """Whether this price is within a limit."""
        return self.sign * price <= self.sign * limit_nanos


def explain_order(core: Exchange, request: pb.ExplainOrderRequest) -> pb.ExplainOrderResponse:
    """The answer. O(levels), and of a batch instrument O(quotes of its clearing group).

    Raises:
        RpcError: there is no such instrument or side.
    """
    instrument = market.find_instrument(core, request.instrument)
    side = enums.from_proto(Side, request.side, "side", Side.BID)
    bids, asks = core.depth(instrument.instrument_id, LEVELS_MAX)
    order = Order(
        instrument,
        side,
        request.price_nanos or _edge_nanos(instrument, side),
        request.quantity_mflop or instrument.lot_mflop,
        *((bids, asks) if side is Side.BID else (asks, bids)),
    )
    answer = pb.ExplainOrderResponse(
        ahead=ahead(order.own, order.limit_nanos, order.sign, ties=True),
        state=enums.trading_state(instrument.state),
        sequence=core.sequence,
        event_time_ns=core.now_ns,
    )
    refused = instrument.price_refusal(order.limit_nanos) or _quantity_refusal(order)
    if refused:
        _refuse(order, answer, refused)
    elif instrument.is_continuous:
        _continuous(core, order, answer)
    elif side is Side.BID:
        _job(core, order, answer)
    else:
        _slot(core, order, answer)
    return answer


def _edge_nanos(instrument: Instrument, side: Side) -> int:
    return instrument.price_max_nanos if side is Side.BID else instrument.price_min_nanos


def _quantity_refusal(order: Order) -> Reason:
    if order.instrument.is_continuous:
        return order.instrument.quantity_refusal(order.quantity_mflop)
    if order.quantity_mflop <= 0:
        return Reason.QUANTITY_NOT_POSITIVE
    too_large = order.quantity_mflop > order.instrument.quantity_max_mflop
    return Reason.NO_CAPABLE_CLASS if too_large else Reason.NONE


def _refuse(order: Order, answer: pb.ExplainOrderResponse, reason: Reason) -> None:
    """Such an order would not even be taken."""
    of = order.instrument
    _say(answer, reason, f"it would be refused: {refusal_text(reason)}")
    answer.remedies.append(
        f"a price from {of.price_min_nanos} to {of.price_max_nanos} nano-dollars per CU in steps "
        f"of {of.tick_nanos}, and at most {of.quantity_max_mflop} MFLOP"
        + (f" in steps of {of.lot_mflop}" if of.is_continuous else "")
    )


def _say(answer: pb.ExplainOrderResponse, reason: Reason, explanation: str) -> None:
    answer.reason = enums.reason(reason)
    answer.explanation = explanation


# ---- continuous books ----


class _Walk(NamedTuple):
    """What an order would trade: how much, at which price at the worst, and price x quantity."""

    filled_mflop: int
    worst_nanos: int
    notional: int

    def cost_nanos(self, side: Side) -> int:
        """In nano-dollars: of a bid rounded up, of an ask rounded down."""
        sign = _SIGN[side]
        return -sign * (-sign * self.notional // MFLOP_PER_CU)


def _walk(order: Order, levels: Iterable[Level], limit_nanos: int) -> _Walk:
    filled = worst = notional = 0
    for price, quantity, _ in levels:
        left = order.quantity_mflop - filled
        if not left or not order.reaches(price, limit_nanos):
            break
        traded = min(quantity, left)
        filled, worst, notional = filled + traded, price, notional + price * traded
    return _Walk(filled, worst, notional)


def _continuous(core: Exchange, order: Order, answer: pb.ExplainOrderResponse) -> None:
    guards = order.instrument.guards
    band = guards.allowed(order.instrument.tick_nanos) if guards else EVERY_PRICE
    edge = band.high if order.side is Side.BID else band.low
    whole = _walk(order, order.other, edge)
    enough = whole.filled_mflop == order.quantity_mflop
    shown = whole.worst_nanos if enough else edge
    answer.levels.extend(
        market.levels(level for level in order.other if order.reaches(level[0], shown))
    )
    if order.instrument.state != _OPEN:
        _not_open(core, order, answer)
        return
    limit = min(order.limit_nanos * order.sign, edge * order.sign) * order.sign
    found = _walk(order, order.other, limit)
    answer.filled_mflop = found.filled_mflop
    answer.cost_nanos = found.cost_nanos(order.side)
    answer.worst_price_nanos = found.worst_nanos
    answer.price_needed_nanos = whole.worst_nanos if enough else 0
    if found.filled_mflop == order.quantity_mflop:
        answer.fillable = True
        answer.explanation = f"all of it fills now, at {found.worst_nanos} or better"
        return
    _unfilled(order, answer, whole if enough else None, edge)


def _unfilled(
    order: Order, answer: pb.ExplainOrderResponse, whole: _Walk | None, edge: int
) -> None:
    """Why not all of it fills, and what would help; `whole` has no price that it would not pay."""
    filled, wanted = answer.filled_mflop, order.quantity_mflop
    beyond = [level for level in order.other if not order.reaches(level[0], edge)]
    if whole is not None:
        reason = Reason.NO_LIQUIDITY
        text = f"{filled} of {wanted} MFLOP are there at this limit"
        verb = "costs" if order.side is Side.BID else "earns"
        cost = dollars(whole.cost_nanos(order.side))
        answer.remedies.append(
            f"a limit of {whole.worst_nanos} fills all of it, which {verb} {cost}"
        )
    elif beyond:
        reason = Reason.BEYOND_BAND
        text = f"{filled} of {wanted} MFLOP are there up to {edge}, where the price band ends"
        answer.remedies.append("what lies beyond the band trades in the auction that it calls")
    else:
        reason = Reason.NO_LIQUIDITY
        text = f"{filled} of {wanted} MFLOP are shown at any price"
    if filled:
        answer.remedies.append(f"a quantity of {filled} MFLOP fills at this limit")
    answer.remedies.append(f"it can rest and wait, with {answer.ahead} orders before it")
    _say(answer, reason, text)


def _not_open(core: Exchange, order: Order, answer: pb.ExplainOrderResponse) -> None:
    instrument = order.instrument
    if instrument.state != TradingState.AUCTION:
        what = "is closed" if instrument.state == TradingState.CLOSED else "is halted"
        _say(answer, Reason.INSTRUMENT_HALTED, f"{instrument.name} {what}")
        return
    found = core.indicative(instrument.instrument_id)
    at = f"would have the price {found.price}" if found else "would trade nothing"
    _say(answer, Reason.INSTRUMENT_HALTED, f"a call auction collects orders; now it {at}")
    if found:
        answer.remedies.append(f"a limit beyond {found.price} trades in the auction, as it stands")
    if instrument.call:
        left_ns = max(0, instrument.call.ends_ns - core.now_ns)
        answer.remedies.append(f"continuous trading begins in {seconds(left_ns)} at the earliest")


# ---- batch instruments ----


def _job(core: Exchange, order: Order, answer: pb.ExplainOrderResponse) -> None:
    """A bid: a job, which takes one slot."""
    instrument = order.instrument
    found = supply(core, instrument.instrument_id)
    answer.slots_free, answer.slots = found.free, found.slots
    answer.slot_free_by_time_ns = found.freed_by_ns
    answer.levels.extend(market.levels(order.other))
    if instrument.state != _OPEN:
        _not_open(core, order, answer)
        return
    needed = _limit_needed(order)
    answer.price_needed_nanos = needed
    price = batch_price(order.other, order.own, order.limit_nanos)
    if price:
        answer.fillable = True
        answer.filled_mflop = order.quantity_mflop
        answer.worst_price_nanos = price
        answer.cost_nanos = escrow_nanos(price, order.quantity_mflop)
        answer.explanation = f"it gets a slot in the next batch, at {price}"
        return
    if not found.slots:
        _say(answer, Reason.NO_QUOTES, f"no worker quotes {instrument.name}")
        answer.remedies.append("another instrument, or a worker that quotes this one")
    elif not found.free:
        _say(answer, Reason.NO_FREE_SLOT, f"all {found.slots} slots are busy")
        if found.freed_by_ns:
            wait = seconds(max(0, found.freed_by_ns - core.now_ns))
            answer.remedies.append(
                f"wait: a slot is free in {wait} at the latest, with {answer.ahead} jobs before it"
            )
    else:
        below = order.limit_nanos < found.best_ask_nanos
        text = f"the cheapest free slot costs {found.best_ask_nanos}"
        if not below:
            text = f"jobs that bid as much or more take all {found.free} free slots"
        _say(answer, Reason.PRICE_BELOW_ASK if below else Reason.NO_FREE_SLOT, text)
    if needed:
        cost = dollars(escrow_nanos(needed, order.quantity_mflop))
        answer.remedies.append(f"a limit of {needed} gets a slot, for {cost} at most")


def _limit_needed(order: Order) -> int:
    """The least limit with which a job gets a slot in the next batch; 0 where none is enough."""
    tick = order.instrument.tick_nanos
    most = order.instrument.price_max_nanos
    enough = {price for price, _, _ in order.other}
    enough |= {(price // tick + 1) * tick for price, _, _ in order.own}
    limits = sorted(price for price in enough if price <= most)
    at = bisect_left(limits, True, key=lambda p: batch_price(order.other, order.own, p) > 0)
    return limits[at] if at < len(limits) else 0


def _slot(core: Exchange, order: Order, answer: pb.ExplainOrderResponse) -> None:
    """An ask: one slot that a worker quotes."""
    instrument = order.instrument
    answer.levels.extend(market.levels(order.other))
    if instrument.state != _OPEN:
        _not_open(core, order, answer)
        return
    best = order.other[0][0] if order.other else 0
    jobs = ahead(order.other, order.limit_nanos, 1, ties=True)
    cheaper = sum(free for price, free, _ in order.own if price <= order.limit_nanos)
    if jobs > cheaper:
        answer.fillable = True
        answer.filled_mflop = order.quantity_mflop
        answer.worst_price_nanos = order.limit_nanos
        answer.cost_nanos = order.limit_nanos * order.quantity_mflop // MFLOP_PER_CU
        answer.explanation = f"a job takes it in the next batch, at {order.limit_nanos} or more"
        return
    if not order.other:
        _say(answer, Reason.NO_LIQUIDITY, f"no job waits for {instrument.name}")
    elif not jobs:
        _say(answer, Reason.NO_LIQUIDITY, f"no waiting job bids more than {best} now")
    else:
        _say(answer, Reason.NO_LIQUIDITY, f"{cheaper} free slots are quoted at this price or less")
    needed = best // instrument.tick_nanos * instrument.tick_nanos
    if needed >= instrument.price_min_nanos and not (jobs and cheaper):
        answer.price_needed_nanos = needed
        answer.remedies.append(f"an ask of {needed} sells a slot in the next batch")
    answer.remedies.append("wait: managed bids rise until their latest start, and new jobs come")
