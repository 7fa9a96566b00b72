"""What a group of commands did, as rows: written once, and made events only for who asks.

The six kinds of event in which nearly all commands end have a row of few words each. Any other
stands beside the rows as the object that it is, and in them as its MessagePack, where somebody
wants a digest. The digest of outcomes is taken over the rows; and whoever looks for little in a
busy group looks through their heads.

A row is made of words of 8 bytes, little-endian. Its first is the head: the kind in the lowest 8
bits, 24 bits of what is small, and the command's place in the group in the upper 32. Two ids of one
word are told as low | high << 32.

    ACCEPTED  side      | order | account, instrument | client order, 2 words | price | quantity
    FILLED    side      | trade | maker account, taker account | maker order | taker order
                        | maker leaves | taker leaves | price | quantity | instrument
    CLOSED    state | reason << 8  | order | account, instrument | leaves
    POSTED    kind      | debit account, credit account | amount | reference
    REFUSED   reason    | account | retry at
    ADVANCED            | now
    OTHER               | its place among the others, bytes | MessagePack, filled up with zeros
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, overload

import msgspec
from librt.strings import read_i32_le, read_i64_le
from mypy_extensions import i64

from exchange.core.events import (
    AnyEvent,
    EntryKind,
    OrderAccepted,
    OrderClosed,
    OrderFilled,
    OrderState,
    Posted,
    Refused,
    TimeAdvanced,
)
from exchange.core.reasons import Reason

encode: Final = msgspec.msgpack.Encoder().encode
"""Anything as MessagePack."""

ACCEPTED: Final = 1
FILLED: Final = 2
CLOSED: Final = 3
POSTED: Final = 4
REFUSED: Final = 5
ADVANCED: Final = 6
OTHER: Final = 7
"""Kinds of row."""

ACCEPTED_BYTES: Final = 56
FILLED_BYTES: Final = 80
CLOSED_BYTES: Final = 32
POSTED_BYTES: Final = 32
REFUSED_BYTES: Final = 24
ADVANCED_BYTES: Final = 16
OTHER_BYTES: Final = 16
"""Their sizes; the last without its MessagePack."""

ID_AT: Final = 8
"""Where in the row of an acceptance, an end or a fill its order or trade stands,"""
OTHER_AT: Final = 8
PARTIES_AT: Final = 16
"""and there the word of two ids;"""
ACCEPTED_NAME_AT: Final = 24
ACCEPTED_PRICE_AT: Final = 40
ACCEPTED_QUANTITY_AT: Final = 48
CLOSED_LEAVES_AT: Final = 24
FILLED_MAKER_AT: Final = 24
FILLED_TAKER_AT: Final = 32
FILLED_MAKER_LEAVES_AT: Final = 40
FILLED_TAKER_LEAVES_AT: Final = 48
FILLED_PRICE_AT: Final = 56
FILLED_QUANTITY_AT: Final = 64
FILLED_INSTRUMENT_AT: Final = 72
"""and what else these rows hold."""

_LOW: Final = (1 << 32) - 1
_SMALL: Final = (1 << 24) - 1
_BYTE: Final = (1 << 8) - 1
_INDEX_BYTES: Final = 4

_REASONS: Final[dict[int, Reason]] = {int(reason): reason for reason in Reason}
_STATES: Final[dict[int, OrderState]] = {int(state): state for state in OrderState}
_ENTRY_KINDS: Final[dict[int, EntryKind]] = {int(kind): kind for kind in EntryKind}
"""Found quicker than by calling the enumeration."""


class EventRows:
    """Each command's events, for neighbours of one group: a sequence of lists, made when asked for.

    A slice has copies of its part: who keeps one does not keep the whole group in memory.

    Attributes:
        rows: Theirs, in order.
        others: Events that have no row of their own kind.
        first: The first command's place in the group.
    """

    __slots__ = ("_base", "_count", "_first_other", "_index", "first", "others", "rows")

    def __init__(
        self,
        rows: bytes,
        index: bytes,
        others: list[AnyEvent],
        first: i64 = 0,
        base: i64 = 0,
        first_other: i64 = 0,
    ) -> None:
        self.rows = rows
        self.others = others
        self.first = first
        self._index = index  # where each command's rows begin in the group's, then the end
        self._base = base  # where these rows begin there
        self._first_other = first_other
        self._count: i64 = len(index) // _INDEX_BYTES - 1

    def __len__(self) -> int:
        return self._count

    def begin(self, at: i64) -> i64:
        """Where the rows of a command begin, by its place here; beyond the last, the end."""
        return i64(read_i32_le(self._index, at * _INDEX_BYTES)) - self._base

    @property
    def end(self) -> i64:
        """Where the rows of the last command end."""
        return self.begin(self._count)

    @overload
    def __getitem__(self, at: int) -> list[AnyEvent]: ...

    @overload
    def __getitem__(self, at: slice) -> EventRows: ...

    def __getitem__(self, at: int | slice) -> list[AnyEvent] | EventRows:
        if isinstance(at, slice):
            start, stop, step = at.indices(self._count)
            assert step == 1, "events are those of neighbours"
            return self._part(start, max(start, stop))
        number = at + self._count if at < 0 else at
        if not 0 <= number < self._count:
            raise IndexError("no command stands there")
        return self._events(self.begin(number), self.begin(number + 1))

    def __iter__(self) -> Iterator[list[AnyEvent]]:
        for number in range(self._count):
            yield self._events(self.begin(number), self.begin(number + 1))

    def __repr__(self) -> str:
        return repr(list(self))

    def _part(self, start: i64, stop: i64) -> EventRows:
        begin, end = self.begin(start), self.begin(stop)
        index = self._index[start * _INDEX_BYTES : (stop + 1) * _INDEX_BYTES]
        others: list[AnyEvent] = []
        first_other: i64 = 0
        at = begin
        while at < end:
            if read_i64_le(self.rows, at) & _BYTE == OTHER:
                if not others:
                    first_other = read_i64_le(self.rows, at + OTHER_AT) & _LOW
                others.append(self.other_at(at))
            at += row_bytes(self.rows, at)
        rows, base = self.rows[begin:end], self._base + begin
        return EventRows(rows, index, others, self.first + start, base, first_other)

    def _events(self, at: i64, end: i64) -> list[AnyEvent]:
        found: list[AnyEvent] = []
        while at < end:
            found.append(self.event_at(at))
            at += row_bytes(self.rows, at)
        return found

    def other_at(self, at: i64) -> AnyEvent:
        """The event of a row of kind OTHER."""
        return self.others[(read_i64_le(self.rows, at + OTHER_AT) & _LOW) - self._first_other]

    def event_at(self, at: i64) -> AnyEvent:
        """The event whose row begins there."""
        if read_i64_le(self.rows, at) & _BYTE == OTHER:
            return self.other_at(at)
        return event_of(self.rows, at)

    def check(self) -> None:
        """Assert that the rows of the commands here follow one another, each command's own."""
        at, end = self.begin(0), self.end
        assert (at, end) == (0, len(self.rows))
        for number in range(self._count):
            assert self.begin(number) == at
            while at < self.begin(number + 1):
                head = read_i64_le(self.rows, at)
                assert head >> 32 == self.first + number, "a row of another command"
                assert ACCEPTED <= head & _BYTE <= OTHER
                at += row_bytes(self.rows, at)
        assert at == end


