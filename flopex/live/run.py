"""A live run: the same demand through real processes and through the simulator.

The market is as long as the trace divided by the speed; for that the scenario's workers get as many
more slots (`sim.pacing`). Both markets have the live rules and the same jobs, so both are the same
market, but for what real processes add: time on the wire, clocks, the operating system.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

from exchange.client import AsyncClient, Invariants
from exchange.core.limits import NS_PER_MS, NS_PER_S
from flopex.interrupts import interruptible
from flopex.live.buyers import Buyers, Report, Submitted
from flopex.live.fleet import (
    SELLER,
    Fleet,
    LiveRunFailed,
    all_connected,
    exchange_of_our_own,
    set_up,
    workers,
)
from flopex.live.overhead import Overhead
from flopex.replay import replay_journal
from sim.bound import welfare_bound
from sim.demand import Demand, make_demand
from sim.intervals import ratio
from sim.market import run_market
from sim.outcome import Outcome
from sim.pacing import enlarged, paced, welfare_nanos
from sim.pool import processes
from sim.scenario import Scenario, checked
from sim.traces import read_trace

START_S: Final = 1.0
"""Pause between the last worker's quote and the first job."""
DIGITS: Final = 4
REAL_TIME_PRIORITY: Final = 1
"""Of SCHED_RR: above every ordinary process."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What to run.

    Attributes:
        trace: A demand trace.
        scenario: Fleet, values, windows, load.
        speed: How much faster than the trace.
        directory: For the exchange's data, logs and workers' keys.
        allowance_s: How much shorter an engine runs than its class promises: what messages,
            clocks and the operating system take of a lease.
        limit: At most so many of the trace's requests; 0 for all.
        processes: For the bound's programmes; 0 for one per core.
        real_time: Whether the live part runs under SCHED_RR.
    """

    trace: Path
    scenario: Scenario
    speed: float
    directory: Path
    allowance_s: float = 0.02
    limit: int = 0
    processes: int = 0
    real_time: bool = False


class Plan(NamedTuple):
    """What is run.

    Attributes:
        scenario: With the fleet that the speed needs.
        demand: Of that fleet.
        pace: The same in the clock of the run.
    """

    scenario: Scenario
    demand: Demand
    pace: Demand


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
        PermissionError: SCHED_RR is not allowed.
        TraceFileError, ScenarioError: see `sim`.
    """
    plan = _plan(settings)
    with _real_time(settings.real_time):
        async with exchange_of_our_own(settings.directory) as (target, key):
            lived = await _live(settings, plan, target, key, report)
    overhead = Overhead()
    replay = await interruptible(replay_journal, settings.directory / "journal", watch=overhead.see)
    verdict = await _verdict(settings, plan, lived, report)
    return verdict | {
        "replay_digest_equal": replay.compared > 0,
        "records": replay.records,
        **overhead.summary(),
    }


async def run_against(settings: Settings, target: str, key: str, report: Report) -> dict[str, Any]:
    """The same against an exchange that runs already, with its operator's key."""
    plan = _plan(settings)
    with _real_time(settings.real_time):
        lived = await _live(settings, plan, target, key, report)
    return await _verdict(settings, plan, lived, report)


@contextlib.contextmanager
def _real_time(wanted: bool) -> Iterator[None]:
    """Under SCHED_RR where that is wanted, and all processes that are started meanwhile."""
    if not wanted:
        yield
        return
    os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(REAL_TIME_PRIORITY))
    try:
        yield
    finally:
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))


def _plan(settings: Settings) -> Plan:
    """The fleet and the demand of the run.

    Raises:
        TraceFileError, ScenarioError: see `sim`.
        LiveRunFailed: the trace has no time to run in.
    """
    scenario = checked(settings.scenario)
    requests = read_trace(settings.trace, settings.limit, seed=scenario.seed)
    used = requests[: len(make_demand(requests, scenario).jobs)]
    seconds = (used[-1].arrival_ns - used[0].arrival_ns) / NS_PER_S / settings.speed
    if not seconds:
        raise LiveRunFailed("all requests of the trace come at once: it has no time to run in")
    larger = enlarged(scenario, used, seconds)
    demand = make_demand(used, larger)
    return Plan(larger, demand, paced(demand, seconds))


async def _live(settings: Settings, plan: Plan, target: str, key: str, report: Report) -> Lived:
    scenario, _, pace = plan
    async with AsyncClient(target, key) as operator:
        keys = await set_up(operator, scenario, pace)
        told = Fleet(target, keys[SELLER], settings.directory, settings.allowance_s)
        async with (
            workers(scenario, pace, told) as children,
            Buyers(scenario, pace, target, keys) as buyers,
        ):
            await all_connected(operator, children)
            await asyncio.sleep(START_S)
            began = time.monotonic()
            submitted = await buyers.submit_all(report)
            report("waiting for the last job", 0, 1)
            outcome, ends, lost = await buyers.outcome(submitted)
            seconds = time.monotonic() - began
            invariants = await operator.admin.invariants(full=True)
    return Lived(submitted, outcome, ends, lost, invariants, seconds)


async def _verdict(settings: Settings, plan: Plan, lived: Lived, report: Report) -> dict[str, Any]:
    report("the same demand in the simulator", 0, 1)
    scenario, demand, pace = plan
    simulated = await interruptible(run_market, pace, scenario)
    best = await interruptible(_bound, settings, plan, report)
    live, ours = (
        welfare_nanos(outcome, pace, demand, scenario) for outcome in (lived.outcome, simulated)
    )
    estimate, actual = ratio(ours, best), ratio(live, best)
    late_ns = lived.submitted.late_ns
    return {
        "load": scenario.load,
        "speed": settings.speed,
        "allowance_ms": settings.allowance_s * 1_000,
        "slots": {kind.name: kind.workers * kind.slots for kind in scenario.classes},
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


def _bound(settings: Settings, plan: Plan, report: Report) -> list[float]:
    """What no rule can exceed, by window; of the unpaced demand, which has the same optimum."""
    count = settings.processes or len(os.sched_getaffinity(0))
    with processes(min(count, plan.demand.windows)) as pool:

        def counted(function: Any, windows: Any) -> Any:
            for done, result in enumerate(pool.map(function, windows)):
                report("bound", done + 1, plan.demand.windows)
                yield result

        return welfare_bound(plan.demand, plan.scenario, each=counted)
