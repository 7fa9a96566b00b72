"""Snapshots: one file each, which says where in the journal it stands and shows any damage.

    snapshot = head (256) | state | end mark
    head     = magic, format, rules version, epoch, last sequence, state bytes, genesis digest,
               chain hash, outcomes digest, SHA-256 of the state | zeros | CRC-32 of all before it

All integers are little-endian and unsigned. What the state's bytes mean is the caller's affair; its
SHA-256 is the state's digest. The chain hash is the journal's after the last sequence: it ties the
snapshot to one history and to one place in it. A file gets its name only when it is whole and
synced, so one that is cut short under its name is damage.
"""

from __future__ import annotations

import struct
from hashlib import sha256
from pathlib import Path
from typing import Final, NamedTuple
from zlib import crc32

from exchange.journal.errors import JournalWriteFailed, SnapshotDamaged, SnapshotsBusy
from exchange.journal.files import FileLock, FileSystem, LockHeld, OsFileSystem, write_all
from exchange.journal.format import FIRST_SEQUENCE, SEQUENCE_MAX, Position
from exchange.journal.segment import READ_BYTES, UNFINISHED_NAME

SNAPSHOT_FORMAT: Final = 1
SNAPSHOT_SUFFIX: Final = ".snapshot"
SNAPSHOT_BYTES_MAX: Final = 1 << 36
"""Largest state: more than any machine of today would hold as objects."""
HEAD_BYTES: Final = 256
MAGIC: Final = b"FLOPEXSN"
END_MARK: Final = b"FXSE"

_HEAD: Final = struct.Struct("<8sIIQQQ32s32s32s32s")
_CRC: Final = struct.Struct("<I")
_CRC_AT: Final = HEAD_BYTES - _CRC.size
_NAME_DIGITS: Final = 20
_LOCK_NAME: Final = "LOCK"


class SnapshotHead(NamedTuple):
    """What a snapshot says of itself.

    Attributes:
        rules_version: Of the state machine whose state it is.
        genesis: SHA-256 of what the journal started from.
        position: Of the journal right behind the last command that the state has seen.
        outcomes: Digest over the events of all commands so far.
        digest: SHA-256 of the state.
        size: Bytes of the state.
    """

    rules_version: int
    genesis: bytes
    position: Position
    outcomes: bytes
    digest: bytes
    size: int

    @property
    def sequence(self) -> int:
        """Of the last command that the state has seen."""
        return self.position.next_sequence - 1


class Snapshot(NamedTuple):
    """A snapshot that was read whole and checked."""

    head: SnapshotHead
    state: memoryview


def head_of(
    rules_version: int, genesis: bytes, position: Position, outcomes: bytes, state: bytes
) -> SnapshotHead:
    """The head of a snapshot of this state."""
    digest = sha256(state).digest()
    return SnapshotHead(rules_version, genesis, position, outcomes, digest, len(state))


def encode_head(head: SnapshotHead) -> bytes:
    """A head as bytes."""
    packed = _HEAD.pack(
        MAGIC,
        SNAPSHOT_FORMAT,
        head.rules_version,
        head.position.epoch,
        head.sequence,
        head.size,
        head.genesis,
        head.position.chain_hash,
        head.outcomes,
        head.digest,
    ).ljust(_CRC_AT, b"\0")
    return packed + _CRC.pack(crc32(packed))


def decode_head(page: bytes) -> SnapshotHead:
    """The head that these bytes are.

    Raises:
        ValueError: They are none, or of another format.
    """
    if len(page) != HEAD_BYTES or not page.startswith(MAGIC):
        raise ValueError("the head of a snapshot is missing")
    if _CRC.unpack_from(page, _CRC_AT)[0] != crc32(page[:_CRC_AT]):
        raise ValueError("the head's checksum is wrong")
    _, version, rules, epoch, sequence, size, genesis, chain, outcomes, digest = _HEAD.unpack_from(
        page
    )
    if version != SNAPSHOT_FORMAT:
        raise ValueError(f"format {version} is not {SNAPSHOT_FORMAT}")
    if not FIRST_SEQUENCE <= sequence < SEQUENCE_MAX or not 0 < size <= SNAPSHOT_BYTES_MAX:
        raise ValueError(f"sequence {sequence} or size {size} is outside its bounds")
    position = Position(sequence + 1, epoch, chain)
    return SnapshotHead(rules, genesis, position, outcomes, digest, size)


