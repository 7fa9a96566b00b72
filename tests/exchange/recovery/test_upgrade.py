"""A journal goes on under other rules from its last state under the old ones, in one chain."""

from __future__ import annotations

import contextlib
import shutil
from hashlib import sha256
from pathlib import Path
from typing import Any

import msgspec
import pytest

from exchange.core.limits import RULES_VERSION
from exchange.journal import (
    GroupRecord,
    JournalLocked,
    JournalVersionMismatch,
    LocalLog,
    SnapshotsBusy,
    SnapshotStore,
    rules_since,
    verify_journal,
)
from exchange.journal.segment import UNFINISHED_NAME
from exchange.recovery import DigestFile, UpgradeRefused, follow, upgrade
from tests.exchange.recovery.journals import (
    GENESIS,
    OLDER,
    SEGMENT_BYTES,
    groups,
    replayed,
    write,
)
from tests.exchange.recovery.test_start import start

OLD = RULES_VERSION - 1
SAME = {OLD: lambda tree: tree}


def old_log(folder: Path) -> LocalLog:
    return LocalLog(
        folder / "journal", rules_version=OLD, genesis=GENESIS, segment_bytes=SEGMENT_BYTES
    )


def old_exchange(folder: Path, seed: int, *, snapshot: bool = True) -> tuple[GroupRecord, ...]:
    """A data directory of the release before: its journal, and the last snapshot that it took."""
    found = groups(seed)[:30]
    write(folder / "now" / "journal", found)
    taken = follow(folder / "now" / "journal", folder / "now" / "snapshots", GENESIS)
    with old_log(folder) as log:
        for group in found:
            log.append(group)
    assert taken.path is not None
    if snapshot:
        head, state = SnapshotStore(folder / "now" / "snapshots").read(taken.path)
        tree = msgspec.msgpack.decode(state)
        tree[0] = OLD
        old = msgspec.msgpack.encode(tree)
        (folder / "snapshots").mkdir()
        position = head.position._replace(chain_hash=verify_journal(folder / "journal").chain_hash)
        digest = sha256(old).digest()
        SnapshotStore(folder / "snapshots").write(
            head._replace(rules_version=OLD, position=position, digest=digest, size=len(old)), old
        )
    return found


def go_on(folder: Path, converters: Any = None) -> Any:
    return upgrade(folder / "journal", folder / "snapshots", GENESIS, converters or SAME)


def test_a_start_refuses_other_rules_and_says_the_way(tmp_path: Path) -> None:
    old_exchange(tmp_path, 1)
    with pytest.raises(JournalVersionMismatch, match="flopex journal upgrade"):
        start(tmp_path)


def test_the_state_goes_over_and_the_chain_goes_on(tmp_path: Path) -> None:
    found = old_exchange(tmp_path, 2)
    before = verify_journal(tmp_path / "journal")
    (old,) = SnapshotStore(tmp_path / "snapshots").paths()
    content = old.read_bytes()
    done = go_on(tmp_path)
    assert old.with_suffix(f".rules-{OLD}").read_bytes() == content, "there is a way back"
    assert (done.from_rules, done.to_rules) == (OLD, RULES_VERSION)
    assert done.sequence == found[-1].next_sequence - 1
    started = start(tmp_path)
    assert started.replica.core.dump() == replayed(found).core.dump()
    with LocalLog(
        tmp_path / "journal",
        rules_version=RULES_VERSION,
        genesis=GENESIS,
        start=SnapshotStore(tmp_path / "snapshots").read_head(started.snapshot or Path()).position,
    ) as log:
        for group in groups(2)[30:40]:
            log.append(group)
    assert start(tmp_path).replica.core.dump() == replayed(groups(2)[:40]).core.dump()
    after = verify_journal(tmp_path / "journal")
    rules = [segment.rules_version for segment in after.segments]
    assert rules == sorted(rules)
    assert set(rules) == {OLD, RULES_VERSION}
    assert after.genesis == before.genesis
    # The next snapshots begin with the one that was taken over.
    taken = follow(tmp_path / "journal", tmp_path / "snapshots", GENESIS)
    assert taken.base_sequence == done.sequence
    assert taken.digest == replayed(groups(2)[:40]).core.digest()


