"""Cheaters meet the live engine: none bills more than its work or its lease, money adds up."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from exchange.core.limits import FLOPS_PER_MFLOP
from exchange.metering.traces import DenseTrace, flops
from sim.agents.budgets import Estimated
from sim.agents.cast import Cast
from sim.agents.cheaters import BadWorker, Canceller
from sim.agents.conduct import Conduct, Ending
from sim.demand import Demand, Job
from sim.market import run_market
from sim.outcome import UNSERVED, Outcome
from sim.scenario import Agent, Scenario, ScenarioError, checked
from sim.workers import CARD
from tests.sim.demands import SMALL, small_demand


@pytest.fixture(scope="module")
def demand() -> Demand:
    return small_demand()


@pytest.fixture(scope="module")
def honest(demand: Demand) -> Outcome:
    return run_market(demand, SMALL)


def with_agent(kind: Any, **fields: Any) -> Scenario:
    return msgspec.structs.replace(SMALL, agents=(Agent(kind, **fields),))


def welfare(outcome: Outcome, demand: Demand) -> int:
    return sum(outcome.welfare_nanos(demand, SMALL))


@pytest.mark.parametrize(
    ("kind", "fields", "fault"),
    [
        ("decliner", {}, "WORKER_DECLINED"),
        ("vanisher", {}, "RECEIPT_TIMEOUT"),
        ("overclaimer", {"claim": "flops"}, "RECEIPT_FLOPS_MISMATCH"),
    ],
)
def test_a_bad_worker_is_paid_nothing_and_costs_the_others(
    kind: str, fields: dict[str, Any], fault: str, demand: Demand, honest: Outcome
) -> None:
    outcome = run_market(demand, with_agent(kind, workers=(0,), **fields))
    assert outcome.faults[fault] > 10
    assert 0 not in outcome.served_by  # class 0 is that worker alone
    assert welfare(outcome, demand) < 0.8 * welfare(honest, demand)
    assert all(
        paid == 0 for paid, by in zip(outcome.paid_nanos, outcome.served_by, strict=True)
        if by == UNSERVED
    )  # fmt: skip


def test_a_worker_that_cheats_now_and_then_costs_less(demand: Demand, honest: Outcome) -> None:
    some, all_of_it = (
        run_market(demand, with_agent("vanisher", workers=(0,), chance=chance))
        for chance in (0.1, 1.0)
    )
    assert welfare(all_of_it, demand) < welfare(some, demand) < welfare(honest, demand)


def test_what_comes_late_is_paid_until_it_is_due_and_never_after(
    demand: Demand, honest: Outcome
) -> None:
    outcome = run_market(demand, with_agent("late", workers=(0,), slowness=3.0))
    assert outcome.faults["RECEIPT_TIMEOUT"] > 0
    late = [
        (job, done_ns) for job, done_ns in zip(demand.jobs, outcome.done_ns, strict=True)
        if done_ns > job.deadline_ns
    ]  # fmt: skip
    # A lease is settled within two seconds of the deadline, in time or not: the buyer pays.
    assert late
    assert all(done_ns <= job.deadline_ns + 2 * 10**9 for job, done_ns in late)
    assert welfare(outcome, demand) < welfare(honest, demand)


class Overheard(Cast):
    """Estimated budgets, of which less is needed, on a fleet whose workers all overclaim."""

    def __init__(self, demand: Demand, claim: str) -> None:
        agent = Agent("overclaimer", workers=(0, 1, 2), claim=claim)  # type: ignore[arg-type]
        bad = BadWorker(agent, 1)
        super().__init__({}, dict.fromkeys(agent.workers, bad))
        self.buyers = Estimated(demand, [1.5] * len(demand.jobs), 1.0)
        self.heard: list[tuple[Job, Ending]] = []
        self.jobs = demand.jobs
        self.done: dict[int, int] = {}  # FLOPs, by job

    def told(self, job: Job, now_ns: int) -> Job | None:
        return self.buyers.told(job, now_ns)

    def computed(self, told: Job, now_ns: int, fits: int) -> tuple[int, int]:
        """No more than the job's own tokens, of a budget that is half as large again."""
        del now_ns, fits
        job = self.jobs[told.number]
        done = min(job.input_tokens, told.input_tokens), min(job.output_tokens, told.output_tokens)
        self.done[job.number] = _flops(*done)
        return done

    def ended(self, told: Job, ending: Ending, now_ns: int) -> None:
        self.heard.append((told, ending))


