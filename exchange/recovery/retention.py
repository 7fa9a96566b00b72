"""Removing the beginning of a journal: what no start needs any more, when the operator says so.

Nothing is removed by itself. What may go are whole segments that lie before the oldest of the
newest snapshots that are kept as starting points, each of which was read whole and stands in this
journal. The last segment always stays.
"""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Final, NamedTuple

from exchange.journal import (
    JournalDamaged,
    JournalStartMismatch,
    JournalTargetExists,
    JournalWalk,
    Position,
    SnapshotDamaged,
    SnapshotStore,
)
from exchange.journal.files import OsFileSystem
from exchange.journal.segment import segment_paths
from exchange.journal.walk import paths_from
from exchange.recovery.copies import copy_file, file_digest
from exchange.recovery.start import mismatch

STARTS_MIN: Final = 2
"""Snapshots that must stay usable: the newest may turn out damaged."""


class PruneRefused(Exception):
    """Nothing may go; the message says why."""


class Pruned(NamedTuple):
    """What went, or would go.

    Attributes:
        segments: The files, oldest first.
        size: Their bytes.
        first_sequence: Of the journal that is left.
        oldest_start: Sequence of the oldest snapshot that a start can still use.
    """

    segments: tuple[Path, ...]
    size: int
    first_sequence: int
    oldest_start: int


def prune(
    journal: Path,
    snapshots: Path,
    genesis: bytes,
    *,
    keep: int,
    archive: Path | None,
    dry_run: bool = False,
) -> Pruned:
    """Remove segments from the beginning, oldest first; the exchange may be running.

    Args:
        journal: The journal's folder.
        snapshots: The snapshots' folder.
        genesis: What the exchange started from.
        keep: How many good snapshots stay usable, counted from the newest.
        archive: Where each segment is copied to, and read back, before it goes; None: nowhere.
        dry_run: Only say what would go.

    Raises:
        PruneRefused: there are not so many good snapshots, or `keep` is below STARTS_MIN.
        SnapshotsBusy: a follower is at work.
        JournalTargetExists: the archive has another file of that name.
        JournalError: the journal cannot be read.
        OSError: a file cannot be copied or removed.
    """
    if keep < STARTS_MIN:
        raise PruneRefused(f"{keep} snapshots are below {STARTS_MIN}: one may turn out damaged")
    store = SnapshotStore(snapshots)
    held = store.lock()
    try:
        start = _oldest_start(journal, store, genesis, keep)
        paths = segment_paths(OsFileSystem(), journal)
        left = paths_from(paths, start + 1)
        going = paths[: -len(left)]
        size = sum(path.stat().st_size for path in going)
        if not dry_run:
            for path in going:
                _remove(path, archive)
        return Pruned(tuple(going), size, int(left[0].stem), start)
    finally:
        held.close()


def _oldest_start(journal: Path, store: SnapshotStore, genesis: bytes, keep: int) -> int:
    """The sequence of the last snapshot that must stay usable."""
    good = 0
    for path in store.paths():
        try:
            snapshot = store.read(path)
            if mismatch(snapshot, genesis):
                continue
            _come_by(journal, genesis, snapshot.head.position)
        except (SnapshotDamaged, JournalDamaged, JournalStartMismatch):
            continue
        good += 1
        if good == keep:
            return snapshot.head.sequence
    raise PruneRefused(
        f"{good} good snapshots of this journal are in {store.directory}, {keep} are needed: take "
        "more (flopex journal snapshot)"
    )


def _come_by(journal: Path, genesis: bytes, position: Position) -> None:
    """Raise unless the journal comes by this place; reads no more than one segment."""
    walk = JournalWalk(OsFileSystem(), journal, genesis=genesis, anchor=position)
    with contextlib.closing(walk.groups()) as groups:
        next(groups, None)


def _remove(path: Path, archive: Path | None) -> None:
    """Take a segment away, durably; a crash leaves it where it was, or a copy of it, or both."""
    disk = OsFileSystem()
    if archive is not None:
        disk.make_directory(archive)
        target = archive / path.name
        if target.exists() and file_digest(target) != file_digest(path):
            raise JournalTargetExists(target)
        copy_file(path, target)
    path.unlink()
    disk.sync_directory(path.parent)
