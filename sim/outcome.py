"""What became of the jobs, and what that was worth."""

from __future__ import annotations

import dataclasses
from collections import Counter
from typing import Final, Self

from exchange.core.limits import NS_PER_S
from sim.demand import Demand
from sim.scenario import UNIT_NANOS, Scenario
from sim.supply import cost_factors, factor_at

UNSERVED: Final = -1


@dataclasses.dataclass(slots=True)
class Outcome:
    """By job number: which class served it, when it was done, what it paid.

    Attributes:
        rule: Who decided.
        served_by: Index of the class; UNSERVED where the job was not done.
        done_ns: From the market's begin, nanoseconds; 0 where it was not done.
        paid_nanos: What the buyer paid, for work of a job that it cancelled, too.
        digest: Of the live engine's state at the end; empty for other rules.
        events: That the live engine gave; 0 for other rules.
        faults: How often the live engine ended a lease or refused a job, by its reason's name.
    """

    rule: str
    served_by: list[int]
    done_ns: list[int]
    paid_nanos: list[int]
    digest: str = ""
    events: int = 0
    faults: Counter[str] = dataclasses.field(default_factory=Counter)

    @classmethod
    def empty(cls, rule: str, jobs: int) -> Self:
        """Nothing was done yet."""
        return cls(rule, [UNSERVED] * jobs, [0] * jobs, [0] * jobs)

    def serve(self, number: int, served_by: int, done_ns: int, paid_nanos: int = 0) -> None:
        """A job was done."""
        self.served_by[number] = served_by
        self.done_ns[number] = done_ns
        self.paid_nanos[number] = paid_nanos

    def welfare_nanos(self, demand: Demand, scenario: Scenario) -> list[int]:
        """By window: value of what was done in time, less the marginal cost of all that was done.

        A job counts for the window in which it arrived; its work costs what it cost when it began.
        """
        welfare = [0] * demand.windows
        factors = cost_factors(scenario, demand.window_starts_ns[-1] / NS_PER_S)
        for job, served_by, done_ns in zip(demand.jobs, self.served_by, self.done_ns, strict=True):
            if served_by == UNSERVED:
                continue
            kind = scenario.classes[served_by]
            cost = kind.cost * factor_at(factors, done_ns - round(job.work_ns / kind.speed))
            welfare[job.window] -= round(cost * job.work_ns * UNIT_NANOS / NS_PER_S)
            if done_ns <= job.deadline_ns:
                welfare[job.window] += job.value_nanos
        return welfare

    def missed(self, demand: Demand) -> float:
        """Share of the jobs that were not done in time."""
        late = sum(
            served_by == UNSERVED or done_ns > job.deadline_ns
            for job, served_by, done_ns in zip(
                demand.jobs, self.served_by, self.done_ns, strict=True
            )
        )
        return late / len(demand.jobs)
