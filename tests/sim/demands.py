"""Small demands for the tests of the simulator."""

from __future__ import annotations

import random

from sim.demand import Demand, make_demand
from sim.scenario import HardwareClass, Scenario
from sim.traces.request import Request

FLEET = (HardwareClass("fast", 1, 3, 1.0, 0.10), HardwareClass("slow", 2, 2, 0.5, 0.12))
SMALL = Scenario(windows=3, window_requests=60, classes=FLEET, accounts=4)
OFFERS = """snapshot_utc,gpu_name,num_gpus,ask_usd_h,min_bid_usd_h,reliability
2026-02-27T13:36:32+00:00,H100 SXM,4,8.0,1.0,0.99
2026-02-27T13:36:32+00:00,L4,2,0.6,0.1,0.99
"""
PREEMPTIONS = "0,add,a\n0,add,b\n0,add,c\n1000,remove,b\n3000,add,b\n9000,remove,c\n"


def trace(count: int = 400, seed: int = 1) -> list[Request]:
    """Requests at random times, lengths of two digits to four."""
    rng = random.Random(seed)
    at_ns, requests = 0, []
    for _ in range(count):
        requests.append(Request(at_ns, rng.randint(20, 2_000), rng.randint(1, 300)))
        at_ns += round(rng.expovariate(2.0) * 10**9)
    return requests


def small_demand(scenario: Scenario = SMALL, seed: int = 1) -> Demand:
    """A demand of a few hundred jobs."""
    return make_demand(trace(seed=seed), scenario)
