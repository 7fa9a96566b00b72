"""Payloads and outputs: encrypted with one key each, durable before `put` returns, erasable.

`BlobStore` is all of it; `backup_blobs` and `restore_blobs` copy it beside a running exchange; the
errors are in `exchange.blobs.errors`. The journal holds digests and sizes only.
"""

from exchange.blobs.copying import CopiedBlobs, backup_blobs, restore_blobs
from exchange.blobs.errors import (
    BlobConflict,
    BlobDamaged,
    BlobErased,
    BlobError,
    BlobIdInvalid,
    BlobKeyMissing,
    BlobKeyWrong,
    BlobNotFound,
    BlobReadFailed,
    BlobRefused,
    BlobStoreClosed,
    BlobStoreFull,
    BlobStoreLocked,
    BlobTooLarge,
    BlobWriteFailed,
)
from exchange.blobs.records import BLOB_ID_BYTES_MAX
from exchange.blobs.store import (
    BLOB_BYTES_MAX,
    RECORDS_MAX,
    STORE_BYTES_MAX,
    BlobRef,
    BlobStore,
)

__all__ = [
    "BLOB_BYTES_MAX",
    "BLOB_ID_BYTES_MAX",
    "RECORDS_MAX",
    "STORE_BYTES_MAX",
    "BlobConflict",
    "BlobDamaged",
    "BlobErased",
    "BlobError",
    "BlobIdInvalid",
    "BlobKeyMissing",
    "BlobKeyWrong",
    "BlobNotFound",
    "BlobReadFailed",
    "BlobRef",
    "BlobRefused",
    "BlobStore",
    "BlobStoreClosed",
    "BlobStoreFull",
    "BlobStoreLocked",
    "BlobTooLarge",
    "BlobWriteFailed",
    "CopiedBlobs",
    "backup_blobs",
    "restore_blobs",
]
