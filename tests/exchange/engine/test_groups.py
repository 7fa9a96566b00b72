"""A group as its readers see it: the events of the types that they name, in order."""

from __future__ import annotations

import pytest

from exchange.core.commands import Advance
from exchange.core.events import (
    AnyEvent,
    JobCancelling,
    KeyRevoked,
    OrderAccepted,
    OrderClosed,
    OrderState,
    Refused,
    TimeAdvanced,
)
from exchange.core.reasons import Reason
from exchange.core.recorded import Recorded
from exchange.engine import Group, Outcomes
from tests.exchange.core.rows import rows_of

ACCEPTED = OrderAccepted(1, 1, bytes(16), 1, 1, 100, 5)
CLOSED = OrderClosed(1, 1, 1, OrderState.CANCELED, Reason.CANCELLED_BY_OWNER, 5)
REFUSED = [Refused(Reason.UNKNOWN_ORDER, number) for number in range(3)]
REVOKED = [KeyRevoked(number, bytes(32)) for number in range(2)]


def group(*events: list[AnyEvent]) -> Group:
    return Group(Recorded(Advance(1).encode() * len(events)), Outcomes(5, 7, rows_of(events)))


def test_a_reader_gets_what_it_names_in_order() -> None:
    seen = group(
        [TimeAdvanced(7)],
        [ACCEPTED],
        [REFUSED[0]],
        [REVOKED[0], REFUSED[1], CLOSED, REVOKED[1]],
        [REFUSED[2]],
    )
    for _ in range(2):  # the first reader and later ones
        refused = seen.events_of(frozenset({Refused}))
        assert refused == [(2, REFUSED[0]), (3, REFUSED[1]), (4, REFUSED[2])]
        assert seen.events_of(frozenset({Refused, JobCancelling})) == refused
        both = seen.events_of(frozenset({Refused, KeyRevoked}))
        assert [event for _, event in both] == [
            REFUSED[0], REVOKED[0], REFUSED[1], REVOKED[1], REFUSED[2],
        ]  # fmt: skip
        assert [place for place, _ in both] == [2, 3, 3, 3, 4]
        assert not seen.events_of(frozenset({JobCancelling}))


def test_what_every_order_does_is_no_reader_s_here() -> None:
    with pytest.raises(AssertionError):
        group([ACCEPTED]).events_of(frozenset({OrderAccepted}))
