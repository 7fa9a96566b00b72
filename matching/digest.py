"""A digest of a canonical state, shared by the real structures and their naive twins."""

from __future__ import annotations

from hashlib import sha256


def state_digest(state: object) -> bytes:
    """SHA-256 of a state of nested tuples of plain integers: one text per state."""
    return sha256(repr(state).encode()).digest()
