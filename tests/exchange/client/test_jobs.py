"""Submitting, watching and running jobs, against a scripted exchange."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc
import pytest

from exchange.client import (
    Answer,
    ClientClosed,
    JobCancelled,
    JobChanged,
    JobExpired,
    JobFailed,
    JobState,
    Message,
    NotFound,
    Output,
    OutputVoided,
    RetryPolicy,
    Side,
    StopCause,
    Unavailable,
    Update,
    uuid7,
)
from exchange.client.job_watch import Cursor, watch_job
from exchange.client.jobs import job_request
from exchange.client.order_types import new_order
from exchange.v1 import job_service_pb2 as pb
from tests.exchange.client.scripted import Context, connected, fail, until
from tests.waiting import WITHIN_S

JOB = 7
Watch = Callable[[pb.WatchJobRequest, Context], AsyncIterator[pb.WatchJobResponse]]


def job(state: JobState = JobState.RUNNING, attempt: int = 1, **more: Any) -> pb.WatchJobResponse:
    values: dict[str, Any] = {"state": state, "attempt": attempt} | more
    return pb.WatchJobResponse(job=pb.Job(job_id=JOB, **values))


def settled(attempt: int = 1) -> pb.WatchJobResponse:
    return job(
        JobState.SETTLED, attempt, stop_cause=pb.STOP_CAUSE_FINISHED, paid_nanos=5, flops=10**12
    )


def chunk(index: int, attempt: int = 1) -> pb.WatchJobResponse:
    text = f"{attempt}.{index} "
    return pb.WatchJobResponse(
        chunk=pb.OutputChunk(attempt=attempt, index=index, text=text, tokens=1)
    )


def out(index: int, attempt: int = 1) -> Output:
    return Output(attempt, index, f"{attempt}.{index} ", 1)


class Jobs:
    """Each watch plays the next script, message by message; an exception in it ends the watch."""

    def __init__(self, *watches: list[pb.WatchJobResponse | None]) -> None:
        self.watches = list(watches)
        self.asked: list[tuple[int, int]] = []
        self.cancelled: list[int] = []
        self.submitted: list[pb.SubmitJobRequest] = []
        self.submit_wait_s = 0.0

    async def WatchJob(
        self, request: pb.WatchJobRequest, context: Context
    ) -> AsyncIterator[pb.WatchJobResponse]:
        self.asked.append((request.attempt, request.from_index))
        for message in self.watches.pop(0):
            if message is None:
                await asyncio.sleep(60)
            else:
                yield message
        await fail(context)

    async def SubmitJob(
        self, request: pb.SubmitJobRequest, context: Context
    ) -> pb.SubmitJobResponse:
        self.submitted.append(request)
        await asyncio.sleep(self.submit_wait_s)
        return pb.SubmitJobResponse(job=pb.Job(job_id=JOB, state=pb.JOB_STATE_QUEUED))

    async def CancelJob(
        self, request: pb.CancelJobRequest, context: Context
    ) -> pb.CancelJobResponse:
        self.cancelled.append(request.job_id)
        return pb.CancelJobResponse(job=pb.Job(job_id=JOB, state=pb.JOB_STATE_CANCELLED))


def told(updates: list[Update]) -> list[object]:
    """Updates, jobs shortened to their state."""
    return [u.job.state if isinstance(u, JobChanged) else u for u in updates]


async def watched(jobs: Jobs, **at: int) -> list[object]:
    async with connected(jobs) as client:
        return told([u async for u in client.jobs.watch(JOB, **at)])


async def test_a_watch_tells_states_output_and_the_end() -> None:
    jobs = Jobs([job(), chunk(0), chunk(1), settled()])
    assert await watched(jobs) == [JobState.RUNNING, out(0), out(1), JobState.SETTLED]


async def test_a_watch_of_an_ended_job_tells_its_output_before_its_end() -> None:
    jobs = Jobs([settled(), chunk(0), chunk(1), settled()])
    assert await watched(jobs) == [out(0), out(1), JobState.SETTLED]
    # Also where the connection breaks in between.
    jobs = Jobs([settled()], [settled(), chunk(0)], [settled(), chunk(1), settled()])
    assert await watched(jobs) == [out(0), out(1), JobState.SETTLED]


async def test_a_broken_watch_goes_on_where_it_was_without_repeating_itself() -> None:
    jobs = Jobs([job(), chunk(0)], [], [job(), chunk(0), chunk(1)], [chunk(2), settled()])
    assert await watched(jobs) == [JobState.RUNNING, out(0), out(1), out(2), JobState.SETTLED]
    assert jobs.asked == [(0, 0), (1, 1), (1, 1), (1, 2)]


async def test_a_failed_attempts_output_is_void() -> None:
    jobs = Jobs([job(), chunk(0), chunk(1), job(JobState.QUEUED, 2), chunk(0, 2), settled(2)])
    assert await watched(jobs) == [
        JobState.RUNNING,
        out(0),
        out(1),
        OutputVoided(1, 2),
        JobState.QUEUED,
        out(0, 2),
        JobState.SETTLED,
    ]


async def test_an_attempt_that_fails_while_nobody_watches_is_void_too() -> None:
    jobs = Jobs([job(), chunk(0)], [chunk(0, 3), chunk(0, 1), settled(3)])
    assert await watched(jobs) == [
        JobState.RUNNING,
        out(0),
        OutputVoided(1, 1),
        out(0, 3),
        JobState.SETTLED,
    ]


async def test_a_missing_piece_makes_the_watch_ask_again() -> None:
    jobs = Jobs([job(), chunk(0), chunk(2)], [chunk(1), chunk(2), settled()])
    assert await watched(jobs) == [JobState.RUNNING, out(0), out(1), out(2), JobState.SETTLED]
    assert jobs.asked[1] == (1, 1)


async def test_a_watch_can_begin_in_the_middle() -> None:
    jobs = Jobs([job(), chunk(4), settled()])
    assert await watched(jobs, attempt=1, from_index=4) == [
        JobState.RUNNING,
        out(4),
        JobState.SETTLED,
    ]
    jobs = Jobs([job(JobState.RUNNING, 2), chunk(0, 2), settled(2)])
    found = await watched(jobs, attempt=1, from_index=4)
    assert found[0] == OutputVoided(1, 4)


async def test_the_end_of_a_job_that_had_ended_is_told_after_its_output() -> None:
    jobs = Jobs([settled(), chunk(0)], [settled(), chunk(1), settled()])
    assert await watched(jobs) == [out(0), out(1), JobState.SETTLED]
    assert jobs.asked == [(0, 0), (1, 1)]


async def test_a_silent_watch_counts_as_broken() -> None:
    # On a busy machine others may be taken for silent, too.
    jobs = Jobs([job(), None])
    jobs.watches += [[settled(), settled()] for _ in range(20)]
    async with connected(jobs) as client:
        updates = watch_job(client._connection, Cursor(JOB), silence_s=1.0)
        assert told([u async for u in updates])[-1] == JobState.SETTLED
    assert len(jobs.asked) > 1


async def test_a_watch_gives_up_when_the_exchange_stays_away() -> None:
    jobs = Jobs(*([] for _ in range(100)))
    policy = RetryPolicy(first_s=0.01, longest_s=0.02, reconnect_s=0.2)
    async with connected(jobs, retry=policy) as client:
        with pytest.raises(Unavailable, match="DRAINING"):
            await anext(client.jobs.watch(JOB))
    assert 0 < len(jobs.asked) < 100


async def test_a_refused_watch_ends_at_once() -> None:
    class Refusing(Jobs):
        async def WatchJob(
            self, request: pb.WatchJobRequest, context: Context
        ) -> AsyncIterator[pb.WatchJobResponse]:
            self.asked.append((0, 0))
            await fail(context, grpc.StatusCode.NOT_FOUND, "UNKNOWN_JOB")
            yield job()

    jobs = Refusing()
    async with connected(jobs) as client:
        with pytest.raises(NotFound, match="UNKNOWN_JOB"):
            await client.jobs.follow(JOB)
    assert len(jobs.asked) == 1


async def test_leaving_a_watch_ends_it_at_the_exchange() -> None:
    ended = asyncio.Event()

    class Endless(Jobs):
        async def WatchJob(
            self, request: pb.WatchJobRequest, context: Context
        ) -> AsyncIterator[pb.WatchJobResponse]:
            try:
                for index in itertools.count():
                    yield chunk(index)
                    await asyncio.sleep(0.001)
            finally:
                ended.set()

    async with connected(Endless()) as client:
        updates = client.jobs.watch(JOB)
        await anext(updates)
        await updates.aclose()
        await asyncio.wait_for(ended.wait(), WITHIN_S)


async def test_closing_the_client_ends_a_watch() -> None:
    async with connected(Jobs([job(), None])) as client:
        updates = client.jobs.watch(JOB)
        await anext(updates)
        waiting = asyncio.ensure_future(anext(updates))
        await asyncio.sleep(0.05)
        await client.close()
        with pytest.raises(ClientClosed):
            await waiting


# ---- run ----


async def test_run_gives_the_answer_with_its_bill() -> None:
    jobs = Jobs([job(), chunk(0)], [chunk(1), job(JobState.QUEUED, 2), chunk(0, 2), settled(2)])
    seen: list[Update] = []
    async with connected(jobs) as client:
        answer = await client.jobs.run("Hi", model="m", value=1, on_update=seen.append)
    assert isinstance(answer, Answer)
    assert str(answer) == answer.text == "2.0 "
    assert (answer.paid_nanos, answer.flops, answer.complete) == (5, 10**12, True)
    assert "$0.000000005 for 1 CU" in answer.bill
    assert OutputVoided(1, 2) in seen
    assert jobs.cancelled == []


@pytest.mark.parametrize(
    ("state", "stop", "kind", "text"),
    [
        (JobState.FAILED, StopCause.UNSPECIFIED, JobFailed, ""),
        (JobState.EXPIRED, StopCause.UNSPECIFIED, JobExpired, ""),
        (JobState.CANCELLED, StopCause.CANCELLED, JobCancelled, "1.0 "),
        (JobState.CANCELLED, StopCause.UNSPECIFIED, JobCancelled, ""),
    ],
)
async def test_a_job_without_an_answer_raises(
    state: JobState, stop: StopCause, kind: type[JobFailed], text: str
) -> None:
    end = job(state, stop_cause=stop, reason=711)
    async with connected(Jobs([job(), chunk(0), end])) as client:
        with pytest.raises(kind, match="ATTEMPTS_EXHAUSTED") as caught:
            await client.jobs.run("Hi", model="m", value=1)
    assert caught.value.text == text
    assert caught.value.job.state == state


async def test_an_interrupted_run_cancels_its_job() -> None:
    jobs = Jobs([job(), chunk(0), None])
    begun = asyncio.Event()
    async with connected(jobs) as client:
        running = asyncio.create_task(
            client.jobs.run("Hi", model="m", value=1, on_update=lambda _: begun.set())
        )
        await begun.wait()
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
    assert jobs.cancelled == [JOB]


async def test_a_run_that_is_interrupted_while_it_submits_cancels_its_job() -> None:
    jobs = Jobs([job(), None])
    jobs.submit_wait_s = 0.2
    async with connected(jobs) as client:
        running = asyncio.create_task(client.jobs.run("Hi", model="m", value=1))
        await until(lambda: bool(jobs.submitted))
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
    assert jobs.cancelled == [JOB]


async def test_a_run_whose_callback_fails_cancels_its_job() -> None:
    jobs = Jobs([job(), None])

    def stop(update: Update) -> None:
        raise ZeroDivisionError

    async with connected(jobs) as client:
        with pytest.raises(ZeroDivisionError):
            await client.jobs.run("Hi", model="m", value=1, on_update=stop)
    assert jobs.cancelled == [JOB]


async def test_an_interrupted_follow_leaves_the_job_alone() -> None:
    jobs = Jobs([job(), None])
    async with connected(jobs) as client:
        following = asyncio.create_task(client.jobs.follow(JOB))
        await asyncio.sleep(0.1)
        following.cancel()
        with pytest.raises(asyncio.CancelledError):
            await following
    assert jobs.cancelled == []


# ---- requests ----


def test_terms_are_read_exactly() -> None:
    client_job_id = uuid7()
    request = job_request(
        "Hi",
        client_job_id,
        {
            "model": "m",
            "value": "$0.002",
            "max_cost": 7,
            "limit": "$0.00044/CU",
            "budget": "250 CU",
            "deadline": "30s",
            "output_tokens_max": 9,
            "tier": "batch",
            "instrument": "m/cpu/batch",
            "temperature_milli": 700,
            "answer_value": "$0.001",
            "seed": 3,
        },
    )
    assert request == pb.SubmitJobRequest(
        client_job_id=client_job_id,
        model="m",
        tier="batch",
        instrument="m/cpu/batch",
        input=pb.JobInput(
            messages=[pb.ChatMessage(role="user", content="Hi")],
            output_tokens_max=9,
            temperature_milli=700,
            answer_value_nanos=1_000_000,
            seed=3,
        ),
        quantity_mflop=250_000_000,
        value_nanos=2_000_000,
        limit_nanos=440_000,
        max_cost_nanos=7,
        deadline_ns=30 * 10**9,
    )


def test_prompts_may_be_conversations_or_raw() -> None:
    talk = [Message("system", "Be brief."), Message("user", "Hi")]
    request = job_request(talk, uuid7(), {"model": "m"})
    assert [(m.role, m.content) for m in request.input.messages] == [
        ("system", "Be brief."),
        ("user", "Hi"),
    ]
    assert job_request("Hi", uuid7(), {"model": "m", "raw": True}).input.prompt == "Hi"


async def test_what_cannot_be_read_is_never_sent() -> None:
    jobs = Jobs()
    async with connected(jobs) as client:
        with pytest.raises(ValueError, match="not an amount"):
            await client.jobs.run("Hi", model="m", value="much")
        with pytest.raises(TypeError, match="needs a model"):
            await client.jobs.submit("Hi", value=1)
    assert jobs.submitted == []


@pytest.mark.parametrize("term", ["value", "max_cost", "limit", "budget", "deadline"])
@pytest.mark.parametrize("amount", [0, -5])
def test_a_cap_that_has_run_down_does_not_become_none(term: str, amount: int) -> None:
    terms: Any = {"model": "m", "value": "$0.01", term: amount}
    with pytest.raises(ValueError, match=f"{term} must be more than zero, not {amount}"):
        job_request("Hi", uuid7(), terms)


def test_an_orders_cap_that_has_run_down_does_not_become_none() -> None:
    with pytest.raises(ValueError, match="max_cost must be more than zero, not 0"):
        new_order(1, Side.BID, 10, 5, {"max_cost": 0})
    name = uuid7()
    left_out = new_order(1, Side.BID, 10, 5, {"client_order_id": name})
    assert new_order(1, Side.BID, 10, 5, {"client_order_id": name, "max_cost": None}) == left_out


def test_none_is_a_term_that_is_left_out() -> None:
    given: Any = {"model": "m", "value": 5}
    left_out: Any = dict.fromkeys(("max_cost", "limit", "budget", "deadline"))
    name = uuid7()
    assert job_request("Hi", name, given | left_out) == job_request("Hi", name, given)
