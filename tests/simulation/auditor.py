"""Reads all that an exchange publishes, over all its lives, and holds it against what must hold.

A second state machine applies the same commands and must say the same; a plain ledger is kept from
the events alone. What was published before a crash must be there again after it.
"""

from __future__ import annotations

from collections import Counter

from exchange.core import commands as c
from exchange.core import events as e
from exchange.core.exchange import Exchange
from exchange.engine import Group
from tests.exchange.core.ledger_model import LedgerModel

CHECK_EVERY = 16
"""Groups between two looks at every invariant of the second state machine."""


class Auditor:
    """A subscriber of each of the exchange's lives."""

    def __init__(self) -> None:
        self.twin = Exchange()
        self.published = 0  # sequence up to which somebody may have been told
        self.groups = 0
        self.jobs: dict[bytes, int] = {}
        self.orders: dict[bytes, int] = {}
        self.deposits: dict[bytes, int] = {}
        self.ended: dict[int, e.JobEnded] = {}
        self.offered: set[int] = set()
        self.paid: Counter[int] = Counter()
        self._ledger = LedgerModel(self.twin)
        self._taken: dict[int, tuple[bytes, list[list[e.AnyEvent]]]] = {}

    def on_replay(self, group: Group) -> None:
        """A group that a new life found in its journal, or the first that it wrote itself."""
        if group.last_sequence <= self.twin.sequence:
            assert self._taken.get(group.first_sequence) == _content(group), (
                f"what was published at {group.first_sequence} is another thing after the crash"
            )
            return
        self._take(group)

    def on_group(self, group: Group) -> None:
        """A group that was published."""
        self._take(group)
        self.published = group.last_sequence

    def recovered(self, core: Exchange) -> None:
        """A new life has begun: it lacks nothing, and it is in the state that follows."""
        assert core.sequence >= self.published, (
            f"commands {core.sequence + 1} to {self.published} were acknowledged and are gone"
        )
        assert core.sequence == self.twin.sequence
        assert core.digest() == self.twin.digest(), "the recovered state is another one"

    def check(self) -> None:
        """All that must hold after every command."""
        self.twin.check()
        self._ledger.compare()
        assert self.twin.imbalance_nanos() == 0
        assert self.twin.overspend_nanos() == 0

    def _take(self, group: Group) -> None:
        # A group that was being written when the exchange crashed may be gone: nobody was told.
        assert group.first_sequence == self.twin.sequence + 1
        events = self.twin.apply(group.commands)
        told = group.outcomes.events
        for command, said, expected in zip(group.commands, told, events, strict=True):
            assert said == expected, f"{command} gave other events the second time"
            self._ledger.saw(command, said)
            self._note(command, said)
        self._taken[group.first_sequence] = _content(group)
        self.groups += 1
        if self.groups % CHECK_EVERY == 0:
            self.check()

    def _note(self, command: c.Command, events: list[e.AnyEvent]) -> None:
        first = events[0]
        if isinstance(command, c.SubmitJob) and isinstance(first, e.JobQueued):
            assert command.client_job_id not in self.jobs, "a job was bought twice"
            self.jobs[command.client_job_id] = first.job_id
        elif isinstance(command, c.PlaceOrder) and isinstance(first, e.OrderAccepted):
            assert command.client_order_id not in self.orders, "an order was placed twice"
            self.orders[command.client_order_id] = first.order_id
        elif isinstance(command, c.Deposit) and isinstance(first, e.Posted):
            assert command.request_id not in self.deposits, "a deposit was made twice"
            self.deposits[command.request_id] = command.amount_nanos
        for event in events:
            if isinstance(event, e.LeaseOffered):
                assert event.lease_id not in self.offered, "a lease was granted twice"
                self.offered.add(event.lease_id)
            elif isinstance(event, e.Posted) and event.kind == e.EntryKind.LEASE:
                self.paid[event.reference_id] += 1
                assert self.paid[event.reference_id] == 1, "a lease was paid twice"
            elif isinstance(event, e.JobEnded):
                assert event.job_id not in self.ended, "a job ended twice"
                self.ended[event.job_id] = event


def _content(group: Group) -> tuple[bytes, list[list[e.AnyEvent]]]:
    return group.commands.records, list(group.outcomes.events)
