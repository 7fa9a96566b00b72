"""A core that follows a journal, and the digest over everything that it has answered."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator
from hashlib import sha256
from typing import Final

from exchange.core.event_rows import EventRows
from exchange.core.exchange import Exchange

NO_OUTCOMES: Final = bytes(32)
"""The digest before the first command."""


class Replica:
    """A core, live or replayed.

    Attributes:
        core: The state machine.
        outcomes: Chained digest over the events of each group so far. Two cores that have given the
            same answers have the same; it costs a few hundred nanoseconds a command, where the
            digest of a state costs a look at all of it.
    """

    __slots__ = ("core", "outcomes")

    def __init__(self, core: Exchange, outcomes: bytes = NO_OUTCOMES) -> None:
        self.core = core
        self.outcomes = outcomes

    def apply(self, first_sequence: int, records: bytes) -> EventRows:
        """Apply one group; the events of each command.

        Raises:
            RecordError: the records hold what is no command.
        """
        assert first_sequence == self.core.sequence + 1, "the journal does not follow the state"
        self.core.tape.digesting = True
        told = self.core.apply_records(records)
        chained = sha256(self.outcomes)
        chained.update(told.rows)
        self.outcomes = chained.digest()
        return told


@contextlib.contextmanager
def collecting_paused() -> Iterator[None]:
    """Without the cyclic collector: a load makes millions of objects, none of them garbage."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
