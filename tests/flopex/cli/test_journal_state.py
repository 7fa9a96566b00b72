"""`flopex journal snapshot|prune|upgrade|cut`, and what verify, backup and restore make of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from exchange.blobs import BlobStore
from exchange.core.commands import Advance
from exchange.core.exchange import Exchange
from exchange.core.limits import RULES_VERSION
from exchange.engine import Engine, EngineConfig
from exchange.journal import GroupRecord, JournalNotReplayed, LocalLog, SnapshotStore
from exchange.journal.segment import fill_zeros
from exchange.recovery import GENESIS, DigestFile, Published
from exchange.testing import ManualClock
from flopex import backups
from flopex.cli.exits import ExitCode
from flopex.replay import replay_journal
from tests.flopex.cli.test_journal import flopex, groups_of_a_run


def log_of(folder: Path) -> LocalLog:
    """The journal of a data directory."""
    return LocalLog(
        folder / "journal",
        rules_version=RULES_VERSION,
        genesis=GENESIS,
        segment_bytes=8192,
        alignment=512,
    )


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A data directory of two snapshots and a tail."""
    folder = tmp_path / "data"
    BlobStore(folder / "blobs", folder / "master.key").close()
    for end in (12, 24, 36):
        with log_of(folder) as log:
            for commands in groups_of_a_run(end)[log.next_sequence // len(groups_of_a_run(1)[0]) :]:
                payload = b"".join(command.encode() for command in commands)
                log.append(GroupRecord(log.next_sequence, len(commands), 1, payload))
        if end < 36:
            assert flopex("snapshot", folder).exit_code == 0
    return folder


def whole() -> Exchange:
    core = Exchange()
    for commands in groups_of_a_run(36):
        core.apply(commands)
    return core


def test_a_snapshot_says_where_it_is(data: Path) -> None:
    done = json.loads(flopex("snapshot", data, "--json").stdout)
    assert done["sequence"] == 108
    assert done["base_sequence"] == 72
    assert done["digest"] == whole().digest().hex()
    assert Path(done["path"]).exists()
    assert "nothing is newer" in flopex("snapshot", data).stdout
    assert flopex("upgrade", data.parent / "nowhere").exit_code == ExitCode.NOT_FOUND
    missing = flopex("snapshot", data.parent / "nowhere")
    assert missing.exit_code == ExitCode.NOT_FOUND


def test_a_difference_has_a_reason_of_its_own(data: Path) -> None:
    DigestFile(data / "snapshots").publish(Published(108, bytes(32), None))
    done = flopex("snapshot", data, "--json")
    assert done.exit_code == ExitCode.FAILED
    assert "REPLAY_DIFFERS" in done.stderr + done.stdout


def test_prune_keeps_what_starts_need_and_the_rest_still_works(data: Path, tmp_path: Path) -> None:
    before = sorted(path.name for path in (data / "journal").glob("*.log"))
    assert flopex("prune", data).exit_code == ExitCode.USAGE
    planned = json.loads(flopex("prune", data, "--dry-run", "--json").stdout)
    assert not planned["removed"]
    done = json.loads(flopex("prune", data, "--archive", tmp_path / "archive", "--json").stdout)
    assert done["segments"] == planned["segments"] != []
    left = sorted(path.name for path in (data / "journal").glob("*.log"))
    assert left == before[len(done["segments"]) :]
    assert flopex("prune", data, "--keep", "3", "--delete").exit_code == ExitCode.FAILED
    verified = flopex("verify", data, "--replay", "--json")
    assert verified.exit_code == 0, verified.stdout + verified.stderr
    assert json.loads(verified.stdout)["replay"]["digest"] == whole().digest().hex()
    copied = backups.back_up(data, tmp_path / "backup", None)
    assert copied.snapshots == 2
    backups.restore(tmp_path / "backup", tmp_path / "restored", None)
    again = replay_journal(tmp_path / "restored" / "journal", 108)
    assert again.digest == whole().digest()
    for path in SnapshotStore(data / "snapshots").paths():
        path.unlink()
    assert "are missing" in flopex("verify", data).stderr


def test_upgrade_refuses_a_journal_of_the_present_rules(data: Path) -> None:
    done = flopex("upgrade", data)
    assert done.exit_code == ExitCode.FAILED
    assert f"this release has {RULES_VERSION}" in done.stderr


def break_the_core(folder: Path) -> None:
    """Append a group that is whole and holds what is no command: no core gets past it."""
    with log_of(folder) as log:
        log.append(GroupRecord(log.next_sequence, 1, 1, b"no command"))


def test_the_last_group_is_given_up_where_no_core_gets_past_it(data: Path) -> None:
    break_the_core(data)
    contents = {path: path.read_bytes() for path in (data / "journal").glob("*.log")}
    assert flopex("cut", data).exit_code == ExitCode.USAGE
    seen = json.loads(flopex("cut", data, "--dry-run", "--json").stdout)
    assert (seen["first_sequence"], seen["last_sequence"], seen["kept"]) == (109, 109, None)
    assert (seen["commands"], seen["breaks"][:11]) == (None, "RecordError")
    assert {path: path.read_bytes() for path in contents} == contents
    done = json.loads(flopex("cut", data, "--yes", "--json").stdout)
    assert done | {"kept": None} == seen
    kept = Path(done["kept"])
    block = contents[Path(done["segment"])][done["offset"] : done["offset"] + done["size"]]
    assert kept.read_bytes() == block
    assert kept.stat().st_mode & 0o077 == 0
    assert replay_journal(data / "journal").digest == whole().digest()
    # Once more would take what clients were told.
    again = flopex("cut", data, "--yes", "--untried")
    assert again.exit_code == ExitCode.FAILED
    assert "followed it, and was given up: it was applied" in again.stderr
    with log_of(data) as log:
        assert (log.recovered.torn_tail, log.next_sequence) == (None, 109)


def test_a_group_that_can_be_applied_is_not_given_up(data: Path) -> None:
    refused = flopex("cut", data, "--yes")
    assert refused.exit_code == ExitCode.FAILED
    assert "a replay gets past it: start the exchange" in refused.stderr
    DigestFile(data / "snapshots").publish(Published(108, bytes(32), None))
    refused = flopex("cut", data, "--yes", "--untried")
    assert "published digests of sequence 108: it was applied" in refused.stderr
    DigestFile(data / "snapshots").forget()
    assert flopex("snapshot", data).exit_code == 0
    assert "a snapshot is of the state after" in flopex("cut", data, "--yes").stderr
    assert flopex("cut", data.parent / "nowhere", "--yes").exit_code == ExitCode.NOT_FOUND


def test_a_replay_that_does_not_come_to_the_last_group_proves_nothing_of_it(data: Path) -> None:
    break_the_core(data)
    with log_of(data) as log:
        log.append(GroupRecord(log.next_sequence, 1, 1, Advance(1).encode()))
    refused = flopex("cut", data, "--yes")
    assert refused.exit_code == ExitCode.FAILED
    assert "does not even come to it" in refused.stderr


@pytest.mark.parametrize("cut_damaged_tail", [False, True])
def test_a_write_that_was_begun_after_it_protects_it_beyond_starts_that_fail(
    data: Path, cut_damaged_tail: bool
) -> None:
    break_the_core(data)
    last = max((data / "journal").glob("*.log"))
    with log_of(data) as log:
        log.append(GroupRecord(log.next_sequence, 1, 1, b"x" * 600))
    assert last == max((data / "journal").glob("*.log"))
    whole = last.read_bytes().rstrip(b"\0")
    with last.open("r+b") as segment:
        segment.seek(len(whole) - 600)
        segment.write(bytes(600))  # as if the machine had lost power
    config = EngineConfig(
        data / "journal",
        genesis=GENESIS,
        snapshots=data / "snapshots",
        cut_damaged_tail=cut_damaged_tail,
    )
    for _ in range(2):
        with pytest.raises(JournalNotReplayed):
            Engine.open(config, ManualClock())
        refused = flopex("cut", data, "--yes", "--untried")
        assert "a write after it was begun: it was applied" in refused.stderr


def end_replays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    """Let processes that start from now on end where they apply the group from 106 on."""
    (tmp_path / "sitecustomize.py").write_text(
        "import os, signal\n"
        "from exchange.recovery.replay import Replica\n"
        "honest = Replica.apply\n"
        "def apply(replica, first_sequence, records):\n"
        "    if first_sequence == 106:\n"
        f"        {how}\n"
        "    return honest(replica, first_sequence, records)\n"
        "Replica.apply = apply\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))


@pytest.mark.parametrize("how", ["raise MemoryError", "os.kill(os.getpid(), signal.SIGKILL)"])
def test_what_may_have_ended_the_replay_from_outside_proves_nothing(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    end_replays(tmp_path, monkeypatch, how)
    refused = flopex("cut", data, "--yes")
    assert refused.exit_code == ExitCode.FAILED
    assert "but perhaps not by it" in refused.stderr


def test_a_crash_of_the_replay_is_the_groups_own_doing(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    end_replays(tmp_path, monkeypatch, "os.kill(os.getpid(), signal.SIGSEGV)")
    seen = json.loads(flopex("cut", data, "--dry-run", "--json").stdout)
    assert (seen["first_sequence"], seen["breaks"]) == (106, "SIGSEGV")
    assert sum(seen["commands"].values()) == 3


def test_what_cannot_be_read_is_not_taken_for_nothing(data: Path) -> None:
    break_the_core(data)
    (data / "snapshots" / "DIGESTS").unlink(missing_ok=True)
    (data / "snapshots" / "DIGESTS").mkdir()
    refused = flopex("cut", data, "--yes")
    assert refused.exit_code == ExitCode.FAILED
    assert "the last group stays: is a directory" in refused.stderr


def test_bytes_that_cannot_be_kept_are_not_taken_away(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    break_the_core(data)
    before = {path: path.read_bytes() for path in (data / "journal").glob("*.log")}

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device", "the copy")

    with monkeypatch.context() as disk:
        disk.setattr("exchange.recovery.cut.write_all", full)
        refused = flopex("cut", data, "--yes")
    assert refused.exit_code == ExitCode.FAILED
    assert "the last group stays: no space left on device" in refused.stderr
    assert {path: path.read_bytes() for path in before} == before
    assert not [*(data / "journal").glob("*.cut"), *(data / "journal").glob("*.new")]


def test_a_cut_that_was_broken_off_is_said_to_be_one(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    break_the_core(data)
    calls = iter((True, False))

    def once(*arguments: Any) -> None:
        if not next(calls):
            raise OSError(5, "Input/output error")
        fill_zeros(*arguments)

    with monkeypatch.context() as disk:
        disk.setattr("exchange.recovery.cut.fill_zeros", once)
        assert flopex("cut", data, "--yes").exit_code == ExitCode.FAILED
    assert "followed it, and was given up" in flopex("cut", data, "--yes").stderr
    with log_of(data) as log:  # A start takes the rest for a torn tail.
        assert log.next_sequence == 109


def test_a_file_in_the_current_folder_is_not_run(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "decimal.py").write_text("raise SystemExit(1)")
    monkeypatch.chdir(tmp_path)
    assert "a replay gets past it" in flopex("cut", data, "--yes").stderr


def test_a_copy_is_not_written_over_and_a_backup_stays_what_it_says(
    data: Path, tmp_path: Path
) -> None:
    break_the_core(data)
    first = json.loads(flopex("cut", data, "--yes", "--json").stdout)
    with log_of(data) as log:
        log.append(GroupRecord(log.next_sequence, 1, 1, b"in the same epoch"))
    second = json.loads(flopex("cut", data, "--yes", "--json").stdout)
    assert second["first_sequence"] == first["first_sequence"]
    assert second["kept"] != first["kept"]
    assert Path(first["kept"]).exists()
    backups.back_up(data, tmp_path / "backup", None)
    assert "this is a backup" in flopex("cut", tmp_path / "backup", "--yes").stderr


def test_nothing_is_cut_off_beside_an_exchange(data: Path) -> None:
    with log_of(data):
        assert "is in use by process" in flopex("cut", data, "--yes", "--untried").stderr
    done = json.loads(flopex("cut", data, "--yes", "--untried", "--json").stdout)
    assert (done["first_sequence"], done["commands"], done["breaks"]) == (106, None, None)
