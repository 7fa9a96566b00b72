"""Workers that lie, err or vanish, end to end: the buyer pays nothing for it and gets an answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from exchange.blobs import BlobNotFound
from exchange.core.limits import TRACE_BYTES_MAX
from exchange.metering import signing
from exchange.metering.receipts import parse_signed_bytes
from exchange.metering.traces import DenseTrace
from exchange.rpc import outputs
from exchange.rpc.job_blobs import output_name
from exchange.rpc.sessions import SessionConfig
from exchange.testing.fake_worker import FakeWorker
from exchange.v1 import job_service_pb2 as jobs_pb
from exchange.v1 import worker_service_pb2 as pb
from exchange.v1.reason_pb2 import Reason
from tests.exchange.rpc.rig import FUNDS_NANOS, INSTRUMENT, MS, Rig, open_rig

pytestmark = pytest.mark.integration

TEXT = "four words of answer"


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    async with open_rig(tmp_path) as found:
        yield found


async def running(rig: Rig, worker: FakeWorker) -> tuple[jobs_pb.Job, pb.LeaseOffer]:
    """A job whose output the worker has sent, and no receipt yet."""
    job = await rig.submit()
    offer = await worker.offer()
    await worker.begin(offer)
    await worker.chunk(offer, 0, TEXT)
    await rig.until(lambda: rig.services.outputs.tokens(job.job_id))
    return job, offer


async def the_next_attempt_is_paid(rig: Rig, worker: FakeWorker, job: jobs_pb.Job) -> None:
    """Nothing was billed for the first attempt, and the second goes as if nothing had been."""
    assert rig.balance("seller") == 0
    again = await worker.offer()
    assert again.attempt == 2
    result = await worker.run(again, "an honest answer")
    assert result.accepted
    ended = await rig.ended(job)
    assert ended.state == jobs_pb.JOB_STATE_SETTLED
    assert ended.paid_nanos == result.paid_nanos == rig.balance("seller")
    assert rig.balance("buyer") == FUNDS_NANOS - result.paid_nanos
    assert (await rig.get(job, include_output=True)).output == "an honest answer"


LIES: list[tuple[str, dict[str, Any], str]] = [
    ("a bad signature", {"signature": bytes(64)}, "RECEIPT_BAD_SIGNATURE"),
    ("a short signature", {"signature": b"x"}, "RECEIPT_BAD_SIGNATURE"),
    ("another model", {"model_digest": bytes(32)}, "RECEIPT_WRONG_MODEL"),
    ("another input", {"input_digest": bytes(32)}, "RECEIPT_WRONG_INPUT"),
    ("another output", {"output_digest": bytes(32)}, "RECEIPT_WRONG_OUTPUT"),
    ("more FLOPs than the trace", {"flops": 10**9}, "RECEIPT_FLOPS_MISMATCH"),
    ("over the lease", {"done": DenseTrace(3, 10**6)}, "RECEIPT_OVER_BUDGET"),
    ("more output than it sent", {"done": DenseTrace(3, 20)}, "RECEIPT_TOKENS_IMPLAUSIBLE"),
    ("a longer prompt than there is", {"done": DenseTrace(14, 3)}, "RECEIPT_TOKENS_IMPLAUSIBLE"),
    ("no trace", {"trace": b"nonsense"}, "RECEIPT_MALFORMED"),
    ("its engine failed", {"cause": jobs_pb.STOP_CAUSE_FAILED}, "ENGINE_FAILED"),
]


@pytest.mark.parametrize(("lie", "reason"), [pytest.param(x, r, id=n) for n, x, r in LIES])
async def test_a_false_receipt_fails_the_attempt(
    rig: Rig, lie: dict[str, Any], reason: str
) -> None:
    async with rig.worker() as worker:
        await rig.ready(worker)
        job, offer = await running(rig, worker)
        receipt = worker.receipt(offer, TEXT, **lie)
        result = await worker.settle(receipt)
        assert (result.accepted, result.paid_nanos) == (False, 0)
        assert Reason.Name(result.reason) == f"REASON_{reason}"
        # The receipt is recorded; the output that nobody vouches for is not kept.
        signed = rig.services.receipts.get(offer.lease_id)[:-64]
        assert parse_signed_bytes(signed).lease_id == offer.lease_id
        await rig.until(lambda: not kept(rig, output_name(offer.lease_id)))
        # The same receipt again gets the same answer.
        assert await worker.settle(receipt) == result
        await the_next_attempt_is_paid(rig, worker, job)


def kept(rig: Rig, name: str) -> bool:
    try:
        rig.services.blobs.stat(name)
    except BlobNotFound:
        return False
    return True


@pytest.mark.parametrize(
    "part",
    [
        {"model_digest": b"short"},
        {"output_digest": b""},
        {"trace": bytes(TRACE_BYTES_MAX + 1)},
        {"cause": 99},
        {"cause": 0},
    ],
)
async def test_a_receipt_that_cannot_have_been_signed(rig: Rig, part: dict[str, Any]) -> None:
    async with rig.worker() as worker:
        await rig.ready(worker)
        job, offer = await running(rig, worker)
        receipt = worker.receipt(offer, TEXT)
        for field, value in part.items():
            setattr(receipt, field, value)
        result = await worker.settle(receipt)
        assert result.reason == Reason.REASON_RECEIPT_BAD_SIGNATURE
        await the_next_attempt_is_paid(rig, worker, job)


async def test_a_receipt_signed_with_another_key(rig: Rig) -> None:
    async with rig.worker() as worker:
        await rig.ready(worker)
        job, offer = await running(rig, worker)
        honest, worker.private_key = worker.private_key, signing.generate_key()
        result = await worker.settle(worker.receipt(offer, TEXT))
        worker.private_key = honest
        assert result.reason == Reason.REASON_RECEIPT_BAD_SIGNATURE
        await the_next_attempt_is_paid(rig, worker, job)


async def test_somebody_elses_lease_cannot_be_touched(rig: Rig) -> None:
    """Neither steps nor output nor a receipt; the rightful worker notices nothing."""
    async with rig.worker("honest") as honest, rig.worker("thief") as thief:
        await rig.ready(honest)
        await thief.register()
        job = await rig.submit()
        offer = await honest.offer()
        await thief.accept(offer)
        assert (await thief.refusal()).reason == Reason.REASON_NOT_OWNER
        await honest.begin(offer)
        await rig.until(lambda: rig.state(job) == "RUNNING")
        await thief.start(offer)
        assert (await thief.refusal()).reason == Reason.REASON_NOT_OWNER
        await thief.chunk(offer, 0, "poison")
        assert (await thief.refusal()).reason == Reason.REASON_NOT_OWNER
        await thief.decline(offer)
        assert (await thief.refusal()).reason == Reason.REASON_NOT_OWNER
        stolen = await thief.settle(thief.receipt(offer, "poison"))
        assert (stolen.accepted, stolen.reason) == (False, Reason.REASON_NOT_OWNER)
        await honest.chunk(offer, 0, TEXT)
        assert (await honest.settle(honest.receipt(offer, TEXT))).accepted
        # Nor can a receipt that was paid be cashed again by another.
        replayed = await thief.settle(honest.receipt(offer, TEXT))
        assert not replayed.accepted
        ended = await rig.ended(job)
        assert (ended.state, ended.worker) == (jobs_pb.JOB_STATE_SETTLED, "honest")
        assert (await rig.get(job, include_output=True)).output == TEXT
        signed = rig.services.receipts.get(offer.lease_id)
        assert signing.verify(honest.public_key, signed[-64:], signed[:-64])


@pytest.mark.parametrize(
    ("epoch", "sequence"), [(0, 0), (1, 1), (2, 0)], ids=["none", "old", "epoch"]
)
async def test_an_old_fence_changes_nothing(rig: Rig, epoch: int, sequence: int) -> None:
    async with rig.worker() as worker:
        await rig.ready(worker)
        job, offer = await running(rig, worker)
        forged = pb.LeaseOffer()
        forged.CopyFrom(offer)
        forged.fence.CopyFrom(pb.Fence(epoch=epoch, sequence=sequence))
        await worker.chunk(forged, 1, "more")
        assert (await worker.refusal()).reason == Reason.REASON_STALE_FENCE
        refused = await worker.settle(worker.receipt(forged, TEXT))
        assert refused.reason == Reason.REASON_STALE_FENCE
        assert (await worker.settle(worker.receipt(offer, TEXT))).accepted
        assert (await rig.get(job, include_output=True)).output == TEXT


async def test_unknown_leases_are_refused(rig: Rig) -> None:
    async with rig.worker() as worker:
        await worker.register()
        nothing = pb.LeaseOffer(lease_id=2**63, fence=pb.Fence(epoch=1, sequence=2**63))
        for step in (worker.accept, worker.start, worker.decline):
            await step(nothing)
            refusal = await worker.refusal()
            assert (refusal.lease_id, refusal.reason) == (2**63, Reason.REASON_UNKNOWN_LEASE)
        await worker.chunk(nothing, 0, "x")
        assert (await worker.refusal()).reason == Reason.REASON_UNKNOWN_LEASE
        result = await worker.settle(worker.receipt(nothing, "x"))
        assert result.reason == Reason.REASON_UNKNOWN_LEASE


async def test_steps_out_of_order_are_refused(rig: Rig) -> None:
    async with rig.worker() as worker:
        await rig.ready(worker)
        job = await rig.submit()
        offer = await worker.offer()
        await worker.chunk(offer, 0, "early")
        assert (await worker.refusal()).reason == Reason.REASON_LEASE_STATE
        assert (await worker.settle(worker.receipt(offer, ""))).reason == Reason.REASON_LEASE_STATE
        await worker.start(offer)
        assert (await worker.refusal()).reason == Reason.REASON_LEASE_STATE
        await worker.accept(offer)
        await worker.accept(offer)
        assert (await worker.refusal()).reason == Reason.REASON_LEASE_STATE
        await worker.start(offer)
        await worker.chunk(offer, 1, "gap")
        assert (await worker.refusal()).reason == Reason.REASON_FIELD_INVALID
        await worker.chunk(offer, 0, TEXT)
        assert (await worker.settle(worker.receipt(offer, TEXT))).accepted
        assert (await rig.get(job, include_output=True)).output == TEXT
        await worker.chunk(offer, 1, "late")
        assert (await worker.refusal()).reason == Reason.REASON_LEASE_CLOSED


async def test_output_without_end_is_stopped(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outputs, "OUTPUT_BYTES_MAX", 200)
    async with rig.worker() as worker:
        await rig.ready(worker)
        job, offer = await running(rig, worker)
        for index in range(1, 4):
            await worker.chunk(offer, index, "x" * 50)
        refusal = await worker.refusal()
        assert (refusal.lease_id, refusal.reason) == (offer.lease_id, Reason.REASON_FIELD_INVALID)
        result = await worker.settle(worker.receipt(offer, TEXT + "x" * 150))
        assert result.reason == Reason.REASON_RECEIPT_WRONG_OUTPUT
        await the_next_attempt_is_paid(rig, worker, job)


async def test_tokens_that_no_text_shows_are_not_paid(rig: Rig) -> None:
    async with rig.worker() as worker:
        await rig.ready(worker)
        job = await rig.submit()
        offer = await worker.offer()
        await worker.begin(offer)
        await worker.chunk(offer, 0, "abc", tokens=2**32 - 1)
        receipt = worker.receipt(offer, "abc", DenseTrace(3, 14))
        result = await worker.settle(receipt)
        assert result.reason == Reason.REASON_RECEIPT_TOKENS_IMPLAUSIBLE
        await the_next_attempt_is_paid(rig, worker, job)


async def test_a_receipt_after_its_time_pays_nothing(rig: Rig) -> None:
    async with rig.worker() as worker:
        await rig.ready(worker)
        job, offer = await running(rig, worker)
        await rig.jobs.CancelJob(jobs_pb.CancelJobRequest(job_id=job.job_id))
        await worker.receive("cancel")
        revoke = (await worker.receive("revoke")).revoke  # settle_by: two seconds later
        assert (revoke.lease_id, revoke.reason) == (offer.lease_id, Reason.REASON_RECEIPT_TIMEOUT)
        result = await worker.settle(worker.receipt(offer, TEXT))
        assert result.reason == Reason.REASON_RECEIPT_LATE
        ended = await rig.ended(job)
        assert (ended.state, ended.paid_nanos) == (jobs_pb.JOB_STATE_CANCELLED, 0)
        assert rig.balance("buyer") == FUNDS_NANOS


async def test_a_repeated_receipt_is_paid_once(rig: Rig) -> None:
    async with rig.worker() as worker:
        await rig.ready(worker)
        job, offer = await running(rig, worker)
        receipt = worker.receipt(offer, TEXT)
        for _ in range(3):
            await worker.send(receipt=receipt)
        results = [(await worker.receive("receipt_result")).receipt_result for _ in range(3)]
        assert results[0].accepted
        assert results[0] == results[1] == results[2]
        assert (await rig.ended(job)).paid_nanos == results[0].paid_nanos == rig.balance("seller")
        # Another receipt for the same lease gets the first one's answer and replaces nothing.
        other = worker.receipt(offer, "a dearer answer", DenseTrace(3, 12))
        assert await worker.settle(other) == results[0]
        signed = rig.services.receipts.get(offer.lease_id)
        assert signed[-64:] == receipt.signature


async def test_an_unanswered_receipt_is_answered_after_reconnecting(rig: Rig) -> None:
    async with rig.worker() as worker:
        await rig.ready(worker)
        job, offer = await running(rig, worker)
        receipt = worker.receipt(offer, TEXT)
        await worker.send(receipt=receipt)
        await worker.vanish()
        await worker.register(held=[offer])
        assert (await worker.settle(receipt)).accepted
        assert (await rig.ended(job)).paid_nanos == rig.balance("seller") > 0


async def test_a_worker_that_vanishes_loses_its_lease(tmp_path: Path) -> None:
    soon = SessionConfig(reconnect_within_ns=200 * MS)
    async with (
        open_rig(tmp_path, soon) as rig,
        rig.worker("gone") as gone,
        rig.worker("other") as other,
    ):
        await rig.ready(gone)
        job, offer = await running(rig, gone)
        await rig.ready(other, price=2_000)
        await gone.vanish()
        again = await other.offer()
        assert (again.attempt, again.lease_id) == (2, offer.lease_id + 1)
        # It comes back too late: its lease is over, its receipt pays nothing.
        assert not (await gone.register(held=[offer])).resumed
        late = await gone.settle(gone.receipt(offer, TEXT))
        assert late.reason == Reason.REASON_RECEIPT_LATE
        assert (await other.run(again, "done by another")).accepted
        ended = await rig.ended(job)
        assert (ended.worker, ended.attempt) == ("other", 2)
        assert (await rig.get(job, include_output=True)).output == "done by another"
        assert rig.core.workers[1].leases_failed == 1


async def test_a_job_that_fails_on_every_attempt_ends_unpaid(rig: Rig) -> None:
    async with rig.worker() as worker:
        await rig.ready(worker)
        job = await rig.submit()
        for _ in range(5):
            await worker.decline(await worker.offer())
            await worker.quote(INSTRUMENT, 1_000)
        ended = await rig.ended(job)
        assert (ended.state, ended.paid_nanos) == (jobs_pb.JOB_STATE_FAILED, 0)
        assert (ended.fault, ended.attempt) == (jobs_pb.FAULT_WORKER, 5)
        assert rig.balance("buyer") == FUNDS_NANOS


async def test_a_crowd_of_liars_costs_nobody_anything(rig: Rig) -> None:
    """Many sessions at once say what is not so; the exchange answers each and stays in balance."""
    workers = [rig.worker(f"liar-{number}") for number in range(8)]
    for worker in workers:
        await worker.register()

    async def lie(worker: FakeWorker, number: int) -> None:
        offer = pb.LeaseOffer(lease_id=number, fence=pb.Fence(epoch=1, sequence=number))
        for _ in range(20):
            await worker.accept(offer)
            await worker.chunk(offer, 0, "x")
            await worker.quote(INSTRUMENT, 3, 2, 1)
            await worker.send(receipt=worker.receipt(offer, "x"))
        for kind in ("refusal", "receipt_result"):
            for _ in range(60 if kind == "refusal" else 20):
                await worker.receive(kind)

    await asyncio.gather(*(lie(worker, number) for number, worker in enumerate(workers, 1)))
    for worker in workers:
        await worker.vanish()
    assert rig.balance("seller") == 0
