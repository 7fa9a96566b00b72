"""How a group's bytes become durable: four ways, all of them without a thread.

    overlapped O_DIRECT | O_DSYNC, handed to the kernel: the caller goes on while the disk writes
    direct     O_DIRECT | O_DSYNC: one system call, past the page cache (the default)
    dsync      O_DSYNC: one system call, through the page cache
    fdatasync  a write, then fdatasync: two system calls, on any file system

A way that the file system refuses for this file is replaced by the next one in that order
(`open_writer`). All of them write to blocks that were zeroed before, so no sync has to wait for the
file system's own journal. The figures: docs/adr/0024, 0046, 0048.
"""

from __future__ import annotations

import abc
import ctypes
import errno
import os
from collections.abc import Callable
from enum import StrEnum
from mmap import mmap
from pathlib import Path
from typing import Final, Protocol

from exchange.journal.overlapped import OverlappedWrite, give_back, lend


class WriteMode(StrEnum):
    """A way to make a block durable; each falls back to those after it."""

    OVERLAPPED = "overlapped"
    DIRECT = "direct"
    DSYNC = "dsync"
    FDATASYNC = "fdatasync"


WRITE_MODE: Final = WriteMode.DIRECT
"""What is tried first unless something else is asked for (docs/adr/0048)."""

_REFUSALS: Final = {errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS}
"""What a file system answers to a flag or an alignment that it does not know."""
_NOT_OVERLAPPED: Final = _REFUSALS | {errno.EAGAIN, errno.EPERM}
"""The same of an overlapped write, or of a system that has none: `exchange.journal.overlapped`."""
_MEMORY_STEP: Final = 1 << 16


class BlockWriter(Protocol):
    """Writes blocks to one segment. Raises OSError as the operating system would."""

    @property
    def mode(self) -> WriteMode:
        """How it does it."""

    def begin(self, block: bytes, offset: int) -> None:
        """Take a block to be written, one at a time; when that is done is the way's own affair.

        Args:
            block: Its length is a multiple of the segment's alignment.
            offset: A multiple of it too, in bytes.

        Raises:
            OSError: As `finish`.
        """

    def finish(self) -> None:
        """Return once the whole block is on stable storage.

        Raises:
            OSError: The device failed or took no more bytes; what it holds is unknown.
        """

    def take_back(self) -> None:
        """Instead of `finish`: return once there are zeros where the block was to be, durably.

        Raises:
            OSError: As `finish`.
        """

    def close(self) -> None:
        """Close it; more than once is allowed."""


def write_whole(put: Callable[[int], int], size: int, step: int = 1) -> None:
    """Call `put` until all is written, however few bytes are taken at a time.

    Args:
        put: Writes from this offset in the data on, and says how many bytes were taken.
        size: Of the data, in bytes.
        step: A call may begin only at multiples of it: what lies beyond is written again.

    Raises:
        OSError: The device failed, or stopped taking bytes.
    """
    written = 0
    while written < size:
        taken = put(written)
        if taken < min(step, size - written):
            raise OSError("the device took no more bytes")
        written += taken if written + taken == size else taken - taken % step


