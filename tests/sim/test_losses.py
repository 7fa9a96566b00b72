"""Losses of workers: when they happen, what the bound and the market make of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import polars as pl
import pytest

from exchange.core.limits import NS_PER_S
from flopex.cli.sim import _supplied
from sim.bound import welfare_bound
from sim.market import run_market
from sim.rivals import NAMES, run_rivals
from sim.scenario import Losses, Scenario, ScenarioError, checked
from sim.scenario_file import Fleet, classes_of, load_scenario
from sim.studies import worker_loss
from sim.studies.study import Plan
from sim.studies.worker_loss import Attempts, cut, lost_share
from sim.supply import Change, changes_of, slots_present
from tests.sim.demands import OFFERS, PREEMPTIONS, SMALL, small_demand


def losing(**told: Any) -> Scenario:
    return checked(msgspec.structs.replace(SMALL, losses=Losses(**told)))


def test_a_longer_market_loses_the_same_and_more() -> None:
    scenario = losing(life_s=20, away_s=5)
    short, long = (changes_of(scenario, seconds) for seconds in (60, 200))
    assert short == [change for change in long if change.at_ns <= 60 * NS_PER_S]
    assert short == sorted(short)
    for worker in range(3):
        own = [change.present for change in long if change.worker == worker]
        assert own == [bool(i % 2) for i in range(len(own))]  # lost, back, lost, ...
    other = msgspec.structs.replace(scenario, seed=2)
    assert changes_of(other, 60) != short
    assert changes_of(SMALL, 60) == []


def test_a_class_is_lost_as_one() -> None:
    changes = changes_of(losing(life_s=20, away_s=5, whole_classes=True), 200)
    second = [(c.at_ns, c.present) for c in changes if c.worker == 1]
    assert second
    assert second == [(c.at_ns, c.present) for c in changes if c.worker == 2]
    assert second != [(c.at_ns, c.present) for c in changes if c.worker == 0]


def test_a_trace_of_losses_fits_the_market_or_has_its_own_pace() -> None:
    nodes = ((0, "a", True), (0, "b", True), (0, "c", True), (10_000, "b", False))
    fitted = changes_of(losing(nodes=nodes), 100)
    assert fitted == [Change(100 * NS_PER_S, 1, False)]
    assert changes_of(losing(nodes=nodes, times_faster=2), 100) == [Change(5 * NS_PER_S, 1, False)]
    assert changes_of(losing(nodes=nodes, times_faster=0.01), 100) == []  # too late for it


def test_slots_are_those_of_workers_that_are_there() -> None:
    changes = [Change(5, 0, False), Change(7, 2, False), Change(9, 0, True)]
    assert slots_present(SMALL, changes) == [(0, (3, 4)), (5, (0, 4)), (7, (0, 2)), (9, (3, 2))]


def test_losses_that_cannot_be_are_refused() -> None:
    for wrong in ({}, {"life_s": -1.0}, {"life_s": 5.0, "away_s": 0.0}):
        with pytest.raises(ScenarioError, match="losses need"):
            losing(**wrong)


def test_queues_lose_workers_too() -> None:
    demand = small_demand()
    half_ns = demand.window_starts_ns[-1] // 2
    nodes = (*((0, f"n{i}", True) for i in range(3)),
             *((half_ns // 10**6, f"n{i}", False) for i in range(3)))  # fmt: skip
    gone = losing(nodes=nodes, times_faster=1, found_after_s=0)
    outcomes = run_rivals(demand, gone)
    assert sorted(outcomes) == sorted(set(NAMES) - {"least_loaded", "cheapest_spill"})
    for outcome in outcomes.values():
        assert 0 < max(outcome.done_ns) <= half_ns
    some = losing(life_s=15, away_s=5)
    calm, lossy = run_rivals(demand, SMALL), run_rivals(demand, some)
    for name in ("density", "fifo_drop", "edf_drop"):
        welfare = [sum(o[name].welfare_nanos(demand, some)) for o in (lossy, calm)]
        assert welfare[0] < welfare[1]
    never = losing(life_s=10**9)
    assert run_rivals(demand, never) == {name: calm[name] for name in outcomes}


def test_the_bound_falls_with_the_capacity() -> None:
    demand = small_demand()
    calm = sum(welfare_bound(demand, SMALL))
    some = sum(welfare_bound(demand, losing(life_s=20, away_s=10)))
    assert 0 < some < calm
    nodes = ((0, "a", True), (1, "a", False), (1_000_000, "z", True))
    gone = losing(nodes=nodes, times_faster=1)  # no seat is taken but the first, for an instant
    assert sum(welfare_bound(demand, gone)) < calm / 1_000


def test_nobody_pays_for_a_lost_attempt_and_every_job_ends() -> None:
    scenario = cut(losing(life_s=15, away_s=5, found_after_s=10))
    demand = small_demand(scenario)
    seen = Attempts(demand, scenario)
    outcome = run_market(demand, scenario, observer=seen)
    assert seen.failed > 0
    assert (seen.open_jobs, seen.billed_failed_nanos, seen.unexplained_nanos) == (0, 0, 0)
    assert seen.offered >= len(seen.started)
    assert all(work_s > 0 for _, _, work_s in seen.void)
    best = sum(welfare_bound(demand, scenario))
    assert 0 < sum(outcome.welfare_nanos(demand, scenario)) < best
    assert run_market(demand, scenario) == outcome


def test_what_is_found_late_is_too_late_to_be_tried_again() -> None:
    again = []
    for found_after_s in (0.0, 30.0):
        scenario = cut(losing(life_s=15, away_s=40, found_after_s=found_after_s))
        demand = small_demand(scenario)
        seen = Attempts(demand, scenario)
        run_market(demand, scenario, observer=seen)
        again.append(seen.offered - len(seen.started))
        assert seen.open_jobs == 0
    assert again[0] > again[1]


def test_a_cut_fleet_has_the_same_slots() -> None:
    assert cut(SMALL).capacity() == pytest.approx(SMALL.capacity())
    assert [(c.workers, c.slots) for c in cut(SMALL).classes] == [(3, 1), (4, 1)]
    scenario = losing(nodes=((0, "a", True), (4_000, "b", True)), times_faster=1)
    # Of three workers the first stays, the second comes after 4 of 8 s, the third never.
    assert lost_share(scenario, 8.0) == pytest.approx((2 * 0.5 * 0.5 + 2 * 0.5) / 5)


def test_a_file_says_the_fleet_and_the_losses(tmp_path: Path) -> None:
    (tmp_path / "offers.csv").write_text(OFFERS)
    (tmp_path / "p3.csv").write_text(PREEMPTIONS)
    path = tmp_path / "scenario.toml"
    path.write_text(
        'load = 0.9\n[fleet]\noffers = "offers.csv"\nspeeds = {"H100 SXM" = 1.0, L4 = 0.15}\n'
        'bands = 1\nslots = 4\nworkers = 3\n[losses]\nfile = "p3.csv"\nfound_after_s = 2\n'
    )
    scenario = load_scenario(path)
    assert [(c.name, c.workers, c.slots) for c in scenario.classes] == [
        ("h100-sxm-1", 2, 4), ("l4-1", 1, 4),
    ]  # fmt: skip
    assert scenario.losses is not None
    assert scenario.losses.nodes[3:] == (
        (1_000, "b", False),
        (3_000, "b", True),
        (9_000, "c", False),
    )
    assert scenario.losses.found_after_s == 2
    demand = small_demand(msgspec.structs.replace(scenario, windows=2, window_requests=40))
    assert run_market(demand, scenario).missed(demand) < 1
    options = _supplied(
        Scenario(), tmp_path / "offers.csv", ["H100 SXM=1.0", "L4=0.15"], 3, tmp_path / "p3.csv"
    )
    assert {c.speed for c in options.classes} == {1.0, 0.15}
    assert [c.slots for c in options.classes] == [8] * len(options.classes)
    assert options.losses is not None
    assert options.losses.nodes == scenario.losses.nodes


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('[fleet]\noffers = "none.csv"\nspeeds = {L4 = 1.0}\n', "none.csv"),
        ('[fleet]\noffers = "offers.csv"\nspeeds = {L4 = -1.0}\n', "must be positive"),
        ('[fleet]\noffers = "offers.csv"\n', "speeds"),
        ('[fleet]\noffers = "offers.csv"\nspeeds = {B200 = 1.0}\n', "no offer is of one of"),
        ("[losses]\nfile = 'none.csv'\n", "none.csv"),
        ("[losses]\nfile = 'p3.csv'\nnodes = []\n", "either nodes or a file"),
        ("classes = []\n[fleet]\noffers = 'offers.csv'\nspeeds = {L4 = 1.0}\n", "either classes"),
        ("losses = 3\n", "losses"),
    ],
)
def test_a_wrong_file_is_said_to_be(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "offers.csv").write_text(OFFERS)
    (tmp_path / "p3.csv").write_text(PREEMPTIONS)
    path = tmp_path / "scenario.toml"
    path.write_text(text)
    with pytest.raises(ScenarioError, match=says):
        load_scenario(path)


def test_spot_prices_are_a_fleet(tmp_path: Path) -> None:
    path = tmp_path / "spot.csv"
    rows = [
        "timestamp_utc,availability_zone,instance_type,spot_usd_h",
        "2020-01-01T00:00:00Z,a,p3.2xlarge,9.0",
        "2020-01-02T00:00:00Z,a,p3.2xlarge,1.0",
        "2020-01-01T00:00:00Z,b,p3.2xlarge,3.0",
        "2020-01-01T00:00:00Z,b,p2.xlarge,0.3",
    ]
    path.write_text("\n".join(rows) + "\n")
    speeds = {"p3.2xlarge": 1.0, "p2.xlarge": 0.15}
    classes = classes_of(Fleet(str(path), speeds, bands=2, slots=1))
    told = [(c.name, c.workers, c.speed, round(c.cost, 6)) for c in classes]
    # Per unit of work 2.0, and 1.0 and 3.0 where the last prices count.
    assert told == [
        ("p2-xlarge-1", 1, 0.15, 0.2),
        ("p3-2xlarge-1", 1, 1.0, 0.1),
        ("p3-2xlarge-2", 1, 1.0, 0.3),
    ]


def test_wrong_options_are_said_to_be(tmp_path: Path) -> None:
    (tmp_path / "offers.csv").write_text(OFFERS)
    with pytest.raises(ScenarioError, match="a fleet needs"):
        _supplied(Scenario(), None, ["L4=1"], 3, None)
    with pytest.raises(ScenarioError, match="NAME=SPEED"):
        _supplied(Scenario(), tmp_path / "offers.csv", ["L4"], 3, None)


def test_what_losses_cost_is_beside_the_bound_that_is_left() -> None:
    rows = [
        {"cell": kind, "trace": "t", "load": 1.3, "seed": 1, "losses": kind, "window": w,
         "welfare": welfare, "bound": bound, "lost": lost, "failed": 0.1, "attempts": 1.1,
         "billed_wrongly": billed, "open_jobs": 0}
        for kind, welfare, bound, lost, billed in (
            (worker_loss.NONE, 90.0, 100.0, 0.0, 0),
            (worker_loss.BY_LIFE[0], 72.0, 90.0, 0.25, 0),
            (worker_loss.CLASSES, 72.0, 82.0, 0.25, 7),
        )
        for w in range(3)
    ]  # fmt: skip
    claims = {claim.says: claim for claim in worker_loss.conclude(Plan(SMALL), pl.DataFrame(rows))}
    found = [(claim.figure.mean, claim.met) for claim in claims.values()]
    assert found[:2] == [(7.0, False), (0.0, True)]  # billed for failed attempts; never ended
    cost, per_capacity, of_classes, _ = (claim for claim in list(claims.values())[2:])
    assert cost.figure.mean == pytest.approx(0.9 - 0.8)
    assert cost.met is False
    assert "bound loses no work" in cost.why
    assert per_capacity.figure.mean == pytest.approx(0.2 / 0.25)
    assert "of the bound: 0.40" in per_capacity.says
    assert of_classes.met  # 0.9 less 72 / 82
