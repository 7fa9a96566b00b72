"""The blob store: prompts and outputs, encrypted with one key each, which erasing destroys."""

from __future__ import annotations

import fcntl
import os
import secrets
from collections.abc import Iterator
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from threading import Lock
from types import TracebackType
from typing import Final, NamedTuple, Self

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from exchange.blobs.errors import (
    BlobConflict,
    BlobDamaged,
    BlobErased,
    BlobKeyMissing,
    BlobKeyWrong,
    BlobNotFound,
    BlobReadFailed,
    BlobStoreClosed,
    BlobStoreFull,
    BlobStoreLocked,
    BlobTooLarge,
    BlobWriteFailed,
)
from exchange.blobs.files import (
    PRIVATE_FILE,
    UNFINISHED_SUFFIX,
    make_directory,
    sync_directory,
    write_named,
    write_synced,
)
from exchange.blobs.records import (
    KEY_BYTES,
    NONCE_BYTES,
    RECORD_BYTES,
    TAG_BYTES,
    BlobState,
    KeyRecord,
    check_blob_id,
    decode_record,
    encode_record,
    seal,
    unseal,
)

BLOB_BYTES_MAX: Final = 16 << 20
STORE_BYTES_MAX: Final = 16 << 30
RECORDS_MAX: Final = 1_000_000
LOCK_NAME: Final = "LOCK"
SEAL_NAME: Final = "SEAL"
KEYS_NAME: Final = "keys"
CIPHERTEXTS_NAME: Final = "ciphertexts"
KEY_SUFFIX: Final = ".key"
CIPHERTEXT_SUFFIX: Final = ".bin"

_SEAL_SAYS: Final = b"flopex blob store 1"
# A ciphertext has this name while its key is being destroyed; start-up finishes what was begun.
_ERASING_SUFFIX: Final = ".erasing"
# Calls for different ids run side by side; those for the same id wait for each other.
_STRIPES: Final = 64


class BlobRef(NamedTuple):
    """A stored blob: sha256 and size in bytes of its content, and which master key it is under."""

    blob_id: str
    digest: bytes
    size: int
    key_id: str