NO_EVENTS: Final = EventRows(b"", bytes(_INDEX_BYTES), [])
"""Those of no command."""


def event_of(rows: bytes, at: i64 = 0) -> AnyEvent:
    """The event of a row of any kind but OTHER."""
    head: i64 = read_i64_le(rows, at)
    kind = head & _BYTE
    small = head >> 8 & _SMALL
    if kind == ACCEPTED:
        parties = read_i64_le(rows, at + PARTIES_AT)
        return OrderAccepted(
            read_i64_le(rows, at + ID_AT),
            parties & _LOW,
            rows[at + ACCEPTED_NAME_AT : at + ACCEPTED_PRICE_AT],
            parties >> 32 & _LOW,
            small,
            read_i64_le(rows, at + ACCEPTED_PRICE_AT),
            read_i64_le(rows, at + ACCEPTED_QUANTITY_AT),
        )
    if kind == FILLED:
        parties = read_i64_le(rows, at + PARTIES_AT)
        return OrderFilled(
            read_i64_le(rows, at + ID_AT),
            read_i64_le(rows, at + FILLED_INSTRUMENT_AT),
            read_i64_le(rows, at + FILLED_PRICE_AT),
            read_i64_le(rows, at + FILLED_QUANTITY_AT),
            read_i64_le(rows, at + FILLED_MAKER_AT),
            parties & _LOW,
            read_i64_le(rows, at + FILLED_MAKER_LEAVES_AT),
            read_i64_le(rows, at + FILLED_TAKER_AT),
            parties >> 32 & _LOW,
            read_i64_le(rows, at + FILLED_TAKER_LEAVES_AT),
            small,
        )
    if kind == CLOSED:
        parties = read_i64_le(rows, at + PARTIES_AT)
        return OrderClosed(
            read_i64_le(rows, at + ID_AT),
            parties & _LOW,
            parties >> 32 & _LOW,
            _STATES[small & _BYTE],
            _REASONS[small >> 8],
            read_i64_le(rows, at + CLOSED_LEAVES_AT),
        )
    if kind == POSTED:
        parties = read_i64_le(rows, at + 8)
        return Posted(
            _ENTRY_KINDS[small],
            parties & _LOW,
            parties >> 32 & _LOW,
            read_i64_le(rows, at + 16),
            read_i64_le(rows, at + 24),
        )
    if kind == REFUSED:
        retry_at_ns = read_i64_le(rows, at + 16)
        return Refused(_REASONS[small], read_i64_le(rows, at + 8), retry_at_ns)
    assert kind == ADVANCED, "the row of another event holds none"
    return TimeAdvanced(read_i64_le(rows, at + 8))


def row_bytes(rows: bytes, at: i64) -> i64:
    """The size of the row that begins there."""
    kind = read_i64_le(rows, at) & _BYTE
    if kind == ACCEPTED:
        return ACCEPTED_BYTES
    if kind == CLOSED:
        return CLOSED_BYTES
    if kind == FILLED:
        return FILLED_BYTES
    if kind == POSTED:
        return POSTED_BYTES
    if kind == REFUSED:
        return REFUSED_BYTES
    if kind == ADVANCED:
        return ADVANCED_BYTES
    return OTHER_BYTES + filled_up(read_i64_le(rows, at + OTHER_AT) >> 32)


def filled_up(count: i64) -> i64:
    """So many bytes as whole words."""
    return count + 7 & ~7
