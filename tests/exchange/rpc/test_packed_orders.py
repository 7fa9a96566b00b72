"""Order streams in packed rows: the same as in messages, and what is malformed."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from exchange.client import packed_orders
from exchange.core.commands import CancelOrder, PlaceOrder
from exchange.core.reasons import Reason
from exchange.core.recorded import Recorded
from exchange.packed import CANCEL, INSTRUCTION, NO_ID, PLACE, REPORT
from exchange.rpc.convert import answers, orders, packed, rows
from exchange.rpc.orders import INSTRUCTIONS_MAX
from exchange.v1 import order_service_pb2 as pb
from tests.exchange.rpc.desk import ASK, BID, Desk, TradeCall, open_desk
from tests.exchange.rpc.rig import error_info

pytestmark = pytest.mark.usefixtures("both_forms")

FIELDS = (
    "sequence", "index", "instrument_id", "reason", "execution_type", "state", "side", "order_id",
    "client_order_id", "price_nanos", "quantity_mflop", "leaves_mflop", "trade_id",
    "retry_time_ns",
)  # fmt: skip
"""Of a report, all but the time, which no two runs share."""


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    async with open_desk(tmp_path) as desk:
        yield desk


def instructions(desk: Desk, seed: int, count: int) -> list[pb.Instruction]:
    """Random orders, cancels and replacements, many of them refused."""
    rng = random.Random(seed)
    made: list[pb.Instruction] = []
    ids: list[bytes] = []
    for _ in range(count):
        kind = rng.random()
        if kind < 0.7 or not ids:
            order = desk.order(
                BID if rng.random() < 0.5 else rng.choice([ASK, ASK, ASK, 0, 7]),
                100 + rng.randint(-3, 3),
                rng.choice([0, 1, 5, 10]),
                time_in_force=rng.choice([0, 1, 3, 4]),
                order_type=rng.choice([0, 0, 1, 2]),
                self_trade_prevention=rng.choice([0, 1, 2, 3, 4]),
            )
            if rng.random() < 0.05:
                order.client_order_id = rng.choice([NO_ID, *ids])
            ids.append(order.client_order_id)
            made.append(pb.Instruction(place=order))
        elif kind < 0.85:
            made.append(pb.Instruction(cancel=pb.OrderReference(client_order_id=rng.choice(ids))))
        elif kind < 0.9:
            made.append(pb.Instruction(cancel=pb.OrderReference(order_id=rng.randint(1, count))))
        else:
            terms = pb.OrderReplacement(
                order_id=rng.randint(1, count), price_nanos=100 + rng.randint(-3, 3),
                quantity_mflop=rng.randint(0, 20),
            )  # fmt: skip
            made.append(pb.Instruction(replace=terms))
    return made


def plain(message: Any) -> tuple[Any, ...]:
    row = [getattr(message, name) for name in FIELDS]
    row[FIELDS.index("client_order_id")] = message.client_order_id or NO_ID
    return tuple(row)


def unpacked(rows: bytes) -> list[tuple[Any, ...]]:
    found = []
    for fields in REPORT.iter_unpack(rows):
        sequence, _, *rest = fields
        found.append((sequence, *rest))
    return found


async def answer_to(call: TradeCall, batch: Sequence[pb.Instruction], *, in_rows: bool) -> Any:
    """A batch's sequence, ranges and reports, in one form."""
    number = await (call.send_rows(batch) if in_rows else call.send(*batch))
    while (response := await call.receive()).request_id != number:
        assert not (response.reports if in_rows else response.packed_reports)
    if in_rows:
        assert not response.reports
        reports = unpacked(response.packed_reports)
    else:
        assert not response.packed_reports
        reports = [plain(report) for report in response.reports]
    ranges = [(r.first_index, r.count, r.first_order_id) for r in response.accepted]
    # Each exchange gives its client ids anew.
    return response.sequence, ranges, [report[:8] + report[9:] for report in reports]


@pytest.mark.parametrize("seed", range(4))
async def test_rows_and_messages_say_the_same(tmp_path: Path, seed: int) -> None:
    told: list[list[Any]] = []
    for form in ("messages", "rows"):
        async with (
            open_desk(tmp_path / form) as desk,
            TradeCall(desk.alice) as alice,
            TradeCall(desk.bob) as bob,
        ):
            made = instructions(desk, seed, 400)
            batches = [
                (alice, made[:1]),
                (bob, made[1:80]),
                (alice, made[80:240]),
                (bob, made[240:]),
            ]
            in_rows = form == "rows"
            told.append([await answer_to(call, b, in_rows=in_rows) for call, b in batches])
    assert told[0] == told[1]
    kinds = {report[4] for _, _, reports in told[0] for report in reports}
    assert {pb.EXECUTION_TYPE_TRADE, pb.EXECUTION_TYPE_CANCELED, pb.EXECUTION_TYPE_REJECTED} < kinds


def test_rows_name_what_happened_as_messages_do() -> None:
    assert answers.TRADE == pb.EXECUTION_TYPE_TRADE
    assert answers.CANCELED == pb.EXECUTION_TYPE_CANCELED
    assert answers.EXPIRED == pb.EXECUTION_TYPE_EXPIRED
    assert answers.REJECTED == pb.EXECUTION_TYPE_REJECTED


