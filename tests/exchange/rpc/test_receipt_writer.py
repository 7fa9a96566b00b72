"""Receipts on their way to the store: batches, bounds, failures; and what GetReceipt finds."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import grpc
import pytest

from exchange.receipts import BATCH_RECEIPTS_MAX, Receipt, ReceiptStore, ReceiptWriteFailed
from exchange.rpc import job_blobs, receipt_writer
from exchange.rpc.errors import RpcError
from exchange.rpc.receipt_writer import ReceiptWriter
from exchange.testing.fake_worker import SessionEnded
from exchange.v1 import account_service_pb2 as pb
from exchange.v1.account_service_pb2_grpc import AccountServiceStub
from tests.exchange.rpc.rig import Calls, Rig, error_info, open_rig
from tests.waiting import WITHIN_S


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    async with open_rig(tmp_path) as found:
        yield found


def receipt(lease_id: int, size: int = 300) -> Receipt:
    return Receipt(lease_id, 1, bytes([lease_id % 256]) * size)


class SlowStore(ReceiptStore):
    """Waits before each batch until it is let go."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.begun = threading.Event()
        self.gate = threading.Event()
        self.batches: list[int] = []

    def append(self, receipts: Sequence[Receipt]) -> None:
        self.batches.append(len(receipts))
        self.begun.set()
        assert self.gate.wait(WITHIN_S)
        super().append(receipts)


async def test_receipts_that_come_together_share_a_sync(tmp_path: Path) -> None:
    with SlowStore(tmp_path) as store:
        writer = ReceiptWriter(store)
        count = BATCH_RECEIPTS_MAX + 50
        waiting = [asyncio.create_task(writer.keep(receipt(n))) for n in range(1, count + 1)]
        assert await asyncio.to_thread(store.begun.wait, WITHIN_S)
        late = asyncio.create_task(writer.keep(receipt(count + 1)))
        await asyncio.sleep(0.01)
        assert not any(task.done() for task in (*waiting, late))
        store.gate.set()
        await asyncio.gather(*waiting, late)
        assert sum(store.batches) == count + 1
        assert writer.batches == len(store.batches) <= 3
        assert await writer.get(count) == receipt(count).content
        await writer.stop()


async def test_large_receipts_make_smaller_batches(tmp_path: Path) -> None:
    with SlowStore(tmp_path) as store:
        store.gate.set()
        writer = ReceiptWriter(store)
        await asyncio.gather(*(writer.keep(receipt(n, 1 << 20)) for n in range(1, 9)))
        assert sum(store.batches) == 8
        assert max(store.batches) == 3
        await writer.stop()


async def test_waiting_receipts_are_bounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(receipt_writer, "WAITING_BYTES_MAX", 10 * 320)
    with SlowStore(tmp_path) as store:
        writer = ReceiptWriter(store)
        first = asyncio.create_task(writer.keep(receipt(1)))
        assert await asyncio.to_thread(store.begun.wait, WITHIN_S)
        tasks = [asyncio.create_task(writer.keep(receipt(n))) for n in range(2, 12)]
        await asyncio.sleep(0)
        with pytest.raises(RpcError, match="OVERLOADED"):
            await writer.keep(receipt(12))
        store.gate.set()
        await asyncio.gather(first, *tasks)
        await writer.keep(receipt(12))  # room again
        await writer.stop()


async def test_a_failed_batch_is_told_to_each_and_the_next_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ReceiptStore(tmp_path) as store:
        writer = ReceiptWriter(store)

        def fail(receipts: Sequence[Receipt]) -> None:
            raise ReceiptWriteFailed(tmp_path, OSError(28, "no space"))

        with monkeypatch.context() as broken:
            broken.setattr(store, "append", fail)
            errors = await asyncio.gather(
                *(writer.keep(receipt(n)) for n in (1, 2, 3)), return_exceptions=True
            )
        assert [e.reason for e in errors if isinstance(e, RpcError)] == ["STORAGE_FAILED"] * 3
        await writer.keep(receipt(1))
        assert store.count == 1
        await writer.stop()


