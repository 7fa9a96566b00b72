"""The log: groups of records that are durable, in order, and written by one engine at a time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from threading import Lock
from types import TracebackType
from typing import Final, Self

from exchange.journal.errors import (
    JournalClosed,
    JournalDamaged,
    JournalEpochStale,
    JournalGroupTooLarge,
    JournalLocked,
    JournalOutOfOrder,
    JournalPoisoned,
    JournalWriteFailed,
)
from exchange.journal.files import (
    FileLock,
    FileSystem,
    LockHeld,
    OsFileSystem,
)
from exchange.journal.format import (
    BLOCK_ALIGNMENTS,
    EPOCH_MAX,
    FIRST_SEQUENCE,
    FORMAT_VERSION,
    GROUP_COUNT_MAX,
    HEADER_BYTES,
    RULES_VERSION_MAX,
    SEGMENT_BYTES,
    SEGMENT_BYTES_MAX,
    SEGMENT_BYTES_MIN,
    SEQUENCE_MAX,
    GroupRecord,
    Position,
    SegmentHeader,
    encode_block,
    group_bytes_max,
)
from exchange.journal.segment import (
    UNFINISHED_SUFFIX,
    SegmentBuilder,
    TornTail,
    fill_zeros,
    segment_path,
    segment_paths,
)
from exchange.journal.walk import JournalStat, JournalWalk, genesis_digest
from exchange.journal.writers import BlockWriter, WriteMode

LOCK_NAME: Final = "LOCK"
# What one call of `prepare` writes unless told otherwise: a millisecond or two of a disk's time.
PREPARE_BYTES: Final = 256 << 10


class LocalLog:
    """A journal in a folder of this machine, under an exclusive lock.

    Opening it reads and checks every byte. A torn tail (a group whose writing was cut off, which
    was never acknowledged) is reported in `recovered.torn_tail`. It is overwritten with zeros when
    the first group is written: a start may fail before, and whoever asks why finds the bytes. Any
    other bytes that are not what was written stop the opening.

    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp()) / "journal"
    >>> with LocalLog(folder, rules_version=1, genesis=b"docs", segment_bytes=1 << 16) as log:
    ...     log.append(GroupRecord(1, 2, epoch=1, payload=b"two records"))
    >>> with LocalLog(folder, rules_version=1, genesis=b"docs") as log:
    ...     log.next_sequence, [group.payload for group in log.read_from(1)]
    (3, [b'two records'])

    Args:
        directory: Made if it does not exist.
        rules_version: Of the state machine; every segment carries it.
        genesis: What the exchange started from; the hash chain begins with it.
        segment_bytes: Size of the segments that are made from now on, in bytes.
        alignment: Blocks of the segments that are made from now on begin at multiples of it, in
            bytes; one of BLOCK_ALIGNMENTS. None takes the device's own block.
        cut_damaged_tail: The operator's decision to give up a damaged last group.
        start: Where a state stands that the caller has: segments before it are not read, may be of
            other rules, or gone. None needs the journal from its first sequence on.
        files: Another file system, for tests; or the system's, with another way to write.

    Raises:
        ValueError: A bound of the format is broken.
        JournalLocked: Another process has it.
        JournalMismatch: Written under other rules, by another exchange, or of another history.
        JournalBehind: It ends before `start`.
        JournalDamaged: With the segment and the offset.
        JournalReadFailed: The device failed.
        JournalWriteFailed: The device failed, or there is no room.
    """

    def __init__(
        self,
        directory: Path,
        *,
        rules_version: int,
        genesis: bytes,
        segment_bytes: int = SEGMENT_BYTES,
        alignment: int | None = None,
        cut_damaged_tail: bool = False,
        start: Position | None = None,
        files: FileSystem | None = None,
    ) -> None:
        check_options(rules_version, segment_bytes, alignment)
        self._directory = directory
        self._rules_version = rules_version
        self._genesis = genesis
        self._segment_bytes = segment_bytes
        self._start = start
        self._files: FileSystem = OsFileSystem() if files is None else files
        self._failed: str | None = None
        self._position: Position
        self._begun: tuple[int, Position] | None = None
        self._offset: int
        self._torn_tail: TornTail | None
        self._writer: BlockWriter | None = None
        self._next: SegmentBuilder | None = None
        self._next_lock = Lock()  # `prepare` may run in a thread of its own
        self._lock: FileLock | None = self._take_lock()
        try:
            self._alignment = self._block_alignment() if alignment is None else alignment
            self.recovered = self._recover(cut_damaged_tail)
        except BaseException:
            self.close()
            raise

    @property
    def directory(self) -> Path:
        """The journal's folder."""
        return self._directory

    @property
    def next_sequence(self) -> int:
        """See LogStore."""
        return self._position.next_sequence

    @property
    def epoch(self) -> int:
        """See LogStore."""
        return self._position.epoch

    @property
    def chain_hash(self) -> bytes:
        """See LogStore."""
        return self._position.chain_hash

    @property
    def write_mode(self) -> WriteMode | None:
        """How groups become durable in the segment at hand; None once closed."""
        return None if self._writer is None else self._writer.mode

    @property
    def group_bytes_max(self) -> int:
        """The largest payload of one group, in bytes."""
        return group_bytes_max(self._segment_bytes, self._alignment)

    def append(self, group: GroupRecord) -> None:
        """See LogStore. O(payload), one durable write; a new segment where the old is full."""
        self.begin(group)
        self.finish()

    def begin(self, group: GroupRecord) -> None:
        """See LogStore. A new segment where the old is full."""
        assert self._begun is None, "one group at a time"
        writer = self._writable()
        self._check(group)
        try:
            self._cut_torn_tail()
            block, chain_hash = encode_block(group, self._position.chain_hash, self._file_alignment)
            if self._offset + len(block) > self._file_bytes:
                writer = self._rotate(group)
                alignment = self._file_alignment
                block, chain_hash = encode_block(group, self._position.chain_hash, alignment)
            writer.begin(block, self._offset)
        except BaseException as error:
            self._poison(error)
            raise
        self._begun = (
            self._offset + len(block),
            Position(group.next_sequence, group.epoch, chain_hash),
        )

    def finish(self) -> None:
        """See LogStore."""
        assert self._begun is not None, "no group was begun"
        (offset, position), self._begun = self._begun, None
        try:
            self._held().finish()
        except BaseException as error:
            self._poison(error)
            raise
        self._offset, self._position = offset, position

    def take_back(self) -> None:
        """See LogStore."""
        assert self._begun is not None, "no group was begun"
        self._begun = None
        try:
            self._held().take_back()
        except BaseException as error:
            self._poison(error)
            raise
        self._failed = self._failed or "a group was taken back"

    @property
    def wants_preparing(self) -> bool:
        """See LogStore: half of the segment is used, and the next one is not all there."""
        ready = self._next is not None and self._next.ready
        return self._offset * 2 >= self._file_bytes and not ready

    @property
    def must_prepare(self) -> bool:
        """See LogStore: less of the next segment is there than is used of this one's second half.

        So a writer who never idles makes it in steps, one with every group or two.
        """
        there = 0 if self._next is None else self._next.filled
        used = self._offset * 2 - self._file_bytes
        return there * self._file_bytes < used * self._segment_bytes

    def prepare(self, size: int = PREPARE_BYTES) -> bool:
        """Write up to `size` bytes of the next segment ahead.

        Without it, the group that needs a new segment waits until all of it is written (0.3 s for
        64 MiB on a slow disk); with it, for two syncs. The one method that another thread may call:
        a group that needs the segment meanwhile waits for the call.

        Returns:
            Whether the next segment is ready.

        Raises:
            JournalWriteFailed: No room, or the device failed; nothing more can be written.
        """
        with self._next_lock:
            self._writable()
            try:
                if self._next is None:
                    self._next = self._builder()
                return self._next.fill(size)
            except BaseException as error:
                self._poison(error)
                raise

    def read_from(self, sequence: int) -> Iterator[GroupRecord]:
        """See LogStore. Ends with the last group that was durable at the call.

        Raises:
            JournalOutOfOrder: `sequence` lies beyond the end, or before `start`.
            JournalDamaged: A group can no longer be read back.
            JournalReadFailed: The device failed.
        """
        end = self.next_sequence
        first = FIRST_SEQUENCE if self._start is None else self._start.next_sequence
        if not first <= sequence <= end:
            raise JournalOutOfOrder(end, sequence)
        return self._read(sequence, end)

    def close(self) -> None:
        """See LogStore."""
        for held in (self._writer, self._next, self._lock):
            if held is not None:
                held.close()
        self._writer = self._next = self._lock = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _take_lock(self) -> FileLock:
        path = self._directory / LOCK_NAME
        try:
            self._files.make_directory(self._directory)
            return self._files.lock(path)
        except LockHeld as held:
            raise JournalLocked(path, held.holder) from held
        except OSError as error:
            raise JournalWriteFailed(path, 0, str(error)) from error

    def _recover(self, cut_damaged_tail: bool) -> JournalStat:
        try:
            self._tidy()
        except OSError as error:
            raise JournalWriteFailed(self._directory, 0, str(error)) from error
        walk = JournalWalk(
            self._files,
            self._directory,
            rules_version=self._rules_version,
            genesis=self._genesis,
            give_up_damaged_tail=cut_damaged_tail,
            anchor=self._start,
        )
        stat = walk.stat()
        last = stat.segments[-1]
        self._position = walk.position
        self._offset = last.used_bytes
        self._torn_tail = stat.torn_tail
        try:
            self._lengthen(last.path, last.segment_bytes)
            self._open_segment(last.path, last.segment_bytes, last.alignment)
        except OSError as error:
            raise JournalWriteFailed(last.path, self._offset, str(error)) from error
        return stat

    def _tidy(self) -> None:
        """Bring the folder to what the last writer meant, before the first byte is judged."""
        for name in self._files.names(self._directory):
            if name.endswith(UNFINISHED_SUFFIX):
                self._files.remove(self._directory / name)
        paths = segment_paths(self._files, self._directory)
        if not paths:
            digest = genesis_digest(self._genesis)
            start = Position(FIRST_SEQUENCE, 0, digest)
            self._builder().finish(self._header(start, digest))
            return
        # The last writer may have died, or met an error, between writing and syncing: what is
        # only in memory goes to the device, and what is judged comes from the device.
        file = self._files.open(paths[-1], write=True)
        try:
            file.fdatasync()
            file.drop_cache()
        finally:
            file.close()
        self._files.sync_directory(self._directory)

    def _block_alignment(self) -> int:
        """The device's block, as far as the format has it."""
        try:
            block_bytes = self._files.block_bytes(self._directory)
        except OSError as error:
            raise JournalWriteFailed(self._directory, 0, str(error)) from error
        return next((a for a in BLOCK_ALIGNMENTS if a >= block_bytes), BLOCK_ALIGNMENTS[-1])

    def _open_segment(self, path: Path, segment_bytes: int, alignment: int) -> BlockWriter:
        writer = self._files.open_writer(path, alignment)
        if self._writer is not None:
            self._writer.close()
        self._writer = writer
        self._path = path
        self._file_bytes = segment_bytes
        self._file_alignment = alignment
        return writer

    def _lengthen(self, path: Path, segment_bytes: int) -> None:
        """Give the segment its whole size, durably."""
        with closing(self._files.open(path, write=True)) as file:
            size = file.size()
            if size < segment_bytes:
                fill_zeros(file, size, segment_bytes)
                file.fdatasync()

    def _cut_torn_tail(self) -> None:
        """Make the segment zeros from the last good group on, durably, if it is not."""
        torn, self._torn_tail = self._torn_tail, None
        if torn is not None:
            with closing(self._files.open(torn.path, write=True)) as file:
                fill_zeros(file, torn.offset, torn.offset + torn.bytes)
                file.fdatasync()

    def _header(self, position: Position, genesis: bytes) -> SegmentHeader:
        return SegmentHeader(
            format_version=FORMAT_VERSION,
            rules_version=self._rules_version,
            epoch=position.epoch,
            first_sequence=position.next_sequence,
            alignment=self._alignment,
            segment_bytes=self._segment_bytes,
            genesis=genesis,
            previous_hash=position.chain_hash,
        )

    def _builder(self) -> SegmentBuilder:
        return SegmentBuilder(self._files, self._directory, self._segment_bytes)

    def _writable(self) -> BlockWriter:
        """What to write with, if there is anything."""
        if self._failed is not None:
            raise JournalPoisoned(
                self._path, self._offset, f"an earlier write failed ({self._failed})"
            )
        return self._held()

    def _held(self) -> BlockWriter:
        """What the group under way is written with: another thread's failure is not its own."""
        if self._writer is None:
            raise JournalClosed(self._directory)
        return self._writer

    def _poison(self, error: BaseException) -> None:
        """Stop all writing: what the device holds is now unknown, so nothing may follow it."""
        reason = str(error) or type(error).__name__
        self._failed = self._failed or reason
        if isinstance(error, OSError):
            raise JournalWriteFailed(self._path, self._offset, reason) from error

    def _check(self, group: GroupRecord) -> None:
        """Refuse what must not be written."""
        if group.first_sequence != self._position.next_sequence:
            raise JournalOutOfOrder(self._position.next_sequence, group.first_sequence)
        if not self._position.epoch <= group.epoch <= EPOCH_MAX:
            raise JournalEpochStale(group.epoch, self._position.epoch)
        if not 0 < len(group.payload) <= self.group_bytes_max:
            raise JournalGroupTooLarge(
                f"a group of {len(group.payload)} bytes is outside 1 to {self.group_bytes_max}: "
                "commit smaller groups"
            )
        if not 0 < group.count <= GROUP_COUNT_MAX or group.next_sequence > SEQUENCE_MAX:
            raise JournalGroupTooLarge(
                f"a group of {group.count} records is outside 1 to {GROUP_COUNT_MAX}: "
                "commit smaller groups"
            )

    def _rotate(self, group: GroupRecord) -> BlockWriter:
        """Begin the segment that `group` will be the first of."""
        position = self._position._replace(epoch=group.epoch)
        header = self._header(position, self.recovered.genesis)
        # Named before it is made, so that an error names the file that it is about.
        self._path = segment_path(self._directory, group.first_sequence)
        self._offset = HEADER_BYTES
        with self._next_lock:
            self._writable()  # unless a step of it has just failed
            builder, self._next = self._next or self._builder(), None
            path = builder.finish(header)
        return self._open_segment(path, header.segment_bytes, header.alignment)

    def _read(self, sequence: int, end: int) -> Iterator[GroupRecord]:
        if sequence == end:
            return
        walk = JournalWalk(
            self._files,
            self._directory,
            from_sequence=sequence,
            rules_version=self._rules_version,
            genesis=self._genesis,
            anchor=self._start,
        )
        with closing(walk.groups()) as groups:
            for group in groups:
                if group.next_sequence > sequence:
                    yield group
                if group.next_sequence >= end:
                    return
        last = walk.stats[-1]
        reason = f"the records {walk.position.next_sequence} to {end - 1} can no longer be read"
        raise JournalDamaged(last.path, last.used_bytes, reason)


def check_options(rules_version: int, segment_bytes: int, alignment: int | None) -> None:
    """Raise ValueError unless the format can hold these."""
    if not 0 <= rules_version <= RULES_VERSION_MAX:
        raise ValueError(f"rules_version {rules_version} is outside 0 to {RULES_VERSION_MAX}")
    if alignment is not None and alignment not in BLOCK_ALIGNMENTS:
        raise ValueError(f"alignment {alignment} is none of {BLOCK_ALIGNMENTS}")
    in_bounds = SEGMENT_BYTES_MIN <= segment_bytes <= SEGMENT_BYTES_MAX
    if not in_bounds or segment_bytes % SEGMENT_BYTES_MIN:
        raise ValueError(
            f"segment_bytes {segment_bytes} is no multiple of {SEGMENT_BYTES_MIN} "
            f"up to {SEGMENT_BYTES_MAX}"
        )
