"""Order instructions to commands, and outcomes to execution reports: the fast path.

A protobuf attribute costs several times a slot's, so each field is read once, straight into the
command, and a plain acceptance becomes part of a range instead of a report.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from exchange.core.commands import CancelOrder, Command, MassCancel, PlaceOrder, ReplaceOrder
from exchange.core.events import (
    AnyEvent,
    OrderAccepted,
    OrderClosed,
    OrderFilled,
    OrderReplaced,
    OrdersCancelled,
    OrderState,
    OrderTriggered,
    Refused,
    Repeated,
)
from exchange.core.exchange import Exchange
from exchange.core.open_orders import OpenOrder
from exchange.core.reasons import Reason
from exchange.core.recorded import Recorded
from exchange.engine import Outcomes
from exchange.rpc.convert import conditions, enums
from exchange.rpc.convert.answers import acceptances
from exchange.v1 import order_service_pb2 as pb

ID_BYTES: Final = 16
NO_ID: Final = bytes(ID_BYTES)
_ENUM_MAX: Final = 255  # what the record's field holds; the core judges what lies below

OrderCommand = PlaceOrder | CancelOrder | ReplaceOrder | MassCancel


class Reject(NamedTuple):
    """An instruction that cannot even become a command; `place` is its index in the request."""

    place: int
    reason: Reason
    client_order_id: bytes
    order_id: int


class Batch(NamedTuple):
    """A TradeRequest as commands; `indexes[i]` is the place of `commands[i]` in the request.

    `packed` says that it came in rows, and that its answer is to go out in rows.
    """

    commands: Recorded | list[Command]
    indexes: list[int]
    rejects: list[Reject]
    packed: bool = False

    @property
    def payload(self) -> bytes:
        """The commands as the journal has them, joined, where they were made so; else nothing."""
        return self.commands.records if isinstance(self.commands, Recorded) else b""

    @property
    def size(self) -> int:
        """Instructions of the request."""
        return len(self.commands) + len(self.rejects)


def place_order(account_id: int, order: pb.NewOrder, stream_id: int = 0) -> PlaceOrder | Reason:
    """The command for a new order, or why there is none.

    Args:
        account_id: Whose order it is.
        order: The order.
        stream_id: The stream whose end cancels it; 0 for none.
    """
    client_order_id = order.client_order_id
    side = order.side
    order_type = order.order_type or 1
    time_in_force = order.time_in_force or 1
    self_trade = order.self_trade_prevention or 1
    if len(client_order_id) != ID_BYTES:
        return Reason.CLIENT_ID_INVALID
    # One test for all four: the union of the bits of small numbers is small.
    if not 0 <= side | order_type | time_in_force | self_trade <= _ENUM_MAX:
        return Reason.FIELD_INVALID
    instrument_id = order.instrument_id
    plain = PlaceOrder(
        account_id,
        client_order_id,
        instrument_id,
        side,
        order_type,
        time_in_force,
        self_trade,
        order.price_nanos,
        order.quantity_mflop,
        order.expire_time_ns,
        order.max_cost_nanos,
    )
    if instrument_id and not stream_id and not order.HasField("conditions"):
        return plain
    return conditions.placement(plain, order, stream_id)


def cancel_order(account_id: int, reference: pb.OrderReference) -> CancelOrder | Reason:
    """The command for a cancel, or why there is none."""
    order_id, client_order_id = reference.order_id, reference.client_order_id
    if order_id:
        return CancelOrder(account_id, order_id, NO_ID)
    if len(client_order_id) != ID_BYTES:
        return Reason.CLIENT_ID_INVALID
    return CancelOrder(account_id, 0, client_order_id)


def replace_order(account_id: int, terms: pb.OrderReplacement) -> ReplaceOrder:
    """The command for a replacement."""
    return ReplaceOrder(
        account_id,
        terms.order_id,
        terms.price_nanos,
        terms.quantity_mflop,
        terms.stop_price_nanos,
    )


def mass_cancel(account_id: int, selection: pb.OrderSelection) -> MassCancel | Reason:
    """The command for a mass cancel, or why there is none."""
    if not 0 <= selection.side <= _ENUM_MAX:
        return Reason.FIELD_INVALID
    return MassCancel(account_id, selection.instrument_id, selection.side)


def batch(account_id: int, instructions: Iterable[pb.Instruction], stream_id: int = 0) -> Batch:
    """The commands of a batch, and what cannot become one."""
    commands: list[Command] = []
    indexes: list[int] = []
    rejects: list[Reject] = []
    for index, instruction in enumerate(instructions):
        action = instruction.WhichOneof("action")
        command: OrderCommand | Reason
        if action == "place":
            command = place_order(account_id, instruction.place, stream_id)
        elif action == "cancel":
            command = cancel_order(account_id, instruction.cancel)
        elif action == "replace":
            command = replace_order(account_id, instruction.replace)
        elif action == "mass_cancel":
            command = mass_cancel(account_id, instruction.mass_cancel)
        else:
            command = Reason.FIELD_INVALID
        if isinstance(command, Reason):
            rejects.append(_rejected(index, instruction, command))
        else:
            commands.append(command)
            indexes.append(index)
    return Batch(commands, indexes, rejects)


def _rejected(index: int, instruction: pb.Instruction, reason: Reason) -> Reject:
    client_order_id = instruction.place.client_order_id or instruction.cancel.client_order_id
    return Reject(index, reason, client_order_id, instruction.cancel.order_id)


def answer(core: Exchange, request_id: int, made: Batch, outcomes: Outcomes) -> pb.TradeResponse:
    """What became of a batch: ranges of plain acceptances, reports of everything else."""
    ranges, untold = acceptances(made.indexes, outcomes.events)
    response = pb.TradeResponse(
        request_id=request_id,
        sequence=outcomes.last_sequence if outcomes else core.sequence,
        accepted=ack_ranges(ranges),
        reports=[rejection(reject) for reject in made.rejects],
    )
    for at in untold:
        told = outcomes.events[at]
        if type(told[0]) is OrderAccepted:
            told = told[1:]
        response.reports.extend(
            reports_of(
                core,
                outcomes.first_sequence + at,
                outcomes.now_ns,
                made.commands[at],
                told,
                made.indexes[at],
            )
        )
    return response


def ack_ranges(ranges: Iterable[tuple[int, int, int]]) -> list[pb.AckRange]:
    """Ranges (first place, count, first order) as messages."""
    return [
        pb.AckRange(first_index=first_index, count=count, first_order_id=first_order_id)
        for first_index, count, first_order_id in ranges
    ]


def rejection(reject: Reject) -> pb.ExecutionReport:
    """The report of an instruction that could not become a command."""
    return pb.ExecutionReport(
        execution_type=pb.EXECUTION_TYPE_REJECTED,
        state=pb.ORDER_STATE_REJECTED if not reject.order_id else pb.ORDER_STATE_UNSPECIFIED,
        order_id=reject.order_id,
        client_order_id=reject.client_order_id,
        reason=enums.reason(reject.reason),
        index=reject.place,
    )


def reports_of(
    core: Exchange,
    sequence: int,
    now_ns: int,
    command: Command,
    events: Sequence[AnyEvent],
    index: int,
) -> list[pb.ExecutionReport]:
    """Reports to the account whose command this was.

    What a mass cancel did to each order is told as if others had done it: it may be very much.

    Args:
        core: Where a repeated order is looked for.
        sequence: The command's.
        now_ns: Journal time, nanoseconds since the epoch.
        command: The command.
        events: What it did, or a part of that.
        index: Its place in the request.
    """
    assert isinstance(command, PlaceOrder | CancelOrder | ReplaceOrder | MassCancel)
    reports = []
    if isinstance(command, MassCancel):
        events = events[:1]
    for event in events:
        report = _own_report(core, command, event) or report_to(command.account_id, event)
        if report is not None:
            report.sequence = sequence
            report.event_time_ns = now_ns
            report.index = index
            reports.append(report)
    return reports


def _own_report(
    core: Exchange, command: OrderCommand, event: AnyEvent
) -> pb.ExecutionReport | None:
    """The report of an event that only the command's own account can get."""
    if isinstance(event, OrderAccepted):
        assert isinstance(command, PlaceOrder)
        return pb.ExecutionReport(
            execution_type=pb.EXECUTION_TYPE_NEW,
            state=pb.ORDER_STATE_NEW,
            order_id=event.order_id,
            client_order_id=event.client_order_id,
            instrument_id=event.instrument_id,
            side=enums.side(event.side),
            price_nanos=event.price_nanos,
            quantity_mflop=event.quantity_mflop,
            leaves_mflop=event.quantity_mflop,
        )
    if isinstance(event, Refused):
        return _refused(command, event)
    if isinstance(event, OrdersCancelled):
        return pb.ExecutionReport(
            execution_type=pb.EXECUTION_TYPE_MASS_CANCELED, affected_orders=event.orders
        )
    if isinstance(event, Repeated) and isinstance(command, PlaceOrder):
        still_open = core.orders.get(event.result_id)
        report = pb.ExecutionReport(
            execution_type=pb.EXECUTION_TYPE_REPEATED,
            order_id=event.result_id,
            client_order_id=command.client_order_id,
            instrument_id=command.instrument_id,
            side=enums.side(command.side),
        )
        if still_open is not None:
            report.state = state_of(still_open.leaves_mflop, still_open.quantity_mflop)
            report.leaves_mflop = still_open.leaves_mflop
        return report
    return None


