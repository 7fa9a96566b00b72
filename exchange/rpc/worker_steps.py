"""What a worker says in its session, message by message.

Steps are sequenced in the order in which they come and are answered when they are durable; the
stream is read on meanwhile, up to a bound. Output goes to the output hub only while the lease is
the worker's own, by its fencing token. A receipt and the output that it vouches for are stored
before the receipt is sequenced.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from exchange.core.commands import (
    AcceptLease,
    Command,
    DeclineLease,
    SetWorker,
    StartLease,
    WorkerAction,
)
from exchange.core.events import LeaseState, ReceiptRefused
from exchange.core.lease import Lease
from exchange.core.leases import DECLINE_REASONS
from exchange.core.reasons import Reason
from exchange.metering import signing
from exchange.rpc.convert import workers as convert
from exchange.rpc.errors import RpcError, invalid
from exchange.rpc.locks import KeyedLocks
from exchange.rpc.sessions import WorkerSession
from exchange.v1 import worker_service_pb2 as pb

if TYPE_CHECKING:
    from exchange.engine import Outcome
    from exchange.rpc.services import Services

Handler = Callable[[WorkerSession, Any], Awaitable[None]]


class WorkerSteps:
    """Handles the messages of all sessions."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._hub = services.sessions
        self._blobs = services.job_blobs
        self._settling: KeyedLocks[int] = KeyedLocks()
        self._handlers: dict[str, Handler] = {
            "quote": self._quote,
            "accept": self._accept,
            "decline": self._decline,
            "started": self._started,
            "chunk": self._chunk,
            "receipt": self._receipt,
            "heartbeat": self._heartbeat,
            "drain": self._drain,
            "goodbye": self._goodbye,
        }

    async def handle(self, session: WorkerSession, request: pb.SessionRequest) -> None:
        """Take one message after the first.

        Raises:
            RpcError: it holds nothing, or registers again.
        """
        kind = request.WhichOneof("message")
        handler = self._handlers.get(kind or "")
        if kind is None or handler is None:
            raise invalid("message", "must hold one of the session's messages after register")
        await handler(session, getattr(request, kind))

    # ---- quotes and states ----

    async def _quote(self, session: WorkerSession, message: pb.Quote) -> None:
        command = convert.quote(self._services.core, session.worker_id, message)
        name, pool = message.instrument, message.pool
        if isinstance(command, Reason):
            session.send(convert.refused(command, instrument=name, pool=pool))
            return

        def then(outcome: Outcome) -> None:
            if outcome.refused:
                session.send(convert.refused(outcome.refused, instrument=name, pool=pool))

        await self._hub.submit(session, command, then)

    async def _heartbeat(self, session: WorkerSession, _message: object) -> None:
        session.heard()

    async def _drain(self, session: WorkerSession, _message: pb.Drain) -> None:
        if self._hub.is_replaced(session):
            return
        command = SetWorker(session.account_id, session.worker_id, WorkerAction.DRAIN)
        await self._step(session, command, 0)

    async def _goodbye(self, session: WorkerSession, _message: pb.Goodbye) -> None:
        self._hub.leave(session)

    # ---- lease steps ----

    async def _step(self, session: WorkerSession, command: Command, lease_id: int) -> None:
        def then(outcome: Outcome) -> None:
            # Not by the acceptance before it: output that follows a start is taken all the while.
            if isinstance(command, StartLease):
                session.starting.discard(lease_id)
            if outcome.refused:
                session.send(convert.refused(outcome.refused, lease_id))

        await self._hub.submit(session, command, then)

    async def _accept(self, session: WorkerSession, message: pb.Accept) -> None:
        command = AcceptLease(
            session.worker_id, message.lease_id, message.fence.epoch, message.fence.sequence
        )
        await self._step(session, command, message.lease_id)

    async def _started(self, session: WorkerSession, message: pb.Started) -> None:
        command = StartLease(
            session.worker_id, message.lease_id, message.fence.epoch, message.fence.sequence
        )
        session.starting.add(message.lease_id)
        await self._step(session, command, message.lease_id)

    async def _decline(self, session: WorkerSession, message: pb.Decline) -> None:
        known = int(message.reason) in DECLINE_REASONS
        command = DeclineLease(
            session.worker_id,
            message.lease_id,
            message.fence.epoch,
            message.fence.sequence,
            message.reason if known else Reason.WORKER_DECLINED,
        )
        await self._step(session, command, message.lease_id)

    # ---- output ----

    async def _chunk(self, session: WorkerSession, message: pb.Chunk) -> None:
        lease = self._lease(session, message.lease_id, message.fence)
        if isinstance(lease, Reason):
            session.send(convert.refused(lease, message.lease_id))
            return
        if not lease.is_open:
            # Not even where a start is under way: a lease that has ended would get an output anew.
            session.send(convert.refused(Reason.LEASE_CLOSED, message.lease_id))
            return
        if lease.state is not LeaseState.RUNNING and lease.lease_id not in session.starting:
            session.send(convert.refused(Reason.LEASE_STATE, message.lease_id))
            return
        outputs = self._services.outputs
        output = outputs.open(lease.job_id, lease.lease_id, lease.attempt)
        refusal = output.add(message.index, message.text, message.tokens)
        if refusal:
            session.send(convert.refused(refusal, message.lease_id))
        else:
            outputs.notify(lease.job_id)

    def _lease(self, session: WorkerSession, lease_id: int, fence: pb.Fence) -> Lease | Reason:
        """The worker's own lease by its token, or why it is not."""
        lease = self._services.core.leases.get(lease_id)
        if lease is None:
            return Reason.UNKNOWN_LEASE
        if lease.worker_id != session.worker_id:
            return Reason.NOT_OWNER
        if not lease.has_fence(fence.epoch, fence.sequence):
            return Reason.STALE_FENCE
        return lease

    # ---- receipts ----

    async def _receipt(self, session: WorkerSession, message: pb.Receipt) -> None:
        await session.pipeline.acquire()
        # The hub owns the task: a session that breaks now does not undo a receipt.
        task = self._hub.spawn(self._settle(session, message))
        task.add_done_callback(lambda _: session.pipeline.release())

    async def _settle(self, session: WorkerSession, message: pb.Receipt) -> None:
        """Store and sequence a receipt, one at a time for each lease."""
        try:
            async with self._settling.hold(message.lease_id):
                await self._settle_alone(session, message)
        except RpcError as error:
            session.end(error)  # overloaded or stopping: the worker repeats the receipt

    async def _settle_alone(self, session: WorkerSession, message: pb.Receipt) -> None:
        body, signable = convert.receipt_body(message)
        signed = body.signed_bytes()
        valid = signable and signing.verify(session.public_key, message.signature, signed)
        tokens, digest = 0, convert.NO_DIGEST
        lease = self._lease(session, message.lease_id, message.fence)
        mine = isinstance(lease, Lease) and lease.is_open
        if isinstance(lease, Lease) and mine:
            output = self._services.outputs.open(lease.job_id, lease.lease_id, lease.attempt)
            tokens, digest = output.tokens, output.digest()
            vouched = output if digest == body.output_digest else None
            await self._blobs.keep_settlement(lease.lease_id, vouched, signed, message.signature)
        command = convert.settle_lease(session.worker_id, body, valid, tokens, digest)
        outcome = await self._services.submit(command)
        if mine and isinstance(outcome.first, ReceiptRefused):
            await self._blobs.void_output(message.lease_id)
        session.send(convert.receipt_result(message.lease_id, outcome.first))
