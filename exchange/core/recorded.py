"""Commands as the journal has them, each made an object for who asks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import overload

from exchange.core.commands import Command, decode, decode_first
from exchange.core.placements import BEGIN_BYTES, record_begins


class Recorded(Sequence[Command]):
    """A sequence of commands of which nobody may want most: the engine orders and writes bytes.

    Args:
        records: Whole records, joined.

    Attributes:
        records: As given.
        begins: Where each begins, in four bytes.
    """

    __slots__ = ("begins", "records")

    def __init__(self, records: bytes) -> None:
        self.records = records
        self.begins = record_begins(records)

    def __len__(self) -> int:
        return len(self.begins) // BEGIN_BYTES

    @overload
    def __getitem__(self, at: int) -> Command: ...

    @overload
    def __getitem__(self, at: slice) -> list[Command]: ...

    def __getitem__(self, at: int | slice) -> Command | list[Command]:
        if isinstance(at, slice):
            return list(self)[at]
        start = range(0, len(self.begins), BEGIN_BYTES)[at]
        place = int.from_bytes(self.begins[start : start + BEGIN_BYTES], "little")
        return decode_first(self.records, place)[0]

    def __iter__(self) -> Iterator[Command]:
        return iter(decode(self.records))
