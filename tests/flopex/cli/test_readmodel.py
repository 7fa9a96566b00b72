"""`flopex readmodel`: where there is a read model, where there is none, and where none can be."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from exchange.core.limits import RULES_VERSION
from exchange.journal import GroupRecord, LocalLog
from exchange.readmodel.candles import WIDTHS_S
from exchange.recovery import GENESIS
from flopex.cli import market_history
from flopex.cli.exits import ExitCode
from tests.flopex.cli.runner import run
from tests.flopex.cli.test_journal import groups_of_a_run

GROUPS = 5


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A data directory with a journal and no read model."""
    with LocalLog(tmp_path / "journal", rules_version=RULES_VERSION, genesis=GENESIS) as log:
        for commands in groups_of_a_run(GROUPS):
            payload = b"".join(command.encode() for command in commands)
            log.append(GroupRecord(log.next_sequence, len(commands), 1, payload))
    return tmp_path


def reason(done: Any) -> str:
    found: str = json.loads(done.stderr.splitlines()[-1])["error"]["reason"]
    return found


@pytest.mark.parametrize("name", ["status", "check", "rebuild"])
def test_a_folder_without_a_journal_is_named(name: str, tmp_path: Path) -> None:
    done = run("readmodel", name, "--data", tmp_path, "--json")
    assert (done.exit_code, reason(done)) == (ExitCode.NOT_FOUND, "NO_JOURNAL")
    assert list(tmp_path.iterdir()) == []


def test_it_is_missing_then_made_then_equal(data: Path) -> None:
    for name in ("status", "check"):
        missing = run("readmodel", name, "--data", data, "--json")
        assert (missing.exit_code, reason(missing)) == (ExitCode.NOT_FOUND, "NO_READ_MODEL")
    made = json.loads(run("readmodel", "rebuild", "--data", data, "--json").stdout)
    assert (made["sequence"], made["by"]) == (3 * GROUPS, "this command")
    status = json.loads(run("readmodel", "status", "--data", data, "--json").stdout)
    assert (status["sequence"], status["lag"]) == (3 * GROUPS, 0)
    assert status["rows"]["accounts"] > GROUPS
    shown = run("readmodel", "status", "--data", data).stdout.splitlines()
    assert shown[2].split() == ["as", "of", "1970-01-01", shown[2].split()[-1]]
    check = json.loads(run("readmodel", "check", "--data", data, "--json").stdout)
    assert (check["equal"], check["compared"]["accounts"]) == (True, status["rows"]["accounts"])


def refuse_before_anything_is_made(folder: Path, *arguments: str) -> None:
    """Assert that a command is wrong usage, and leaves its data folder unmade."""
    done = run(*arguments, "--data", folder, "--json")
    assert (done.exit_code, reason(done)) == (ExitCode.USAGE, "USAGE")
    assert not folder.exists()


@pytest.mark.parametrize("command", ["serve", "readmodel status"])
def test_a_url_of_nothing_known_is_refused_before_anything_is_made(
    command: str, tmp_path: Path
) -> None:
    arguments = (*command.split(), "--read-model", "mysql://db")
    refuse_before_anything_is_made(tmp_path / "new", *arguments)


@pytest.mark.parametrize(
    "options",
    [
        ("--traces", "collector"),
        ("--traces", "ftp://collector/v1/traces"),
        ("--traces", "console", "--read-model", "off"),
    ],
)
def test_traces_that_could_go_nowhere_are_refused_before_anything_is_made(
    options: tuple[str, ...], tmp_path: Path
) -> None:
    refuse_before_anything_is_made(tmp_path / "new", "serve", *options)


@pytest.mark.parametrize(
    "options",
    [
        ("--address", "nope"),
        ("--address", ":1"),
        ("--http", "127.0.0.1:99999"),
        ("--http", "http://a:1"),
    ],
)
def test_an_address_that_is_none_is_refused_before_anything_is_made(
    options: tuple[str, ...], tmp_path: Path
) -> None:
    refuse_before_anything_is_made(tmp_path / "new", "serve", *options)


@pytest.mark.parametrize("value", ["ada", "ada=", "ada=much", "ada=$0", "=$1"])
def test_a_default_value_that_is_none_is_refused_before_anything_is_made(
    value: str, tmp_path: Path
) -> None:
    refuse_before_anything_is_made(tmp_path / "new", "serve", "--default-value", value)


def test_candles_are_asked_for_by_the_widths_that_there_are() -> None:
    assert tuple(market_history.WIDTHS_S.values()) == WIDTHS_S
