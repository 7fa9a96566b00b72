"""Engine and gateway as two processes: who holds what, and what the death of either costs."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import grpc
import pytest

from exchange.client import AsyncClient, RetryPolicy, Side
from exchange.core.commands import Role
from exchange.metering.cards import INSTANT
from exchange.rpc import followed
from exchange.server import GATEWAY_COMMAND, Server, ServerConfig, ServerFailed, gateway_process
from exchange.server.gateway_process import GatewayProcess
from exchange.testing import InProcessExchange, metadata
from exchange.testing.fake_worker import FakeWorker
from exchange.v1 import job_service_pb2 as jobs_pb
from exchange.v1 import order_service_pb2 as orders_pb
from exchange.v1.job_service_pb2_grpc import JobServiceStub
from exchange.v1.market_pb2 import SIDE_BID
from exchange.v1.order_service_pb2_grpc import OrderServiceStub
from tests.exchange.rpc.rig import error_info
from tests.integration.crash_site import CrashSite, gateway_of
from tests.waiting import WITHIN_S

pytestmark = pytest.mark.integration

QUICK = RetryPolicy(first_s=0.02, longest_s=0.1, reconnect_s=WITHIN_S)


@pytest.fixture
async def exchange(tmp_path: Path) -> AsyncIterator[InProcessExchange]:
    """An exchange whose engine is in this process, and whose gateway is not."""
    async with InProcessExchange(tmp_path, http=True, gateway=True) as exchange:
        yield exchange
        exchange.core.check()


def gateway(exchange: InProcessExchange) -> GatewayProcess:
    found = exchange.server.edges
    assert isinstance(found, GatewayProcess)
    return found


def uses(pid: int, library: str) -> bool:
    """Whether a process has loaded anything of this name."""
    return library in Path(f"/proc/{pid}/maps").read_text()


def alive(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


async def restarted(exchange: InProcessExchange, count: int) -> None:
    """Wait until the gateway was started again so many times, and listens."""
    async with asyncio.timeout(WITHIN_S):
        while gateway(exchange).restarts < count or not gateway(exchange).listening:  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def test_a_killed_gateway_comes_back_and_nothing_is_lost(exchange: InProcessExchange) -> None:
    await exchange.paper_instrument("paper")
    key = await exchange.trader("alice")
    address = exchange.address
    async with (
        AsyncClient(address, key, retry=QUICK) as client,
        await client.orders.stream() as stream,
    ):
        results = []
        for kill in range(3):
            for _ in range(200):
                results.append(stream.place("paper", Side.BID, 1, 1))
                await asyncio.sleep(0.0005)
            os.kill(gateway(exchange).pid, signal.SIGKILL)
            await restarted(exchange, kill + 1)
        answered = await asyncio.wait_for(asyncio.gather(*results), WITHIN_S)
    assert exchange.address == address
    assert len({result.order_id for result in answered}) == 600
    assert set(exchange.core.orders) == {result.order_id for result in answered}


async def test_orders_of_a_guarded_stream_go_with_the_gateway(exchange: InProcessExchange) -> None:
    await exchange.paper_instrument("paper")
    key = await exchange.trader("alice")
    async with exchange.channel() as channel:
        call: Any = OrderServiceStub(channel).Trade(metadata=metadata(key))
        order = orders_pb.NewOrder(
            client_order_id=exchange.id(),
            instrument_id=1,
            side=SIDE_BID,
            price_nanos=1,
            quantity_mflop=1,
        )
        request = orders_pb.TradeRequest(
            request_id=1,
            instructions=[orders_pb.Instruction(place=order)],
            cancel_on_disconnect=True,
        )
        await call.write(request)
        await call.read()
        assert len(exchange.core.orders) == 1
        os.kill(gateway(exchange).pid, signal.SIGKILL)
        await restarted(exchange, 1)
        async with asyncio.timeout(WITHIN_S):
            while exchange.core.orders:  # noqa: ASYNC110
                await asyncio.sleep(0.01)


async def test_a_job_outlives_the_gateway(exchange: InProcessExchange) -> None:
    await exchange.batch_instrument(INSTANT)
    buyer = await exchange.trader("buyer", paper=False)
    seller = await exchange.key("seller", Role.WORKER)
    request = jobs_pb.SubmitJobRequest(
        client_job_id=exchange.id(),
        model="instant",
        input=jobs_pb.JobInput(prompt="one two", output_tokens_max=16),
        value_nanos=10**6,
    )
    async with exchange.channel() as channel, FakeWorker(channel, seller) as worker:
        await worker.register()
        await worker.quote("instant/cpu/interactive", 1_000)
        jobs: Any = JobServiceStub(channel)
        job = (await jobs.SubmitJob(request, metadata=metadata(buyer))).job
        await worker.offer()
        os.kill(gateway(exchange).pid, signal.SIGKILL)
        await restarted(exchange, 1)
        private_key = worker.private_key
    async with (
        exchange.channel() as channel,
        FakeWorker(channel, seller, private_key=private_key) as worker,
    ):
        await worker.register()
        await worker.quote("instant/cpu/interactive", 1_000)
        # The same offer again, or that of the next attempt where it has expired meanwhile.
        while not (await worker.run(await worker.offer(), "done")).accepted:
            await worker.quote("instant/cpu/interactive", 1_000)
        jobs = JobServiceStub(channel)
        watch = jobs.WatchJob(jobs_pb.WatchJobRequest(job_id=job.job_id), metadata=metadata(buyer))
        async with asyncio.timeout(WITHIN_S):
            updates = [update async for update in watch]
    assert updates[-1].job.state == jobs_pb.JOB_STATE_SETTLED


@pytest.mark.parametrize("followed_yet", [False, True])
async def test_a_streamed_answer_ends_with_the_gateway(
    exchange: InProcessExchange, monkeypatch: pytest.MonkeyPatch, followed_yet: bool
) -> None:
    """Whoever dropped the connection: a job that nobody reads does not run to its budget."""
    monkeypatch.setattr(followed, "ABANDONED_S", 0.5)
    await exchange.batch_instrument(INSTANT)
    buyer = await exchange.trader("buyer", paper=False)
    asked = {"model": "instant", "prompt": "x", "stream": True, "exchange": {"limit": 1}}
    base, headers = f"http://{exchange.http_address}", {"Authorization": f"Bearer {buyer}"}
    services = exchange.server.services
    async with aiohttp.ClientSession(base, headers=headers) as http:
        asking = asyncio.create_task(http.post("/v1/completions", json=asked))
        async with asyncio.timeout(WITHIN_S):
            while not exchange.core.jobs:  # noqa: ASYNC110
                await asyncio.sleep(0)
            while followed_yet and not services.outputs._watchers:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        os.kill(gateway(exchange).pid, signal.SIGKILL)
        (job,) = exchange.core.jobs.values()
        async with asyncio.timeout(WITHIN_S):
            while job.is_open:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
    assert (job.state.name, job.paid_nanos) == ("CANCELLED", 0)


async def test_the_page_and_the_metrics_are_the_engines(exchange: InProcessExchange) -> None:
    base = f"http://{exchange.http_address}"
    async with aiohttp.ClientSession(base) as http:
        async with http.get("/healthz") as answer:
            assert await answer.json() == {"status": "ok"}
        async with http.get("/v1/overview") as answer:
            assert (await answer.json())["sequence"] == exchange.core.sequence
        async with http.get("/metrics") as answer:
            lines = (await answer.text()).splitlines()
    names = [line.split()[2] for line in lines if line.startswith("# TYPE")]
    assert len(names) == len(set(names)), "a family is told twice"
    assert {"flopex_up", "flopex_link_bytes", "flopex_engine_process_cpu_seconds"} <= {
        name.removesuffix("_total") for name in names
    }


async def test_a_gateway_that_does_not_stay_up_stops_the_exchange(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gateway_process, "RESTARTS_MAX", 1)
    async with InProcessExchange(tmp_path, gateway=True) as exchange:
        waiting = asyncio.create_task(exchange.server.wait())
        for count in (1, 2):
            os.kill(gateway(exchange).pid, signal.SIGKILL)
            if count == 1:
                await restarted(exchange, count)
        with pytest.raises(ServerFailed, match="gateway"):
            await asyncio.wait_for(waiting, WITHIN_S)


async def test_an_address_in_use_is_said_so(tmp_path: Path) -> None:
    config = ServerConfig(tmp_path / "one", "127.0.0.1:0", gateway_command=GATEWAY_COMMAND)
    first = Server(config)
    await first.start()
    second = Server(ServerConfig(tmp_path / "two", first.address, gateway_command=GATEWAY_COMMAND))
    with pytest.raises(OSError, match="cannot listen"):
        await second.start()
    await first.stop(0)


@contextlib.asynccontextmanager
async def site(directory: Path) -> AsyncIterator[CrashSite]:
    """`flopex serve` as a user starts it, with a market."""
    found = CrashSite(directory, 1)
    try:
        await found.start()
        await found.furnish()
        yield found
    finally:
        await found.stop()


async def test_the_engines_process_has_no_grpc(tmp_path: Path) -> None:
    async with site(tmp_path) as found:
        await found.trade()
        assert not uses(found.pid, "grpc")
        assert not uses(found.pid, "aiohttp")
        assert uses(gateway_of(found.pid), "grpc")


async def test_a_killed_engine_is_told_to_callers_and_takes_the_gateway_along(
    tmp_path: Path,
) -> None:
    async with site(tmp_path) as found:
        call: Any = OrderServiceStub(found.channel).Trade(metadata=metadata(found.keys["player"]))
        await call.write(orders_pb.TradeRequest(request_id=1, cancel_on_disconnect=True))
        await call.read()
        child = gateway_of(found.pid)
        await found.kill()
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await asyncio.wait_for(call.read(), WITHIN_S)
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        assert error_info(caught.value).reason == "ENGINE_DOWN"
        async with asyncio.timeout(WITHIN_S):
            while alive(child):  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        await found.start()
        await found.trade()


async def test_signals_to_the_whole_group_drain_once(tmp_path: Path) -> None:
    """As a service manager sends them: to both processes."""
    async with site(tmp_path) as found:
        engine, child = found.pid, gateway_of(found.pid)
        for pid in (child, engine):
            os.kill(pid, signal.SIGTERM)
        assert await found.ended() == 0
        assert not alive(child)
