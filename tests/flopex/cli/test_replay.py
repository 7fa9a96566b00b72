"""`flopex replay` on a journal that the test writes: bit for bit, and then under other rules."""

from __future__ import annotations

import json
import shutil
from functools import partial
from pathlib import Path

import pytest

from exchange.core.limits import RULES_VERSION
from exchange.journal import (
    GroupRecord,
    JournalVersionMismatch,
    LocalLog,
    SnapshotStore,
    read_journal,
)
from exchange.recovery import GENESIS, DigestFile, Published, follow
from flopex.cli.exits import ExitCode
from flopex.replay import replay_journal
from tests.exchange.recovery import journals
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


def test_behind_an_upgrade_it_begins_with_the_snapshot_there(tmp_path: Path) -> None:
    data = tmp_path / "data"
    journal, at = data / "journal", journals.upgraded(data)
    nothing = replay_journal(journal)
    assert (nothing.from_sequence, nothing.sequence, nothing.records) == (at + 1, at, 0)
    whole = journals.go_on(data, 5)
    follow(journal, data / "snapshots", journals.GENESIS)
    told = json.loads(flopex(data, "--json").stdout)
    assert (told["from_sequence"], told["sequence"]) == (at + 1, at + 5)
    assert (told["digest"], told["digests_compared"]) == (whole.core.digest().hex(), 1)
    assert f"5 records from sequence {at + 1} on" in flopex(data).stdout
    assert (
        f"5 commands from sequence {at + 1} on" in run("journal", "verify", data, "--replay").stdout
    )
    refused = json.loads(flopex(data, "--set", "workers=1", "--json").stderr)
    assert refused["error"]["reason"] == "PRUNED"
    for path in SnapshotStore(data / "snapshots").paths():
        path.unlink()
    with pytest.raises(JournalVersionMismatch):
        replay_journal(journal)


def test_behind_an_upgrade_commands_are_read(tmp_path: Path) -> None:
    journal, at = tmp_path / "data" / "journal", journals.upgraded(tmp_path / "data")
    journals.go_on(tmp_path / "data", 2)
    found = read_journal(journal, from_sequence=at + 1, rules_version=RULES_VERSION)
    assert [group.first_sequence for group in found] == [at + 1, at + 2]
    with pytest.raises(JournalVersionMismatch):
        next(read_journal(journal, from_sequence=at, rules_version=RULES_VERSION))
