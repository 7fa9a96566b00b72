"""Snapshots by replay: of the right place, equal to a whole one, never of a doubtful state."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from exchange.core.limits import RULES_VERSION
from exchange.core.snapshot import load
from exchange.journal import (
    JournalNotFound,
    JournalVersionMismatch,
    LocalLog,
    SnapshotsBusy,
    SnapshotStore,
)
from exchange.recovery import Differs, DigestFile, Published, follow
from tests.exchange.recovery.journals import GENESIS, groups, open_log, replayed, write


def test_a_snapshot_is_what_a_whole_replay_comes_to(tmp_path: Path) -> None:
    found = groups(1)
    write(tmp_path / "journal", found)
    taken = follow(tmp_path / "journal", tmp_path / "snapshots", GENESIS)
    whole = replayed(found)
    assert taken.path is not None
    snapshot = SnapshotStore(tmp_path / "snapshots").read(taken.path)
    assert snapshot.head.digest == taken.digest == whole.core.digest()
    assert snapshot.head.outcomes == whole.outcomes
    assert snapshot.head.sequence == taken.sequence == whole.core.sequence
    assert load(snapshot.state).dump() == whole.core.dump()
    assert (taken.base_sequence, taken.refused) == (0, ())


def test_the_next_one_begins_with_the_last(tmp_path: Path) -> None:
    found = groups(2)
    write(tmp_path / "journal", found[:30])
    first = follow(tmp_path / "journal", tmp_path / "snapshots", GENESIS)
    nothing_new = follow(tmp_path / "journal", tmp_path / "snapshots", GENESIS)
    assert (nothing_new.path, nothing_new.sequence) == (None, first.sequence)
    assert nothing_new.digest == first.digest
    write(tmp_path / "journal", found)
    second = follow(tmp_path / "journal", tmp_path / "snapshots", GENESIS)
    assert second.base_sequence == first.sequence == found[29].next_sequence - 1
    assert second.digest == replayed(found).core.digest()


def test_only_the_newest_are_kept(tmp_path: Path) -> None:
    found, sequences = groups(3), []
    for end in (10, 20, 30, 40):
        write(tmp_path / "journal", found[:end])
        taken = follow(tmp_path / "journal", tmp_path / "snapshots", GENESIS, keep=2)
        sequences.append(taken.sequence)
    paths = SnapshotStore(tmp_path / "snapshots").paths()
    assert [int(path.stem) for path in paths] == sequences[:1:-1]
    with pytest.raises(ValueError, match="below 2"):
        follow(tmp_path / "journal", tmp_path / "snapshots", GENESIS, keep=1)


def test_beside_a_live_engine_the_last_group_waits(tmp_path: Path) -> None:
    """It may not be durable yet, and a snapshot must never be ahead of its journal."""
    found = groups(4)
    write(tmp_path / "journal", found[:20])
    with open_log(tmp_path / "journal"):
        taken = follow(tmp_path / "journal", tmp_path / "snapshots", GENESIS)
    assert taken.sequence == found[19].first_sequence - 1
    assert follow(tmp_path / "journal", tmp_path / "snapshots", GENESIS).sequence == (
        found[19].next_sequence - 1
    )


def test_the_engine_names_the_place(tmp_path: Path) -> None:
    found = groups(5)
    write(tmp_path / "journal", found)
    there = replayed(found[:25])
    live = Published(there.core.sequence, there.outcomes, there.core.digest())
    with open_log(tmp_path / "journal"):
        taken = follow(tmp_path / "journal", tmp_path / "snapshots", GENESIS, live=live)
    assert (taken.sequence, taken.digest) == (there.core.sequence, there.core.digest())
    assert taken.compared == 1


@pytest.mark.parametrize("what", ["outcomes", "state"])
def test_an_engine_that_did_something_else_is_found(tmp_path: Path, what: str) -> None:
    found = groups(6)
    write(tmp_path / "journal", found)
    there = replayed(found[:25])
    outcomes, state = there.outcomes, there.core.digest()
    wrong = bytes([outcomes[0] ^ 1]) + outcomes[1:]
    live = Published(
        there.core.sequence,
        wrong if what == "outcomes" else outcomes,
        bytes(32) if what == "state" else state,
    )
    with pytest.raises(Differs, match=what) as caught:
        follow(tmp_path / "journal", tmp_path / "snapshots", GENESIS, live=live)
    assert caught.value.sequence == there.core.sequence
    assert SnapshotStore(tmp_path / "snapshots").paths() == []


def test_what_was_published_on_the_way_is_compared_too(tmp_path: Path) -> None:
    found = groups(7)
    write(tmp_path / "journal", found)
    digests = DigestFile(tmp_path / "snapshots")
    for end in (10, 20):
        there = replayed(found[:end])
        digests.publish(Published(there.core.sequence, there.outcomes, None))
    assert follow(tmp_path / "journal", tmp_path / "snapshots", GENESIS).compared == 2
    shutil.rmtree(tmp_path / "snapshots")
    digests.publish(Published(found[4].next_sequence - 1, bytes(32), None))
    with pytest.raises(Differs):
        follow(tmp_path / "journal", tmp_path / "snapshots", GENESIS)


def test_a_digest_that_was_cut_short_is_passed_over(tmp_path: Path) -> None:
    digests = DigestFile(tmp_path)
    line = Published(7, bytes(range(32)), None)
    digests.publish(line)
    digests.publish(Published(9, bytes(32), bytes(32)))
    text = (tmp_path / "DIGESTS").read_text()
    for cut in range(len(text)):
        (tmp_path / "DIGESTS").write_text(text[:cut])
        assert digests.read() in ([], [line], [line, Published(9, bytes(32), bytes(32))])
    digests.forget()
    assert digests.read() == []


def test_one_at_a_time(tmp_path: Path) -> None:
    write(tmp_path / "journal", groups(1)[:3])
    held = SnapshotStore(tmp_path / "snapshots").lock()
    with pytest.raises(SnapshotsBusy):
        follow(tmp_path / "journal", tmp_path / "snapshots", GENESIS)
    held.close()


def test_no_journal_and_other_rules(tmp_path: Path) -> None:
    with pytest.raises(JournalNotFound):
        follow(tmp_path / "journal", tmp_path / "snapshots", GENESIS)
    other = LocalLog(tmp_path / "journal", rules_version=RULES_VERSION + 1, genesis=GENESIS)
    other.close()
    with pytest.raises(JournalVersionMismatch):
        follow(tmp_path / "journal", tmp_path / "snapshots", GENESIS)
    assert SnapshotStore(tmp_path / "snapshots").paths() == []
