"""The receipt store: an append-only log of receipts in segments, and an index by lease.

    folder = LOCK | segments named by the number of their first receipt | index

Segments and groups have the journal's format (`exchange.journal.format`): checksums, a hash chain,
a torn tail that can be told from damage. A group holds the receipts of one batch. Receipts hold
digests and counts, no text of prompts or outputs, so they are not encrypted.

Whoever settles a lease again after a crash appends its receipt again: the last one counts.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Lock
from types import TracebackType
from typing import Final, Self

from exchange.journal import (
    JournalDamaged,
    JournalGenesisMismatch,
    JournalReadFailed,
    JournalVersionMismatch,
    TornTail,
)
from exchange.journal.files import (
    FileLock,
    FileSystem,
    JournalFile,
    LockHeld,
    OsFileSystem,
    write_all,
)
from exchange.journal.format import (
    BLOCK_ALIGNMENT,
    FIRST_SEQUENCE,
    FORMAT_VERSION,
    HEAD_BYTES,
    HEADER_BYTES,
    BadBlock,
    GroupRecord,
    Position,
    SegmentHeader,
    align,
    decode_body,
    decode_head,
    encode_block,
)
from exchange.journal.segment import (
    UNFINISHED_SUFFIX,
    SegmentBuilder,
    SegmentScan,
    fill_zeros,
    read_header,
    segment_path,
    segment_paths,
)
from exchange.journal.walk import genesis_digest
from exchange.receipts.errors import (
    ReceiptDamaged,
    ReceiptNotFound,
    ReceiptReadFailed,
    ReceiptsClosed,
    ReceiptsLocked,
    ReceiptWriteFailed,
)
from exchange.receipts.index import ReceiptIndex
from exchange.receipts.records import (
    Place,
    Receipt,
    check_batch,
    decode_receipts,
    encode_receipts,
)

RECEIPTS_VERSION: Final = 1
GENESIS: Final = b"flopex receipts"
SEGMENT_BYTES: Final = 16 << 20
"""32 000 receipts that came one at a time, or 50 000 that came together."""
LOCK_NAME: Final = "LOCK"
# One read for a receipt that came alone.
_READ_BYTES: Final = 2048


class ReceiptStore:
    """Receipts by lease, in a folder of this machine. Safe for threads; one appends at a time.

    `append` returns once the batch is durable: one write and one sync for all of it.

    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp()) / "receipts"
    >>> with ReceiptStore(folder, segment_bytes=1 << 16) as store:
    ...     store.append([Receipt(7, 1_000, b"signed"), Receipt(9, 1_000, b"signed too")])
    >>> with ReceiptStore(folder) as store:
    ...     store.get(9)
    b'signed too'

    Args:
        directory: Made if it does not exist.
        segment_bytes: Size of the segments that are made from now on, in bytes.
        cut_damaged_tail: The operator's decision to give up a damaged last group.
        files: Another file system, for tests.

    Raises:
        ReceiptsLocked: Another process has it.
        ReceiptDamaged: With the file and the offset.
        ReceiptReadFailed, ReceiptWriteFailed: The device failed.
    """

    def __init__(
        self,
        directory: Path,
        *,
        segment_bytes: int = SEGMENT_BYTES,
        cut_damaged_tail: bool = False,
        files: FileSystem | None = None,
    ) -> None:
        self._directory = directory
        self._segment_bytes = segment_bytes
        self._cut_damaged_tail = cut_damaged_tail
        self._files: FileSystem = OsFileSystem() if files is None else files
        self._appending = Lock()
        self._file: JournalFile | None = None
        self._path = directory
        self._header: SegmentHeader
        self._position: Position
        self._offset = 0
        self._firsts: list[int] = []
        self.torn_tail: TornTail | None = None
        self._lock: FileLock | None = self._take_lock()
        try:
            with self._writing():
                self._index = ReceiptIndex(self._files, directory)
                self._recover()
        except BaseException:
            self.close()
            raise

    @property
    def count(self) -> int:
        """Receipts that were ever appended."""
        return self._position.next_sequence - FIRST_SEQUENCE

    @property
    def segments(self) -> int:
        """Files that are kept."""
        return len(self._firsts)

    def append(self, receipts: Sequence[Receipt]) -> None:
        """Store a batch; on return it is durable. What is stored already is not stored again.

        After an error it can be tried again: what the device holds is then looked at first.

        Raises:
            ReceiptInvalid: A bound is broken; nothing was stored.
            ReceiptWriteFailed, ReceiptReadFailed: The device failed.
        """
        check_batch(receipts)
        with self._appending:
            self._need_open()
            with self._writing():
                if self._file is None:
                    self._recover()
                fresh = [receipt for receipt in receipts if not self._has(receipt)]
                if fresh:
                    self._append(fresh)

    def get(self, lease_id: int) -> bytes:
        """What was stored last for a lease. Two or three reads.

        Raises:
            ReceiptNotFound: Nothing, or its segment has expired.
            ReceiptDamaged: It is not what was written.
            ReceiptReadFailed: The device failed.
        """
        self._need_open()
        place = self._find(lease_id)
        if place is None:
            raise ReceiptNotFound(lease_id)
        for receipt in reversed(self._read_group(lease_id, place)):
            if receipt.lease_id == lease_id:
                return receipt.content
        path = segment_path(self._directory, place.segment)
        raise ReceiptDamaged(path, place.offset, f"no receipt of lease {lease_id} is here")

    def expire(self, before_ns: int) -> int:
        """Remove the segments whose receipts are all older; how many. The newest one stays.

        Raises:
            ReceiptDamaged, ReceiptReadFailed, ReceiptWriteFailed: As elsewhere.
        """
        removed = 0
        with self._appending:
            self._need_open()
            with self._writing():
                while len(self._firsts) > 1 and self._begins_by(self._firsts[1], before_ns):
                    first = self._firsts.pop(0)
                    self._files.remove(segment_path(self._directory, first))
                    removed += 1
                if removed:
                    self._files.sync_directory(self._directory)
        return removed

    def close(self) -> None:
        """Give the store back; more than once is allowed."""
        for held in (self._file, getattr(self, "_index", None), self._lock):
            if held is not None:
                held.close()
        self._file = self._lock = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    # ---- opening ----

    def _take_lock(self) -> FileLock:
        try:
            self._files.make_directory(self._directory)
            return self._files.lock(self._directory / LOCK_NAME)
        except LockHeld as held:
            raise ReceiptsLocked(self._directory, held.holder) from held
        except OSError as error:
            raise ReceiptWriteFailed(self._directory, error) from error

    def _need_open(self) -> None:
        if self._lock is None:
            raise ReceiptsClosed(self._directory)

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """Errors get their names; after any of them the next append looks at the device first."""
        try:
            with _named_errors():
                yield
        except OSError as error:
            self._let_go()
            raise ReceiptWriteFailed(self._path, error) from error
        except BaseException:
            self._let_go()
            raise

    def _let_go(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def _recover(self) -> None:
        """Find the end of the log, cut a torn tail, index what the index may lack."""
        for name in self._files.names(self._directory):
            if name.endswith(UNFINISHED_SUFFIX):
                self._files.remove(self._directory / name)
        paths = segment_paths(self._files, self._directory)
        if not paths:
            digest = genesis_digest(GENESIS)
            paths = [self._build(Position(FIRST_SEQUENCE, 0, digest))]
        firsts = [int(path.stem) for path in paths]
        covered = self._index.covered
        for first, path in zip(firsts[:-1], paths[:-1], strict=True):
            if first >= covered:
                self._index_segment(self._open(path), path, last=False)
        # The last writer may have died, or met an error, between writing and syncing.
        file = self._open(paths[-1], write=True)
        try:
            file.fdatasync()
            file.drop_cache()
            self._files.sync_directory(self._directory)
        except BaseException:
            file.close()
            raise
        self._firsts = firsts
        self._index_segment(file, paths[-1], last=True)
        self._index.cover(firsts[-1])

    def _open(self, path: Path, *, write: bool = False) -> JournalFile:
        self._path = path
        return self._files.open(path, write=write)

    def _index_segment(self, file: JournalFile, path: Path, *, last: bool) -> None:
        """Read and check a segment, note its receipts; the last one stays open."""
        try:
            header = self._checked_header(file, path)
            scan = SegmentScan(file, path, header)
            offset = scan.offset
            for group in scan.groups():
                self._note(decode_receipts(group.payload), Place(header.first_sequence, offset))
                offset = scan.offset
            torn = self._end(scan, sealed=not last)
            if last:
                self._cut(file, header, torn)
        except BaseException:
            file.close()
            raise
        if last:
            self._file, self._path, self._header = file, path, header
            self._position, self._offset = scan.position, scan.offset
            self.torn_tail = torn
        else:
            file.close()

    def _checked_header(self, file: JournalFile, path: Path) -> SegmentHeader:
        header = read_header(file, path)
        if header.rules_version != RECEIPTS_VERSION:
            raise JournalVersionMismatch(path, "version", header.rules_version, RECEIPTS_VERSION)
        if header.genesis != genesis_digest(GENESIS):
            raise JournalGenesisMismatch(path, header.genesis, genesis_digest(GENESIS))
        return header

    def _end(self, scan: SegmentScan, *, sealed: bool) -> TornTail | None:
        try:
            return scan.end(sealed=sealed)
        except JournalDamaged as damage:
            if not (damage.last_group and self._cut_damaged_tail):
                raise
            rest = scan.header.segment_bytes - scan.offset
            return TornTail(scan.path, scan.offset, rest, damage.reason)

    def _cut(self, file: JournalFile, header: SegmentHeader, torn: TornTail | None) -> None:
        size = file.size()
        if torn is not None:
            fill_zeros(file, torn.offset, min(torn.offset + torn.bytes, size))
        if size < header.segment_bytes:
            fill_zeros(file, size, header.segment_bytes)
        if torn is not None or size < header.segment_bytes:
            file.fdatasync()

    # ---- writing ----

    def _append(self, receipts: Sequence[Receipt]) -> None:
        assert self._file is not None
        payload = encode_receipts(receipts)
        group = GroupRecord(self._position.next_sequence, len(receipts), 0, payload)
        block, chain_hash = encode_block(group, self._position.chain_hash, self._header.alignment)
        if self._offset + len(block) > self._header.segment_bytes:
            self._rotate()
        write_all(self._file, block, self._offset)
        self._file.fdatasync()
        place = Place(self._header.first_sequence, self._offset)
        self._offset += len(block)
        self._position = Position(group.next_sequence, 0, chain_hash)
        self._note(receipts, place)

    def _rotate(self) -> None:
        """Begin the next segment; the index is made durable up to it first."""
        assert self._file is not None
        first = self._position.next_sequence
        self._index.cover(first)
        path = self._build(self._position)
        self._file.close()
        self._file = self._open(path, write=True)
        self._header = self._checked_header(self._file, path)
        self._offset = HEADER_BYTES
        self._firsts.append(first)

    def _build(self, position: Position) -> Path:
        self._path = segment_path(self._directory, position.next_sequence)
        builder = SegmentBuilder(self._files, self._directory, self._segment_bytes)
        return builder.finish(
            SegmentHeader(
                format_version=FORMAT_VERSION,
                rules_version=RECEIPTS_VERSION,
                epoch=0,
                first_sequence=position.next_sequence,
                alignment=BLOCK_ALIGNMENT,
                segment_bytes=self._segment_bytes,
                genesis=genesis_digest(GENESIS),
                previous_hash=position.chain_hash,
            )
        )

    def _note(self, receipts: Sequence[Receipt] | Iterator[Receipt], place: Place) -> None:
        for receipt in receipts:
            self._index.note(receipt.lease_id, place)

    # ---- reading ----

    def _has(self, receipt: Receipt) -> bool:
        with suppress(ReceiptNotFound, ReceiptDamaged):
            return self.get(receipt.lease_id) == receipt.content
        return False

    def _find(self, lease_id: int) -> Place | None:
        path = self._index.path
        try:
            return self._index.find(lease_id)
        except ValueError as error:
            reason = (
                f"{error}; stop the exchange and remove this file, it is made anew at the start"
            )
            raise ReceiptDamaged(path, lease_id, reason) from error
        except OSError as error:
            raise ReceiptReadFailed(path, error) from error

    def _read_group(self, lease_id: int, place: Place) -> list[Receipt]:
        path = segment_path(self._directory, place.segment)
        try:
            file = self._files.open(path)
            try:
                raw = file.pread(_READ_BYTES, place.offset)
                head = decode_head(memoryview(raw)[:HEAD_BYTES])
                extent = align(head.size, BLOCK_ALIGNMENT)
                if extent > len(raw):
                    raw = file.pread(extent, place.offset).ljust(extent, b"\0")
                block = decode_body(head, memoryview(raw)[:extent])
            finally:
                file.close()
        except FileNotFoundError as error:
            if place.segment < self._firsts[0]:
                raise ReceiptNotFound(lease_id) from error
            raise ReceiptDamaged(path, 0, "the segment is missing") from error
        except BadBlock as error:
            raise ReceiptDamaged(path, place.offset + error.offset, error.reason) from error
        except OSError as error:
            raise ReceiptReadFailed(path, error) from error
        return list(decode_receipts(block.group.payload))

    def _begins_by(self, first: int, before_ns: int) -> bool:
        """Whether the first receipt of a segment is older than that, and so all before it are."""
        path = segment_path(self._directory, first)
        file = self._files.open(path)
        try:
            scan = SegmentScan(file, path, self._checked_header(file, path))
            group = next(scan.groups(), None)
        finally:
            file.close()
        return group is not None and next(decode_receipts(group.payload)).time_ns < before_ns


@contextmanager
def _named_errors() -> Iterator[None]:
    """The journal's format finds the errors; here they are about receipts."""
    try:
        yield
    except JournalDamaged as error:
        raise ReceiptDamaged(error.path, error.offset, error.reason) from error
    except JournalVersionMismatch as error:
        reason = f"{error.what} {error.found} instead of {error.wanted}: use the release of it"
        raise ReceiptDamaged(error.path, 0, reason) from error
    except JournalGenesisMismatch as error:
        raise ReceiptDamaged(error.path, 0, "this is no segment of receipts") from error
    except JournalReadFailed as error:
        cause = error.__cause__
        assert isinstance(cause, OSError)
        raise ReceiptReadFailed(error.path, cause) from error
