"""Responses in rows are, byte by byte, what protobuf would have written."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from exchange.core.commands import PlaceOrder
from exchange.core.events import OrderAccepted, OrderTriggered
from exchange.core.exchange import Exchange
from exchange.core.recorded import Recorded
from exchange.engine import Outcomes
from exchange.packed import REPORT
from exchange.rpc.convert import answers, packed
from exchange.rpc.convert.orders import Batch, ack_ranges
from exchange.rpc.pushes import Push
from exchange.v1 import order_service_pb2 as pb
from tests.exchange.core.rows import rows_of
from tests.exchange.rpc.test_pushes import ALICE, BOB, closed, filled

IDS = st.integers(0, 2**63 - 1)
RANGES = st.tuples(st.integers(0, 2**32 - 1), st.integers(1, 2**32 - 1), IDS)


@given(st.integers(0, 2**64 - 1), IDS, st.lists(RANGES, max_size=5), st.integers(0, 300))
def test_a_response_is_written_as_protobuf_writes_it(
    request_id: int, sequence: int, ranges: list[tuple[int, int, int]], size: int
) -> None:
    rows = bytes(size)
    message = pb.TradeResponse(
        request_id=request_id,
        sequence=sequence,
        accepted=ack_ranges(ranges),
        packed_reports=rows,
    )
    assert answers.response(request_id, sequence, ranges, rows) == message.SerializeToString()


def test_what_nobody_asked_for_comes_in_responses_of_bounded_size() -> None:
    most = packed.RESPONSE_ROWS_MAX
    fill, end = (rows_of([[event]]).rows for event in (filled(ALICE, BOB), closed(ALICE)))
    pushes = [Push(ALICE, sequence, 7, fill) for sequence in range(1, most)]
    pushes[-1].happened.append(end)
    assert len(packed.unasked(ALICE, pushes)) == 1
    pushes.append(Push(ALICE, most, 8, fill))
    first, second = map(pb.TradeResponse.FromString, packed.unasked(ALICE, pushes))
    assert len(first.packed_reports) == most * REPORT.size
    assert (first.request_id, first.sequence) == (0, most - 1)
    assert len(second.packed_reports) == REPORT.size
    assert (second.request_id, second.sequence) == (0, most)
    assert not packed.unasked(ALICE, [])


class Unasked(Outcomes):
    """Outcomes of which no command's may be asked for as a whole."""

    def __getitem__(self, at: object) -> Any:
        raise AssertionError("all that a command did is made for one event of it")


def test_an_answer_makes_each_event_once() -> None:
    """One order may trigger very many: what the answer costs must grow with them, and no faster."""
    stops = [OrderTriggered(number, BOB, 1, 100) for number in range(1, 500)]
    order = PlaceOrder(ALICE, bytes(16), 1, 1, 1, 1, 1, 100, 5, 0, 0)
    told = rows_of([[OrderAccepted(1, ALICE, bytes(16), 1, 1, 100, 5), *stops, closed(ALICE)]])
    made = Batch(Recorded(order.encode()), [0], [], packed=True)
    answer = packed.answer(Exchange(), 1, ALICE, made, Unasked(9, 7, told))
    response = pb.TradeResponse.FromString(answer)
    assert (response.sequence, len(response.packed_reports)) == (9, REPORT.size)
