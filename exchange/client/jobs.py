"""Jobs: submit, follow, cancel."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from typing import Final, TypedDict, Unpack

from exchange.client.connection import PAGE_SIZE, Connection
from exchange.client.enums import JobState
from exchange.client.errors import FlopexError, JobCancelled, JobExpired, JobFailed, JobNotSettled
from exchange.client.ids import uuid7
from exchange.client.job_types import (
    Answer,
    Job,
    JobChanged,
    JobLeg,
    Message,
    Output,
    OutputVoided,
    Update,
    job_from,
)
from exchange.client.job_watch import Cursor, watch_job
from exchange.client.why_types import JobExplanation, job_explanation_from
from exchange.units import above_zero, parse_compute, parse_duration, parse_money, parse_price
from exchange.v1 import job_service_pb2 as pb
from exchange.v1.job_service_pb2_grpc import JobServiceStub

OUTPUT_TOKENS_DEFAULT: Final = 256
ABANDON_S: Final = 2.0
"""How long an interrupted `run` tries to cancel its job before it lets go."""

Prompt = str | Sequence[Message]
"""A question, or a conversation."""

_NOT_SETTLED: Final[dict[JobState, type[JobNotSettled]]] = {
    JobState.CANCELLED: JobCancelled,
    JobState.EXPIRED: JobExpired,
    JobState.FAILED: JobFailed,
}


class JobTerms(TypedDict, total=False):
    """What a job may ask for beside its prompt; all may be left out but `model` or `legs`.

    One of `value`, `limit` and `max_cost` must be there, or a limit in each leg. None stands for
    one that is left out, zero does not: a cap that has run down must not become none. See
    `AsyncJobs.submit`.
    """

    model: str
    legs: Sequence[JobLeg]
    value: int | str | None
    max_cost: int | str | None
    limit: int | str | None
    budget: int | str | None
    deadline: int | str | None
    output_tokens_max: int
    tier: str
    instrument: str
    temperature_milli: int
    answer_value: int | str
    seed: int
    raw: bool


class AsyncJobs:
    """Jobs of the caller's account. Reached as `client.jobs`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def submit(
        self,
        prompt: Prompt,
        *,
        client_job_id: bytes | None = None,
        timeout_s: float | None = None,
        **terms: Unpack[JobTerms],
    ) -> Job:
        """Submit a job; returns once it is durable. Safe to repeat with the same client_job_id.

        Args:
            prompt: A question, to which the model's chat template is applied, or a conversation.
            client_job_id: A UUIDv7 of 16 bytes; a fresh one by default.
            timeout_s: Seconds for the submission, not for the job.
            terms: `model`: its name. What the job may cost, at least one of `value`: what the whole
                answer is worth ("$0.002" or nano-dollars; the exchange bids for you), `limit`: an
                explicit limit price ("$0.0004/CU" or nano-dollars per CU), `max_cost`: never pay
                more than this. `budget`: compute ("250 CU" or MFLOP), by default the worst case of
                prompt and output. `deadline`: finish within this time ("30s" or nanoseconds), 60 s
                by default. `output_tokens_max`: 256 by default. `tier`: "interactive" by default.
                `instrument`: only this one, by name. `legs`: up to 16 ways to run it, in place of
                `model`, `tier`, `instrument`, `limit` and `budget`; at most one is used, and what
                is held is the worst case of the dearest. `temperature_milli`: in thousandths; 0,
                the default, is greedy and reproducible. `seed`: for sampling. `raw`: no chat
                template.
                `answer_value`: what a right answer is worth, told to the worker ("$0.002" or
                nano-dollars), so that the adaptive model stops when thinking costs more.

        Raises:
            Refused: see its subclasses; no job was created.
            CallFailed: whether it was created is unknown; submit again with the same id to learn.
            ValueError: an amount cannot be read, or is zero: a cap of nothing is none to bid with.
        """
        request = job_request(prompt, client_job_id or uuid7(), terms)
        stub = self._connection.stub(JobServiceStub)
        answer = await self._connection.call(stub.SubmitJob, request, timeout_s=timeout_s)
        return job_from(answer.job, answer.repeated_request)

    async def run(
        self,
        prompt: Prompt,
        *,
        on_update: Callable[[Update], object] | None = None,
        client_job_id: bytes | None = None,
        **terms: Unpack[JobTerms],
    ) -> Answer:
        """Submit a job, wait for its end, and return the answer with its bill.

        Where this call is interrupted (the task is cancelled, Ctrl-C, `on_update` raises), the job
        is cancelled, which stops the work and the bill.

        Args:
            prompt: As in `submit`.
            on_update: Called with each update as it comes. It runs in the event loop: be quick.
            client_job_id: As in `submit`.
            terms: As in `submit`.

        Raises:
            JobNotSettled: it ended without a whole answer; what it paid stands in `.job`.
            FlopexError: as `submit`, or the connection was lost for too long; the job goes on.
        """
        submitting = asyncio.create_task(self.submit(prompt, client_job_id=client_job_id, **terms))
        try:
            job = await asyncio.shield(submitting)
            return await self.follow(job.job_id, on_update=on_update)
        except FlopexError:
            raise
        except BaseException:
            await self._abandon(submitting)
            raise

    async def _abandon(self, submitting: asyncio.Task[Job]) -> None:
        """Cancel a job whose buyer has lost interest, as far as that can be done quickly."""
        try:
            with contextlib.suppress(FlopexError, TimeoutError, ValueError, TypeError):
                async with asyncio.timeout(ABANDON_S):
                    job = await submitting
                    await self.cancel(job.job_id, timeout_s=ABANDON_S)
        finally:
            submitting.cancel()

    async def follow(
        self, job_id: int, *, on_update: Callable[[Update], object] | None = None
    ) -> Answer:
        """Wait for the end of a job that was submitted before, and return its answer.

        Interrupting this call leaves the job alone.

        Raises:
            JobNotSettled: it ended without a whole answer.
            FlopexError: the connection was lost for too long, or the job is not the caller's.
        """
        pieces: list[str] = []
        updates = watch_job(self._connection, Cursor(job_id))
        async with contextlib.aclosing(updates):
            async for update in updates:
                if on_update is not None:
                    on_update(update)
                match update:
                    case Output(text=text):
                        pieces.append(text)
                    case OutputVoided():
                        pieces.clear()
                    case JobChanged(job=job) if not job.is_open:
                        return _answer(job, "".join(pieces))
        raise AssertionError("a watch ends with the end of its job")

    def watch(
        self, job_id: int, *, attempt: int = 0, from_index: int = 0
    ) -> AsyncGenerator[Update, None]:
        """A job's life as it happens: state changes, output, and last its end.

        Survives broken connections: every piece of output comes once. Where an attempt fails, an
        `OutputVoided` says that its pieces must be forgotten.

        Args:
            job_id: Which.
            attempt: Attempt that from_index belongs to, to go on where an earlier watch ended.
            from_index: First piece wanted.

        Raises:
            NotFound, PermissionDenied: there is no such job of the caller's.
            CallFailed: the connection was lost for longer than `RetryPolicy.reconnect_s`.
        """
        return watch_job(self._connection, Cursor(job_id, attempt, from_index))

    async def cancel(self, job_id: int, *, timeout_s: float | None = None) -> Job:
        """Stop a job's work and its bill.

        A queued job ends at once; a running one once its receipt for what was done has come.

        Raises:
            NotNow: the job has already ended (JOB_CLOSED).
        """
        request = pb.CancelJobRequest(job_id=job_id)
        stub = self._connection.stub(JobServiceStub)
        answer = await self._connection.call(stub.CancelJob, request, timeout_s=timeout_s)
        return job_from(answer.job)

    async def get(self, job_id: int, *, timeout_s: float | None = None) -> Job:
        """One job.

        Raises:
            NotFound: no such job.
        """
        request = pb.GetJobRequest(job_id=job_id)
        stub = self._connection.stub(JobServiceStub)
        answer = await self._connection.call(stub.GetJob, request, timeout_s=timeout_s)
        return job_from(answer.job)

    async def output(self, job_id: int, *, timeout_s: float | None = None) -> str:
        """What a job has put out so far; all of it once it has ended."""
        request = pb.GetJobRequest(job_id=job_id, include_output=True)
        stub = self._connection.stub(JobServiceStub)
        answer = await self._connection.call(stub.GetJob, request, timeout_s=timeout_s)
        return answer.output

    async def explain(self, job_id: int, *, timeout_s: float | None = None) -> JobExplanation:
        """Why a job waits and what would make it run; of one that ran, what it paid and why.

        Raises:
            NotFound: no such job.
        """
        request = pb.ExplainJobRequest(job_id=job_id)
        stub = self._connection.stub(JobServiceStub)
        answer = await self._connection.call(stub.ExplainJob, request, timeout_s=timeout_s)
        return job_explanation_from(answer)

    def list(self, *, open_only: bool = False, limit: int | None = None) -> AsyncIterator[Job]:
        """The caller's jobs, newest first; pages are fetched as they are needed.

        Args:
            open_only: Only jobs that have not ended.
            limit: At most this many.
        """

        async def page(token: str) -> tuple[Sequence[Job], str]:
            request = pb.ListJobsRequest(
                open_only=open_only, page_size=min(limit or PAGE_SIZE, PAGE_SIZE), page_token=token
            )
            stub = self._connection.stub(JobServiceStub)
            answer = await self._connection.call(stub.ListJobs, request)
            return [job_from(job) for job in answer.jobs], answer.next_page_token

        return self._connection.walk(page, limit)


