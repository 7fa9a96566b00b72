"""`flopex bench sim`: how fast the simulator runs a market.

Method. A demand of `jobs` jobs (Poisson arrivals, uniform lengths, the values and deadlines of the
scenario's model) is made, then the live core trades it in virtual time over `workers` workers in
three hardware classes, of `slots` slots each. What is timed is the whole run: opening the market,
every command and event, the workers' answers, the digest of the last state and a check of all
invariants; not the making of the demand. An event is one that the core gives. One market runs on
one core; the rate is per second of that core's CPU time, the wall clock stands beside it. The
largest memory is that of the whole process, the demand included.
"""

from __future__ import annotations

import random
import resource
import time
from dataclasses import asdict, dataclass
from typing import Any, Final

from flopex.bench.machine import machine
from matching import COMPILED
from sim.demand import Demand, make_demand
from sim.market import run_market
from sim.scenario import HardwareClass, Scenario
from sim.traces import Request

ACCOUNTS: Final = 100
INPUT_TOKENS: Final = (20, 2_000)
OUTPUT_TOKENS: Final = (1, 300)
PAUSE_NS: Final = 1_000_000
"""Mean time between two requests before the demand is stretched to its load."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What to run.

    Attributes:
        jobs: Jobs of the demand.
        workers: Workers, in thirds of speed 1, 0.45 and 0.15.
        slots: Of each.
        load: Work over capacity.
        seed: Of the demand.
    """

    jobs: int = 100_000
    workers: int = 1_000
    slots: int = 8
    load: float = 1.3
    seed: int = 1


REFERENCE: Final = Settings(jobs=3_000, workers=100)
REFERENCE_DIGEST: Final = "ee508274c5273b8b03c4c87befbc35a539872888f66a10dc872771f0ceb3a8ac"
"""Of that market, on every machine: what another one is compared with."""


def scenario_of(settings: Settings) -> Scenario:
    """The market that is run: one window, three classes."""
    third = settings.workers // 3
    classes = (
        HardwareClass("h100", settings.workers - 2 * third, settings.slots, 1.0, 0.10),
        HardwareClass("a100", third, settings.slots, 0.45, 0.16),
        HardwareClass("l4", third, settings.slots, 0.15, 0.12),
    )
    return Scenario(
        seed=settings.seed,
        load=settings.load,
        windows=1,
        window_requests=settings.jobs,
        classes=classes,
        accounts=ACCOUNTS,
    )


def demand_of(settings: Settings, scenario: Scenario) -> Demand:
    """The jobs, from requests that come at random."""
    rng = random.Random(f"bench/{settings.seed}")
    at_ns, requests = 0, []
    for _ in range(settings.jobs):
        lengths = rng.randint(*INPUT_TOKENS), rng.randint(*OUTPUT_TOKENS)
        requests.append(Request(at_ns, *lengths))
        at_ns += round(rng.expovariate(1.0) * PAUSE_NS)
    return make_demand(requests, scenario)


def run(settings: Settings) -> dict[str, Any]:
    """The figures of one run."""
    scenario = scenario_of(settings)
    demand = demand_of(settings, scenario)
    began, cpu = time.monotonic(), time.process_time()
    outcome = run_market(demand, scenario)
    wall_s, cpu_s = time.monotonic() - began, time.process_time() - cpu
    return {
        "settings": asdict(settings),
        "machine": machine(),
        "compiled": COMPILED,
        "jobs": settings.jobs,
        "events": outcome.events,
        "wall_s": wall_s,
        "cpu_s": cpu_s,
        "events_per_cpu_s": round(outcome.events / cpu_s),
        "events_per_s": round(outcome.events / wall_s),
        "jobs_per_cpu_s": round(settings.jobs / cpu_s),
        "market_s": demand.window_starts_ns[-1] / 10**9,
        "missed": outcome.missed(demand),
        "peak_rss_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1_024,
        "digest": outcome.digest,
        "digest_as_published": outcome.digest == REFERENCE_DIGEST
        if settings == REFERENCE
        else None,
    }
