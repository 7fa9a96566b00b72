"""Packed records: one little-endian layout for every command, shared by journal, replay and numpy.

A record is a fixed part and, beside it, its variable parts:

    kind u16 | flags u16 | length u32 | fixed fields | variable bytes in field order

Each variable field stands in the fixed part as its length in bytes (u32). The layout of a class is
derived once from its annotations, so that the struct format, the numpy dtype and the Python type
cannot disagree.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Final, NamedTuple, Self, get_args, get_type_hints

import msgspec

HEAD: Final = struct.Struct("<HHI")
RECORD_BYTES_MAX: Final = 1 << 20
"""Longest record, head excluded. Reached by: a model card or a trace that is too large."""

U8 = Annotated[int, "B"]
U16 = Annotated[int, "H"]
U32 = Annotated[int, "I"]
U64 = Annotated[int, "Q"]
I64 = Annotated[int, "q"]
Id16 = Annotated[bytes, "16s"]
Digest = Annotated[bytes, "32s"]
VarBytes = Annotated[bytes, "bytes"]
VarStr = Annotated[str, "str"]
VarInts = Annotated[tuple[int, ...], "ints"]

_KINDS_MAX: Final = 256
"""The low byte of a kind names it."""
_VARIABLE: Final = frozenset({"bytes", "str", "ints"})
_SIZES: Final = {"16s": 16, "32s": 32}


class RecordError(ValueError):
    """The bytes are not a record of this version, or a value does not fit its field."""


class Layout(NamedTuple):
    """How one record class lies in bytes."""

    codes: tuple[str, ...]
    fixed: struct.Struct
    whole: struct.Struct  # the head and the fixed part
    sized: tuple[tuple[int, int, str], ...]  # fields of bytes: place, how many bytes, name
    variable: tuple[tuple[int, str], ...]  # fields beside the fixed part: place, code


def _layout(cls: type) -> Layout:
    hints = get_type_hints(cls, include_extras=True)
    codes = tuple(get_args(hints[name])[1] for name in cls.__struct_fields__)  # type: ignore[attr-defined]
    fixed = "".join("I" if c in _VARIABLE else c for c in codes)
    names = cls.__struct_fields__  # type: ignore[attr-defined]
    return Layout(
        codes,
        struct.Struct("<" + fixed),
        struct.Struct(HEAD.format + fixed),
        tuple((at, _SIZES[c], names[at]) for at, c in enumerate(codes) if c in _SIZES),
        tuple((at, c) for at, c in enumerate(codes) if c in _VARIABLE),
    )


def _pack_variable(code: str, value: Any) -> bytes:
    if code == "str":
        return str(value).encode()
    if code == "ints":
        return struct.pack(f"<{len(value)}q", *value)
    return bytes(value)


def _unpack_variable(code: str, data: bytes) -> Any:
    if code == "str":
        return data.decode()
    if code == "ints":
        return struct.unpack(f"<{len(data) // 8}q", data)
    return data


_LAYOUTS: Final[dict[type, Layout]] = {}


class Record(msgspec.Struct, frozen=True, gc=False):
    """Base of all packed records; a subclass states `KIND` and annotated fields, nothing else."""

    KIND: ClassVar[int] = 0
    KIND_BYTE: ClassVar[bytes] = b""

    def __init_subclass__(cls) -> None:
        cls.KIND_BYTE = cls.KIND.to_bytes()

    @classmethod
    def layout(cls) -> Layout:
        """The class's layout, derived on first use."""
        found = _LAYOUTS.get(cls)
        if found is None:
            found = _LAYOUTS[cls] = _layout(cls)
        return found

    @classmethod
    def head_word(cls) -> int:
        """The head of every record of a class without variable fields, as a number."""
        layout = cls.layout()
        assert not layout.variable, f"a {cls.__name__} has no one length"
        return int.from_bytes(HEAD.pack(cls.KIND, 0, layout.fixed.size), "little")

    def encode(self) -> bytes:
        """The record as bytes, head included.

        Raises:
            RecordError: a value does not fit its field, or the record exceeds RECORD_BYTES_MAX.
        """
        layout = _LAYOUTS.get(type(self)) or self.layout()
        fields = msgspec.structs.astuple(self)
        try:
            for at, size, name in layout.sized:  # struct would pad and cut in silence
                if len(fields[at]) != size:
                    raise RecordError(f"{type(self).__name__}: {name} has not {size} bytes")
            if not layout.variable:
                return layout.whole.pack(self.KIND, 0, layout.fixed.size, *fields)
            values = list(fields)
            rest = b""
            for at, code in layout.variable:
                part = _pack_variable(code, values[at])
                values[at] = len(part)
                rest += part
            length = layout.fixed.size + len(rest)
            if length > RECORD_BYTES_MAX:
                raise RecordError(f"{type(self).__name__}: {length} bytes exceed RECORD_BYTES_MAX")
            return layout.whole.pack(self.KIND, 0, length, *values) + rest
        except (struct.error, UnicodeError, OverflowError, TypeError) as error:
            raise RecordError(f"{type(self).__name__}: {error}") from error

    def content(self) -> bytes:
        """The record's own bytes, its kind left out: the same for equal records."""
        layout = _LAYOUTS.get(type(self)) or self.layout()
        if layout.variable:
            return self.encode()
        return layout.fixed.pack(*msgspec.structs.astuple(self))

    @classmethod
    def decode_body(cls, body: bytes | memoryview) -> Self:
        """The record whose body (head excluded) this is.

        Raises:
            RecordError: the body is too short, too long, or not text where text is due.
        """
        layout = cls.layout()
        try:
            values: list[Any] = list(layout.fixed.unpack_from(body))
            if not layout.variable:
                if len(body) != layout.fixed.size:
                    raise RecordError(f"{cls.__name__}: {len(body)} bytes, not {layout.fixed.size}")
                return cls(*values)
            offset = layout.fixed.size
            for at, code in layout.variable:
                end = offset + values[at]
                if end > len(body) or (code == "ints" and values[at] % 8):
                    raise RecordError(f"{cls.__name__}: a variable field overruns the record")
                values[at] = _unpack_variable(code, bytes(body[offset:end]))
                offset = end
        except (struct.error, UnicodeDecodeError) as error:
            raise RecordError(f"{cls.__name__}: {error}") from error
        if offset != len(body):
            raise RecordError(f"{cls.__name__}: {len(body) - offset} bytes are left over")
        return cls(*values)


