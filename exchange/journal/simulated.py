"""A disk in memory that forgets what was not synced, and fails when it is told to.

It keeps apart what a file holds now and what would survive a loss of power: writes count from the
next `fdatasync` of their file, a durable write at once and for itself alone, one that was handed
over from when it was waited for, names from the next `sync_directory` of their folder. `crash`
makes the disk that a machine would find afterwards: of the writes that were not synced, each sector
is there or not, by chance; with `harm` some of them are torn, or have a flipped bit.

    disk = SimulatedDisk(faults={7: Fault(errno.EIO)})   # the eighth change fails
    log = LocalLog(Path("journal"), ..., files=disk)
    after = disk.crash(random.Random(1))
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Mapping
from pathlib import Path
from random import Random
from typing import Final, NamedTuple

from exchange.journal.files import LockHeld
from exchange.journal.format import SECTOR_BYTES
from exchange.journal.writers import WriteMode, write_whole


class SimulatedCrash(BaseException):
    """The machine stopped in the middle of a change. Not an Exception: nobody may handle it."""


class Fault(NamedTuple):
    """What happens instead of a change.

    Attributes:
        error: An errno, or 0 for a change that half succeeds without an error (a short write).
        written: How many bytes of a write reach the file all the same.
        crash: The machine stops there.
    """

    error: int = 0
    written: int = 0
    crash: bool = False


class Change(NamedTuple):
    """One change that was asked of the disk."""

    operation: str
    path: Path
    size: int


class _Write(NamedTuple):
    """A write that is not synced, or one that is (`sure`) but follows some that are not."""

    offset: int
    data: bytes
    sure: bool


class _Inode:
    """A file's bytes, now and on the platter, and the writes between the two."""

    def __init__(self) -> None:
        self.now = bytearray()
        self.synced = bytearray()
        self.unsynced: list[_Write | int] = []  # or a new size

    def write(self, data: bytes, offset: int, *, sure: bool = False) -> _Write:
        _put(self.now, data, offset)
        write = _Write(offset, data, sure)
        if sure and not self.unsynced:
            _put(self.synced, data, offset)
        else:
            self.unsynced.append(write)
        return write

    def show(self, data: bytes, offset: int) -> None:
        """To readers; what the platter holds is another matter."""
        _put(self.now, data, offset)

    def forget(self, write: _Write) -> None:
        self.unsynced.remove(write)

    def truncate(self, size: int) -> None:
        _resize(self.now, size)
        self.unsynced.append(size)

    def sync(self) -> None:
        self.synced = bytearray(self.now)
        self.unsynced = []

    def after_crash(self, chance: Random, harm: float) -> _Inode:
        survivor = _Inode()
        content = bytearray(self.synced)
        for change in self.unsynced:
            if isinstance(change, int):
                if chance.random() < 0.5:
                    _resize(content, change)
            elif change.sure:
                _put(content, change.data, change.offset)
            else:
                _put_some(content, change, chance, harm)
        survivor.now, survivor.synced = bytearray(content), content
        return survivor


def _put(content: bytearray, data: bytes | bytearray, offset: int) -> None:
    if len(content) < offset + len(data):
        _resize(content, offset + len(data))
    content[offset : offset + len(data)] = data


def _put_some(content: bytearray, write: _Write, chance: Random, harm: float) -> None:
    """Put each sector or not; of those that are put, harm some."""
    offset, data, _ = write
    for start in range(offset - offset % SECTOR_BYTES, offset + len(data), SECTOR_BYTES):
        if chance.random() < 0.5:
            continue
        first, last = max(start, offset), min(start + SECTOR_BYTES, offset + len(data))
        sector = bytearray(data[first - offset : last - offset])
        if harm and chance.random() < harm:
            if chance.random() < 0.5:
                del sector[chance.randrange(len(sector)) :]
            else:
                sector[chance.randrange(len(sector))] ^= 1 << chance.randrange(8)
        _put(content, sector, first)


def _resize(content: bytearray, size: int) -> None:
    del content[size:]
    content.extend(bytes(size - len(content)))


