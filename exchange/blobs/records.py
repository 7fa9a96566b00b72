"""The key record of one blob: its data key, wrapped by the master key, in one sector.

    record = magic, version, state, id length, id (200), digest, size, nonce of the data,
             nonce of the key, wrapped key (48) | zeros | crc32 of all before it

A record is one sector and is erased by overwriting it in place, so that the wrapped key does not
stay behind in some other block of the file system.
"""

from __future__ import annotations

import re
import secrets
import struct
from enum import IntEnum
from typing import Final, NamedTuple
from zlib import crc32

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from exchange.blobs.errors import BlobIdInvalid

RECORD_BYTES: Final = 512
RECORD_VERSION: Final = 1
BLOB_ID_BYTES_MAX: Final = 200
KEY_BYTES: Final = 32
NONCE_BYTES: Final = 12
TAG_BYTES: Final = 16
DIGEST_BYTES: Final = 32

_MAGIC: Final = b"FXBK"
_BOUND: Final = struct.Struct("<4sBBH200s32sQ12s")  # what the wrapped key is bound to
_WRAP: Final = struct.Struct("<12s48s")
_CRC: Final = struct.Struct("<I")
_CRC_AT: Final = RECORD_BYTES - _CRC.size
_BLOB_ID: Final = re.compile(r"[A-Za-z0-9._/-]+")


class BlobState(IntEnum):
    """Whether a blob can be read."""

    LIVE = 1
    ERASED = 2


class KeyRecord(NamedTuple):
    """What is kept about one blob beside its ciphertext.

    Attributes:
        blob_id: The caller's name for it.
        state: Of an erased blob only the id is left, all else is zeros.
        digest: sha256 of the content.
        size: Of the content, in bytes.
        nonce: Of the content's encryption.
        wrap_nonce: Of the data key's encryption.
        wrapped_key: The data key under the master key.
    """

    blob_id: str
    state: BlobState
    digest: bytes = bytes(DIGEST_BYTES)
    size: int = 0
    nonce: bytes = bytes(NONCE_BYTES)
    wrap_nonce: bytes = bytes(NONCE_BYTES)
    wrapped_key: bytes = bytes(KEY_BYTES + TAG_BYTES)


def check_blob_id(blob_id: str) -> None:
    """Raise BlobIdInvalid unless the id can be stored."""
    if len(blob_id) > BLOB_ID_BYTES_MAX or _BLOB_ID.fullmatch(blob_id) is None:
        raise BlobIdInvalid(
            f"{blob_id[:BLOB_ID_BYTES_MAX]!r} is no blob id: use 1 to {BLOB_ID_BYTES_MAX} "
            "letters, digits and ._/-"
        )


def encode_record(record: KeyRecord) -> bytes:
    """A record's sector."""
    raw = (_bound(record) + _WRAP.pack(record.wrap_nonce, record.wrapped_key)).ljust(_CRC_AT, b"\0")
    return raw + _CRC.pack(crc32(raw))


def decode_record(raw: bytes) -> KeyRecord:
    """Read a record's sector.

    Raises:
        ValueError: It is not what was written.
    """
    if len(raw) != RECORD_BYTES or _CRC.unpack_from(raw, _CRC_AT) != (crc32(raw[:_CRC_AT]),):
        raise ValueError("the key record does not match its checksum")
    magic, version, state, length, name, *rest = _BOUND.unpack_from(raw)
    if magic != _MAGIC or version != RECORD_VERSION:
        raise ValueError(f"the key record has version {version}, not {RECORD_VERSION}")
    wrap = _WRAP.unpack_from(raw, _BOUND.size)
    return KeyRecord(name[:length].decode("ascii"), BlobState(state), *rest, *wrap)


def seal(master: AESGCM, blob_id: str, digest: bytes, content: bytes) -> tuple[KeyRecord, bytes]:
    """Encrypt content under a fresh key, and that key under the master key.

    Random nonces of 96 bits: one per data key, and for the master key good for 2^32 blobs.
    """
    key = secrets.token_bytes(KEY_BYTES)
    bare = KeyRecord(
        blob_id, BlobState.LIVE, digest, len(content), secrets.token_bytes(NONCE_BYTES)
    )
    wrap_nonce = secrets.token_bytes(NONCE_BYTES)
    record = bare._replace(
        wrap_nonce=wrap_nonce, wrapped_key=master.encrypt(wrap_nonce, key, _bound(bare))
    )
    return record, AESGCM(key).encrypt(record.nonce, content, None)


def unseal(master: AESGCM, record: KeyRecord, ciphertext: bytes) -> bytes:
    """The content of a live blob.

    Raises:
        ValueError: Key or ciphertext is not what was written.
    """
    try:
        key = master.decrypt(record.wrap_nonce, record.wrapped_key, _bound(record))
    except InvalidTag as error:
        raise ValueError("its key does not open under the master key") from error
    try:
        return AESGCM(key).decrypt(record.nonce, ciphertext, None)
    except InvalidTag as error:
        raise ValueError("the ciphertext is not what was written") from error


def _bound(record: KeyRecord) -> bytes:
    return _BOUND.pack(
        _MAGIC,
        RECORD_VERSION,
        record.state,
        len(record.blob_id),
        record.blob_id.encode("ascii"),
        record.digest,
        record.size,
        record.nonce,
    )
