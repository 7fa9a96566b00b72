"""Buyers who do not know, or choose, how much work an answer takes: they tell a budget of compute.

A budget is hard: the engine computes no more, and then answers with what it has. What an answer is
worth for the work that was done is the buyer's own affair, so these classes say it too.
"""

from __future__ import annotations

import itertools
import math
import random
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Final

import numpy as np

from exchange.core.limits import NS_PER_S
from sim.agents.conduct import Conduct
from sim.bound import Curve
from sim.demand import Demand, Job
from sim.outcome import UNSERVED, Outcome
from sim.scenario import UNIT_NANOS, Scenario

IN_TIME: Final = 0.98
"""Share of the time to the deadline that a budget may take on the fastest class."""


class Budgeted(Conduct, ABC):
    """Each job is told as a share of the work that a whole answer takes, and may stop earlier.

    A job tells two sizes, as the live engine's jobs do: what it usually takes, which says how long
    it runs and so when it must start, and a budget that may be much larger. Its value is told in
    proportion to the budget, so that it bids what the usual size is worth per unit of compute. The
    engine stops at the budget, or where it must in order to answer at the deadline.

    Subclasses say the two shares, the share to compute, and what a share of the work is worth.
    """

    def __init__(self, demand: Demand) -> None:
        self._jobs = demand.jobs
        self._allowed: dict[int, int] = {}  # tokens of the budget, by job
        self.computed_share: dict[int, float] = {}

    @abstractmethod
    def asked(self, job: Job, now_ns: int) -> float:
        """The share of the job's work that it usually takes, when it arrives; 0 stays away."""

    @abstractmethod
    def most(self, job: Job) -> float:
        """The share that the budget pays for; at least the one asked for counts."""

    @abstractmethod
    def needed(self, job: Job, now_ns: int) -> float:
        """The share to compute when it starts, if the budget allows it."""

    @abstractmethod
    def worth(self, job: Job, share: float) -> float:
        """What the answer is worth after a share of the work, of the job's value."""

    def told_worth(self, job: Job, share: float) -> float:
        """The same as the buyer believes it, when it tells the job."""
        return self.worth(job, share)

    def told(self, job: Job, now_ns: int) -> Job | None:
        """The job at its usual size, no larger than fits its deadline on the fastest class."""
        fits = IN_TIME * (job.deadline_ns - now_ns) / job.work_ns
        share = min(self.asked(job, now_ns), fits)
        if share <= 0:
            return None
        tokens = _tokens(job, share)
        most = max(self.most(job), share)
        self._allowed[job.number] = max(round(most * _whole(job)), sum(tokens))
        worth = self.told_worth(job, share) * most / share
        value_nanos = max(1, round(worth * job.value_nanos))
        return job._replace(
            input_tokens=tokens[0], output_tokens=tokens[1], value_nanos=value_nanos
        )

    def allowed(self, told: Job) -> int:
        """All but the answer's tokens of the budget."""
        return self._allowed[told.number] - told.output_tokens

    def computed(self, told: Job, now_ns: int, fits: int) -> tuple[int, int]:
        """As much as is needed, at most the budget and what is in time."""
        job = self._jobs[told.number]
        return self._limited(told, self.needed(job, now_ns), fits)

    def _limited(self, told: Job, share: float, fits: int, least: int = 0) -> tuple[int, int]:
        """Tokens for a share of a job's work, within its budget and its time."""
        job = self._jobs[told.number]
        tokens = min(round(share * _whole(job)), self._allowed[job.number], fits)
        tokens = max(tokens, least, 2)  # one to read, one to say
        self.computed_share[job.number] = tokens / _whole(job)
        output_tokens = min(told.output_tokens, tokens - 1)
        return tokens - output_tokens, output_tokens

    def welfare_nanos(self, outcome: Outcome, demand: Demand, scenario: Scenario) -> list[float]:
        """By window: worth of the answers in time, less the marginal cost of all work."""
        welfare = [0.0] * demand.windows
        for job, served_by, done_ns in zip(
            demand.jobs, outcome.served_by, outcome.done_ns, strict=True
        ):
            if served_by == UNSERVED:
                continue
            share = self.computed_share[job.number]
            cost = scenario.classes[served_by].cost
            welfare[job.window] -= cost * share * job.work_ns * UNIT_NANOS / NS_PER_S
            if done_ns <= job.deadline_ns:
                welfare[job.window] += self.worth(job, share) * job.value_nanos
        return welfare


