"""WorkerService: the workers' sessions, and what their owners ask."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Final

import structlog

from exchange.core.commands import Role, SetWorker, WorkerAction
from exchange.core.events import LeaseState, WorkerRegistered
from exchange.core.limits import NS_PER_S
from exchange.core.reasons import Reason
from exchange.rpc import auth
from exchange.rpc.auth import Caller
from exchange.rpc.calls import IncomingCall as Context
from exchange.rpc.convert import enums
from exchange.rpc.convert import workers as convert
from exchange.rpc.errors import Code, RpcError, invalid, refusal
from exchange.rpc.sessions import HEARTBEATS_MISSED_MAX, WorkerSession, lost
from exchange.rpc.why import workers as why
from exchange.rpc.worker_steps import WorkerSteps
from exchange.v1 import job_service_pb2 as jobs_pb
from exchange.v1 import worker_service_pb2 as pb

if TYPE_CHECKING:
    from exchange.core.lease import Lease
    from exchange.core.workers import Worker
    from exchange.rpc.services import Services

REGISTER_WITHIN_S: Final = 10.0
"""A session's first message must come within this time."""
STALL_S: Final = 1.0
"""A timer that is this late shows that the exchange itself was held up, seconds."""

_log = structlog.get_logger(__name__)

Requests = AsyncIterator[pb.SessionRequest]


