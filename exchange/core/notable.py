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
    OTHER,
    POSTED,
    EventRows,
    row_bytes,
)
from exchange.core.events import (
    AnyEvent,
    LeaseOffered,
    OrderAccepted,
    OrderClosed,
    OrderFilled,
    Posted,
)

Noted = tuple[int, AnyEvent]
"""An event, with the place in the group of the command that caused it."""
Traded = tuple[int, int, bytes | LeaseOffered]
"""A fill's row, or a lease that was offered, with that place and its instrument."""

UNNOTED: Final[frozenset[type]] = frozenset({OrderAccepted, OrderClosed, OrderFilled, Posted})
"""Orders are accepted, trade, end, and move money. Who wants these looks through a group by itself,
for trades by `trades_in`."""

_Offered: Final = LeaseOffered  # compiled, at hand, where an imported name is looked up
_BYTE: Final = (1 << 8) - 1


def noted(told: EventRows) -> list[Noted]:
    """All events but those of `UNNOTED`, in order."""
    found: list[Noted] = []
    rows, first = told.rows, told.first
    at: i64 = told.begin(0)
    end: i64 = told.end
    while at < end:
        head: i64 = read_i64_le(rows, at)
        if head & _BYTE not in (ACCEPTED, CLOSED, FILLED, POSTED):
            found.append(((head >> 32) - first, told.event_at(at)))
        at += row_bytes(rows, at)
    return found


def trades_in(told: EventRows) -> list[Traded]:
    """All trades between orders, and all leases that were offered, in order."""
    found: list[Traded] = []
    rows, first = told.rows, told.first
    at: i64 = told.begin(0)
    end: i64 = told.end
    while at < end:
        head: i64 = read_i64_le(rows, at)
        size = row_bytes(rows, at)
        if head & _BYTE == FILLED:
            instrument_id = read_i64_le(rows, at + FILLED_INSTRUMENT_AT)
            found.append(((head >> 32) - first, instrument_id, rows[at : at + size]))
        elif head & _BYTE == OTHER:
            event = told.other_at(at)
            if type(event) is _Offered:
                found.append(((head >> 32) - first, event.instrument_id, event))
        at += size
    return found