class Estimated(Budgeted):
    """Work is known only by estimates, which buyers believe when they tell their jobs.

    A job usually takes the estimate times `usual`, and its budget is the estimate times `most`. An
    answer at the budget's end is worth the share of the work that was done (`partial`), or nothing.
    """

    def __init__(
        self,
        demand: Demand,
        estimates: Sequence[float],
        usual: float = 1.0,
        most: float = 1.0,
        *,
        partial: bool = True,
    ) -> None:
        super().__init__(demand)
        self._estimates, self._usual, self._most = estimates, usual, most
        self._partial = partial

    def asked(self, job: Job, now_ns: int) -> float:
        """The estimate, or a multiple of it."""
        del now_ns
        return self._estimates[job.number] * self._usual

    def most(self, job: Job) -> float:
        """A larger multiple."""
        return self._estimates[job.number] * self._most

    def needed(self, job: Job, now_ns: int) -> float:
        """All of it."""
        del job, now_ns
        return 1.0

    def worth(self, job: Job, share: float) -> float:
        """In proportion; or nothing but the whole."""
        del job
        return min(share, 1.0) if self._partial or share >= 1 else 0.0

    def told_worth(self, job: Job, share: float) -> float:
        """In proportion to the estimate."""
        return share / self._estimates[job.number]


def drawn(demand: Demand, sigma: float, seed: int) -> list[float]:
    """By job number, an estimate of its work as a multiple of it: the log's error is normal."""
    rng = random.Random(f"estimates/{seed}")
    return [math.exp(sigma * rng.gauss(0, 1)) for _ in demand.jobs]


def calibrated(
    demand: Demand, scenario: Scenario, estimates: Sequence[float], sigma: float
) -> list[float]:
    """The estimates of buyers who know from their past how work, estimates and values go together.

    Three normal statements about the logarithm of the work, weighed by their precision: the
    estimate; the value, over the density that values have on average; and what work is on average.
    """
    if not sigma:
        return list(estimates)
    works = np.log([job.work_ns / NS_PER_S for job in demand.jobs])
    values = np.log([job.value_nanos / UNIT_NANOS for job in demand.jobs])
    spread = scenario.value_sigma**2 + scenario.account_sigma**2
    by_value = values - (math.log(scenario.value_mean) - spread / 2)
    precisions = 1 / sigma**2, 1 / max(spread, 1e-9), 1 / max(float(works.var()), 1e-9)
    weighed = (
        precisions[0] * (works + np.log(estimates))
        + precisions[1] * by_value
        + precisions[2] * works.mean()
    )
    return [float(x) for x in np.exp(weighed / sum(precisions) - works)]


