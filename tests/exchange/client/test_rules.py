"""Conditions, mass cancels, guarded streams, auctions and order feeds, through the client."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from exchange.client import (
    AsyncClient,
    BookEvent,
    BookEventKind,
    Client,
    Conditions,
    ExecutionType,
    IndicativeAuction,
    InvalidRequest,
    NotFound,
    OrdersSnapshot,
    OrderState,
    OrderType,
    PostOnlyMode,
    Protections,
    Side,
    TimeInForce,
    TradingState,
)
from exchange.metering.cards import INSTANT
from exchange.testing import InProcessExchange
from tests.waiting import WITHIN_S

PAPER = "paper"


@pytest.fixture
async def exchange(tmp_path: Path) -> AsyncIterator[InProcessExchange]:
    async with InProcessExchange(tmp_path) as running:
        await running.paper_instrument(PAPER)
        yield running


@pytest.fixture
async def alice(exchange: InProcessExchange) -> AsyncIterator[AsyncClient]:
    async with AsyncClient(exchange.address, await exchange.trader("alice")) as client:
        yield client


@pytest.fixture
async def bob(exchange: InProcessExchange) -> AsyncIterator[AsyncClient]:
    async with AsyncClient(exchange.address, await exchange.trader("bob")) as client:
        yield client


async def open_ids(client: AsyncClient) -> list[int]:
    return [order.order_id async for order in client.orders.list()]


async def until_open(client: AsyncClient, wanted: list[int]) -> None:
    for _ in range(1_000):
        if await open_ids(client) == wanted:
            return
        await asyncio.sleep(0.01)
    raise TimeoutError


async def test_conditions_go_there_and_back(alice: AsyncClient) -> None:
    await alice.orders.place(
        PAPER,
        Side.BID,
        100,
        "50 MFLOP",
        order_type=OrderType.STOP_LIMIT,
        stop_price="120 nanos",
        hidden=True,
    )
    placed = await alice.orders.place(
        PAPER, Side.BID, 90, 50, post_only=PostOnlyMode.REPRICE, display_quantity=5
    )
    stop, iceberg = [order async for order in alice.orders.list()]
    assert stop.conditions == Conditions(hidden=True, stop_price_nanos=120)
    assert (stop.order_type, stop.waiting) == (OrderType.STOP_LIMIT, True)
    assert iceberg.conditions == Conditions(PostOnlyMode.REPRICE, display_quantity_mflop=5)
    assert (iceberg.waiting, iceberg.cancel_on_disconnect) == (False, False)
    assert placed.state is OrderState.NEW
    moved = await alice.orders.replace(stop.order_id, 100, 50, stop_price=130)
    assert not moved.rejected
    assert (await alice.orders.get(order_id=1)).conditions.stop_price_nanos == 130
    refused = await alice.orders.place(PAPER, Side.BID, 1, 50, min_quantity=5, all_or_none=True)
    assert (refused.rejected, refused.reason) == (True, "CONDITIONS_CONFLICT")


async def test_a_repriced_order_says_so(alice: AsyncClient, bob: AsyncClient) -> None:
    await bob.orders.place(PAPER, Side.ASK, 100, 5)
    result = await alice.orders.place(PAPER, Side.BID, 105, 5, post_only=PostOnlyMode.REPRICE)
    assert [r.execution_type for r in result.reports] == [
        ExecutionType.NEW,
        ExecutionType.REPLACED,
    ]
    assert result.reports[-1].price_nanos == 99
    assert result.state is OrderState.NEW


async def test_multi_leg_bids(
    exchange: InProcessExchange, alice: AsyncClient, bob: AsyncClient
) -> None:
    await exchange.paper_instrument("second")
    legs: list[tuple[str, int | str, int | str]]
    legs = [(PAPER, "100 nanos", 5), ("second", 90, "5 MFLOP")]
    placed = await alice.orders.place_legs(legs)
    (order,) = [order async for order in alice.orders.list()]
    assert [(leg.price_nanos, leg.quantity_mflop) for leg in order.legs] == [(100, 5), (90, 5)]
    assert order.order_id == placed.order_id
    await bob.orders.place("second", Side.ASK, 80, 5)
    assert await open_ids(alice) == []
    async with await alice.orders.stream() as stream:
        result = await stream.place_legs(legs, time_in_force=TimeInForce.IOC)
    assert (result.state, result.reason) == (OrderState.CANCELED, "IMMEDIATE_OR_CANCEL")


async def test_mass_cancels(alice: AsyncClient) -> None:
    for price in (10, 11):
        await alice.orders.place(PAPER, Side.BID, price, 1)
    await alice.orders.place(PAPER, Side.ASK, 200, 1)
    assert await alice.orders.cancel_all(PAPER, Side.BID) == 2
    async with await alice.orders.stream() as stream:
        stream.place(PAPER, Side.BID, 12, 1)
        result = await stream.cancel_all()
        assert (result.affected_orders, result.rejected) == (2, False)
        reports = stream.reports()
        async with contextlib.aclosing(reports), asyncio.timeout(WITHIN_S):
            ended = [await anext(reports), await anext(reports)]
    assert [getattr(report, "order_id", 0) for report in ended] == [3, 4]
    assert await alice.orders.cancel_all() == 0


async def test_only_the_number_0_cancels_of_all_instruments(alice: AsyncClient) -> None:
    placed = await alice.orders.place(PAPER, Side.BID, 10, 1)
    never_made = replace(await alice.market.instrument(PAPER), instrument_id=0)
    wrong: list[tuple[Any, type[Exception]]]
    wrong = [("", NotFound), (None, ValueError), (never_made, ValueError)]
    async with await alice.orders.stream() as stream:
        for instrument, error in wrong:
            with pytest.raises(error):
                await alice.orders.cancel_all(instrument)
            with pytest.raises(error):
                stream.cancel_all(instrument)
    assert await open_ids(alice) == [placed.order_id]
    assert await alice.orders.cancel_all(0) == 1


async def test_a_guarded_streams_orders_end_with_it(alice: AsyncClient) -> None:
    await alice.orders.place(PAPER, Side.BID, 10, 1)
    async with await alice.orders.stream(cancel_on_disconnect=True) as stream:
        await asyncio.gather(*(stream.place(PAPER, Side.BID, 20 + i, 1) for i in range(3)))
        assert await open_ids(alice) == [1, 2, 3, 4]
        assert (await alice.orders.get(order_id=2)).cancel_on_disconnect
    await until_open(alice, [1])


async def test_orders_of_a_book_are_followed(alice: AsyncClient, bob: AsyncClient) -> None:
    await alice.orders.place(PAPER, Side.BID, 100, 5)
    watch = alice.market.watch_orders(PAPER)
    async with contextlib.aclosing(watch), asyncio.timeout(WITHIN_S):
        snapshot = await anext(watch)
        assert isinstance(snapshot, OrdersSnapshot)
        assert [(o.order_id, o.quantity_mflop) for o in snapshot.orders] == [(1, 5)]
        await bob.orders.place(PAPER, Side.ASK, 100, 2)
        event = await anext(watch)
        assert isinstance(event, BookEvent)
        assert (event.kind, event.order_id) == (BookEventKind.EXECUTED, 1)
        assert (event.quantity_mflop, event.shown_mflop) == (2, 3)
        assert event.sequence == snapshot.sequence + 1


async def test_a_batch_book_has_no_orders_to_follow(
    exchange: InProcessExchange, alice: AsyncClient
) -> None:
    await exchange.batch_instrument(INSTANT)
    with pytest.raises(InvalidRequest, match="batch book"):
        await anext(alice.market.watch_orders(f"{INSTANT.name}/cpu/interactive"))


async def test_best_prices_are_followed(alice: AsyncClient) -> None:
    watch = alice.market.watch_best_prices(PAPER)
    async with contextlib.aclosing(watch), asyncio.timeout(WITHIN_S):
        assert (await anext(watch)).bid is None
        await alice.orders.place(PAPER, Side.BID, 100, 5)
        best = await anext(watch)
    assert best.bid is not None
    assert (best.bid.price_nanos, best.ask) == (100, None)


async def test_the_operator_opens_an_auction(
    exchange: InProcessExchange, alice: AsyncClient, bob: AsyncClient
) -> None:
    async with AsyncClient(exchange.address, exchange.operator_key) as operator:
        wanted = Protections(reopening_call_ns=10**9, book_orders_max=10)
        after = await operator.admin.set_protections(PAPER, wanted)
        assert after.protections == wanted
        called = await operator.admin.set_instrument_state(PAPER, TradingState.AUCTION)
        assert called.state is TradingState.AUCTION
        await alice.orders.place(PAPER, Side.BID, 100, 5)
        await bob.orders.place(PAPER, Side.ASK, 100, 3)
        book = await alice.market.book(PAPER)
        assert book.auction == IndicativeAuction(100, 3, 2, 0)
        await operator.admin.set_instrument_state(PAPER, TradingState.OPEN)
    book = await alice.market.book(PAPER)
    assert (book.auction, book.last_price_nanos) == (None, 100)
    assert book.state is TradingState.OPEN


async def test_the_blocking_client_can_do_it_too(exchange: InProcessExchange) -> None:
    key = await exchange.trader("carol")

    def trade() -> tuple[int, int]:
        with Client(exchange.address, key) as client:
            with client.orders.stream(cancel_on_disconnect=True) as stream:
                placed = [stream.place(PAPER, Side.BID, 10 + i, 1) for i in range(3)]
                assert all(not future.result().rejected for future in placed)
                affected = stream.cancel_all(PAPER, Side.BID).result().affected_orders
            client.orders.place(PAPER, Side.BID, 10, 1, hidden=True)
            return affected, client.orders.cancel_all()

    assert await asyncio.to_thread(trade) == (3, 1)