class SnapshotStore:
    """The snapshots of one journal, in a folder of their own.

    Args:
        directory: Need not exist.
        files: Another file system, for tests.
    """

    def __init__(self, directory: Path, files: FileSystem | None = None) -> None:
        self.directory = directory
        self._files: FileSystem = OsFileSystem() if files is None else files

    def path(self, sequence: int) -> Path:
        """Where the snapshot of the state after this sequence lies."""
        return self.directory / f"{sequence:0{_NAME_DIGITS}d}{SNAPSHOT_SUFFIX}"

    def paths(self) -> list[Path]:
        """All snapshots, good or not, the newest first.

        Raises:
            OSError: The folder cannot be read.
        """
        names = [name for name in self._files.names(self.directory) if is_snapshot_name(name)]
        return [self.directory / name for name in reversed(names)]

    def lock(self) -> FileLock:
        """Be the only one who writes or removes snapshots here.

        Raises:
            SnapshotsBusy: Somebody else is.
            OSError: The folder cannot be made.
        """
        self._files.make_directory(self.directory)
        try:
            return self._files.lock(self.directory / _LOCK_NAME)
        except LockHeld as held:
            raise SnapshotsBusy(self.directory, held.holder) from held

    def write(self, head: SnapshotHead, state: bytes | memoryview) -> Path:
        """Store a snapshot; on return it is durable, name and all. The caller has the lock.

        Raises:
            JournalWriteFailed: No room, or the device failed; no snapshot of that name is new.
        """
        unfinished = self.directory / UNFINISHED_NAME
        path = self.path(head.sequence)
        try:
            if unfinished.name in self._files.names(self.directory):
                self._files.remove(unfinished)
            file = self._files.open(unfinished, create=True)
            try:
                write_all(file, encode_head(head), 0)
                view = memoryview(state)
                for at in range(0, len(state), READ_BYTES):
                    write_all(file, view[at : at + READ_BYTES], HEAD_BYTES + at)
                write_all(file, END_MARK, HEAD_BYTES + len(state))
                file.fdatasync()
            finally:
                file.close()
            self._files.rename(unfinished, path)
            self._files.sync_directory(self.directory)
        except OSError as error:
            raise JournalWriteFailed(path, 0, str(error)) from error
        return path

    def read_head(self, path: Path) -> SnapshotHead:
        """A snapshot's head alone, checked.

        Raises:
            SnapshotDamaged: It is not what was written, or cannot be read.
        """
        try:
            file = self._files.open(path)
            try:
                page, size = file.pread(HEAD_BYTES, 0), file.size()
            finally:
                file.close()
            head = decode_head(page)
        except (OSError, ValueError) as error:
            raise SnapshotDamaged(path, str(error)) from error
        if self.path(head.sequence) != path:
            raise SnapshotDamaged(path, f"it is of sequence {head.sequence}, its name says another")
        if size != HEAD_BYTES + head.size + len(END_MARK):
            raise SnapshotDamaged(path, f"it has {size} bytes, its head says {head.size} of state")
        return head

    def read(self, path: Path) -> Snapshot:
        """A whole snapshot, every byte of it checked.

        Raises:
            SnapshotDamaged: It is not what was written, or cannot be read.
        """
        head = self.read_head(path)
        try:
            file = self._files.open(path)
            try:
                content = memoryview(file.pread(head.size + len(END_MARK), HEAD_BYTES))
            finally:
                file.close()
        except OSError as error:
            raise SnapshotDamaged(path, str(error)) from error
        state, end = content[: head.size], content[head.size :]
        if sha256(state).digest() != head.digest:
            raise SnapshotDamaged(path, "the state's bytes do not have the digest of the head")
        if bytes(end) != END_MARK:
            raise SnapshotDamaged(path, "its end is missing")
        return Snapshot(head, state)

    def remove(self, path: Path) -> None:
        """Remove one. The caller has the lock.

        Raises:
            OSError: It cannot be removed.
        """
        self._files.remove(path)
        self._files.sync_directory(self.directory)


def is_snapshot_name(name: str) -> bool:
    """Whether a file of this name is a snapshot."""
    stem = name.removesuffix(SNAPSHOT_SUFFIX)
    return name != stem and len(stem) == _NAME_DIGITS and stem.isascii() and stem.isdigit()
