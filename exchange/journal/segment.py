"""One segment on disk: making it, reading its header, walking its groups, judging its end."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

from exchange.journal.errors import JournalDamaged, JournalReadFailed, JournalVersionMismatch
from exchange.journal.files import FileSystem, JournalFile, write_all
from exchange.journal.format import (
    BLOCK_MAGIC,
    FORMAT_VERSION,
    HEAD_BYTES,
    HEADER_BYTES,
    BadBlock,
    GroupRecord,
    Position,
    SegmentHeader,
    align,
    check_head,
    decode_body,
    decode_head,
    decode_header,
    encode_header,
)

SEGMENT_SUFFIX: Final = ".log"
# A segment gets its real name only when it is whole; start-up removes what has this one.
UNFINISHED_SUFFIX: Final = ".new"
UNFINISHED_NAME: Final = "next" + UNFINISHED_SUFFIX
"""Of what is being written and has no name of its own yet."""
READ_BYTES: Final = 1 << 20
_ZEROS: Final = bytes(READ_BYTES)
_NAME_DIGITS: Final = 20


class TornTail(NamedTuple):
    """A group whose writing was cut off, so that it was never acknowledged.

    Attributes:
        path: The last segment.
        offset: Where the last good group ends, in bytes.
        bytes: From there to the last byte that is not zero.
        reason: What is missing.
    """

    path: Path
    offset: int
    bytes: int
    reason: str


def segment_path(directory: Path, first_sequence: int) -> Path:
    """Where the segment that begins with this sequence number lies."""
    return directory / f"{first_sequence:0{_NAME_DIGITS}d}{SEGMENT_SUFFIX}"


def segment_paths(files: FileSystem, directory: Path) -> list[Path]:
    """The segments in order.

    Raises:
        JournalReadFailed: The folder cannot be read.
    """
    try:
        names = files.names(directory)
    except OSError as error:
        raise JournalReadFailed(directory, error) from error
    return [directory / name for name in names if is_segment_name(name)]


def is_segment_name(name: str) -> bool:
    """Whether a file of this name is a segment."""
    stem = name.removesuffix(SEGMENT_SUFFIX)
    return name != stem and len(stem) == _NAME_DIGITS and stem.isascii() and stem.isdigit()


class SegmentBuilder:
    """Makes a segment: zeros first, which may be written ahead, then header and name.

    All methods raise OSError if there is no room or the device fails; then nothing but an
    unfinished file is left, which the next start-up removes.
    """

    def __init__(self, files: FileSystem, directory: Path, segment_bytes: int) -> None:
        self._files = files
        self._directory = directory
        self._segment_bytes = segment_bytes
        self._filled = HEADER_BYTES
        self._path = directory / UNFINISHED_NAME
        self._file = files.open(self._path, create=True)

    @property
    def filled(self) -> int:
        """How many bytes of it are there."""
        return self._filled

    @property
    def ready(self) -> bool:
        """Whether all zeros are written."""
        return self._filled == self._segment_bytes

    def fill(self, size: int) -> bool:
        """Write and sync the next `size` zeros; whether all are there now."""
        if self._filled < self._segment_bytes:
            self._write_zeros(size)
            self._file.fdatasync()
        return self.ready

    def finish(self, header: SegmentHeader) -> Path:
        """Make it a segment; on return it is durable, name and all."""
        path = segment_path(self._directory, header.first_sequence)
        try:
            self._write_zeros(self._segment_bytes)
            write_all(self._file, encode_header(header), 0)
            self._file.fdatasync()
        finally:
            self.close()
        self._files.rename(self._path, path)
        self._files.sync_directory(self._directory)
        return path

    def close(self) -> None:
        """Close the file; unless it was finished, it is left for start-up to remove."""
        self._file.close()

    def _write_zeros(self, size: int) -> None:
        end = min(self._filled + size, self._segment_bytes)
        fill_zeros(self._file, self._filled, end)
        self._filled = end


def fill_zeros(file: JournalFile, start: int, end: int) -> None:
    """Write zeros, so that the blocks are the file's own before they are needed.

    Raises:
        OSError: No room, or the device failed.
    """
    for at in range(start, end, READ_BYTES):
        write_all(file, _ZEROS[: min(READ_BYTES, end - at)], at)


def read_header(file: JournalFile, path: Path) -> SegmentHeader:
    """Read and check a segment's header.

    Raises:
        JournalDamaged: It is not what was written.
        JournalVersionMismatch: It has a format that this program does not know.
        JournalReadFailed: The device failed.
    """
    try:
        page = file.pread(HEADER_BYTES, 0)
    except OSError as error:
        raise JournalReadFailed(path, error) from error
    try:
        header = decode_header(page)
    except ValueError as error:
        raise JournalDamaged(path, 0, str(error), length=HEADER_BYTES) from error
    if header.format_version != FORMAT_VERSION:
        raise JournalVersionMismatch(path, "format", header.format_version, FORMAT_VERSION)
    if segment_path(path.parent, header.first_sequence) != path:
        reason = f"the segment begins at sequence {header.first_sequence}, its name says another"
        raise JournalDamaged(path, 0, reason, length=HEADER_BYTES)
    return header


class SegmentScan:
    """Walks the good groups of one segment.

    Attributes:
        offset: Where the next group begins, in bytes.
        position: What the next group must fit.
        fault: Why the walk stopped, once it has.
    """

    def __init__(self, file: JournalFile, path: Path, header: SegmentHeader) -> None:
        self.path = path
        self.header = header
        self.offset = HEADER_BYTES
        self.position = Position(header.first_sequence, header.epoch, header.previous_hash)
        self.fault: BadBlock | None = None
        self._file = file

    def groups(self) -> Iterator[GroupRecord]:
        """The groups from `offset` on; stops where no good one begins and sets `fault`.

        Can be called again, and then sees what was written in the meantime. O(bytes).

        Raises:
            JournalReadFailed: The device failed.
        """
        window, base = memoryview(b""), self.offset
        alignment, segment_bytes = self.header.alignment, self.header.segment_bytes
        self.fault = None
        while True:
            try:
                at = self.offset - base
                if at + HEAD_BYTES > len(window):
                    window, base, at = self._read(READ_BYTES), self.offset, 0
                head = decode_head(window[at : at + HEAD_BYTES])
                check_head(head, self.position, segment_bytes - self.offset)
                extent = align(head.size, alignment)
                if at + extent > len(window):
                    window, base, at = self._read(max(READ_BYTES, extent)), self.offset, 0
                block = decode_body(head, window[at : at + extent])
            except BadBlock as fault:
                self.fault = fault
                return
            group = block.group
            self.offset += extent
            self.position = Position(group.next_sequence, group.epoch, block.chain_hash)
            yield group

    def end(self, *, sealed: bool) -> TornTail | None:
        """Judge what lies after the last good group, once `groups` has stopped.

        Args:
            sealed: Another segment follows, so that nothing but zeros may be here.

        Returns:
            The torn tail, or None where only zeros follow.

        Raises:
            JournalDamaged: Bytes here were written whole and are not what was written.
            JournalReadFailed: The device failed.
        """
        fault = self.fault
        assert fault is not None
        debris = self._debris()
        if not debris:
            return None
        good = self._sound_head_after(debris, fault.extent or self.header.alignment)
        if good is not None:
            raise self._damaged(fault, debris, f"; a good group follows at offset {good}")
        if sealed:
            raise self._damaged(fault, debris, "; another segment follows")
        within = len(debris) <= (fault.extent or HEAD_BYTES)
        if fault.empty or (fault.cut_short and within):
            return TornTail(self.path, self.offset, len(debris), fault.reason)
        raise self._damaged(fault, debris, "", last_group=True)

    def begun(self) -> bool:
        """Whether there is anything but zeros where the next group's head would be.

        Raises:
            JournalReadFailed: The device failed.
        """
        return any(self._read(HEAD_BYTES))

    def readable(self) -> bool:
        """Whether a good group begins at `offset` now: a live writer may have finished it."""
        again = SegmentScan(self._file, self.path, self.header)
        again.offset, again.position = self.offset, self.position
        return next(again.groups(), None) is not None

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _read(self, size: int) -> memoryview:
        """Bytes from `offset` on. A file that was cut shorter reads as zeros, never written."""
        size = min(size, self.header.segment_bytes - self.offset)
        try:
            return memoryview(self._file.pread(size, self.offset).ljust(size, b"\0"))
        except OSError as error:
            raise JournalReadFailed(self.path, error) from error

    def _debris(self) -> bytes:
        """All that follows the last good group, without the zeros at the end."""
        start = last = self.offset
        try:
            for at in range(start, self.header.segment_bytes, READ_BYTES):
                chunk = self._file.pread(READ_BYTES, at)
                if chunk != _ZEROS and (kept := chunk.rstrip(b"\0")):
                    last = at + len(kept)
            return self._file.pread(last - start, start)
        except OSError as error:
            raise JournalReadFailed(self.path, error) from error

    def _sound_head_after(self, debris: bytes, start: int) -> int | None:
        """Offset in the file of a later group's head, if there is one in the debris.

        One group is written at a time, so a later head proves that the bad block was complete.
        """
        at = debris.find(BLOCK_MAGIC, start)
        while at >= 0:
            if at % self.header.alignment == 0:
                try:
                    head = decode_head(memoryview(debris)[at : at + HEAD_BYTES])
                except BadBlock:
                    head = None
                if head is not None and head.first_sequence > self.position.next_sequence:
                    return self.offset + at
            at = debris.find(BLOCK_MAGIC, at + 1)
        return None

    def _damaged(
        self, fault: BadBlock, debris: bytes, more: str, *, last_group: bool = False
    ) -> JournalDamaged:
        offset, length = fault.offset, fault.length
        if fault.empty:
            # Name the first byte that should not be there.
            offset = len(debris) - len(debris.lstrip(b"\0"))
            length = len(debris) - offset
        return JournalDamaged(
            self.path,
            self.offset + offset,
            fault.reason + more,
            length=length,
            last_group=last_group,
        )