class Elastic(Budgeted):
    """Answers get better with compute: worth 1 - exp(-c / tau) of what the best one is worth.

    A share of 1 is DEFAULT x tau. The job's value is that of the answer at a share of 1. A buyer
    wants as much as is worth its price, c = tau ln(V / (tau p)). How much is computed is decided by
    the price when the job starts, and again whenever another arrives: a dear moment takes the last,
    least useful units from those who run, and gives them to those who wait.

    The price is one number for all, as an exchange could publish it: it grows exponentially with
    the work that was asked for and that the fleet could not have done yet (dual mirror descent:
    the logarithm of the price integrates demand less capacity).

    Args:
        demand: The jobs.
        scenario: Its fleet's capacity and least cost.
        pace_s: How many seconds' worth of backlog raise the price by a factor of e.
        sigma: Of the error of the logarithm of tau, as buyers know it.
    """

    DEFAULT: Final = 1.6
    WHOLE: Final = 1 / -math.expm1(-DEFAULT)
    """What the best answer is worth, of the one at a share of 1."""
    SHARE_LEAST: Final = 0.05
    """Of a started job: an answer needs some work."""
    USUAL: Final = 0.7
    """Of what is worth its price, that a job tells as its usual size: it can do with less, and so
    may start later and on slower classes."""
    MOST: Final = 3.0
    LESS: Final = 0.02
    MORE: Final = 0.05
    """Changes of the share below these are not worth a change of plan."""
    revises = True

    def __init__(self, demand: Demand, scenario: Scenario, pace_s: float, sigma: float) -> None:
        super().__init__(demand)
        self._capacity, self._pace = scenario.capacity(), pace_s
        self._floor = min(c.cost for c in scenario.classes)
        self._errors = drawn(demand, sigma, scenario.seed)
        self._backlog, self._at_ns = 0.0, 0
        self._asked: dict[int, float] = {}  # work of jobs that wait

    def worth(self, job: Job, share: float) -> float:
        """Of the value at a share of 1."""
        del job
        return self.WHOLE * -math.expm1(-self.DEFAULT * share)

    def told_worth(self, job: Job, share: float) -> float:
        """As the buyer thinks, who may be wrong about tau."""
        return self.WHOLE * -math.expm1(-self.DEFAULT * share / self._errors[job.number])

    def asked(self, job: Job, now_ns: int) -> float:
        """Most of what is worth its price now."""
        share = self._best(job, self._price(now_ns))
        work = share * job.work_ns / NS_PER_S
        self._backlog += work
        self._asked[job.number] = work
        return share * self.USUAL

    def most(self, job: Job) -> float:
        """More than any price makes worth while, but for the very last."""
        del job
        return self.MOST

    def needed(self, job: Job, now_ns: int) -> float:
        """What is worth its price when it starts; the backlog hears of the difference."""
        share = max(self._best(job, self._price(now_ns)), self.SHARE_LEAST)
        asked = self._asked.pop(job.number, 0.0)
        self._backlog += min(share * job.work_ns / NS_PER_S - asked, 0.0)
        return share

    def revised(
        self, told: Job, done_tokens: int, now_ns: int, fits: int
    ) -> tuple[int, int] | None:
        """The same while it runs: it stops where more is no longer worth the price."""
        job = self._jobs[told.number]
        share, was = self._best(job, self._price(now_ns)), self.computed_share[job.number]
        if -self.LESS < share - was < self.MORE:
            return None
        done = done_tokens / _whole(job)
        tokens = self._limited(told, max(share, done), fits, done_tokens)
        change = (self.computed_share[job.number] - was) * job.work_ns / NS_PER_S
        self._backlog = max(0.0, self._backlog + change)
        return tokens

    def _best(self, job: Job, price: float) -> float:
        """The share of the work whose last unit is worth the price."""
        work = job.work_ns / NS_PER_S
        tau = work / self.DEFAULT * self._errors[job.number]
        slope = self.WHOLE * job.value_nanos / UNIT_NANOS / tau
        return tau * math.log(slope / price) / work if slope > price else 0.0

    def _price(self, now_ns: int) -> float:
        """Units of value per unit of work, now."""
        done = self._capacity * (now_ns - self._at_ns) / NS_PER_S
        self._backlog, self._at_ns = max(0.0, self._backlog - done), now_ns
        return self._floor * math.exp(self._backlog / (self._capacity * self._pace))

    @classmethod
    def curves(cls, demand: Demand) -> list[Curve]:
        """What each answer is worth, for the bound: tangents of its curve, nowhere below it."""
        curves = []
        for job in demand.jobs:
            tau = job.work_ns / NS_PER_S / cls.DEFAULT
            value = cls.WHOLE * job.value_nanos / UNIT_NANOS
            curves.append(tuple((length * tau, slope * value / tau) for length, slope in _TANGENTS))
        return curves


def _tangents(step: float, count: int) -> tuple[tuple[float, float], ...]:
    """Segments (length, slope) of the least concave polygon of tangents of 1 - exp(-c)."""
    points = [step * i for i in range(count)]
    ends = [0.0]
    for a, b in itertools.pairwise(points):
        # Where the tangents at a and at b meet.
        falls = math.exp(-a), math.exp(-b)
        ends.append((falls[0] * (1 + a) - falls[1] * (1 + b)) / (falls[0] - falls[1]))
    ends.append(points[-1] + 50)
    return tuple(
        (y - x, math.exp(-c)) for (x, y), c in zip(itertools.pairwise(ends), points, strict=True)
    )


_TANGENTS: Final = _tangents(0.25, 17)


def _tokens(job: Job, share: float) -> tuple[int, int]:
    return (
        max(1, round(job.input_tokens * share)),
        max(1, round(job.output_tokens * share)),
    )


def _whole(job: Job) -> int:
    """Tokens of a whole answer."""
    return job.input_tokens + job.output_tokens