class SimulatedFile:
    """An open file of a simulated disk."""

    def __init__(self, disk: SimulatedDisk, path: Path, inode: _Inode) -> None:
        self._disk = disk
        self._path = path
        self._inode = inode
        self._flight = _Write(0, b"", sure=False)
        self._before = b""

    def pread(self, size: int, offset: int) -> bytes:
        """See JournalFile."""
        self._disk.reads += 1
        if self._disk.read_error:
            raise OSError(self._disk.read_error, os.strerror(self._disk.read_error))
        return bytes(self._inode.now[offset : offset + size])

    def pwrite(self, data: bytes | memoryview, offset: int) -> int:
        """See JournalFile."""
        fault = self._disk.begin("pwrite", self._path, len(data))
        taken = bytes(data if fault is None else data[: fault.written])
        if taken:
            self._inode.write(taken, offset)
        self._disk.finish(fault)
        return len(taken)

    def pwrite_durable(self, data: bytes | memoryview, offset: int) -> int:
        """Write, and sync what was written and nothing else; how many bytes were taken."""
        fault = self._disk.begin("pwrite_durable", self._path, len(data))
        taken = bytes(data if fault is None else data[: fault.written])
        if taken:
            done = fault is None or not (fault.error or fault.crash)
            self._inode.write(taken, offset, sure=done)
        self._disk.finish(fault)
        return len(taken)

    def submit(self, data: bytes, offset: int) -> None:
        """Hand a durable write over: it can be read, and until `wait` power may take any of it."""
        fault = self._disk.begin("submit", self._path, len(data))
        if fault is None or not fault.error:
            taken = data[: fault.written] if fault is not None and fault.crash else data
            self._before = bytes(self._inode.now[offset : offset + len(taken)])
            self._flight = self._inode.write(taken, offset)
        self._disk.finish(fault)

    def wait(self) -> int:
        """Return once what was handed over is durable; how many bytes were taken.

        After an error or a crash power may still take any of them.
        """
        offset, data, _ = self._flight
        fault = self._disk.begin("wait", self._path, len(data))
        taken = data if fault is None else data[: fault.written]
        if fault is not None:
            self._inode.show(self._before[len(taken) :], offset + len(taken))
        if fault is None or not (fault.error or fault.crash):
            self._inode.forget(self._flight)
            self._inode.write(taken, offset, sure=True)
        self._disk.finish(fault)
        return len(taken)

    def fdatasync(self) -> None:
        """See JournalFile. A sync that fails leaves its writes readable, but not durable."""
        fault = self._disk.begin("fdatasync", self._path, 0)
        if fault is None:
            self._inode.sync()
        self._disk.finish(fault)

    def truncate(self, size: int) -> None:
        """See JournalFile."""
        fault = self._disk.begin("truncate", self._path, size)
        if fault is None:
            self._inode.truncate(size)
        self._disk.finish(fault)

    def size(self) -> int:
        """See JournalFile."""
        return len(self._inode.now)

    def drop_cache(self) -> None:
        """See JournalFile. There is no cache: reads see the newest bytes."""

    def close(self) -> None:
        """See JournalFile."""


class SimulatedWriter:
    """A BlockWriter of a simulated disk, with the changes that the real one of its mode makes."""

    def __init__(self, file: SimulatedFile, alignment: int, mode: WriteMode) -> None:
        self.mode = mode
        self._file = file
        self._alignment = alignment
        self._begun = b"", 0

    def begin(self, block: bytes, offset: int) -> None:
        """See BlockWriter."""
        self._begun = block, offset
        if self.mode is WriteMode.OVERLAPPED:
            self._file.submit(block, offset)

    def finish(self) -> None:
        """See BlockWriter."""
        block, offset = self._begun
        taken = 0
        if self.mode is WriteMode.OVERLAPPED:
            taken = self._file.wait()
            taken -= taken % self._alignment if taken < len(block) else 0
        self._write(block[taken:], offset + taken)

    def take_back(self) -> None:
        """See BlockWriter."""
        if self.mode is not WriteMode.OVERLAPPED:
            return  # nothing was written
        with contextlib.suppress(OSError):
            self._file.wait()
        block, offset = self._begun
        self._write(bytes(self._alignment), offset)
        self._write(bytes(len(block)), offset)

    def _write(self, data: bytes, offset: int) -> None:
        two_calls = self.mode is WriteMode.FDATASYNC
        put = self._file.pwrite if two_calls else self._file.pwrite_durable
        step = self._alignment if self.mode in (WriteMode.OVERLAPPED, WriteMode.DIRECT) else 1
        view = memoryview(data)
        write_whole(lambda at: put(view[at:], offset + at), len(data), step)
        if two_calls:
            self._file.fdatasync()

    def close(self) -> None:
        """See BlockWriter."""


class _SimulatedLock:
    def __init__(self, held: set[Path], path: Path) -> None:
        self._held = held
        self._path = path
        held.add(path)

    def close(self) -> None:
        self._held.discard(self._path)


