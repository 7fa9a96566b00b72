"""Events that a test has at hand, as the exchange would have told them."""

from __future__ import annotations

from collections.abc import Iterable

from exchange.core.event_rows import EventRows
from exchange.core.event_tape import EventTape
from exchange.core.events import AnyEvent


def rows_of(results: Iterable[Iterable[AnyEvent]], *, digesting: bool = True) -> EventRows:
    """Each command's events, as rows."""
    tape = EventTape()
    tape.digesting = digesting
    for events in results:
        tape.begin_command()
        for event in events:
            tape.tell(event)
    return tape.end()
