"""Sessions that have come some way: a lease that runs, a worker that has left."""

from __future__ import annotations

from typing import Any

from exchange.v1 import worker_service_pb2 as pb
from tests.worker.scripted import RunningWorker, ScriptedExchange, ServerSession
from worker.config import InstantOptions

SLOW = InstantOptions(delay_s=0.02)
STUCK = InstantOptions(delay_s=60.0)
QUIET_WITH_CHUNKS = ("heartbeat", "quote", "chunk")


async def begin(
    exchange: ScriptedExchange, lease_id: int = 1, **changes: Any
) -> tuple[ServerSession, pb.LeaseOffer]:
    """A session with a lease that has started."""
    session = await exchange.session()
    await session.welcome()
    offer = await session.offer(lease_id, **changes)
    await session.next("accept")
    await session.next("started")
    return session, offer


async def left(session: ServerSession, worker: RunningWorker, status: int) -> None:
    """The worker says goodbye and ends."""
    await session.next("goodbye")
    session.close()
    assert await worker.exit_status() == status
