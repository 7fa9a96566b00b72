"""Columns: many integers, or many strings of one size, as bytes; for snapshots of large states.

A column of integers is one byte that says how wide its values are (1, 2, 4 or 8 bytes, the least
that holds them all; signed, little-endian) and the values; where all are equal the width is 0 and
one value of 8 bytes stands for all. So a column's bytes are a function of its values, and reading
one back costs a few nanoseconds a value.
"""

from __future__ import annotations

import sys
from array import array
from collections.abc import Sequence
from typing import Final

from librt.strings import read_i16_le, read_i32_le, read_i64_le
from librt.vecs import vec
from mypy_extensions import i64

from matching.packed import COMPILED

_CODES: Final = {1: "b", 2: "h", 4: "i", 8: "q"}
_EQUAL: Final = 0
_VALUE_BYTES: Final = 8
_SWAP: Final = sys.byteorder == "big"
_SHIFT: Final = 62
_LOW: Final = (1 << _SHIFT) - 1


def pack(values: Sequence[int], collapse: bool = True) -> bytes:
    """A column of these integers; without `collapse` it always tells how many they are.

    Raises:
        OverflowError: one of them needs more than 64 bits (see `split`).
    """
    if not values:
        return b""
    low, high = min(values), max(values)
    if low == high and collapse:
        return bytes([_EQUAL]) + low.to_bytes(_VALUE_BYTES, "little", signed=True)
    width = 1
    while width < _VALUE_BYTES and not -(1 << 8 * width - 1) <= low <= high < 1 << 8 * width - 1:
        width *= 2
    column = array(_CODES[width], values)
    if _SWAP:
        column.byteswap()
    return bytes([width]) + column.tobytes()


def unpack(column: bytes, count: int) -> list[int]:
    """The `count` integers of a column.

    Raises:
        ValueError: it holds another number of them, or is no column.
    """
    if not count and not column:
        return []
    width = column[0] if column else -1
    if width == _EQUAL and len(column) == 1 + _VALUE_BYTES:
        return [int.from_bytes(column[1:], "little", signed=True)] * count
    code = _CODES.get(width)
    if code is None or len(column) != 1 + width * count:
        msg = f"{len(column)} bytes are no column of {count} integers"
        raise ValueError(msg)
    values = array(code)
    values.frombytes(memoryview(column)[1:])
    if _SWAP:
        values.byteswap()
    return values.tolist()


def numbers(column: bytes, count: int) -> vec[i64]:
    """`unpack` into plain memory, which compiled code reads without making objects.

    Raises:
        ValueError: as `unpack`.
    """
    width: i64 = column[0] if column else _EQUAL
    if not COMPILED or width not in _CODES or len(column) != 1 + width * count:
        return vec[i64](unpack(column, count))
    values = vec[i64]([0] * count)
    at: i64 = 0
    while at < len(values):
        place = 1 + at * width
        if width == 8:
            values[at] = read_i64_le(column, place)
        elif width == 4:
            values[at] = i64(read_i32_le(column, place))
        elif width == 2:
            values[at] = i64(read_i16_le(column, place))
        else:
            values[at] = (i64(column[place]) ^ 0x80) - 0x80  # its highest bit is the sign
        at += 1
    return values


def count_of(column: bytes) -> int:
    """How many integers a column has that holds no two equal ones, or was not to collapse.

    Raises:
        ValueError: it is no such column.
    """
    if not column:
        return 0
    if column[0] == _EQUAL:
        return 1
    if column[0] not in _CODES:
        msg = f"{column[0]} is no width of a column"
        raise ValueError(msg)
    return (len(column) - 1) // column[0]


def halves(values: Sequence[int]) -> tuple[bytes, bytes]:
    """Two columns for integers of up to 126 bits: what lies above the low 62 bits, and those."""
    return pack([value >> _SHIFT for value in values]), pack([value & _LOW for value in values])


def joined(high: bytes, low: bytes, count: int) -> list[int]:
    """The `count` integers of two columns that `halves` made.

    Raises:
        ValueError: they are no such columns.
    """
    aboves, belows = unpack(high, count), unpack(low, count)
    if not any(aboves):
        return belows
    return [above << _SHIFT | below for above, below in zip(aboves, belows, strict=True)]


def cut(joint: bytes, size: int, count: int) -> list[bytes]:
    """The `count` strings of `size` bytes each that were joined.

    Raises:
        ValueError: it holds another number of them.
    """
    if len(joint) != size * count:
        msg = f"{len(joint)} bytes are not {count} times {size}"
        raise ValueError(msg)
    return [joint[at : at + size] for at in range(0, len(joint), size)]
