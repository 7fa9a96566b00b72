"""Jobs that requests wait for: submitted, followed, and cancelled where nobody waits any more."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import Any, Final

import structlog
from google.protobuf.wrappers_pb2 import UInt64Value

from exchange.http import idempotency
from exchange.http.calls import Calls
from exchange.http.errors import ApiError
from exchange.rpc.errors import Code, RpcError
from exchange.rpc.inside import ABANDON_JOB, FOLLOW_JOB, SUBMIT_JOB
from exchange.rpc.locks import KeyedLocks
from exchange.v1 import job_service_pb2 as pb

_GET_JOB: Final = "/exchange.v1.JobService/GetJob"
LINGER_S: Final = 10.0
"""A job with an Idempotency-Key whose client has gone runs on for so long: its retry may come."""
LINGERING_MAX: Final = 1_024
"""Jobs that wait so; one more is cancelled at once."""
TURNS_MAX: Final = 16
"""Jobs of one Idempotency-Key: each but the last ended without a bill."""
CANCEL_WITHIN_S: Final = 5.0
"""How long a cancel may take."""
CANCEL_AGAIN_S: Final = 1.0
"""How soon a cancel for which the exchange had no room is tried again."""
CANCEL_TRIES: Final = 60
"""So often; then the job goes on. The log tells of each."""

_UNBILLED: Final = (pb.JOB_STATE_EXPIRED, pb.JOB_STATE_FAILED, pb.JOB_STATE_CANCELLED)
_OVER: Final = (pb.JOB_STATE_SETTLED, *_UNBILLED)
_PASSING: Final = (Code.RESOURCE_EXHAUSTED, Code.UNAVAILABLE, Code.DEADLINE_EXCEEDED)
"""What keeps a call from being answered now, and not for good."""
_UNANSWERED: Final = "DEADLINE_DEFAULT"
"""The reason of a call that took too long: what it asked for may be done yet."""

_log = structlog.get_logger(__name__)


class Run:
    """One job as one request follows it.

    Args:
        calls: Make the calls.
        metadata: With whose key.
        job: As it was when the request came to it.
        key: The request's Idempotency-Key; empty where it has none.

    Attributes:
        job: The newest that is known of it.
        held_nanos: Money that was held for it; None where it had ended before.
        has_text: Whether any output of the attempt that counts has come.
        repeated: Whether an earlier request submitted it.
    """

    def __init__(
        self, calls: Calls, metadata: Mapping[str, str], job: pb.Job, key: str, repeated: bool
    ) -> None:
        self.job = job
        self.key = key
        self.repeated = repeated
        self.metadata = metadata
        self.held_nanos = None if is_over(job) else job.escrow_nanos
        self.has_text = False
        self._calls = calls
        self._ended = False

    @property
    def ended(self) -> bool:
        """Whether the job was followed to its end."""
        return self._ended

    async def output(self) -> AsyncGenerator[str | None, None]:
        """Its output as it comes, up to the job's end; None: what came before is void.

        Raises:
            RpcError: the exchange drains, or cannot be reached.
        """
        request = pb.WatchJobRequest(job_id=self.job.job_id)
        attempt, opening = 0, True
        async with self._calls.stream(FOLLOW_JOB, request, self.metadata) as updates:
            async for update in updates:
                kind = update.WhichOneof("update")
                if kind == "chunk":
                    if update.chunk.attempt != attempt:
                        attempt = update.chunk.attempt
                        self.has_text = False
                        yield None
                    self.has_text |= bool(update.chunk.text)
                    yield update.chunk.text
                elif kind == "job":
                    self.job = update.job
                    # The first message never ends a watch: the output of an ended job follows it.
                    if is_over(self.job) and not opening:
                        self._ended = True
                        return
                    if attempt and self.job.attempt > attempt:
                        attempt = self.job.attempt
                        self.has_text = False
                        yield None
                opening = False


def is_over(job: pb.Job) -> bool:
    """Whether a job has ended."""
    return job.state in _OVER


@dataclass(slots=True)
class _Readers:
    """Requests that follow one job: how many do, and how many ever have."""

    now: int = 0
    ever: int = 0


class Runs:
    """All jobs that requests wait for.

    Args:
        calls: Make the calls.
        now_ns: The time, nanoseconds since the epoch.
    """

    def __init__(self, calls: Calls, now_ns: Callable[[], int] = time.time_ns) -> None:
        self._calls = calls
        self._now_ns = now_ns
        self._readers: dict[int, _Readers] = {}
        self._keys: KeyedLocks[tuple[str, str]] = KeyedLocks()
        self.lingering = 0
        self._closing = asyncio.Event()
        self._tasks: set[asyncio.Task[Any]] = set()

    @contextlib.asynccontextmanager
    async def run(
        self, request: pb.SubmitJobRequest, metadata: Mapping[str, str], key: str
    ) -> AsyncIterator[Run]:
        """Submit a job, or find the one that this key stands for; inside, it can be followed.

        Where the block is left before the job's end, the job is cancelled: at once, or, with a
        key, once its retry has had time to come.

        Args:
            request: The job, but for its client id.
            metadata: With whose API key.
            key: The Idempotency-Key; empty for none.

        Raises:
            RpcError: it was refused.
            ApiError: 409: the key stands for too many jobs.
        """
        submitting = self._spawn(self._submit(request, metadata, key))
        try:
            run = await asyncio.shield(submitting)
        except asyncio.CancelledError:
            self._spawn(self._abandon_submission(submitting))
            raise
        visit = self._enter(run)
        try:
            yield run
        finally:
            self._leave(run, visit)

    async def close(self) -> None:
        """Finish the cancels that are under way; a job whose retry may come goes on."""
        self._closing.set()
        if self._tasks:
            await asyncio.wait(tuple(self._tasks), timeout=CANCEL_WITHIN_S)
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _enter(self, run: Run) -> int:
        """One more request follows the job; which of them it is."""
        readers = self._readers.setdefault(run.job.job_id, _Readers())
        readers.now += 1
        readers.ever += 1
        return readers.ever

    def _leave(self, run: Run, visit: int) -> None:
        readers = self._readers[run.job.job_id]
        readers.now -= 1
        if not run.ended:
            self._spawn(self._abandon(run, visit))
        elif not readers.now:
            del self._readers[run.job.job_id]

    # ---- beginning ----

    async def _submit(
        self, request: pb.SubmitJobRequest, metadata: Mapping[str, str], key: str
    ) -> Run:
        if not key:
            request.client_job_id = idempotency.fresh_id(self._now_ns())
            return await self._send(request, metadata, key)
        own = idempotency.own_id(key)
        if own is not None:
            request.client_job_id = own
            return await self._send(request, metadata, key)
        # Two requests with one key may come together, one on each side of a window's end.
        async with self._keys.hold((metadata.get("authorization", ""), key)):
            return await self._take_turn(request, metadata, key)

    async def _take_turn(
        self, request: pb.SubmitJobRequest, metadata: Mapping[str, str], key: str
    ) -> Run:
        """The key's job: the one that is open or was billed; a new one where there is none."""
        for turn in range(TURNS_MAX):
            for client_id in idempotency.derived_ids(key, turn, self._now_ns()):
                job = await self._find(client_id, metadata)
                if job is not None:
                    break
            else:
                request.client_job_id = idempotency.derived_ids(key, turn, self._now_ns())[0]
                return await self._send(request, metadata, key)
            if job.state not in _UNBILLED or job.paid_nanos:
                request.client_job_id = job.client_job_id
                # The exchange compares what was asked for then and is now.
                return await self._send(request, metadata, key)
        what = f"{TURNS_MAX} jobs with this Idempotency-Key ended without an answer: use another"
        raise ApiError(409, "IDEMPOTENCY_KEY_USED", what, "Idempotency-Key")

    async def _find(self, client_id: bytes, metadata: Mapping[str, str]) -> pb.Job | None:
        request = pb.GetJobRequest(client_job_id=client_id)
        try:
            found: pb.GetJobResponse = await self._calls.unary(_GET_JOB, request, metadata)
        except RpcError as error:
            if error.reason == "UNKNOWN_JOB":
                return None
            raise
        return found.job

    async def _send(
        self, request: pb.SubmitJobRequest, metadata: Mapping[str, str], key: str
    ) -> Run:
        try:
            answer: pb.SubmitJobResponse = await self._calls.unary(SUBMIT_JOB, request, metadata)
        except RpcError as error:
            if error.reason == _UNANSWERED:
                self._spawn(self._abandon_unanswered(request.client_job_id, metadata, key))
            raise
        return Run(self._calls, metadata, answer.job, key, answer.repeated_request)

    # ---- giving up ----

    async def _abandon_submission(self, submitting: asyncio.Task[Run]) -> None:
        """The client has gone before its job was acknowledged."""
        with contextlib.suppress(RpcError, ApiError):
            run = await submitting
            self._leave(run, self._enter(run))

    async def _abandon_unanswered(
        self, client_id: bytes, metadata: Mapping[str, str], key: str
    ) -> None:
        """A submission was not answered in time: the job that it may become has lost its client."""
        for _ in range(CANCEL_TRIES):
            job = None
            try:
                job = await self._find(client_id, metadata)
            except RpcError as error:
                if error.code not in _PASSING:
                    return
            if job is not None:
                run = Run(self._calls, metadata, job, key, repeated=False)
                self._leave(run, self._enter(run))
                return
            if self._closing.is_set():
                return
            await self._wait(CANCEL_AGAIN_S)

    async def _abandon(self, run: Run, visit: int) -> None:
        """A request has left this run before its end: end the job, unless another one reads it."""
        if run.key and self.lingering < LINGERING_MAX:
            await self._linger()
            if self._closing.is_set():
                return
        for _ in range(CANCEL_TRIES):
            if not self._is_left(run, visit):
                return
            if await self._cancel(run) or self._closing.is_set():
                break
            await self._wait(CANCEL_AGAIN_S)
        if self._is_left(run, visit):
            del self._readers[run.job.job_id]

    def _is_left(self, run: Run, visit: int) -> bool:
        """Whether nobody reads the job, and nobody has come to it after this visit."""
        readers = self._readers.get(run.job.job_id)
        return readers is not None and not readers.now and readers.ever <= visit

    async def _cancel(self, run: Run) -> bool:
        """Cancel a job; False where trying again may help."""
        job_id = run.job.job_id
        try:
            # Without the client's key: the job must not go on because its key was revoked.
            await self._calls.unary(ABANDON_JOB, UInt64Value(value=job_id), {}, CANCEL_WITHIN_S)
        except RpcError as error:
            if error.reason != "JOB_CLOSED":
                _log.warning("a job that nobody reads goes on", job_id=job_id, error=str(error))
                return error.code not in _PASSING
        return True

    async def _linger(self) -> None:
        self.lingering += 1
        try:
            await self._wait(LINGER_S)
        finally:
            self.lingering -= 1

    async def _wait(self, seconds: float) -> None:
        """Wait so long, or until the exchange closes."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._closing.wait()

    def _spawn(self, coroutine: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        task = asyncio.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task
