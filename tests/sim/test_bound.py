"""The bound bounds: it is never below what any rule reached, nor far above the whole programme."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest
from scipy.optimize import linprog

from exchange.core.limits import NS_PER_S
from sim.bound import STEP_S, Prices, welfare_bound, window_bound, window_prices
from sim.demand import Demand, Job
from sim.intervals import ratio
from sim.market import run_market
from sim.rivals import run_rivals
from sim.scenario import UNIT_NANOS, HardwareClass, Scenario
from tests.sim.demands import SMALL, small_demand


@pytest.mark.parametrize(("load", "seed"), [(0.5, 1), (1.3, 1), (1.3, 2), (3.0, 3)])
def test_no_rule_is_worth_more(load: float, seed: int) -> None:
    scenario = msgspec.structs.replace(SMALL, load=load)
    demand = small_demand(scenario, seed)
    best = sum(welfare_bound(demand, scenario))
    for outcome in (run_market(demand, scenario), *run_rivals(demand, scenario).values()):
        assert sum(outcome.welfare_nanos(demand, scenario)) <= best


def test_windows_together_lose_little_against_one_window() -> None:
    demand = small_demand()
    apart = sum(welfare_bound(demand, SMALL))
    starts = demand.window_starts_ns
    whole = Demand(
        demand.millitokens_per_s,
        (starts[0], starts[-1]),
        tuple(job._replace(window=0) for job in demand.jobs),
    )
    together = sum(welfare_bound(whole, SMALL))
    assert together <= apart * (1 + 1e-6)
    # Patient jobs have more slack than these windows' margins show.
    assert apart <= together * 1.05


def test_shorter_steps_are_tighter() -> None:
    demand = small_demand()
    coarse, fine = (sum(welfare_bound(demand, SMALL, step_s)) for step_s in (4.0, 1.0))
    assert fine <= coarse * (1 + 1e-6)


def test_any_prices_give_a_bound() -> None:
    demand = small_demand()
    best = sum(welfare_bound(demand, SMALL))
    rng = np.random.default_rng(1)
    prices = [window_prices(demand, SMALL, w, step_s=STEP_S) for w in range(demand.windows)]
    for _ in range(3):
        wild = [Prices(p.first_step, p.p * rng.uniform(0, 3, p.p.shape)) for p in prices]
        parts = [
            window_bound(demand, SMALL, w, prices=wild, step_s=STEP_S)
            for w in range(demand.windows)
        ]
        assert sum(parts) >= best * (1 - 1e-6)


def job(number: int, arrival_s: float, deadline_s: float, work_s: float, value: float) -> Job:
    times = round(arrival_s * NS_PER_S), round(deadline_s * NS_PER_S)
    work_ns, value_nanos = round(work_s * NS_PER_S), round(value * UNIT_NANOS)
    return Job(number, 0, 0, "any", *times, 1, 1, work_ns, value_nanos)


def test_a_case_by_hand() -> None:
    # One slot, four seconds: the first two jobs fill them, the third finds half a second less.
    scenario = Scenario(classes=(HardwareClass("one", 1, 1, 1.0, 0.1),), windows=1)
    jobs = (job(0, 0, 4, 2, 4), job(1, 0, 4, 1.5, 1.5), job(2, 0, 4, 1, 0.8))
    demand = Demand(1_000_000, (0, 4 * NS_PER_S), jobs)
    # 2 s at 2.0, 1.5 s at 1.0 and half a second at 0.8, less the cost of 4 s.
    expected = 4 + 1.5 + 0.4 - 0.4
    assert sum(welfare_bound(demand, scenario)) / UNIT_NANOS == pytest.approx(expected)


def test_the_programme_is_the_one_that_is_written_down() -> None:
    """Against the same programme, written out by loops over names."""
    demand = small_demand(msgspec.structs.replace(SMALL, windows=1, window_requests=12))
    assert sum(welfare_bound(demand, SMALL)) == pytest.approx(_written_out(demand), rel=1e-6)


def _written_out(demand: Demand) -> float:
    columns: list[tuple[int, int, str]] = []
    gains: list[float] = []
    rows: dict[tuple[Any, ...], dict[int, float]] = {}
    limits: dict[tuple[Any, ...], float] = {}
    for one in demand.jobs:
        begin, end = one.arrival_ns / NS_PER_S, one.deadline_ns / NS_PER_S
        for step in range(int(begin // STEP_S), int(end // STEP_S) + 1):
            overlap = min(end, (step + 1) * STEP_S) - max(begin, step * STEP_S)
            for kind in SMALL.classes if overlap > 0 else ():
                column = len(columns)
                columns.append((one.number, step, kind.name))
                value_per_s = one.value_nanos / UNIT_NANOS / (one.work_ns / NS_PER_S)
                gains.append(kind.speed * (value_per_s - kind.cost))
                for name, entry, limit in (
                    (("work", one.number), kind.speed, one.work_ns / NS_PER_S),
                    (("life", one.number, step), 1.0, overlap),
                    (("slots", kind.name, step), 1.0, kind.workers * kind.slots * STEP_S),
                ):
                    rows.setdefault(name, {})[column] = entry
                    limits[name] = limit
    matrix = np.zeros((len(rows), len(columns)))
    for index, entries in enumerate(rows.values()):
        for column, entry in entries.items():
            matrix[index, column] = entry
    solved = linprog(-np.array(gains), A_ub=matrix, b_ub=[limits[name] for name in rows])
    return float(-solved.fun * UNIT_NANOS)


def test_intervals_are_those_of_the_jackknife() -> None:
    same = ratio([1, 2, 3], [2, 4, 6])
    assert (same.mean, same.low, same.high) == pytest.approx((0.5, 0.5, 0.5))
    # Leaving out one: 8/20, 5/20 and 7/20; variance 2/3 of the squares about their mean.
    estimate = ratio([2, 5, 3], [10, 10, 10])
    assert estimate.mean == pytest.approx(1 / 3)
    without = np.array([0.4, 0.25, 0.35])
    sd = np.sqrt(2 / 3 * ((without - without.mean()) ** 2).sum())
    assert estimate.high - estimate.mean == pytest.approx(4.302653 * sd, rel=1e-6)
    assert ratio([1], [2]).low == -np.inf
    assert np.isnan(ratio([0, 0], [0, 0]).mean)
    assert np.isnan(ratio([1, 0], [2, 0]).low)
