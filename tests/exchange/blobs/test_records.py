"""The key record's sector, and the encryption that it is bound to."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given
from hypothesis import strategies as st

from exchange.blobs import BLOB_ID_BYTES_MAX, BlobIdInvalid
from exchange.blobs.records import (
    RECORD_BYTES,
    BlobState,
    KeyRecord,
    check_blob_id,
    decode_record,
    encode_record,
    seal,
    unseal,
)

MASTER = AESGCM(bytes(range(32)))
DIGEST = bytes(32)


@given(
    blob_id=st.text("abcXYZ019._/-", min_size=1, max_size=BLOB_ID_BYTES_MAX),
    content=st.binary(max_size=2000),
)
def test_a_record_and_its_content_come_back(blob_id: str, content: bytes) -> None:
    record, ciphertext = seal(MASTER, blob_id, DIGEST, content)
    raw = encode_record(record)
    assert len(raw) == RECORD_BYTES
    assert decode_record(raw) == record
    assert unseal(MASTER, record, ciphertext) == content


def test_every_flipped_bit_of_a_record_is_noticed() -> None:
    record, _ = seal(MASTER, "job-1", DIGEST, b"content")
    raw = bytearray(encode_record(record))
    for bit in range(len(raw) * 8):
        raw[bit // 8] ^= 1 << bit % 8
        with pytest.raises(ValueError, match=r"checksum|version"):
            decode_record(bytes(raw))
        raw[bit // 8] ^= 1 << bit % 8


def test_every_flipped_bit_of_a_ciphertext_is_noticed() -> None:
    record, sealed = seal(MASTER, "job-1", DIGEST, b"content")
    ciphertext = bytearray(sealed)
    for bit in range(len(ciphertext) * 8):
        ciphertext[bit // 8] ^= 1 << bit % 8
        with pytest.raises(ValueError, match="not what was written"):
            unseal(MASTER, record, bytes(ciphertext))
        ciphertext[bit // 8] ^= 1 << bit % 8


@pytest.mark.parametrize(
    "change",
    [{"blob_id": "job-2"}, {"digest": bytes([1] * 32)}, {"size": 8}, {"nonce": bytes(12)}],
)
def test_a_key_is_bound_to_its_blob(change: dict[str, object]) -> None:
    record, ciphertext = seal(MASTER, "job-1", DIGEST, b"content")
    forged = KeyRecord(**(record._asdict() | change))
    with pytest.raises(ValueError, match="does not open under the master key"):
        unseal(MASTER, forged, ciphertext)


def test_the_same_content_never_looks_the_same() -> None:
    first = seal(MASTER, "job-1", DIGEST, b"content")
    second = seal(MASTER, "job-1", DIGEST, b"content")
    assert first[1] != second[1]
    assert first[0].wrapped_key != second[0].wrapped_key


def test_an_erased_record_holds_nothing_but_its_id() -> None:
    raw = encode_record(KeyRecord("job-1", BlobState.ERASED))
    assert sum(map(bool, raw)) <= len("FXBK") + 3 + len("job-1") + 4


@pytest.mark.parametrize("blob_id", ["", "a b", "ä", "a\n", "a\0", "a" * (BLOB_ID_BYTES_MAX + 1)])
def test_ids_have_bounds(blob_id: str) -> None:
    with pytest.raises(BlobIdInvalid, match="letters, digits"):
        check_blob_id(blob_id)
    check_blob_id("a" * BLOB_ID_BYTES_MAX)
