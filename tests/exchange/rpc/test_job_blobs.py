"""What becomes of jobs and receipts where the blob store does not do as it should."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest

from exchange.blobs import BlobRef, BlobStoreFull, BlobWriteFailed
from exchange.engine import EngineStopped
from exchange.receipts import Receipt
from exchange.rpc import job_blobs
from exchange.rpc.job_blobs import output_name, payload_name
from exchange.rpc.locks import KeyedLocks
from exchange.testing.fake_worker import SessionEnded
from exchange.v1 import job_service_pb2 as pb
from tests.exchange.rpc.rig import Rig, error_info, open_rig
from tests.waiting import WITHIN_S


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    async with open_rig(tmp_path) as found:
        yield found


@pytest.mark.parametrize(
    ("error", "code", "reason"),
    [
        (BlobStoreFull("full"), grpc.StatusCode.RESOURCE_EXHAUSTED, "EXCHANGE_FULL"),
        (
            BlobWriteFailed(Path("blob"), OSError(5, "broken")),
            grpc.StatusCode.UNAVAILABLE,
            "STORAGE_FAILED",
        ),
    ],
)
async def test_a_job_whose_payload_cannot_be_stored_is_not_taken(
    rig: Rig,
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
    code: grpc.StatusCode,
    reason: str,
) -> None:
    def fail(name: str, data: bytes) -> BlobRef:
        raise error

    with monkeypatch.context() as broken:
        broken.setattr(rig.services.blobs, "put", fail)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await rig.submit()
    assert caught.value.code() is code
    assert error_info(caught.value).reason == reason
    assert not rig.core.jobs
    await rig.submit()


async def test_a_receipt_that_cannot_be_stored_can_be_repeated(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(name: str, data: bytes) -> BlobRef:
        raise BlobStoreFull("full")

    async with rig.worker() as worker:
        await rig.ready(worker)
        job = await rig.submit()
        offer = await worker.offer()
        await worker.begin(offer)
        await worker.chunk(offer, 0, "words")
        receipt = worker.receipt(offer, "words")
        with monkeypatch.context() as broken:
            broken.setattr(rig.services.blobs, "put", fail)
            with pytest.raises(SessionEnded) as ended:
                await worker.settle(receipt)
        assert ended.value.error is not None
        assert error_info(ended.value.error).reason == "EXCHANGE_FULL"
        await worker.vanish()
        await worker.register(held=[offer])
        assert (await worker.settle(receipt)).accepted
        assert (await rig.ended(job)).state == pb.JOB_STATE_SETTLED


async def test_what_a_crash_left_under_a_leases_name_is_replaced(rig: Rig) -> None:
    async with rig.worker() as worker:
        await rig.ready(worker)
        job = await rig.submit()
        offer = await worker.offer()
        rig.services.receipts.append([Receipt(offer.lease_id, 1, b"never sequenced")])
        rig.services.blobs.put(output_name(offer.lease_id), b"never sequenced")
        assert (await worker.run(offer, "true")).accepted
        assert (await rig.get(job, include_output=True)).output == "true"


async def test_an_unreadable_payload_fails_the_job_and_not_the_session(rig: Rig) -> None:
    job = await rig.submit()
    rig.services.blobs.erase(payload_name(rig.core.jobs[job.job_id].terms))
    async with rig.worker() as worker:
        await rig.ready(worker)
        ended = await rig.ended(job)
        assert (ended.state, ended.paid_nanos) == (pb.JOB_STATE_FAILED, 0)
        other = await rig.submit()
        assert (await worker.run(await worker.offer(), "fine")).accepted
        assert (await rig.ended(other)).state == pb.JOB_STATE_SETTLED


async def test_puts_are_bounded(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    put = rig.services.blobs.put
    guard, together = threading.Lock(), threading.Event()
    inside = most = 0

    def slow(name: str, data: bytes) -> BlobRef:
        nonlocal inside, most
        with guard:
            inside += 1
            most = max(most, inside)
            if inside == 2:
                together.set()
        assert together.wait(WITHIN_S)
        time.sleep(0.02)
        try:
            return put(name, data)
        finally:
            with guard:
                inside -= 1

    monkeypatch.setattr(rig.services.blobs, "put", slow)
    rig.services.job_blobs._puts = asyncio.Semaphore(2)
    await asyncio.gather(*(rig.submit() for _ in range(12)))
    assert most == 2
    assert job_blobs.PUTS_MAX >= 2


@pytest.mark.parametrize("bound", ["SUBMITTING_MAX", "SUBMITTING_BYTES_MAX"])
async def test_submissions_under_way_are_bounded(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, bound: str
) -> None:
    size = len(rig.request().input.SerializeToString())
    monkeypatch.setattr(job_blobs, bound, 2 if bound == "SUBMITTING_MAX" else 2 * size)
    put, gate = rig.services.blobs.put, threading.Event()

    def held(name: str, data: bytes) -> BlobRef:
        assert gate.wait(WITHIN_S)
        return put(name, data)

    monkeypatch.setattr(rig.services.blobs, "put", held)
    asking = [asyncio.create_task(rig.submit()) for _ in range(6)]
    await rig.until(lambda: sum(one.done() for one in asking) == 4)
    gate.set()
    answers = await asyncio.gather(*asking, return_exceptions=True)
    errors = [answer for answer in answers if isinstance(answer, grpc.aio.AioRpcError)]
    assert len(errors) == 4
    for error in errors:
        assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert error_info(error).reason == "OVERLOADED"
    assert len(rig.core.jobs) == 6 - len(errors)
    await rig.submit()  # room again


async def test_a_submission_goes_on_where_its_caller_gives_up(rig: Rig) -> None:
    call = rig.jobs.SubmitJob(rig.request(), timeout=0.001)
    await asyncio.gather(call, return_exceptions=True)
    keeper = rig.services.job_blobs
    await rig.until(lambda: not keeper._submissions)
    names = {payload_name(job.terms) for job in rig.core.jobs.values()}
    assert set(rig.services.blobs.ids()) == names


async def test_a_refusal_whose_caller_has_gone_is_nobodys(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Found by the simulation (seed 7657): the journal failed after the caller had given up."""
    unseen: list[dict[str, object]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: unseen.append(context))
    begun, stopped = asyncio.Event(), asyncio.Event()

    async def submit(_: object) -> None:
        begun.set()
        await stopped.wait()
        raise EngineStopped("the journal has failed")

    monkeypatch.setattr(rig.services.engine, "submit", submit)
    call = asyncio.ensure_future(rig.jobs.SubmitJob(rig.request()))
    await begun.wait()
    call.cancel()
    await asyncio.gather(call, return_exceptions=True)
    await asyncio.sleep(0.05)  # the server hears of it
    stopped.set()
    keeper = rig.services.job_blobs
    await rig.until(lambda: not keeper._submissions)
    await asyncio.sleep(0)
    gc.collect()
    assert not unseen


async def test_keyed_locks_keep_order_and_leave_nothing() -> None:
    locks: KeyedLocks[str] = KeyedLocks()
    log: list[str] = []

    async def work(key: str, name: str) -> None:
        async with locks.hold(key):
            log.append(f"{name} in")
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            log.append(f"{name} out")

    await asyncio.gather(work("a", "1"), work("a", "2"), work("a", "3"), work("b", "x"))
    alone = [entry for entry in log if not entry.startswith("x")]
    assert alone == ["1 in", "1 out", "2 in", "2 out", "3 in", "3 out"]
    assert log.index("x in") < log.index("1 out")
    assert len(locks) == 0


async def test_a_repeat_does_not_bring_an_erased_prompt_back(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job_blobs, "PAYLOAD_RETENTION_NS", 0)
    request = rig.request("secret words")
    async with rig.worker() as worker:
        await rig.ready(worker)
        job = (await rig.jobs.SubmitJob(request)).job
        await worker.run(await worker.offer(), "done")
        await rig.ended(job)
    await rig.services.job_blobs.sweep()
    assert (await rig.jobs.SubmitJob(request)).repeated_request
    assert await rig.services.job_blobs.payload(rig.core.jobs[job.job_id]) is None
