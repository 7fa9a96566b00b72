"""JobService: submit, watch, cancel, get, list.

A watch is a cursor into the job's output: it can begin at any chunk, goes on after a reconnection
where it left off, begins with the job and ends with the terminal job. A reader that falls behind
loses no output and sees only the newest of the job's states.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator
from typing import TYPE_CHECKING, Final

from google.protobuf.empty_pb2 import Empty
from google.protobuf.wrappers_pb2 import UInt64Value

from exchange.core.commands import CancelJob, Role
from exchange.core.events import JobQueued, Repeated
from exchange.core.jobs import Job
from exchange.core.reasons import Reason
from exchange.readmodel import queries
from exchange.readmodel.queries import NEWEST, JobRow
from exchange.rpc import auth
from exchange.rpc.auth import Caller
from exchange.rpc.calls import IncomingCall as Context
from exchange.rpc.convert import jobs as convert
from exchange.rpc.convert import paging, past
from exchange.rpc.errors import busy, draining, invalid, refusal, refused
from exchange.rpc.followed import FollowedJobs
from exchange.rpc.outputs import Piece, TooManyWatchers, Watcher
from exchange.rpc.why import jobs as why
from exchange.v1 import job_service_pb2 as pb

if TYPE_CHECKING:
    from exchange.rpc.services import Services

WATCH_HEARTBEAT_S: Final = 10.0
"""A watch says that it is alive this often where there is no news."""
PIECES_PER_TURN_MAX: Final = 256
"""Chunks sent before a watch looks at the job again."""


class JobServicer:
    """Serves buyers of compute."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._blobs = services.job_blobs
        self._followed = FollowedJobs(services)

    async def SubmitJob(
        self, request: pb.SubmitJobRequest, context: Context
    ) -> pb.SubmitJobResponse:
        """See the service's definition."""
        caller = auth.caller(context)
        caller.require(Role.TRADER)
        self._services.refuse_new_work()
        core = self._services.core
        command, payload = convert.submission(core, caller.account_id, request)
        outcome = await self._blobs.submit(command, payload)
        event = outcome.first
        if outcome.refused:
            raise refused(event, outcome.now_ns)
        if isinstance(event, Repeated):
            job = self._find(event.result_id, caller)
            return pb.SubmitJobResponse(job=self._job(job), repeated_request=True)
        assert isinstance(event, JobQueued)
        return pb.SubmitJobResponse(job=self._job(core.jobs[event.job_id]))

    async def Submit(self, request: pb.SubmitJobRequest, context: Context) -> pb.SubmitJobResponse:
        """As SubmitJob, of a job that ends a while after its last reader, or if none comes."""
        submitting = asyncio.ensure_future(self.SubmitJob(request, context))
        submitting.add_done_callback(self._expect_reader)
        # The job may be in the journal when its gateway dies: whoever waits or not, it is expected.
        return await asyncio.shield(submitting)

    def _expect_reader(self, submitted: asyncio.Future[pb.SubmitJobResponse]) -> None:
        if not submitted.cancelled() and submitted.exception() is None:
            answer = submitted.result()
            self._followed.expect(answer.job.job_id, again=answer.repeated_request)

    async def CancelJob(
        self, request: pb.CancelJobRequest, context: Context
    ) -> pb.CancelJobResponse:
        """See the service's definition. Works while the exchange drains, too."""
        caller = auth.caller(context)
        caller.require(Role.TRADER, Role.OPERATOR)
        # The core takes account 0 for the operator, who may cancel any job.
        account_id = 0 if caller.roles & Role.OPERATOR else caller.account_id
        job = self._find(request.job_id, caller)
        if job.account_id == caller.account_id:
            account_id = caller.account_id
        await self._services.execute(CancelJob(account_id, job.job_id))
        return pb.CancelJobResponse(job=self._job(job))

    async def Abandon(self, request: UInt64Value, context: Context) -> Empty:
        """Cancel a job that a gateway submitted for a client and nobody reads any more."""
        job = self._services.core.jobs.get(request.value)
        if job is None:
            raise refusal(Reason.JOB_CLOSED)
        await self._services.execute(CancelJob(job.account_id, job.job_id))
        return Empty()

    async def GetJob(self, request: pb.GetJobRequest, context: Context) -> pb.GetJobResponse:
        """See the service's definition."""
        caller = auth.caller(context)
        job_id = self._job_id(request, caller)
        if job_id not in self._services.core.jobs:
            return pb.GetJobResponse(job=await self._past_job(job_id, caller))
        job = self._find(job_id, caller)
        response = pb.GetJobResponse()
        if request.include_output:
            self._require_owner(job, caller)
            _, pieces = await self._output(job)
            response.output = "".join(piece.text for piece in pieces)
        response.job.CopyFrom(self._job(job))
        return response

    async def ListJobs(self, request: pb.ListJobsRequest, context: Context) -> pb.ListJobsResponse:
        """See the service's definition."""
        caller = auth.caller(context)
        core = self._services.core
        size = paging.page_size(request.page_size)
        before = paging.decode_token(request.page_token) or NEWEST
        # What the core remembers is fresher than what the read model has of it.
        found: dict[int, Job | JobRow] = {}
        if not request.open_only:
            found |= await self._past_jobs(caller.account_id, size + 1, before)
        for job_id in core.jobs_of(caller.account_id):
            job = core.jobs[job_id]
            if job_id < before and (job.is_open or not request.open_only):
                found[job_id] = job
        rows = [found[job_id] for job_id in sorted(found, reverse=True)[: size + 1]]
        page, last = paging.cut(rows, size)
        return pb.ListJobsResponse(
            jobs=[self._job(j) if isinstance(j, Job) else past.job(core, j) for j in page],
            next_page_token=paging.encode_token(last.job_id if last else 0),
        )

    async def ExplainJob(
        self, request: pb.ExplainJobRequest, context: Context
    ) -> pb.ExplainJobResponse:
        """See the service's definition."""
        caller = auth.caller(context)
        core = self._services.core
        message = await self._any_job(request.job_id, caller)
        instrument_ids = why.alternatives_of(core, message)
        found = await self._services.ask_if_possible(
            lambda database: why.past(database, request.job_id, instrument_ids)
        )
        # As it is now: it may have gone on meanwhile.
        job = core.jobs.get(request.job_id)
        return why.explain_job(core, self._job(job) if job else message, job, found)

    # ---- watching ----

    async def WatchJob(
        self, request: pb.WatchJobRequest, context: Context
    ) -> AsyncGenerator[pb.WatchJobResponse]:
        """See the service's definition."""
        caller = auth.caller(context)
        job = self._find(request.job_id, caller)
        self._require_owner(job, caller)
        try:
            with (
                self._services.outputs.watch(job.job_id) as watcher,
                self._services.drain.calls(watcher.wake),
            ):
                async for update in self._updates(job, request, watcher):
                    yield update
        except TooManyWatchers as error:
            raise busy(str(error)) from error

    async def Follow(
        self, request: pb.WatchJobRequest, context: Context
    ) -> AsyncIterator[pb.WatchJobResponse]:
        """As WatchJob, of a job that ends a while after its last such reader."""
        self._require_owner(self._find(request.job_id, auth.caller(context)), auth.caller(context))
        with self._followed.follow(request.job_id):
            async with contextlib.aclosing(self.WatchJob(request, context)) as updates:
                async for update in updates:
                    yield update

    async def _updates(
        self, job: Job, request: pb.WatchJobRequest, watcher: Watcher
    ) -> AsyncIterator[pb.WatchJobResponse]:
        """The job, its states and its output until its end, the terminal job."""
        attempt, index = request.attempt, request.from_index
        told: tuple[object, ...] = ()
        stored: tuple[int, list[Piece]] | None = None
        while True:
            ended = not job.is_open
            state = (job.state, job.attempt, job.lease_id, job.cancelling, len(job.dropped))
            # The end is told after the output; before it only where it is the first message.
            if state != told and not (ended and told):
                told = state
                yield pb.WatchJobResponse(job=self._job(job))
            if stored is None:
                present, pieces = await self._output(job)
            if ended:
                stored = (present, pieces)
            if attempt != present:
                index = index if attempt == 0 else 0
                attempt = present
            turn = pieces[index : index + PIECES_PER_TURN_MAX]
            for piece in turn:
                yield pb.WatchJobResponse(chunk=_chunk(attempt, index, piece))
                index += 1
            if len(turn) == PIECES_PER_TURN_MAX:
                continue
            if ended:
                yield pb.WatchJobResponse(job=self._job(job))
                return
            if self._services.drain.active:
                raise draining()
            if not await watcher.wait(WATCH_HEARTBEAT_S):
                yield pb.WatchJobResponse(heartbeat=pb.Heartbeat())

    async def _output(self, job: Job) -> tuple[int, list[Piece]]:
        """The attempt and its output so far: from the hub while it runs, then as stored."""
        if job.is_open:
            output = self._services.outputs.find(job.job_id)
            return (output.attempt, output.pieces) if output else (job.attempt, [])
        stored = await self._blobs.output(job)
        return (stored.attempt, stored.pieces) if stored else (job.attempt, [])

    # ---- jobs ----

    def _job_id(self, request: pb.GetJobRequest, caller: Caller) -> int:
        """The job that is asked for, by its own id or by the client's.

        Raises:
            RpcError: INVALID_ARGUMENT (FIELD_INVALID): by both; NOT_FOUND (UNKNOWN_JOB).
        """
        if not request.client_job_id:
            return request.job_id
        if request.job_id:
            raise invalid("client_job_id", "stands in place of job_id: leave one out")
        account = self._services.core.accounts[caller.account_id]
        known = account.client_ids.get(request.client_job_id)
        found = known.result_id if known is not None else 0
        job = self._services.core.jobs.get(found)
        # The account's orders and deposits have client ids, too.
        if job is None or job.terms.client_job_id != request.client_job_id:
            text = request.client_job_id.hex()
            raise refusal(
                Reason.UNKNOWN_JOB, f"no job has the client's id {text}", {"client_job_id": text}
            )
        return found

    def _find(self, job_id: int, caller: Caller) -> Job:
        """A job that the caller may see.

        Raises:
            RpcError: NOT_FOUND (UNKNOWN_JOB) or PERMISSION_DENIED (NOT_OWNER).
        """
        job = self._services.core.jobs.get(job_id)
        if job is None:
            raise refusal(Reason.UNKNOWN_JOB, f"no job {job_id}", {"job_id": job_id})
        if not caller.sees_all:
            self._require_owner(job, caller)
        return job

    async def _past_jobs(self, account_id: int, size: int, before: int) -> dict[int, JobRow]:
        """Jobs of the read model by id; none where the exchange keeps none."""
        if self._services.read_model is None:
            return {}
        answer = await self._services.ask(
            lambda database: queries.account_jobs(database, account_id, size, before), wait=False
        )
        return {row.job_id: row for row in answer.found}

    async def _any_job(self, job_id: int, caller: Caller) -> pb.Job:
        """A job, however long ago it ended; raises as `_find`."""
        if job_id in self._services.core.jobs:
            return self._job(self._find(job_id, caller))
        return await self._past_job(job_id, caller)

    async def _past_job(self, job_id: int, caller: Caller) -> pb.Job:
        """A job that the core has forgotten.

        Raises:
            RpcError: NOT_FOUND (UNKNOWN_JOB) or PERMISSION_DENIED (NOT_OWNER).
        """
        found = None
        if 0 < job_id <= self._services.core.counters.job and self._services.read_model:
            answer = await self._services.ask(
                lambda database: queries.job(database, job_id), wait=False
            )
            found = answer.found
        if found is None:
            raise refusal(Reason.UNKNOWN_JOB, f"no job {job_id}", {"job_id": job_id})
        if not caller.sees_all:
            self._require_owner(found, caller)
        return past.job(self._services.core, found)

    def _require_owner(self, job: Job | JobRow, caller: Caller) -> None:
        """Output is its owner's alone, not even the operator's.

        Raises:
            RpcError: PERMISSION_DENIED (NOT_OWNER).
        """
        if job.account_id != caller.account_id:
            raise refusal(
                Reason.NOT_OWNER,
                f"job {job.job_id} belongs to another account",
                {"job_id": job.job_id},
            )

    def _job(self, job: Job) -> pb.Job:
        tokens = self._services.outputs.tokens(job.job_id)
        return convert.job(self._services.core, job, tokens, waiting=True)


def _chunk(attempt: int, index: int, piece: Piece) -> pb.OutputChunk:
    return pb.OutputChunk(attempt=attempt, index=index, text=piece.text, tokens=piece.tokens)
