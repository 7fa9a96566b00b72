"""Giving up the last group of a journal, where no start gets past it.

A group is on the disk before it is applied (docs/adr/0046). Where applying it raises an error, the
engine takes it back. Where it ends the process there and then, every start meets it again, and ends
there too. Nobody was told of a group that ended the process which wrote it: answers follow only
once it is applied.
"""

from __future__ import annotations

import contextlib
from hashlib import sha256
from pathlib import Path
from typing import Final, NamedTuple

from exchange.journal import (
    GroupRecord,
    JournalLocked,
    JournalNotFound,
    JournalStat,
    JournalWriteFailed,
    SnapshotStore,
    has_journal,
    verify_journal,
)
from exchange.journal.files import LockHeld, OsFileSystem, write_all
from exchange.journal.format import HEAD_BYTES
from exchange.journal.log import LOCK_NAME
from exchange.journal.segment import UNFINISHED_SUFFIX, SegmentScan, fill_zeros, read_header
from exchange.recovery.digests import DigestFile

KEPT_SUFFIX: Final = ".cut"


class CutRefused(Exception):
    """The journal stays as it is; the message says why."""


class Cut(NamedTuple):
    """The last group of a journal.

    Attributes:
        group: What it holds.
        segment: Where it lay,
        offset: from here on, in bytes.
        block: Its bytes, framed.
        kept: The file that is to keep them.
    """

    group: GroupRecord
    segment: Path
    offset: int
    block: bytes
    kept: Path


def last_group(journal: Path, snapshots: Path, genesis: bytes) -> Cut:
    """The group that `cut_last_group` would take away.

    Args:
        journal: The journal's folder.
        snapshots: The snapshots' folder.
        genesis: What the exchange started from.

    Raises:
        CutRefused: there is none, or it is known that it was applied: a state after it is stored,
            the engine has published digests of it, or a group followed it.
        JournalNotFound: the folder has no journal.
        JournalError: the journal cannot be read, or is damaged.
        OSError: what may be known of the group cannot be read.
    """
    if not has_journal(journal):
        raise JournalNotFound(journal)
    stat = verify_journal(journal, genesis=genesis, beginning_kept=False)
    after = stat.next_sequence
    if any(journal.glob(f"{after:020d}-*{KEPT_SUFFIX}")):
        raise CutRefused(f"a group from {after} on followed it, and was given up: it was applied")
    found, last = _last(stat), after - 1
    # By their names: a damaged one says as much.
    if any(int(path.stem) >= last for path in SnapshotStore(snapshots).paths()):
        raise CutRefused(f"a snapshot is of the state after sequence {last}: it was applied")
    if any(line.sequence >= last for line in DigestFile(snapshots).read(strict=True)):
        raise CutRefused(f"the exchange has published digests of sequence {last}: it was applied")
    return found


def cut_last_group(journal: Path, snapshots: Path, genesis: bytes, meant: GroupRecord) -> Cut:
    """Take the last group away, durably; its bytes are kept in a file beside the segments.

    Args:
        journal: The journal's folder; no exchange may have it open.
        snapshots: The snapshots' folder.
        genesis: What the exchange started from.
        meant: The group that `last_group` has found.

    Raises:
        CutRefused: as `last_group`; or another group is the last one now.
        JournalLocked: an exchange runs.
        JournalWriteFailed: the bytes cannot be taken away.
        JournalError: as `last_group`.
        OSError: as `last_group`; or the bytes cannot be kept. The journal is as it was.
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
        if found.group != meant:
            raise CutRefused("another group is the last one now")
        _keep(disk, found)
        try:
            _zero(disk, found)
        except OSError as error:
            raise JournalWriteFailed(found.segment, found.offset, str(error)) from error
    return found


def _last(stat: JournalStat) -> Cut:
    """Found by a walk through the last segment, where the last group is if it can be given up."""
    segment = stat.segments[-1]
    if stat.torn_tail is not None:
        raise CutRefused("a write after it was begun: it was applied")
    if not segment.groups:
        raise CutRefused(f"{segment.path.name}, the last segment, holds none")
    file = OsFileSystem().open(segment.path)
    with contextlib.closing(SegmentScan(file, segment.path, read_header(file, segment.path))) as at:
        offset = at.offset
        for group in at.groups():
            if group.next_sequence == stat.next_sequence:
                block = file.pread(at.offset - offset, offset)
                # Another one at the same sequence has other bytes.
                name = f"{group.first_sequence:020d}-{sha256(block).hexdigest()[:16]}{KEPT_SUFFIX}"
                return Cut(group, segment.path, offset, block, segment.path.with_name(name))
            offset = at.offset
    raise CutRefused("the journal changed while it was read")


def _keep(disk: OsFileSystem, found: Cut) -> None:
    """Copy the bytes, whole or not at all."""
    unfinished = found.kept.with_suffix(UNFINISHED_SUFFIX)
    with contextlib.suppress(FileNotFoundError):
        disk.remove(unfinished)
    try:
        with contextlib.closing(disk.open(unfinished, create=True)) as file:
            write_all(file, found.block, 0)
            file.fdatasync()
    except OSError:
        disk.remove(unfinished)
        raise
    disk.rename(unfinished, found.kept)
    disk.sync_directory(found.kept.parent)


def _zero(disk: OsFileSystem, found: Cut) -> None:
    """The head goes first: without it nothing that follows is a group."""
    end = found.offset + len(found.block)
    with contextlib.closing(disk.open(found.segment, write=True)) as segment:
        for start in (found.offset + HEAD_BYTES, end):
            fill_zeros(segment, found.offset, start)
            segment.fdatasync()
