"""Everything that can go wrong with the blob store.

BlobError
├── BlobStoreLocked      another process has the store open
├── BlobStoreClosed      used after close()
├── BlobKeyMissing       the store has no master key to read it with
├── BlobKeyWrong         the master key is not this store's
├── BlobNotFound         nothing was ever stored under this id
├── BlobErased           its key was destroyed; nobody can read it again
├── BlobRefused          nothing was stored; the store is as it was
│   ├── BlobIdInvalid
│   ├── BlobConflict     the id holds other content
│   ├── BlobTooLarge
│   └── BlobStoreFull
├── BlobDamaged          stored bytes are not what was written
├── BlobReadFailed       the device returned an error
└── BlobWriteFailed      the device returned an error
"""

from __future__ import annotations

from pathlib import Path


class BlobError(Exception):
    """Base of all errors of this package."""


class BlobStoreLocked(BlobError):
    """Another process has the store open."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        super().__init__(
            f"the blob store in {directory} is in use by another process: stop that process first"
        )


class BlobStoreClosed(BlobError):
    """The store was closed."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        super().__init__(f"the blob store in {directory} was closed: open it again")


class BlobKeyMissing(BlobError):
    """The master key's file does not exist, but blobs that need it do."""

    def __init__(self, path: Path) -> None:
        self.path = path
        super().__init__(
            f"the master key {path} is missing: put it back from where it is kept; without it "
            "no blob can be read"
        )


class BlobKeyWrong(BlobError):
    """The master key is not the one that this store was made with, or no key at all."""

    def __init__(self, path: Path, reason: str) -> None:
        self.path = path
        super().__init__(f"the master key {path} does not open this store: {reason}")


class BlobNotFound(BlobError):
    """Nothing is stored under this id."""

    def __init__(self, blob_id: str) -> None:
        self.blob_id = blob_id
        super().__init__(f"there is no blob {blob_id}")


class BlobErased(BlobError):
    """The blob was erased. Its id cannot be used again before it is forgotten."""

    def __init__(self, blob_id: str) -> None:
        self.blob_id = blob_id
        super().__init__(f"the blob {blob_id} was erased; it cannot be read again by anybody")


class BlobRefused(BlobError):
    """Nothing was stored and the store is as it was before."""


class BlobIdInvalid(BlobRefused):
    """An id has letters, digits and ._/- only, and a bounded length."""


class BlobConflict(BlobRefused):
    """The id already holds other content."""

    def __init__(self, blob_id: str) -> None:
        self.blob_id = blob_id
        super().__init__(f"the blob {blob_id} already holds other content: use another id")


class BlobTooLarge(BlobRefused):
    """One blob is over the bound."""


class BlobStoreFull(BlobRefused):
    """The store's bounds are reached: erase or forget blobs first."""


class BlobDamaged(BlobError):
    """Stored bytes are not what was written."""

    def __init__(self, path: Path, reason: str) -> None:
        self.path = path
        self.reason = reason
        super().__init__(f"{path} is damaged: {reason}; restore it from a copy, or erase the blob")


class BlobReadFailed(BlobError):
    """The device returned an error on reading."""

    def __init__(self, path: Path, cause: OSError) -> None:
        self.path = path
        super().__init__(f"cannot read {path}: {cause.strerror or cause}; check the device")


class BlobWriteFailed(BlobError):
    """The device returned an error; the blob was not acknowledged, or is not surely erased."""

    def __init__(self, path: Path, cause: OSError) -> None:
        self.path = path
        super().__init__(
            f"cannot write {path}: {cause.strerror or cause}; check the device and its free "
            "space, then try again"
        )
