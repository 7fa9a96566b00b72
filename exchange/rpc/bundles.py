"""Several responses of an order stream in one message, for clients that take them so.

The message is the first response with the others in its field `following`. As the responses are
bytes already, and protobuf writes fields by their numbers, of which this one's is the highest, they
are put one behind the other (a test holds the bytes against protobuf's own).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

BUNDLE_BYTES_MAX: Final = 64 << 10
"""Bytes of a message of several responses; a longer one is a message of its own. Well within what
may be under way to a reader who does not read (`exchange.link.lane.WINDOW_BYTES`)."""

_FOLLOWING: Final = 6 << 3 | 2
"""How protobuf marks a TradeResponse's field `following`: number, and 2 where bytes follow."""


def bundle(responses: Iterable[bytes]) -> tuple[bytes, int]:
    """One message of as many responses as fit, oldest first, and how many these are.

    Args:
        responses: As protobuf writes them, none with any in `following`; one at least. The first is
            taken whatever its length.
    """
    parts: list[bytes] = []
    size = count = 0
    for response in responses:
        if count:
            head = _head(len(response))
            size += len(head)
            parts.append(head)
        size += len(response)
        if count and size > BUNDLE_BYTES_MAX:
            parts.pop()
            break
        parts.append(response)
        count += 1
    return b"".join(parts), count


def _head(length: int) -> bytes:
    """What precedes a following response: the field's mark and its length, seven bits a byte."""
    head = bytearray((_FOLLOWING,))
    while length > 0x7F:
        head.append(length & 0x7F | 0x80)
        length >>= 7
    head.append(length)
    return bytes(head)
