"""Demand: stretched to its load window by window, with every deadline to be met in principle."""

from __future__ import annotations

import itertools
import statistics
from pathlib import Path

import msgspec
import pytest

from exchange.core.limits import NS_PER_S
from sim.demand import make_demand
from sim.scenario import UNIT_NANOS, Scenario, ScenarioError, checked
from sim.scenario_file import load_scenario
from sim.traces.request import Request
from tests.sim.demands import SMALL, small_demand, trace


@pytest.mark.parametrize("load", [0.5, 1.3, 4.0])
def test_every_window_has_the_load(load: float) -> None:
    scenario = msgspec.structs.replace(SMALL, load=load)
    demand = small_demand(scenario)
    for window, (start, end) in enumerate(itertools.pairwise(demand.window_starts_ns)):
        jobs = [job for job in demand.jobs if job.window == window]
        assert len(jobs) == scenario.window_requests
        assert all(start <= job.arrival_ns < end for job in jobs)
        work_ns = sum(job.work_ns for job in jobs)
        assert work_ns / (end - start) / scenario.capacity() == pytest.approx(load, rel=1e-6)


def test_jobs_are_as_the_scenario_says() -> None:
    scenario = msgspec.structs.replace(SMALL, windows=1, window_requests=4_000)
    demand = make_demand(trace(4_000), scenario)
    assert [job.number for job in demand.jobs] == list(range(4_000))
    assert list(demand.jobs) == sorted(demand.jobs, key=lambda job: job.arrival_ns)
    assert all(job.deadline_ns - job.arrival_ns >= 1.5 * job.work_ns + NS_PER_S
               for job in demand.jobs)  # fmt: skip
    mean_s = statistics.fmean(job.work_ns for job in demand.jobs) / NS_PER_S
    assert mean_s == pytest.approx(scenario.work_mean_s, rel=1e-3)
    shares = [sum(job.urgency == u.name for job in demand.jobs) / 4_000 for u in scenario.urgencies]
    assert shares == pytest.approx([0.6, 0.3, 0.1], abs=0.03)
    densities = [job.value_nanos * NS_PER_S / job.work_ns / UNIT_NANOS for job in demand.jobs]
    # Four accounts of mean 1.3 each, whose own means differ.
    assert 0.5 < statistics.fmean(densities) < 3.5


def test_a_seed_decides_everything() -> None:
    assert small_demand() == small_demand()
    other = msgspec.structs.replace(SMALL, seed=2)
    assert small_demand(other) != small_demand()


def test_a_price_of_one_unit_is_a_units_worth() -> None:
    demand = small_demand()
    flops_per_s = demand.millitokens_per_s / 1_000 * (1 << 24)
    assert demand.unit_price_nanos * flops_per_s / 10**12 == pytest.approx(UNIT_NANOS)


def test_a_short_trace_is_refused() -> None:
    with pytest.raises(ScenarioError, match="too few for 3 windows of 60"):
        make_demand(trace(100), SMALL)
    with pytest.raises(ScenarioError, match="too few"):
        make_demand([Request(0, 1, 1)], Scenario())


def test_requests_that_all_come_at_once_are_a_burst() -> None:
    scenario = msgspec.structs.replace(SMALL, windows=1, window_requests=5)
    demand = make_demand([Request(0, 10, 10)] * 5, scenario)
    assert {job.arrival_ns for job in demand.jobs} == {0}


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        ("load", 0, "load"),
        ("windows", 0, "windows"),
        ("window_requests", -1, "window_requests"),
        ("classes", (), "a class"),
        ("ask_ceiling", 0.01, "ceiling"),
        ("urgencies", (), "add up"),
        ("value_mean", 0, "positive"),
        ("value_sigma", -1, "sigmas"),
    ],
)
def test_numbers_that_make_no_market_are_refused(field: str, value: object, says: str) -> None:
    with pytest.raises(ScenarioError, match=says):
        checked(msgspec.structs.replace(SMALL, **{field: value}))


def test_a_scenario_is_a_toml_file(tmp_path: Path) -> None:
    path = tmp_path / "scenario.toml"
    path.write_text(
        'load = 0.8\n[[classes]]\nname = "h200"\nworkers = 2\nslots = 4\nspeed = 1.4\ncost = 0.1\n'
    )
    scenario = load_scenario(path)
    assert (scenario.load, scenario.windows) == (0.8, 20)
    assert [c.name for c in scenario.classes] == ["h200"]
    for text, says in (("lode = 1", "lode"), ("load =", "scenario.toml"), ('load = "x"', "load")):
        path.write_text(text)
        with pytest.raises(ScenarioError, match=says):
            load_scenario(path)
    with pytest.raises(ScenarioError, match=r"none\.toml"):
        load_scenario(tmp_path / "none.toml")
