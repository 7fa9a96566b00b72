"""What owners and the operator ask about workers."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest

from exchange.core.commands import Role
from exchange.core.events import WorkerState
from exchange.testing.fake_worker import SessionEnded
from exchange.v1 import worker_service_pb2 as pb
from exchange.v1.worker_service_pb2_grpc import WorkerServiceStub
from tests.exchange.rpc.rig import INSTRUMENT, QUICK, Calls, Rig, error_info, open_rig

pytestmark = pytest.mark.usefixtures("both_forms")


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    async with open_rig(tmp_path) as found:
        yield found


async def test_an_owner_sees_its_workers(rig: Rig) -> None:
    async with rig.worker("one", slots=(2, 1)) as worker:
        await rig.ready(worker, price=7)
        await rig.until(lambda: rig.core.workers[1].quotes)
        await rig.submit()
        offer = await worker.offer()
        found = (await rig.workers.ListWorkers(pb.ListWorkersRequest())).workers
        assert len(found) == 1
        one = found[0]
        assert (one.name, one.connected, list(one.slots)) == ("one", True, [2, 1])
        assert (list(one.slots_in_use), list(one.lease_ids)) == ([1, 0], [offer.lease_id])
        assert dict(one.facts) == {"kind": "fake"}
        assert [(q.instrument, q.pool, list(q.prices_nanos)) for q in one.quotes] == [
            (INSTRUMENT, 0, [7, 7])
        ]
        result = await worker.run(offer, "three little words")
    one = (await rig.workers.ListWorkers(pb.ListWorkersRequest())).workers[0]
    assert (one.leases_settled, one.leases_failed) == (1, 0)
    assert (one.earned_mflop, one.earned_nanos) == (5, result.paid_nanos)
    await rig.until(lambda: not rig.services.sessions.is_connected(1))


async def test_strangers_see_nothing_and_the_operator_sees_all(rig: Rig) -> None:
    async with rig.worker() as worker:
        await worker.register()
        stranger = await rig.exchange.key("stranger", Role.WORKER)
        for key, count in ((stranger, 0), (rig.exchange.operator_key, 1)):
            stub = Calls(WorkerServiceStub(rig.channel), key)
            assert len((await stub.ListWorkers(pb.ListWorkersRequest())).workers) == count


@pytest.mark.parametrize("by_operator", [False, True])
async def test_pause_and_resume(rig: Rig, by_operator: bool) -> None:
    key = rig.exchange.operator_key if by_operator else rig.seller
    stub = Calls(WorkerServiceStub(rig.channel), key)
    async with rig.worker() as worker:
        await rig.ready(worker)
        named = {"worker_id": 1} if by_operator else {"name": "fake"}
        pause = pb.SetWorkerRequest(action=pb.WORKER_ACTION_PAUSE, **named)
        answer = await stub.SetWorker(pause)
        assert answer.worker.state == pb.WORKER_STATE_PAUSED
        assert (await worker.receive("change")).change.state == pb.WORKER_STATE_PAUSED
        await worker.quote(INSTRUMENT, 5)
        assert (await worker.refusal()).instrument == INSTRUMENT
        await worker.vanish()
        assert (await worker.register()).state == pb.WORKER_STATE_PAUSED
        resume = pb.SetWorkerRequest(action=pb.WORKER_ACTION_RESUME, **named)
        assert (await stub.SetWorker(resume)).worker.state == pb.WORKER_STATE_READY


@pytest.mark.parametrize(
    ("request_", "code", "reason"),
    [
        (
            pb.SetWorkerRequest(worker_id=9, action=pb.WORKER_ACTION_PAUSE),
            grpc.StatusCode.NOT_FOUND,
            "UNKNOWN_WORKER",
        ),
        (
            pb.SetWorkerRequest(name="nobody", action=pb.WORKER_ACTION_PAUSE),
            grpc.StatusCode.NOT_FOUND,
            "UNKNOWN_WORKER",
        ),
        (pb.SetWorkerRequest(worker_id=1), grpc.StatusCode.INVALID_ARGUMENT, "FIELD_INVALID"),
    ],
)
async def test_a_bad_request_says_why(
    rig: Rig, request_: pb.SetWorkerRequest, code: grpc.StatusCode, reason: str
) -> None:
    async with rig.worker() as worker:
        await worker.register()
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await rig.workers.SetWorker(request_)
    assert caught.value.code() is code
    assert error_info(caught.value).reason == reason


async def test_another_owners_worker_is_not_to_be_paused(rig: Rig) -> None:
    async with rig.worker() as worker:
        await worker.register()
        key = await rig.exchange.key("stranger", Role.WORKER)
        stub = Calls(WorkerServiceStub(rig.channel), key)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.SetWorker(pb.SetWorkerRequest(worker_id=1, action=pb.WORKER_ACTION_PAUSE))
        assert error_info(caught.value).reason == "NOT_OWNER"


async def test_knocking_with_a_wrong_key_keeps_no_lost_worker_alive(tmp_path: Path) -> None:
    async with open_rig(tmp_path, QUICK) as rig:
        worker = rig.worker()
        await worker.register()
        assert worker.registered is not None
        found = rig.core.workers[worker.registered.worker_id]
        await worker.vanish()

        async def knock() -> None:
            while True:
                async with rig.worker() as other:
                    with pytest.raises(SessionEnded):
                        await other.register()

        knocking = asyncio.create_task(knock())
        await rig.until(lambda: found.state is WorkerState.LOST)
        knocking.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await knocking
