"""Batches from a ring: what a whole trial made before would have sent, but for ids and prices."""

from __future__ import annotations

from collections import Counter

import pytest

from exchange.core.client_ids import is_uuid7
from exchange.packed import CANCEL, INSTRUCTION, PLACE
from exchange.v1 import order_service_pb2 as pb
from flopex.bench import messages
from flopex.bench.flow import MIDDLE_NANOS, REACH_TICKS, TICK_NANOS, Flow
from flopex.bench.messages import LINGER_NS, Message, Trial, schedule

CLIENT_ID, PRICE = 7, 8


def sent(trial: Trial) -> tuple[list[Message], list[tuple[int | bytes, ...]]]:
    """Messages, and the rows in them, all read as a server does."""
    made = schedule(trial, Flow(trial.seed, trial.stream, trial.instrument_id))
    found, rows = [], []
    for number in range(len(made)):
        request = pb.TradeRequest.FromString(made.data(number))
        assert request.request_id == number + 1
        assert request.bundle_responses
        one = list(INSTRUCTION.iter_unpack(request.packed))
        assert len(one) == made[number].orders
        assert sum(row[0] == PLACE for row in one) == made[number].places
        found.append(made[number])
        rows += one
    return found, rows


@pytest.mark.parametrize("rate", [2_000.0, 50_000.0])
def test_a_ring_goes_round(rate: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(messages, "RING_ORDERS_MAX", 1_000)
    trial = Trial("", "", "batched", rate, 7_777 / rate, 64, 3, 5, 9)
    found, rows = sent(trial)
    assert len(rows) == trial.orders
    assert [one.first for one in found] == [
        sum(before.orders for before in found[:number]) for number in range(len(found))
    ]
    # No order waits for its batch longer than it may, and none is sent before its time.
    for one in found:
        first_ns, last_ns = one.first * trial.gap_ns, (one.first + one.orders - 1) * trial.gap_ns
        assert last_ns - 1 <= one.due_ns <= first_ns + LINGER_NS
    placed, cancelled = set(), Counter[bool]()
    for row in rows:
        client_id = row[CLIENT_ID]
        assert isinstance(client_id, bytes)
        assert is_uuid7(client_id)
        if row[0] == PLACE:
            assert client_id not in placed, "two orders have one id"
            placed.add(client_id)
            # The middle comes back to where it began with each lap.
            assert abs(int(row[PRICE]) - MIDDLE_NANOS) <= (REACH_TICKS + 1 + 1_000) * TICK_NANOS
        else:
            assert (row[0], row[PRICE]) == (CANCEL, 0)
            cancelled[client_id in placed] += 1
    assert cancelled[True] > 1_000
    assert not cancelled[False], "an order is cancelled that was never sent"


def test_a_lap_is_the_flow() -> None:
    """One lap alone: the very instructions, but for the time in their ids and the drift."""
    trial = Trial("", "", "batched", 10_000.0, 0.3, 32, 3, 5, 9)
    _, rows = sent(trial)
    flow = Flow(3, 5, 9)
    for row in rows:
        plain = INSTRUCTION.unpack(flow.row())
        assert row[:7] == plain[:7]
        assert row[CLIENT_ID][8:] == plain[CLIENT_ID][8:]  # type: ignore[index]
        assert row[9:] == plain[9:]


def test_singles_are_one_order_each() -> None:
    found, rows = sent(Trial("", "", "stream", 1_000.0, 0.5, 1, 3, 5, 9))
    assert (len(found), len(rows)) == (500, 500)
    assert [one.due_ns for one in found] == [number * 1_000_000 for number in range(500)]
    trial = Trial("", "", "unary", 1_000.0, 0.5, 1, 3, 5, 9)
    made = schedule(trial, Flow(3, 5, 9))
    request = pb.PlaceOrderRequest.FromString(made.data(499))
    assert (request.order.instrument_id, made[499]) == (9, Message(499_000_000, 499, 1))
