"""Backups of a data directory, taken while its exchange runs, and putting them back.

A backup holds the journal (all money, orders, jobs and leases), its snapshots, the receipts, and
the encrypted prompts and outputs. Their keys go to a folder of their own, or nowhere: whoever keeps
a copy of them can read what was erased since. Webhooks go with the keys, as they hold secrets.

The manifest is written last and says what is inside: a backup without it did not finish, and one
that does not hold what it says has lost something.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from exchange.blobs import BlobStore, CopiedBlobs, backup_blobs, restore_blobs
from exchange.blobs.files import sync_directory, write_named
from exchange.blobs.store import CIPHERTEXT_SUFFIX, CIPHERTEXTS_NAME, KEY_SUFFIX, KEYS_NAME
from exchange.journal import (
    JournalBehind,
    JournalNotFound,
    JournalStat,
    JournalTargetExists,
    SnapshotDamaged,
    SnapshotStore,
    backup_journal,
    has_journal,
    restore_journal,
    verify_journal,
)
from exchange.journal.backup import MANIFEST_BYTES_MAX, MANIFEST_NAME
from exchange.journal.files import OsFileSystem
from exchange.receipts import backup_receipts, restore_receipts, verify_receipts
from exchange.webhooks.store import FILE as WEBHOOKS
from exchange.webhooks.store import copy_store
from flopex.journals import JOURNAL, SNAPSHOTS, beginning_kept

RECEIPTS: Final = "receipts"
BLOBS: Final = "blobs"
MASTER_KEY: Final = "master.key"
OPERATOR_KEY: Final = "operator.key"
MANIFEST_FORMAT: Final = 1


class BackupRefused(Exception):
    """The folders do not fit what was asked; the message says what to do."""


class BackupNotWhole(Exception):
    """A backup did not finish, or does not hold what it did; nothing was restored.

    Attributes:
        hint: What to do about it.
    """

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.hint = hint


class Manifest(msgspec.Struct, frozen=True):
    """What a finished backup says that it holds.

    Attributes:
        format: Of this manifest.
        last_sequence: Of the last command in the journal's copy.
        chain_hash: The journal's behind it, in hexadecimal.
        receipts: Receipts.
        blobs: Ciphertexts.
        keys: Keys of blobs in the other folder; None where the backup was made without one.
        webhooks: Whether webhooks and alerts lie with the keys.
        operator_key: Whether the operator's key does. It may be taken out: no restore needs it.
    """

    format: int
    last_sequence: int
    chain_hash: str
    receipts: int
    blobs: int
    keys: int | None
    webhooks: bool
    operator_key: bool


class Copied(NamedTuple):
    """What a backup or a restore copied.

    Attributes:
        journal: The copied journal, read back and checked.
        snapshots: Snapshots of its state.
        receipts: Receipts.
        blobs: Ciphertexts and their keys, the master key not counted.
        webhooks: Webhooks of all accounts.
        operator_key: Whether the operator's key is in it.
        manifest: Whether a manifest says so: False only of a restore that did without.
    """

    journal: JournalStat
    snapshots: int
    receipts: int
    blobs: CopiedBlobs
    webhooks: int
    operator_key: bool
    manifest: bool


def back_up(data: Path, target: Path, keys: Path | None, *, operator_key: bool = False) -> Copied:
    """Copy a data directory; its exchange may be running. What is refused touches no folder.

    Args:
        data: The data directory.
        target: A new folder for journal, receipts and ciphertexts.
        keys: A new folder for the keys; None leaves them out.
        operator_key: Whether the operator's API key shall lie with the keys.

    Raises:
        BackupRefused: the keys' folder is not empty, or the operator's key would have none.
        JournalError: `target` is not empty, or the journal or the receipts cannot be copied.
        StoreUnavailable: the webhooks cannot be.
        OSError: a file cannot be.
    """
    if operator_key and keys is None:
        raise BackupRefused("the operator's key lies with the keys: name their folder with --keys")
    if _has_files(target):
        raise JournalTargetExists(target)
    _need_new(keys)
    if not has_journal(data / JOURNAL):
        raise JournalNotFound(data / JOURNAL)
    # The journal comes first: what a command names was durable before it was journalled, so it is
    # there when its folder is copied. Prompts are kept for an hour after their jobs end, so a
    # backup that takes less has all that the journal's open jobs need.
    # Snapshots and webhooks come before even that: none may be ahead of the journal it is of.
    webhooks = _copy_webhooks(data, keys) if keys is not None else 0
    snapshots = _copy_snapshots(data / SNAPSHOTS, target / SNAPSHOTS)
    journal = _back_up_journal(data, target)
    if ahead := _snapshots_ahead(target / SNAPSHOTS, journal):
        # The exchange does not start on this either, and says the same.
        raise JournalBehind(data / JOURNAL, _last_sequence(journal), int(ahead[0].stem))
    receipts = 0
    if has_journal(data / RECEIPTS):
        receipts = backup_receipts(data / RECEIPTS, target / RECEIPTS).records
    blobs = backup_blobs(data / BLOBS, target / BLOBS, keys)
    if keys is not None:
        _copy_secret(data / MASTER_KEY, keys / MASTER_KEY)
    has_operator = keys is not None and operator_key and (data / OPERATOR_KEY).exists()
    if has_operator and keys is not None:
        _copy_secret(data / OPERATOR_KEY, keys / OPERATOR_KEY)
    copied = Copied(journal, snapshots, receipts, blobs, webhooks, has_operator, manifest=True)
    _write_manifest(target, keys, copied)
    return copied


def restore(
    backup: Path, data: Path, keys: Path | None, *, without_manifest: bool = False
) -> Copied:
    """Put a backup into a new data directory, from which an exchange can start, and check it.

    Nothing is written before the journal, the receipts and what the manifest says were found right.
    Every journal block, every receipt and, with the keys, every blob is read back. Without the keys
    nothing encrypted can be read again: the ciphertexts are left out, and the exchange begins an
    empty blob store.

    Args:
        backup: The backup's folder.
        data: The new data directory.
        keys: The folder with the backup's keys; None does without.
        without_manifest: Take a backup that has no manifest. What of its receipts, blobs and
            webhooks is missing is then not known. A manifest that is there is held against it.

    Raises:
        BackupRefused: the data directory is not empty, or the keys are not those of a backup.
        BackupNotWhole: the backup did not finish, or is not what its manifest says, or a snapshot
            is ahead of its journal.
        JournalError: the journal or the receipts in the backup are not whole, or cannot be copied.
        BlobError: a blob cannot be read with these keys.
        StoreUnavailable: the webhooks cannot be copied.
        OSError: a file cannot be copied.
    """
    _need_new(data)
    if keys is not None and not (keys / MASTER_KEY).is_file():
        raise BackupRefused(f"{keys} holds no {MASTER_KEY}: name the folder that --keys made")
    manifest = _read_manifest(backup, without_manifest=without_manifest)
    _check(backup, keys, manifest)
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
    has_manifest = manifest is not None
    return Copied(journal, snapshots, receipts, blobs, webhooks, has_operator, has_manifest)


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


def _write_manifest(target: Path, keys: Path | None, copied: Copied) -> None:
    """Say what the backup holds, once all of it is durable."""
    if keys is not None:
        sync_directory(keys)
        sync_directory(keys.parent)
    manifest = Manifest(
        format=MANIFEST_FORMAT,
        last_sequence=_last_sequence(copied.journal),
        chain_hash=copied.journal.chain_hash.hex(),
        receipts=copied.receipts,
        blobs=copied.blobs.ciphertexts,
        keys=None if keys is None else copied.blobs.keys,
        webhooks=keys is not None and (keys / WEBHOOKS).is_file(),
        operator_key=copied.operator_key,
    )
    content = msgspec.json.format(msgspec.json.encode(manifest), indent=2) + b"\n"
    write_named(target / MANIFEST_NAME, content)


def _read_manifest(backup: Path, *, without_manifest: bool) -> Manifest | None:
    """What the backup says that it holds; None where it may do without and does.

    Raises:
        BackupNotWhole: there is no manifest, or it cannot be read.
        JournalNotFound: nor is there a journal.
    """
    path = backup / MANIFEST_NAME
    if not path.exists():
        if not has_journal(backup / JOURNAL):
            raise JournalNotFound(backup / JOURNAL)
        _need_whole_copies(backup)
        if not without_manifest:
            # An exchange that ran has a folder of receipts, though there be none in it.
            nor_receipts = "" if has_journal(backup / RECEIPTS) else " and no receipts"
            raise BackupNotWhole(
                f"{backup} has no {MANIFEST_NAME}{nor_receipts}: this backup was not finished, "
                "it was made by an earlier release, or the file was removed",
                "restore another backup; if an earlier release made it and said that it was "
                "done, use --without-manifest: then nobody checks whether all receipts, blobs and "
                "webhooks are there",
            )
        return None
    with path.open("rb") as reading:
        raw = reading.read(MANIFEST_BYTES_MAX)
    try:
        manifest = msgspec.json.decode(raw, type=Manifest)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BackupNotWhole(
            f"{path} cannot be read: {error}", "restore another backup, or put that file back"
        ) from error
    if manifest.format != MANIFEST_FORMAT:
        raise BackupNotWhole(
            f"{path} has format {manifest.format}, this release knows {MANIFEST_FORMAT}",
            "restore it with the release that made it",
        )
    return manifest


def _need_whole_copies(backup: Path) -> None:
    """The journal's copy and the receipts' were told to be finished by every release.

    Raises:
        BackupNotWhole: one was not, so the backup as a whole was not.
    """
    for folder in (backup / JOURNAL, backup / RECEIPTS):
        if folder.is_dir() and not (folder / MANIFEST_NAME).exists():
            raise BackupNotWhole(
                f"{backup} is no finished backup: the copy in {folder} was cut off",
                "restore another backup",
            )


def _check(backup: Path, keys: Path | None, manifest: Manifest | None) -> None:
    """Read the backup's journal and receipts, and count the rest. O(bytes); writes nothing.

    Raises:
        BackupNotWhole: it is not what its manifest says, or a snapshot is ahead of its journal.
        JournalError: the journal or the receipts are not whole.
    """
    last, chain, receipts = 0, "", 0
    if has_journal(backup / JOURNAL):
        kept = beginning_kept(backup / JOURNAL)
        journal = verify_journal(backup / JOURNAL, beginning_kept=kept)
        _need_none_ahead(backup, journal)
        last, chain = _last_sequence(journal), journal.chain_hash.hex()
    if manifest is None:
        return
    if has_journal(backup / RECEIPTS):
        receipts = verify_receipts(backup / RECEIPTS).records
    wrong = []
    if (last, chain) != (manifest.last_sequence, manifest.chain_hash):
        wrong.append(f"the journal ends at sequence {last}, not at {manifest.last_sequence}")
    blobs = _count(backup / BLOBS / CIPHERTEXTS_NAME, CIPHERTEXT_SUFFIX)
    wrong += _differing("receipts", receipts, manifest.receipts)
    wrong += _differing("blobs", blobs, manifest.blobs)
    if keys is not None:
        wrong += _wrong_keys(keys, manifest)
    if wrong:
        raise BackupNotWhole(
            f"{backup} is not what its {MANIFEST_NAME} says: {'; '.join(wrong)}",
            "something was removed or added since it was made, or the keys are another backup's: "
            "put it back, or restore another backup",
        )


def _wrong_keys(keys: Path, manifest: Manifest) -> list[str]:
    """How a folder of keys differs from that of the backup."""
    if manifest.keys is None:
        return [f"it was made without keys, so those in {keys} are not its own"]
    wrong = _differing("keys", _count(keys / KEYS_NAME, KEY_SUFFIX), manifest.keys)
    if (keys / WEBHOOKS).is_file() != manifest.webhooks:
        wrong.append(f"{WEBHOOKS} is {'missing' if manifest.webhooks else 'not its own'}")
    return wrong


def _differing(what: str, found: int, wanted: int) -> list[str]:
    return [] if found == wanted else [f"{found} {what} instead of {wanted}"]


def _count(folder: Path, suffix: str) -> int:
    return sum(path.suffix == suffix for path in folder.iterdir()) if folder.is_dir() else 0


def _last_sequence(journal: JournalStat) -> int:
    return journal.next_sequence - 1


def _need_none_ahead(backup: Path, journal: JournalStat) -> None:
    """No snapshot may be ahead of the journal: an exchange would miss what came between.

    Raises:
        BackupNotWhole: one is. Earlier releases left it in a good backup when they refused to
            write another one over it.
    """
    if ahead := _snapshots_ahead(backup / SNAPSHOTS, journal):
        raise BackupNotWhole(
            f"the journal in {backup} ends at sequence {_last_sequence(journal)}, and "
            f"{' and '.join(map(str, ahead))} goes further: a later backup into this folder was "
            "refused and left it there",
            "remove what goes further and restore again: the journal needs none of it",
        )


def _snapshots_ahead(snapshots: Path, journal: JournalStat) -> list[Path]:
    """Those that were taken of more than the journal holds, the newest first."""
    store, ahead = SnapshotStore(snapshots), []
    for path in store.paths():
        try:
            position = store.read_head(path).position
        except SnapshotDamaged:
            continue  # nobody starts from it, and it is not copied
        if position.next_sequence > journal.next_sequence:
            ahead.append(path)
    return ahead


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
    if folder is not None and _has_files(folder):
        raise BackupRefused(f"{folder} is not empty: name a folder that does not exist yet")


def _has_files(folder: Path) -> bool:
    return folder.exists() and any(folder.iterdir())


def _copy_secret(source: Path, target: Path) -> None:
    target.parent.mkdir(0o700, parents=True, exist_ok=True)
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
    with os.fdopen(os.open(target, flags, 0o600), "wb") as writing:
        writing.write(source.read_bytes())
        writing.flush()
        os.fsync(writing.fileno())
