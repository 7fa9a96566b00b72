"""Batches of an order stream in packed rows, which cost the exchange least (`exchange.packed`)."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence

from exchange.client.enums import ExecutionType, OrderState, Side
from exchange.client.order_types import Report, report_from
from exchange.client.reasons import reason_name
from exchange.packed import CANCEL, INSTRUCTION, NO_ID, PLACE, REPLACE, REPORT
from exchange.v1 import order_service_pb2 as pb


def put(request: pb.TradeRequest, instructions: Sequence[pb.Instruction]) -> None:
    """Put a batch into a request: as rows where all of it fits into rows, else as messages."""
    rows = []
    for instruction in instructions:
        row = _row(instruction)
        if row is None:
            request.instructions.extend(instructions)
            return
        rows.append(row)
    request.packed = b"".join(rows)


def reports_in(response: pb.TradeResponse) -> Iterator[tuple[int, Report]]:
    """The reports of a response in either form, each with its instruction's place in the batch."""
    for report in response.reports:
        yield report.index, report_from(report)
    yield from _unpack(response.packed_reports)


def _row(instruction: pb.Instruction) -> bytes | None:
    action = instruction.WhichOneof("action")
    try:
        if action == "place":
            return _placement(instruction.place)
        if action == "cancel":
            cancel = instruction.cancel
            client_order_id = cancel.client_order_id or NO_ID
            return _pack(CANCEL, order_id=cancel.order_id, client_order_id=client_order_id)
        if action == "replace":
            terms = instruction.replace
            if terms.stop_price_nanos:
                return None
            return _pack(
                REPLACE,
                order_id=terms.order_id,
                price_nanos=terms.price_nanos,
                quantity_mflop=terms.quantity_mflop,
            )
    except struct.error:
        pass  # the other form carries it to the exchange, which says what is wrong with it
    return None


def _placement(order: pb.NewOrder) -> bytes | None:
    if order.legs or order.HasField("conditions") or len(order.client_order_id) != len(NO_ID):
        return None
    return INSTRUCTION.pack(
        PLACE,
        order.side,
        order.order_type,
        order.time_in_force,
        order.self_trade_prevention,
        order.instrument_id,
        0,
        order.client_order_id,
        order.price_nanos,
        order.quantity_mflop,
        order.expire_time_ns,
        order.max_cost_nanos,
    )


def _pack(
    action: int,
    *,
    order_id: int,
    client_order_id: bytes = NO_ID,
    price_nanos: int = 0,
    quantity_mflop: int = 0,
) -> bytes | None:
    if len(client_order_id) != len(NO_ID):
        return None  # struct would pad and cut in silence
    return INSTRUCTION.pack(
        action, 0, 0, 0, 0, 0, order_id, client_order_id, price_nanos, quantity_mflop, 0, 0
    )


def _unpack(rows: bytes) -> Iterator[tuple[int, Report]]:
    for (
        sequence, event_time_ns, index, instrument_id, reason, execution_type, state, side,
        order_id, client_order_id, price, quantity, leaves, trade_id, retry_time_ns,
    ) in REPORT.iter_unpack(rows):  # fmt: skip
        yield (
            index,
            Report(
                sequence,
                ExecutionType(execution_type),
                OrderState(state),
                order_id,
                b"" if client_order_id == NO_ID else client_order_id,
                instrument_id,
                Side(side),
                price,
                quantity,
                leaves,
                trade_id,
                reason_name(reason),
                event_time_ns,
                retry_time_ns=retry_time_ns,
            ),
        )
