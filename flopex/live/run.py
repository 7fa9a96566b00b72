"""A live run: the same demand through real processes and through the simulator.

The trace's requests keep their order and their windows; the market is as long as the trace, divided
by the speed. Both markets have the live rules, so both are the same market, but for what real
processes add: time on the wire, clocks, the operating system.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import statistics
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

from exchange.client import AsyncClient, Invariants
from exchange.core.limits import NS_PER_MS, NS_PER_S
from flopex.live.buyers import Buyers, Report, Submitted
from flopex.live.fleet import (
    SELLER,
    LiveRunFailed,
    all_connected,
    exchange_of_our_own,
    set_up,
    workers,
)
from flopex.replay import Replay, replay_journal
from sim.bound import welfare_bound
from sim.demand import Demand, make_demand
from sim.intervals import ratio
from sim.market import run_market
from sim.outcome import Outcome
from sim.pacing import paced, welfare_nanos
from sim.scenario import Scenario, checked
from sim.traces import read_trace

START_S: Final = 1.0
"""Pause between the last worker's quote and the first job."""
DIGITS: Final = 4


@dataclass(frozen=True, slots=True)
class Settings:
    """What to run.

    Attributes:
        trace: A demand trace.
        scenario: Fleet, values, windows, load.
        speed: How much faster than the trace.
        directory: For the exchange's data, logs and workers' keys.
        limit: At most so many of the trace's requests; 0 for all.
        processes: For the bound's programmes; 0 for one per core.
    """

    trace: Path
    scenario: Scenario
    speed: float
    directory: Path
    limit: int = 0
    processes: int = 0


class Lived(NamedTuple):
    """What came of the real processes."""

    submitted: Submitted
    outcome: Outcome
    ends: dict[str, int]
    lost: int
    invariants: Invariants
    seconds: float


async def run(settings: Settings, report: Report) -> dict[str, Any]:
    """Run an exchange of our own, and hold it against the simulator.

    Raises:
        LiveRunFailed: a process did not start, or a job does not end.
        TraceFileError, ScenarioError: see `sim`.
    """
    demand, pace = _demands(settings)
    async with exchange_of_our_own(settings.directory) as (target, key):
        lived = await _live(settings, pace, target, key, report)
    replay = await asyncio.to_thread(replay_journal, settings.directory / "journal")
    return await _verdict(settings, demand, pace, lived, report, replay)


async def run_against(settings: Settings, target: str, key: str, report: Report) -> dict[str, Any]:
    """The same against an exchange that runs already, with its operator's key."""
    demand, pace = _demands(settings)
    lived = await _live(settings, pace, target, key, report)
    return await _verdict(settings, demand, pace, lived, report, None)


def _demands(settings: Settings) -> tuple[Demand, Demand]:
    """The demand as the simulator's studies have it, and in the clock of the live run."""
    scenario = checked(settings.scenario)
    requests = read_trace(settings.trace, settings.limit, seed=scenario.seed)
    demand = make_demand(requests, scenario)
    used = requests[: len(demand.jobs)]
    traced_s = (used[-1].arrival_ns - used[0].arrival_ns) / NS_PER_S
    if not traced_s:
        raise LiveRunFailed("all requests of the trace come at once: it has no time to run in")
    return demand, paced(demand, traced_s / settings.speed)


async def _live(settings: Settings, pace: Demand, target: str, key: str, report: Report) -> Lived:
    scenario = settings.scenario
    async with AsyncClient(target, key) as operator:
        keys = await set_up(operator, scenario, pace)
        fleet = workers(scenario, pace, target, keys[SELLER], settings.directory)
        async with fleet as children, Buyers(scenario, pace, target, keys) as buyers:
            await all_connected(operator, children)
            await asyncio.sleep(START_S)
            began = time.monotonic()
            submitted = await buyers.submit_all(report)
            report("waiting for the last job", 0, 1)
            outcome, ends, lost = await buyers.outcome(submitted)
            seconds = time.monotonic() - began
            invariants = await operator.admin.invariants(full=True)
    return Lived(submitted, outcome, ends, lost, invariants, seconds)


async def _verdict(
    settings: Settings,
    demand: Demand,
    pace: Demand,
    lived: Lived,
    report: Report,
    replay: Replay | None,
) -> dict[str, Any]:
    report("the same demand in the simulator", 0, 1)
    scenario = settings.scenario
    simulated = await asyncio.to_thread(run_market, pace, scenario)
    best = await asyncio.to_thread(_bound, settings, demand, report)
    live, ours = (
        welfare_nanos(outcome, pace, demand, scenario) for outcome in (lived.outcome, simulated)
    )
    estimate, actual = ratio(ours, best), ratio(live, best)
    late_ns = lived.submitted.late_ns
    return {
        "load": scenario.load,
        "speed": settings.speed,
        "windows": demand.windows,
        "jobs": len(demand.jobs),
        "seconds": round(lived.seconds, 1),
        "acknowledged": sum(map(bool, lived.submitted.job_ids)),
        "refused": lived.submitted.refused,
        "unanswered": lived.submitted.unanswered,
        "ends": lived.ends,
        "lost": lived.lost,
        "ledger_imbalance_nanos": lived.invariants.ledger_imbalance_nanos,
        "overspend_nanos": lived.invariants.overspend_nanos,
        "failure": lived.invariants.failure,
        "replay_digest_equal": replay.compared > 0 if replay else None,
        "records": replay.records if replay else lived.invariants.journal_records,
        "ratio_live": round(actual.mean, DIGITS),
        "ratio_simulated": round(estimate.mean, DIGITS),
        "ratio_low": round(estimate.low, DIGITS),
        "ratio_high": round(estimate.high, DIGITS),
        "within": estimate.low <= actual.mean <= estimate.high,
        "settled_live": round(1 - lived.outcome.missed(pace), DIGITS),
        "settled_simulated": round(1 - simulated.missed(pace), DIGITS),
        "paid_live_nanos": sum(lived.outcome.paid_nanos),
        "paid_simulated_nanos": sum(simulated.paid_nanos),
        "submitted_late_p50_ms": round(statistics.median(late_ns) / NS_PER_MS, 1),
        "submitted_late_max_ms": round(max(late_ns) / NS_PER_MS, 1),
        "seed": scenario.seed,
        "simulated_digest": simulated.digest,
    }


def _bound(settings: Settings, demand: Demand, report: Report) -> list[float]:
    """What no rule can exceed, by window; of the unpaced demand, which has the same optimum."""
    context = multiprocessing.get_context("spawn")
    count = settings.processes or len(os.sched_getaffinity(0))
    with ProcessPoolExecutor(min(count, demand.windows), mp_context=context) as pool:

        def counted(function: Any, windows: Any) -> Any:
            for done, result in enumerate(pool.map(function, windows)):
                report("bound", done + 1, demand.windows)
                yield result

        return welfare_bound(demand, settings.scenario, each=counted)
