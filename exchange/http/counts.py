"""What is counted as it happens: a reader of the event feed, for the metrics."""

from __future__ import annotations

from collections import Counter
from typing import Final

from exchange.core.events import LeaseEnded, LeaseState, Refused
from exchange.core.reasons import Reason
from exchange.engine import Engine, Group

_COUNTED: Final[frozenset[type]] = frozenset({Refused, LeaseEnded})


class EventCounts:
    """Counts since the start, by the reasons and states that there are.

    Args:
        engine: Its feed is read from now on.
    """

    def __init__(self, engine: Engine) -> None:
        self.refused: Counter[Reason] = Counter()
        self.leases_ended: Counter[LeaseState] = Counter()
        engine.subscribe(self._on_group)

    def _on_group(self, group: Group) -> None:
        for _, _, event in group.events_of(_COUNTED):
            if isinstance(event, Refused):
                self.refused[event.reason] += 1
            else:
                assert isinstance(event, LeaseEnded)
                self.leases_ended[event.state] += 1