async def test_who_does_not_wait_harms_nobody(tmp_path: Path) -> None:
    with SlowStore(tmp_path) as store:
        writer = ReceiptWriter(store)
        gone = asyncio.create_task(writer.keep(receipt(1)))
        stays = asyncio.create_task(writer.keep(receipt(2)))
        await asyncio.sleep(0.01)
        gone.cancel()
        store.gate.set()
        await stays
        await writer.stop()
        assert (store.get(1), store.get(2)) == (receipt(1).content, receipt(2).content)


# ---- in the exchange ----


async def settled(rig: Rig) -> tuple[int, int]:
    """A job that was run; its id and its lease's."""
    job = await rig.submit()
    async with rig.worker() as worker:
        await rig.ready(worker)
        assert (await worker.run(await worker.offer(), "some words")).accepted
    ended = await rig.ended(job)
    return ended.job_id, ended.lease_id


def accounts(rig: Rig) -> Calls:
    return Calls(AccountServiceStub(rig.channel), rig.buyer)


async def test_a_receipt_is_found_after_a_restart(tmp_path: Path) -> None:
    async with open_rig(tmp_path) as rig:
        job_id, lease_id = await settled(rig)
        before = await accounts(rig).GetReceipt(pb.GetReceiptRequest(lease_id=lease_id))
        assert before.receipt.accepted
        assert not [name for name in rig.services.blobs.ids() if "receipt" in name]
    async with open_rig(tmp_path) as rig:
        again = await accounts(rig).GetReceipt(pb.GetReceiptRequest(job_id=job_id))
        assert again == before


async def test_a_receipt_of_another_timeline_is_not_shown(rig: Rig) -> None:
    """After a restore, lease ids are given again; the old receipt is under another fence."""
    _, lease_id = await settled(rig)
    stored = bytearray(rig.services.receipts.get(lease_id))
    stored[18 + 8] ^= 1  # the fence's epoch
    rig.services.receipts.append([Receipt(lease_id, 1, bytes(stored))])
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await accounts(rig).GetReceipt(pb.GetReceiptRequest(lease_id=lease_id))
    assert error_info(caught.value).metadata["part"] == "receipt"


async def test_a_receipt_that_cannot_be_read_is_told_as_none(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, lease_id = await settled(rig)

    def fail(lease_id: int) -> bytes:
        raise ReceiptWriteFailed(Path("receipts"), OSError(5, "broken"))

    monkeypatch.setattr(rig.services.receipts, "get", fail)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await accounts(rig).GetReceipt(pb.GetReceiptRequest(lease_id=lease_id))
    assert error_info(caught.value).reason == "UNKNOWN_LEASE"


async def test_old_receipts_are_swept(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def expire(before_ns: int) -> int:
        asked.append(before_ns)
        return 3

    monkeypatch.setattr(rig.services.receipts, "expire", expire)
    assert await rig.services.job_blobs.sweep_receipts() == 3
    age_ns = rig.exchange.clock.now_ns() - asked[0]
    assert 0 <= age_ns - job_blobs.RECEIPT_RETENTION_NS < 10 * 10**9

    def fail(before_ns: int) -> int:
        raise ReceiptWriteFailed(Path("receipts"), OSError(5, "broken"))

    monkeypatch.setattr(rig.services.receipts, "expire", fail)
    assert await rig.services.job_blobs.sweep_receipts() == 0


async def test_a_receipt_that_cannot_be_stored_can_be_repeated(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(receipts: Sequence[Receipt]) -> None:
        raise ReceiptWriteFailed(Path("receipts"), OSError(28, "no space"))

    async with rig.worker() as worker:
        await rig.ready(worker)
        job = await rig.submit()
        offer = await worker.offer()
        await worker.begin(offer)
        await worker.chunk(offer, 0, "words")
        signed = worker.receipt(offer, "words")
        with monkeypatch.context() as broken:
            broken.setattr(rig.services.receipts, "append", fail)
            with pytest.raises(SessionEnded) as ended:
                await worker.settle(signed)
        assert ended.value.error is not None
        assert error_info(ended.value.error).reason == "STORAGE_FAILED"
        await worker.vanish()
        await worker.register(held=[offer])
        assert (await worker.settle(signed)).accepted
        assert (await rig.ended(job)).paid_nanos > 0
