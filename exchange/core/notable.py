"""What a group of commands did beyond putting orders into books, which is all that most do."""

from __future__ import annotations

from collections.abc import Sequence

from exchange.core.commands import Command
from exchange.core.events import AnyEvent, OrderAccepted

Noted = tuple[Command, int, AnyEvent]
"""An event, with the command that caused it and that command's number in the journal."""


def noted(
    first_sequence: int, commands: Sequence[Command], events: Sequence[list[AnyEvent]]
) -> tuple[list[Noted], set[type]]:
    """All events but acceptances of orders, in order, and their types.

    Args:
        first_sequence: Of the first command.
        commands: Neighbours.
        events: Each one's events, as `Exchange.apply` gives them.
    """
    found: list[Noted] = []
    kinds: set[type] = set()
    for at in range(len(events)):
        told = events[at]
        if len(told) == 1 and type(told[0]) is OrderAccepted:
            continue
        command, sequence = commands[at], first_sequence + at
        for event in told:
            kind = type(event)
            if kind is not OrderAccepted:
                found.append((command, sequence, event))
                kinds.add(kind)
    return found, kinds


def of_kinds(found: list[Noted], kinds: frozenset[type]) -> list[Noted]:
    """Those of these types, in order."""
    return [one for one in found if type(one[2]) in kinds]
