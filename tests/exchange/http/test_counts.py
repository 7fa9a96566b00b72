"""What is counted of the event feed: refusals and ended leases."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from exchange.core.commands import Advance
from exchange.core.events import AnyEvent, LeaseEnded, LeaseState, Refused
from exchange.core.reasons import Reason
from exchange.core.recorded import Recorded
from exchange.engine import Group, Outcomes
from exchange.http.counts import EventCounts
from exchange.testing import InProcessExchange
from tests.exchange.core.rows import rows_of


def ended(state: LeaseState) -> LeaseEnded:
    values: dict[str, Any] = dict.fromkeys(LeaseEnded.__struct_fields__, 1)
    return LeaseEnded(**values | {"state": state})


async def test_every_reason_and_state_is_counted(tmp_path: Path) -> None:
    async with InProcessExchange(tmp_path) as exchange:
        counts = EventCounts(exchange.engine)
        assert not counts.refused
        refused = [Refused(reason) for reason in Reason]
        happened: list[AnyEvent] = [*refused, ended(LeaseState.SETTLED), refused[0]]
        events = [[one] for one in happened]
        commands = Recorded(Advance(1).encode() * len(events))
        counts._on_group(Group(commands, Outcomes(1, 7, rows_of(events))))
        settled = Outcomes(100, 7, rows_of([[ended(LeaseState.SETTLED)]]))
        counts._on_group(Group(Recorded(Advance(9).encode()), settled))
        assert counts.refused == dict.fromkeys(Reason, 1) | {refused[0].reason: 2}
        assert counts.leases_ended == {LeaseState.SETTLED: 2}
