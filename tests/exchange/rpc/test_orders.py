"""OrderService over real gRPC: unary calls, the Trade stream, its order and its bounds."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from exchange.core.commands import RevokeKey, SetInstrumentState, TradingState
from exchange.engine import EngineBusy
from exchange.gateway import admission
from exchange.rpc import order_feed, orders
from exchange.rpc.auth import hash_secret
from exchange.rpc.convert import paging
from exchange.testing import uuid7
from exchange.v1 import order_service_pb2 as pb
from exchange.v1.reason_pb2 import Reason
from tests.exchange.rpc.desk import (
    ASK,
    BID,
    INSTRUMENT,
    Desk,
    TradeCall,
    cancel,
    open_desk,
    places,
    replace,
)
from tests.exchange.rpc.rig import error_info, in_one_process

NEW, TRADE, CANCELED, REPLACED, REJECTED = 1, 2, 3, 4, 5


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    async with open_desk(tmp_path) as desk:
        yield desk


def short(report: pb.ExecutionReport) -> tuple[int, int, int, int]:
    return report.execution_type, report.order_id, report.quantity_mflop, report.leaves_mflop


# ---- unary ----


async def test_an_order_is_acknowledged_and_trades(desk: Desk) -> None:
    (new,) = await desk.place(desk.alice, ASK, 100, 10)
    assert short(new) == (NEW, 1, 10, 10)
    assert new.state == pb.ORDER_STATE_NEW
    assert new.sequence == desk.core.sequence
    accepted, fill = await desk.place(desk.bob, BID, 105, 4)
    assert short(accepted) == (NEW, 2, 4, 4)
    assert short(fill) == (TRADE, 2, 4, 0)
    assert (fill.price_nanos, fill.trade_id, fill.side) == (100, 1, BID)
    assert fill.state == pb.ORDER_STATE_FILLED
    found = await desk.alice.GetOrder(
        pb.GetOrderRequest(order=pb.OrderReference(client_order_id=new.client_order_id))
    )
    assert found.order.leaves_mflop == 6
    assert found.order.state == pb.ORDER_STATE_PARTIALLY_FILLED


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"price_nanos": 0}, "PRICE_OUT_OF_BAND"),
        ({"price_nanos": 10**9}, "PRICE_OUT_OF_BAND"),
        ({"quantity_mflop": 0}, "QUANTITY_NOT_POSITIVE"),
        ({"quantity_mflop": -5}, "QUANTITY_NOT_POSITIVE"),
        ({"quantity_mflop": 10**10}, "QUANTITY_TOO_LARGE"),
        ({"instrument_id": 99}, "UNKNOWN_INSTRUMENT"),
        ({"side": 0}, "FIELD_INVALID"),
        ({"side": 7}, "FIELD_INVALID"),
        ({"side": -1}, "FIELD_INVALID"),
        ({"order_type": 300}, "FIELD_INVALID"),
        ({"time_in_force": 2}, "DEADLINE_PASSED"),
        ({"client_order_id": b""}, "CLIENT_ID_INVALID"),
        ({"client_order_id": bytes(15)}, "CLIENT_ID_INVALID"),
        ({"client_order_id": bytes(17)}, "CLIENT_ID_INVALID"),
        ({"client_order_id": bytes(16)}, "CLIENT_ID_INVALID"),
        ({"client_order_id": uuid7(10**18)}, "CLIENT_ID_TOO_OLD"),
        ({"client_order_id": uuid7(3 * 10**18)}, "CLIENT_ID_IN_FUTURE"),
        ({"max_cost_nanos": -1}, "AMOUNT_NOT_POSITIVE"),
    ],
)
async def test_a_refused_order_is_a_report(
    desk: Desk, changes: dict[str, Any], reason: str
) -> None:
    order = desk.order(BID, 100, 1)
    for field, value in changes.items():
        setattr(order, field, value)
    (report,) = (await desk.alice.PlaceOrder(pb.PlaceOrderRequest(order=order))).reports
    assert report.execution_type == REJECTED
    assert report.state == pb.ORDER_STATE_REJECTED
    assert report.reason == Reason.Value(f"REASON_{reason}")
    assert not desk.core.orders
    assert desk.core.ledger.pending(desk.core.account_by_name["alice"]) == 0


async def test_a_repeat_gets_the_first_id_and_other_content_is_refused(desk: Desk) -> None:
    order = desk.order(BID, 100, 5)
    request = pb.PlaceOrderRequest(order=order)
    first = (await desk.alice.PlaceOrder(request)).reports[0]
    again = (await desk.alice.PlaceOrder(request)).reports[0]
    assert again.execution_type == pb.EXECUTION_TYPE_REPEATED
    assert (again.order_id, again.state) == (first.order_id, pb.ORDER_STATE_NEW)
    order.quantity_mflop = 6
    other = (await desk.alice.PlaceOrder(pb.PlaceOrderRequest(order=order))).reports[0]
    assert other.reason == Reason.Value("REASON_DUPLICATE_CLIENT_ID")
    assert len(desk.core.orders) == 1


async def test_cancel_and_replace(desk: Desk) -> None:
    (new,) = await desk.place(desk.alice, BID, 100, 5)
    terms = pb.OrderReplacement(order_id=new.order_id, price_nanos=101, quantity_mflop=7)
    response = await desk.alice.ReplaceOrder(pb.ReplaceOrderRequest(replacement=terms))
    assert short(response.reports[0]) == (REPLACED, 1, 7, 7)
    reference = pb.OrderReference(client_order_id=new.client_order_id)
    report = (await desk.alice.CancelOrder(pb.CancelOrderRequest(order=reference))).report
    assert (report.execution_type, report.order_id) == (CANCELED, 1)
    assert report.reason == Reason.Value("REASON_CANCELLED_BY_OWNER")
    again = (await desk.alice.CancelOrder(pb.CancelOrderRequest(order=reference))).report
    assert again.execution_type == REJECTED
    assert again.reason == Reason.Value("REASON_UNKNOWN_ORDER")
    assert again.client_order_id == new.client_order_id


async def test_another_accounts_order_stays_out_of_reach(desk: Desk) -> None:
    (new,) = await desk.place(desk.alice, BID, 100, 5)
    reference = pb.OrderReference(order_id=new.order_id)
    report = (await desk.bob.CancelOrder(pb.CancelOrderRequest(order=reference))).report
    assert report.reason == Reason.Value("REASON_NOT_OWNER")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await desk.bob.GetOrder(pb.GetOrderRequest(order=reference))
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND
    assert error_info(caught.value).reason == "UNKNOWN_ORDER"
    assert len(desk.core.orders) == 1


async def test_orders_are_listed_in_pages(desk: Desk) -> None:
    for price in range(1, 8):
        await desk.place(desk.alice, BID, price, 1)
    await desk.place(desk.bob, BID, 50, 1)
    found: list[int] = []
    token = ""
    while True:
        request = pb.ListOrdersRequest(instrument=INSTRUMENT, page_size=3, page_token=token)
        page = await desk.alice.ListOrders(request)
        found += [order.order_id for order in page.orders]
        assert len(page.orders) <= 3
        token = page.next_page_token
        if not token:
            break
    assert found == [1, 2, 3, 4, 5, 6, 7]
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await desk.alice.ListOrders(pb.ListOrdersRequest(page_token="nonsense"))
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


# ---- the Trade stream ----


async def test_a_batch_is_answered_in_ranges_with_exceptions_listed(desk: Desk) -> None:
    async with TradeCall(desk.alice) as trade:
        good = [desk.order(BID, 100 + i, 5) for i in range(6)]
        good[3].price_nanos = 0  # refused by the core
        good.insert(1, desk.order(BID, 1, 1, client_order_id=b"short"))  # never reaches it
        response = await trade.exchange(*places(good), pb.Instruction(), cancel(1))
    ranges = [(r.first_index, r.count, r.first_order_id) for r in response.accepted]
    assert ranges == [(0, 1, 1), (2, 2, 2), (5, 2, 4)]
    reports = {r.index: (r.execution_type, Reason.Name(r.reason)) for r in response.reports}
    assert reports == {
        1: (REJECTED, "REASON_CLIENT_ID_INVALID"),
        4: (REJECTED, "REASON_PRICE_OUT_OF_BAND"),
        7: (REJECTED, "REASON_FIELD_INVALID"),
        8: (CANCELED, "REASON_CANCELLED_BY_OWNER"),
    }
    assert response.sequence == desk.core.sequence


async def test_own_fills_come_with_the_answer(desk: Desk) -> None:
    await desk.place(desk.bob, ASK, 100, 3)
    await desk.place(desk.bob, ASK, 101, 3)
    async with TradeCall(desk.alice) as trade:
        response = await trade.exchange(*places([desk.order(BID, 101, 5)]))
        assert [(r.first_index, r.count) for r in response.accepted] == [(0, 1)]
        assert [short(r) for r in response.reports] == [(TRADE, 3, 3, 2), (TRADE, 3, 2, 0)]
        assert [r.price_nanos for r in response.reports] == [100, 101]
        ioc = await trade.exchange(*places([desk.order(BID, 90, 5, time_in_force=3)]))
    (report,) = ioc.reports
    assert report.execution_type == CANCELED
    assert report.reason == Reason.Value("REASON_IMMEDIATE_OR_CANCEL")


async def test_fills_caused_by_others_are_pushed(desk: Desk) -> None:
    async with TradeCall(desk.alice) as trade, TradeCall(desk.alice) as second:
        answer = await trade.exchange(*places([desk.order(ASK, 100, 10)]))
        await second.exchange(cancel(99))  # so that the server knows the stream
        await desk.place(desk.bob, BID, 100, 4)
        for stream in (trade, second):
            pushed = await stream.receive()
            assert pushed.request_id == 0
            (report,) = pushed.reports
            assert short(report) == (TRADE, answer.accepted[0].first_order_id, 4, 6)
            assert report.side == ASK
            assert report.sequence == pushed.sequence == desk.core.sequence


async def test_what_the_operator_closes_is_pushed(desk: Desk) -> None:
    async with TradeCall(desk.alice) as trade:
        await trade.exchange(*places([desk.order(ASK, 100, 10)]))
        closing = SetInstrumentState(desk.instrument_id, TradingState.CLOSED)
        await desk.exchange.submit(closing)
        (report,) = (await trade.receive()).reports
    assert report.execution_type == CANCELED
    assert report.reason == Reason.Value("REASON_CANCELLED_BY_OPERATOR")


async def test_a_stream_is_told_in_the_journals_order(desk: Desk) -> None:
    """Two streams hit each other as fast as they can: a fill never precedes its acceptance."""

    async def run(trader: Any, side: int) -> list[pb.TradeResponse]:
        async with TradeCall(trader) as trade:
            for _ in range(30):
                await trade.send(*places(desk.order(side, 100, 1) for _ in range(20)))
            return await trade.finish()

    heard = await asyncio.gather(run(desk.alice, BID), run(desk.bob, ASK))
    for responses in heard:
        known: set[int] = set()
        last = 0
        for response in responses:
            for acks in response.accepted:
                first = acks.first_order_id
                known |= set(range(first, first + acks.count))
            assert {report.order_id for report in response.reports} <= known
            assert response.sequence > last
            last = response.sequence
    assert desk.core.counters.trade == 600


async def test_a_finished_client_gets_all_its_answers(desk: Desk) -> None:
    async with TradeCall(desk.alice) as trade:
        for _ in range(orders.IN_FLIGHT_MAX + 10):
            await trade.send(*places([desk.order(BID, 100, 1)]))
        responses = await trade.finish()
    assert [r.request_id for r in responses] == list(range(1, orders.IN_FLIGHT_MAX + 11))


@pytest.mark.parametrize(
    ("count", "request_id", "field"),
    [
        (0, 1, "instructions"),
        (orders.INSTRUCTIONS_MAX + 1, 1, "instructions"),
        (1, 0, "request_id"),
    ],
)
async def test_a_malformed_batch_ends_the_stream(
    desk: Desk, count: int, request_id: int, field: str
) -> None:
    async with TradeCall(desk.alice) as trade:
        await trade.send(*([cancel(1)] * count), request_id=request_id)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await trade.finish()
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert error_info(caught.value).metadata["field"] == field


async def test_the_largest_batch_is_taken(desk: Desk) -> None:
    async with TradeCall(desk.alice) as trade:
        batch = places(desk.order(BID, 1, 1) for _ in range(orders.INSTRUCTIONS_MAX))
        response = await trade.exchange(*batch)
    assert [(r.first_index, r.count) for r in response.accepted] == [(0, 4_096)]


async def test_a_client_that_never_reads_holds_a_bounded_amount(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(orders, "INSTRUCTIONS_IN_FLIGHT_MAX", 10)
    most = 0
    submit = order_feed.OrderFeed.submit

    def counting(feed: order_feed.OrderFeed, stream: Any, *rest: Any) -> None:
        nonlocal most
        submit(feed, stream, *rest)
        most = max(most, stream.instructions_in_flight)

    monkeypatch.setattr(order_feed.OrderFeed, "submit", counting)
    async with TradeCall(desk.alice) as trade:
        for _ in range(20):
            await trade.send(*places(desk.order(BID, 1, 1) for _ in range(4)))
        assert len(await trade.finish()) == 20
    assert 0 < most <= 12, "a batch that begins below the bound is taken whole"


async def test_an_account_has_a_maximum_of_order_streams(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(orders, "STREAMS_PER_ACCOUNT_MAX", 1)
    async with TradeCall(desk.alice) as trade:
        await trade.exchange(*places([desk.order(BID, 1, 1)]))
        async with TradeCall(desk.alice) as second:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await second.finish()
        assert error_info(caught.value).reason == "OVERLOADED"
        async with TradeCall(desk.bob) as other:
            await other.exchange(*places([desk.order(BID, 1, 1)]))


async def test_a_slow_reader_is_cut_off_with_the_sequence(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(order_feed, "BEHIND_MAX", 3)
    async with TradeCall(desk.alice) as trade:
        await trade.exchange(*places([desk.order(ASK, 100, 1_000)]))
        # One command, so one group, so all at once: nobody can read between.
        bids = [await desk.place(desk.bob, BID, 10, 1) for _ in range(5)]
        instructions = [replace(reports[0].order_id, 100, 1) for reports in bids]
        async with TradeCall(desk.bob) as other:
            await other.send(*instructions)
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await trade.rest()
    assert caught.value.code() is grpc.StatusCode.OUT_OF_RANGE
    info = error_info(caught.value)
    assert info.reason == "SLOW_READER"
    assert 0 < int(info.metadata["last_sequence"]) < desk.core.sequence


async def test_a_revoked_key_ends_its_stream(desk: Desk) -> None:
    async with TradeCall(desk.alice) as trade:
        await trade.exchange(*places([desk.order(BID, 100, 1)]))
        await desk.exchange.submit(RevokeKey(hash_secret(desk.keys[0])))
        await trade.send(cancel(1))
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await trade.finish()
    assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED
    assert len(desk.core.orders) == 1


async def test_a_busy_engine_pushes_back_on_a_stream(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    submit, tries = desk.exchange.engine.submit_with, 0

    def busy_at_first(*arguments: Any) -> None:
        nonlocal tries
        tries += 1
        if tries < 4:
            raise EngineBusy("full")
        submit(*arguments)

    monkeypatch.setattr(desk.exchange.engine, "submit_with", busy_at_first)
    async with TradeCall(desk.alice) as trade:
        response = await trade.exchange(*places([desk.order(BID, 100, 1)]))
        assert response.accepted[0].count == 1
        assert tries == 4


async def test_an_engine_that_stays_busy_ends_the_stream(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    def busy(*_: Any) -> None:
        raise EngineBusy("full")

    monkeypatch.setattr(orders, "BUSY_WAIT_MAX_S", 0.01)
    monkeypatch.setattr(desk.exchange.engine, "submit_with", busy)
    async with TradeCall(desk.alice) as trade:
        await trade.send(*places([desk.order(BID, 100, 1)]))
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await trade.rest()
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert error_info(caught.value).reason == "OVERLOADED"


@in_one_process
async def test_streams_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admission, "CALLS_MAX", 2)
    async with open_desk(tmp_path) as desk, TradeCall(desk.alice) as one:
        await one.exchange(*places([desk.order(BID, 100, 1)]))
        async with TradeCall(desk.alice) as two:
            await two.exchange(*places([desk.order(BID, 100, 1)]))
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await desk.place(desk.alice, BID, 100, 1)
            assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_a_page_has_a_largest_size(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paging, "PAGE_SIZE_MAX", 3)
    for _ in range(4):
        await desk.place(desk.alice, BID, 100, 1)
    page = await desk.alice.ListOrders(pb.ListOrdersRequest(page_size=1_000_000))
    assert len(page.orders) == 3
