"""Costs that follow a spot price: what workers ask, what welfare counts, and the bound."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest

from exchange.core import commands as c
from exchange.core.events import AnyEvent
from exchange.core.limits import NS_PER_S
from sim import Plan, run_study
from sim.bound import welfare_bound
from sim.market import BEGIN_NS, run_market
from sim.outcome import UNSERVED
from sim.scenario import UNIT_NANOS, Scenario, ScenarioError, Spot, checked
from sim.scenario_file import load_scenario
from sim.supply import cost_factors, factor_at
from tests.sim.demands import SMALL, small_demand

PRICES = """timestamp_utc,availability_zone,instance_type,spot_usd_h
2020-01-01T00:00:00Z,a,p3,2.0
2020-01-01T00:01:00Z,b,p3,9.0
2020-01-01T00:02:00Z,a,p3,3.0
"""


def moving(*prices: tuple[int, float], times_faster: float = 0) -> Scenario:
    return checked(msgspec.structs.replace(SMALL, spot=Spot(prices, times_faster)))


class Quotes:
    """Keeps when which quotes were set."""

    def __init__(self) -> None:
        self.seen: list[tuple[int, int, tuple[int, ...]]] = []

    def see(self, now_ns: int, command: c.Command, events: Sequence[AnyEvent]) -> None:
        del events
        if isinstance(command, c.SetQuote):
            self.seen.append((now_ns - BEGIN_NS, command.worker_id, command.prices_nanos))


def test_factors_by_hand() -> None:
    scenario = moving((0, 1.0), (4_000, 2.0), (6_000, 1.0), (8_000, 1.0))
    # Twice as long: 1 for 8 s, 2 for 4 s, 1 for 4 s; on average 20 / 16.
    factors = cost_factors(scenario, 16.0)
    assert factors == [(0, 0.8), (8 * NS_PER_S, 1.6), (12 * NS_PER_S, 0.8)]
    held = [factor_at(factors, at) for at in (-1, 0, 8 * NS_PER_S - 1, 8 * NS_PER_S, 10**12)]
    assert held == [0.8, 0.8, 0.8, 1.6, 0.8]
    fast = cost_factors(moving((0, 1.0), (4_000, 3.0), times_faster=2), 4.0)
    assert fast == [(0, 0.5), (2 * NS_PER_S, 1.5)]
    assert cost_factors(SMALL, 16.0) == [(0, 1.0)]


def test_a_price_that_stays_changes_nothing() -> None:
    demand = small_demand()
    still = moving((0, 7.0), (60_000, 7.0))
    assert run_market(demand, still).served_by == run_market(demand, SMALL).served_by
    assert run_market(demand, moving((5, 7.0))) == run_market(demand, SMALL)


def test_asks_follow_the_price_and_welfare_counts_it() -> None:
    demand = small_demand()
    scenario = moving((0, 1.0), (1_000, 4.0), (2_000, 4.0))
    half_ns = demand.window_starts_ns[-1] // 2
    quotes = Quotes()
    outcome = run_market(demand, scenario, observer=quotes)
    later = [quote for quote in quotes.seen if quote[0] > 0]
    assert [worker for _, worker, _ in later] == [1, 2, 3]
    assert all(abs(at_ns - half_ns) <= 1 for at_ns, _, _ in later)
    first = {worker: prices for at_ns, worker, prices in quotes.seen if not at_ns}
    for _, worker, prices in later:
        assert prices[0] == pytest.approx(4 * first[worker][0], rel=0.01)
        assert prices == tuple(sorted(prices))
    factors = cost_factors(scenario, demand.window_starts_ns[-1] / NS_PER_S)
    expected = 0.0
    for job, place, done_ns in zip(demand.jobs, outcome.served_by, outcome.done_ns, strict=True):
        if place != UNSERVED:
            kind = SMALL.classes[place]
            factor = factor_at(factors, done_ns - round(job.work_ns / kind.speed))
            expected += job.value_nanos - kind.cost * factor * job.work_ns / NS_PER_S * UNIT_NANOS
    assert sum(outcome.welfare_nanos(demand, scenario)) == pytest.approx(expected, abs=200)
    assert expected < sum(welfare_bound(demand, scenario))


def test_a_lost_worker_comes_back_with_the_price_of_the_day() -> None:
    comings = [(0, f"n{i}", True) for i in range(3)]
    nodes = (*comings, (1_000, "n0", False), (9_000, "z", True))
    demand = small_demand()
    scenario = moving((0, 1.0), (1_000, 2.0), (2_000, 2.0))
    losses = {"nodes": nodes, "times_faster": 1.0, "found_after_s": 0.0}
    scenario = msgspec.convert(msgspec.to_builtins(scenario) | {"losses": losses}, Scenario)
    half_ns = demand.window_starts_ns[-1] // 2
    assert half_ns > NS_PER_S
    quotes = Quotes()
    run_market(demand, scenario, observer=quotes)
    of_first = [(at_ns, prices[0]) for at_ns, worker, prices in quotes.seen if worker == 1]
    dear = 2 * of_first[0][1]
    assert of_first[-1][1] == pytest.approx(dear, rel=0.01)
    assert of_first[-1][0] in (9 * NS_PER_S, half_ns, half_ns + 1)


def test_wrong_prices_are_refused(tmp_path: Path) -> None:
    for wrong in ((), ((0, -1.0),), ((5, 1.0), (4, 1.0))):
        with pytest.raises(ScenarioError, match="spot needs"):
            moving(*wrong)
    with pytest.raises(ScenarioError, match="knows no spot prices"):
        run_study("elastic", Plan(moving((0, 1.0)), ("trace.csv",)), tmp_path)


def test_a_file_names_machine_and_zone(tmp_path: Path) -> None:
    (tmp_path / "spot.csv").write_text(PRICES)
    path = tmp_path / "scenario.toml"
    path.write_text('[spot]\nfile = "spot.csv"\nzone = "a"\nmachine = "p3"\ntimes_faster = 60\n')
    assert load_scenario(path).spot == Spot(((0, 2.0), (120_000, 3.0)), 60)
    for wrong, says in (("c", "holds no price of p3 in c"), ("a", "none.csv")):
        file = "none.csv" if says == "none.csv" else "spot.csv"
        path.write_text(f'[spot]\nfile = "{file}"\nzone = "{wrong}"\nmachine = "p3"\n')
        with pytest.raises(ScenarioError, match=says):
            load_scenario(path)
