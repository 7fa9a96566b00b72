"""Giving up the last group of a journal, where no start gets past it.

A group is on the disk before it is applied (docs/adr/0046). Where applying it raises an error, the
engine takes it back. Where it ends the process there and then, every start meets it again, and ends
there too. Nobody was told of such a group: answers follow only once it is applied.
"""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Final, NamedTuple

from exchange.journal import (
    GroupRecord,
    JournalLocked,
    JournalNotFound,
    JournalStat,
    JournalWriteFailed,
    SnapshotDamaged,
    SnapshotStore,
    has_journal,
    verify_journal,
)
from exchange.journal.files import LockHeld, OsFileSystem, write_all
from exchange.journal.format import HEAD_BYTES
from exchange.journal.log import LOCK_NAME
from exchange.journal.segment import SegmentScan, fill_zeros, read_header
from exchange.recovery.digests import DigestFile

KEPT_SUFFIX: Final = ".cut"


class CutRefused(Exception):
    """The journal stays as it is; the message says why."""


class Cut(NamedTuple):
    """The last group of a journal.

    Attributes:
        group: What it holds.
        segment: Where it lay,
        offset: from here on, in bytes,
        size: in bytes, framed.
        kept: The file with these bytes.
    """

    group: GroupRecord
    segment: Path
    offset: int
    size: int
    kept: Path


def last_group(journal: Path, snapshots: Path, genesis: bytes) -> Cut:
    """The group that `cut` would take away.

    Args:
        journal: The journal's folder.
        snapshots: The snapshots' folder.
        genesis: What the exchange started from.

    Raises:
        CutRefused: there is none, or it is known that it was applied: a state after it is stored,
            the engine has published digests of it, or a group followed it.
        JournalNotFound: the folder has no journal.
        JournalError: the journal cannot be read, or is damaged.
    """
    if not has_journal(journal):
        raise JournalNotFound(journal)
    stat = verify_journal(journal, genesis=genesis, beginning_kept=False)
    found = _last(stat)
    if _kept(journal, stat.next_sequence).exists():
        raise CutRefused(
            f"the group from {stat.next_sequence} on followed it, and was given up: it was applied"
        )
    last = found.group.next_sequence - 1
    if _newest_state(snapshots) >= last:
        raise CutRefused(f"a snapshot holds the state after sequence {last}: it was applied")
    if any(line.sequence >= last for line in DigestFile(snapshots).read()):
        raise CutRefused(f"the exchange has published digests of sequence {last}: it was applied")
    return found


def cut(journal: Path, snapshots: Path, genesis: bytes) -> Cut:
    """Take the last group away, durably; its bytes are kept in a file beside the segments.

    Args:
        journal: The journal's folder; no exchange may have it open.
        snapshots: The snapshots' folder.
        genesis: What the exchange started from.

    Raises:
        CutRefused: as `last_group`.
        JournalLocked: an exchange runs.
        JournalWriteFailed: the bytes cannot be kept, or not be taken away.
        JournalError: as `last_group`.
    """
    if not has_journal(journal):
        raise JournalNotFound(journal)
    disk = OsFileSystem()
    with contextlib.ExitStack() as held:
        try:
            held.callback(disk.lock(journal / LOCK_NAME).close)
        except LockHeld as error:
            raise JournalLocked(journal / LOCK_NAME, error.holder) from error
        found = last_group(journal, snapshots, genesis)
        try:
            _keep(disk, found)
            _zero(disk, found)
        except OSError as error:
            raise JournalWriteFailed(found.segment, found.offset, str(error)) from error
    return found


def _last(stat: JournalStat) -> Cut:
    """Found by a walk through the last segment, where the last group is if it can be given up."""
    segment = stat.segments[-1]
    if stat.torn_tail is not None:
        raise CutRefused("a write after it was begun, so it was applied; a start gives that one up")
    if not segment.groups:
        raise CutRefused(f"{segment.path.name}, the last segment, holds none")
    file = OsFileSystem().open(segment.path)
    with contextlib.closing(SegmentScan(file, segment.path, read_header(file, segment.path))) as at:
        offset = at.offset
        for group in at.groups():
            if group.next_sequence == stat.next_sequence:
                kept = _kept(segment.path.parent, group.first_sequence)
                return Cut(group, segment.path, offset, at.offset - offset, kept)
            offset = at.offset
    raise CutRefused("the journal changed while it was read")


def _kept(journal: Path, first_sequence: int) -> Path:
    return journal / f"{first_sequence:020d}{KEPT_SUFFIX}"


def _keep(disk: OsFileSystem, found: Cut) -> None:
    """Copy the bytes; a copy of an attempt before is written anew."""
    with contextlib.closing(disk.open(found.segment)) as segment:
        block = segment.pread(found.size, found.offset)
    with contextlib.suppress(FileNotFoundError):
        disk.remove(found.kept)
    with contextlib.closing(disk.open(found.kept, create=True)) as file:
        write_all(file, block, 0)
        file.fdatasync()
    disk.sync_directory(found.kept.parent)


def _zero(disk: OsFileSystem, found: Cut) -> None:
    """The head goes first: without it nothing that follows is a group."""
    end = found.offset + found.size
    with contextlib.closing(disk.open(found.segment, write=True)) as segment:
        for start in (found.offset + HEAD_BYTES, end):
            fill_zeros(segment, found.offset, start)
            segment.fdatasync()


def _newest_state(snapshots: Path) -> int:
    """The sequence of the newest good snapshot; 0 without one."""
    store = SnapshotStore(snapshots)
    for path in store.paths():
        with contextlib.suppress(SnapshotDamaged):
            return store.read(path).head.sequence
    return 0