class WorkerServicer:
    """Serves workers and their owners."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._hub = services.sessions
        self._blobs = services.job_blobs
        self._steps = WorkerSteps(services)

    # ---- session ----

    async def Session(
        self, request_iterator: Requests, context: Context
    ) -> AsyncIterator[pb.SessionResponse]:
        """See the service's definition."""
        caller = auth.caller(context)
        caller.require(Role.WORKER)
        self._services.refuse_new_work()
        requests = aiter(request_iterator)
        session = await self._register(caller.account_id, requests)
        # The call tells of its end even where this generator is not resumed.
        context.on_end(lambda: self._hub.disconnect(session))
        helpers = [
            self._hub.spawn(self._read(session, requests)),
            self._hub.spawn(self._watch(session)),
        ]
        try:
            async for message in self._outgoing(session):
                yield message
        finally:
            self._hub.disconnect(session)
            for helper in helpers:
                helper.cancel()
        if session.error is not None:
            raise session.error

    async def _register(self, account_id: int, requests: Requests) -> WorkerSession:
        """Wait for the first message and open the session.

        Raises:
            RpcError: it is not a valid register, or the core refuses it.
        """
        try:
            async with asyncio.timeout(REGISTER_WITHIN_S):
                first = await anext(requests)
        except (TimeoutError, StopAsyncIteration) as error:
            raise invalid("register", "must be the first message, and come soon") from error
        if first.WhichOneof("message") != "register":
            raise invalid("register", "must be the first message")
        command = convert.register_worker(account_id, first.register)
        known = self._services.core.worker_by_name.get((account_id, command.name))
        left_ns = self._hub.is_back(known) if known is not None else None
        if known is not None:
            self._hub.being_replaced(known, True)
        try:
            outcome = await self._services.execute(command)
        except (Exception, asyncio.CancelledError):
            # Knocking with a wrong key must not keep a lost worker alive.
            if known is not None:
                self._hub.being_replaced(known, False)
            if known is not None and left_ns is not None:
                self._hub.expect_back(known, left_ns)
            raise
        event = outcome.first
        assert isinstance(event, WorkerRegistered)
        session = WorkerSession(event.worker_id, account_id, command.public_key)
        session.send(self._registered(session, first.register))
        self._hub.connect(session)
        self._offer_again(session)
        return session

    def _registered(self, session: WorkerSession, message: pb.Register) -> pb.SessionResponse:
        """Which held leases stand; those that the worker has lost are given back."""
        core = self._services.core
        worker = core.workers[session.worker_id]
        claimed = {h.lease_id: (h.fence.epoch, h.fence.sequence) for h in message.held}
        resumed = []
        for lease_id in sorted(worker.lease_ids):
            lease = core.leases[lease_id]
            if lease_id in claimed and lease.has_fence(*claimed[lease_id]):
                output = self._services.outputs.open(lease.job_id, lease_id, lease.attempt)
                resumed.append(
                    pb.ResumedLease(
                        lease_id=lease_id,
                        next_index=output.next_index,
                        cancelled=lease.cancelling,
                    )
                )
            elif lease.state is not LeaseState.OFFERED:
                self._hub.fail_lease(lease, Reason.WORKER_LOST)
        return pb.SessionResponse(
            registered=pb.Registered(
                worker_id=session.worker_id,
                heartbeat_ns=self._hub.config.heartbeat_ns,
                resumed=resumed,
                state=enums.worker_state(worker.state),
            )
        )

    def _offer_again(self, session: WorkerSession) -> None:
        """Offers that were made while the worker was away, and that it has not."""
        for lease_id in sorted(self._services.core.workers[session.worker_id].lease_ids):
            if self._offered(lease_id):
                session.send(lease_id)

    async def _read(self, session: WorkerSession, requests: Requests) -> None:
        """Take the worker's messages until the stream or the session ends."""
        try:
            async for request in requests:
                session.heard()
                session.handling = True
                await self._steps.handle(session, request)
                session.handling = False
                session.heard()
                if session.ended.is_set():
                    break
            session.end()
        except RpcError as error:
            session.end(error)
        except Exception:
            _log.exception("a session's reader failed", worker_id=session.worker_id)
            session.end(RpcError(Code.INTERNAL, "INTERNAL", "the session failed"))

    async def _watch(self, session: WorkerSession) -> None:
        """Give the worker up where nothing is heard of it for too long."""
        loop = asyncio.get_running_loop()
        silent_max_s = HEARTBEATS_MISSED_MAX * self._hub.config.heartbeat_ns / NS_PER_S
        while not session.ended.is_set():
            silent_s = 0.0 if session.handling else loop.time() - session.heard_s
            if silent_s >= silent_max_s:
                self._hub.give_up(session.worker_id)
                session.end(lost())
                break
            until_s = loop.time() + silent_max_s - silent_s
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(until_s):
                    await session.ended.wait()
            if loop.time() - until_s > STALL_S:
                # It was this process that stood still: what the worker said lies unread.
                session.heard()
        # Its stream may hang in a write for long; what is due now goes to its next session.
        self._hub.disconnect(session)

    async def _outgoing(self, session: WorkerSession) -> AsyncIterator[pb.SessionResponse]:
        """What is to be sent, with a heartbeat where there is nothing else."""
        heartbeat_s = self._hub.config.heartbeat_ns / NS_PER_S
        while True:
            try:
                async with asyncio.timeout(heartbeat_s):
                    await session.outbox.wait()
            except TimeoutError:
                yield pb.SessionResponse(heartbeat=jobs_pb.Heartbeat())
            for item in session.outbox.take(1):
                message = await self._offer(item) if isinstance(item, int) else item
                if message is not None:
                    yield message
            if session.ended.is_set() and not len(session.outbox):
                return

    async def _offer(self, lease_id: int) -> pb.SessionResponse | None:
        """An offer with its payload; None where it does not stand any more."""
        core = self._services.core
        lease = self._offered(lease_id)
        if lease is None:
            return None
        payload = await self._blobs.payload(core.jobs[lease.job_id])
        if payload is None:
            self._hub.fail_lease(lease, Reason.OPERATOR_FAULT)
        if payload is None or self._offered(lease_id) is None:
            return None
        return convert.lease_offer(core, lease, payload, self._services.engine.now_ns())

    def _offered(self, lease_id: int) -> Lease | None:
        lease = self._services.core.leases.get(lease_id)
        return lease if lease is not None and lease.state is LeaseState.OFFERED else None

    # ---- owners ----

    async def ListWorkers(
        self,
        request: pb.ListWorkersRequest,
        context: Context,
    ) -> pb.ListWorkersResponse:
        """See the service's definition."""
        caller = auth.caller(context)
        core = self._services.core
        return pb.ListWorkersResponse(
            workers=[
                self._worker(worker)
                for worker in core.workers.values()
                if caller.sees_all or worker.account_id == caller.account_id
            ]
        )

    async def SetWorker(
        self, request: pb.SetWorkerRequest, context: Context
    ) -> pb.SetWorkerResponse:
        """See the service's definition."""
        caller = auth.caller(context)
        caller.require(Role.WORKER, Role.OPERATOR)
        core = self._services.core
        worker_id = self._find(request.worker_id, request.name, caller).worker_id
        action = enums.from_proto(WorkerAction, request.action, "action")
        # The core takes account 0 for the operator, who may set any worker.
        account_id = 0 if caller.roles & Role.OPERATOR else caller.account_id
        await self._services.execute(SetWorker(account_id, worker_id, action))
        return pb.SetWorkerResponse(worker=self._worker(core.workers[worker_id]))

    async def ExplainWorker(
        self, request: pb.ExplainWorkerRequest, context: Context
    ) -> pb.ExplainWorkerResponse:
        """See the service's definition."""
        caller = auth.caller(context)
        found = self._find(request.worker_id, request.name, caller)
        if not caller.sees_all and found.account_id != caller.account_id:
            raise refusal(
                Reason.NOT_OWNER,
                f"worker {found.worker_id} belongs to another account",
                {"worker_id": found.worker_id},
            )
        instrument_ids = why.quoted(found)
        leases = await self._services.ask_if_possible(
            lambda database: why.past(database, instrument_ids)
        )
        return why.explain_worker(self._services.core, self._worker(found), found, leases)

    def _find(self, worker_id: int, name: str, caller: Caller) -> Worker:
        """A worker by its id, or by its name in the caller's account.

        Raises:
            RpcError: NOT_FOUND (UNKNOWN_WORKER).
        """
        core = self._services.core
        worker_id = worker_id or core.worker_by_name.get((caller.account_id, name), 0)
        found = core.workers.get(worker_id)
        if found is None:
            named = name or worker_id
            raise refusal(Reason.UNKNOWN_WORKER, f"no worker {named!r}", {"worker": named})
        return found

    def _worker(self, found: Worker) -> pb.Worker:
        connected = self._hub.is_connected(found.worker_id)
        return convert.worker(self._services.core, found, connected)
