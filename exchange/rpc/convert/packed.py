"""Order batches and their answers in packed rows: the fastest way in and out.

The rows are those of `exchange.packed`. Only what most orders are can be said so; conditions, legs
and mass cancels take the message's other form. What most reports are is written as a row at once;
the others are made as messages first. Responses are bytes, as protobuf would have written them.
"""

from __future__ import annotations

from typing import Final

from exchange.core.commands import Command, PlaceOrder
from exchange.core.events import AnyEvent
from exchange.core.exchange import Exchange
from exchange.core.reasons import Reason
from exchange.core.recorded import Recorded
from exchange.engine import Outcomes
from exchange.packed import INSTRUCTION, NO_ID, REPORT
from exchange.rpc.convert import answers, orders, rows
from exchange.rpc.convert.conditions import placement
from exchange.rpc.convert.orders import Batch, Reject
from exchange.rpc.pushes import Push
from exchange.v1 import order_service_pb2 as pb

ROW_BYTES: Final = INSTRUCTION.size
RESPONSE_ROWS_MAX: Final = 1_000
"""Rows of what nobody asked for, in one response."""


def batch(account_id: int, instructions: bytes, stream_id: int = 0) -> Batch:
    """The commands of packed instructions, and what cannot become one.

    Args:
        account_id: Whose they are.
        instructions: Whole rows of `ROW_BYTES`.
        stream_id: The stream whose end cancels what is placed; 0 for none.
    """
    records, indexes, unknown = rows.read(account_id, instructions)
    if stream_id:
        found = [_of_stream(command, stream_id) for command in Recorded(records)]
        records = b"".join([command.encode() for command in found])
    rejects = [
        Reject(index, Reason.FIELD_INVALID, client_order_id, order_id)
        for index, order_id, client_order_id in unknown
    ]
    return Batch(Recorded(records), indexes, rejects, packed=True)


def _of_stream(command: Command, stream_id: int) -> Command:
    if not isinstance(command, PlaceOrder):
        return command
    placed = placement(command, pb.NewOrder(), stream_id)
    assert not isinstance(placed, Reason), "a plain order can live as long as its stream"
    return placed


def answer(
    core: Exchange, request_id: int, account_id: int, made: Batch, outcomes: Outcomes
) -> bytes:
    """What became of a packed batch: ranges of plain acceptances, rows of everything else."""
    commands = made.commands
    assert isinstance(commands, Recorded), "a packed batch has records"

    def unusual(at: int, event: AnyEvent) -> bytes:
        sequence = outcomes.first_sequence + at
        found = orders.reports_of(
            core, sequence, outcomes.now_ns, commands[at], (event,), made.indexes[at]
        )
        return b"".join(map(_row_of, found))

    return answers.answer(
        account_id,
        request_id,
        outcomes.first_sequence,
        outcomes.now_ns,
        commands.records,
        commands.begins,
        made.indexes,
        outcomes.events,
        b"".join([_row_of(orders.rejection(reject)) for reject in made.rejects]),
        unusual,
    )


def unasked(account_id: int, pushes: list[Push]) -> list[bytes]:
    """What others did to an account's orders, in responses of at most `RESPONSE_ROWS_MAX`."""

    def unusual(push: Push, event: AnyEvent) -> bytes:
        report = orders.report_to(account_id, event)
        if report is None:
            return b""
        report.sequence = push.sequence
        report.event_time_ns = push.now_ns
        return _row_of(report)

    rows_told = answers.unasked(account_id, pushes, unusual)
    size = RESPONSE_ROWS_MAX * REPORT.size
    parts = [rows_told[start : start + size] for start in range(0, len(rows_told), size)]
    return [answers.response(0, answers.last_sequence(part), [], part) for part in parts]


def _row_of(report: pb.ExecutionReport) -> bytes:
    """A message as a row."""
    return REPORT.pack(
        report.sequence, report.event_time_ns, report.index, report.instrument_id, report.reason,
        report.execution_type, report.state, report.side, report.order_id,
        report.client_order_id or NO_ID, report.price_nanos, report.quantity_mflop,
        report.leaves_mflop, report.trade_id, report.retry_time_ns,
    )  # fmt: skip
