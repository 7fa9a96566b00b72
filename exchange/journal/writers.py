"""How a group's bytes become durable: three ways, each inline and each one call for the caller.

    direct     O_DIRECT | O_DSYNC: one system call, past the page cache
    dsync      O_DSYNC: one system call, through the page cache
    fdatasync  a write, then fdatasync: two system calls, on any file system

A way that the file system refuses for this file is replaced by the next one in that order
(`open_writer`). All three write to blocks that were zeroed before, so no sync has to wait for the
file system's own journal. docs/adr/0024 has the figures.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from enum import StrEnum
from mmap import mmap
from pathlib import Path
from typing import Final, Protocol


class WriteMode(StrEnum):
    """A way to make a block durable; each falls back to those after it."""

    DIRECT = "direct"
    DSYNC = "dsync"
    FDATASYNC = "fdatasync"


WRITE_MODE: Final = WriteMode.DIRECT
"""What is tried first unless something else is asked for."""

_REFUSALS: Final = {errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS}
"""What a file system answers to a flag or an alignment that it does not know."""
_MEMORY_STEP: Final = 1 << 16


class BlockWriter(Protocol):
    """Writes blocks to one segment. Raises OSError as the operating system would."""

    @property
    def mode(self) -> WriteMode:
        """How it does it."""

    def write(self, block: bytes, offset: int) -> None:
        """Return once the whole block is on stable storage.

        Args:
            block: Its length is a multiple of the segment's alignment.
            offset: A multiple of it too, in bytes.

        Raises:
            OSError: The device failed or took no more bytes; what it holds is unknown.
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


class _OsWriter:
    """A descriptor of its own for the segment's blocks."""

    def __init__(self, path: Path, flags: int) -> None:
        self._descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC | flags)

    def put(self, data: memoryview, offset: int, step: int = 1) -> None:
        """Write all of it."""
        write_whole(lambda at: os.pwrite(self._descriptor, data[at:], offset + at), len(data), step)

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

    mode: Final = WriteMode.DIRECT

    def __init__(self, path: Path, alignment: int) -> None:
        super().__init__(path, os.O_DIRECT | os.O_DSYNC)
        self._alignment = alignment
        self._memory = memoryview(mmap(-1, _MEMORY_STEP))
        try:
            # The header is longer than any alignment, so this is inside the file. Some file
            # systems take the flag and refuse only what is not aligned to their own blocks.
            os.preadv(self._descriptor, [self._memory[:alignment]], alignment)
        except OSError:
            self.close()
            raise

    def write(self, block: bytes, offset: int) -> None:
        """See BlockWriter."""
        size = len(block)
        if size > len(self._memory):
            self._memory = memoryview(mmap(-1, -(-size // _MEMORY_STEP) * _MEMORY_STEP))
        self._memory[:size] = block
        self.put(self._memory[:size], offset, self._alignment)


class DsyncWriter(_OsWriter):
    """O_DSYNC: the call returns when the block is durable."""

    mode: Final = WriteMode.DSYNC

    def __init__(self, path: Path, alignment: int) -> None:  # noqa: ARG002 - any alignment will do
        super().__init__(path, os.O_DSYNC)

    def write(self, block: bytes, offset: int) -> None:
        """See BlockWriter."""
        self.put(memoryview(block), offset)


class FdatasyncWriter(_OsWriter):
    """A write and an fdatasync."""

    mode: Final = WriteMode.FDATASYNC

    def __init__(self, path: Path, alignment: int) -> None:  # noqa: ARG002 - any alignment will do
        super().__init__(path, 0)

    def write(self, block: bytes, offset: int) -> None:
        """See BlockWriter."""
        self.put(memoryview(block), offset)
        os.fdatasync(self._descriptor)


_WRITERS: Final = {writer.mode: writer for writer in (DirectWriter, DsyncWriter, FdatasyncWriter)}


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
            if error.errno not in _REFUSALS:
                raise
    return _WRITERS[modes[-1]](path, alignment)