async def test_a_client_may_use_all_64_bits_of_an_id(desk: Desk) -> None:
    most = (1 << 64) - 1
    async with TradeCall(desk.alice) as alice:
        cancel = pb.Instruction(cancel=pb.OrderReference(order_id=most))
        request = pb.TradeRequest(request_id=most)
        packed_orders.put(request, [cancel])
        await alice._call.write(request)
        response = await alice.receive()
    assert response.request_id == most
    ((_, _, _, _, reason, kind, _, _, order_id, *_),) = REPORT.iter_unpack(response.packed_reports)
    assert (reason, kind, order_id) == (Reason.UNKNOWN_ORDER, pb.EXECUTION_TYPE_REJECTED, most)


async def test_both_forms_make_the_same_commands(desk: Desk) -> None:
    for seed in range(20):
        made = instructions(desk, seed, 100)
        request = pb.TradeRequest()
        packed_orders.put(request, made)
        assert request.packed
        for stream_id in (0, 5):
            of_rows = packed.batch(9, request.packed, stream_id)
            of_messages = orders.batch(9, made, stream_id)
            assert list(of_rows.commands) == of_messages.commands
            assert of_rows.indexes == of_messages.indexes
            encoded = b"".join([command.encode() for command in of_messages.commands])
            assert (of_rows.payload, of_messages.payload) == (encoded, b"")
            assert [r[:2] for r in of_rows.rejects] == [r[:2] for r in of_messages.rejects]


@given(data=st.data())
def test_any_row_is_a_command_and_its_record(data: st.DataObject) -> None:
    """Whatever the fields: the places of a row's fields, and the copies of what both hold."""
    account_id = data.draw(st.integers(1, (1 << 32) - 1))
    number, unsigned = st.integers(-(1 << 63), (1 << 63) - 1), st.integers(0, (1 << 64) - 1)
    byte, client_id = st.integers(0, 255), st.binary(min_size=16, max_size=16)
    fields = data.draw(
        st.lists(
            st.tuples(
                st.sampled_from([PLACE, CANCEL]), byte, byte, byte, byte,
                st.integers(0, (1 << 32) - 1), unsigned | st.just(0), client_id,
                number, number, number, number,
            ),
            max_size=4,
        )
    )  # fmt: skip
    made = rows.read(account_id, b"".join(INSTRUCTION.pack(*row) for row in fields))
    commands = Recorded(made.records)
    assert made.records == b"".join(command.encode() for command in commands)
    assert made.indexes == list(range(len(fields)))
    for command, row in zip(commands, fields, strict=True):
        action, side, order_type, time_in_force, self_trade, instrument_id = row[:6]
        order_id, client_order_id, *numbers = row[6:]
        if action == CANCEL:
            named_by = NO_ID if order_id else client_order_id
            assert command == CancelOrder(account_id, order_id, named_by)
            continue
        how = order_type or 1, time_in_force or 1, self_trade or 1
        assert command == PlaceOrder(
            account_id, client_order_id, instrument_id, side, *how, *numbers
        )


async def test_what_others_do_comes_in_the_form_of_the_latest_batch(desk: Desk) -> None:
    async with TradeCall(desk.alice) as call:
        one, two = (pb.Instruction(place=desk.order(ASK, 100, 5)) for _ in range(2))
        await call.send_rows([one])
        assert (await call.receive()).accepted
        await desk.place(desk.bob, BID, 100, 2)
        told = await call.receive()
        (fill,) = unpacked(told.packed_reports)
        assert (told.request_id, fill[7], fill[10], fill[11]) == (0, 1, 2, 3)
        await call.exchange(two)
        await desk.place(desk.bob, BID, 100, 1)
        (report,) = (await call.receive()).reports
        assert (report.order_id, report.quantity_mflop) == (1, 1)


@pytest.mark.parametrize(
    "request_of",
    [
        lambda rows, _: pb.TradeRequest(request_id=1, packed=rows[:-1]),
        lambda rows, _: pb.TradeRequest(request_id=1, packed=rows + b"x"),
        lambda rows, placing: pb.TradeRequest(request_id=1, packed=rows, instructions=[placing]),
        lambda rows, _: pb.TradeRequest(request_id=1, packed=rows * (INSTRUCTIONS_MAX + 1)),
        lambda rows, _: pb.TradeRequest(packed=rows),
    ],
)
async def test_malformed_batches_end_the_stream(desk: Desk, request_of: Any) -> None:
    row = INSTRUCTION.pack(
        PLACE, BID, 0, 0, 0, desk.instrument_id, 0, desk.exchange.id(), 1, 1, 0, 0
    )
    request = request_of(row, pb.Instruction(place=desk.order(BID, 1, 1)))
    before = desk.core.sequence
    call = desk.alice.Trade()
    await call.write(request)
    with pytest.raises(grpc.aio.AioRpcError) as failure:
        await call.read()
    assert failure.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert error_info(failure.value).reason == "FIELD_INVALID"
    assert not desk.core.orders
    assert desk.core.sequence == before


async def test_a_batch_that_fits_no_row_goes_as_messages(desk: Desk) -> None:
    conditions = pb.OrderConditions(all_or_none=True)
    special = pb.Instruction(place=desk.order(BID, 100, 5, conditions=conditions))
    for other in (
        special,
        pb.Instruction(mass_cancel=pb.OrderSelection()),
        pb.Instruction(replace=pb.OrderReplacement(order_id=1, stop_price_nanos=5)),
        pb.Instruction(place=desk.order(300, 100, 5)),
        pb.Instruction(place=desk.order(BID, 100, 5, client_order_id=b"short")),
        pb.Instruction(cancel=pb.OrderReference(client_order_id=b"short")),
        pb.Instruction(),
    ):
        request = pb.TradeRequest()
        packed_orders.put(request, [pb.Instruction(place=desk.order(BID, 100, 5)), other])
        assert not request.packed
        assert len(request.instructions) == 2