class SimulatedDisk:
    """A FileSystem in memory.

    Args:
        faults: By the number of the change, from 0, counted over all files.
        write_mode: How blocks become durable; by default the way in which most can go wrong.

    Attributes:
        changes: All that was asked for so far.
        reads: How many reads were asked for so far.
        read_error: An errno that every read fails with, or 0.
    """

    HOLDER: Final = "simulated"

    def __init__(
        self,
        faults: Mapping[int, Fault] | None = None,
        write_mode: WriteMode = WriteMode.OVERLAPPED,
    ) -> None:
        self.changes: list[Change] = []
        self.reads = 0
        self.read_error = 0
        self._faults = dict(faults or {})
        self._write_mode = write_mode
        self._names: dict[Path, _Inode] = {}
        self._synced_names: dict[Path, _Inode] = {}
        self._locks: set[Path] = set()

    def open(
        self,
        path: Path,
        *,
        write: bool = False,  # noqa: ARG002 - every simulated file can be written
        create: bool = False,
    ) -> SimulatedFile:
        """See FileSystem."""
        if create:
            if path in self._names:
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path))
            fault = self.begin("create", path, 0)
            if fault is None:
                self._names[path] = _Inode()
            self.finish(fault)
        if path not in self._names:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
        return SimulatedFile(self, path, self._names[path])

    def open_writer(self, path: Path, alignment: int) -> SimulatedWriter:
        """See FileSystem."""
        return SimulatedWriter(self.open(path), alignment, self._write_mode)

    def block_bytes(self, directory: Path) -> int:  # noqa: ARG002 - all folders are on one disk
        """See FileSystem."""
        return SECTOR_BYTES

    def names(self, directory: Path) -> list[str]:
        """See FileSystem."""
        return sorted(path.name for path in self._names if path.parent == directory)

    def make_directory(self, directory: Path) -> None:
        """See FileSystem. Folders are only names here."""

    def sync_directory(self, directory: Path) -> None:
        """See FileSystem."""
        fault = self.begin("sync_directory", directory, 0)
        if fault is None:
            kept = {p: i for p, i in self._synced_names.items() if p.parent != directory}
            there = {p: i for p, i in self._names.items() if p.parent == directory}
            self._synced_names = kept | there
        self.finish(fault)

    def rename(self, old: Path, new: Path) -> None:
        """See FileSystem."""
        fault = self.begin("rename", old, 0)
        if fault is None:
            self._names[new] = self._names.pop(old)
        self.finish(fault)

    def remove(self, path: Path) -> None:
        """See FileSystem."""
        fault = self.begin("remove", path, 0)
        if fault is None:
            del self._names[path]
        self.finish(fault)

    def lock(self, path: Path) -> _SimulatedLock:
        """See FileSystem."""
        if path in self._locks:
            raise LockHeld(self.HOLDER)
        return _SimulatedLock(self._locks, path)

    def content(self, path: Path) -> bytearray:
        """A file's bytes, to look at or to damage; what is changed here counts as synced."""
        inode = self._names[path]
        inode.synced = inode.now
        inode.unsynced = []
        return inode.now

    def crash(self, chance: Random, harm: float = 0.0) -> SimulatedDisk:
        """The disk that a restart finds: no faults, no locks, and only what was sure to stay.

        Names that were not synced are there or not, folder by folder, as a whole.

        Args:
            chance: Decides.
            harm: Share of the sectors that were not synced and are there, but cut at some byte or
                with a flipped bit: a device that does not even write a sector whole or not at all.
        """
        after = SimulatedDisk(write_mode=self._write_mode)
        survivors = {id(i): i.after_crash(chance, harm) for i in self._inodes()}
        for folder in sorted({path.parent for path in (*self._names, *self._synced_names)}):
            names = self._names if chance.random() < 0.5 else self._synced_names
            found = {p: survivors[id(i)] for p, i in names.items() if p.parent == folder}
            after._names.update(found)
        after._synced_names = dict(after._names)
        return after

    def begin(self, operation: str, path: Path, size: int) -> Fault | None:
        """Count a change and say what happens instead of it, if anything does."""
        self.changes.append(Change(operation, path, size))
        return self._faults.get(len(self.changes) - 1)

    def finish(self, fault: Fault | None) -> None:
        """Raise what the fault says."""
        if fault is None:
            return
        if fault.crash:
            raise SimulatedCrash
        if fault.error:
            raise OSError(fault.error, os.strerror(fault.error))

    def _inodes(self) -> list[_Inode]:
        return [*self._names.values(), *self._synced_names.values()]
