"""Orders and execution reports, as users see them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypedDict

from exchange.client.enums import (
    ExecutionType,
    OrderState,
    OrderType,
    PostOnlyMode,
    SelfTradePrevention,
    Side,
    TimeInForce,
)
from exchange.client.ids import uuid7
from exchange.client.reasons import reason_name
from exchange.units import above_zero, parse_compute, parse_money, parse_price
from exchange.v1 import order_service_pb2 as pb

Amount = int | str
"""A price or a quantity: its number in the API's unit, or text with a unit."""


class OrderTerms(TypedDict, total=False):
    """What an order may say beside its price and quantity; all may be left out.

    order_type: limit by default. time_in_force: good till cancelled by default. self_trade: what
    happens where it would meet an order of its own account; the newest is cancelled by default.
    expire_time_ns: end of a GTD order, nanoseconds since the epoch. max_cost: money cap ("$1" or
    nano-dollars, or None for none; not zero); a bid trades what it pays for. client_order_id: a
    UUIDv7 of 16 bytes, fresh by default.

    post_only: what happens where the order would take; it may take by default. all_or_none: trades
    all that is left of it at once or nothing. min_quantity: least quantity of each execution
    ("5 CU" or MFLOP). display_quantity: the part that is shown at a time. hidden: shows nothing.
    stop_price: the trade price that triggers a stop order.
    """

    order_type: OrderType
    time_in_force: TimeInForce
    self_trade: SelfTradePrevention
    expire_time_ns: int
    max_cost: int | str | None
    client_order_id: bytes
    post_only: PostOnlyMode
    all_or_none: bool
    min_quantity: int | str
    display_quantity: int | str
    hidden: bool
    stop_price: int | str


@dataclass(frozen=True, slots=True)
class Leg:
    """One way to fill a multi-leg bid.

    Attributes:
        instrument_id: Instrument.
        price_nanos: Limit price, nano-dollars per CU.
        quantity_mflop: Quantity, MFLOP.
    """

    instrument_id: int
    price_nanos: int
    quantity_mflop: int


def new_order(
    instrument_id: int, side: Side, price: int | str, quantity: int | str, terms: OrderTerms
) -> pb.NewOrder:
    """A new order for the wire.

    Raises:
        ValueError: an amount cannot be read.
    """
    order = pb.NewOrder(
        client_order_id=terms.get("client_order_id") or uuid7(),
        instrument_id=instrument_id,
        side=side,  # type: ignore[arg-type]
        price_nanos=parse_price(price),
        quantity_mflop=parse_compute(quantity),
    )
    # Most orders leave these out, and the exchange has the same defaults.
    if "order_type" in terms:
        order.order_type = terms["order_type"]  # type: ignore[assignment]
    if "time_in_force" in terms:
        order.time_in_force = terms["time_in_force"]  # type: ignore[assignment]
    if "self_trade" in terms:
        order.self_trade_prevention = terms["self_trade"]  # type: ignore[assignment]
    if "expire_time_ns" in terms:
        order.expire_time_ns = terms["expire_time_ns"]
    if "max_cost" in terms:
        order.max_cost_nanos = above_zero("max_cost", parse_money, terms["max_cost"])
    if not _CONDITIONS.isdisjoint(terms):
        order.conditions.CopyFrom(_conditions(terms))
    return order


_CONDITIONS = frozenset(
    {"post_only", "all_or_none", "min_quantity", "display_quantity", "hidden", "stop_price"}
)


def _conditions(terms: OrderTerms) -> pb.OrderConditions:
    return pb.OrderConditions(
        post_only=terms.get("post_only", PostOnlyMode.UNSPECIFIED),  # type: ignore[arg-type]
        all_or_none=terms.get("all_or_none", False),
        min_quantity_mflop=parse_compute(terms.get("min_quantity", 0)),
        display_quantity_mflop=parse_compute(terms.get("display_quantity", 0)),
        hidden=terms.get("hidden", False),
        stop_price_nanos=parse_price(terms.get("stop_price", 0)),
    )


def multi_leg_order(legs: Iterable[tuple[int, Amount, Amount]], terms: OrderTerms) -> pb.NewOrder:
    """A new multi-leg bid for the wire.

    Args:
        legs: Instrument's id, limit price and quantity of each.
        terms: What else it says.

    Raises:
        ValueError: an amount cannot be read.
    """
    order = new_order(0, Side.BID, 0, 0, terms)
    for instrument_id, price, quantity in legs:
        order.legs.add(
            instrument_id=instrument_id,
            price_nanos=parse_price(price),
            quantity_mflop=parse_compute(quantity),
        )
    return order


def order_reference(order_id: int, client_order_id: bytes) -> pb.OrderReference:
    """An order's name for the wire.

    Raises:
        ValueError: not exactly one of the two ids is given.
    """
    if bool(order_id) == bool(client_order_id):
        raise ValueError("give either order_id or client_order_id")
    return pb.OrderReference(order_id=order_id, client_order_id=client_order_id)