def record_at(view: memoryview, offset: int) -> tuple[int, memoryview]:
    """The (kind, body) of the record that begins there.

    Raises:
        RecordError: the data end inside it, or its head is damaged.
    """
    if offset + HEAD.size > len(view):
        raise RecordError(f"a record head is cut at byte {offset}")
    kind, flags, length = HEAD.unpack_from(view, offset)
    start = offset + HEAD.size
    if flags or length > RECORD_BYTES_MAX or start + length > len(view):
        raise RecordError(f"a record of kind {kind} at byte {offset} is damaged or cut")
    return kind, view[start : start + length]


class Decoder:
    """Reads concatenated records of known kinds; those of a fixed size, most of all, in one step.

    Args:
        kinds: The classes by their KIND.
    """

    def __init__(self, kinds: Mapping[int, type[Record]]) -> None:
        self._kinds = kinds
        self._fixed = {
            kind: (cls, cls.layout().whole.unpack_from, cls.layout().whole.size)
            for kind, cls in kinds.items()
            if not cls.layout().variable
        }
        assert max(kinds) < _KINDS_MAX

    def decode(self, data: bytes | memoryview) -> list[Record]:
        """All records.

        Raises:
            RecordError: unknown kind or damaged bytes.
        """
        records: list[Record] = []
        view, offset, end = memoryview(data), 0, len(data)
        while offset < end:
            known = self._fixed.get(view[offset])
            if known is not None and offset + known[2] <= end:
                kind, flags, length, *fields = known[1](view, offset)
                if kind < _KINDS_MAX and not flags and length == known[2] - HEAD.size:
                    records.append(known[0](*fields))
                    offset += known[2]
                    continue
            record, size = self.decode_first(view, offset)
            records.append(record)
            offset += size
        return records

    def decode_first(self, view: memoryview, offset: int) -> tuple[Record, int]:
        """The record that begins there, and its size, head included.

        Raises:
            RecordError: unknown kind or damaged bytes.
        """
        kind, body = record_at(view, offset)
        cls = self._kinds.get(kind)
        if cls is None:
            raise RecordError(f"no record has kind {kind}")
        return cls.decode_body(body), HEAD.size + len(body)


def dtype(cls: type[Record]) -> Any:
    """The numpy dtype of a class's fixed part (variable fields appear as their lengths)."""
    import numpy as np

    names = {"B": "u1", "H": "<u2", "I": "<u4", "Q": "<u8", "q": "<i8", "16s": "V16", "32s": "V32"}
    codes = ("I" if code in _VARIABLE else code for code in cls.layout().codes)
    return np.dtype(list(zip(cls.__struct_fields__, (names[c] for c in codes), strict=True)))
