"""What is counted as it happens: a reader of the event feed, for the metrics."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Final

from exchange.core.events import LeaseEnded, LeaseState, Refused
from exchange.core.reasons import Reason
from exchange.engine import Engine, Group

_REFUSED: Final[frozenset[type]] = frozenset({Refused})
_LEASE_ENDED: Final[frozenset[type]] = frozenset({LeaseEnded})


class EventCounts:
    """Counts since the start, by the reasons and states that there are.

    Args:
        engine: Its feed is read from now on.
    """

    def __init__(self, engine: Engine) -> None:
        self.leases_ended: Counter[LeaseState] = Counter()
        self._refused = [0] * (max(Reason) + 1)  # the place is the reason
        engine.subscribe(self._on_group)

    @property
    def refused(self) -> Mapping[Reason, int]:
        """How many commands were refused, by reason."""
        return {reason: self._refused[reason] for reason in Reason if self._refused[reason]}

    def _on_group(self, group: Group) -> None:
        refused = self._refused
        for _, event in group.events_of(_REFUSED):
            refused[event.reason] += 1  # type: ignore[union-attr]
        for _, event in group.events_of(_LEASE_ENDED):
            assert isinstance(event, LeaseEnded)
            self.leases_ended[event.state] += 1