def job_request(prompt: Prompt, client_job_id: bytes, terms: JobTerms) -> pb.SubmitJobRequest:
    """The request for a job.

    Raises:
        ValueError: an amount cannot be read, or is not above zero.
        TypeError: neither `model` nor `legs` is there.
    """
    legs = terms.get("legs", ())
    if not terms.get("model") and not legs:
        raise TypeError("a job needs a model: jobs.submit(prompt, model=...), or legs")
    job_input = pb.JobInput(
        output_tokens_max=terms.get("output_tokens_max", OUTPUT_TOKENS_DEFAULT),
        seed=terms.get("seed", 0),
        temperature_milli=terms.get("temperature_milli", 0),
        answer_value_nanos=parse_money(terms.get("answer_value", 0)),
    )
    if not isinstance(prompt, str):
        job_input.messages.extend(pb.ChatMessage(role=m.role, content=m.content) for m in prompt)
    elif terms.get("raw"):
        job_input.prompt = prompt
    else:
        job_input.messages.add(role="user", content=prompt)
    return pb.SubmitJobRequest(
        client_job_id=client_job_id,
        model=terms.get("model", ""),
        tier=terms.get("tier", ""),
        instrument=terms.get("instrument", ""),
        input=job_input,
        quantity_mflop=above_zero("budget", parse_compute, terms.get("budget")),
        value_nanos=above_zero("value", parse_money, terms.get("value")),
        limit_nanos=above_zero("limit", parse_price, terms.get("limit")),
        max_cost_nanos=above_zero("max_cost", parse_money, terms.get("max_cost")),
        deadline_ns=above_zero("deadline", parse_duration, terms.get("deadline")),
        legs=[
            pb.JobLeg(
                instrument=leg.instrument,
                limit_nanos=parse_price(leg.limit),
                quantity_mflop=parse_compute(leg.budget),
            )
            for leg in legs
        ],
    )


def _answer(job: Job, text: str) -> Answer:
    kind = _NOT_SETTLED.get(job.state)
    if kind is not None:
        raise kind(job, text)
    return Answer(text, job)
