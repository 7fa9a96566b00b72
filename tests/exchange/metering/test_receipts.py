"""Receipts: every bit counts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exchange.metering.receipts import (
    ReceiptBody,
    ReceiptError,
    parse_signed_bytes,
    register_bytes,
)
from exchange.metering.signing import generate_key, public_key, sign, verify
from exchange.metering.traces import DenseTrace

SECRET = bytes(range(32))
BODY = ReceiptBody(
    7, 1, 42, 2, 29_000_000, 5, b"m" * 32, b"i" * 32, b"o" * 32, DenseTrace(10, 19).encode()
)

u32 = st.integers(0, 2**32 - 1)
u64 = st.integers(0, 2**64 - 1)
digests = st.binary(min_size=32, max_size=32)
bodies = st.builds(
    ReceiptBody, u64, u32, u64, st.integers(0, 255), u64, u64, digests, digests, digests,
    st.binary(max_size=60),
)  # fmt: skip


@given(bodies)
def test_round_trip(body: ReceiptBody) -> None:
    assert parse_signed_bytes(body.signed_bytes()) == body
    assert len(body.digest()) == 32


@given(bodies, bodies)
def test_other_receipts_have_other_bytes(one: ReceiptBody, other: ReceiptBody) -> None:
    assert (one == other) == (one.signed_bytes() == other.signed_bytes())


def flips(data: bytes) -> list[bytes]:
    """The data with each single bit flipped."""
    return [
        bytes(byte ^ 1 << bit if at == i else byte for at, byte in enumerate(data))
        for i in range(len(data))
        for bit in range(8)
    ]


def test_every_flipped_bit_of_a_receipt_is_noticed() -> None:
    data = BODY.signed_bytes()
    key, signature = public_key(SECRET), sign(SECRET, data)
    assert verify(key, signature, data)
    assert not any(verify(key, signature, other) for other in flips(data))


def test_every_flipped_bit_of_a_signature_or_key_is_noticed() -> None:
    data = BODY.signed_bytes()
    key, signature = public_key(SECRET), sign(SECRET, data)
    assert not any(verify(key, other, data) for other in flips(signature))
    assert not any(verify(other, signature, data) for other in flips(key))


def test_a_signature_is_deterministic_and_the_keys_own() -> None:
    data = BODY.signed_bytes()
    assert sign(SECRET, data) == sign(SECRET, data)
    other = generate_key()
    assert other != generate_key()
    assert len(other) == len(public_key(other)) == 32
    assert not verify(public_key(other), sign(SECRET, data), data)


@pytest.mark.parametrize("length", [0, 31, 33])
def test_keys_of_another_length(length: int) -> None:
    with pytest.raises(ValueError, match="32"):
        public_key(bytes(length))
    with pytest.raises(ValueError, match="32"):
        sign(bytes(length), b"")
    assert not verify(bytes(length), bytes(64), b"")


@pytest.mark.parametrize("length", [0, 63, 65])
def test_signatures_of_another_length(length: int) -> None:
    assert not verify(public_key(SECRET), bytes(length), b"")


@pytest.mark.parametrize(
    "data",
    [b"", BODY.signed_bytes()[:-1], BODY.signed_bytes() + b"x", b"x" + BODY.signed_bytes()[1:]],
)
def test_what_is_no_receipt(data: bytes) -> None:
    with pytest.raises(ReceiptError):
        parse_signed_bytes(data)


@given(st.binary(max_size=300))
def test_noise_is_no_receipt(data: bytes) -> None:
    with pytest.raises(ReceiptError):
        parse_signed_bytes(data)


def test_a_registration_is_never_a_receipt() -> None:
    signed = register_bytes("worker", public_key(SECRET))
    with pytest.raises(ReceiptError):
        parse_signed_bytes(signed)
    assert signed != register_bytes("worker2", public_key(SECRET))
    assert signed != register_bytes("worker", public_key(generate_key()))
