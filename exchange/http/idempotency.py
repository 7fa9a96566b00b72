"""Client ids for requests over HTTP: fresh ones, and those that an Idempotency-Key stands for.

The core makes repeats harmless by client ids, which are UUIDv7s: they hold a time, and an unknown
id that is too old is refused. A key of HTTP is any text. Its id is made from the key's hash and the
time at which the present window began, so every process makes the same id, also after a restart, as
long as the window lasts; what the window before it may have submitted is looked up by that id.
"""

from __future__ import annotations

import hashlib
import secrets
import uuid
from typing import Final

from exchange.http.errors import ApiError

WINDOW_S: Final = 12 * 3_600
"""A key stands for the same job this long after its first use at least, and twice that at most."""
KEY_CHARS_MAX: Final = 255
"""Longest Idempotency-Key."""
_CHANCE_BITS: Final = 74
_CHANCE_BYTES: Final = 10


def fresh_id(now_ns: int) -> bytes:
    """A UUIDv7 that nothing else has."""
    return _uuid7(now_ns // 1_000_000, secrets.randbits(_CHANCE_BITS))


def parse_key(text: str) -> str:
    """The key of an Idempotency-Key header.

    Raises:
        ApiError: 400: it is empty, too long, or not printable ASCII.
    """
    if not 0 < len(text) <= KEY_CHARS_MAX or not (text.isascii() and text.isprintable()):
        what = f"Idempotency-Key must have 1 to {KEY_CHARS_MAX} printable ASCII characters"
        raise ApiError(400, "FIELD_INVALID", what, "Idempotency-Key")
    return text


def own_id(key: str) -> bytes | None:
    """The client id that the key is by itself: a UUIDv7; None where it is another text."""
    try:
        found = uuid.UUID(key)
    except ValueError:
        return None
    return found.bytes if found.version == 7 else None


def derived_ids(key: str, turn: int, now_ns: int) -> tuple[bytes, bytes]:
    """The ids of a key's job: as this window makes it, and as the one before it did.

    Args:
        key: The Idempotency-Key.
        turn: Which job of this key, from 0: one that nobody was billed for may be tried again.
        now_ns: Nanoseconds since the epoch.
    """
    window = now_ns // (WINDOW_S * 10**9)
    return _derived_id(key, turn, window), _derived_id(key, turn, window - 1)


def _derived_id(key: str, turn: int, window: int) -> bytes:
    digest = hashlib.sha256(f"flopex.idempotency.v1 {window} {turn} {key}".encode()).digest()
    chance = int.from_bytes(digest[:_CHANCE_BYTES]) >> (8 * _CHANCE_BYTES - _CHANCE_BITS)
    return _uuid7(window * WINDOW_S * 1_000, chance)


def _uuid7(millis: int, chance: int) -> bytes:
    """RFC 9562, section 5.7."""
    value = millis << 80 | 7 << 76 | (chance >> 62) << 64 | 2 << 62 | chance & (1 << 62) - 1
    return value.to_bytes(16)
