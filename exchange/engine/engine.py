"""The engine: one loop that commits what has come in since the last commit.

Journal, apply, publish, answer: in one thread, so that nobody can see what is not durable. Where
the journal can, the disk writes a group while it is applied; a group that cannot be applied is
taken back. While one group is being committed the next one collects, and for as long again as the
disk held that up or a part of it; this is the whole batching policy.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple, Self

import structlog

from exchange.core.commands import Advance, Command
from exchange.core.limits import NS_PER_MS
from exchange.engine.ahead import SegmentAhead
from exchange.engine.histogram import COUNT_BOUNDS, LATENCY_BOUNDS_NS, Histogram
from exchange.engine.opening import EngineConfig, Recovery, apply, open_state
from exchange.engine.types import (
    GROUP_BYTES_MAX,
    GROUP_COMMANDS_MAX,
    PENDING_BYTES_MAX,
    PENDING_COMMANDS_MAX,
    Clock,
    EngineBusy,
    EngineStopped,
    Group,
    Outcome,
    Outcomes,
    Subscriber,
)
from exchange.journal import GroupRecord, JournalError, LogStore
from exchange.journal.format import SEQUENCE_MAX
from exchange.recovery import Replica, SnapshotStats

WAIT_MAX_S: Final = 3_600.0
"""Longest sleep; the clock is looked at again after it."""

CATCH_UP_DIVISOR: Final = 4
"""Journal time that runs ahead of the clock gives back this part of the time that passes."""

COLLECT_MAX_NS: Final = 4_000_000
"""Longest time for which commands are collected after a commit, however long its sync took."""

_log = structlog.get_logger(__name__)

Callback = Callable[[Outcomes | EngineStopped], None]


@dataclass(slots=True)
class EngineStats:
    """Totals since the start; times in nanoseconds of the machine's monotonic clock.

    What applying, journaling and publishing took is there by that clock, which says how long a
    group was held up, and as CPU time, which says what it cost.

    Attributes:
        decode_ns: What it took to make commands of requests that no task had to take in: those of a
            gateway in another process, as long as there is room. Told by those who make them.
        sync_ns: How long the write of a group held the engine up.
        write_ns: From when a group was to be written until it was seen to be durable: framing it,
            a segment that has to be begun, and applying it meanwhile included.
        ack_ns: How long a submission waited for its answer.
        group_commands: How many commands were submitted for a group.
    """

    groups: int = 0
    commands: int = 0
    payload_bytes: int = 0
    decode_ns: int = 0
    apply_ns: int = 0
    apply_cpu_ns: int = 0
    append_ns: int = 0
    append_cpu_ns: int = 0
    publish_ns: int = 0
    publish_cpu_ns: int = 0
    subscriber_errors: int = 0
    sync_ns: Histogram = field(default_factory=lambda: Histogram(LATENCY_BOUNDS_NS))
    write_ns: Histogram = field(default_factory=lambda: Histogram(LATENCY_BOUNDS_NS))
    ack_ns: Histogram = field(default_factory=lambda: Histogram(LATENCY_BOUNDS_NS))
    group_commands: Histogram = field(default_factory=lambda: Histogram(COUNT_BOUNDS))
    snapshots: SnapshotStats = field(default_factory=SnapshotStats)


class _Moment(NamedTuple):
    """A time by the monotonic clock, and what this thread has had of the processors until then."""

    clock_ns: int
    cpu_ns: int

    @classmethod
    def now(cls) -> Self:
        return cls(time.perf_counter_ns(), time.thread_time_ns())


class _Submission:
    __slots__ = ("callback", "count", "payload", "since_ns")

    def __init__(self, count: int, payload: bytes, callback: Callback) -> None:
        self.count = count  # of commands
        self.payload = payload
        self.callback = callback
        self.since_ns = time.perf_counter_ns()


class Engine:
    """Owns the state machine and its journal. All methods belong to one event loop.

    Attributes:
        replica: The state, and the digest of what came of it.
        core: The state.
        recovered: What start-up found.
        stats: What was done since.
        ahead: Has the journal's next segment written.

    Use `Engine.open`, then run `run()` in a task; when it raises, the process must end.
    """

    def __init__(
        self,
        replica: Replica,
        log: LogStore,
        clock: Clock,
        recovered: Recovery,
        collect_divisor: int = 1,
        prepare_in_thread: bool = False,
    ) -> None:
        self.replica = replica
        self.core = core = replica.core
        self.recovered = recovered
        self.stats = EngineStats()
        self._log = log
        self._clock = clock
        self._seen_ns = clock.now_ns()
        self._ahead_ns = max(0, core.now_ns - self._seen_ns)
        self._pending: deque[_Submission] = deque()
        self._pending_commands = 0
        self._pending_bytes = 0
        self._subscribers: list[Subscriber] = []
        self._collect_until_ns = 0
        self._collect_divisor = collect_divisor
        self.ahead = SegmentAhead(log, in_thread=prepare_in_thread)
        self._wakeup: asyncio.Future[None] | None = None
        self._stopping = False
        self._failure: BaseException | None = None
        self._ended = asyncio.Event()

    @classmethod
    def open(
        cls,
        config: EngineConfig,
        clock: Clock,
        on_replay: Subscriber | None = None,
        log: LogStore | None = None,
        replay_from: int = SEQUENCE_MAX,
    ) -> Self:
        """Take the journal's lock, load the newest good snapshot, replay the rest, begin an epoch.

        Args:
            config: Where the journal is.
            clock: Where the time comes from.
            on_replay: Given the groups in order, the new epoch's own included.
            log: Another log than the folder's, for tests.
            replay_from: The first sequence that `on_replay` has to see: only snapshots before it
                are used, by default any. Where the journal's beginning was removed, it sees what
                is left.

        Raises:
            JournalError: the journal is in use, damaged, or of another exchange or version.
            JournalBehind: it ends before a good snapshot.
        """
        opened = open_state(config, clock, on_replay, log, replay_from)
        return cls(
            opened.replica,
            opened.log,
            clock,
            opened.recovery,
            config.collect_divisor,
            config.prepare_in_thread,
        )

    @property
    def running(self) -> bool:
        """Whether commands are taken."""
        return not self._stopping and self._failure is None

    @property
    def pending(self) -> int:
        """Commands that wait for their commit."""
        return self._pending_commands

    @property
    def pending_bytes(self) -> int:
        """Their bytes."""
        return self._pending_bytes

    def now_ns(self) -> int:
        """Journal time now, nanoseconds since the epoch: what the next group will be stamped with.

        It never steps back and never stands still. Where the clock stepped back, or lies behind the
        journal at the start, journal time goes on from where it was, a quarter slower than the
        clock until both agree: waiting for the clock would stop every timer and every batch.
        """
        seen_ns = self._clock.now_ns()
        passed_ns = seen_ns - self._seen_ns
        self._seen_ns = seen_ns
        if passed_ns < 0:
            self._ahead_ns -= passed_ns
            _log.warning("the clock stepped back; the journal's time goes on", by_ns=-passed_ns)
        elif self._ahead_ns:
            self._ahead_ns = max(0, self._ahead_ns - passed_ns // CATCH_UP_DIVISOR)
        return max(self.core.now_ns, seen_ns + self._ahead_ns)

    def subscribe(self, subscriber: Subscriber) -> None:
        """Call this with every group from now on, in order, once it is durable.

        Subscribers run before the submitters are answered, must be quick, and must not raise: an
        exception is logged and counted, and the feed goes on.
        """
        self._subscribers.append(subscriber)

    def submit(self, command: Command) -> asyncio.Future[Outcome]:
        """Sequence one command; the future resolves once it is durable.

        Raises:
            EngineBusy: too much waits.
            EngineStopped: the engine does not run; the future may raise it too.
            RecordError: a value does not fit its field.
        """
        future: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()

        def resolve(result: Outcomes | EngineStopped) -> None:
            if future.done():
                return  # The caller has gone; the command stands.
            if isinstance(result, EngineStopped):
                future.set_exception(result)
            else:
                future.set_result(result[0])

        self._enqueue(1, command.encode(), resolve)
        return future

    def submit_many(self, commands: Sequence[Command]) -> asyncio.Future[Outcomes]:
        """Sequence commands as neighbours of one group; as `submit`, for all of them at once.

        Raises:
            ValueError: none, or more than one group can hold.
        """
        future: asyncio.Future[Outcomes] = asyncio.get_running_loop().create_future()

        def resolve(result: Outcomes | EngineStopped) -> None:
            if future.done():
                return
            if isinstance(result, EngineStopped):
                future.set_exception(result)
            else:
                future.set_result(result)

        self.submit_with(commands, resolve)
        return future

    def submit_with(
        self, commands: Sequence[Command], callback: Callback, payload: bytes = b""
    ) -> None:
        """As `submit_many`, for readers of the feed that must see their own answers in order.

        The callback runs once, when the group is durable and before the feed's subscribers see it.
        `payload` is the commands encoded and joined, from a caller that has it.
        """
        if not 0 < len(commands) <= GROUP_COMMANDS_MAX:
            raise ValueError(f"a batch holds 1 to {GROUP_COMMANDS_MAX} commands")
        payload = payload or b"".join([command.encode() for command in commands])
        if len(payload) > GROUP_BYTES_MAX:
            raise ValueError(f"a batch holds at most {GROUP_BYTES_MAX} bytes")
        self._enqueue(len(commands), payload, callback)

    def wake(self) -> None:
        """Look at the clock again: for clocks that do not run by themselves."""
        wakeup = self._wakeup
        if wakeup is not None and not wakeup.done():
            wakeup.set_result(None)

    async def run(self) -> None:
        """Commit until stopped.

        Raises:
            JournalError: the journal could not be written: end the process.
            Exception: the state machine broke an invariant: end the process.
        """
        try:
            while self._pending or not self._stopping:
                await self._collect()
                self._commit_due()
                busy = bool(self._pending) or self._stopping
                if self.ahead.prepare(busy, self.wake) or busy:
                    await asyncio.sleep(0)
                else:
                    await self._wait()
        except BaseException as error:
            self._fail(error)
            raise
        finally:
            self._stopping = True
            try:
                self.ahead.close()
            finally:
                self._log.close()
                self._ended.set()

    async def stop(self) -> None:
        """Take nothing more, commit what waits, give the journal back."""
        self._stopping = True
        self.wake()
        await self._ended.wait()

    def _enqueue(self, count: int, payload: bytes, callback: Callback) -> None:
        if self._stopping or self._failure is not None:
            raise EngineStopped("the engine has stopped") from self._failure
        if (
            self._pending_commands + count > PENDING_COMMANDS_MAX
            or self._pending_bytes + len(payload) > PENDING_BYTES_MAX
        ):
            raise EngineBusy(f"{self._pending_commands} commands wait for their commit")
        self._pending.append(_Submission(count, payload, callback))
        self._pending_commands += count
        self._pending_bytes += len(payload)
        self.wake()

    async def _collect(self) -> None:
        """After a sync, let others work for as long as it held them up; then commit what came.

        So at most half of the time goes to the disk, and a slow disk makes larger groups instead of
        a longer queue. Where another process reads meanwhile nobody is held up, and a part of that
        time will do (`EngineConfig.collect_divisor`), in which answers go out. A command that comes
        later than that after the last commit does not wait. A timer of the loop counts whole
        milliseconds (epoll does): those it sleeps, the rest it yields.
        """
        while self._pending and self._pending_commands < GROUP_COMMANDS_MAX:
            left_ns = self._collect_until_ns - time.perf_counter_ns()
            if left_ns <= 0:
                break
            await asyncio.sleep(left_ns // NS_PER_MS / 1_000)

    async def _wait(self) -> None:
        """Sleep until there is a submission or a timer of the core may be due."""
        loop = asyncio.get_running_loop()
        self._wakeup = loop.create_future()
        due_ns = self.core.next_timer_ns()
        handle = None
        if due_ns is not None:
            delay = min(WAIT_MAX_S, max(0, due_ns - self.now_ns()) / 1e9)
            handle = loop.call_later(delay, self.wake)
        try:
            await self._wakeup
        finally:
            self._wakeup = None
            if handle is not None:
                handle.cancel()

    def _commit_due(self) -> None:
        now_ns = self.now_ns()
        if not self._pending:
            due_ns = self.core.next_timer_ns()
            if due_ns is None or due_ns > now_ns:
                return
        self._commit(self._take(), now_ns)

    def _take(self) -> list[_Submission]:
        """The oldest submissions that fit into one group."""
        taken: list[_Submission] = []
        commands = payload_bytes = 0
        while self._pending:
            head = self._pending[0]
            commands += head.count
            payload_bytes += len(head.payload)
            if taken and (commands > GROUP_COMMANDS_MAX or payload_bytes > GROUP_BYTES_MAX):
                break
            taken.append(self._pending.popleft())
            self._pending_commands -= head.count
            self._pending_bytes -= len(head.payload)
        return taken

    def _commit(self, taken: list[_Submission], now_ns: int) -> None:
        payload = b"".join([Advance(now_ns).encode(), *(s.payload for s in taken)])
        core, log = self.core, self._log
        count = 1 + sum([s.count for s in taken])
        record = GroupRecord(core.sequence + 1, count, core.epoch, payload)
        asked = _Moment.now()
        try:
            log.begin(record)
            began = _Moment.now()
            group = self._apply(record)
            applied = _Moment.now()
            log.finish()
        except BaseException as error:
            # Nothing of this group was published, and nothing will be.
            stopped = EngineStopped("the command may or may not be in the journal")
            stopped.__cause__ = error
            for submission in taken:
                submission.callback(stopped)
            raise
        durable = _Moment.now()
        self._publish(taken, group)
        # What it held this thread up for; the disk had all the time from `began` on.
        sync_ns = durable.clock_ns - applied.clock_ns + began.clock_ns - asked.clock_ns
        self._collect_until_ns = durable.clock_ns + min(
            sync_ns // self._collect_divisor, COLLECT_MAX_NS
        )
        stats = self.stats
        stats.groups += 1
        stats.commands += count
        stats.payload_bytes += len(payload)
        stats.append_ns += sync_ns
        stats.sync_ns.add(sync_ns)
        stats.write_ns.add(durable.clock_ns - asked.clock_ns)
        stats.group_commands.add(count - 1)  # the first is the Advance
        for submission in taken:
            stats.ack_ns.add(durable.clock_ns - submission.since_ns)
        self._note(asked, began, applied, durable, _Moment.now())

    def _apply(self, record: GroupRecord) -> Group:
        """Apply what is being written. Where that fails, it must not be what a start replays."""
        try:
            group = apply(self.replica, record.first_sequence, record.payload)
            assert len(group.commands) == record.count, "a payload holds what it was counted for"
        except BaseException as error:
            try:
                self._log.take_back()
            except JournalError as failed:
                error.add_note(f"and the group may be in the journal: {failed}")
            raise
        return group

    def _note(
        self, asked: _Moment, began: _Moment, applied: _Moment, durable: _Moment, told: _Moment
    ) -> None:
        """Add up what the parts of a group took."""
        stats = self.stats
        stats.apply_ns += applied.clock_ns - began.clock_ns
        stats.apply_cpu_ns += applied.cpu_ns - began.cpu_ns
        stats.append_cpu_ns += durable.cpu_ns - applied.cpu_ns + began.cpu_ns - asked.cpu_ns
        stats.publish_ns += told.clock_ns - durable.clock_ns
        stats.publish_cpu_ns += told.cpu_ns - durable.cpu_ns

    def _publish(self, taken: list[_Submission], group: Group) -> None:
        outcomes = group.outcomes
        start = 1  # the group's first command is the Advance
        # A future's waiter runs after the subscribers, as it needs another turn of the loop.
        for submission in taken:
            end = start + submission.count
            submission.callback(outcomes[start:end])
            start = end
        for subscriber in self._subscribers:
            try:
                subscriber(group)
            except Exception:
                self.stats.subscriber_errors += 1
                _log.exception("a reader of the event feed failed", sequence=group.first_sequence)

    def _fail(self, error: BaseException) -> None:
        self._failure = error
        stopped = EngineStopped("the engine has stopped")
        stopped.__cause__ = error
        while self._pending:
            self._pending.popleft().callback(stopped)
        self._pending_commands = self._pending_bytes = 0
