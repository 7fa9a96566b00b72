"""Buyers with a budget for the day."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from exchange.core.limits import NS_PER_S
from sim.agents.cast import cast
from sim.agents.conduct import Ending
from sim.agents.paced import Paced
from sim.demand import Demand, make_demand
from sim.market import run_market
from sim.outcome import UNSERVED, Outcome
from sim.scenario import UNIT_NANOS, Agent, Scenario
from tests.sim.demands import SMALL, small_demand, trace

BUYER = 1
LONG = msgspec.structs.replace(SMALL, windows=4, window_requests=150)


@pytest.fixture(scope="module")
def demand() -> Demand:
    return make_demand(trace(600), LONG)


def with_agent(**fields: Any) -> Scenario:
    return msgspec.structs.replace(LONG, agents=(Agent(accounts=(BUYER,), **fields),))


def spent(outcome: Outcome, demand: Demand) -> int:
    return sum(outcome.paid_nanos[job.number] for job in demand.jobs if job.account == BUYER)


def served(outcome: Outcome, demand: Demand) -> list[int]:
    """By window, value of the buyer's answers."""
    values = [0] * demand.windows
    for job in demand.jobs:
        if job.account == BUYER and outcome.served_by[job.number] != UNSERVED:
            values[job.window] += job.value_nanos
    return values


def test_a_budget_holds_to_the_last_nano_and_pacing_buys_more_with_it(demand: Demand) -> None:
    free = spent(run_market(demand, LONG), demand)
    budget_nanos = free // 2
    results = {}
    for kind in ("unpaced", "paced"):
        scenario = with_agent(kind=kind, budget=budget_nanos / UNIT_NANOS)
        outcome = run_market(demand, scenario)
        assert spent(outcome, demand) <= budget_nanos
        results[kind] = outcome
    unpaced, paced = (served(results[kind], demand) for kind in ("unpaced", "paced"))
    # Without pacing the budget is gone before the day is, and jobs are refused.
    assert results["unpaced"].faults["INSUFFICIENT_FUNDS"] > 0
    assert unpaced[-1] < paced[-1]
    assert sum(paced) > 1.1 * sum(unpaced)
    assert spent(results["paced"], demand) > 0.7 * budget_nanos


def test_a_budget_that_never_binds_changes_nothing(demand: Demand) -> None:
    rich = run_market(demand, with_agent(kind="paced", budget=10_000.0))
    assert rich.served_by == run_market(demand, LONG).served_by


def test_the_multiplier_follows_the_plan() -> None:
    demand = small_demand()
    day_s = demand.window_starts_ns[-1] / NS_PER_S
    agent = Agent("paced", accounts=(BUYER,), budget=day_s, horizon_s=10.0)  # a unit a second
    paced = Paced(agent, demand)
    job = demand.jobs[0]._replace(account=BUYER, value_nanos=UNIT_NANOS)
    assert paced.told(job, 0).value_nanos == UNIT_NANOS
    # Two seconds later it has spent what it might in twelve: ten ahead, so it bids half.
    paced.ended(job, Ending(1, 12 * UNIT_NANOS, answered=True), NS_PER_S)
    assert paced.told(job, 2 * NS_PER_S).value_nanos == pytest.approx(UNIT_NANOS / 2, rel=1e-3)
    assert paced.told(job, 7 * NS_PER_S).value_nanos == pytest.approx(UNIT_NANOS / 1.5, rel=1e-3)
    assert paced.told(job, 60 * NS_PER_S).value_nanos == UNIT_NANOS


def test_only_the_named_account_is_paced() -> None:
    demand = small_demand()
    scenario = msgspec.structs.replace(SMALL, agents=(Agent("unpaced", (BUYER,), budget=1.0),))
    conduct = cast(demand, scenario)
    assert conduct.credit_nanos(BUYER) == UNIT_NANOS
    assert conduct.credit_nanos(0) is None
