"""What a group of commands did beyond what every order does, which is all that most do."""

from __future__ import annotations

from typing import Final

from exchange.core.commands import Command
from exchange.core.events import AnyEvent, OrderAccepted, OrderClosed, Posted

Noted = tuple[Command, int, AnyEvent]
"""An event, with the command that caused it and that command's number in the journal."""

_Accepted: Final = OrderAccepted
_Closed: Final = OrderClosed
_Posted: Final = Posted
"""Compiled, a constant is at hand, where an imported name is looked up each time."""

UNNOTED: Final[frozenset[type]] = frozenset({OrderAccepted, OrderClosed, Posted})
"""Orders are accepted, end, and move money. Who wants these looks through a group by itself."""


def noted(
    first_sequence: int, commands: list[Command], events: list[list[AnyEvent]]
) -> dict[type, list[Noted]]:
    """All events but those of `UNNOTED`, in order, by type.

    Args:
        first_sequence: Of the first command.
        commands: Neighbours.
        events: Each one's events, as `Exchange.apply` gives them.
    """
    found: dict[type, list[Noted]] = {}
    for at, told in enumerate(events):
        for event in told:
            kind = type(event)
            if kind is _Accepted or kind is _Closed or kind is _Posted:
                continue
            of_kind = found.get(kind)
            if of_kind is None:
                of_kind = found[kind] = []
            of_kind.append((commands[at], first_sequence + at, event))
    return found


def of_kinds(
    first_sequence: int,
    commands: list[Command],
    events: list[list[AnyEvent]],
    kinds: frozenset[type],
) -> list[Noted]:
    """The events of these types, in order."""
    return [
        (commands[at], first_sequence + at, event)
        for at, told in enumerate(events)
        for event in told
        if type(event) in kinds
    ]
