"""What the engine takes and gives: clocks, outcomes, groups, errors and bounds."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Final, Protocol, overload

import msgspec

from exchange.core.event_rows import EventRows
from exchange.core.events import AnyEvent, Refused
from exchange.core.notable import UNNOTED, Noted, noted
from exchange.core.reasons import Reason
from exchange.core.recorded import Recorded

PENDING_COMMANDS_MAX: Final = 65_536
"""Commands that may wait for their commit; one more is refused with EngineBusy."""
PENDING_BYTES_MAX: Final = 32 << 20
"""Encoded bytes that may wait for their commit."""
GROUP_COMMANDS_MAX: Final = 4_096
"""Commands of one commit group, and of one `submit_many`."""
GROUP_BYTES_MAX: Final = 4 << 20
"""Encoded bytes after which a group takes no further submission."""


class EngineError(Exception):
    """Base of the engine's errors."""


class EngineBusy(EngineError):
    """Too much waits for its commit: nothing was taken; come back a little later."""


class EngineStopped(EngineError):
    """The engine does not run any more.

    A command that was waiting may or may not be in the journal; its client id tells after the
    restart.
    """


class Clock(Protocol):
    """Where the time comes from."""

    def now_ns(self) -> int:
        """Nanoseconds since the epoch. May step back: the engine never does."""
        ...


class SystemClock:
    """The machine's clock."""

    def now_ns(self) -> int:
        """Nanoseconds since the epoch."""
        return time.time_ns()


class Outcome(msgspec.Struct, frozen=True, gc=False):
    """What one command did.

    Attributes:
        sequence: The command's number in the journal, from 1.
        now_ns: Journal time, nanoseconds since the epoch.
        events: At least one; the first tells the outcome.
    """

    sequence: int
    now_ns: int
    events: list[AnyEvent]

    @property
    def first(self) -> AnyEvent:
        """The event that tells how the command itself went."""
        return self.events[0]

    @property
    def refused(self) -> Reason | None:
        """Why the command changed nothing; None where it did."""
        first = self.events[0]
        return first.reason if type(first) is Refused else None


class Outcomes(Sequence[Outcome]):
    """What neighbouring commands did. Each one's `Outcome` is made only for who asks.

    Attributes:
        first_sequence: Number of the first command.
        now_ns: Journal time of all of them, nanoseconds since the epoch.
        events: Each command's events.
    """

    __slots__ = ("events", "first_sequence", "now_ns")

    def __init__(self, first_sequence: int, now_ns: int, events: EventRows) -> None:
        self.first_sequence = first_sequence
        self.now_ns = now_ns
        self.events = events

    @property
    def last_sequence(self) -> int:
        """Number of the last command."""
        return self.first_sequence + len(self.events) - 1

    def __len__(self) -> int:
        return len(self.events)

    @overload
    def __getitem__(self, at: int) -> Outcome: ...

    @overload
    def __getitem__(self, at: slice) -> Outcomes: ...

    def __getitem__(self, at: int | slice) -> Outcome | Outcomes:
        if isinstance(at, slice):
            start, _, step = at.indices(len(self.events))
            assert step == 1, "outcomes are those of neighbours"
            return Outcomes(self.first_sequence + start, self.now_ns, self.events[at])
        number = range(len(self.events))[at]
        return Outcome(self.first_sequence + number, self.now_ns, self.events[number])


class Group:
    """One durable commit group, as its readers see it.

    `outcomes[i]` answers `commands[i]`, whose number is `first_sequence + i`.
    """

    __slots__ = ("_kinds", "_noted", "commands", "outcomes")

    def __init__(self, commands: Recorded, outcomes: Outcomes) -> None:
        self.commands = commands
        self.outcomes = outcomes
        self._noted: list[Noted] | None = None
        self._kinds: set[type] = set()  # of what is noted

    @property
    def first_sequence(self) -> int:
        """Number of the group's first command."""
        return self.outcomes.first_sequence

    @property
    def last_sequence(self) -> int:
        """Number of the group's last command."""
        return self.outcomes.last_sequence

    @property
    def now_ns(self) -> int:
        """Journal time, nanoseconds since the epoch."""
        return self.outcomes.now_ns

    def events_of(self, kinds: frozenset[type]) -> Sequence[Noted]:
        """The group's events of these types, in order; types of `UNNOTED` are for no reader here.

        Most commands of a busy exchange only put an order into a book, or take one out. The first
        reader who asks finds the others' events for all, and a reader whom nothing concerns pays
        for one comparison.
        """
        assert UNNOTED.isdisjoint(kinds), "what every order does is not sorted out here"
        found = self._noted
        if found is None:
            found = self._noted = noted(self.outcomes.events)
            self._kinds.update([type(event) for _, event in found])
        if kinds.isdisjoint(self._kinds):
            return ()
        return [one for one in found if type(one[1]) in kinds]


Subscriber = Callable[[Group], None]
