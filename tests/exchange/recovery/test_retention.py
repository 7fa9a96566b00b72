"""The beginning of a journal goes only where snapshots stand in for it, and only on request."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from exchange.journal import (
    JournalDamaged,
    JournalTargetExists,
    SnapshotsBusy,
    SnapshotStore,
    verify_journal,
)
from exchange.recovery import Pruned, PruneRefused, follow, prune
from tests.exchange.recovery.journals import GENESIS, groups, replayed, write
from tests.exchange.recovery.test_start import journal_with_snapshots, start


def segments(folder: Path) -> list[Path]:
    return sorted((folder / "journal").glob("*.log"))


def cut(folder: Path, **options: Any) -> Pruned:
    settings: dict[str, Any] = {"keep": 2, "archive": None, **options}
    return prune(folder / "journal", folder / "snapshots", GENESIS, **settings)


def test_what_is_left_starts_from_either_snapshot(tmp_path: Path) -> None:
    newest, older, _ = journal_with_snapshots(tmp_path, 1, 15, 30, 45)
    before = segments(tmp_path)
    planned = cut(tmp_path, dry_run=True)
    assert segments(tmp_path) == before
    pruned = cut(tmp_path, archive=tmp_path / "archive")
    assert pruned == planned
    assert pruned.segments
    assert segments(tmp_path) == before[len(pruned.segments) :]
    assert pruned.oldest_start == int(older.stem)
    # No more than needed, and no less: the first that is left holds what follows the older one.
    assert int(segments(tmp_path)[0].stem) <= int(older.stem) + 1 < int(segments(tmp_path)[1].stem)
    whole = replayed(groups(1)).core.dump()
    assert start(tmp_path).replica.core.dump() == whole
    newest.unlink()
    assert start(tmp_path).replica.core.dump() == whole
    with pytest.raises(PruneRefused, match="1 good snapshots"):  # the third lost its segments
        cut(tmp_path)


def test_an_archive_makes_the_journal_whole_again(tmp_path: Path) -> None:
    journal_with_snapshots(tmp_path, 2, 20, 40)
    chain = verify_journal(tmp_path / "journal").chain_hash
    contents = {path.name: path.read_bytes() for path in segments(tmp_path)}
    cut(tmp_path, archive=tmp_path / "archive")
    archived = sorted((tmp_path / "archive").glob("*"))
    assert archived
    assert all(path.read_bytes() == contents[path.name] for path in archived)
    with pytest.raises(JournalDamaged, match="are missing"):
        verify_journal(tmp_path / "journal")
    assert verify_journal(tmp_path / "journal", beginning_kept=False).chain_hash == chain
    for path in archived:
        path.rename(tmp_path / "journal" / path.name)
    assert verify_journal(tmp_path / "journal").chain_hash == chain


def test_the_tail_never_goes(tmp_path: Path) -> None:
    found = groups(3)
    for end in (len(found) - 1, len(found)):
        write(tmp_path / "journal", found[:end])
        follow(tmp_path / "journal", tmp_path / "snapshots", GENESIS)
    cut(tmp_path)
    assert len(segments(tmp_path)) == 1
    assert start(tmp_path).replica.core.dump() == replayed(found).core.dump()


def test_without_two_good_snapshots_nothing_goes(tmp_path: Path) -> None:
    newest, older = journal_with_snapshots(tmp_path, 4, 20, 40)
    before = segments(tmp_path)
    with pytest.raises(PruneRefused, match="2 good snapshots"):
        cut(tmp_path, keep=3)
    with pytest.raises(PruneRefused, match="below 2"):
        cut(tmp_path, keep=1)
    older.write_bytes(older.read_bytes()[:-1])
    with pytest.raises(PruneRefused, match="1 good snapshots"):
        cut(tmp_path)
    store = SnapshotStore(tmp_path / "snapshots")
    head, state = store.read(newest)
    store.write(head._replace(position=head.position._replace(chain_hash=bytes(32))), bytes(state))
    with pytest.raises(PruneRefused, match="0 good snapshots"):
        cut(tmp_path)
    assert segments(tmp_path) == before


def test_an_archive_is_never_overwritten(tmp_path: Path) -> None:
    journal_with_snapshots(tmp_path, 5, 20, 40)
    before = segments(tmp_path)
    (tmp_path / "archive").mkdir()
    (tmp_path / "archive" / before[0].name).write_bytes(b"another")
    with pytest.raises(JournalTargetExists):
        cut(tmp_path, archive=tmp_path / "archive")
    assert segments(tmp_path) == before
    (tmp_path / "archive" / before[0].name).write_bytes(before[0].read_bytes())
    cut(tmp_path, archive=tmp_path / "archive")  # as after a crash between copy and removal
    assert not before[0].exists()


def test_not_while_a_follower_is_at_work(tmp_path: Path) -> None:
    journal_with_snapshots(tmp_path, 6, 20, 40)
    held = SnapshotStore(tmp_path / "snapshots").lock()
    with pytest.raises(SnapshotsBusy):
        cut(tmp_path)
    held.close()
