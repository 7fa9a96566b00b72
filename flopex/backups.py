"""Backups of a data directory, taken while its exchange runs, and putting them back.

A backup holds the journal (all money, orders, jobs and leases) and the encrypted prompts, outputs
and receipts. Their keys go to a folder of their own, or nowhere: whoever keeps a copy of them can
read what was erased since.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final, NamedTuple

from exchange.journal import JournalStat, backup_journal, restore_journal

JOURNAL: Final = "journal"
BLOBS: Final = "blobs"
SEAL: Final = "SEAL"
KEYS: Final = "keys"
CIPHERTEXTS: Final = "ciphertexts"
MASTER_KEY: Final = "master.key"
_COPY_BYTES: Final = 1 << 20


class BackupRefused(Exception):
    """The folders do not fit what was asked; the message says what to do."""


class Copied(NamedTuple):
    """What a backup or a restore copied.

    Attributes:
        journal: The copied journal, read back and checked.
        ciphertexts: Encrypted blobs.
        keys: Keys of blobs, the master key not counted.
    """

    journal: JournalStat
    ciphertexts: int
    keys: int


def back_up(data: Path, target: Path, keys: Path | None) -> Copied:
    """Copy a data directory; its exchange may be running.

    Args:
        data: The data directory.
        target: A new folder for journal and ciphertexts.
        keys: A new folder for the keys; None leaves them out.

    Raises:
        BackupRefused: a folder is not empty, or one lies in the other.
        JournalError: the journal cannot be copied.
        OSError: a file cannot be.
    """
    _need_new(keys)
    # A job's blobs are there before its command is journalled, and a blob's ciphertext is there
    # before its key: in this order nothing that is copied names what is not.
    journal = backup_journal(data / JOURNAL, target / JOURNAL)
    copied_keys = 0
    if keys is not None:
        copied_keys = _copy_folder(data / BLOBS / KEYS, keys / KEYS, ".key")
        _copy_file(data / MASTER_KEY, keys / MASTER_KEY)
    ciphertexts = _copy_folder(data / BLOBS / CIPHERTEXTS, target / BLOBS / CIPHERTEXTS, ".bin")
    _copy_file(data / BLOBS / SEAL, target / BLOBS / SEAL)
    os.sync()
    return Copied(journal, ciphertexts, copied_keys)


def restore(backup: Path, data: Path, keys: Path | None) -> Copied:
    """Put a backup into a new data directory, from which an exchange can start.

    Without the keys nothing encrypted can be read again: the ciphertexts are left out, and the
    exchange begins an empty blob store.

    Raises:
        BackupRefused: the data directory is not empty, or the keys are not those of a backup.
        JournalError: the journal in the backup is not whole, or cannot be copied.
        OSError: a file cannot be.
    """
    _need_new(data)
    if keys is not None and not (keys / MASTER_KEY).is_file():
        raise BackupRefused(f"{keys} holds no {MASTER_KEY}: name the folder that --keys made")
    ciphertexts = copied_keys = 0
    data.mkdir(0o700, parents=True, exist_ok=True)
    if keys is not None:
        ciphertexts = _copy_folder(backup / BLOBS / CIPHERTEXTS, data / BLOBS / CIPHERTEXTS, ".bin")
        copied_keys = _copy_folder(keys / KEYS, data / BLOBS / KEYS, ".key")
        _copy_file(backup / BLOBS / SEAL, data / BLOBS / SEAL)
        _copy_file(keys / MASTER_KEY, data / MASTER_KEY)
        os.sync()
    # The journal comes last: a restore that was interrupted is never taken for an exchange.
    journal = restore_journal(backup / JOURNAL, data / JOURNAL)
    return Copied(journal, ciphertexts, copied_keys)


def _need_new(folder: Path | None) -> None:
    if folder is not None and folder.exists() and any(folder.iterdir()):
        raise BackupRefused(f"{folder} is not empty: name a folder that does not exist yet")


def _copy_folder(source: Path, target: Path, suffix: str) -> int:
    """Copy the files with this suffix; one that goes away meanwhile was erased, and is left out."""
    target.mkdir(0o700, parents=True, exist_ok=True)
    copied = 0
    for path in sorted(source.glob(f"*{suffix}")):
        try:
            _copy_file(path, target / path.name)
            copied += 1
        except FileNotFoundError:
            (target / path.name).unlink(missing_ok=True)
    return copied


def _copy_file(source: Path, target: Path) -> None:
    with source.open("rb") as reading:
        target.parent.mkdir(0o700, parents=True, exist_ok=True)
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
        with os.fdopen(os.open(target, flags, 0o600), "wb") as writing:
            while part := reading.read(_COPY_BYTES):
                writing.write(part)
