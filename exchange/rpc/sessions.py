"""Workers' sessions: who is connected, what is sent to whom, and when a worker counts as lost.

The hub is a reader of the event feed: what concerns a lease goes to the worker that holds it. A
worker that falls silent is lost at once; one whose stream broke has a while to come back with its
leases; after a restart of the exchange every worker has. Heartbeats never reach the core.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, get_args

import structlog

from exchange.core.commands import Command, DeclineLease, LeaveWorker, SettleLease, WorkerLost
from exchange.core.events import (
    JobCancelling,
    LeaseEnded,
    LeaseOffered,
    WorkerState,
    WorkerStateChanged,
)
from exchange.core.limits import NS_PER_S, RECOVERY_GRACE_NS
from exchange.core.recorded import Recorded
from exchange.core.workers import PRESENT
from exchange.engine import EngineBusy, EngineStopped, Group, Outcome
from exchange.rpc.convert import enums
from exchange.rpc.convert import workers as convert
from exchange.rpc.errors import Code, RpcError, draining, slow_reader
from exchange.rpc.streams import Mailbox, Queue
from exchange.v1 import worker_service_pb2 as pb

if TYPE_CHECKING:
    from exchange.core.lease import Lease
    from exchange.rpc.services import Services

SESSION_QUEUE_MAX: Final = 1_024
"""Messages that a worker may leave unread; then its session is ended as if it had broken."""
PIPELINE_MAX: Final = 256
"""Steps of one session that may wait for their commit; then its stream is not read on."""
BUSY_RETRY_S: Final = 0.02
HEARTBEATS_MISSED_MAX: Final = 3

_log = structlog.get_logger(__name__)

WorkerEvent = LeaseOffered | JobCancelling | LeaseEnded | WorkerStateChanged
_CONCERNS_WORKER: Final = frozenset(get_args(WorkerEvent))

Outgoing = pb.SessionResponse | int
"""A message, or the id of a lease to offer: its payload is read when its turn comes."""


@dataclass(frozen=True, slots=True)
class SessionConfig:
    """How long a worker may be silent or away, nanoseconds.

    Attributes:
        heartbeat_ns: Each side says something at least this often.
        reconnect_within_ns: A broken session may come back within this time.
        recovery_grace_ns: So may all sessions after the exchange has restarted.
    """

    heartbeat_ns: int = 2 * NS_PER_S
    reconnect_within_ns: int = 10 * NS_PER_S
    recovery_grace_ns: int = RECOVERY_GRACE_NS


class WorkerSession:
    """One connected worker, as the exchange sees it."""

    def __init__(self, worker_id: int, account_id: int, public_key: bytes) -> None:
        self.worker_id = worker_id
        self.account_id = account_id
        self.public_key = public_key
        self.starting: set[int] = set()  # leases whose start waits for its commit
        self.pipeline = asyncio.Semaphore(PIPELINE_MAX)
        self.steps = 0  # that wait for their commit
        self.outbox: Mailbox[Outgoing] = Mailbox(SESSION_QUEUE_MAX)
        self.error: RpcError | None = None
        self.ended = asyncio.Event()
        self.heard_s = asyncio.get_running_loop().time()
        self.handling = False
        self.being_replaced = False  # its worker registers anew; the outcome is not known yet

    def send(self, message: Outgoing) -> None:
        """Queue a message; never waits."""
        if not self.ended.is_set():
            self.outbox.put(message)
            if self.outbox.overflowed:
                left = len(self.outbox)
                self.end(slow_reader(f"the worker left {left} messages unread", {"unread": left}))

    def end(self, error: RpcError | None = None) -> None:
        """End the session; what is queued is still sent where there is no error."""
        if not self.ended.is_set():
            self.ended.set()
            self.error = error
            self.outbox.wake()

    def step_done(self) -> None:
        """A step has its commit, or will have none: there is room for another."""
        self.steps -= 1
        self.pipeline.release()

    def heard(self) -> None:
        """The worker said something."""
        self.heard_s = asyncio.get_running_loop().time()


class SessionHub:
    """All sessions, the timers of workers that are away, and the way from events to messages.

    The server subscribes `on_group` to the engine, calls `start` while an event loop runs, and
    awaits `stop` before it stops the engine.
    """

    def __init__(self, services: Services, config: SessionConfig | None = None) -> None:
        self._services = services
        self.config = config or SessionConfig()
        self._sessions: dict[int, WorkerSession] = {}
        self._away: dict[int, asyncio.TimerHandle] = {}
        self._tasks: set[asyncio.Task[Any]] = set()
        self._stopping = False
        services.queues["worker_messages"] = Queue(self.deepest, SESSION_QUEUE_MAX)
        services.queues["worker_steps"] = Queue(self.most_steps, PIPELINE_MAX)

    def deepest(self) -> int:
        """What the session has not sent that is furthest behind. O(sessions)."""
        return max((len(session.outbox) for session in self._sessions.values()), default=0)

    def most_steps(self) -> int:
        """Steps that wait for their commit in the session that has most. O(sessions)."""
        return max((session.steps for session in self._sessions.values()), default=0)

    # ---- life ----

    def start(self) -> None:
        """Give every worker that was there before a restart time to come back."""
        for worker in self._services.core.workers.values():
            if worker.state in PRESENT and not self.is_connected(worker.worker_id):
                self.expect_back(worker.worker_id, self.config.recovery_grace_ns)
        self.spawn(self._say_goodbye())

    async def _say_goodbye(self) -> None:
        """Once the exchange drains: running leases stand, workers come back to its successor."""
        await self._services.drain.wait()
        self._stopping = True
        for session in list(self._sessions.values()):
            session.send(convert.goodbye(draining()))
            session.end()

    async def stop(self) -> None:
        """End every session and task."""
        self._stopping = True
        for session in list(self._sessions.values()):
            session.end(draining())
        for handle in self._away.values():
            handle.cancel()
        self._away.clear()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def spawn(self, coroutine: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Run a task that belongs to the hub."""
        task = asyncio.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            _log.error("a task of the workers' sessions failed", exc_info=task.exception())

    # ---- sessions ----

    @property
    def connected(self) -> int:
        """Open sessions."""
        return len(self._sessions)

    def is_connected(self, worker_id: int) -> bool:
        """Whether the worker's session is open."""
        return worker_id in self._sessions

    def is_back(self, worker_id: int) -> int | None:
        """The worker has come back: it is not given up now.

        Returns:
            Where it was away, the nanoseconds that it had left.
        """
        handle = self._away.pop(worker_id, None)
        if handle is None:
            return None
        handle.cancel()
        return max(0, int((handle.when() - asyncio.get_running_loop().time()) * NS_PER_S))

    def connect(self, session: WorkerSession) -> None:
        """The worker's session is this one now; an older one is told so and ends."""
        self.is_back(session.worker_id)
        older = self._sessions.get(session.worker_id)
        self._sessions[session.worker_id] = session
        if older is not None:
            replaced = RpcError(
                Code.ABORTED, "SESSION_REPLACED", "the worker has opened another session"
            )
            older.send(convert.goodbye(replaced))
            older.end(replaced)

    def disconnect(self, session: WorkerSession) -> None:
        """The session's stream has ended; the worker may come back unless it was lost or left."""
        session.end()
        if self._sessions.get(session.worker_id) is not session:
            return
        del self._sessions[session.worker_id]
        worker = self._services.core.workers[session.worker_id]
        if worker.state in PRESENT and not self._stopping:
            self.expect_back(session.worker_id, self.config.reconnect_within_ns)

    def expect_back(self, worker_id: int, within_ns: int) -> None:
        """Give the worker up where it does not come back within this time, nanoseconds."""
        self.is_back(worker_id)
        loop = asyncio.get_running_loop()
        self._away[worker_id] = loop.call_later(within_ns / NS_PER_S, self.give_up, worker_id)

    def give_up(self, worker_id: int) -> None:
        """The worker is lost: its quotes go, its leases fail, their jobs go back."""
        self.is_back(worker_id)
        try:
            self._services.engine.submit(WorkerLost(worker_id)).add_done_callback(_look_at)
        except EngineBusy:
            self.expect_back(worker_id, int(BUSY_RETRY_S * NS_PER_S))
        except EngineStopped:
            _log.info("a worker was lost while the engine stops", worker_id=worker_id)

    # ---- commands of a session ----

    async def submit(
        self, session: WorkerSession, command: Command, then: Callable[[Outcome], None]
    ) -> None:
        """Sequence a step; `then` gets its outcome. Waits while too much is under way."""
        await session.pipeline.acquire()
        session.steps += 1
        while True:
            try:
                future = self._services.engine.submit(command)
                break
            except EngineBusy:
                await asyncio.sleep(BUSY_RETRY_S)
            except EngineStopped:
                session.step_done()
                session.end(draining())
                return

        def done(answer: asyncio.Future[Outcome]) -> None:
            session.step_done()
            if answer.cancelled() or answer.exception() is not None:
                session.end(draining())
            else:
                then(answer.result())

        future.add_done_callback(done)

    def fail_lease(self, lease: Lease, reason: int) -> None:
        """Give a lease back in its worker's name; the job is tried again."""
        command = DeclineLease(
            lease.worker_id, lease.lease_id, lease.fence_epoch, lease.fence_sequence, reason
        )
        try:
            self._services.engine.submit(command).add_done_callback(_look_at)
        except (EngineBusy, EngineStopped):
            # Its timers end it a little later.
            _log.warning("a lease could not be given back at once", lease_id=lease.lease_id)

    def is_replaced(self, session: WorkerSession) -> bool:
        """Whether its worker opens another, or has: what it still says is out of date."""
        newest = self._sessions.get(session.worker_id, session)
        return session.being_replaced or newest is not session

    def being_replaced(self, worker_id: int, is_so: bool) -> None:
        """Whether the worker registers anew: a goodbye must not be sequenced behind that."""
        session = self._sessions.get(worker_id)
        if session is not None:
            session.being_replaced = is_so

    def leave(self, session: WorkerSession) -> None:
        """The worker has said goodbye."""
        if self.is_replaced(session):
            session.end()
            return
        try:
            future = self._services.engine.submit(LeaveWorker(session.worker_id))
        except (EngineBusy, EngineStopped):
            session.end(draining())
            return
        future.add_done_callback(lambda _: session.end())

    # ---- events ----

    def on_group(self, group: Group) -> None:
        """A reader of the event feed: tell workers what concerns them."""
        for place, event in group.events_of(_CONCERNS_WORKER):
            assert isinstance(event, WorkerEvent)
            session = self._sessions.get(event.worker_id)
            if session is not None:
                self._tell(session, event, group.commands, place)

    def _tell(
        self, session: WorkerSession, event: WorkerEvent, commands: Recorded, place: int
    ) -> None:
        if isinstance(event, LeaseOffered):
            session.send(event.lease_id)
        elif isinstance(event, JobCancelling):
            lease = self._services.core.leases[event.lease_id]
            cancel = pb.CancelLease(lease_id=lease.lease_id, fence=convert.fence(lease))
            session.send(pb.SessionResponse(cancel=cancel))
        elif isinstance(event, LeaseEnded):
            # What the worker brought about itself is answered where it said so.
            if not isinstance(commands[place], SettleLease | DeclineLease | LeaveWorker):
                revoke = pb.RevokeLease(lease_id=event.lease_id, reason=enums.reason(event.reason))
                session.send(pb.SessionResponse(revoke=revoke))
        else:
            change = pb.WorkerChange(state=enums.worker_state(event.state))
            session.send(pb.SessionResponse(change=change))
            if event.state is WorkerState.LOST:
                session.end(lost())


def lost() -> RpcError:
    """Ends the session of a worker that fell silent."""
    return RpcError(
        Code.UNAVAILABLE, "WORKER_LOST", "nothing was heard for too long; register again"
    )


def _look_at(answer: asyncio.Future[Outcome]) -> None:
    """Nobody waits for this answer, but an error must not go unseen."""
    if not answer.cancelled() and answer.exception() is not None:
        _log.info("a command was not sequenced", error=str(answer.exception()))
