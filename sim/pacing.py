"""A demand in the clock of a live exchange: shorter by a factor, with all work in the prompts.

The rules of clearing keep their own time (batches of 10 ms, a ramp of 1 s), so a market that runs
faster is another market. It can be simulated as well, and that is what a live run is held against.
"""

from __future__ import annotations

from typing import Final

from exchange.core.limits import NS_PER_S
from sim.demand import Demand, Job
from sim.outcome import UNSERVED, Outcome
from sim.scenario import UNIT_NANOS, Scenario

TOKENS_PER_UNIT: Final = 5_000
"""Prompt tokens of a unit of work: fine enough, and a mean prompt is some kilobytes."""


def paced(demand: Demand, seconds: float) -> Demand:
    """The demand, so that its market lasts so many seconds."""
    factor = demand.window_starts_ns[-1] / (seconds * NS_PER_S)
    millitokens_per_s = round(TOKENS_PER_UNIT * factor * 1_000)
    jobs = tuple(_paced(job, factor, millitokens_per_s) for job in demand.jobs)
    starts = tuple(round(start_ns / factor) for start_ns in demand.window_starts_ns)
    return Demand(millitokens_per_s, starts, jobs)


def _paced(job: Job, factor: float, millitokens_per_s: int) -> Job:
    """One job: its prompt takes as long as all of its work, its answer is one token."""
    prompt = max(1, round(job.work_ns * TOKENS_PER_UNIT / NS_PER_S) - 1)
    work_ns = sum(-(-tokens * 1_000 * NS_PER_S // millitokens_per_s) for tokens in (prompt, 1))
    return job._replace(
        arrival_ns=round(job.arrival_ns / factor),
        deadline_ns=round(job.deadline_ns / factor),
        input_tokens=prompt,
        output_tokens=1,
        work_ns=work_ns,
    )


def welfare_nanos(outcome: Outcome, pace: Demand, demand: Demand, scenario: Scenario) -> list[int]:
    """By window: what the answers of a paced market are worth, less what the work costs unpaced."""
    welfare = [0] * demand.windows
    for job, paced_job in zip(demand.jobs, pace.jobs, strict=True):
        served_by = outcome.served_by[job.number]
        if served_by == UNSERVED:
            continue
        cost = scenario.classes[served_by].cost
        welfare[job.window] -= round(cost * job.work_ns * UNIT_NANOS / NS_PER_S)
        if outcome.done_ns[job.number] <= paced_job.deadline_ns:
            welfare[job.window] += job.value_nanos
    return welfare
