"""The frame of all studies: cells, rows that are kept, claims, and a report that stands alone."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

import msgspec
import polars as pl
import pytest

from sim import Plan, Scenario, ScenarioError, run, run_study
from sim.agents.conduct import Misreport
from sim.market import run_market
from sim.studies import catalog, incentives, report
from sim.studies.grid import ROWS_FILE
from sim.studies.study import rows_digest
from tests.sim.demands import SMALL, small_demand, trace


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("traces") / "small.csv"
    rows = [f"{r.arrival_ns / 10**9},{r.input_tokens},{r.output_tokens}" for r in trace(120)]
    path.write_text("\n".join(["arrival_s,prompt_tokens,output_tokens", *rows]) + "\n")
    return path


SCENARIO = msgspec.structs.replace(SMALL, windows=2, window_requests=0)
DECISIONS = "ec9b9306550131a76d4a7526baf5098adfe6e3c1f2155ede334c1c3490dc03a2"
"""On every machine (docs/benchmarks/simulator.md)."""


def test_a_notebook_gets_a_polars_frame(path: Path, tmp_path: Path) -> None:
    result = run(path, SCENARIO, out=tmp_path, processes=1)
    assert isinstance(result.frame, pl.DataFrame)
    assert result.frame["window"].to_list() == [0, 1]
    assert result.frame["market"].sum() <= result.frame["bound"].sum()
    assert result.verdict["ratio_mean"] == pytest.approx(
        sum(result.frame["market"]) / sum(result.frame["bound"]), abs=1e-4
    )
    # Of what the market and its rivals decided, and of no number of the bound's solver.
    assert result.verdict["digest"] == DECISIONS


def test_what_was_run_is_not_run_again(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = Plan(SCENARIO, (str(path),), (1.0,))
    first = run_study("welfare", plan, tmp_path, processes=1)
    known = first.frame["cell"].to_list()

    def only_new(study: Any) -> Any:
        def measure(plan: Plan, cell: Any, each: Any) -> Any:
            assert cell["load"] == 1.3
            return study.measure(plan, cell, each)

        return dataclasses.replace(study, measure=measure)

    study = only_new(catalog.find("welfare"))
    monkeypatch.setattr("sim.studies.catalog.find", lambda _: study)
    heard: list[tuple[int, int]] = []
    # One cell and two processes: the cell is measured in this very process.
    more = run_study(
        "welfare",
        msgspec.structs.replace(plan, loads=(1.3, 1.0)),
        tmp_path,
        processes=2,
        report=lambda done, of: heard.append((done, of)),
    )
    assert heard == [(1, 2), (2, 2)]
    assert more.folder == first.folder
    assert set(known) < set(more.frame["cell"])
    kept = more.frame.filter(pl.col("load") == 1.0)
    assert rows_digest(kept) == rows_digest(first.frame)
    assert pl.read_parquet(more.folder / ROWS_FILE).height == more.frame.height


def test_other_settings_are_other_results(path: Path, tmp_path: Path) -> None:
    plan = Plan(SCENARIO, (str(path),))
    other = msgspec.structs.replace(SCENARIO, ask_exponent=0)
    assert plan.digest() != msgspec.structs.replace(plan, scenario=other).digest()
    # A cell is another one where its file is, whatever the file is called.
    plan = Plan(SCENARIO, (str(path),), (1.0,))
    copy = tmp_path / path.name
    copy.write_bytes(path.read_bytes())
    moved = msgspec.structs.replace(plan, traces=(str(copy),))
    assert moved.markets() == plan.markets()
    copy.write_text(copy.read_text() + "900,10,10\n")
    assert moved.markets() != plan.markets()


def test_the_report_needs_nothing_from_outside(path: Path, tmp_path: Path) -> None:
    result = run(path, SCENARIO, out=tmp_path, processes=1)
    text = (result.folder / "report.html").read_text()
    assert "<svg" in text
    assert catalog.find("welfare").hypothesis in text
    assert result.verdict["digest"] in text
    loaded = re.findall(r"""(?:src|href)=["']?(?!#)([^"'> ]+)""", text)
    assert loaded == []
    assert "<script" not in text
    assert "@import" not in text


def test_the_report_says_how_to_run_it_again(path: Path) -> None:
    study = catalog.find("welfare")
    usual = Plan(Scenario(seed=7), (str(path),), (1.3,), (7,))
    assert report._command(study, usual) == (
        "flopex sim study welfare --trace small.csv --load 1.3 --seed 7"
    )
    other = msgspec.structs.replace(usual, scenario=Scenario(windows=8, window_requests=250))
    assert report._command(study, other).endswith("--windows 8 --scenario scenario.toml")


def test_a_study_that_lacks_what_it_reads_says_so(path: Path, tmp_path: Path) -> None:
    with pytest.raises(ScenarioError, match="needs a demand trace"):
        run_study("welfare", Plan(Scenario()), tmp_path)
    with pytest.raises(ScenarioError, match="same name"):
        run_study("welfare", Plan(Scenario(), (str(path), str(path))), tmp_path)


def test_a_lie_is_told_by_the_liar_alone() -> None:
    demand = small_demand()
    liar = Misreport([1], value=0.5, due=0.7)
    for job in demand.jobs:
        told = liar.told(job, job.arrival_ns)
        if job.account != 1:
            assert told == job
        else:
            assert told.value_nanos == pytest.approx(job.value_nanos / 2, abs=1)
            within_ns = job.deadline_ns - job.arrival_ns
            assert told.deadline_ns - told.arrival_ns == pytest.approx(within_ns * 0.7, abs=1)
            assert told._replace(value_nanos=job.value_nanos, deadline_ns=job.deadline_ns) == job
    honest = run_market(demand, SMALL)
    assert run_market(demand, SMALL, Misreport([])) == honest
    assert run_market(demand, SMALL, liar).digest != honest.digest


def test_a_worthless_answer_is_not_bought_and_so_nothing_is_gained() -> None:
    demand = small_demand()
    shading = run_market(demand, SMALL, Misreport([1], value=1e-9))
    served = [job for job in demand.jobs if job.account == 1 and shading.served_by[job.number] >= 0]
    assert served == []


def test_what_is_no_number_is_none_in_the_verdict(path: Path, tmp_path: Path) -> None:
    one = msgspec.structs.replace(SCENARIO, windows=1)
    verdict = run(path, one, out=tmp_path, processes=1, study="sellers").verdict
    assert (verdict["low"], verdict["high"]) == (None, None)
    assert verdict["figure"] is not None
    # Of sellers that sold nothing when honest there is no gain.
    rows = [
        {"cell": "", "trace": "t", "load": 1.0, "seed": 1, "lie": "withhold", "size": 1.0,
         "window": w, "who": who, "base": base, "honest": base, "lying": 2.0}
        for w in range(2)
        for who, base in (("idle", 0.0), ("busy", 4.0))
    ]  # fmt: skip
    (claim,) = incentives.conclude(Plan(SCENARIO), pl.DataFrame(rows))
    assert claim.figure.mean == 0.0


def test_incentives_compare_the_same_jobs(path: Path) -> None:
    plan = Plan(SCENARIO, (str(path),), (1.3,))
    grid = incentives.cells(plan)
    assert len({str(cell) for cell in grid}) == len(grid)
    cell = next(c for c in grid if c["lie"] == "shade" and c["size"] == 0.4)
    rows = incentives.measure(plan, cell, map)
    assert {row["window"] for row in rows} == {0, 1}
    assert all(row["honest"] <= row["base"] for row in rows)
    truth = incentives.measure(plan, {**cell, "size": 0.0}, map)
    assert all(row["lying"] == row["honest"] for row in truth)


def test_a_market_ends_whatever_deadlines_are_told() -> None:
    demand = small_demand()
    # The last jobs are told to be due long after all true deadlines, and still run then.
    late = run_market(demand, SMALL, Misreport(range(SMALL.accounts), value=0.3, due=4.0))
    last_ns = max(job.deadline_ns for job in demand.jobs)
    assert max(late.done_ns) > last_ns