def order_selection(instrument_id: int, side: Side) -> pb.OrderSelection:
    """Several of the caller's orders for the wire."""
    return pb.OrderSelection(instrument_id=instrument_id, side=side)  # type: ignore[arg-type]


def order_replacement(
    order_id: int, price: int | str, quantity: int | str, stop_price: int | str
) -> pb.OrderReplacement:
    """An open order's new terms for the wire.

    Raises:
        ValueError: an amount cannot be read.
    """
    return pb.OrderReplacement(
        order_id=order_id,
        price_nanos=parse_price(price),
        quantity_mflop=parse_compute(quantity),
        stop_price_nanos=parse_price(stop_price),
    )


@dataclass(frozen=True, slots=True)
class Conditions:
    """What an order asks for beside its price, quantity and time; zeros for nothing.

    Attributes:
        post_only: Whether it may take.
        all_or_none: Whether it trades all that is left of it at once or nothing.
        min_quantity_mflop: Least quantity of each execution, MFLOP.
        display_quantity_mflop: Part shown at a time, MFLOP; 0 shows all.
        stop_price_nanos: Trade price that triggers a stop order, nano-dollars per CU.
        hidden: Whether it rests unseen.
    """

    post_only: PostOnlyMode = PostOnlyMode.UNSPECIFIED
    all_or_none: bool = False
    min_quantity_mflop: int = 0
    display_quantity_mflop: int = 0
    stop_price_nanos: int = 0
    hidden: bool = False


@dataclass(frozen=True, slots=True)
class Order:
    """An open order.

    Attributes:
        order_id: Id given by the exchange.
        client_order_id: The client's id, 16 bytes.
        instrument_id: Instrument.
        side: Side.
        state: NEW or PARTIALLY_FILLED.
        price_nanos: Price, nano-dollars per CU.
        quantity_mflop: Total quantity, MFLOP.
        leaves_mflop: Still open, MFLOP.
        time_in_force: How long it works.
        order_type: Type, as it was placed.
        max_cost_nanos: Money cap, nano-dollars; 0 for none.
        conditions: What else it asks for.
        waiting: Whether a stop order still waits for its trigger.
        legs: Legs of a multi-leg bid; its own instrument, price and quantities are 0.
        cancel_on_disconnect: Whether it is cancelled when its order stream ends.
    """

    order_id: int
    client_order_id: bytes
    instrument_id: int
    side: Side
    state: OrderState
    price_nanos: int
    quantity_mflop: int
    leaves_mflop: int
    time_in_force: TimeInForce
    order_type: OrderType
    max_cost_nanos: int
    conditions: Conditions
    waiting: bool
    legs: tuple[Leg, ...]
    cancel_on_disconnect: bool


def order_from(message: pb.Order) -> Order:
    """An order of the wire."""
    return Order(
        message.order_id,
        message.client_order_id,
        message.instrument_id,
        Side(message.side),
        OrderState(message.state),
        message.price_nanos,
        message.quantity_mflop,
        message.leaves_mflop,
        TimeInForce(message.time_in_force),
        OrderType(message.order_type),
        message.max_cost_nanos,
        _conditions_from(message.conditions),
        message.waiting,
        tuple(Leg(x.instrument_id, x.price_nanos, x.quantity_mflop) for x in message.legs),
        message.cancel_on_disconnect,
    )


@dataclass(frozen=True, slots=True)
class PastOrder:
    """What became of an order, or has so far.

    Attributes:
        order_id: Id given by the exchange.
        client_order_id: The client's id, 16 bytes.
        instrument_id: Instrument; 0 for a multi-leg bid.
        side: Side.
        state: Its state.
        order_type: Type, as it was placed.
        time_in_force: How long it worked.
        price_nanos: Price, nano-dollars per CU.
        quantity_mflop: Total quantity, MFLOP.
        leaves_mflop: Not filled, MFLOP: still open, or at its end.
        filled_mflop: Filled, MFLOP.
        reason: Why it ended, such as IMMEDIATE_OR_CANCEL; empty while it is open, or filled.
        create_time_ns: Journal time of its entry, nanoseconds since the epoch.
        end_time_ns: The same of its end; 0 while it is open.
    """

    order_id: int
    client_order_id: bytes
    instrument_id: int
    side: Side
    state: OrderState
    order_type: OrderType
    time_in_force: TimeInForce
    price_nanos: int
    quantity_mflop: int
    leaves_mflop: int
    filled_mflop: int
    reason: str
    create_time_ns: int
    end_time_ns: int


def past_order_from(message: pb.PastOrder) -> PastOrder:
    """An order of any state of the wire."""
    return PastOrder(
        message.order_id,
        message.client_order_id,
        message.instrument_id,
        Side(message.side),
        OrderState(message.state),
        OrderType(message.order_type),
        TimeInForce(message.time_in_force),
        message.price_nanos,
        message.quantity_mflop,
        message.leaves_mflop,
        message.filled_mflop,
        reason_name(message.reason),
        message.create_time_ns,
        message.end_time_ns,
    )


def _conditions_from(message: pb.OrderConditions) -> Conditions:
    return Conditions(
        PostOnlyMode(message.post_only),
        message.all_or_none,
        message.min_quantity_mflop,
        message.display_quantity_mflop,
        message.stop_price_nanos,
        message.hidden,
    )