def _refused(command: OrderCommand, event: Refused) -> pb.ExecutionReport:
    report = pb.ExecutionReport(
        execution_type=pb.EXECUTION_TYPE_REJECTED,
        reason=enums.reason(event.reason),
        retry_time_ns=event.retry_at_ns,
    )
    if isinstance(command, PlaceOrder):
        report.state = pb.ORDER_STATE_REJECTED
        report.client_order_id = command.client_order_id
        report.instrument_id = command.instrument_id
        report.side = enums.side(command.side)
        report.price_nanos = command.price_nanos
        report.quantity_mflop = command.quantity_mflop
    elif not isinstance(command, MassCancel):
        report.order_id = command.order_id
        if isinstance(command, CancelOrder) and not command.order_id:
            report.client_order_id = command.client_order_id
    return report


def report_to(account_id: int, event: AnyEvent) -> pb.ExecutionReport | None:
    """What an account is told of an event, whoever caused it; None where it is not concerned."""
    if isinstance(event, OrderFilled):
        return _fill(account_id, event)
    if isinstance(event, OrderClosed) and event.account_id == account_id:
        expired = event.state is OrderState.EXPIRED
        return pb.ExecutionReport(
            execution_type=pb.EXECUTION_TYPE_EXPIRED if expired else pb.EXECUTION_TYPE_CANCELED,
            state=enums.order_state(event.state),
            order_id=event.order_id,
            instrument_id=event.instrument_id,
            quantity_mflop=event.leaves_mflop,
            reason=enums.reason(event.reason),
        )
    if isinstance(event, OrderTriggered) and event.account_id == account_id:
        return pb.ExecutionReport(
            execution_type=pb.EXECUTION_TYPE_TRIGGERED,
            state=pb.ORDER_STATE_NEW,
            order_id=event.order_id,
            instrument_id=event.instrument_id,
            price_nanos=event.stop_price_nanos,
        )
    if isinstance(event, OrderReplaced) and event.account_id == account_id:
        return pb.ExecutionReport(
            execution_type=pb.EXECUTION_TYPE_REPLACED,
            state=state_of(event.leaves_mflop, event.quantity_mflop),
            order_id=event.order_id,
            instrument_id=event.instrument_id,
            price_nanos=event.price_nanos,
            quantity_mflop=event.quantity_mflop,
            leaves_mflop=event.leaves_mflop,
        )
    return None


