"""The few file operations that the journal needs, behind a seam.

`OsFileSystem` is the operating system's. `exchange.journal.simulated` has another, whose disk
forgets, tears and fails on command, so that tests need not wait for a real one to do it.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from typing import Final, Protocol

from exchange.journal.writers import WRITE_MODE, BlockWriter, WriteMode, open_writer, write_whole

BLOCK_BYTES_UNKNOWN: Final = 4096
"""A device's block where nobody says: most have this one, and it is the largest of the format."""
_PRIVATE_FILE: Final = 0o600
_PRIVATE_DIRECTORY: Final = 0o700
_HOLDER_BYTES_MAX: Final = 64


class LockHeld(Exception):
    """Somebody else holds the lock; `holder` is what they wrote into it."""

    def __init__(self, holder: str) -> None:
        self.holder = holder
        super().__init__(holder)


class JournalFile(Protocol):
    """An open file. All methods raise OSError as the operating system would."""

    def pread(self, size: int, offset: int) -> bytes:
        """Up to `size` bytes at `offset`; fewer only at the end of the file."""

    def pwrite(self, data: bytes | memoryview, offset: int) -> int:
        """Write and say how many bytes were taken, which may be fewer."""

    def fdatasync(self) -> None:
        """Return once all that was written is on stable storage, and the file's size too."""

    def truncate(self, size: int) -> None:
        """Set the file's size in bytes; what is added reads as zeros."""

    def size(self) -> int:
        """The file's size in bytes."""

    def drop_cache(self) -> None:
        """Ask that the next reads come from the device, as far as the platform can."""

    def close(self) -> None:
        """Close it; more than once is allowed."""


class FileLock(Protocol):
    """A held lock."""

    def close(self) -> None:
        """Give it back."""


class FileSystem(Protocol):
    """Files by name. All methods raise OSError as the operating system would."""

    def open(self, path: Path, *, write: bool = False, create: bool = False) -> JournalFile:
        """Open a file; `create` makes it new and fails if it exists."""

    def open_writer(self, path: Path, alignment: int) -> BlockWriter:
        """Open a segment to write blocks of this alignment, in bytes, to it."""

    def block_bytes(self, directory: Path) -> int:
        """What the device under a folder writes as a whole or not at all, in bytes."""

    def names(self, directory: Path) -> list[str]:
        """Sorted names in a folder; none if there is no such folder."""

    def make_directory(self, directory: Path) -> None:
        """Make a folder and its parents, durably; an existing one is left as it is."""

    def sync_directory(self, directory: Path) -> None:
        """Return once the folder's names are on stable storage."""

    def rename(self, old: Path, new: Path) -> None:
        """Give a file another name, replacing what had it."""

    def remove(self, path: Path) -> None:
        """Take a name away."""

    def lock(self, path: Path) -> FileLock:
        """Take an exclusive lock at once, or raise LockHeld."""


class OsFile:
    """A file of the operating system."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def pread(self, size: int, offset: int) -> bytes:
        """See JournalFile."""
        data = os.pread(self._descriptor, size, offset)
        if len(data) == size or not data:
            return data
        parts = [data]
        taken = len(data)
        while taken < size and (more := os.pread(self._descriptor, size - taken, offset + taken)):
            parts.append(more)
            taken += len(more)
        return b"".join(parts)

    def pwrite(self, data: bytes | memoryview, offset: int) -> int:
        """See JournalFile."""
        return os.pwrite(self._descriptor, data, offset)

    def fdatasync(self) -> None:
        """See JournalFile."""
        os.fdatasync(self._descriptor)

    def truncate(self, size: int) -> None:
        """See JournalFile."""
        os.ftruncate(self._descriptor, size)

    def size(self) -> int:
        """See JournalFile."""
        return os.fstat(self._descriptor).st_size

    def drop_cache(self) -> None:
        """See JournalFile. Pages that are not yet written stay."""
        os.posix_fadvise(self._descriptor, 0, 0, os.POSIX_FADV_DONTNEED)

    def close(self) -> None:
        """See JournalFile."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


class OsFileSystem:
    """Files of the operating system.

    Args:
        write_mode: How blocks become durable, where the file system has that way.
    """

    def __init__(self, write_mode: WriteMode = WRITE_MODE) -> None:
        self._write_mode = write_mode

    def open(self, path: Path, *, write: bool = False, create: bool = False) -> OsFile:
        """See FileSystem. Files are for their owner only."""
        flags = os.O_RDWR if write or create else os.O_RDONLY
        if create:
            flags |= os.O_CREAT | os.O_EXCL
        return OsFile(os.open(path, flags | os.O_CLOEXEC, _PRIVATE_FILE))

    def open_writer(self, path: Path, alignment: int) -> BlockWriter:
        """See FileSystem."""
        return open_writer(path, alignment, self._write_mode)

    def block_bytes(self, directory: Path) -> int:
        """See FileSystem. A partition's are the disk's; a folder in memory has none to tell."""
        device = directory.stat().st_dev
        at = Path(f"/sys/dev/block/{os.major(device)}:{os.minor(device)}")
        for disk in (at, at.resolve().parent):
            try:
                return int((disk / "queue/physical_block_size").read_text())
            except (OSError, ValueError):
                continue
        return BLOCK_BYTES_UNKNOWN

    def names(self, directory: Path) -> list[str]:
        """See FileSystem."""
        try:
            return sorted(path.name for path in directory.iterdir())
        except FileNotFoundError:
            return []

    def make_directory(self, directory: Path) -> None:
        """See FileSystem. New folders are for their owner only."""
        if directory.is_dir():
            return
        self.make_directory(directory.parent)
        directory.mkdir(_PRIVATE_DIRECTORY, exist_ok=True)
        self.sync_directory(directory.parent)

    def sync_directory(self, directory: Path) -> None:
        """See FileSystem."""
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def rename(self, old: Path, new: Path) -> None:
        """See FileSystem."""
        old.replace(new)

    def remove(self, path: Path) -> None:
        """See FileSystem."""
        path.unlink()

    def lock(self, path: Path) -> OsFile:
        """See FileSystem. The lock goes with the process, however it ends."""
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, _PRIVATE_FILE)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = os.pread(descriptor, _HOLDER_BYTES_MAX, 0).decode(errors="replace").strip()
            os.close(descriptor)
            raise LockHeld(holder) from error
        except OSError:
            os.close(descriptor)
            raise
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        return OsFile(descriptor)


def write_all(file: JournalFile, data: bytes | memoryview, offset: int) -> None:
    """Write every byte, however few the device takes at a time.

    Raises:
        OSError: The device failed, or stopped taking bytes.
    """
    view = memoryview(data)
    write_whole(lambda at: file.pwrite(view[at:], offset + at), len(data))
