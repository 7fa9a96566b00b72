"""The job service over real gRPC: submit, watch, cancel, get, list."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from exchange.blobs import BlobNotFound
from exchange.core.limits import PAYLOAD_BYTES_MAX
from exchange.metering.cards import INSTANT
from exchange.metering.traces import flops_worst
from exchange.rpc import jobs, outputs
from exchange.rpc.convert import jobs as convert
from exchange.rpc.job_blobs import (
    OUTPUT_RETENTION_NS,
    PAYLOAD_RETENTION_NS,
    output_name,
    payload_name,
)
from exchange.v1 import job_service_pb2 as pb
from tests.exchange.rpc.rig import TOO_DEAR, Rig, error_info, open_rig

pytestmark = pytest.mark.usefixtures("both_forms")


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    async with open_rig(tmp_path) as found:
        yield found


async def refused(call: Any) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value


def blob_ids(rig: Rig, start: str = "job-") -> list[str]:
    return [name for name in rig.services.blobs.ids() if name.startswith(start)]


# ---- submit ----


async def test_a_submitted_job_waits_with_its_money_held(rig: Rig) -> None:
    request = rig.request("one two three")
    answer = await rig.jobs.SubmitJob(request)
    job = answer.job
    assert not answer.repeated_request
    assert job.state == pb.JOB_STATE_QUEUED
    assert (job.model, job.tier, job.attempt) == ("instant", "interactive", 1)
    assert job.client_job_id == request.client_job_id
    assert 0 < job.escrow_nanos <= 10**6
    assert job.deadline_time_ns - job.create_time_ns == convert.DEADLINE_DEFAULT_NS
    assert job.waiting_for == "no quotes"
    account = rig.core.account_by_name["buyer"]
    assert rig.core.ledger.pending(account) == job.escrow_nanos


async def test_the_payload_is_stored_and_named_by_its_digest(rig: Rig) -> None:
    request = rig.request("secret words")
    job = (await rig.jobs.SubmitJob(request)).job
    terms = rig.core.jobs[job.job_id].terms
    stored = rig.services.blobs.get(payload_name(terms))
    assert stored == request.input.SerializeToString(deterministic=True)
    assert hashlib.sha256(stored).digest() == terms.payload_digest


async def test_the_default_budget_is_the_worst_case(rig: Rig) -> None:
    job = await rig.submit("x" * 100)
    worst = flops_worst(INSTANT, 100, 16)
    assert job.quantity_mflop == -(-worst // 10**6)
    assert (await rig.submit(quantity_mflop=7)).quantity_mflop == 7


async def test_a_repeat_gets_the_first_job(rig: Rig) -> None:
    request = rig.request()
    first = await rig.jobs.SubmitJob(request)
    second = await rig.jobs.SubmitJob(request)
    assert second.repeated_request
    assert second.job.job_id == first.job.job_id
    assert len(rig.core.jobs) == len(blob_ids(rig)) == 1


async def test_racing_repeats_make_one_job(rig: Rig) -> None:
    request = rig.request()
    answers = await asyncio.gather(*(rig.jobs.SubmitJob(request) for _ in range(8)))
    assert {answer.job.job_id for answer in answers} == {1}
    assert sum(not answer.repeated_request for answer in answers) == 1
    assert len(blob_ids(rig)) == 1


async def test_a_repeat_after_the_end_gets_the_ended_job(rig: Rig) -> None:
    request = rig.request()
    job = (await rig.jobs.SubmitJob(request)).job
    await rig.jobs.CancelJob(pb.CancelJobRequest(job_id=job.job_id))
    again = await rig.jobs.SubmitJob(request)
    assert again.repeated_request
    assert again.job.state == pb.JOB_STATE_CANCELLED


@pytest.mark.parametrize("changes", [{"value_nanos": 7}, {"prompt": "other words"}])
async def test_other_content_under_the_same_id_is_refused_and_harms_nothing(
    rig: Rig, changes: dict[str, Any]
) -> None:
    request = rig.request("first words")
    job = (await rig.jobs.SubmitJob(request)).job
    other = rig.request(**{"prompt": "first words", **changes})
    other.client_job_id = request.client_job_id
    error = await refused(rig.jobs.SubmitJob(other))
    assert error.code() is grpc.StatusCode.ALREADY_EXISTS
    assert error_info(error).reason == "DUPLICATE_CLIENT_ID"
    payload = rig.services.blobs.get(payload_name(rig.core.jobs[job.job_id].terms))
    assert pb.JobInput.FromString(payload).prompt == "first words"
    assert len(blob_ids(rig)) == 1


async def test_a_refused_jobs_payload_is_forgotten_and_can_be_sent_again(rig: Rig) -> None:
    request = rig.request(**TOO_DEAR)
    for _ in range(2):
        error = await refused(rig.jobs.SubmitJob(request))
        assert error_info(error).reason == "INSUFFICIENT_FUNDS"
        assert blob_ids(rig) == []


async def test_a_client_that_gives_up_leaves_nothing_behind(rig: Rig) -> None:
    call = rig.jobs.SubmitJob(rig.request(**TOO_DEAR))
    await asyncio.sleep(0)
    call.cancel()
    await asyncio.gather(call, return_exceptions=True)
    await rig.until(lambda: not rig.services.job_blobs._tasks or not blob_ids(rig))
    assert blob_ids(rig) == []


# ---- watch ----


async def test_a_watch_tells_the_whole_life(rig: Rig) -> None:
    job = await rig.submit()
    watch = rig.watch(job)
    assert (await watch.next("job")).job.state == pb.JOB_STATE_QUEUED
    async with rig.worker() as worker:
        await rig.ready(worker)
        offer = await worker.offer()
        await worker.begin(offer)
        while (await watch.next("job")).job.state != pb.JOB_STATE_RUNNING:
            pass
        for index, text in enumerate(["a ", "b ", "c"]):
            await worker.chunk(offer, index, text)
            chunk = (await watch.next("chunk")).chunk
            assert (chunk.attempt, chunk.index, chunk.text, chunk.tokens) == (1, index, text, 1)
        await worker.settle(worker.receipt(offer, "a b c"))
    rest = await watch.all()
    assert rest[-1].job.state == pb.JOB_STATE_SETTLED
    assert rest[-1].job.output_tokens == 3


@pytest.mark.parametrize("words", [(), ("a ", "b")])
async def test_the_job_is_the_first_message_and_its_end_the_last(
    rig: Rig, words: tuple[str, ...]
) -> None:
    job = await rig.submit()
    if words:
        live = rig.watch(job)
        async with rig.worker() as worker:
            await rig.ready(worker)
            await worker.run(await worker.offer(), *words)
        told = [update.WhichOneof("update") for update in await live.all()]
        assert (told[0], told[-1]) == ("job", "job")
    else:
        await rig.jobs.CancelJob(pb.CancelJobRequest(job_id=job.job_id))
    updates = await rig.watch(job).all()
    kinds = [update.WhichOneof("update") for update in updates]
    assert kinds == ["job", *["chunk"] * len(words), "job"]
    assert updates[0].job == updates[-1].job == (await rig.get(job)).job


@pytest.mark.parametrize("from_index", [0, 2, 3, 9])
async def test_a_watch_begins_at_any_chunk_also_after_the_end(rig: Rig, from_index: int) -> None:
    job = await rig.submit()
    async with rig.worker() as worker:
        await rig.ready(worker)
        await worker.run(await worker.offer(), "a ", "b ", "c")
    updates = await rig.watch(job, from_index, attempt=1).all()
    texts = [u.chunk.text for u in updates if u.HasField("chunk")]
    assert texts == ["a ", "b ", "c"][from_index:]
    assert updates[-1].job.state == pb.JOB_STATE_SETTLED


async def test_a_long_output_comes_whole(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "PIECES_PER_TURN_MAX", 4)
    job = await rig.submit()
    watch = rig.watch(job)
    pieces = [f"{i} " for i in range(14)]
    async with rig.worker() as worker:
        await rig.ready(worker)
        assert (await worker.run(await worker.offer(), *pieces)).accepted
    for updates in (await watch.all(), await rig.watch(job).all()):
        assert [u.chunk.text for u in updates if u.HasField("chunk")] == pieces


async def test_a_failed_attempts_output_is_void(rig: Rig) -> None:
    job = await rig.submit()
    watch = rig.watch(job)
    async with rig.worker() as worker:
        await rig.ready(worker)
        offer = await worker.offer()
        await worker.begin(offer)
        await worker.chunk(offer, 0, "void ")
        assert (await watch.next("chunk")).chunk.attempt == 1
        failed = worker.receipt(offer, "void ", cause=pb.STOP_CAUSE_FAILED)
        assert not (await worker.settle(failed)).accepted
        offer = await worker.offer()
        assert (await rig.get(job, include_output=True)).output == ""
        assert (await worker.run(offer, "good")).accepted
    chunks = [u.chunk for u in await watch.all() if u.HasField("chunk")]
    assert [(c.attempt, c.index, c.text) for c in chunks] == [(2, 0, "good")]
    resumed = await rig.watch(job, from_index=1, attempt=1).all()
    assert [u.chunk.text for u in resumed if u.HasField("chunk")] == ["good"]


async def test_a_watch_says_that_it_is_alive(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "WATCH_HEARTBEAT_S", 0.05)
    watch = rig.watch(await rig.submit())
    await watch.next("heartbeat")
    await watch.next("heartbeat")
    watch.call.cancel()


async def test_watchers_are_bounded(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outputs, "WATCHERS_PER_JOB_MAX", 1)
    job = await rig.submit()
    first = rig.watch(job)
    await first.next("job")
    error = await refused(rig.watch(job).all())
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    first.call.cancel()


async def test_a_drain_ends_watches_with_a_word(rig: Rig) -> None:
    watch = rig.watch(await rig.submit())
    await watch.next("job")
    rig.services.drain.begin()
    error = await refused(watch.all())
    assert error.code() is grpc.StatusCode.UNAVAILABLE
    assert error_info(error).reason == "DRAINING"
    error = await refused(rig.jobs.SubmitJob(rig.request()))
    assert error_info(error).reason == "DRAINING"


# ---- cancel, get, list ----


async def test_cancelling_a_waiting_job_gives_the_money_back(rig: Rig) -> None:
    job = await rig.submit()
    answer = await rig.jobs.CancelJob(pb.CancelJobRequest(job_id=job.job_id))
    assert answer.job.state == pb.JOB_STATE_CANCELLED
    assert rig.core.ledger.pending(rig.core.account_by_name["buyer"]) == 0
    error = await refused(rig.jobs.CancelJob(pb.CancelJobRequest(job_id=job.job_id)))
    assert error.code() is grpc.StatusCode.FAILED_PRECONDITION
    assert error_info(error).reason == "JOB_CLOSED"


async def test_output_so_far_can_be_asked_for(rig: Rig) -> None:
    job = await rig.submit()
    async with rig.worker() as worker:
        await rig.ready(worker)
        offer = await worker.offer()
        await worker.begin(offer)
        await worker.chunk(offer, 0, "so far")
        await rig.until(lambda: rig.services.outputs.tokens(job.job_id))
        answer = await rig.get(job, include_output=True)
        assert (answer.output, answer.job.output_tokens) == ("so far", 2)
        assert (await rig.get(job)).output == ""


async def test_another_accounts_job_is_not_shown(rig: Rig) -> None:
    job = await rig.submit()
    other = rig.jobs_of(await rig.exchange.trader("other", paper=False))
    for call in (
        other.GetJob(pb.GetJobRequest(job_id=job.job_id)),
        other.CancelJob(pb.CancelJobRequest(job_id=job.job_id)),
        other.WatchJob(pb.WatchJobRequest(job_id=job.job_id)).read(),
    ):
        error = await refused(call)
        assert error.code() is grpc.StatusCode.PERMISSION_DENIED
        assert error_info(error).reason == "NOT_OWNER"
    assert not (await other.ListJobs(pb.ListJobsRequest())).jobs


async def test_the_operator_sees_and_cancels_jobs_but_reads_no_output(rig: Rig) -> None:
    job = await rig.submit()
    operator = rig.jobs_of(rig.exchange.operator_key)
    assert (await operator.GetJob(pb.GetJobRequest(job_id=job.job_id))).job.job_id == job.job_id
    request = pb.GetJobRequest(job_id=job.job_id, include_output=True)
    assert error_info(await refused(operator.GetJob(request))).reason == "NOT_OWNER"
    answer = await operator.CancelJob(pb.CancelJobRequest(job_id=job.job_id))
    assert answer.job.fault == pb.FAULT_OPERATOR


async def test_jobs_come_in_pages_newest_first(rig: Rig) -> None:
    made = [(await rig.submit()).job_id for _ in range(5)]
    await rig.jobs.CancelJob(pb.CancelJobRequest(job_id=made[4]))
    seen: list[int] = []
    token = ""
    while True:
        request = pb.ListJobsRequest(page_size=2, page_token=token)
        page = await rig.jobs.ListJobs(request)
        seen += [job.job_id for job in page.jobs]
        token = page.next_page_token
        if not token:
            break
    assert seen == made[::-1]
    open_only = await rig.jobs.ListJobs(pb.ListJobsRequest(open_only=True))
    assert [job.job_id for job in open_only.jobs] == made[3::-1]
    error = await refused(rig.jobs.ListJobs(pb.ListJobsRequest(page_token="nonsense")))
    assert error_info(error).metadata["field"] == "page_token"


# ---- what stays ----


async def settled_job(rig: Rig) -> pb.Job:
    job = await rig.submit()
    async with rig.worker() as worker:
        await rig.ready(worker)
        await worker.run(await worker.offer(), "kept ", "words")
    return await rig.ended(job)


async def test_output_and_counts_survive_a_restart(tmp_path: Path) -> None:
    async with open_rig(tmp_path) as rig:
        job = await settled_job(rig)
    async with open_rig(tmp_path) as rig:
        answer = await rig.get(job, include_output=True)
        assert (answer.output, answer.job.output_tokens) == ("kept words", 2)
        assert answer.job == job
        updates = await rig.watch(job, from_index=1).all()
        assert [u.chunk.text for u in updates if u.HasField("chunk")] == ["words"]


async def test_payload_and_output_are_forgotten_in_time_and_receipts_stay(rig: Rig) -> None:
    job = await settled_job(rig)
    terms = rig.core.jobs[job.job_id].terms
    blobs, keeper = rig.services.blobs, rig.services.job_blobs
    assert await keeper.sweep() == 0
    later = LaterClock(rig.exchange.clock.now_ns() + PAYLOAD_RETENTION_NS)
    rig.services.clock = later
    assert await keeper.sweep() == 1
    with pytest.raises(BlobNotFound):
        blobs.get(payload_name(terms))
    later.time_ns += OUTPUT_RETENTION_NS
    assert await keeper.sweep() == 1
    with pytest.raises(BlobNotFound):
        blobs.get(output_name(job.lease_id))
    assert (await rig.get(job, include_output=True)).output == ""
    assert rig.services.receipts.get(job.lease_id)


class LaterClock:
    """A clock that stands."""

    def __init__(self, time_ns: int) -> None:
        self.time_ns = time_ns

    def now_ns(self) -> int:
        return self.time_ns


async def test_payloads_that_a_crash_left_are_swept(rig: Rig) -> None:
    job = await rig.submit()
    wanted = payload_name(rig.core.jobs[job.job_id].terms)
    orphan = f"job-{rig.core.account_by_name['buyer']}-{'ab' * 16}/payload-{'cd' * 16}"
    rig.services.blobs.put(orphan, b"never sequenced")
    assert await rig.services.job_blobs.sweep_orphans() == 1
    assert blob_ids(rig) == [wanted]


async def test_outputs_that_no_job_has_are_swept(rig: Rig) -> None:
    settled = await settled_job(rig)
    blobs = rig.services.blobs
    async with rig.worker("other") as worker:
        await rig.ready(worker)
        await rig.submit()
        offer = await worker.offer()
        await worker.begin(offer)
        # Stored for a lease that still runs; for one that failed; for one that a restore undid.
        blobs.put(output_name(offer.lease_id), b"may yet be settled")
        blobs.put(output_name(77), b"never granted here")
        blobs.put("lease-77/other", b"of something else")
        assert await rig.services.job_blobs.sweep_orphans() == 1
        kept = {output_name(settled.lease_id), output_name(offer.lease_id), "lease-77/other"}
        assert set(blob_ids(rig, "lease-")) == kept
        blobs.forget(output_name(offer.lease_id))
        failed = worker.receipt(offer, "", cause=pb.STOP_CAUSE_FAILED)
        assert not (await worker.settle(failed)).accepted
        blobs.put(output_name(offer.lease_id), b"left by a crash")
        assert await rig.services.job_blobs.sweep_orphans() == 1


async def test_the_largest_prompt_is_taken(rig: Rig) -> None:
    text = PAYLOAD_BYTES_MAX - 100
    error = await refused(rig.jobs.SubmitJob(rig.request("x" * PAYLOAD_BYTES_MAX)))
    assert error_info(error).reason == "PAYLOAD_TOO_LARGE"
    # The largest payload passes the gateway; this class's context is too short for it.
    error = await refused(rig.jobs.SubmitJob(rig.request("x" * text)))
    assert error_info(error).reason == "CONTEXT_TOO_LONG"


async def test_a_job_is_found_by_the_clients_id(rig: Rig) -> None:
    job = await rig.submit()
    found = await rig.jobs.GetJob(pb.GetJobRequest(client_job_id=job.client_job_id))
    assert found.job.job_id == job.job_id
    for unknown in (rig.exchange.id(), b"short"):
        request = pb.GetJobRequest(client_job_id=unknown)
        assert error_info(await refused(rig.jobs.GetJob(request))).reason == "UNKNOWN_JOB"
    # The id of a deposit is no job's, and nor is that of another account.
    (deposit,) = set(rig.exchange.core.accounts[job_account(rig, job)].client_ids.ids()) - {
        job.client_job_id
    }
    request = pb.GetJobRequest(client_job_id=deposit)
    assert error_info(await refused(rig.jobs.GetJob(request))).reason == "UNKNOWN_JOB"
    both = pb.GetJobRequest(job_id=job.job_id, client_job_id=job.client_job_id)
    assert error_info(await refused(rig.jobs.GetJob(both))).reason == "FIELD_INVALID"


def job_account(rig: Rig, job: pb.Job) -> int:
    return rig.exchange.core.jobs[job.job_id].account_id
