"""What must hold after kills: what clients were told stands in the journal, once."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from exchange.core import commands as c
from exchange.core import events as e
from exchange.core.commands import decode
from exchange.core.exchange import Exchange
from exchange.core.limits import RULES_VERSION
from exchange.journal import read_journal
from exchange.v1.admin_service_pb2 import GetInvariantsResponse
from tests.integration.crash_site import Told

SLOTS = 2
"""Of each worker."""


class Seen:
    """What the journal did."""

    def __init__(self) -> None:
        self.jobs: dict[bytes, int] = {}
        self.orders: dict[bytes, int] = {}
        self.deposits: dict[bytes, int] = {}
        self.posted_leases: Counter[int] = Counter()
        self.granted_slots: dict[int, int] = {}
        self.granted: set[int] = set()
        self.leased: dict[int, int] = {}  # by job, while its lease lasts

    def take(self, command: c.Command, events: list[e.AnyEvent]) -> None:
        """Note what a command did; each accepted client id must appear once."""
        first = events[0]
        if isinstance(command, c.SubmitJob) and isinstance(first, e.JobQueued):
            assert command.client_job_id not in self.jobs
            self.jobs[command.client_job_id] = first.job_id
        elif isinstance(command, c.PlaceOrder) and isinstance(first, e.OrderAccepted):
            assert command.client_order_id not in self.orders
            self.orders[command.client_order_id] = first.order_id
        elif isinstance(command, c.Deposit) and isinstance(first, e.Posted):
            assert command.request_id not in self.deposits
            self.deposits[command.request_id] = command.amount_nanos
        for event in events:
            if isinstance(event, e.Posted) and event.kind == e.EntryKind.LEASE:
                self.posted_leases[event.reference_id] += 1
            elif isinstance(event, e.LeaseOffered):
                assert event.lease_id not in self.granted, "a lease was granted twice"
                assert event.job_id not in self.leased, "a job was leased twice at a time"
                self.granted.add(event.lease_id)
                self.leased[event.job_id] = event.lease_id
            elif isinstance(event, e.LeaseEnded):
                assert self.leased.pop(event.job_id) == event.lease_id


def judge(journal: Path, told: Told, said: GetInvariantsResponse, kills: int) -> Seen:
    """Hold the journal against what clients were told, and the exchange against its replay.

    Args:
        journal: Of an exchange that has been stopped.
        told: What its clients were told.
        said: What it said of itself when all was quiet, its digest included.
        kills: How often it was killed.
    """
    assert said.failure == ""
    assert said.ledger_imbalance_nanos == said.overspend_nanos == 0
    core, seen = _replay(journal, said)
    assert core.epoch == said.epoch >= kills + 1
    for ident, job_id in told.jobs.items():
        assert seen.jobs[ident] == job_id
    for ident, order_id in told.orders.items():
        assert seen.orders[ident] == order_id
    for ident, amount in told.deposits.items():
        assert seen.deposits[ident] == amount
    assert max(seen.posted_leases.values(), default=0) <= 1, "a lease was paid twice"
    assert max(seen.granted_slots.values(), default=0) <= SLOTS, "a slot was sold twice"
    return seen


def _replay(directory: Path, said: GetInvariantsResponse) -> tuple[Exchange, Seen]:
    """Apply the journal anew; on the way it must pass through the state that was told."""
    core, seen = Exchange(), Seen()
    compared = False
    for record in read_journal(directory, rules_version=RULES_VERSION):
        commands = decode(record.payload)
        for command, events in zip(commands, core.apply(commands), strict=True):
            seen.take(command, events)
        for worker in core.workers.values():
            held = max(worker.in_use, default=0)
            most = seen.granted_slots.get(worker.worker_id, 0)
            seen.granted_slots[worker.worker_id] = max(held, most)
        if core.sequence == said.journal_records:
            assert core.digest() == said.digest, "the replay is in another state"
            compared = True
    assert compared, (
        f"the journal has {core.sequence} records, and {said.journal_records} were told"
    )
    core.check()
    return core, seen
