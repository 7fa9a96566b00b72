"""`flopex bench exchange`: its search has an end, its figures are what it measured."""

from __future__ import annotations

import json
import random
from collections import Counter

import pytest
from typer.testing import CliRunner

from exchange.client import packed_orders
from exchange.packed import INSTRUCTION
from exchange.v1 import order_service_pb2 as pb
from flopex.bench import client, exchange
from flopex.bench.exchange import Measured, Settings
from flopex.bench.flow import Flow
from flopex.bench.latencies import MANTISSA_BITS, Latencies, bucket, value_us
from flopex.bench.messages import Message, Trial, schedule
from flopex.cli import app


def measured(rate: float, *, holds: bool) -> Measured:
    found = Measured(rate, sent=1, acked=1)
    found.latencies.add([1_000 if holds else 60_000])
    return found


@pytest.mark.parametrize("limit", [0.5, 700.0, 1_000.0, 3_300.0, 1e9])
def test_the_search_finds_the_limit_and_ends(limit: float) -> None:
    tried: list[float] = []

    def attempt(rate: float) -> Measured:
        tried.append(rate)
        return measured(rate, holds=rate <= limit)

    found = exchange._Search(attempt).run(1_000.0)
    assert len(tried) <= exchange.TRIALS_MAX
    if limit < 1.0:
        assert found is None
    else:
        assert found is not None
        assert found.offered_per_s <= limit
        assert limit > 1e8 or found.offered_per_s > limit * 0.9


def test_one_stall_is_no_limit() -> None:
    stalls = iter([True, True, False])

    def attempt(rate: float) -> Measured:
        return measured(rate, holds=rate <= 2_000 and not next(stalls, False))

    found = exchange._Search(attempt).run(1_000.0)
    assert found is not None
    assert found.offered_per_s > 1_500


def test_latencies_are_exact_to_a_hundredth() -> None:
    rng = random.Random(1)
    values = sorted(rng.choice((rng.randint(0, 300), rng.randint(0, 10**7))) for _ in range(5_000))
    one, other = Latencies(), Latencies()
    one.add(values[::2])
    other.add(values[1::2])
    one.merge(Latencies({int(k): v for k, v in json.loads(json.dumps(other.counts)).items()}))
    assert len(one) == 5_000
    for share in (0.0, 0.5, 0.99, 0.999, 1.0):
        exact = values[min(4_999, int(share * 5_000))]
        assert one.percentile_ms(share) * 1e3 == pytest.approx(exact, rel=2**-MANTISSA_BITS)
    assert Latencies().percentile_ms(0.5) == float("inf")
    assert [value_us(bucket(value)) for value in range(300)][:256] == list(range(256))


def test_rows_are_the_flow_of_messages() -> None:
    rows, messages = Flow(3, 0, 1), Flow(3, 0, 1)
    seen: Counter[int] = Counter()
    for _ in range(3_000):
        row, request = rows.row(), pb.TradeRequest()
        packed_orders.put(request, [messages.instruction()])
        ours, theirs = (INSTRUCTION.unpack(one) for one in (row, request.packed))
        assert ours[:7] + ours[8:] == theirs[:7] + theirs[8:]  # but for the time in the client id
        seen[ours[0]] += 1
    assert 0.17 < seen[2] / 3_000 < 0.23


def test_a_lost_order_is_no_held_rate() -> None:
    assert measured(10, holds=True).good
    assert not Measured(10, sent=2, acked=1, latencies=Latencies({1: 1})).good
    assert not Measured(10, sent=1, acked=1, complete=False, latencies=Latencies({1: 1})).good


def test_a_refused_order_is_no_order_of_a_rate() -> None:
    trial = Trial("", "", "batched", 500.0, 1.0, 8, 1, 0, 1)
    made = schedule(trial, Flow(1, 0, 1))
    places = sum(made[number].places for number in range(len(made)))
    assert 0 < places < sum(made[number].orders for number in range(len(made))) == 500
    run = client.Run(trial, made)
    run.acknowledge(Message(0, 0, 3, places=2))
    run.accepted = 1
    assert run.refused() == 1
    kinds = (pb.EXECUTION_TYPE_NEW, pb.EXECUTION_TYPE_REJECTED)
    run.answers = [
        pb.PlaceOrderResponse(reports=[pb.ExecutionReport(execution_type=kind)]).SerializeToString()
        for kind in kinds
    ]
    assert run.refused() == 0


def test_it_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Real processes, one mode, few trials; the figures are there under their names."""
    monkeypatch.setattr(exchange, "TRIALS_MAX", 2)
    monkeypatch.setattr(exchange, "HALF_TRIALS", 1)
    monkeypatch.setattr(exchange, "P99_MAX_MS", 10_000.0)
    monkeypatch.setattr(exchange, "MODES", {"batched": (256, 500.0, 500.0)})
    done = CliRunner().invoke(
        app, ["bench", "exchange", "--mode", "batched", "--seconds", "0.5", "--json"]
    )
    assert done.exit_code == 0, done.output
    result = json.loads(done.stdout.splitlines()[-1])
    assert result["settings"]["seconds"] == Settings(seconds=0.5).seconds
    for kind in ("full", "empty"):
        limit = result["batched"][kind]["limit"]
        assert limit["per_s"] >= 500
        assert limit["orders"] >= 250
        assert 0 < limit["p50_ms"] <= limit["p99_ms"] <= limit["max_ms"]
    assert result["batched_per_s"] == result["batched"]["full"]["limit"]["per_s"]
    assert result["cpu_us_per_order"] > 0
    assert result["batched"]["ratio_of_ceiling"] > 0
