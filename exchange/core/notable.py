"""What a group of commands did beyond what every order does, which is all that most do."""

from __future__ import annotations

from typing import Final

from librt.strings import read_i64_le
from mypy_extensions import i64

from exchange.core.commands import Command
from exchange.core.event_rows import ACCEPTED, CLOSED, POSTED, EventRows, row_bytes
from exchange.core.events import AnyEvent, OrderAccepted, OrderClosed, Posted

Noted = tuple[Command, int, AnyEvent]
"""An event, with the command that caused it and that command's number in the journal."""

UNNOTED: Final[frozenset[type]] = frozenset({OrderAccepted, OrderClosed, Posted})
"""Orders are accepted, end, and move money. Who wants these looks through a group by itself."""

_BYTE: Final = (1 << 8) - 1


def noted(first_sequence: int, commands: list[Command], told: EventRows) -> dict[type, list[Noted]]:
    """All events but those of `UNNOTED`, in order, by type.

    Args:
        first_sequence: Of the first command.
        commands: Neighbours.
        told: Their events.
    """
    found: dict[type, list[Noted]] = {}
    rows, first = told.rows, told.first
    at: i64 = told.begin(0)
    end: i64 = told.end
    while at < end:
        head: i64 = read_i64_le(rows, at)
        kind = head & _BYTE
        if kind not in (ACCEPTED, CLOSED, POSTED):
            number: i64 = (head >> 32) - first
            event = told.event_at(at)
            of_kind = found.get(type(event))
            if of_kind is None:
                of_kind = found[type(event)] = []
            of_kind.append((commands[number], first_sequence + number, event))
        at += row_bytes(rows, at)
    return found


def of_kinds(
    first_sequence: int, commands: list[Command], told: EventRows, kinds: frozenset[type]
) -> list[Noted]:
    """The events of these types, in order."""
    return [
        (commands[at], first_sequence + at, event)
        for at, events in enumerate(told)
        for event in events
        if type(event) in kinds
    ]
