"""What a group of commands did beyond what every order does, which is all that most do."""

from __future__ import annotations

from typing import Final

from librt.strings import read_i64_le
from mypy_extensions import i64

from exchange.core.event_rows import (
    ACCEPTED,
    CLOSED,
    FILLED,
    FILLED_INSTRUMENT_AT,
    POSTED,
    EventRows,
    row_bytes,
)
from exchange.core.events import AnyEvent, OrderAccepted, OrderClosed, OrderFilled, Posted

Noted = tuple[int, AnyEvent]
"""An event, with the place in the group of the command that caused it."""
Fill = tuple[int, int, bytes]
"""The row of a fill, with that place and its instrument."""

UNNOTED: Final[frozenset[type]] = frozenset({OrderAccepted, OrderClosed, OrderFilled, Posted})
"""Orders are accepted, trade, end, and move money. Who wants these looks through a group by itself,
for trades by `fills`."""

_BYTE: Final = (1 << 8) - 1


def noted(told: EventRows) -> dict[type, list[Noted]]:
    """All events but those of `UNNOTED`, in order, by type."""
    found: dict[type, list[Noted]] = {}
    rows, first = told.rows, told.first
    at: i64 = told.begin(0)
    end: i64 = told.end
    while at < end:
        head: i64 = read_i64_le(rows, at)
        if head & _BYTE not in (ACCEPTED, CLOSED, FILLED, POSTED):
            event = told.event_at(at)
            of_kind = found.get(type(event))
            if of_kind is None:
                of_kind = found[type(event)] = []
            of_kind.append(((head >> 32) - first, event))
        at += row_bytes(rows, at)
    return found


def fills(told: EventRows) -> list[Fill]:
    """All trades between orders, in order."""
    found: list[Fill] = []
    rows, first = told.rows, told.first
    at: i64 = told.begin(0)
    end: i64 = told.end
    while at < end:
        head: i64 = read_i64_le(rows, at)
        size = row_bytes(rows, at)
        if head & _BYTE == FILLED:
            instrument_id = read_i64_le(rows, at + FILLED_INSTRUMENT_AT)
            found.append(((head >> 32) - first, instrument_id, rows[at : at + size]))
        at += size
    return found


def of_kinds(told: EventRows, kinds: frozenset[type]) -> list[Noted]:
    """The events of these types, in order."""
    return [
        (place, event)
        for place, events in enumerate(told)
        for event in events
        if type(event) in kinds
    ]
