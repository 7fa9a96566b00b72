"""`flopex replay` on a journal that the test writes: bit for bit, and then under other rules."""

from __future__ import annotations

import json
import shutil
from functools import partial
from pathlib import Path

import pytest

from exchange.core.limits import RULES_VERSION
from exchange.journal import GroupRecord, LocalLog
from exchange.recovery import GENESIS, DigestFile, Published
from flopex.cli.exits import ExitCode
from tests.flopex.cli.runner import run
from tests.sim.records import Recorder, simulated_record

flopex = partial(run, "replay")


@pytest.fixture(scope="module")
def recorder() -> Recorder:
    return simulated_record()


@pytest.fixture(scope="module")
def data(recorder: Recorder, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data directory of an exchange that traded so."""
    folder = tmp_path_factory.mktemp("data")
    with LocalLog(
        folder / "journal", rules_version=RULES_VERSION, genesis=GENESIS, segment_bytes=1 << 20
    ) as log:
        for commands in recorder.groups:
            payload = b"".join(command.encode() for command in commands)
            log.append(GroupRecord(log.next_sequence, len(commands), 1, payload))
    return folder


def test_a_journal_is_replayed_bit_for_bit(data: Path, recorder: Recorder) -> None:
    told = json.loads(flopex(data, "--json").stdout)
    assert told["digest"] == recorder.core.digest().hex()
    assert told["records"] == told["sequence"] == recorder.core.sequence
    assert told["records_per_s"] > 0
    assert (told["digests_compared"], told["imbalance_nanos"]) == (0, 0)
    shown = flopex("--data", data).stdout
    assert "nothing was recorded to compare it with" in shown


def test_the_digest_is_held_against_what_was_recorded(
    data: Path, recorder: Recorder, tmp_path: Path
) -> None:
    data = Path(shutil.copytree(data, tmp_path / "copy"))
    assert run("journal", "snapshot", data).exit_code == 0
    assert json.loads(flopex(data, "--json").stdout)["digests_compared"] == 1
    assert "equal to all 1" in flopex(data / "journal").stdout
    digests = DigestFile(data / "snapshots")
    digests.publish(Published(recorder.core.sequence, bytes(32), None))
    done = flopex(data, "--json")
    assert done.exit_code == ExitCode.FAILED
    assert json.loads(done.stderr)["error"]["reason"] == "REPLAY_DIFFERS"


def test_what_if_shows_three_markets_and_the_change(data: Path) -> None:
    told = json.loads(flopex(data, "--set", "workers=1", "--set", "k_ms=500", "--json").stdout)
    assert told["set"] == ["workers=1", "k_ms=500"]
    assert told["simulated"] == told["recorded"]  # its workers did what played ones do
    assert told["what_if"]["settled"] < told["simulated"]["settled"]
    assert (
        told["change"]["settled"] == told["what_if"]["settled"] - told["simulated"]["settled"] < 0
    )
    shown = flopex(data, "--set", "workers=1").stdout
    for words in ("jobs submitted", "value less first-slot asks", "mean price", "simulated/fast"):
        assert words in shown


@pytest.mark.parametrize("change", ["fee=1", "tick=1000000001", "workers=0"])
def test_what_cannot_be_set_is_said(change: str, data: Path) -> None:
    done = flopex(data, "--set", change, "--json")
    error = json.loads(done.stderr)["error"]
    assert (done.exit_code, error["reason"]) == (ExitCode.USAGE, "SETTING")


def test_a_folder_without_a_journal_is_said(tmp_path: Path) -> None:
    assert flopex(tmp_path / "nowhere").exit_code == ExitCode.NOT_FOUND