def test_a_converter_makes_what_has_changed(tmp_path: Path) -> None:
    found = old_exchange(tmp_path, 3)

    def longer_grace(tree: list[Any]) -> list[Any]:
        return [*tree[:4], tree[4] + 7, *tree[5:]]

    go_on(tmp_path, {OLD: longer_grace})
    core = start(tmp_path).replica.core
    assert core.grace_until_ns == replayed(found).core.grace_until_ns + 7


def test_it_can_be_run_again_after_a_crash_in_between(tmp_path: Path) -> None:
    found = old_exchange(tmp_path, 4)
    done = go_on(tmp_path)
    done.segment.unlink()
    (tmp_path / "journal" / UNFINISHED_NAME).write_bytes(b"half")
    assert go_on(tmp_path, {99: SAME[OLD]}) == done  # the state was taken over already
    assert start(tmp_path).replica.core.dump() == replayed(found).core.dump()
    with pytest.raises(UpgradeRefused, match="and this release has"):
        go_on(tmp_path)


def test_without_a_snapshot_of_the_very_end_nothing_happens(tmp_path: Path) -> None:
    old_exchange(tmp_path, 5, snapshot=False)
    files = sorted(path.name for path in (tmp_path / "journal").iterdir())
    with pytest.raises(UpgradeRefused, match="no good snapshot of the journal's end"):
        go_on(tmp_path)
    assert sorted(path.name for path in (tmp_path / "journal").iterdir()) == files


def test_what_cannot_be_taken_over_is_refused(tmp_path: Path) -> None:
    old_exchange(tmp_path, 6)
    with pytest.raises(UpgradeRefused, match=f"a state of rules {OLD}"):
        go_on(tmp_path, {99: SAME[OLD]})
    with pytest.raises(UpgradeRefused, match="does not fit the new rules"):
        go_on(tmp_path, {OLD: lambda tree: tree[:-1]})
    with old_log(tmp_path), pytest.raises(JournalLocked):
        go_on(tmp_path)
    held = SnapshotStore(tmp_path / "snapshots").lock()
    with contextlib.closing(held), pytest.raises(SnapshotsBusy):
        go_on(tmp_path)
    with old_log(tmp_path) as log:
        log.append(groups(6)[30])
    with pytest.raises(UpgradeRefused, match="no good snapshot of the journal's end"):
        go_on(tmp_path)


@pytest.mark.parametrize("rules", OLDER)
def test_what_a_release_before_left_goes_over(tmp_path: Path, rules: int) -> None:
    """Under rules 3 outcomes had another digest, which the upgraded snapshot goes on from."""
    folder = tmp_path / "data"
    shutil.copytree(OLDER[rules], folder)
    (last,) = SnapshotStore(folder / "snapshots").paths()
    before = SnapshotStore(folder / "snapshots").read_head(last)
    (published,) = DigestFile(folder / "snapshots").read()
    assert published == (before.sequence, before.outcomes, before.digest)
    assert rules_since(folder / "journal", RULES_VERSION) is None
    done = upgrade(folder / "journal", folder / "snapshots", GENESIS)
    assert (done.from_rules, done.to_rules) == (rules, RULES_VERSION)
    started = start(folder)
    assert started.replica.core.dump() == replayed(groups(101, 300)).core.dump()
    assert started.replica.outcomes == before.outcomes
    assert rules_since(folder / "journal", RULES_VERSION) == done.sequence + 1
    taken = follow(folder / "journal", folder / "snapshots", GENESIS)
    assert (taken.path, taken.base_sequence, taken.compared) == (None, done.sequence, 0)
