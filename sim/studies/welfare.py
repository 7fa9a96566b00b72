"""S2, welfare: how much of what could be had the market gets, and what the alternatives get.

Hypothesis: managed bids in 10 ms batches with inventory-aware quotes reach at least 0.96 of the
clairvoyant bound at load 1.3 where work is known, and 0.94 where arrivals are very bursty. Metric:
welfare (value of answers in time less the marginal cost of all work) over the bound, sums over all
windows, with the jackknife's interval over windows.
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, Final

from exchange.core.limits import NS_PER_S
from sim import bound
from sim.demand import Demand, make_demand
from sim.intervals import ratio
from sim.market import run_market
from sim.outcome import Outcome
from sim.rivals import run_rivals
from sim.scenario import Scenario, checked
from sim.traces import read_trace

LOOSENESS_WINDOWS: Final = 2
"""Windows over which the bound is made again, tighter: as one programme, of steps half as long."""
DIGITS: Final = 4

Report = Callable[[str, int, int], None]
"""Told what is being done, and how many of how many windows are done."""


def study_welfare(
    trace: Path, scenario: Scenario, processes: int = 0, report: Report | None = None
) -> dict[str, Any]:
    """Run the study.

    Args:
        trace: A file of one of the kinds that `sim.traces` reads.
        scenario: Load, windows, fleet, values.
        processes: For the linear programmes; 0 for one per core.
        report: Hears of progress.

    Returns:
        `ratio_mean`, `ratio_low` and `ratio_high`; `bound_looseness`, the share by which a
        tighter form lowers the bound of the first windows; `baselines`, each rule's ratio;
        `gains`, for each the difference to the market's, paired, with its interval; shares of jobs
        missed; `digest` of all decisions and of the engine's last state.

    Raises:
        TraceFileError: the trace cannot be read.
        ScenarioError: the scenario's numbers make no market, or the trace is too short.
        BoundError: the solver gave up.
    """
    report = report or _silent
    checked(scenario)
    demand = make_demand(read_trace(trace, seed=scenario.seed), scenario)
    report("market", 0, 1)
    market = run_market(demand, scenario)
    report("rivals", 0, 1)
    rivals = run_rivals(demand, scenario)
    context = multiprocessing.get_context("spawn")
    workers = processes or len(os.sched_getaffinity(0))
    with ProcessPoolExecutor(min(workers, scenario.windows), mp_context=context) as pool:

        def counted(function: Callable[[int], Any], windows: Iterable[int]) -> Iterable[Any]:
            for done, result in enumerate(pool.map(function, windows)):
                report("bound", done + 1, scenario.windows)
                yield result

        best = bound.welfare_bound(demand, scenario, each=counted)
        report("looseness", 0, 1)
        looseness = _looseness(demand, scenario, pool)
    return _verdict(demand, scenario, market, rivals, best, looseness)


def _silent(*_: object) -> None:
    """Nobody listens."""


def _verdict(
    demand: Demand,
    scenario: Scenario,
    market: Outcome,
    rivals: dict[str, Outcome],
    best: list[float],
    looseness: float,
) -> dict[str, Any]:
    ours = market.welfare_nanos(demand, scenario)
    theirs = {name: rival.welfare_nanos(demand, scenario) for name, rival in rivals.items()}
    mean, low, high = ratio(ours, best)
    gains = {
        name: ratio([a - b for a, b in zip(ours, welfare, strict=True)], best)
        for name, welfare in theirs.items()
    }
    return {
        "load": scenario.load,
        "windows": demand.windows,
        "ratio_mean": round(mean, DIGITS),
        "ratio_low": round(low, DIGITS),
        "ratio_high": round(high, DIGITS),
        "bound_looseness": round(looseness, DIGITS),
        "baselines": {name: round(ratio(w, best).mean, DIGITS) for name, w in theirs.items()},
        "gains": {name: [round(x, DIGITS) for x in gain] for name, gain in gains.items()},
        "missed": {
            "market": round(market.missed(demand), DIGITS),
            **{name: round(rival.missed(demand), DIGITS) for name, rival in rivals.items()},
        },
        "jobs": len(demand.jobs),
        "seconds": demand.window_starts_ns[-1] / NS_PER_S,
        "paid_of_value": round(_paid_of_value(demand, market), DIGITS),
        "engine_events": market.events,
        "seed": scenario.seed,
        "digest": _digest(market, rivals),
    }


def _looseness(demand: Demand, scenario: Scenario, pool: ProcessPoolExecutor) -> float:
    """By how much a tighter form lowers the bound of the first windows, as a share of it."""
    windows = min(LOOSENESS_WINDOWS, demand.windows)
    starts = demand.window_starts_ns[: windows + 1]
    jobs = tuple(job for job in demand.jobs if job.window < windows)
    apart = Demand(demand.millitokens_per_s, starts, jobs)
    merged = tuple(job._replace(window=0) for job in jobs)
    together = Demand(demand.millitokens_per_s, (starts[0], starts[-1]), merged)
    coarse = sum(bound.welfare_bound(apart, scenario, each=pool.map))
    fine = sum(bound.welfare_bound(together, scenario, bound.STEP_S / 2, each=pool.map))
    return 1 - fine / coarse


def _paid_of_value(demand: Demand, market: Outcome) -> float:
    """What buyers paid, as a share of what their answers were worth to them."""
    value = sum(
        job.value_nanos for job, done_ns in zip(demand.jobs, market.done_ns, strict=True) if done_ns
    )
    return sum(market.paid_nanos) / max(value, 1)


def _digest(market: Outcome, rivals: dict[str, Outcome]) -> str:
    outcomes = [[rival.rule, rival.served_by, rival.done_ns] for rival in rivals.values()]
    return hashlib.sha256(json.dumps([market.digest, outcomes]).encode()).hexdigest()
