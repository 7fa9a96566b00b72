"""One session with the exchange: register, then read and write until it ends."""

from __future__ import annotations

import asyncio
import contextlib
import enum
import logging
from typing import TYPE_CHECKING, Final

import grpc

from exchange.client.errors import call_failed
from exchange.client.reasons import reason_name
from exchange.metering.receipts import register_bytes
from exchange.v1 import job_service_pb2 as jobs_pb
from exchange.v1 import worker_service_pb2 as pb
from exchange.v1.reason_pb2 import Reason
from exchange.v1.worker_service_pb2 import WorkerState
from exchange.v1.worker_service_pb2_grpc import WorkerServiceStub
from worker.config import WorkerConfig
from worker.identity import Identity
from worker.quotes import QuoteBoard
from worker.workshop import Workshop

if TYPE_CHECKING:
    Call = grpc.aio.StreamStreamCall[pb.SessionRequest, pb.SessionResponse]

REGISTER_TIMEOUT_S: Final = 10.0
GOODBYE_TIMEOUT_S: Final = 2.0
"""How long the exchange may take to end the session after our goodbye."""
HEARTBEAT_SHARE: Final = 2
"""Something is sent at least this often in the exchange's heartbeat interval."""
DECLINES_MAX: Final = 4_096
"""Most declines that wait to be sent; an exchange that offers faster than it reads is broken."""
HEARTBEAT_MIN_S: Final = 0.05
NS_PER_S: Final = 1_000_000_000
READY: Final = WorkerState.WORKER_STATE_READY
"""Looked up once: a name of a protobuf enumeration is searched for in Python, each time."""
GONE_STATES: Final = (WorkerState.WORKER_STATE_LOST, WorkerState.WORKER_STATE_LEFT)
"""The exchange sells nothing of a worker in one of these until it registers again."""
REPLACED: Final = "SESSION_REPLACED"
"""Why the exchange ends a session whose worker has opened another."""

GONE_REASONS: Final = (
    Reason.REASON_STALE_FENCE,
    Reason.REASON_LEASE_CLOSED,
    Reason.REASON_UNKNOWN_LEASE,
)
"""A refusal for one of these means that the lease is not ours any more."""

log: Final = logging.getLogger("flopex.worker")


class WorkerRefused(Exception):
    """The exchange does not want this worker; trying again would not help."""


class WorkerReplaced(WorkerRefused):
    """Another process has registered as this worker since."""


class SessionEnd(enum.Enum):
    """How a session ended."""

    LEFT = "we said goodbye"
    GOODBYE = "the exchange said goodbye"
    CLOSED = "the exchange closed it"
    GONE = "the exchange takes us for gone"


class Intent:
    """What the worker wants; outlives its sessions. `news` wakes whoever writes."""

    def __init__(self) -> None:
        self.news = asyncio.Event()
        self._draining = asyncio.Event()
        self.leaving = False
        """Leave now, whatever is held."""

    @property
    def draining(self) -> bool:
        """Whether the worker is to finish what it holds and leave."""
        return self._draining.is_set()

    def drain(self) -> None:
        """Finish what is held, then leave."""
        self._draining.set()
        self.news.set()

    def leave(self) -> None:
        """Leave at once."""
        self.leaving = True
        self.news.set()

    async def wait_for_drain(self) -> None:
        """Return once the worker is to leave."""
        await self._draining.wait()


