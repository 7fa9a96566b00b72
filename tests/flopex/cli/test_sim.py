"""`flopex sim study` on a small trace that the test writes."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import pytest

from flopex.cli.exits import ExitCode
from tests.flopex.cli.runner import run
from tests.sim.demands import OFFERS, PREEMPTIONS, trace

SCENARIO = """
accounts = 3
[[classes]]
name = "h100"
workers = 1
slots = 4
speed = 1.0
cost = 0.1
"""


flopex = partial(run, "sim")


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    path = tmp_path / "trace.csv"
    rows = [f"{r.arrival_ns / 10**9},{r.input_tokens},{r.output_tokens}" for r in trace(120)]
    path.write_text("\n".join(["arrival_s,prompt_tokens,output_tokens", *rows]) + "\n")
    scenario = tmp_path / "scenario.toml"
    scenario.write_text(SCENARIO)
    return path, scenario


def test_the_last_line_is_the_verdict(files: tuple[Path, Path], tmp_path: Path) -> None:
    path, scenario = files
    arguments = ("study", "welfare", "--trace", path, "--scenario", scenario, "--windows", "2")
    runs = [
        flopex(*arguments, "--load", "1.1", "--processes", "1", "--json", "--out", tmp_path / out)
        for out in ("one", "two")
    ]
    assert [run.exit_code for run in runs] == [0, 0]
    one, two = (json.loads(run.stdout.splitlines()[-1]) for run in runs)
    assert one == two
    assert (one["load"], one["windows"], one["jobs"]) == (1.1, 2, 120)
    assert one["ratio_low"] <= one["ratio_mean"] <= min(one["ratio_high"], 1)
    assert 0 <= one["bound_looseness"] < 0.2
    assert one["baselines"]["fifo"] < one["ratio_mean"]
    assert one["gains"]["fifo"][0] == pytest.approx(
        one["ratio_mean"] - one["baselines"]["fifo"], abs=2e-4
    )
    assert len(one["digest"]) == 64
    assert one["study"] == "welfare"
    assert one["met"] == (one["figure"] >= 0.96)
    assert one["claims"][0]["figure"] == one["figure"] == one["ratio_mean"]


def test_a_study_runs_on_another_fleet_that_loses_workers(
    files: tuple[Path, Path], tmp_path: Path
) -> None:
    path, _ = files
    offers, losses = tmp_path / "offers.csv", tmp_path / "p3.csv"
    offers.write_text(OFFERS)
    losses.write_text(PREEMPTIONS)
    arguments: list[str | Path] = ["study", "welfare", "--trace", path, "--windows", "2"]
    arguments += [
        "--load",
        "1.1",
        "--offers",
        offers,
        "--gpu",
        "H100 SXM=1.0",
        "--gpu",
        "L4=0.15",
        "--json",
    ]
    arguments += ["--losses", losses, "--out", tmp_path / "out", "--processes", "1"]
    done = flopex(*arguments)
    assert done.exit_code == 0
    line = json.loads(done.stdout.splitlines()[-1])
    assert "fifo_drop" in line["baselines"]
    assert "least_loaded" not in line["baselines"]
    (report,) = (tmp_path / "out").glob("welfare-*/report.html")
    assert "6 comings and goings of a trace" in report.read_text()
    wrong = flopex("study", "welfare", "--trace", path, "--offers", offers)
    assert wrong.exit_code == ExitCode.USAGE


def test_people_get_tables_and_a_report(files: tuple[Path, Path], tmp_path: Path) -> None:
    path, scenario = files
    arguments = ("study", "welfare", "--trace", path, "--scenario", scenario, "--windows", "2")
    done = flopex(*arguments, "--load", "0.5", "--load", "1.3", "--out", tmp_path / "out")
    assert done.exit_code == 0
    assert "fifo" in done.stdout
    assert "load 0.5" in done.stdout
    (report,) = (tmp_path / "out").glob("welfare-*/report.html")
    assert str(report) in done.stdout.replace("\n", "")


def test_a_scenario_file_states_the_load_unless_an_option_does(
    files: tuple[Path, Path], tmp_path: Path
) -> None:
    path, scenario = files
    scenario.write_text("load = 0.7\nseed = 3\nwindows = 2\n" + scenario.read_text())
    arguments: list[str | Path] = ["study", "welfare", "--trace", path, "--scenario", scenario]
    arguments += ["--out", tmp_path / "out", "--processes", "1", "--json"]
    line = json.loads(flopex(*arguments).stdout.splitlines()[-1])
    assert (line["load"], line["loads"], line["seed"], line["windows"]) == (0.7, [0.7], 3, 2)
    line = json.loads(flopex(*arguments, "--load", "0.9").stdout.splitlines()[-1])
    assert (line["load"], line["seed"]) == (0.9, 3)


def test_all_studies_are_listed_with_what_they_claim() -> None:
    listed = json.loads(flopex("study", "list", "--json").stdout)
    assert listed["welfare"]["number"] == "S2"
    assert all(one["hypothesis"] for one in listed.values() if "waiting" not in one)
    assert "audits" in listed["audits"]["waiting"]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["welfare", "--trace", "none.csv"], "No such file"),
        (["welfare", "--trace", "{trace}"], "too few for 20 windows"),
        (["welfare", "--trace", "{trace}", "--scenario", "none.toml"], "none.toml"),
        (["welfare"], "needs a demand trace"),
        (["audits"], "waits for audits"),
        (["nonsense"], "no study"),
    ],
)
def test_what_cannot_be_run_is_said(
    options: list[str], says: str, files: tuple[Path, Path], tmp_path: Path
) -> None:
    # A trace of 120 requests has six for each of 20 windows: one of 30 has one.
    short = files[0].with_name("short.csv")
    short.write_text("\n".join(files[0].read_text().splitlines()[:31]))
    arguments = [option.format(trace=short) for option in options]
    done = flopex("study", *arguments, "--json", "--out", tmp_path, "--processes", "1")
    assert done.exit_code == ExitCode.USAGE
    error = json.loads(done.stderr.splitlines()[-1])["error"]
    assert error["reason"] == "SCENARIO"
    assert says in error["message"]
