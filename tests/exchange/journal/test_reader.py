"""Reading along, verifying, backing up and restoring, all without the lock."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from exchange.journal import (
    GroupRecord,
    JournalDamaged,
    JournalFollower,
    JournalNotFound,
    JournalTargetExists,
    JournalVersionMismatch,
    JournalWriteFailed,
    LocalLog,
    backup_journal,
    read_journal,
    restore_journal,
    verify_journal,
)
from exchange.journal.backup import MANIFEST_NAME
from exchange.journal.format import HEAD_BYTES, HEADER_BYTES, encode_block
from exchange.journal.segment import segment_paths
from exchange.journal.simulated import Fault, SimulatedDisk

OpenLog = Callable[..., LocalLog]
Fill = Callable[..., list[GroupRecord]]
FOLDER = Path("journal")


def test_a_follower_sees_each_group_once(tmp_path: Path, open_log: OpenLog, fill: Fill) -> None:
    with open_log(tmp_path) as log:
        follower = JournalFollower(tmp_path)
        assert follower.poll() == []
        for groups in (1, 0, 3, 20):
            written = fill(log, groups)
            assert follower.poll() == written
            assert follower.next_sequence == log.next_sequence
        written = fill(log, 5)
        assert [follower.poll(groups_max=2) for _ in range(4)] == [
            written[:2],
            written[2:4],
            written[4:],
            [],
        ]
        follower.close()


def test_a_follower_may_begin_anywhere(tmp_path: Path, open_log: OpenLog, fill: Fill) -> None:
    with open_log(tmp_path) as log:
        written = fill(log, 20)
        for sequence in (1, 2, written[9].first_sequence, log.next_sequence):
            follower = JournalFollower(tmp_path, from_sequence=sequence)
            assert follower.poll() == [g for g in written if g.next_sequence > sequence]
            follower.close()


def test_a_follower_waits_for_a_group_that_is_half_written(
    open_log: OpenLog, fill: Fill, group: Callable[..., GroupRecord]
) -> None:
    disk = SimulatedDisk()
    with open_log(FOLDER, files=disk) as log:
        (path,) = segment_paths(disk, FOLDER)
        follower = JournalFollower(FOLDER, files=disk)
        coming = group(1, size=900)
        block, _ = encode_block(coming, log.chain_hash, 512)
        file = disk.open(path)
        for size in (0, 3, HEAD_BYTES, 600, 900, 1024):
            file.pwrite(block[:size], HEADER_BYTES)
            assert follower.poll() == ([coming] if size == 1024 else [])


def test_a_follower_names_damage(open_log: OpenLog, fill: Fill) -> None:
    disk = SimulatedDisk()
    with open_log(FOLDER, files=disk) as log:
        fill(log, 3, size=100)
        (path,) = segment_paths(disk, FOLDER)
        disk.content(path)[HEADER_BYTES + 90] ^= 1
        with pytest.raises(JournalDamaged) as caught:
            JournalFollower(FOLDER, files=disk).poll()
        assert caught.value.offset == HEADER_BYTES + HEAD_BYTES


def test_a_follower_moves_to_a_larger_first_segment(
    tmp_path: Path, open_log: OpenLog, group: Callable[..., GroupRecord]
) -> None:
    open_log(tmp_path).close()
    follower = JournalFollower(tmp_path)
    with open_log(tmp_path, segment_bytes=65536) as log:
        log.append(group(1, size=20_000))
        assert follower.poll() == [group(1, size=20_000)]


def test_a_follower_does_not_take_another_journal_for_its_own(
    open_log: OpenLog, fill: Fill
) -> None:
    disk, other = SimulatedDisk(), SimulatedDisk()
    for each, size in ((disk, 3000), (other, 2999)):
        with open_log(FOLDER, files=each) as log:
            fill(log, 1, size=size)
    follower = JournalFollower(FOLDER, files=disk)
    assert len(follower.poll()) == 1
    with open_log(FOLDER, files=disk) as log:
        fill(log, 1, size=3000)
    with open_log(FOLDER, files=other) as log:
        fill(log, 1, size=3000)
    last = segment_paths(disk, FOLDER)[-1]
    disk.content(last)[:] = other.content(last)
    with pytest.raises(JournalDamaged, match="does not continue"):
        follower.poll()


def test_reading_asks_for_the_same_rules(tmp_path: Path, open_log: OpenLog) -> None:
    open_log(tmp_path).close()
    for read in (verify_journal, read_journal, JournalFollower):
        with pytest.raises(JournalVersionMismatch):
            read(tmp_path, rules_version=9)


def test_verifying_changes_nothing_and_counts(
    tmp_path: Path, open_log: OpenLog, fill: Fill
) -> None:
    with open_log(tmp_path) as log:
        written = fill(log, 20)
        before = {path: path.read_bytes() for path in tmp_path.iterdir()}
        stat = verify_journal(tmp_path)
        assert stat.groups == 20
        assert stat.records == sum(group.count for group in written)
        assert (stat.next_sequence, stat.chain_hash) == (log.next_sequence, log.chain_hash)
        assert HEADER_BYTES < stat.used_bytes < sum(map(len, before.values()))
        assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_backup_taken_while_writing_restores(
    tmp_path: Path, open_log: OpenLog, fill: Fill
) -> None:
    with open_log(tmp_path / "journal") as log:
        written = fill(log, 20)
        copied = backup_journal(tmp_path / "journal", tmp_path / "backup")
        assert copied.next_sequence == log.next_sequence
        fill(log, 20)
    restored = restore_journal(tmp_path / "backup", tmp_path / "deep" / "restored")
    assert restored.chain_hash == copied.chain_hash
    with open_log(tmp_path / "deep" / "restored") as log:
        assert list(log.read_from(1)) == written
        written += fill(log, 10)
        assert list(log.read_from(1)) == written


def test_a_backup_leaves_a_torn_tail_behind(open_log: OpenLog, fill: Fill) -> None:
    disk = SimulatedDisk()
    with open_log(FOLDER, files=disk) as log:
        written = fill(log, 3, size=700)
    (path,) = segment_paths(disk, FOLDER)
    disk.content(path)[HEADER_BYTES + 2500 :] = bytes(8192 - HEADER_BYTES - 2500)
    assert verify_journal(FOLDER, files=disk).torn_tail is not None
    backup_journal(FOLDER, Path("backup"), files=disk)
    restore_journal(Path("backup"), Path("restored"), files=disk)
    assert list(read_journal(Path("restored"), files=disk)) == written[:2]
    assert verify_journal(Path("restored"), files=disk).torn_tail is None


def test_copies_never_overwrite(tmp_path: Path, open_log: OpenLog) -> None:
    with open_log(tmp_path / "journal"):
        backup_journal(tmp_path / "journal", tmp_path / "backup")
        with pytest.raises(JournalTargetExists):
            backup_journal(tmp_path / "journal", tmp_path / "backup")
        with pytest.raises(JournalTargetExists):
            restore_journal(tmp_path / "backup", tmp_path / "journal")


def test_a_backup_that_is_not_whole_is_not_restored(
    tmp_path: Path, open_log: OpenLog, fill: Fill
) -> None:
    with open_log(tmp_path / "journal") as log:
        fill(log, 20)
    backup, target = tmp_path / "backup", tmp_path / "target"
    with pytest.raises(JournalNotFound):
        restore_journal(backup, target)
    backup_journal(tmp_path / "journal", backup)
    manifest = backup / MANIFEST_NAME
    good = manifest.read_text()
    for bad in ("{", "[]", "{}", json.dumps({"next_sequence": 1, "chain_hash": "zz"})):
        manifest.write_text(bad)
        with pytest.raises(JournalDamaged, match="manifest cannot be read"):
            restore_journal(backup, target)
    manifest.write_text(good)
    last = sorted(backup.glob("*.log"))[-1]
    content = last.read_bytes()
    last.unlink()
    with pytest.raises(JournalDamaged, match="the copy ends at sequence"):
        restore_journal(backup, target)
    last.write_bytes(content)
    manifest.unlink()
    with pytest.raises(JournalDamaged, match="did not finish"):
        restore_journal(backup, target)
    assert not target.exists()


def test_a_restore_that_was_interrupted_is_no_journal(open_log: OpenLog, fill: Fill) -> None:
    disk = SimulatedDisk()
    with open_log(FOLDER, files=disk) as log:
        fill(log, 20)
    backup_journal(FOLDER, Path("backup"), files=disk)
    at = len(disk.changes)
    restore_journal(Path("backup"), Path("whole"), files=disk)
    changes = len(disk.changes) - at
    for step in range(changes):
        target = Path(f"target{step}")
        disk._faults = {len(disk.changes) + step: Fault(5)}
        with pytest.raises(JournalWriteFailed):
            restore_journal(Path("backup"), target, files=disk)
        # The last change is the sync of the first segment's name: by then all is there.
        if step < changes - 1:
            with pytest.raises((JournalNotFound, JournalDamaged)):
                verify_journal(target, files=disk)
