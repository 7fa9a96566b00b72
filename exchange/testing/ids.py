"""Client ids."""

from __future__ import annotations

import secrets
import time


def uuid7(now_ns: int | None = None) -> bytes:
    """A fresh UUIDv7 (RFC 9562, section 5.7) as 16 bytes.

    Args:
        now_ns: Its time, nanoseconds since the epoch; the machine's by default.
    """
    millis = (time.time_ns() if now_ns is None else now_ns) // 1_000_000
    chance = secrets.randbits(74)
    value = millis << 80 | 7 << 76 | (chance >> 62) << 64 | 2 << 62 | chance & (1 << 62) - 1
    return value.to_bytes(16)
