"""Workers, as their owners see them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from exchange.client.enums import WorkerState
from exchange.v1 import worker_service_pb2 as pb


@dataclass(frozen=True, slots=True)
class Quote:
    """A standing quote for one instrument from one pool.

    Attributes:
        instrument: Instrument's name.
        pool: Pool number, from 0.
        prices_nanos: Ask with i slots of the pool in use, nano-dollars per CU, never falling.
        ttl_ns: Time to live, nanoseconds.
    """

    instrument: str
    pool: int
    prices_nanos: tuple[int, ...]
    ttl_ns: int


@dataclass(frozen=True, slots=True)
class Worker:
    """A worker.

    Attributes:
        worker_id: Id given by the exchange.
        account_id: Owner's account.
        name: Name.
        state: As the market sees it.
        slots: Slots of each pool.
        slots_in_use: Slots in use of each pool.
        facts: Hardware facts.
        quotes: Its standing quotes.
        lease_ids: Leases it holds.
        leases_settled: Leases settled since it first registered.
        leases_failed: Leases failed, expired or declined.
        earned_mflop: Compute paid for, MFLOP, rounded down.
        earned_nanos: Money earned, nano-dollars.
        connected: True while its session is connected.
    """

    worker_id: int
    account_id: int
    name: str
    state: WorkerState
    slots: tuple[int, ...]
    slots_in_use: tuple[int, ...]
    facts: Mapping[str, str]
    quotes: tuple[Quote, ...]
    lease_ids: tuple[int, ...]
    leases_settled: int
    leases_failed: int
    earned_mflop: int
    earned_nanos: int
    connected: bool


def worker_from(message: pb.Worker) -> Worker:
    """A worker of the wire."""
    return Worker(
        worker_id=message.worker_id,
        account_id=message.account_id,
        name=message.name,
        state=WorkerState(message.state),
        slots=tuple(message.slots),
        slots_in_use=tuple(message.slots_in_use),
        facts=dict(message.facts),
        quotes=tuple(
            Quote(q.instrument, q.pool, tuple(q.prices_nanos), q.ttl_ns) for q in message.quotes
        ),
        lease_ids=tuple(message.lease_ids),
        leases_settled=message.leases_settled,
        leases_failed=message.leases_failed,
        earned_mflop=message.earned_mflop,
        earned_nanos=message.earned_nanos,
        connected=message.connected,
    )
