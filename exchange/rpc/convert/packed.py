"""Order batches and their answers in packed rows: the fastest way in and out.

The rows are those of `exchange.packed`. Only what most orders are can be said so; conditions, legs
and mass cancels take the message's other form. What most reports are is written as a row at once;
the others are made as messages first.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from exchange.core.commands import CancelOrder, Command, PlaceOrder, ReplaceOrder
from exchange.core.events import AnyEvent, OrderClosed, OrderFilled, OrderState, Posted
from exchange.core.exchange import Exchange
from exchange.core.reasons import Reason
from exchange.engine import Outcome
from exchange.packed import CANCEL, INSTRUCTION, NO_ID, PLACE, REPLACE, REPORT
from exchange.rpc.convert import orders
from exchange.rpc.convert.conditions import placement
from exchange.rpc.convert.orders import Batch, Reject, Untold
from exchange.v1 import order_service_pb2 as pb

ROW_BYTES: Final = INSTRUCTION.size

_TRADE: Final = int(pb.EXECUTION_TYPE_TRADE)
_CANCELED: Final = int(pb.EXECUTION_TYPE_CANCELED)
_EXPIRED: Final = int(pb.EXECUTION_TYPE_EXPIRED)
_PARTIALLY_FILLED: Final = int(pb.ORDER_STATE_PARTIALLY_FILLED)
_FILLED: Final = int(pb.ORDER_STATE_FILLED)


def batch(account_id: int, rows: bytes, stream_id: int = 0) -> Batch:
    """The commands of packed instructions, and what cannot become one.

    Args:
        account_id: Whose they are.
        rows: Whole rows of `ROW_BYTES`.
        stream_id: The stream whose end cancels what is placed; 0 for none.
    """
    commands: list[Command] = []
    indexes: list[int] = []
    rejects: list[Reject] = []
    for index, fields in enumerate(INSTRUCTION.iter_unpack(rows)):
        (
            action, side, order_type, time_in_force, self_trade, instrument_id,
            order_id, client_order_id, price, quantity, expire_time_ns, max_cost,
        ) = fields  # fmt: skip
        command: Command | Reason
        if action == PLACE:
            plain = PlaceOrder(
                account_id, client_order_id, instrument_id, side, order_type or 1,
                time_in_force or 1, self_trade or 1, price, quantity, expire_time_ns, max_cost,
            )  # fmt: skip
            command = placement(plain, pb.NewOrder(), stream_id) if stream_id else plain
        elif action == CANCEL:
            named_by = NO_ID if order_id else client_order_id
            command = CancelOrder(account_id, order_id, named_by)
        elif action == REPLACE:
            command = ReplaceOrder(account_id, order_id, price, quantity, 0)
        else:
            command = Reason.FIELD_INVALID
        if isinstance(command, Reason):
            rejects.append(Reject(index, command, client_order_id, order_id))
        else:
            commands.append(command)
            indexes.append(index)
    return Batch(commands, indexes, rejects, packed=True)


def answer(
    core: Exchange, request_id: int, made: Batch, outcomes: Sequence[Outcome]
) -> pb.TradeResponse:
    """What became of a packed batch: ranges of plain acceptances, rows of everything else."""
    ranges, untold = orders.acceptances(made, outcomes)
    rows = [_row_of(orders.rejection(reject)) for reject in made.rejects]
    for item in untold:
        rows += _rows_of(core, item)
    return pb.TradeResponse(
        request_id=request_id,
        sequence=outcomes[-1].sequence if outcomes else core.sequence,
        accepted=ranges,
        packed_reports=b"".join(rows),
    )


def unasked(account_id: int, sequence: int, now_ns: int, event: AnyEvent) -> bytes | None:
    """The row that tells an account what another did; None where it is not concerned."""
    row = _usual(account_id, sequence, now_ns, 0, event)
    if row is None:
        report = orders.report_to(account_id, event)
        if report is not None:
            report.sequence = sequence
            report.event_time_ns = now_ns
            row = _row_of(report)
    return row


def _rows_of(core: Exchange, item: Untold) -> Iterator[bytes]:
    """Rows of one command's events, for the account that gave it."""
    outcome, command, events, index = item
    account_id: int = command.account_id  # type: ignore[union-attr]
    for at, event in enumerate(events):
        if type(event) is Posted:
            continue  # money is the ledger's to tell
        row = _usual(account_id, outcome.sequence, outcome.now_ns, index, event)
        if row is not None:
            yield row
        else:
            reports = orders.reports_of(core, outcome, command, events[at : at + 1], index)
            yield from map(_row_of, reports)


def _usual(
    account_id: int, sequence: int, now_ns: int, index: int, event: AnyEvent
) -> bytes | None:
    """The row of a fill or an end, which most reports are; None for any other event."""
    if type(event) is OrderFilled:
        part = orders.part_in(account_id, event)
        if part is None:
            return None
        order_id, leaves, side = part
        return REPORT.pack(
            sequence, now_ns, index, event.instrument_id, 0, _TRADE,
            _PARTIALLY_FILLED if leaves else _FILLED, side, order_id, NO_ID,
            event.price_nanos, event.quantity_mflop, leaves, event.trade_id, 0,
        )  # fmt: skip
    if type(event) is OrderClosed and event.account_id == account_id:
        kind = _EXPIRED if event.state is OrderState.EXPIRED else _CANCELED
        return REPORT.pack(
            sequence, now_ns, index, event.instrument_id, event.reason, kind,
            event.state, 0, event.order_id, NO_ID, 0, event.leaves_mflop, 0, 0, 0,
        )  # fmt: skip
    return None


def _row_of(report: pb.ExecutionReport) -> bytes:
    """A message as a row."""
    return REPORT.pack(
        report.sequence, report.event_time_ns, report.index, report.instrument_id, report.reason,
        report.execution_type, report.state, report.side, report.order_id,
        report.client_order_id or NO_ID, report.price_nanos, report.quantity_mflop,
        report.leaves_mflop, report.trade_id, report.retry_time_ns,
    )  # fmt: skip
