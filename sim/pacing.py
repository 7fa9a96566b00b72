"""A scenario and its demand in the clock of a live exchange.

A trace is run faster by a larger fleet, not by faster clocks: jobs take the time that the scenario
says, and there are more of them at once. So deadlines and the rules of clearing (batches of 10 ms,
a ramp of 1 s) stay as they are, and messages take the small part of a job that they take in truth.
What rounding of slots leaves is made up by the clock.
"""

from __future__ import annotations

from typing import Final

import msgspec

from exchange.core.limits import NS_PER_S
from sim.demand import Demand, Job, make_demand
from sim.outcome import UNSERVED, Outcome
from sim.scenario import UNIT_NANOS, Scenario
from sim.traces.request import Request

TOKENS_PER_UNIT: Final = 2_000
"""Prompt tokens of a unit of work: fine enough, and a mean prompt is some two kilobytes."""


def enlarged(scenario: Scenario, requests: list[Request], seconds: float) -> Scenario:
    """The scenario with as many more slots as let its market last so many seconds, or near it.

    A market that is shorter already keeps its slots.
    """
    factor = make_demand(requests, scenario).window_starts_ns[-1] / (seconds * NS_PER_S)
    classes = tuple(
        msgspec.structs.replace(kind, slots=max(kind.slots, round(kind.slots * factor)))
        for kind in scenario.classes
    )
    return msgspec.structs.replace(scenario, classes=classes)


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
