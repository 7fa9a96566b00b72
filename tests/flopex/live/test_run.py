"""A live run in miniature: a real exchange of two processes, two workers, sixty jobs in seconds."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from flopex.cli.exits import ExitCode
from tests.flopex.cli.runner import run

SCENARIO = """
accounts = 2
[[classes]]
name = "fast"
workers = 1
slots = 2
speed = 1.0
cost = 0.1
[[classes]]
name = "slow"
workers = 1
slots = 2
speed = 0.5
cost = 0.12
[[urgencies]]
name = "only"
share = 1.0
slack_min_s = 2
slack_max_s = 6
"""


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    folder = tmp_path_factory.mktemp("live")
    rows = [f"{i},{40 + 13 * i % 400},{1 + 7 * i % 90}" for i in range(60)]
    (folder / "trace.csv").write_text(
        "\n".join(["arrival_s,prompt_tokens,output_tokens", *rows]) + "\n"
    )
    (folder / "scenario.toml").write_text(SCENARIO)
    done = run(
        *("sim", "live", "--trace", folder / "trace.csv", "--scenario", folder / "scenario.toml"),
        *("--load", "0.7", "--speed", "15", "--windows", "2", "--data", folder / "exchange"),
        *("--processes", "1", "--json"),
    )
    assert done.exit_code == ExitCode.OK, done.stderr
    found: dict[str, object] = json.loads(done.stdout.splitlines()[-1])
    return found


def test_no_job_is_lost_and_the_ledger_is_zero(result: dict[str, object]) -> None:
    assert (result["jobs"], result["acknowledged"], result["lost"]) == (60, 60, 0)
    assert (result["unanswered"], result["refused"]) == (0, {})
    assert (result["ledger_imbalance_nanos"], result["overspend_nanos"]) == (0, 0)
    assert result["failure"] == ""
    ends = result["ends"]
    assert isinstance(ends, dict)
    assert sum(ends.values()) == 60
    assert ends["settled"] > 0


def test_the_journal_is_that_of_the_live_exchange(result: dict[str, object]) -> None:
    assert result["replay_digest_equal"] is True
    assert isinstance(result["records"], int)
    assert result["records"] > 60 * 4


def test_it_stands_beside_the_simulator(result: dict[str, object]) -> None:
    low, live, simulated = (result[f"ratio_{name}"] for name in ("low", "live", "simulated"))
    assert isinstance(low, float)
    assert isinstance(live, float)
    assert isinstance(simulated, float)
    assert low <= simulated <= 1
    # How near it comes is a measurement: at this speed any pause of the machine is a minute.
    assert 0 <= live <= 1
    # 60 s at 15 times the speed, with as many more slots as that needs.
    assert isinstance(result["seconds"], float)
    assert result["seconds"] > 3.5
    slots = result["slots"]
    assert isinstance(slots, dict)
    assert slots["fast"] == slots["slow"] > 2


@pytest.mark.parametrize(
    ("rows", "says"),
    [(["5,10,10"] * 60, "come at once"), (["0,1,1"], "too few")],
)
def test_what_cannot_be_run_is_said(rows: list[str], says: str, tmp_path: Path) -> None:
    path = tmp_path / "trace.csv"
    path.write_text("\n".join(["arrival_s,prompt_tokens,output_tokens", *rows]) + "\n")
    done = run("sim", "live", "--trace", path, "--windows", "2", "--json")
    assert done.exit_code != ExitCode.OK
    assert says in json.loads(done.stderr.splitlines()[-1])["error"]["message"]