class Session:
    """Talks to the exchange over one call.

    Attributes:
        registered: The exchange took the registration.
        found_draining: The exchange then had this worker as one that drains.
    """

    def __init__(
        self,
        config: WorkerConfig,
        identity: Identity,
        facts: dict[str, str],
        workshop: Workshop,
        intent: Intent,
    ) -> None:
        self._config = config
        self._identity = identity
        self._facts = facts
        self._workshop = workshop
        self._intent = intent
        self._quotes = QuoteBoard(config.quotes, workshop.slots)
        self._declines: list[pb.Decline] = []
        self._drain_sent = False
        self._state: WorkerState.ValueType = WorkerState.WORKER_STATE_UNSPECIFIED
        self._heartbeat_s = 1.0
        self._heartbeat_at = 0.0
        self.registered = False
        self.found_draining = False

    async def run(self, channel: grpc.aio.Channel) -> SessionEnd:
        """Register, and serve until one side ends it.

        Raises:
            WorkerRefused: the registration was refused for good.
            WorkerReplaced: another process is this worker now.
            grpc.aio.AioRpcError: the connection failed or the exchange ended it with an error.
            TimeoutError: no answer to the registration.
        """
        call = WorkerServiceStub(channel).Session()
        try:
            async with asyncio.timeout(REGISTER_TIMEOUT_S):
                await self._register(call)
            if self._state in GONE_STATES:
                return SessionEnd.GONE
            return await self._serve(call)
        except grpc.aio.AioRpcError as error:
            self._see_replaced(error)
            raise
        finally:
            call.cancel()

    async def _register(self, call: Call) -> None:
        held = self._workshop.held
        claim = register_bytes(self._config.name, self._identity.public_key)
        register = pb.Register(
            name=self._config.name,
            public_key=self._identity.public_key,
            slots=[self._workshop.slots],
            facts=self._facts,
            held=[pb.HeldLease(lease_id=x.lease_id, fence=x.offer.fence) for x in held],
            signature=self._identity.sign(claim),
        )
        await call.write(pb.SessionRequest(register=register))
        answer = await self._read(call)
        if answer is not None and answer.WhichOneof("message") == "refusal":
            raise WorkerRefused(f"registration refused: {reason_name(answer.refusal.reason)}")
        if answer is None or answer.WhichOneof("message") != "registered":
            raise ConnectionError("the exchange did not answer the registration")
        self.registered = True
        interval_s = answer.registered.heartbeat_ns / NS_PER_S
        self._heartbeat_s = max(interval_s / HEARTBEAT_SHARE, HEARTBEAT_MIN_S)
        log.info(
            "registered as worker %d, %s; %d of %d leases go on",
            answer.registered.worker_id,
            _state_name(answer.registered.state),
            len(answer.registered.resumed),
            len(held),
        )
        self._workshop.resume(held, answer.registered.resumed)
        self.found_draining = answer.registered.state == WorkerState.WORKER_STATE_DRAINING
        self._enter(answer.registered.state)

    async def _serve(self, call: Call) -> SessionEnd:
        reading = asyncio.create_task(self._read_all(call))
        writing = asyncio.create_task(self._write_all(call))
        try:
            await asyncio.wait({reading, writing}, return_when=asyncio.FIRST_COMPLETED)
            if not reading.done():
                # However the writer ended, the reader hears how the exchange took it.
                with contextlib.suppress(TimeoutError, grpc.aio.AioRpcError):
                    async with asyncio.timeout(GOODBYE_TIMEOUT_S):
                        await reading
                writing.result()
                return SessionEnd.LEFT
            return reading.result()
        finally:
            for part in (reading, writing):
                part.cancel()
            await asyncio.gather(reading, writing, return_exceptions=True)

    # ---- From the exchange ----------------------------------------------------------------------

    @staticmethod
    async def _read(call: Call) -> pb.SessionResponse | None:
        message = await call.read()
        return message if isinstance(message, pb.SessionResponse) else None

    async def _read_all(self, call: Call) -> SessionEnd:
        while (message := await self._read(call)) is not None:
            match message.WhichOneof("message"):
                case "offer":
                    self._offered(message.offer)
                case "cancel":
                    log.info("lease %d cancelled by its buyer", message.cancel.lease_id)
                    self._workshop.cancel(message.cancel.lease_id, message.cancel.fence)
                case "revoke":
                    self._revoked(message.revoke.lease_id, message.revoke.reason)
                case "receipt_result":
                    self._answered(message.receipt_result)
                case "refusal":
                    self._refused(message.refusal)
                case "change":
                    log.info(
                        "the exchange changed our state: %s", _state_name(message.change.state)
                    )
                    if message.change.state in GONE_STATES:
                        return SessionEnd.GONE
                    self._enter(message.change.state)
                case "goodbye":
                    await self._hear_why(call)
                    return SessionEnd.GOODBYE
                case _:
                    # A heartbeat, or something newer than this worker.
                    continue
            self._intent.news.set()
        return SessionEnd.CLOSED

    async def _hear_why(self, call: Call) -> None:
        """After a goodbye: how the exchange ends the call.

        This process has one session at a time, so only another one can have replaced it. The two
        would put each other out for ever, each time at the cost of the other's leases.

        Raises:
            WorkerReplaced: another process has opened a session as this worker.
        """
        try:
            async with asyncio.timeout(GOODBYE_TIMEOUT_S):
                while await self._read(call) is not None:
                    continue
        except TimeoutError:
            return
        except grpc.aio.AioRpcError as error:
            self._see_replaced(error)

    def _see_replaced(self, error: grpc.aio.AioRpcError) -> None:
        if call_failed(error).reason == REPLACED:
            raise WorkerReplaced(
                f"another process has registered as {self._config.name}, with this worker's key"
            ) from error

    def _offered(self, offer: pb.LeaseOffer) -> None:
        reason = Reason.REASON_WORKER_PAUSED
        if self._state == READY and not self._intent.draining:
            if self._quotes.asks_at_most(offer.instrument, offer.price_nanos):
                reason = self._workshop.take(offer)
            else:
                # By a quote of a process before this one, which the exchange still had.
                reason = Reason.REASON_WORKER_DECLINED
        if reason == Reason.REASON_UNSPECIFIED:
            log.info(
                "lease %d taken: %s, at most %d MFLOP at %d nano-dollars per CU, attempt %d",
                offer.lease_id,
                offer.instrument,
                offer.quantity_mflop,
                offer.price_nanos,
                offer.attempt,
            )
            return
        log.warning("lease %d declined: %s", offer.lease_id, reason_name(reason))
        if len(self._declines) >= DECLINES_MAX:
            raise ConnectionError("the exchange offers leases and does not read the answers")
        self._declines.append(pb.Decline(lease_id=offer.lease_id, fence=offer.fence, reason=reason))
        self._quotes.declined(asyncio.get_running_loop().time())
        if offer.model != self._workshop.model:
            # Each such lease would cost its buyer an attempt.
            log.error("%s is of another model: not quoted any more", offer.instrument)
            self._quotes.drop(offer.instrument)

    def _revoked(self, lease_id: int, reason: Reason.ValueType) -> None:
        if reason == Reason.REASON_ACCEPT_TIMEOUT:
            self._quotes.declined(asyncio.get_running_loop().time())
        if self._workshop.revoke(lease_id):
            log.warning("lease %d revoked: %s", lease_id, reason_name(reason))

    def _answered(self, result: pb.ReceiptResult) -> None:
        if not self._workshop.settle(result.lease_id):
            return
        if result.accepted:
            log.info("lease %d paid %d nano-dollars", result.lease_id, result.paid_nanos)
        else:
            log.warning(
                "lease %d: receipt refused: %s", result.lease_id, reason_name(result.reason)
            )

    def _refused(self, refusal: pb.Refusal) -> None:
        name = reason_name(refusal.reason)
        if refusal.lease_id:
            if refusal.reason in GONE_REASONS:
                self._revoked(refusal.lease_id, refusal.reason)
            else:
                # An accept that was sent again after a reconnection, for example.
                log.debug("lease %d: a step was refused: %s", refusal.lease_id, name)
            return
        now_s = asyncio.get_running_loop().time()
        if self._quotes.refused(refusal.instrument, refusal.reason, now_s):
            log.warning("quote for %s refused: %s", refusal.instrument, name)

    def _enter(self, state: WorkerState.ValueType) -> None:
        if state == WorkerState.WORKER_STATE_DRAINING:
            self._drain_sent = True
            self._intent.drain()
        elif state == READY != self._state:
            self._quotes.restart()
        self._state = state
        self._intent.news.set()

    # ---- To the exchange ------------------------------------------------------------------------

    async def _write_all(self, call: Call) -> None:
        try:
            await self._write_until_left(call)
        except asyncio.InvalidStateError as error:
            # What gRPC raises for a write to a call that has ended meanwhile.
            raise ConnectionError("the session has ended") from error

    async def _write_until_left(self, call: Call) -> None:
        loop = asyncio.get_running_loop()
        while True:
            # Cleared before looking, so that nothing that comes while looking is missed.
            self._intent.news.clear()
            messages = self._due(loop.time())
            for message in messages:
                await call.write(message)
                self._heartbeat_at = loop.time() + self._heartbeat_s
            if messages:
                continue
            drained = self._drain_sent and not self._workshop.held
            if self._intent.leaving or drained:
                detail = "drained" if drained else "stopped"
                await call.write(pb.SessionRequest(goodbye=pb.Goodbye(detail=detail)))
                await call.done_writing()
                return
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(self._next_due_at()):
                    await self._intent.news.wait()

    def _due(self, now_s: float) -> list[pb.SessionRequest]:
        """What to send now: at most one message of each lease, so that they take turns."""
        messages = [pb.SessionRequest(decline=decline) for decline in self._declines]
        self._declines.clear()
        if self._workshop.broken and not self._intent.draining:
            log.error("the engine is broken: %s", self._workshop.broken)
            self._intent.drain()
        if self._intent.draining and not self._drain_sent:
            self._drain_sent = True
            messages.append(pb.SessionRequest(drain=pb.Drain()))
        if self._quoting:
            # Before receipts: the slot that one frees must not be sold while its engine reloads.
            quotes = self._quotes.due(now_s, self._workshop.loaded_slots)
            messages += [pb.SessionRequest(quote=quote) for quote in quotes]
        said = (lease.next_message(now_s) for lease in self._workshop.held)
        messages += [message for message in said if message is not None]
        if not messages and now_s >= self._heartbeat_at:
            messages.append(pb.SessionRequest(heartbeat=jobs_pb.Heartbeat()))
        return messages

    @property
    def _quoting(self) -> bool:
        return self._state == READY and not self._intent.draining

    def _next_due_at(self) -> float:
        due = [lease.due_at() for lease in self._workshop.held]
        if self._quoting:
            due.append(self._quotes.next_due_at())
        return min([self._heartbeat_at, *(at for at in due if at is not None)])


def _state_name(state: WorkerState.ValueType) -> str:
    if state not in WorkerState.values():
        return f"WORKER_STATE_{state}"  # of a newer exchange
    return WorkerState.Name(state).removeprefix("WORKER_STATE_")
