"""Ed25519 signatures (RFC 8032) over receipts and registrations."""

from __future__ import annotations

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import (
    Ed25519PrivateKey,
    Ed25519PublicKey,
)


def generate_key() -> bytes:
    """A new private key, 32 bytes."""
    return Ed25519PrivateKey.generate().private_bytes_raw()


def load(private_key: bytes) -> Ed25519PrivateKey:
    """A private key for whoever signs again and again: to load it costs nearly as much as to sign.

    Raises:
        ValueError: the private key has not 32 bytes.
    """
    return Ed25519PrivateKey.from_private_bytes(private_key)


def public_key(private_key: bytes) -> bytes:
    """The public key of a private one, 32 bytes.

    Raises:
        ValueError: the private key has not 32 bytes.
    """
    return load(private_key).public_key().public_bytes_raw()


def sign(private_key: bytes, data: bytes) -> bytes:
    """A signature, 64 bytes.

    Raises:
        ValueError: the private key has not 32 bytes.
    """
    return load(private_key).sign(data)


def verify(key: bytes, signature: bytes, data: bytes) -> bool:
    """Whether `signature` over `data` is by the holder of the public `key`; never raises."""
    try:
        Ed25519PublicKey.from_public_bytes(key).verify(signature, data)
    except (InvalidSignature, ValueError):
        return False
    return True
