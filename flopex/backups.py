"""Backups of a data directory, taken while its exchange runs, and putting them back.

A backup holds the journal (all money, orders, jobs and leases), its snapshots, the receipts, and
the encrypted prompts and outputs. Their keys go to a folder of their own, or nowhere: whoever keeps
a copy of them can read what was erased since. Webhooks go with the keys, as they hold secrets.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final, NamedTuple

from exchange.blobs import BlobStore, CopiedBlobs, backup_blobs, restore_blobs
from exchange.journal import (
    JournalStat,
    SnapshotDamaged,
    SnapshotStore,
    backup_journal,
    has_journal,
    restore_journal,
)
from exchange.journal.files import OsFileSystem
from exchange.receipts import backup_receipts, restore_receipts
from exchange.webhooks.store import FILE as WEBHOOKS
from exchange.webhooks.store import copy_store
from flopex.journals import JOURNAL, SNAPSHOTS, beginning_kept

RECEIPTS: Final = "receipts"
BLOBS: Final = "blobs"
MASTER_KEY: Final = "master.key"
OPERATOR_KEY: Final = "operator.key"


class BackupRefused(Exception):
    """The folders do not fit what was asked; the message says what to do."""


class Copied(NamedTuple):
    """What a backup or a restore copied.

    Attributes:
        journal: The copied journal, read back and checked.
        snapshots: Snapshots of its state.
        receipts: Receipts.
        blobs: Ciphertexts and their keys, the master key not counted.
        webhooks: Webhooks of all accounts.
        operator_key: Whether the operator's key is in it.
    """

    journal: JournalStat
    snapshots: int
    receipts: int
    blobs: CopiedBlobs
    webhooks: int
    operator_key: bool


def back_up(data: Path, target: Path, keys: Path | None, *, operator_key: bool = False) -> Copied:
    """Copy a data directory; its exchange may be running.

    Args:
        data: The data directory.
        target: A new folder for journal, receipts and ciphertexts.
        keys: A new folder for the keys; None leaves them out.
        operator_key: Whether the operator's API key shall lie with the keys.

    Raises:
        BackupRefused: a folder is not empty, or there is no folder for the operator's key.
        JournalError: the journal or the receipts cannot be copied.
        StoreUnavailable: the webhooks cannot be.
        OSError: a file cannot be.
    """
    if operator_key and keys is None:
        raise BackupRefused("the operator's key lies with the keys: name their folder with --keys")
    _need_new(keys)
    # The journal comes first: what a command names was durable before it was journalled, so it is
    # there when its folder is copied. Prompts are kept for an hour after their jobs end, so a
    # backup that takes less has all that the journal's open jobs need.
    # Snapshots and webhooks come before even that: none may be ahead of the journal it is of.
    webhooks = _copy_webhooks(data, keys) if keys is not None else 0
    snapshots = _copy_snapshots(data / SNAPSHOTS, target / SNAPSHOTS)
    journal = _back_up_journal(data, target)
    receipts = 0
    if has_journal(data / RECEIPTS):
        receipts = backup_receipts(data / RECEIPTS, target / RECEIPTS).records
    blobs = backup_blobs(data / BLOBS, target / BLOBS, keys)
    if keys is not None:
        _copy_secret(data / MASTER_KEY, keys / MASTER_KEY)
    has_operator = keys is not None and operator_key and (data / OPERATOR_KEY).exists()
    if has_operator and keys is not None:
        _copy_secret(data / OPERATOR_KEY, keys / OPERATOR_KEY)
    return Copied(journal, snapshots, receipts, blobs, webhooks, has_operator)


def restore(backup: Path, data: Path, keys: Path | None) -> Copied:
    """Put a backup into a new data directory, from which an exchange can start, and check it.

    Every journal block, every receipt and, with the keys, every blob is read back. Without the keys
    nothing encrypted can be read again: the ciphertexts are left out, and the exchange begins an
    empty blob store.

    Raises:
        BackupRefused: the data directory is not empty, or the keys are not those of a backup.
        JournalError: the journal or the receipts in the backup are not whole, or cannot be copied.
        BlobError: a blob cannot be read with these keys.
        StoreUnavailable: the webhooks cannot be copied.
        OSError: a file cannot be copied.
    """
    _need_new(data)
    if keys is not None and not (keys / MASTER_KEY).is_file():
        raise BackupRefused(f"{keys} holds no {MASTER_KEY}: name the folder that --keys made")
    blobs, receipts, webhooks, has_operator = CopiedBlobs(0, 0), 0, 0, False
    data.mkdir(0o700, parents=True, exist_ok=True)
    if keys is not None:
        blobs = restore_blobs(backup / BLOBS, keys, data / BLOBS)
        _copy_secret(keys / MASTER_KEY, data / MASTER_KEY)
        with BlobStore(data / BLOBS, data / MASTER_KEY) as store:
            store.check()
        webhooks = _copy_webhooks(keys, data)
        has_operator = (keys / OPERATOR_KEY).is_file()
        if has_operator:
            _copy_secret(keys / OPERATOR_KEY, data / OPERATOR_KEY)
    if has_journal(backup / RECEIPTS):
        receipts = restore_receipts(backup / RECEIPTS, data / RECEIPTS).records
    # The journal comes last: a restore that was interrupted is never taken for an exchange.
    snapshots = _copy_snapshots(backup / SNAPSHOTS, data / SNAPSHOTS)
    kept = beginning_kept(backup / JOURNAL)
    journal = restore_journal(backup / JOURNAL, data / JOURNAL, beginning_kept=kept)
    return Copied(journal, snapshots, receipts, blobs, webhooks, has_operator)


def _back_up_journal(data: Path, target: Path) -> JournalStat:
    """Copy the journal; where its beginning was removed, a copied snapshot must stand in for it."""
    kept = beginning_kept(data / JOURNAL)
    journal = backup_journal(data / JOURNAL, target / JOURNAL, beginning_kept=kept)
    if not kept and beginning_kept(target / JOURNAL):
        raise BackupRefused(
            "the journal's beginning was removed while it was copied: remove the unfinished "
            f"{target} and begin again"
        )
    return journal


def _copy_snapshots(source: Path, target: Path) -> int:
    """Copy those that are whole; how many. A damaged one is left out: older ones do."""
    store, copies = SnapshotStore(source), SnapshotStore(target)
    count = 0
    for path in store.paths():
        try:
            head, state = store.read(path)
        except SnapshotDamaged:
            continue
        if not count:
            OsFileSystem().make_directory(target)
        copies.write(head, state)
        count += 1
    return count


def _copy_webhooks(source: Path, target: Path) -> int:
    """Copy webhooks and alerts where there are any; how many webhooks."""
    if not (source / WEBHOOKS).is_file():
        return 0
    return copy_store(source / WEBHOOKS, target / WEBHOOKS)


def _need_new(folder: Path | None) -> None:
    if folder is not None and folder.exists() and any(folder.iterdir()):
        raise BackupRefused(f"{folder} is not empty: name a folder that does not exist yet")


def _copy_secret(source: Path, target: Path) -> None:
    target.parent.mkdir(0o700, parents=True, exist_ok=True)
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
    with os.fdopen(os.open(target, flags, 0o600), "wb") as writing:
        writing.write(source.read_bytes())
        writing.flush()
        os.fsync(writing.fileno())
