"""Copies of a journal: taken while it is written to, and put back only if they are whole."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

from exchange.journal.errors import (
    JournalDamaged,
    JournalNotFound,
    JournalReadFailed,
    JournalTargetExists,
    JournalWriteFailed,
)
from exchange.journal.files import FileSystem, JournalFile, OsFileSystem, write_all
from exchange.journal.format import FORMAT_VERSION
from exchange.journal.reader import verify_journal
from exchange.journal.segment import READ_BYTES, UNFINISHED_SUFFIX, fill_zeros
from exchange.journal.walk import JournalStat, SegmentStat

# Written last: a backup without it did not finish.
MANIFEST_NAME: Final = "BACKUP.json"
MANIFEST_BYTES_MAX: Final = 4096


def backup_journal(
    directory: Path,
    target: Path,
    *,
    beginning_kept: bool = True,
    files: FileSystem | None = None,
) -> JournalStat:
    """Copy every whole group to a new folder, while the journal may be in use. O(bytes).

    Payloads of jobs are in the blob store and are not part of it. `beginning_kept` is False where
    the oldest segments may have been removed on purpose.

    Returns:
        What was copied, read back from the copy.

    Raises:
        JournalTargetExists: `target` is not empty.
        JournalDamaged, JournalNotFound, JournalReadFailed: As `verify_journal`.
        JournalWriteFailed: The target has no room, or its device failed.
    """
    disk = OsFileSystem() if files is None else files
    _need_empty(disk, target)
    stat = verify_journal(directory, beginning_kept=beginning_kept, files=disk)
    try:
        disk.make_directory(target)
        for segment in stat.segments:
            _copy(disk, segment, target, fill=False)
        copied = _compare(disk, target, stat.next_sequence, stat.chain_hash, beginning_kept)
        _write_manifest(disk, target, copied)
    except OSError as error:
        raise JournalWriteFailed(target, 0, str(error)) from error
    return copied


def restore_journal(
    backup: Path,
    directory: Path,
    *,
    beginning_kept: bool = True,
    files: FileSystem | None = None,
) -> JournalStat:
    """Put a backup into a new folder, from which a log can be opened. O(bytes).

    `beginning_kept` is as it was for the backup.

    Returns:
        What was restored, read back.

    Raises:
        JournalTargetExists: `directory` is not empty.
        JournalDamaged: The backup is not what was written, or did not finish.
        JournalNotFound, JournalReadFailed: The backup cannot be read.
        JournalWriteFailed: The folder has no room, or its device failed.
    """
    disk = OsFileSystem() if files is None else files
    _need_empty(disk, directory)
    next_sequence, chain_hash = _read_manifest(disk, backup)
    stat = _compare(disk, backup, next_sequence, chain_hash, beginning_kept)
    try:
        disk.make_directory(directory)
        # The first segment comes last: a folder without it is no journal, so a restore that was
        # interrupted is never taken for a shorter journal.
        for segment in reversed(stat.segments):
            _copy(disk, segment, directory, fill=True)
    except OSError as error:
        raise JournalWriteFailed(directory, 0, str(error)) from error
    return _compare(disk, directory, next_sequence, chain_hash, beginning_kept)


def _need_empty(disk: FileSystem, target: Path) -> None:
    try:
        names = disk.names(target)
    except OSError as error:
        raise JournalWriteFailed(target, 0, str(error)) from error
    if names:
        raise JournalTargetExists(target)


def _copy(disk: FileSystem, segment: SegmentStat, target: Path, *, fill: bool) -> None:
    """Copy the used part, then zeros: written out where a log will append, else a hole."""
    path = target / segment.path.name
    unfinished = path.with_suffix(UNFINISHED_SUFFIX)
    source = disk.open(segment.path)
    try:
        copy = disk.open(unfinished, create=True)
        try:
            _copy_bytes(source, copy, segment.used_bytes)
            if fill:
                fill_zeros(copy, segment.used_bytes, segment.segment_bytes)
            else:
                copy.truncate(segment.segment_bytes)
            copy.fdatasync()
        finally:
            copy.close()
    finally:
        source.close()
    disk.rename(unfinished, path)
    disk.sync_directory(target)


def _copy_bytes(source: JournalFile, copy: JournalFile, size: int) -> None:
    for at in range(0, size, READ_BYTES):
        length = min(READ_BYTES, size - at)
        write_all(copy, source.pread(length, at).ljust(length, b"\0"), at)


def _compare(
    disk: FileSystem, copy: Path, next_sequence: int, chain_hash: bytes, beginning_kept: bool
) -> JournalStat:
    stat = verify_journal(copy, beginning_kept=beginning_kept, files=disk)
    if (stat.next_sequence, stat.chain_hash) != (next_sequence, chain_hash):
        last = stat.segments[-1]
        raise JournalDamaged(
            last.path,
            last.used_bytes,
            f"the copy ends at sequence {stat.next_sequence - 1}, not at {next_sequence - 1}",
        )
    return stat


def _write_manifest(disk: FileSystem, target: Path, stat: JournalStat) -> None:
    manifest = {
        "format": FORMAT_VERSION,
        "genesis": stat.genesis.hex(),
        "next_sequence": stat.next_sequence,
        "chain_hash": stat.chain_hash.hex(),
        "segments": len(stat.segments),
        "records": stat.records,
    }
    file = disk.open(target / MANIFEST_NAME, create=True)
    try:
        write_all(file, json.dumps(manifest, indent=2).encode() + b"\n", 0)
        file.fdatasync()
    finally:
        file.close()
    disk.sync_directory(target)


def _read_manifest(disk: FileSystem, backup: Path) -> tuple[int, bytes]:
    path = backup / MANIFEST_NAME
    try:
        names = disk.names(backup)
        if not names:
            raise JournalNotFound(backup)
        if MANIFEST_NAME not in names:
            raise JournalDamaged(path, 0, "the manifest is missing: this backup did not finish")
        file = disk.open(path)
        try:
            raw = file.pread(MANIFEST_BYTES_MAX, 0)
        finally:
            file.close()
    except OSError as error:
        raise JournalReadFailed(path, error) from error
    try:
        manifest: dict[str, Any] = json.loads(raw)
        return int(manifest["next_sequence"]), bytes.fromhex(manifest["chain_hash"])
    except (ValueError, KeyError, TypeError) as error:
        raise JournalDamaged(path, 0, "the manifest cannot be read", length=len(raw)) from error