class BlobStore:
    """Encrypted, erasable bytes by id, in a folder of this machine. Safe for threads.

    `put` returns once the blob is durable. `erase` destroys its key and returns once that is
    durable; the ciphertext is removed too, but whoever has a copy of it can read it no more. Copies
    of the *keys* folder, backups of it included, must be destroyed by whoever made them.

    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> with BlobStore(folder / "blobs", folder / "master.key") as store:
    ...     ref = store.put("job-12/payload", b"What is a lease?")
    ...     store.get("job-12/payload")
    b'What is a lease?'

    Args:
        directory: Made if it does not exist.
        master_key_path: 32 bytes in hexadecimal; made with a new store if there is none. Keep it,
            and a copy of it, away from the folder.
        blob_bytes_max: Of one blob's content.
        store_bytes_max: Of all ciphertexts together.
        records_max: Blobs, erased ones included until they are forgotten.

    Raises:
        BlobStoreLocked: Another process has it.
        BlobKeyMissing: The master key is gone.
        BlobKeyWrong: The master key is another one, or no key.
        BlobReadFailed, BlobWriteFailed: The device failed.
    """

    def __init__(
        self,
        directory: Path,
        master_key_path: Path,
        *,
        blob_bytes_max: int = BLOB_BYTES_MAX,
        store_bytes_max: int = STORE_BYTES_MAX,
        records_max: int = RECORDS_MAX,
    ) -> None:
        self._directory = directory
        self._keys = directory / KEYS_NAME
        self._ciphertexts = directory / CIPHERTEXTS_NAME
        self._blob_bytes_max = blob_bytes_max
        self._store_bytes_max = store_bytes_max
        self._records_max = records_max
        self._accounts = Lock()
        self._stripes = [Lock() for _ in range(_STRIPES)]
        try:
            for folder in (directory, self._keys, self._ciphertexts):
                make_directory(folder)
            self._lock = self._take_lock()
        except OSError as error:
            raise BlobWriteFailed(directory, error) from error
        try:
            self._master, self.key_id = self._open_seal(master_key_path)
            self._records, self._bytes = self._tidy()
        except OSError as error:
            self.close()
            raise BlobWriteFailed(directory, error) from error
        except BaseException:
            self.close()
            raise

    @property
    def records(self) -> int:
        """Blobs, erased ones included."""
        return self._records

    @property
    def stored_bytes(self) -> int:
        """All ciphertexts together, in bytes."""
        return self._bytes

    def put(self, blob_id: str, content: bytes) -> BlobRef:
        """Store a blob; on return it is durable. Four syncs, O(bytes).

        Putting the same content under the same id again gives the first result.

        Raises:
            BlobRefused: The id is invalid or holds other content, or a bound is reached.
            BlobErased: The id was used and erased.
            BlobWriteFailed: The device failed; the blob may be tried again.
        """
        check_blob_id(blob_id)
        if len(content) > self._blob_bytes_max:
            raise BlobTooLarge(
                f"the blob {blob_id} has {len(content)} bytes, more than {self._blob_bytes_max}"
            )
        digest = sha256(content).digest()
        with self._stripe(blob_id):
            record = self._load(blob_id)
            try:
                if record is None:
                    self._store(blob_id, digest, content)
                    return BlobRef(blob_id, digest, len(content), self.key_id)
                if record.state is BlobState.ERASED:
                    raise BlobErased(blob_id)
                if record.digest != digest:
                    raise BlobConflict(blob_id)
                if self._is_erasing(blob_id):
                    raise BlobErased(blob_id)
                # The first attempt may have failed after it gave the record its name.
                sync_directory(self._keys)
            except OSError as error:
                raise BlobWriteFailed(self._ciphertext_path(blob_id), error) from error
            return self._ref(record)

    def get(self, blob_id: str) -> bytes:
        """A blob's content, checked. O(bytes).

        Raises:
            BlobNotFound, BlobErased: There is nothing to read.
            BlobDamaged: What is stored is not what was written.
            BlobReadFailed: The device failed.
        """
        record = self._live(blob_id)
        path = self._ciphertext_path(blob_id)
        try:
            ciphertext = path.read_bytes()
            content = unseal(self._master, record, ciphertext)
        except (FileNotFoundError, ValueError) as error:
            if self._is_erasing(blob_id):
                raise BlobErased(blob_id) from error
            if self._live(blob_id) != record:
                # Forgotten and put again between the two reads.
                return self.get(blob_id)
            missing = isinstance(error, FileNotFoundError)
            reason = "the ciphertext is missing" if missing else str(error)
            raise BlobDamaged(path, reason) from error
        except OSError as error:
            raise BlobReadFailed(path, error) from error
        assert len(content) == record.size, "the tag covers the size, so it cannot differ"
        return content

    def stat(self, blob_id: str) -> BlobRef:
        """A blob's digest and size, without reading its content; errors as `get`."""
        return self._ref(self._live(blob_id))

    def erase(self, blob_id: str) -> None:
        """Destroy a blob's key; on return nobody can read it again. Idempotent.

        A record that is damaged can be erased too.

        Raises:
            BlobNotFound: There is no such blob.
            BlobWriteFailed: The device failed; whether it is erased is not sure, so try again.
        """
        path = self._key_path(blob_id)
        with self._stripe(blob_id):
            if not path.exists():
                raise BlobNotFound(blob_id)
            try:
                self._erase(blob_id, path)
            except OSError as error:
                raise BlobWriteFailed(path, error) from error

    def forget(self, blob_id: str) -> None:
        """Erase a blob and the memory of it, so that its id is free again; unknown ids are fine.

        Raises:
            BlobWriteFailed: The device failed; try again.
        """
        path = self._key_path(blob_id)
        with self._stripe(blob_id):
            if not path.exists():
                return
            try:
                self._erase(blob_id, path)
                path.unlink()
                with self._accounts:
                    self._records -= 1
                sync_directory(self._keys)
            except OSError as error:
                raise BlobWriteFailed(path, error) from error

    def ids(self) -> Iterator[str]:
        """The ids of all blobs that are not erased, in no order; one read each.

        Raises:
            BlobDamaged: A record is not what was written.
            BlobReadFailed: The device failed.
        """
        for path in self._key_paths():
            record = self._read_record(path)
            if record is not None and record.state is BlobState.LIVE:
                yield record.blob_id

    def check(self) -> None:
        """Read every blob back, and count. O(bytes); for a store that nobody is writing to.

        Raises:
            BlobDamaged: The first blob that is not what was written.
            BlobReadFailed: The device failed.
        """
        live = set()
        for blob_id in self.ids():
            self.get(blob_id)
            live.add(self._ciphertext_path(blob_id))
        sizes = {path: path.stat().st_size for path in self._ciphertexts.iterdir()}
        for path in sizes:
            if path not in live:
                raise BlobDamaged(path, "no key belongs to this ciphertext")
        assert self._records == len(self._key_paths()), "records were counted wrongly"
        assert self._bytes == sum(sizes.values()), "bytes were counted wrongly"

    def close(self) -> None:
        """Give the store back; more than once is allowed."""
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _take_lock(self) -> int:
        path = self._directory / LOCK_NAME
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, PRIVATE_FILE)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(descriptor)
            if isinstance(error, BlockingIOError):
                raise BlobStoreLocked(self._directory) from error
            raise
        return descriptor

    def _open_seal(self, master_key_path: Path) -> tuple[AESGCM, str]:
        """The master key, once it has opened the seal that it closed when the store was made."""
        path = self._directory / SEAL_NAME
        sealed = path.read_bytes() if path.exists() else None
        if sealed is None and self._key_paths():
            raise BlobDamaged(path, "it is missing, but there are blobs")
        if not master_key_path.exists():
            if sealed is not None:
                raise BlobKeyMissing(master_key_path)
            make_directory(master_key_path.parent)
            write_named(master_key_path, secrets.token_hex(KEY_BYTES).encode() + b"\n")
        try:
            key = bytes.fromhex(master_key_path.read_text().strip())
            master = AESGCM(key)
        except ValueError as error:
            reason = f"it is not {KEY_BYTES} bytes in hexadecimal"
            raise BlobKeyWrong(master_key_path, reason) from error
        if len(key) != KEY_BYTES:
            raise BlobKeyWrong(master_key_path, f"it is not {KEY_BYTES} bytes in hexadecimal")
        if sealed is None:
            nonce = secrets.token_bytes(NONCE_BYTES)
            write_named(path, nonce + master.encrypt(nonce, b"", _SEAL_SAYS))
        else:
            try:
                master.decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], _SEAL_SAYS)
            except (InvalidTag, ValueError) as error:
                reason = "the store was made with another key, or its seal is damaged"
                raise BlobKeyWrong(master_key_path, reason) from error
        return master, sha256(_SEAL_SAYS + key).hexdigest()[:16]

    def _tidy(self) -> tuple[int, int]:
        """Remove what unfinished puts left behind; the records and bytes that are there."""
        records = set()
        for path in self._keys.iterdir():
            if path.name.endswith(UNFINISHED_SUFFIX):
                path.unlink()
            else:
                records.add(path.stem)
        stored = 0
        for path in list(self._ciphertexts.iterdir()):
            if path.suffix == _ERASING_SUFFIX:
                self._finish_erasing(path)
            elif path.stem in records:
                stored += path.stat().st_size
            else:
                path.unlink()
        # Whoever gave these names may have died before syncing them.
        sync_directory(self._ciphertexts)
        sync_directory(self._keys)
        return len(records), stored

    def _stripe(self, blob_id: str) -> Lock:
        if self._lock < 0:
            raise BlobStoreClosed(self._directory)
        return self._stripes[hash(blob_id) % _STRIPES]

    def _key_path(self, blob_id: str) -> Path:
        check_blob_id(blob_id)
        return self._keys / (sha256(blob_id.encode()).hexdigest() + KEY_SUFFIX)

    def _ciphertext_path(self, blob_id: str) -> Path:
        return self._ciphertexts / (sha256(blob_id.encode()).hexdigest() + CIPHERTEXT_SUFFIX)

    def _is_erasing(self, blob_id: str) -> bool:
        return self._ciphertext_path(blob_id).with_suffix(_ERASING_SUFFIX).exists()

    def _key_paths(self) -> list[Path]:
        return list(self._keys.glob("*" + KEY_SUFFIX))

    def _ref(self, record: KeyRecord) -> BlobRef:
        return BlobRef(record.blob_id, record.digest, record.size, self.key_id)

    def _read_record(self, path: Path) -> KeyRecord | None:
        try:
            raw = path.read_bytes()
            try:
                return decode_record(raw)
            except ValueError:
                # It may have been read while it was overwritten: a second look decides.
                return decode_record(path.read_bytes())
        except FileNotFoundError:
            return None
        except OSError as error:
            raise BlobReadFailed(path, error) from error
        except ValueError as error:
            raise BlobDamaged(path, str(error)) from error

    def _load(self, blob_id: str) -> KeyRecord | None:
        path = self._key_path(blob_id)
        record = self._read_record(path)
        if record is not None and record.blob_id != blob_id:
            raise BlobDamaged(path, f"it is the record of {record.blob_id}")
        return record

    def _live(self, blob_id: str) -> KeyRecord:
        if self._lock < 0:
            raise BlobStoreClosed(self._directory)
        record = self._load(blob_id)
        if record is None:
            raise BlobNotFound(blob_id)
        if record.state is BlobState.ERASED:
            raise BlobErased(blob_id)
        return record

    def _store(self, blob_id: str, digest: bytes, content: bytes) -> None:
        """Write ciphertext, then key: the key's name is what makes the blob exist."""
        size = len(content) + TAG_BYTES
        with self._accounts:
            if self._records >= self._records_max or self._bytes + size > self._store_bytes_max:
                raise BlobStoreFull(
                    f"the blob store holds {self._records} of {self._records_max} blobs and "
                    f"{self._bytes} of {self._store_bytes_max} bytes: erase or forget some first"
                )
            self._records += 1
            self._bytes += size
        path, key_path = self._ciphertext_path(blob_id), self._key_path(blob_id)
        try:
            record, ciphertext = seal(self._master, blob_id, digest, content)
            write_synced(path, ciphertext)
            sync_directory(self._ciphertexts)
            write_named(key_path, encode_record(record))
        except BaseException:
            with suppress(OSError):
                key_path.unlink(missing_ok=True)
                path.unlink(missing_ok=True)
            with self._accounts:
                self._records -= 1
                self._bytes -= size
            raise

    def _erase(self, blob_id: str, path: Path) -> None:
        ciphertext = self._ciphertext_path(blob_id)
        erasing = ciphertext.with_suffix(_ERASING_SUFFIX)
        with suppress(FileNotFoundError):
            ciphertext.replace(erasing)
            sync_directory(self._ciphertexts)
        write_synced(path, _erased_record(blob_id), in_place=True)
        with suppress(FileNotFoundError):
            size = erasing.stat().st_size
            erasing.unlink()
            with self._accounts:
                self._bytes -= size

    def _finish_erasing(self, erasing: Path) -> None:
        """Do at start-up what `_erase` had begun."""
        path = self._keys / (erasing.stem + KEY_SUFFIX)
        # A damaged record holds no key that could be used, and its id is not known.
        with suppress(BlobDamaged):
            record = self._read_record(path)
            if record is not None:
                write_synced(path, _erased_record(record.blob_id), in_place=True)
        erasing.unlink()


def _erased_record(blob_id: str) -> bytes:
    raw = encode_record(KeyRecord(blob_id, BlobState.ERASED))
    assert len(raw) == RECORD_BYTES
    return raw
