"""The market is the live engine: its invariants hold, and its rivals keep the physical rules."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys

import msgspec
import pytest

from exchange.core.limits import NS_PER_S
from exchange.core.rules import Rules
from sim import rivals
from sim.demand import Demand
from sim.market import run_market
from sim.outcome import UNSERVED, Outcome
from sim.rivals import run_rivals
from sim.scenario import Scenario
from tests.sim.demands import SMALL, small_demand


def check_physics(outcome: Outcome, demand: Demand, scenario: Scenario) -> None:
    """No job ran before it came or faster than its class, no class ran more than its slots."""
    for index, kind in enumerate(scenario.classes):
        changes = []
        for job in demand.jobs:
            if outcome.served_by[job.number] == index:
                done_ns = outcome.done_ns[job.number]
                start_ns = done_ns - round(job.work_ns / kind.speed)
                # The class's promise is rounded up for prompt and output, each.
                assert start_ns >= job.arrival_ns - 10
                changes += [(start_ns + 10, 1), (done_ns - 10, -1)]
        running = itertools.accumulate(change for _, change in sorted(changes))
        assert max(running, default=0) <= kind.workers * kind.slots


def test_the_market_serves_in_time_and_takes_no_more_than_the_value() -> None:
    demand = small_demand()
    outcome = run_market(demand, SMALL)
    check_physics(outcome, demand, SMALL)
    served = [job for job in demand.jobs if outcome.served_by[job.number] != UNSERVED]
    assert len(served) > len(demand.jobs) / 2
    assert all(outcome.done_ns[job.number] <= job.deadline_ns for job in served)
    assert all(0 < outcome.paid_nanos[job.number] <= job.value_nanos for job in served)
    assert outcome.missed(demand) == pytest.approx(1 - len(served) / len(demand.jobs))


def test_the_same_demand_is_the_same_market() -> None:
    demand = small_demand()
    one = run_market(demand, SMALL)
    assert run_market(demand, SMALL) == one
    plain = run_market(demand, msgspec.structs.replace(SMALL, ask_exponent=0))
    assert plain.digest != one.digest


def test_pythons_hash_seed_changes_nothing() -> None:
    code = (
        "from tests.sim.demands import SMALL, small_demand; from sim.market import run_market;"
        "from sim.rivals import run_rivals; d = small_demand(); print(run_market(d, SMALL).digest,"
        " [o.done_ns for o in run_rivals(d, SMALL).values()])"
    )
    printed = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(printed) == 1


def test_rivals_keep_the_physical_rules() -> None:
    demand = small_demand()
    for name, outcome in run_rivals(demand, SMALL).items():
        assert outcome.rule == name
        check_physics(outcome, demand, SMALL)
        if name in ("fifo", "least_loaded", "cheapest_spill"):
            assert UNSERVED not in outcome.served_by  # they drop nothing, however late
        else:
            assert all(
                index == UNSERVED or outcome.done_ns[i] <= demand.jobs[i].deadline_ns
                for i, index in enumerate(outcome.served_by)
            )


def test_first_in_first_out_starts_in_order() -> None:
    scenario = msgspec.structs.replace(SMALL, classes=SMALL.classes[:1])
    demand = small_demand(scenario)
    outcome = run_rivals(demand, scenario)["fifo"]
    starts = [outcome.done_ns[job.number] - job.work_ns for job in demand.jobs]
    assert starts == sorted(starts)


def test_a_price_that_nobody_pays_serves_nobody() -> None:
    demand = small_demand()
    outcome = rivals._queue("posted", demand, SMALL, rivals.Rule(rivals._arrival), [])
    assert set(outcome.served_by) == {UNSERVED}


def test_in_an_idle_market_all_are_served() -> None:
    scenario = msgspec.structs.replace(SMALL, load=0.02)
    demand = small_demand(scenario)
    # What is worth less than its own work is never done.
    assert run_market(demand, scenario).missed(demand) < 0.05
    for outcome in run_rivals(demand, scenario).values():
        assert outcome.missed(demand) < 0.2


@pytest.mark.parametrize("seed", range(3))
def test_the_market_beats_queues_that_know_no_values(seed: int) -> None:
    demand = small_demand(seed=seed)
    ours = sum(run_market(demand, SMALL).welfare_nanos(demand, SMALL))
    rivals = run_rivals(demand, SMALL)
    for name in ("fifo", "fifo_drop", "least_loaded", "reverse_auction"):
        assert ours > sum(rivals[name].welfare_nanos(demand, SMALL))


def test_other_rules_of_clearing_are_another_market() -> None:
    demand = small_demand()
    digests = {
        run_market(demand, SMALL, rules=rules).digest
        for rules in (Rules(1, NS_PER_S), Rules(NS_PER_S, NS_PER_S), Rules(NS_PER_S, 10**6))
    }
    assert len(digests | {run_market(demand, SMALL).digest}) == 4


def test_any_number_of_accounts_can_pay() -> None:
    scenario = msgspec.structs.replace(SMALL, accounts=200)  # the exchange holds 2**62 in all
    assert run_market(small_demand(scenario), scenario).missed(small_demand(scenario)) < 0.6