def test_filler_is_paid_up_to_the_budget_and_a_longer_trace_not_at_all(demand: Demand) -> None:
    for claim in ("trace", "filler"):
        conduct = Overheard(demand, claim)
        outcome = run_market(demand, SMALL, conduct)
        more = 0
        for told, ending in conduct.heard:
            budget = -(-_flops(told.input_tokens, told.output_tokens) // FLOPS_PER_MFLOP)
            assert ending.flops <= budget * FLOPS_PER_MFLOP
            assert ending.paid_nanos <= told.value_nanos
            if ending.answered:
                more += ending.flops > 1.2 * conduct.done[told.number]
        # The exchange counts tokens itself, and cannot tell filler from an answer: the budget
        # is what bounds it.
        assert (more > 0) == (claim == "filler")
        assert (outcome.faults["RECEIPT_TOKENS_IMPLAUSIBLE"] > 0) == (claim == "trace")


def _flops(input_tokens: int, output_tokens: int) -> int:
    return flops(CARD, DenseTrace(input_tokens, output_tokens - 1))


class Watched(Canceller):
    """Hears what its cancelled jobs cost."""

    def __init__(self, after: float) -> None:
        super().__init__(Agent("canceller", accounts=(0,), after=after), 1)
        self.heard: list[tuple[Job, Ending]] = []

    def ended(self, told: Job, ending: Ending, now_ns: int) -> None:
        self.heard.append((told, ending))


def test_work_that_is_cancelled_at_the_last_moment_is_paid(demand: Demand) -> None:
    for after in (0.5, 0.95):
        conduct = Watched(after)
        outcome = run_market(demand, SMALL, conduct)
        assert set(outcome.served_by) == {UNSERVED}
        worked = [(told, ending) for told, ending in conduct.heard if ending.flops]
        assert len(worked) > len(demand.jobs) / 2
        for told, ending in worked:
            whole = _flops(told.input_tokens, told.output_tokens)
            tokens = told.input_tokens + told.output_tokens
            assert ending.flops / whole == pytest.approx(after, abs=2 / tokens + 1e-6)
            assert 0 < ending.paid_nanos <= told.value_nanos


def test_one_canceller_gains_nothing_and_harms_nobody(demand: Demand, honest: Outcome) -> None:
    outcome = run_market(demand, with_agent("canceller", accounts=(2,)))
    mine = [job.number for job in demand.jobs if job.account == 2]
    others = [job for job in demand.jobs if job.account != 2]
    assert all(outcome.served_by[number] == UNSERVED for number in mine)
    assert sum(outcome.paid_nanos[number] for number in mine) > 0
    value = [
        sum(job.value_nanos for job in others if run.served_by[job.number] != UNSERVED)
        for run in (outcome, honest)
    ]
    assert value[0] > 0.98 * value[1]


def test_an_honest_cast_is_an_honest_market(demand: Demand, honest: Outcome) -> None:
    assert run_market(demand, SMALL, Cast({0: Conduct()}, {})) == honest
    never = with_agent("vanisher", workers=(0,), chance=0.0)
    assert run_market(demand, never) == honest


@pytest.mark.parametrize(
    "agent",
    [
        Agent("paced"),
        Agent("paced", accounts=(4,)),
        Agent("paced", workers=(0,)),
        Agent("late", workers=(3,)),
        Agent("late", workers=(0,), slowness=0.5),
        Agent("canceller", accounts=(0,), after=1.0),
        Agent("vanisher", workers=(0,), chance=1.5),
    ],
)
def test_a_wrong_agent_is_refused(agent: Agent) -> None:
    with pytest.raises(ScenarioError, match="agent"):
        checked(msgspec.structs.replace(SMALL, agents=(agent,)))
