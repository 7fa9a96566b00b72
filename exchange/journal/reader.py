"""Reading a journal without its lock: all of it, or along with its writer."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from exchange.journal.errors import (
    JournalBehind,
    JournalDamaged,
    JournalReadFailed,
    JournalStartMismatch,
)
from exchange.journal.files import FileSystem, OsFileSystem
from exchange.journal.format import (
    FIRST_SEQUENCE,
    HEADER_BYTES,
    SEQUENCE_MAX,
    GroupRecord,
    Position,
)
from exchange.journal.segment import SegmentScan, read_header, segment_path, segment_paths
from exchange.journal.walk import JournalStat, JournalWalk

POLL_GROUPS_MAX: Final = 4096


def has_journal(directory: Path, *, files: FileSystem | None = None) -> bool:
    """Whether the folder holds a segment, in whatever state.

    Raises:
        JournalReadFailed: The device failed.
    """
    return bool(segment_paths(OsFileSystem() if files is None else files, directory))


def verify_journal(
    directory: Path,
    *,
    rules_version: int | None = None,
    genesis: bytes | None = None,
    beginning_kept: bool = True,
    files: FileSystem | None = None,
) -> JournalStat:
    """Read and check every byte, and say what is there. O(bytes); changes nothing.

    Args:
        directory: The journal's folder; a writer may be at work in it.
        rules_version: Refuse another; None takes any.
        genesis: Refuse another; None takes any.
        beginning_kept: False where the oldest segments may have been removed on purpose.
        files: Another file system, for tests.

    Raises:
        JournalNotFound: The folder holds no segment.
        JournalMismatch: Not the journal that was asked for.
        JournalDamaged: With the segment and the offset.
        JournalReadFailed: The device failed.
    """
    disk = OsFileSystem() if files is None else files
    return JournalWalk(
        disk,
        directory,
        rules_version=rules_version,
        genesis=genesis,
        beginning_kept=beginning_kept,
    ).stat()


def read_journal(
    directory: Path,
    *,
    from_sequence: int = FIRST_SEQUENCE,
    rules_version: int | None = None,
    genesis: bytes | None = None,
    files: FileSystem | None = None,
) -> Iterator[GroupRecord]:
    """Each group from the one that holds `from_sequence` on, checked; errors as `verify_journal`.

    The last group of a live journal may not be durable yet, so nothing may be acknowledged on the
    strength of reading it here.
    """
    return JournalWalk(
        OsFileSystem() if files is None else files,
        directory,
        from_sequence=from_sequence,
        rules_version=rules_version,
        genesis=genesis,
    ).groups()


def rules_since(directory: Path, rules_version: int) -> int | None:
    """The sequence from which on a journal is under these rules; None where its end is not.

    Raises:
        JournalError: a header cannot be read.
    """
    disk, since = OsFileSystem(), None
    for path in reversed(segment_paths(disk, directory)):
        try:
            file = disk.open(path)
        except OSError as error:
            raise JournalReadFailed(path, error) from error
        with contextlib.closing(file):
            header = read_header(file, path)
        if header.rules_version != rules_version:
            break
        since = header.first_sequence
    return since


class JournalFollower:
    """Reads along with a writer in another process: a follower, an exporter.

    Args:
        directory: The journal's folder; it must hold a segment already.
        from_sequence: Begin with the group that holds it.
        rules_version: Refuse another; None takes any.
        genesis: Refuse another; None takes any.
        anchor: Begin behind this place, which the journal must come by; in place of
            `from_sequence`.
        files: Another file system, for tests.

    Raises:
        JournalStartMismatch: The journal does not come by the anchor.
        JournalBehind: It ends before the anchor.
        JournalError: As `verify_journal`.
    """

    def __init__(
        self,
        directory: Path,
        *,
        from_sequence: int = FIRST_SEQUENCE,
        rules_version: int | None = None,
        genesis: bytes | None = None,
        anchor: Position | None = None,
        files: FileSystem | None = None,
    ) -> None:
        self._files: FileSystem = OsFileSystem() if files is None else files
        self._directory = directory
        self._from_sequence = from_sequence
        walk = JournalWalk(
            self._files,
            directory,
            from_sequence=from_sequence,
            rules_version=rules_version,
            genesis=genesis,
            anchor=anchor,
        )
        self._rules_version = rules_version
        self._scan = self._open(segment_path(directory, walk.position.next_sequence))
        if anchor is not None:
            try:
                self._come_by(anchor)
            except BaseException:
                self.close()
                raise

    @property
    def next_sequence(self) -> int:
        """The sequence number after the last record that was read."""
        return self._scan.position.next_sequence

    @property
    def chain_hash(self) -> bytes:
        """Vouches for everything that was read so far, and for what came before it."""
        return self._scan.position.chain_hash

    def has_news(self) -> bool:
        """Whether `poll` may find something: a look at a few bytes, where that reads many.

        Raises:
            JournalReadFailed: The device failed.
        """
        return self._scan.begun() or self._following() is not None

    def poll(
        self, groups_max: int = POLL_GROUPS_MAX, up_to: int = SEQUENCE_MAX
    ) -> list[GroupRecord]:
        """The groups that are new since the last call, at most `groups_max`; none yet is [].

        Args:
            groups_max: At most this many.
            up_to: None after the group that holds this sequence.

        Raises:
            JournalDamaged: With the segment and the offset.
            JournalVersionMismatch: The writer was replaced by one with other rules.
            JournalReadFailed: The device failed.
        """
        found: list[GroupRecord] = []
        if self.next_sequence > up_to:
            return found
        while True:
            if self._scan.offset == HEADER_BYTES:
                # A segment without a group may have been replaced by a larger one.
                self._move_to(self._scan.path)
            for group in self._scan.groups():
                if group.next_sequence > self._from_sequence:
                    found.append(group)
                    if len(found) >= groups_max or group.next_sequence > up_to:
                        return found
            following = self._following()
            if following is None:
                self._judge(sealed=False)
                return found
            self._judge(sealed=True)
            self._move_to(following)

    def close(self) -> None:
        """Close the segment."""
        self._scan.close()

    def _come_by(self, anchor: Position) -> None:
        while self.next_sequence < anchor.next_sequence:
            if not self.poll(up_to=anchor.next_sequence - 1):
                last = self.next_sequence - 1
                raise JournalBehind(self._directory, last, anchor.next_sequence - 1)
        if (self.next_sequence, self.chain_hash) != (anchor.next_sequence, anchor.chain_hash):
            raise JournalStartMismatch(self._directory, anchor.next_sequence - 1)

    def _following(self) -> Path | None:
        """The segment that begins where this one ends, once there is one."""
        path = segment_path(self._directory, self.next_sequence)
        try:
            there = path != self._scan.path and path.name in self._files.names(self._directory)
            return path if there else None
        except OSError as error:
            raise JournalReadFailed(self._directory, error) from error

    def _judge(self, *, sealed: bool) -> None:
        fault = self._scan.fault
        if fault is None or (fault.empty and not sealed):
            return
        try:
            self._scan.end(sealed=sealed)
        except JournalDamaged:
            # The writer may have finished this group between two reads.
            if not self._scan.readable():
                raise

    def _open(self, path: Path) -> SegmentScan:
        try:
            file = self._files.open(path)
        except OSError as error:
            raise JournalReadFailed(path, error) from error
        return SegmentScan(file, path, read_header(file, path))

    def _move_to(self, path: Path) -> None:
        before, scan = self._scan, self._open(path)
        header = scan.header
        reason = None
        if header.previous_hash != before.position.chain_hash or header.first_sequence != (
            before.position.next_sequence
        ):
            reason = "this segment does not continue the one before it"
        elif header.genesis != before.header.genesis:
            reason = "this segment belongs to another journal"
        if reason is not None:
            scan.close()
            raise JournalDamaged(path, 0, reason, length=HEADER_BYTES)
        before.close()
        self._scan = scan