def part_in(account_id: int, event: OrderFilled) -> tuple[int, int, int] | None:
    """(order, its leaves in MFLOP, its side) of an account in a trade; None where it has none."""
    if event.taker_account_id == account_id:
        return event.taker_order_id, event.taker_leaves_mflop, event.taker_side
    if event.maker_account_id == account_id:
        return event.maker_order_id, event.maker_leaves_mflop, 3 - event.taker_side
    return None


def _fill(account_id: int, event: OrderFilled) -> pb.ExecutionReport | None:
    part = part_in(account_id, event)
    if part is None:
        return None
    order_id, leaves, side = part
    return pb.ExecutionReport(
        execution_type=pb.EXECUTION_TYPE_TRADE,
        state=pb.ORDER_STATE_PARTIALLY_FILLED if leaves else pb.ORDER_STATE_FILLED,
        order_id=order_id,
        instrument_id=event.instrument_id,
        side=enums.side(side),
        price_nanos=event.price_nanos,
        quantity_mflop=event.quantity_mflop,
        leaves_mflop=leaves,
        trade_id=event.trade_id,
    )


def state_of(leaves_mflop: int, quantity_mflop: int) -> pb.OrderState.ValueType:
    """The state of an order that works."""
    if leaves_mflop < quantity_mflop:
        return pb.ORDER_STATE_PARTIALLY_FILLED
    return pb.ORDER_STATE_NEW


def order(found: OpenOrder) -> pb.Order:
    """An open order."""
    return pb.Order(
        order_id=found.order_id,
        client_order_id=found.client_order_id,
        instrument_id=found.instrument_id,
        side=enums.side(found.side),
        state=state_of(found.leaves_mflop, found.quantity_mflop),
        price_nanos=found.price_nanos,
        quantity_mflop=found.quantity_mflop,
        leaves_mflop=found.leaves_mflop,
        time_in_force=enums.time_in_force(found.time_in_force),
        order_type=enums.order_type(found.order_type),
        max_cost_nanos=found.max_cost_nanos,
        conditions=conditions.conditions(found.resting),
        waiting=found.waiting,
        legs=conditions.legs(found),
        cancel_on_disconnect=bool(found.stream_id),
    )
