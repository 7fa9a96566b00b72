"""Clients that go away, and requests that come twice: the work stops, and the bill comes once."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import uuid
from typing import Any

import openai
import pytest
from openai import AsyncOpenAI

from exchange.core.commands import RevokeKey
from exchange.core.jobs import Job
from exchange.http.idempotency import KEY_CHARS_MAX
from exchange.http.openai import runs
from exchange.metering.traces import DenseTrace
from exchange.rpc.auth import hash_secret
from exchange.rpc.errors import Code, RpcError, busy
from exchange.rpc.inside import ABANDON_JOB, SUBMIT_JOB
from exchange.testing import uuid7
from exchange.testing.fake_worker import FakeWorker
from exchange.v1.job_service_pb2 import STOP_CAUSE_CANCELLED
from tests.exchange.http.openai.clients import (
    BUDGET,
    MODEL,
    QUESTION,
    begun,
    chat,
    error_of,
    newest_job,
    openai_client,
    serving,
)
from tests.exchange.http.site import Site, eventually

pytestmark = pytest.mark.asyncio(loop_scope="module")


def keyed(key: str) -> dict[str, Any]:
    return {"extra_headers": {"Idempotency-Key": key}}


async def stopped(worker: FakeWorker, offer: Any, text: str, tokens: int = 1) -> None:
    """The worker is told to stop, and gives its receipt for what it has done."""
    cancel = (await worker.receive("cancel")).cancel
    assert cancel.lease_id == offer.lease_id
    done = DenseTrace(1, tokens - 1)
    result = await worker.settle(worker.receipt(offer, text, done, cause=STOP_CAUSE_CANCELLED))
    assert result.accepted


def is_billed_once(site: Site, job: Job) -> bool:
    core = site.exchange.core
    return job.state.name == "SETTLED" and job.job_id == max(core.jobs)


# ---- clients that go ----


async def test_who_stops_reading_a_stream_stops_the_work_and_the_bill(
    site: Site, worker: FakeWorker
) -> None:
    async with openai_client(site) as client:
        asking = asyncio.create_task(chat(client, stream=True))
        offer = await begun(worker, "one ")
        stream = await asking
        async for chunk in stream:
            if chunk.choices[0].delta.content:
                break
        await stream.close()
        await stopped(worker, offer, "one ")
    job = newest_job(site)
    await eventually(lambda: not job.is_open)
    assert job.state.name == "CANCELLED"
    # One token of up to 256 that were held for.
    assert 0 < job.paid_nanos < job.escrow_nanos


async def test_who_goes_before_the_whole_answer_stops_it_as_well(
    site: Site, worker: FakeWorker
) -> None:
    async with openai_client(site) as client:
        asking = asyncio.create_task(chat(client))
        offer = await begun(worker, "one ")
        # Not before the exchange has heard that it runs: an offer would be revoked at once.
        await eventually(lambda: newest_job(site).state.name == "RUNNING")
        asking.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asking
    await stopped(worker, offer, "one ")
    job = newest_job(site)
    await eventually(lambda: not job.is_open)
    assert job.state.name == "CANCELLED"


async def test_a_key_that_is_revoked_while_its_job_runs_stops_the_bill(
    site: Site, worker: FakeWorker
) -> None:
    lost = await site.exchange.trader("careless", paper=False)
    async with openai_client(site, api_key=lost) as client:
        asking = asyncio.create_task(chat(client))
        offer = await begun(worker, "one ")
        job = newest_job(site)
        await eventually(lambda: job.state.name == "RUNNING")
        await site.exchange.submit(RevokeKey(hash_secret(lost)))
        error = await error_of(asking, openai.AuthenticationError)
        assert error["code"] == "KEY_UNKNOWN"
        await stopped(worker, offer, "one ")
    await eventually(lambda: not job.is_open)
    assert job.state.name == "CANCELLED"
    assert 0 < job.paid_nanos < job.escrow_nanos


async def test_who_goes_while_the_job_waits_pays_nothing(site: Site) -> None:
    before = max(site.exchange.core.jobs, default=0)
    async with openai_client(site) as client:
        asking = asyncio.create_task(chat(client, extra_body={"exchange": {"limit": 1}}))
        await eventually(lambda: max(site.exchange.core.jobs, default=0) > before)
        asking.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asking
    job = newest_job(site)
    await eventually(lambda: not job.is_open)
    assert (job.state.name, job.paid_nanos) == ("CANCELLED", 0)


async def test_who_reads_nothing_is_cut_off(
    site: Site, worker: FakeWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    from exchange.http.openai import sse

    monkeypatch.setattr(sse, "SEND_WITHIN_S", 0.2)
    ask = {"model": MODEL, "prompt": "x", "stream": True, "max_tokens": 64, **BUDGET}
    body = json.dumps(ask)
    head = f"Host: x\r\nAuthorization: Bearer {site.buyer}\r\nContent-Length: {len(body)}\r\n"
    head += "Content-Type: application/json"
    host, port = site.exchange.http_address.split(":")
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        connection.connect((host, int(port)))
        connection.send(f"POST /v1/completions HTTP/1.1\r\n{head}\r\n\r\n{body}".encode())
        offer = await worker.offer()
        await worker.begin(offer)
        text = "x" * 60_000
        for index in range(64):
            await worker.chunk(offer, index, text, tokens=1)
        job = newest_job(site)
        await eventually(lambda: job.cancelling)
    await stopped(worker, offer, text * 64, tokens=64)


async def test_a_cancel_that_meets_a_full_exchange_is_tried_again(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runs, "CANCEL_AGAIN_S", 0.01)
    made: Any = site.exchange.server.edges
    calls, full = made._http._calls, 3
    unary = calls.unary

    async def crowded(path: str, *args: Any) -> Any:
        nonlocal full
        if path == ABANDON_JOB and full:
            full -= 1
            raise busy("the account has its calls open")
        return await unary(path, *args)

    monkeypatch.setattr(calls, "unary", crowded)
    before = max(site.exchange.core.jobs, default=0)
    async with openai_client(site) as client:
        asking = asyncio.create_task(chat(client, extra_body={"exchange": {"limit": 1}}))
        await eventually(lambda: max(site.exchange.core.jobs, default=0) > before)
        asking.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asking
    job = newest_job(site)
    await eventually(lambda: not job.is_open)
    assert (job.state.name, full) == ("CANCELLED", 0)
    assert not made._http._openai._runs._readers


async def test_a_job_whose_acknowledgement_was_late_is_cancelled(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runs, "CANCEL_AGAIN_S", 0.01)
    made: Any = site.exchange.server.edges
    calls = made._http._calls
    unary = calls.unary

    async def late(path: str, *args: Any) -> Any:
        answer = await unary(path, *args)
        if path == SUBMIT_JOB:
            raise RpcError(Code.DEADLINE_EXCEEDED, "DEADLINE_DEFAULT", "it took over 10 s")
        return answer

    monkeypatch.setattr(calls, "unary", late)
    before = max(site.exchange.core.jobs, default=0)
    # The client repeats what it may by itself: not this, which may be another job.
    async with openai_client(site, max_retries=2) as client:
        asking = chat(client, extra_body={"exchange": {"limit": 1}})
        error = await error_of(asking, openai.InternalServerError)
    assert error["code"] == "DEADLINE_DEFAULT"
    job = newest_job(site)
    assert job.job_id == before + 1
    await eventually(lambda: not job.is_open)
    assert (job.state.name, job.paid_nanos) == ("CANCELLED", 0)


# ---- requests that come twice ----


async def test_an_output_that_is_kept_no_more_is_no_empty_answer(
    site: Site, worker: FakeWorker, client: AsyncOpenAI
) -> None:
    async with serving(worker, "Hello"):
        await chat(client, **keyed("old"))
    job, server = newest_job(site), site.exchange.server
    await server.services.job_blobs.void_output(job.lease_id)
    for stream in (False, True):
        error = await error_of(chat(client, stream=stream, **keyed("old")), openai.APIStatusError)
        assert error["code"] == "OUTPUT_GONE"
    assert is_billed_once(site, job)


async def test_one_idempotency_key_bills_once(
    site: Site, worker: FakeWorker, client: AsyncOpenAI
) -> None:
    async with serving(worker, "Hello ", "world"):
        first = await chat(client, **keyed("order 4711"))
        job = newest_job(site)
        again = await chat(client, **keyed("order 4711"))
        stream = await chat(client, stream=True, **keyed("order 4711"))
        pieces = [chunk.choices[0].delta.content or "" async for chunk in stream]
    assert is_billed_once(site, job)
    assert again.id == first.id
    assert again.choices == first.choices
    assert again.usage == first.usage
    assert "".join(pieces) == "Hello world"
    assert again.exchange["paid_nanos"] == first.exchange["paid_nanos"]
    assert (again.exchange["repeated"], again.exchange["refunded_nanos"]) == (True, None)


async def test_a_uuid7_is_the_jobs_own_client_id(
    site: Site, worker: FakeWorker, client: AsyncOpenAI
) -> None:
    key = uuid.UUID(bytes=uuid7())
    async with serving(worker, "x"):
        await chat(client, **keyed(str(key)))
        job = newest_job(site)
        await chat(client, **keyed(str(key)))
    assert job.terms.client_job_id == key.bytes
    assert is_billed_once(site, job)


async def test_requests_with_one_key_at_the_same_time_share_the_job(
    site: Site, worker: FakeWorker, client: AsyncOpenAI
) -> None:
    asking = [asyncio.create_task(chat(client, **keyed("together"))) for _ in range(3)]
    await worker.run(await worker.offer(), "x")
    answers = [await one for one in asking]
    assert len({answer.id for answer in answers}) == 1
    assert is_billed_once(site, newest_job(site))


async def test_one_key_for_another_question_is_a_conflict(
    worker: FakeWorker, client: AsyncOpenAI
) -> None:
    async with serving(worker, "x"):
        await chat(client, **keyed("once"))
    retrying = client.with_options(max_retries=2)
    error = await error_of(chat(retrying, max_tokens=9, **keyed("once")), openai.ConflictError)
    assert error["code"] == "DUPLICATE_CLIENT_ID"


@pytest.mark.parametrize("key", ["x" * (KEY_CHARS_MAX + 1), "a\tb"])
async def test_a_key_that_is_none_is_refused(client: AsyncOpenAI, key: str) -> None:
    error = await error_of(chat(client, **keyed(key)), openai.BadRequestError)
    assert error["param"] == "Idempotency-Key"


async def test_a_key_whose_job_nobody_was_billed_for_may_be_used_again(
    site: Site, worker: FakeWorker, client: AsyncOpenAI
) -> None:
    too_little: Any = {"extra_body": {"exchange": {"limit": 1, "deadline_ms": 1_500}}}
    await error_of(chat(client, **too_little, **keyed("later")), openai.RateLimitError)
    missed = newest_job(site)
    async with serving(worker, "x"):
        await chat(client, **keyed("later"))
    job = newest_job(site)
    assert job is not missed
    async with serving(worker, "x"):
        await chat(client, **keyed("later"))
    assert is_billed_once(site, job)


async def test_a_key_stands_for_so_many_jobs(
    client: AsyncOpenAI, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runs, "TURNS_MAX", 1)
    too_little: Any = {"extra_body": {"exchange": {"limit": 1, "deadline_ms": 1_500}}}
    await error_of(chat(client, **too_little, **keyed("tired")), openai.RateLimitError)
    error = await error_of(chat(client, **too_little, **keyed("tired")), openai.ConflictError)
    assert error["code"] == "IDEMPOTENCY_KEY_USED"


# ---- both ----


async def test_a_retry_takes_up_the_job_of_a_broken_connection(
    site: Site, worker: FakeWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended = asyncio.Event()

    async def linger(_: Any) -> None:
        await ended.wait()

    monkeypatch.setattr(runs.Runs, "_linger", linger)
    made: Any = site.exchange.server.edges
    async with openai_client(site) as client:
        asking = asyncio.create_task(chat(client, stream=True, **keyed("broken")))
        offer = await begun(worker, "one ")
        await (await asking).close()
        again = await chat(client, stream=True, **keyed("broken"))
        # The first one's time is over, and what it does at its end is done.
        ended.set()
        await eventually(lambda: not made._http._openai._runs._tasks)
        job = newest_job(site)
        assert not job.cancelling
        await worker.chunk(offer, 1, "two")
        await worker.settle(worker.receipt(offer, "one two"))
        pieces = [chunk.choices[0].delta.content or "" async for chunk in again]
    assert "".join(pieces) == "one two"
    assert is_billed_once(site, job)


async def test_where_no_retry_comes_the_job_is_cancelled_after_a_while(
    site: Site, worker: FakeWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runs, "LINGER_S", 0.3)
    async with openai_client(site) as client:
        asking = asyncio.create_task(chat(client, stream=True, **keyed("gone")))
        offer = await begun(worker, "one ")
        job = newest_job(site)
        await eventually(lambda: job.state.name == "RUNNING")
        stream = await asking
        loop = asyncio.get_running_loop()
        left_s = loop.time()
        await stream.close()
        await stopped(worker, offer, "one ")
        assert loop.time() - left_s >= runs.LINGER_S
        await eventually(lambda: not job.is_open)
        # It was billed for, so the key stands for it.
        error = await error_of(chat(client, **keyed("gone")), openai.ConflictError)
    assert error["code"] == "CANCELLED_BY_OWNER"
    assert f"job {job.job_id} " in error["message"]


async def test_only_so_many_jobs_wait_for_retries(
    site: Site, worker: FakeWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runs, "LINGERING_MAX", 0)
    async with openai_client(site) as client:
        asking = asyncio.create_task(chat(client, stream=True, **keyed("full")))
        offer = await begun(worker, "one ")
        await eventually(lambda: newest_job(site).state.name == "RUNNING")
        await (await asking).close()
        await stopped(worker, offer, "one ")


# ---- the exchange goes ----


async def test_a_request_without_a_key_answers_503_and_leaves_no_job_when_draining(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    from tests.exchange.http.site import open_site

    async with (
        open_site(tmp_path_factory.mktemp("drained")) as site,
        openai_client(site) as client,
    ):
        waiting: Any = {"extra_body": {"exchange": {"limit": 1}}}
        plain = asyncio.create_task(chat(client, **waiting))
        kept = asyncio.create_task(chat(client, **waiting, **keyed("kept")))
        jobs = site.exchange.core.jobs
        await eventually(lambda: len(jobs) == 2)
        await site.exchange.server.begin_drain()
        # With its key a retry comes to the same job; without one that job ends with its request.
        for asking, final in ((plain, True), (kept, False)):
            with pytest.raises(openai.InternalServerError) as caught:
                await asking
            assert caught.value.code == "DRAINING"
            told = caught.value.response.headers
            assert (told.get("x-should-retry") == "false") is final
            assert ("retry-after" not in told) is final
        await eventually(lambda: sum(job.is_open for job in jobs.values()) == 1)
        with pytest.raises(openai.InternalServerError) as caught:
            await chat(client, model=MODEL, messages=QUESTION, extra_body=BUDGET)
        assert (caught.value.status_code, caught.value.code) == (503, "DRAINING")
        assert caught.value.response.headers["retry-after"] == "1"
