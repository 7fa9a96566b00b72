"""From a trace to demand: stretched to a load, with values and deadlines of the scenario's model.

The trace is cut into windows of equally many requests, and each is stretched by itself until its
jobs' work is the scenario's load. The windows follow each other without a gap in one market: a
window is a piece of it for the statistics, not a market of its own, whose empty begin and whose
end would flatter or hurt rules that let patient jobs wait.
"""

from __future__ import annotations

import math
import random
from typing import Final, NamedTuple

from exchange.core.limits import FLOPS_PER_CU, NS_PER_S
from sim.scenario import FLOPS_PER_TOKEN, UNIT_NANOS, Scenario, ScenarioError, Urgency
from sim.traces.request import Request

DEADLINE_WORK: Final = 1.5
"""Deadlines leave this multiple of the run time on the fastest class, and the slack."""
WINDOW_REQUESTS_MAX: Final = 1_000
"""Unless the scenario says otherwise: the bound's linear programmes grow with them."""


class Job(NamedTuple):
    """One job; times in nanoseconds from the market's begin, money in nano-dollars."""

    number: int
    window: int
    account: int
    urgency: str
    arrival_ns: int
    deadline_ns: int
    input_tokens: int
    output_tokens: int
    work_ns: int  # run time on a slot of speed 1
    value_nanos: int
    blocks: tuple[int, ...] = ()  # of the prompt, where the trace tells


class Demand(NamedTuple):
    """A market's jobs, in the order of their arrival.

    `millitokens_per_s` is what a slot of speed 1 reads or writes, prompt and output alike.
    `window_starts_ns` has one entry for each window, and one for the end of the last.
    """

    millitokens_per_s: int
    window_starts_ns: tuple[int, ...]
    jobs: tuple[Job, ...]

    @property
    def windows(self) -> int:
        """How many there are."""
        return len(self.window_starts_ns) - 1

    @property
    def unit_price_nanos(self) -> float:
        """The price, in nano-dollars per CU, at which a unit of work costs a unit of value."""
        return UNIT_NANOS * FLOPS_PER_CU * 1_000 / (FLOPS_PER_TOKEN * self.millitokens_per_s)


def make_demand(requests: list[Request], scenario: Scenario) -> Demand:
    """Jobs of the trace's first requests: as many as the scenario's windows hold.

    Raises:
        ScenarioError: the trace is too short for so many windows.
    """
    fair = len(requests) // scenario.windows
    size = scenario.window_requests or min(fair, WINDOW_REQUESTS_MAX)
    if size < 2 or size * scenario.windows > len(requests):
        raise ScenarioError(
            f"the trace has {len(requests)} requests: too few for {scenario.windows} windows"
            f" of {max(size, 2)}"
        )
    used = requests[: size * scenario.windows]
    rng = random.Random(f"demand/{scenario.seed}")
    kinds = rng.choices(scenario.urgencies, [u.share for u in scenario.urgencies], k=len(used))
    means = [_lognormal(rng, scenario.account_sigma) for _ in range(scenario.accounts)]
    tokens = sum(_tokens(*pair) for pair in zip(used, kinds, strict=True))
    millitokens_per_s = math.ceil(tokens * 1_000 / (len(used) * scenario.work_mean_s))
    starts = [0]
    jobs: list[Job] = []
    for window in range(scenario.windows):
        piece = slice(window * size, (window + 1) * size)
        arrivals, end_ns = _stretched(
            used[piece], kinds[piece], millitokens_per_s, scenario, starts[-1]
        )
        starts.append(end_ns)
        for one, kind, arrival_ns in zip(used[piece], kinds[piece], arrivals, strict=True):
            account = rng.randrange(scenario.accounts)
            density = scenario.value_mean * means[account] * _lognormal(rng, scenario.value_sigma)
            slack_s = rng.uniform(kind.slack_min_s, kind.slack_max_s)
            prompt, answer = one.input_tokens * kind.work, one.output_tokens * kind.work
            work_ns = sum(-(-n * 1_000 * NS_PER_S // millitokens_per_s) for n in (prompt, answer))
            deadline_ns = arrival_ns + round(DEADLINE_WORK * work_ns + slack_s * NS_PER_S)
            value_nanos = max(1, round(density * work_ns * UNIT_NANOS / NS_PER_S))
            terms = account, kind.name, arrival_ns, deadline_ns, prompt, answer
            jobs.append(Job(len(jobs), window, *terms, work_ns, value_nanos, one.blocks))
    return Demand(millitokens_per_s, tuple(starts), tuple(jobs))


def _stretched(
    requests: list[Request],
    kinds: list[Urgency],
    millitokens_per_s: int,
    scenario: Scenario,
    start_ns: int,
) -> tuple[list[int], int]:
    """When a window's requests arrive, and when it ends, at the scenario's load."""
    tokens = sum(_tokens(*pair) for pair in zip(requests, kinds, strict=True))
    work_ns = tokens * 1_000 * NS_PER_S // millitokens_per_s
    span_ns = round(work_ns / (scenario.capacity() * scenario.load))
    first_ns = requests[0].arrival_ns
    # The pause before the next window is as long as the mean one in this window.
    traced_ns = (requests[-1].arrival_ns - first_ns) * len(requests) / (len(requests) - 1)
    scale = span_ns / traced_ns if traced_ns else 0.0
    arrivals = [start_ns + round((r.arrival_ns - first_ns) * scale) for r in requests]
    return arrivals, start_ns + span_ns


def _tokens(one: Request, kind: Urgency) -> int:
    return (one.input_tokens + one.output_tokens) * kind.work


def _lognormal(rng: random.Random, sigma: float) -> float:
    """A number of mean 1."""
    return math.exp(rng.gauss(-sigma * sigma / 2, sigma))