@dataclass(frozen=True, slots=True)
class Report:
    """What happened to an order: FIX's execution report.

    Attributes:
        sequence: Journal sequence of the command that caused it.
        execution_type: Why it was sent.
        state: The order's state after it.
        order_id: The exchange's id; 0 for a refused new order.
        client_order_id: The client's id; empty where a later report names order_id alone.
        instrument_id: Instrument.
        side: Side.
        price_nanos: Price of this fill, or the order's, nano-dollars per CU.
        quantity_mflop: Quantity of this fill, or the order's, MFLOP.
        leaves_mflop: Still open, MFLOP.
        trade_id: Number of the trade, shared by both sides; 0 where this is no fill.
        reason: Why it was refused, cancelled or expired, such as PRICE_OFF_TICK; else empty.
        event_time_ns: Journal time, nanoseconds since the epoch.
        affected_orders: Orders that a mass cancel cancelled.
        retry_time_ns: Where what was sent before was too much: from when on the same instruction
            would be taken, nanoseconds since the epoch; else 0.
    """

    sequence: int
    execution_type: ExecutionType
    state: OrderState
    order_id: int
    client_order_id: bytes
    instrument_id: int
    side: Side
    price_nanos: int
    quantity_mflop: int
    leaves_mflop: int
    trade_id: int
    reason: str
    event_time_ns: int
    affected_orders: int = 0
    retry_time_ns: int = 0


def report_from(message: pb.ExecutionReport) -> Report:
    """A report of the wire."""
    return Report(
        message.sequence,
        ExecutionType(message.execution_type),
        OrderState(message.state),
        message.order_id,
        message.client_order_id,
        message.instrument_id,
        Side(message.side),
        message.price_nanos,
        message.quantity_mflop,
        message.leaves_mflop,
        message.trade_id,
        reason_name(message.reason),
        message.event_time_ns,
        message.affected_orders,
        message.retry_time_ns,
    )


@dataclass(frozen=True, slots=True)
class OrderResult:
    """What became of one instruction: placing, replacing or cancelling an order, or many.

    Attributes:
        order_id: The exchange's id; 0 for a refused new order.
        client_order_id: The client's id; empty where the instruction named order_id alone.
        state: The order's state after it; UNSPECIFIED where the exchange cannot tell any more.
        reason: Why the instruction was refused, or why the order ended by it; empty for neither.
        rejected: Whether the instruction was refused: it changed nothing.
        repeated: True where the client id had been accepted before; the order is that one.
        reports: What happened, in order; empty for a plain acceptance over a stream.
        sequence: Journal sequence up to which all is durable.
    """

    order_id: int
    client_order_id: bytes
    state: OrderState
    reason: str
    rejected: bool
    repeated: bool
    reports: tuple[Report, ...]
    sequence: int

    @property
    def fills(self) -> tuple[Report, ...]:
        """The trades that the instruction caused at once."""
        return tuple(r for r in self.reports if r.execution_type == ExecutionType.TRADE)

    @property
    def filled_mflop(self) -> int:
        """Quantity that traded at once, MFLOP."""
        return sum(r.quantity_mflop for r in self.fills)

    @property
    def affected_orders(self) -> int:
        """Orders that a mass cancel cancelled."""
        return sum(r.affected_orders for r in self.reports)

    @property
    def retry_time_ns(self) -> int:
        """From when on a refused instruction would be taken; 0 where time alone does not help."""
        return self.reports[0].retry_time_ns if self.reports else 0


def accepted(order_id: int, client_order_id: bytes, sequence: int) -> OrderResult:
    """The result of a placement that rests."""
    return OrderResult(order_id, client_order_id, OrderState.NEW, "", False, False, (), sequence)


def result_from(
    reports: Sequence[Report], client_order_id: bytes, order_id: int = 0, sequence: int = 0
) -> OrderResult:
    """The result that the reports of one instruction tell.

    Args:
        reports: In order, at least one; some may be about other orders of the account, such as one
            that self-trade prevention cancelled.
        client_order_id: As the instruction named it; may be empty.
        order_id: Where known from elsewhere.
        sequence: The least sequence known to be durable.
    """
    first = reports[0]
    order_id = order_id or first.order_id
    own = [r for r in reports if r.order_id == order_id]
    return OrderResult(
        order_id=order_id,
        client_order_id=client_order_id,
        state=own[-1].state if own else OrderState.NEW,
        reason=next((r.reason for r in own if r.reason), ""),
        rejected=first.execution_type == ExecutionType.REJECTED,
        repeated=first.execution_type == ExecutionType.REPEATED,
        reports=tuple(reports),
        sequence=max(sequence, reports[-1].sequence),
    )


@dataclass(frozen=True, slots=True)
class Reconnected:
    """The order stream broke and stands again; reports of the time between are lost.

    What waited for an answer was sent again with its own ids. List the open orders to see the rest.
    """


OrderEvent = Report | Reconnected
"""What `reports()` of an order stream yields."""
