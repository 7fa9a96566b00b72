"""Reading a whole journal in order: every group, every gap, every checksum."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

from exchange.journal.errors import (
    JournalBehind,
    JournalDamaged,
    JournalGenesisMismatch,
    JournalNotFound,
    JournalReadFailed,
    JournalStartMismatch,
    JournalVersionMismatch,
)
from exchange.journal.files import FileSystem, JournalFile
from exchange.journal.format import (
    FIRST_SEQUENCE,
    HEADER_BYTES,
    GroupRecord,
    Position,
    SegmentHeader,
)
from exchange.journal.segment import SegmentScan, TornTail, read_header, segment_paths


class SegmentStat(NamedTuple):
    """One segment. `used_bytes` counts header, groups and the zeros between them."""

    path: Path
    first_sequence: int
    rules_version: int
    alignment: int
    segment_bytes: int
    used_bytes: int
    groups: int
    records: int


class JournalStat(NamedTuple):
    """A whole journal, every byte of which was read and checked.

    Attributes:
        segments: In order.
        genesis: sha256 of the genesis.
        next_sequence: The one after the last record.
        epoch: Of the last group, or of the last segment where that is newer.
        chain_hash: Vouches for everything up to here.
        torn_tail: A group whose writing was cut off. In a journal that is being written to, it
            may be the group that is on its way.
    """

    segments: tuple[SegmentStat, ...]
    genesis: bytes
    next_sequence: int
    epoch: int
    chain_hash: bytes
    torn_tail: TornTail | None

    @property
    def groups(self) -> int:
        """Number of commit groups."""
        return sum(segment.groups for segment in self.segments)

    @property
    def records(self) -> int:
        """Number of records."""
        return sum(segment.records for segment in self.segments)

    @property
    def used_bytes(self) -> int:
        """Bytes in use, over all segments."""
        return sum(segment.used_bytes for segment in self.segments)


def paths_from(paths: list[Path], sequence: int) -> list[Path]:
    """The segments from the one that holds a sequence on; all, where each begins behind it."""
    first = max((at for at, path in enumerate(paths) if int(path.stem) <= sequence), default=0)
    return paths[first:]


def genesis_digest(genesis: bytes) -> bytes:
    """What the chain of a journal with this genesis begins with."""
    return sha256(b"flopex journal genesis\0" + genesis).digest()


class JournalWalk:
    """One pass over the segments of a folder, as they are when it begins.

    Args:
        files: Where the folder lies.
        directory: The journal's folder.
        from_sequence: Begin with the group that holds it, trusting the header of its segment for
            what came before.
        rules_version: Refuse a segment that is to be read and has another; None takes any.
        genesis: Refuse another exchange's journal; None takes any.
        give_up_damaged_tail: Report a last group that is damaged, with nothing good after it, as
            a torn tail although it was written whole.
        beginning_kept: False where the oldest segments may have been removed on purpose; then the
            header of the first one that is left is trusted.
        anchor: Where somebody else's state stands, who needs only what follows: the walk begins
            with the segment that holds that place, and must come by it.

    Raises:
        JournalNotFound: The folder holds no segment.
        JournalMismatch: A segment is not what was asked for.
        JournalDamaged: A header is not what was written, or a segment is missing.
        JournalReadFailed: The device failed.
    """

    def __init__(
        self,
        files: FileSystem,
        directory: Path,
        *,
        from_sequence: int = FIRST_SEQUENCE,
        rules_version: int | None = None,
        genesis: bytes | None = None,
        give_up_damaged_tail: bool = False,
        beginning_kept: bool = True,
        anchor: Position | None = None,
    ) -> None:
        self._files = files
        self._directory = directory
        self._rules_version = rules_version
        self._genesis = None if genesis is None else genesis_digest(genesis)
        self._anchor = anchor
        if anchor is not None:
            from_sequence, beginning_kept = anchor.next_sequence, False
        self._from_sequence = from_sequence
        self._give_up_damaged_tail = give_up_damaged_tail
        paths = segment_paths(files, directory)
        if not paths:
            raise JournalNotFound(directory)
        # All headers before the first group: a wrong journal is refused before it is replayed.
        if anchor is not None:
            paths = paths_from(paths, anchor.next_sequence)
        self._segments = [(path, self._header(path)) for path in paths]
        first_path, first = self._segments[0]
        while len(self._segments) > 1 and self._segments[1][1].first_sequence <= from_sequence:
            del self._segments[0]
        self._check_rules()
        begins = first.first_sequence == FIRST_SEQUENCE and first.previous_hash == first.genesis
        gone = anchor is not None and first.first_sequence > anchor.next_sequence
        if gone or (beginning_kept and not begins):
            reason = f"the segments before sequence {first.first_sequence} are missing"
            raise JournalDamaged(first_path, 0, reason, length=HEADER_BYTES)
        start = self._segments[0][1]
        self.position = Position(start.first_sequence, start.epoch, start.previous_hash)
        self.genesis = first.genesis
        self.stats: list[SegmentStat] = []
        self.torn_tail: TornTail | None = None

    def groups(self) -> Generator[GroupRecord]:
        """Each group in order, checked; `position` is then the one right behind it.

        At the end `stats` and `torn_tail` are complete.

        Raises:
            JournalDamaged: With the segment and the offset.
            JournalStartMismatch: The journal does not come by the anchor.
            JournalBehind: It ends before the anchor.
            JournalReadFailed: The device failed.
        """
        last_path = self._segments[-1][0]
        for path, header in self._segments:
            self._check_chain(path, header)
            self._come_by(self.position)
            scan = SegmentScan(self._open(path), path, header)
            try:
                yield from self._segment_groups(scan, sealed=path != last_path)
            finally:
                scan.close()
        if self._anchor is not None:
            last = self.position.next_sequence - 1
            raise JournalBehind(self._directory, last, self._anchor.next_sequence - 1)

    def stat(self) -> JournalStat:
        """Read to the end and sum up; the errors are those of `groups`."""
        for _ in self.groups():
            pass
        return JournalStat(tuple(self.stats), self.genesis, *self.position, self.torn_tail)

    def _open(self, path: Path) -> JournalFile:
        try:
            return self._files.open(path)
        except OSError as error:
            raise JournalReadFailed(path, error) from error

    def _header(self, path: Path) -> SegmentHeader:
        file = self._open(path)
        try:
            header = read_header(file, path)
        finally:
            file.close()
        if self._genesis not in {None, header.genesis}:
            assert self._genesis is not None
            raise JournalGenesisMismatch(path, header.genesis, self._genesis)
        return header

    def _check_rules(self) -> None:
        wanted = self._rules_version
        for path, header in self._segments:
            if wanted is not None and header.rules_version != wanted:
                raise JournalVersionMismatch(path, "rules version", header.rules_version, wanted)

    def _check_chain(self, path: Path, header: SegmentHeader) -> None:
        reason = None
        if header.first_sequence != self.position.next_sequence:
            reason = (
                f"the sequences {self.position.next_sequence} to {header.first_sequence - 1} "
                "before this segment are missing"
            )
        elif header.previous_hash != self.position.chain_hash:
            reason = "this segment does not continue the one before it"
        elif header.genesis != self.genesis:
            reason = "this segment belongs to another journal"
        elif header.epoch < self.position.epoch:
            reason = f"epoch {header.epoch} follows epoch {self.position.epoch}"
        if reason is not None:
            raise JournalDamaged(path, 0, reason, length=HEADER_BYTES)
        self.position = self.position._replace(epoch=header.epoch)

    def _come_by(self, position: Position) -> None:
        """Hold the chain against the place that it must come by."""
        anchor = self._anchor
        if anchor is None or position.next_sequence < anchor.next_sequence:
            return
        if (position.next_sequence, position.chain_hash) != (
            anchor.next_sequence,
            anchor.chain_hash,
        ):
            raise JournalStartMismatch(self._directory, anchor.next_sequence - 1)
        self._anchor = None

    def _segment_groups(self, scan: SegmentScan, *, sealed: bool) -> Iterator[GroupRecord]:
        groups = records = 0
        while True:
            for group in scan.groups():
                groups += 1
                records += group.count
                self.position = scan.position
                if self._anchor is not None:
                    self._come_by(scan.position)
                if group.next_sequence > self._from_sequence:
                    yield group
            try:
                self.torn_tail = scan.end(sealed=sealed)
            except JournalDamaged as damage:
                # A live writer may have finished this group after it was read and before the
                # rest of the segment was.
                if scan.readable():
                    continue
                if not (damage.last_group and self._give_up_damaged_tail):
                    raise
                rest = scan.header.segment_bytes - scan.offset
                self.torn_tail = TornTail(scan.path, scan.offset, rest, damage.reason)
            break
        self.position = scan.position
        header = scan.header
        self.stats.append(
            SegmentStat(
                scan.path,
                header.first_sequence,
                header.rules_version,
                header.alignment,
                header.segment_bytes,
                scan.offset,
                groups,
                records,
            )
        )
