"""A demand in the clock of a live exchange: the same jobs, as much of them as the fleet does."""

from __future__ import annotations

import msgspec
import pytest

from exchange.core.limits import NS_PER_S
from sim.market import run_market
from sim.outcome import UNSERVED
from sim.pacing import TOKENS_PER_UNIT, enlarged, paced, welfare_nanos
from tests.sim.demands import SMALL, small_demand, trace


@pytest.mark.parametrize("factor", [0.5, 1.0, 4.0])
def test_a_paced_demand_is_the_demand_in_another_clock(factor: float) -> None:
    demand = small_demand()
    seconds = demand.window_starts_ns[-1] / NS_PER_S / factor
    pace = paced(demand, seconds)
    assert pace.window_starts_ns[-1] == pytest.approx(seconds * NS_PER_S, rel=1e-6)
    assert pace.millitokens_per_s == pytest.approx(1_000 * TOKENS_PER_UNIT * factor, rel=1e-6)
    for one, job in zip(pace.jobs, demand.jobs, strict=True):
        assert (one.number, one.value_nanos) == (job.number, job.value_nanos)
        assert one.output_tokens == 1
        assert one.arrival_ns * factor == pytest.approx(job.arrival_ns, abs=factor)
        assert one.deadline_ns * factor == pytest.approx(job.deadline_ns, abs=factor)
        # In whole tokens, of which one is the answer's.
        token_ns = NS_PER_S / TOKENS_PER_UNIT
        assert one.work_ns * factor == pytest.approx(job.work_ns, abs=2 * token_ns)


def test_at_its_own_pace_the_market_is_nearly_the_same() -> None:
    demand = small_demand()
    pace = paced(demand, demand.window_starts_ns[-1] / NS_PER_S)
    plain, again = run_market(demand, SMALL), run_market(pace, SMALL)
    worth = sum(plain.welfare_nanos(demand, SMALL))
    assert sum(welfare_nanos(again, pace, demand, SMALL)) == pytest.approx(worth, rel=0.05)
    assert sum(welfare_nanos(plain, demand, demand, SMALL)) == worth


def test_late_answers_cost_and_are_worth_nothing() -> None:
    demand = small_demand()
    outcome = run_market(demand, SMALL)
    number = next(i for i, by in enumerate(outcome.served_by) if by != UNSERVED)
    in_time = sum(welfare_nanos(outcome, demand, demand, SMALL))
    outcome.done_ns[number] = demand.jobs[number].deadline_ns + 1
    late = sum(welfare_nanos(outcome, demand, demand, SMALL))
    assert in_time - late == demand.jobs[number].value_nanos


def test_a_faster_trace_needs_a_larger_fleet() -> None:
    requests = trace()
    seconds = small_demand().window_starts_ns[-1] / NS_PER_S
    faster = enlarged(SMALL, requests, seconds / 3)
    assert [c.slots for c in faster.classes] == [3 * c.slots for c in SMALL.classes]
    assert faster.capacity() == pytest.approx(3 * SMALL.capacity())
    assert small_demand(faster).window_starts_ns[-1] == pytest.approx(
        seconds / 3 * NS_PER_S, rel=1e-6
    )
    assert enlarged(SMALL, requests, seconds * 3) == SMALL
    assert msgspec.structs.replace(faster, classes=SMALL.classes) == SMALL
