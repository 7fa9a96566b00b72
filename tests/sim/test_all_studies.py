"""Every study on a small trace: cells, rows, claims and figures; and what it is built from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import polars as pl
import pytest

from sim import Plan, ScenarioError, run_study
from sim.intervals import jackknife, ratio
from sim.studies import affinity, catalog, fairness, gating, heavy_jobs, period
from tests.sim.demands import SMALL, small_demand, trace

SCENARIO = msgspec.structs.replace(SMALL, windows=2, window_requests=0)
CURVES: dict[str, Any] = {
    "easy": {
        "questions": 20,
        "points": [
            {"budget_flops": 100, "fitted": 0.9, "spent_flops": 60.0},
            {"budget_flops": 400, "fitted": 0.9, "spent_flops": 60.0},
        ],
    },
    "hard": {
        "questions": 20,
        "points": [
            {"budget_flops": 100, "fitted": 0.1, "spent_flops": 100.0},
            {"budget_flops": 400, "fitted": 0.9, "spent_flops": 300.0},
        ],
    },
}


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("traces") / "small.csv"
    rows = [
        f"{r.arrival_ns / 1e9},{r.input_tokens},{r.output_tokens},{i % 7} {i % 3 + 9} {i + 99}"
        for i, r in enumerate(trace(80))
    ]
    head = "arrival_s,prompt_tokens,output_tokens,prefix_block_ids_512"
    path.write_text("\n".join([head, *rows]) + "\n")
    return path


@pytest.fixture(scope="module")
def curves(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("curves") / "quality.json"
    path.write_text(json.dumps(CURVES))
    return path


@pytest.mark.parametrize("name", sorted(set(catalog.NAMES) - {"welfare", "incentives"}))
def test_a_study_runs_and_says_what_it_found(
    name: str, path: Path, curves: Path, tmp_path: Path
) -> None:
    plan = Plan(SCENARIO, (str(path),), (1.3,), (1,), str(curves))
    result = run_study(name, plan, tmp_path, processes=1)
    assert result.verdict["claims"]
    for claim in result.verdict["claims"]:
        # One session, or one window, has no interval.
        if claim["low"] is not None:
            assert claim["low"] <= claim["figure"] <= claim["high"]
        assert claim["met"] in (True, False, None)
        assert ("why" in claim) <= (claim["met"] is False)
    text = (result.folder / "report.html").read_text()
    assert text.count("<svg") >= 1
    again = run_study(name, plan, tmp_path, processes=1)
    assert again.verdict == result.verdict


def test_a_jackknife_of_a_ratio_is_the_ratios() -> None:
    parts, wholes = [2.0, 5.0, 3.0], [10.0, 11.0, 12.0]

    def of(kept: list[int]) -> float:
        return sum(parts[i] for i in kept) / sum(wholes[i] for i in kept)

    assert jackknife(of, 3) == pytest.approx(ratio(parts, wholes))


def test_jains_index_is_one_where_all_are_served_alike() -> None:
    def table(served: list[int]) -> pl.DataFrame:
        rows = [
            {"window": w, "account": a, "asked": 100, "served": served[a]}
            for w in range(2)
            for a in range(4)
        ]
        return pl.DataFrame(rows)

    assert fairness.jain(table([50] * 4)).mean == pytest.approx(1)
    assert fairness.jain(table([100, 0, 0, 0])).mean == pytest.approx(0.25)


def test_accounts_of_two_seeds_are_not_mixed_up() -> None:
    rows = [
        {"seed": seed, "window": w, "account": a, "asked": 100, "served": 100 * (seed == 1)}
        for w in range(2)
        for seed in ((1, 2) if w else (2, 1))
        for a in range(2)
    ]
    assert fairness.jain(pl.DataFrame(rows)).mean == pytest.approx(0.5)


def test_a_token_bucket_lets_in_no_more_than_an_accounts_part() -> None:
    demand = small_demand()
    admitted = fairness._admitted(demand, SMALL)
    assert 0 < len(admitted) <= len(demand.jobs)
    seconds = demand.jobs[-1].arrival_ns / 1e9
    most = SMALL.capacity() / SMALL.accounts * (seconds + fairness.BURST_S)
    for account in range(SMALL.accounts):
        work = sum(
            job.work_ns / 1e9
            for job in demand.jobs
            if job.account == account and job.number in admitted
        )
        assert work <= most + 1e-6


def test_credits_level_the_bids_of_accounts() -> None:
    demand = small_demand()
    factors = fairness._factors(demand, SMALL, 1.0)
    conduct = fairness.Credits(factors)
    means = []
    for account in range(SMALL.accounts):
        jobs = [conduct.told(job, 0) for job in demand.jobs if job.account == account]
        means.append(sum(j.value_nanos for j in jobs) / sum(j.work_ns for j in jobs))
    assert max(means) == pytest.approx(min(means), rel=1e-3)


def test_an_attack_makes_a_few_jobs_heavy_and_leaves_the_others() -> None:
    demand = small_demand()
    heavy = heavy_jobs.attackers(demand, 0.05, 1)
    assert heavy_jobs.attackers(demand, 0.02, 1) < heavy
    after = heavy_jobs.attacked(demand, heavy, SMALL)
    for before, job in zip(demand.jobs, after.jobs, strict=True):
        if job.number not in heavy:
            assert job == before
            continue
        assert job.work_ns == round(10 * SMALL.work_mean_s * 1e9)
        density = before.value_nanos / before.work_ns
        assert job.value_nanos / job.work_ns == pytest.approx(density, rel=1e-3)


def test_longer_batches_wait_longer() -> None:
    demand = small_demand()
    listener = period.Listener()
    for second, price in enumerate((100, 100, 200)):
        listener.cleared(0, price, second * 10**9)
        listener.cleared(1, 7, second * 10**9)
    assert listener.by_second == {0: 100, 1: 100, 2: 200}
    assert listener.volatility() == pytest.approx(0.5 * 0.6931471805599453)
    assert demand.windows == 3


def test_gating_by_hand() -> None:
    points: list[gating.Points] = [
        [(p["budget_flops"], p["fitted"], p["spent_flops"]) for p in curve["points"]]
        for curve in CURVES.values()
    ]
    # 0.9 on both takes a budget of 400 for all; the gate spends 60 and 300.
    assert gating.uniform_cost(points, 0.9) == 400
    assert gating.halting_cost(points, 0.9) == pytest.approx(180)
    assert gating.gated_cost(points, 0.9) == pytest.approx(180)
    # Half of that score: the easy ones alone.
    assert gating.uniform_cost(points, 0.45) == 100
    assert gating.gated_cost(points, 0.45) == pytest.approx(30)
    assert gating.gain(points, 1.0) == pytest.approx(400 / 180)


def test_a_file_that_holds_no_curves_is_said_to(path: Path, tmp_path: Path) -> None:
    with pytest.raises(ScenarioError, match="needs the output"):
        run_study("gating", Plan(SCENARIO), tmp_path)
    with pytest.raises(ScenarioError, match="is not what"):
        run_study("gating", Plan(SCENARIO, curves=str(path)), tmp_path)


def test_a_trace_without_blocks_has_no_affinity(tmp_path: Path) -> None:
    rows = [f"{r.arrival_ns / 1e9},{r.input_tokens},{r.output_tokens}" for r in trace(40)]
    path = tmp_path / "plain.csv"
    path.write_text("\n".join(["arrival_s,prompt_tokens,output_tokens", *rows]) + "\n")
    plan = Plan(SCENARIO, (str(path),), (1.0,))
    with pytest.raises(ScenarioError, match="does not tell which prompts begin alike"):
        affinity.measure(plan, affinity.cells(plan)[0], map)
