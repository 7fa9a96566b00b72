"""What lies further back: trades, candles, hours, orders and jobs out of the read model."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from exchange.core.commands import Advance
from exchange.core.limits import CLIENT_ID_RETENTION_NS, NS_PER_S
from exchange.testing import ManualClock
from exchange.v1 import job_service_pb2 as jobs_pb
from exchange.v1 import market_data_service_pb2 as data_pb
from exchange.v1 import order_service_pb2 as orders_pb
from tests.exchange.rpc.desk import ASK, BID, INSTRUMENT, Desk, open_desk
from tests.exchange.rpc.rig import error_info, open_rig


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    async with open_desk(tmp_path) as found:
        yield found


async def trade(desk: Desk, price: int, quantity: int = 1) -> None:
    await desk.place(desk.alice, ASK, price, quantity)
    await desk.place(desk.bob, BID, price, quantity)


async def test_who_has_just_traded_finds_the_trade(desk: Desk) -> None:
    for price in range(100, 105):
        await trade(desk, price)
        answer = await desk.data.ListTrades(data_pb.ListTradesRequest(instrument=INSTRUMENT))
        assert answer.sequence == desk.core.sequence
        assert answer.trades[0].price_nanos == price
    assert [trade.price_nanos for trade in answer.trades] == [104, 103, 102, 101, 100]


async def test_trades_by_pages_and_times(desk: Desk) -> None:
    for price in range(100, 107):
        await trade(desk, price)
    whole = (await desk.data.ListTrades(data_pb.ListTradesRequest())).trades
    walked: list[Any] = []
    token = ""
    while True:
        request = data_pb.ListTradesRequest(page_size=3, page_token=token)
        page = await desk.data.ListTrades(request)
        assert len(page.trades) <= 3
        walked += page.trades
        token = page.next_page_token
        if not token:
            break
    assert walked == list(whole)
    middle = whole[3].event_time_ns
    before = await desk.data.ListTrades(data_pb.ListTradesRequest(end_time_ns=middle))
    after = await desk.data.ListTrades(data_pb.ListTradesRequest(start_time_ns=middle))
    assert [*after.trades, *before.trades] == list(whole)


async def test_candles(desk: Desk) -> None:
    for price in (100, 105, 95, 101):
        await trade(desk, price, 2)
    for width_s in (0, 1, 60, 86_400):
        request = data_pb.ListCandlesRequest(instrument=INSTRUMENT, width_s=width_s)
        candles = (await desk.data.ListCandles(request)).candles
        assert sum(candle.trades for candle in candles) == 4
        assert sum(candle.volume_mflop for candle in candles) == 8
        assert (candles[0].open_nanos, candles[-1].close_nanos) == (100, 101)
        assert max(candle.high_nanos for candle in candles) == 105
        assert min(candle.low_nanos for candle in candles) == 95
        width_ns = (width_s or 60) * NS_PER_S
        assert all(candle.start_time_ns % width_ns == 0 for candle in candles)


async def test_candles_of_a_width_that_is_none(desk: Desk) -> None:
    call = desk.data.ListCandles(data_pb.ListCandlesRequest(instrument=INSTRUMENT, width_s=7))
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    assert error_info(caught.value).metadata["field"] == "width_s"


async def test_candles_and_hours_by_pages(tmp_path: Path) -> None:
    clock = ManualClock()
    async with open_desk(tmp_path, clock) as desk:
        for price in range(100, 105):
            await trade(desk, price)
            clock.advance(3_600 * NS_PER_S)
        await desk.exchange.engine.submit(Advance(clock.now_ns()))
        hours = data_pb.ListHourlyIndexRequest(instrument=INSTRUMENT, page_size=2)
        found = await desk.data.ListHourlyIndex(hours)
        assert [hour.price_nanos for hour in found.hours] == [103, 104]
        hours.page_token = found.next_page_token
        found = await desk.data.ListHourlyIndex(hours)
        assert [hour.price_nanos for hour in found.hours] == [101, 102]
        candles = data_pb.ListCandlesRequest(instrument=INSTRUMENT, width_s=3_600, page_size=3)
        page = await desk.data.ListCandles(candles)
        assert [candle.open_nanos for candle in page.candles] == [102, 103, 104]
        candles.page_token = page.next_page_token
        page = await desk.data.ListCandles(candles)
        assert [candle.open_nanos for candle in page.candles] == [100, 101]
        assert not page.next_page_token


async def test_all_orders_of_an_account(desk: Desk) -> None:
    await trade(desk, 100, 5)
    await desk.place(desk.alice, ASK, 110, 3)
    history = await desk.alice.ListOrderHistory(orders_pb.ListOrderHistoryRequest())
    states = [(order.state, order.filled_mflop, order.leaves_mflop) for order in history.orders]
    assert states == [
        (orders_pb.ORDER_STATE_NEW, 0, 3),
        (orders_pb.ORDER_STATE_FILLED, 5, 0),
    ]
    assert history.orders[1].end_time_ns
    assert not history.orders[0].end_time_ns
    bobs = await desk.bob.ListOrderHistory(orders_pb.ListOrderHistoryRequest())
    assert [order.side for order in bobs.orders] == [BID]


async def test_a_job_that_the_core_has_forgotten(tmp_path: Path) -> None:
    async with open_rig(tmp_path) as rig:
        async with rig.worker() as worker:
            await rig.ready(worker)
            job = await rig.submit()
            await worker.run(await worker.offer(), "a ", "b")
            ended = await rig.ended(job)
        # A look at all jobs does not wait for it: the core would tell of one that is so new.
        await rig.services.ask(lambda _: None)
        later = rig.exchange.clock.now_ns() + CLIENT_ID_RETENTION_NS + NS_PER_S
        await rig.exchange.engine.submit(Advance(later))
        assert job.job_id not in rig.core.jobs
        listed = (await rig.jobs.ListJobs(jobs_pb.ListJobsRequest())).jobs
        assert list(listed) == [ended]
        assert (await rig.get(job)).job == ended
        missing = rig.jobs.GetJob(jobs_pb.GetJobRequest(job_id=99))
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await missing
        assert error_info(caught.value).reason == "UNKNOWN_JOB"
        others = rig.jobs_of(await rig.exchange.trader("other", paper=False, funds=0))
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await others.GetJob(jobs_pb.GetJobRequest(job_id=job.job_id))
        assert error_info(caught.value).reason == "NOT_OWNER"
