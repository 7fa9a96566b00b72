"""Copies of a blob store: taken while its exchange runs, and put back.

A blob's ciphertext is durable before its key record has a name, so the keys are copied first: what
they name was there. A blob that is erased meanwhile loses its ciphertext, and then its key is taken
out of the copy again. Keys go to a folder of their own: whoever has them, the master key and the
ciphertexts can read what was erased since.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final, NamedTuple

from exchange.blobs.files import (
    PRIVATE_DIRECTORY,
    PRIVATE_FILE,
    make_directory,
    sync_directory,
    write_synced,
)
from exchange.blobs.records import RECORD_BYTES, BlobState, decode_record
from exchange.blobs.store import (
    CIPHERTEXT_SUFFIX,
    CIPHERTEXTS_NAME,
    KEY_SUFFIX,
    KEYS_NAME,
    SEAL_NAME,
)

_COPY_BYTES: Final = 1 << 20


class CopiedBlobs(NamedTuple):
    """What was copied: ciphertexts, and key records (0 where they were left out)."""

    ciphertexts: int
    keys: int


def backup_blobs(directory: Path, target: Path, keys: Path | None) -> CopiedBlobs:
    """Copy a store, which may be in use. O(bytes); durable on return.

    Args:
        directory: The store's folder.
        target: A new folder for the ciphertexts and the seal.
        keys: A new folder for the key records; None leaves them out, and the master key is never
            copied here. Without both, nobody can read the ciphertexts.

    Raises:
        OSError: a file cannot be copied.
    """
    wanted = None
    if keys is not None:
        wanted = _copy_keys(directory / KEYS_NAME, keys / KEYS_NAME)
    found = _copy_ciphertexts(directory / CIPHERTEXTS_NAME, target / CIPHERTEXTS_NAME, wanted)
    _copy(directory / SEAL_NAME, target / SEAL_NAME)
    sync_directory(target)
    if keys is None or wanted is None:
        return CopiedBlobs(len(found), 0)
    for stem in wanted - found:
        _drop_key(keys / KEYS_NAME / (stem + KEY_SUFFIX))
    sync_directory(keys / KEYS_NAME)
    return CopiedBlobs(len(found), len(found))


def restore_blobs(backup: Path, keys: Path, directory: Path) -> CopiedBlobs:
    """Put a copy into a new folder, from which a store can be opened with the same master key.

    Args:
        backup: The copied ciphertexts and seal.
        keys: The copied key records.
        directory: The new store's folder.

    Raises:
        OSError: a file cannot be copied.
    """
    wanted = _copy_keys(keys / KEYS_NAME, directory / KEYS_NAME)
    found = _copy_ciphertexts(backup / CIPHERTEXTS_NAME, directory / CIPHERTEXTS_NAME, wanted)
    _copy(backup / SEAL_NAME, directory / SEAL_NAME)
    sync_directory(directory)
    return CopiedBlobs(len(found), len(wanted))


def _copy_keys(source: Path, target: Path) -> set[str]:
    """Copy the records that are not erased; their files' names without the suffix."""
    make_directory(target)
    copied = set()
    for path in sorted(source.glob("*" + KEY_SUFFIX)):
        raw = _record(path)
        if raw is not None:
            write_synced(target / path.name, raw)
            copied.add(path.stem)
    sync_directory(target)
    return copied


def _record(path: Path) -> bytes | None:
    """A record's bytes; None where it is erased or gone. A damaged one is copied as it is."""
    raw = b""
    for _ in range(2):  # it may have been read while it was overwritten: a second look decides
        try:
            with path.open("rb") as file:
                raw = file.read(RECORD_BYTES)
            return raw if decode_record(raw).state is BlobState.LIVE else None
        except FileNotFoundError:
            return None
        except ValueError:
            continue
    return raw


def _copy_ciphertexts(source: Path, target: Path, wanted: set[str] | None) -> set[str]:
    """Copy those whose keys were copied, or all; their files' names without the suffix."""
    make_directory(target)
    copied = set()
    for path in sorted(source.glob("*" + CIPHERTEXT_SUFFIX)):
        if wanted is not None and path.stem not in wanted:
            continue
        try:
            _copy(path, target / path.name)
        except FileNotFoundError:
            continue  # erased since the folder was listed
        copied.add(path.stem)
    sync_directory(target)
    return copied


def _copy(source: Path, target: Path) -> None:
    with source.open("rb") as reading:
        target.parent.mkdir(PRIVATE_DIRECTORY, parents=True, exist_ok=True)
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
        with os.fdopen(os.open(target, flags, PRIVATE_FILE), "wb") as writing:
            while part := reading.read(_COPY_BYTES):
                writing.write(part)
            writing.flush()
            os.fsync(writing.fileno())


def _drop_key(path: Path) -> None:
    """The blob was erased while it was copied: its key shall not live on in the copy."""
    write_synced(path, bytes(RECORD_BYTES), in_place=True)
    path.unlink()
