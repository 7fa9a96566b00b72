"""A core that follows a journal, and the digest over everything that it has answered."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator, Sequence
from hashlib import sha256
from typing import Final

from exchange.core.commands import Command
from exchange.core.event_rows import EventRows
from exchange.core.exchange import Exchange
from exchange.journal import GroupRecord

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

    def apply(
        self, commands: Sequence[Command], first_sequence: int, records: bytes = b""
    ) -> EventRows:
        """Apply one group; the events of each command. `records`: see `Exchange.apply`."""
        self._follow(first_sequence)
        return self._chained(self.core.apply(commands, records))

    def replay(self, group: GroupRecord) -> None:
        """Apply one group of a journal, whose events nobody reads.

        Raises:
            RecordError: it holds what is no command.
        """
        self._follow(group.first_sequence)
        self._chained(self.core.replay(group.payload))

    def _follow(self, first_sequence: int) -> None:
        assert first_sequence == self.core.sequence + 1, "the journal does not follow the state"
        self.core.tape.digesting = True

    def _chained(self, told: EventRows) -> EventRows:
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