class _OsWriter(abc.ABC):
    """A descriptor of its own for the segment's blocks."""

    def __init__(self, path: Path, flags: int) -> None:
        self._descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC | flags)
        self._begun = b"", 0

    def put(self, data: memoryview, offset: int, step: int = 1) -> None:
        """Write all of it."""
        write_whole(lambda at: os.pwrite(self._descriptor, data[at:], offset + at), len(data), step)

    def begin(self, block: bytes, offset: int) -> None:
        """See BlockWriter."""
        self._begun = block, offset

    def finish(self) -> None:
        """See BlockWriter."""
        self.write(*self._begun)

    def take_back(self) -> None:
        """See BlockWriter."""
        self._begun = b"", 0  # nothing was written

    @abc.abstractmethod
    def write(self, block: bytes, offset: int) -> None:
        """Return once the whole block is on stable storage."""

    def close(self) -> None:
        """See BlockWriter."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


class DirectWriter(_OsWriter):
    """O_DIRECT | O_DSYNC, from memory that begins at a page.

    Raises:
        OSError: EINVAL where the file system has no direct writes, or none of this alignment.
    """

    mode: WriteMode = WriteMode.DIRECT

    def __init__(self, path: Path, alignment: int) -> None:
        super().__init__(path, os.O_DIRECT | os.O_DSYNC)
        self._alignment = alignment
        self._memory = memoryview(mmap(-1, _MEMORY_STEP))
        try:
            # The header is longer than any alignment, so this is inside the file. Some file
            # systems take the flag and refuse only what is not aligned to their own blocks.
            os.preadv(self._descriptor, [self._memory[:alignment]], alignment)
        except OSError:
            super().close()
            raise

    def write(self, block: bytes, offset: int) -> None:
        """See _OsWriter."""
        self.put(self.aligned(block), offset, self._alignment)

    def aligned(self, block: bytes) -> memoryview:
        """The block in memory that begins at a page; good until the next call."""
        size = len(block)
        if size > len(self._memory):
            self._memory = memoryview(mmap(-1, -(-size // _MEMORY_STEP) * _MEMORY_STEP))
        self._memory[:size] = block
        return self._memory[:size]


class OverlappedWriter(DirectWriter):
    """As `DirectWriter`, and the kernel writes from `begin` on.

    Raises:
        OSError: As `DirectWriter`; or the system has no such writes, or none left.
    """

    mode = WriteMode.OVERLAPPED

    def __init__(self, path: Path, alignment: int) -> None:
        super().__init__(path, alignment)
        self._write: OverlappedWrite | None = None
        self._overlaps = False
        try:
            self._write = lend()
        except OSError:
            super().close()
            raise

    def begin(self, block: bytes, offset: int) -> None:
        """See BlockWriter. What the file system will not take this way is written in `finish`."""
        assert self._write is not None, "it is closed"
        assert not self._overlaps, "one block at a time"
        super().begin(block, offset)
        data = self.aligned(block)
        address = ctypes.addressof(ctypes.c_char.from_buffer(data))
        try:
            self._write.begin(self._descriptor, address, len(data), offset)
            self._overlaps = True
        except OSError as error:
            if error.errno not in _NOT_OVERLAPPED:
                raise

    def finish(self) -> None:
        """See BlockWriter."""
        block, offset = self._begun
        if not self._overlaps:
            self.write(block, offset)
            return
        assert self._write is not None, "it is closed"
        self._overlaps = False
        taken = self._write.finish()
        if taken < len(block):  # The call goes on where the kernel stopped.
            taken -= taken % self._alignment
            self.put(self.aligned(block)[taken:], offset + taken, self._alignment)

    def take_back(self) -> None:
        """See BlockWriter. The head goes first: without it nothing that follows is a group."""
        if not self._overlaps:
            return
        assert self._write is not None, "it is closed"
        self._overlaps = False
        self._write.settle()
        block, offset = self._begun
        self.write(bytes(self._alignment), offset)
        self.write(bytes(len(block)), offset)

    def close(self) -> None:
        """See BlockWriter."""
        if self._write is not None:
            give_back(self._write)
            self._write = None
        super().close()


class DsyncWriter(_OsWriter):
    """O_DSYNC: the call returns when the block is durable."""

    mode: Final = WriteMode.DSYNC

    def __init__(self, path: Path, alignment: int) -> None:  # noqa: ARG002 - any alignment will do
        super().__init__(path, os.O_DSYNC)

    def write(self, block: bytes, offset: int) -> None:
        """See _OsWriter."""
        self.put(memoryview(block), offset)


class FdatasyncWriter(_OsWriter):
    """A write and an fdatasync."""

    mode: Final = WriteMode.FDATASYNC

    def __init__(self, path: Path, alignment: int) -> None:  # noqa: ARG002 - any alignment will do
        super().__init__(path, 0)

    def write(self, block: bytes, offset: int) -> None:
        """See _OsWriter."""
        self.put(memoryview(block), offset)
        os.fdatasync(self._descriptor)


_WRITERS: Final[dict[WriteMode, Callable[[Path, int], BlockWriter]]] = {
    WriteMode.OVERLAPPED: OverlappedWriter,
    WriteMode.DIRECT: DirectWriter,
    WriteMode.DSYNC: DsyncWriter,
    WriteMode.FDATASYNC: FdatasyncWriter,
}


def open_writer(path: Path, alignment: int, preferred: WriteMode = WRITE_MODE) -> BlockWriter:
    """The first way, from the preferred one on, that the file system has for this segment.

    Args:
        path: A segment, header and zeros written.
        alignment: Of its blocks, in bytes.
        preferred: The way to try first.

    Raises:
        OSError: The file cannot be opened.
    """
    modes = list(WriteMode)
    for mode in modes[modes.index(preferred) : -1]:
        try:
            return _WRITERS[mode](path, alignment)
        except OSError as error:
            refusals = _NOT_OVERLAPPED if mode is WriteMode.OVERLAPPED else _REFUSALS
            if error.errno not in refusals:
                raise
    return _WRITERS[modes[-1]](path, alignment)
