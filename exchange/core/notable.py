"""Which commands did more than most."""

from __future__ import annotations

from collections.abc import Sequence

from exchange.core.events import AnyEvent, OrderAccepted


def notable(events: Sequence[list[AnyEvent]]) -> list[int]:
    """Numbers of the commands that did not only put an order into a book, as most do.

    Args:
        events: Each command's events, as `Exchange.apply` gives them.
    """
    found: list[int] = []
    for at in range(len(events)):
        told = events[at]
        if len(told) != 1 or type(told[0]) is not OrderAccepted:
            found.append(at)
    return found
