"""Client ids: the UUIDv7s that make a repeated request harmless."""

from __future__ import annotations

import secrets
import threading
import time
import uuid
from typing import Final

ID_BYTES: Final = 16
STEP_BACK_MAX_MS: Final = 1_000
"""Ids keep rising over a clock that steps back by at most this much."""
_CHANCE_BITS: Final = 74
_STEP_BITS: Final = 32


class _Generator:
    """Ids of one process: each larger than the one before, also within a millisecond."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._millis = 0
        self._chance = 0

    def next(self, millis: int) -> int:
        with self._lock:
            if self._millis - STEP_BACK_MAX_MS <= millis <= self._millis:
                # RFC 9562, section 6.2, method 2: a random part that rises by chance.
                self._chance += 1 + secrets.randbits(_STEP_BITS)
                if self._chance >> _CHANCE_BITS:
                    self._millis += 1
                    self._chance = secrets.randbits(_CHANCE_BITS - 1)
            else:
                self._millis = millis
                # The top bit is left clear as room to rise.
                self._chance = secrets.randbits(_CHANCE_BITS - 1)
            low = self._chance
            return (
                self._millis << 80 | 7 << 76 | (low >> 62) << 64 | 2 << 62 | low & ((1 << 62) - 1)
            )


_generator = _Generator()


def uuid7() -> bytes:
    """A fresh UUIDv7 (RFC 9562, section 5.7) as 16 bytes; ids of one process rise.

    Give it as `client_job_id`, `client_order_id` or `request_id` where a request must survive this
    process: store it before the request is sent, and send it again after a restart.
    """
    return _generator.next(time.time_ns() // 1_000_000).to_bytes(ID_BYTES)


def format_id(client_id: bytes) -> str:
    """A client id in the usual hexadecimal form; empty where there is none.

    Raises:
        ValueError: it does not have 16 bytes.
    """
    return str(uuid.UUID(bytes=client_id)) if client_id else ""


def parse_id(text: str) -> bytes:
    """The 16 bytes of a client id in hexadecimal form.

    Raises:
        ValueError: the text is no UUIDv7.
    """
    found = uuid.UUID(text)
    if found.version != 7:
        raise ValueError(f"not a UUIDv7: {text}")
    return found.bytes
