"""A start from a snapshot replays the tail only, and remembers what a replay of all would."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from exchange.core.commands import Role
from exchange.metering.cards import INSTANT
from exchange.recovery import GENESIS, follow
from exchange.testing import InProcessExchange, metadata
from exchange.testing.fake_worker import FakeWorker
from exchange.v1 import job_service_pb2 as jobs_pb
from exchange.v1 import market_data_service_pb2 as data_pb
from exchange.v1 import market_pb2 as market
from exchange.v1 import order_service_pb2 as orders_pb
from exchange.v1.job_service_pb2_grpc import JobServiceStub
from exchange.v1.market_data_service_pb2_grpc import MarketDataServiceStub
from exchange.v1.order_service_pb2_grpc import OrderServiceStub
from tests.waiting import WITHIN_S

pytestmark = pytest.mark.integration

TRADES = 5


async def trade(exchange: InProcessExchange, channel: Any, key: str, price_nanos: int) -> None:
    """One trade on the paper book."""
    for side in (market.SIDE_ASK, market.SIDE_BID):
        order = orders_pb.NewOrder(
            client_order_id=exchange.id(),
            instrument_id=exchange.core.instrument_by_name["paper"],
            side=side,
            self_trade_prevention=market.SELF_TRADE_PREVENTION_DECREMENT,
            price_nanos=price_nanos,
            quantity_mflop=10,
        )
        request = orders_pb.PlaceOrderRequest(order=order)
        await OrderServiceStub(channel).PlaceOrder(request, metadata=metadata(key))
        key = await exchange.trader("other")


async def settle_job(exchange: InProcessExchange, channel: Any, buyer: str) -> int:
    """A job that a worker has done; its id."""
    worker_key = await exchange.key("seller", Role.WORKER)
    async with FakeWorker(channel, worker_key) as worker:
        await worker.register()
        await worker.quote("instant/cpu/interactive", 1_000)
        request = jobs_pb.SubmitJobRequest(
            client_job_id=exchange.id(),
            model="instant",
            tier="interactive",
            input=jobs_pb.JobInput(prompt="hello", output_tokens_max=16),
            quantity_mflop=1_000,
            value_nanos=10_000,
            deadline_ns=60 * 10**9,
        )
        answer = await JobServiceStub(channel).SubmitJob(request, metadata=metadata(buyer))
        await worker.run(await worker.offer(), "one ", "two ", "three")
        job_id: int = answer.job.job_id
        return job_id


async def remembered(channel: Any, key: str, job_id: int, buyer: str) -> tuple[list[int], Any]:
    """Prices of recent trades of all instruments, and the job."""
    request = data_pb.WatchTradesRequest(recent=1_000)
    watching = MarketDataServiceStub(channel).WatchTrades(request, metadata=metadata(key))
    async with asyncio.timeout(WITHIN_S):
        first = await watching.read()
    watching.cancel()
    found = await JobServiceStub(channel).GetJob(
        jobs_pb.GetJobRequest(job_id=job_id), metadata=metadata(buyer)
    )
    return [t.price_nanos for t in first.trades], found.job


async def test_trades_and_tokens_from_before_the_snapshot_are_there(tmp_path: Path) -> None:
    async with InProcessExchange(tmp_path) as exchange:
        await exchange.paper_instrument()
        await exchange.batch_instrument(INSTANT)
        key, buyer = await exchange.trader("one"), await exchange.trader("buyer", paper=False)
        async with exchange.channel() as channel:
            for price_nanos in range(1, TRADES + 1):
                await trade(exchange, channel, key, price_nanos)
            job_id = await settle_job(exchange, channel, buyer)
            prices, job = await remembered(channel, key, job_id, buyer)
        await exchange.server.services.ask(lambda _: None)  # all of it is in the read model
        assert len(prices) == TRADES + 1
        assert job.output_tokens > 0
    taken = follow(tmp_path / "journal", tmp_path / "snapshots", GENESIS)
    assert taken.path is not None

    async with InProcessExchange(tmp_path) as exchange:
        recovered = exchange.server.recovered
        assert recovered.snapshot == taken.path
        assert recovered.replayed_from == taken.sequence + 1
        assert recovered.records == 0
        async with exchange.channel() as channel:
            assert await remembered(channel, key, job_id, buyer) == (prices, job)
            await trade(exchange, channel, key, 77)
            after, _ = await remembered(channel, key, job_id, buyer)
        assert after == [*prices, 77]


async def test_without_a_read_model_memory_begins_at_the_snapshot(tmp_path: Path) -> None:
    async with InProcessExchange(tmp_path, read_model=False) as exchange:
        await exchange.paper_instrument()
        key = await exchange.trader("one")
        async with exchange.channel() as channel:
            await trade(exchange, channel, key, 1)
    follow(tmp_path / "journal", tmp_path / "snapshots", GENESIS)

    async with InProcessExchange(tmp_path, read_model=False) as exchange:
        assert exchange.server.services.history.trades(0, 10) == []
        async with exchange.channel() as channel:
            await trade(exchange, channel, key, 2)
        prices = [t.price_nanos for t in exchange.server.services.history.trades(0, 10)]
        assert prices == [2]
