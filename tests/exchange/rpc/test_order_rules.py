"""Conditions, mass cancels and streams that take their orders along, over real gRPC."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import grpc
import pytest

from exchange.core.commands import TradingState
from exchange.engine import EngineBusy
from exchange.rpc import orders
from exchange.rpc.convert.market import PROTECTIONS
from exchange.v1 import admin_service_pb2 as admin_pb
from exchange.v1 import market_data_service_pb2 as data_pb
from exchange.v1 import market_pb2 as market
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
)
from tests.exchange.rpc.rig import error_info
from tests.waiting import WITHIN_S


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    async with open_desk(tmp_path) as desk:
        yield desk


async def until(holds: Callable[[], bool]) -> None:
    for _ in range(int(WITHIN_S / 0.01)):
        if holds():
            return
        await asyncio.sleep(0.01)
    raise TimeoutError


def mass_cancel(instrument_id: int = 0, side: int = 0) -> pb.Instruction:
    selection = pb.OrderSelection(instrument_id=instrument_id, side=side)  # type: ignore[arg-type]
    return pb.Instruction(mass_cancel=selection)


def named(report: pb.ExecutionReport) -> tuple[str, str]:
    return (
        pb.ExecutionType.Name(report.execution_type).removeprefix("EXECUTION_TYPE_"),
        Reason.Name(report.reason).removeprefix("REASON_"),
    )


# ---- conditions ----


@pytest.mark.parametrize(
    ("changes", "conditions"),
    [
        ({}, {"post_only": market.POST_ONLY_MODE_REJECT}),
        ({}, {"post_only": market.POST_ONLY_MODE_REPRICE}),
        ({}, {"all_or_none": True}),
        ({}, {"min_quantity_mflop": 5}),
        ({}, {"display_quantity_mflop": 5}),
        ({}, {"hidden": True}),
        ({"order_type": market.ORDER_TYPE_STOP}, {"stop_price_nanos": 105}),
        ({"order_type": market.ORDER_TYPE_STOP_LIMIT}, {"stop_price_nanos": 105, "hidden": True}),
    ],
)
async def test_conditions_are_told_as_they_were_asked(
    desk: Desk, changes: dict[str, Any], conditions: dict[str, Any]
) -> None:
    asked = pb.OrderConditions(**conditions)
    await desk.place(desk.alice, BID, 100, 10, conditions=asked, **changes)
    (order,) = (await desk.alice.ListOrders(pb.ListOrdersRequest())).orders
    assert order.conditions == asked
    assert order.order_type == changes.get("order_type", market.ORDER_TYPE_LIMIT)
    assert order.waiting == ("stop_price_nanos" in conditions)


async def test_a_condition_out_of_range_is_a_report(desk: Desk) -> None:
    for value in (7, 300, -1):
        conditions = pb.OrderConditions(post_only=value)  # type: ignore[arg-type]
        (report,) = await desk.place(desk.alice, BID, 100, 10, conditions=conditions)
        assert named(report) == ("REJECTED", "FIELD_INVALID")


async def test_an_order_without_an_instrument_or_legs_is_refused(desk: Desk) -> None:
    (report,) = await desk.place(desk.alice, BID, 100, 10, instrument_id=0)
    assert named(report) == ("REJECTED", "UNKNOWN_INSTRUMENT")


async def test_a_multi_leg_bid_fills_one_leg(desk: Desk) -> None:
    second = await desk.exchange.paper_instrument("second")
    wanted = ((desk.instrument_id, 100), (second, 90))
    legs = [
        pb.OrderLeg(instrument_id=ident, price_nanos=price, quantity_mflop=5)
        for ident, price in wanted
    ]
    (new,) = await desk.place(desk.alice, BID, 0, 0, instrument_id=0, legs=legs)
    assert named(new) == ("NEW", "UNSPECIFIED")
    (order,) = (await desk.alice.ListOrders(pb.ListOrdersRequest(instrument="second"))).orders
    assert (list(order.legs), order.instrument_id, order.quantity_mflop) == (legs, 0, 0)
    async with TradeCall(desk.alice) as trade:
        await trade.exchange(cancel(99))
        await desk.place(desk.bob, ASK, 90, 5, instrument_id=second)
        (report,) = (await trade.receive()).reports
    assert (report.instrument_id, report.order_id, report.quantity_mflop) == (second, 1, 5)
    assert report.state == pb.ORDER_STATE_FILLED
    assert not desk.core.orders
    conditions = pb.OrderConditions(hidden=True)
    both = {"instrument_id": 0, "legs": legs, "conditions": conditions}
    (report,) = await desk.place(desk.alice, BID, 0, 0, **both)
    assert named(report) == ("REJECTED", "CONDITIONS_CONFLICT")


async def test_owners_hear_of_stops_that_others_trigger(desk: Desk) -> None:
    stop = pb.OrderConditions(stop_price_nanos=105)
    kind = market.ORDER_TYPE_STOP
    dora = desk.trader(await desk.exchange.trader("dora"))
    await desk.place(desk.bob, ASK, 105, 5)
    await desk.place(desk.bob, ASK, 110, 5)
    async with TradeCall(desk.alice) as trade:
        placed = desk.order(BID, 0, 5, order_type=kind, conditions=stop)
        await trade.exchange(*places([placed]))
        await desk.place(dora, BID, 105, 5)
        told = [named(report) for report in (await trade.receive()).reports]
    assert told == [("TRIGGERED", "UNSPECIFIED"), ("TRADE", "UNSPECIFIED")]


# ---- mass cancel ----


async def test_a_mass_cancel_is_one_call(desk: Desk) -> None:
    for price in (90, 91):
        await desk.place(desk.alice, BID, price, 1)
    await desk.place(desk.alice, ASK, 110, 1)
    await desk.place(desk.bob, BID, 90, 1)
    selection = pb.OrderSelection(side=BID)
    answer = await desk.alice.CancelOrders(pb.CancelOrdersRequest(orders=selection))
    assert (answer.cancelled, answer.sequence) == (2, desk.core.sequence)
    assert sorted(desk.core.orders) == [3, 4]
    assert (await desk.alice.CancelOrders(pb.CancelOrdersRequest())).cancelled == 1
    assert (await desk.alice.CancelOrders(pb.CancelOrdersRequest())).cancelled == 0


@pytest.mark.parametrize(
    ("selection", "reason"),
    [
        ({"instrument_id": 99}, "UNKNOWN_INSTRUMENT"),
        ({"side": 3}, "FIELD_INVALID"),
        ({"side": 300}, "FIELD_INVALID"),
    ],
)
async def test_refused_mass_cancels(desk: Desk, selection: dict[str, Any], reason: str) -> None:
    request = pb.CancelOrdersRequest(orders=pb.OrderSelection(**selection))
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await desk.alice.CancelOrders(request)
    assert error_info(caught.value).reason == reason


async def test_a_stream_is_told_how_many_and_then_which(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(orders, "MESSAGE_REPORTS_MAX", 4)
    async with TradeCall(desk.alice) as trade, TradeCall(desk.alice) as second:
        await second.exchange(cancel(99))
        await trade.exchange(*places(desk.order(BID, 90, 1) for _ in range(10)))
        answer = await trade.exchange(mass_cancel())
        (report,) = answer.reports
        assert named(report)[0] == "MASS_CANCELED"
        assert (report.affected_orders, report.index) == (10, 0)
        for stream in (trade, second):
            heard: list[pb.ExecutionReport] = []
            while len(heard) < 10:
                message = await stream.receive()
                assert 0 < len(message.reports) <= 4
                heard += message.reports
            assert [x.order_id for x in heard] == list(range(1, 11))
            assert {named(x) for x in heard} == {("CANCELED", "CANCELLED_BY_OWNER")}
        # In the midst of a batch: what it did follows the answer of the whole.
        before, after = places(desk.order(BID, price, 1) for price in (90, 91))
        answer = await trade.exchange(before, mass_cancel(), after)
        assert [(r.first_index, r.count) for r in answer.accepted] == [(0, 1), (2, 1)]
        assert [x.order_id for x in (await trade.receive()).reports] == [11]
        refused = await trade.exchange(mass_cancel(instrument_id=99))
        assert named(refused.reports[0]) == ("REJECTED", "UNKNOWN_INSTRUMENT")


# ---- cancel on disconnect ----


@pytest.mark.parametrize("how", ["cancelled", "finished"])
async def test_a_guarded_stream_takes_its_orders_along(desk: Desk, how: str) -> None:
    await desk.place(desk.alice, BID, 80, 1)
    async with TradeCall(desk.alice) as trade:
        assert not (await trade.exchange(guard=True)).reports
        await trade.exchange(*places(desk.order(BID, 90 + i, 1) for i in range(3)))
        (kept, *guarded) = (await desk.alice.ListOrders(pb.ListOrdersRequest())).orders
        assert not kept.cancel_on_disconnect
        assert all(order.cancel_on_disconnect for order in guarded)
        if how == "finished":
            await trade.finish()
    await until(lambda: sorted(desk.core.orders) == [1])


async def test_a_plain_stream_leaves_its_orders(desk: Desk) -> None:
    async with TradeCall(desk.alice) as trade:
        await trade.exchange(*places([desk.order(BID, 90, 1)]))
        await trade.finish()
    await desk.place(desk.bob, BID, 80, 1)
    assert sorted(desk.core.orders) == [1, 2]


async def test_a_guarded_order_does_not_outlive_the_exchange(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk:
        await desk.place(desk.alice, BID, 80, 1)
        async with TradeCall(desk.alice) as trade:
            await trade.exchange(*places([desk.order(BID, 90, 1)]), guard=True)
            assert sorted(desk.core.orders) == [1, 2]
            desk.exchange.server.services.drain.begin()
    async with open_desk(tmp_path) as desk:
        assert sorted(desk.core.orders) == [1]


async def test_a_guard_belongs_into_the_first_message(desk: Desk) -> None:
    async with TradeCall(desk.alice) as trade:
        await trade.exchange(*places([desk.order(BID, 90, 1)]))
        await trade.send(*places([desk.order(BID, 91, 1)]), guard=True)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await trade.rest()
    assert error_info(caught.value).metadata["field"] == "cancel_on_disconnect"


async def test_a_busy_engine_hears_of_the_end_later(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = desk.exchange.engine
    submit, tries = engine.submit_with, 0

    def busy_at_first(*arguments: Any) -> None:
        nonlocal tries
        tries += 1
        if tries < 4:
            raise EngineBusy("full")
        submit(*arguments)

    async with TradeCall(desk.alice) as trade:
        await trade.exchange(*places([desk.order(BID, 90, 1)]), guard=True)
        monkeypatch.setattr(engine, "submit_with", busy_at_first)
    await until(lambda: not desk.core.orders)
    assert tries == 4


async def test_other_streams_hear_of_the_end(desk: Desk) -> None:
    async with TradeCall(desk.alice) as other:
        await other.exchange(cancel(99))
        async with TradeCall(desk.alice) as trade:
            await trade.exchange(*places([desk.order(BID, 90, 1)]), guard=True)
        (report,) = (await other.receive()).reports
    assert named(report) == ("CANCELED", "DISCONNECTED")


# ---- auctions and protections ----


async def test_the_operator_calls_an_auction_and_everybody_sees_how_it_stands(desk: Desk) -> None:
    call = admin_pb.SetInstrumentStateRequest(
        instrument=INSTRUMENT, state=market.TRADING_STATE_AUCTION, call_ns=3_600 * 10**9
    )
    answer = await desk.admin.SetInstrumentState(call)
    assert answer.instrument.state == market.TRADING_STATE_AUCTION
    await desk.place(desk.alice, BID, 105, 30)
    await desk.place(desk.bob, ASK, 95, 20)
    book = (await desk.data.GetBook(data_pb.GetBookRequest(instrument=INSTRUMENT))).book
    assert book.state == market.TRADING_STATE_AUCTION
    found = book.auction
    assert (found.price_nanos, found.volume_mflop, found.imbalance_mflop) == (105, 20, 10)
    due = desk.core.instruments[desk.instrument_id].call
    assert due is not None
    assert found.end_time_ns == due.ends_ns
    call.state, call.call_ns = market.TRADING_STATE_OPEN, 0
    await desk.admin.SetInstrumentState(call)
    book = (await desk.data.GetBook(data_pb.GetBookRequest(instrument=INSTRUMENT))).book
    assert not book.HasField("auction")
    assert book.last_price_nanos == 105
    assert desk.core.instruments[desk.instrument_id].state == TradingState.OPEN


async def test_protections_are_set_and_shown(desk: Desk) -> None:
    wanted = market.Protections(static_band_bps=500, reopening_call_ns=10**9, book_orders_max=1)
    request = admin_pb.SetProtectionsRequest(instrument=INSTRUMENT, protections=wanted)
    answer = await desk.admin.SetProtections(request)
    assert answer.instrument.protections == wanted
    await desk.place(desk.alice, BID, 100, 1)
    (report,) = await desk.place(desk.alice, BID, 100, 1)
    assert named(report) == ("REJECTED", "BOOK_FULL")
    request.protections.reopening_call_ns = 0
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await desk.admin.SetProtections(request)
    assert error_info(caught.value).reason == "FIELD_INVALID"


def test_protections_have_the_same_fields_everywhere() -> None:
    assert [field.name for field in market.Protections.DESCRIPTOR.fields] == list(PROTECTIONS)
