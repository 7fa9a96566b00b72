"""Pages of lists: sizes and opaque tokens."""

from __future__ import annotations

import base64
import binascii
import struct
from collections.abc import Sequence
from typing import Final, TypeVar

from exchange.rpc.errors import RpcError, invalid

PAGE_SIZE_DEFAULT: Final = 100
PAGE_SIZE_MAX: Final = 1_000
CURSOR_MAX: Final = 2**63 - 1
"""No id, number or time is larger."""
T = TypeVar("T")
_TOKEN: Final = struct.Struct("<Q")


def page_size(asked: int) -> int:
    """How many items a page gets: 0 means the default, too many means the maximum."""
    return min(asked or PAGE_SIZE_DEFAULT, PAGE_SIZE_MAX)


def encode_token(cursor: int) -> str:
    """The token for the page that begins at this id; 0 (no more pages) is empty."""
    return base64.urlsafe_b64encode(_TOKEN.pack(cursor)).decode() if cursor else ""


def decode_token(token: str) -> int:
    """The cursor in a token; 0 for an empty one.

    Raises:
        RpcError: INVALID_ARGUMENT: no token of ours.
    """
    if not token:
        return 0
    try:
        cursor: int = _TOKEN.unpack(base64.urlsafe_b64decode(token.encode()))[0]
    except (struct.error, binascii.Error, ValueError) as error:
        raise _nobodys() from error
    if cursor > CURSOR_MAX:
        raise _nobodys()
    return cursor


def _nobodys() -> RpcError:
    return invalid("page_token", "must be a next_page_token of an earlier answer")


def cut(found: Sequence[T], size: int) -> tuple[Sequence[T], T | None]:
    """A page out of up to `size` + 1 rows, and its last row where another page follows.

    That row is the next page's cursor: everything there comes after it.
    """
    if len(found) <= size:
        return found, None
    return found[:size], found[size - 1]
