"""Every order of a book over real gRPC: the visible book follows from it, gap-free."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from exchange.core.commands import SetInstrumentState, TradingState
from exchange.metering.cards import INSTANT
from exchange.rpc import book_orders
from exchange.v1 import market_data_service_pb2 as pb
from exchange.v1 import market_pb2 as market
from exchange.v1 import order_service_pb2 as order_pb
from matching.depth import Depth, Snapshot, VisibleOrder
from matching.packed import Kind
from matching.types import Side
from tests.exchange.rpc.desk import ASK, BID, INSTRUMENT, Desk, open_desk
from tests.exchange.rpc.rig import error_info
from tests.waiting import WITHIN_S

ADDED, EXECUTED, TRADED, REDUCED, DELETED, STATE = 1, 2, 3, 4, 5, 6


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    async with open_desk(tmp_path) as desk:
        yield desk


class Mirror:
    """A reader that knows the rules of docs/reference/market-data.md alone."""

    def __init__(self, desk: Desk) -> None:
        self._call = desk.data.WatchOrders(pb.WatchOrdersRequest(instrument=INSTRUMENT))
        self._snapshot: list[VisibleOrder] = []
        self.depth: Depth | None = None
        self.events: list[pb.BookEvent] = []
        self.messages = 0

    async def read(self) -> Any:
        async with asyncio.timeout(WITHIN_S):
            message = await self._call.read()
        assert message is not grpc.aio.EOF, await self._call.code()
        self.messages += 1
        return message

    async def start(self) -> Depth:
        while self.depth is None:
            message = await self.read()
            self._snapshot += [
                VisibleOrder(o.order_id, Side(o.side), o.price_nanos, o.quantity_mflop)
                for o in message.snapshot
            ]
            if message.snapshot_end:
                self.depth = Depth(Snapshot(message.sequence, tuple(self._snapshot)))
        return self.depth

    async def until(self, sequence: int) -> None:
        assert self.depth is not None
        while self.depth.sequence < sequence:
            message = await self.read()
            for event in message.events:
                self._apply(self.depth, event)
            assert message.sequence == self.depth.sequence

    def _apply(self, depth: Depth, event: pb.BookEvent) -> None:
        self.events.append(event)
        if event.kind == ADDED:
            depth.add(
                event.sequence,
                event.order_id,
                Side(event.side),
                event.price_nanos,
                event.quantity_mflop,
            )
        elif event.kind in (TRADED, STATE):
            depth.skip(event.sequence)
        elif event.kind == DELETED or not event.shown_mflop:
            depth.remove(event.sequence, event.order_id)
        else:
            depth.change(event.sequence, event.order_id, event.shown_mflop)

    def cancel(self) -> None:
        self._call.cancel()


def conditions(chance: random.Random) -> order_pb.OrderConditions | None:
    return chance.choice(
        (
            None,
            None,
            order_pb.OrderConditions(hidden=True),
            order_pb.OrderConditions(display_quantity_mflop=1),
            order_pb.OrderConditions(all_or_none=True),
            order_pb.OrderConditions(post_only=market.POST_ONLY_MODE_REPRICE),
        )
    )


async def test_the_book_follows_from_its_orders(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(book_orders, "MESSAGE_ROWS_MAX", 3)
    chance = random.Random(7)
    for price in (98, 99, 101, 102):
        await desk.place(desk.alice, BID if price < 100 else ASK, price, 5)
    mirror = Mirror(desk)
    depth = await mirror.start()
    assert mirror.messages == 2, "a large snapshot comes in several messages"
    for _ in range(120):
        trader, side = chance.choice((desk.alice, desk.bob)), chance.choice((BID, ASK))
        await desk.place(
            trader,
            side,
            chance.randint(97, 103),
            chance.randint(1, 9),
            conditions=conditions(chance),
            self_trade_prevention=chance.randint(1, 4),
        )
    book = desk.core.books[desk.instrument_id]
    await mirror.until(book.sequence)
    depth.check()
    for each in Side:
        assert depth.levels(each, 100) == desk.core.books[desk.instrument_id].depth(each, 100)
    seen = {event.kind for event in mirror.events}
    assert {ADDED, EXECUTED, TRADED, DELETED} <= seen
    mirror.cancel()


async def test_what_is_hidden_stays_hidden(desk: Desk) -> None:
    hidden = order_pb.OrderConditions(hidden=True)
    mirror = Mirror(desk)
    await mirror.start()
    await desk.place(desk.alice, BID, 100, 7, conditions=hidden)
    await desk.place(desk.bob, ASK, 100, 3)
    await mirror.until(desk.core.books[desk.instrument_id].sequence)
    (event,) = mirror.events
    assert (event.kind, event.order_id, event.price_nanos) == (TRADED, 0, 100)
    assert (event.quantity_mflop, event.shown_mflop) == (3, 0)
    mirror.cancel()


async def test_states_are_events_too(desk: Desk) -> None:
    mirror = Mirror(desk)
    await mirror.start()
    for state in (TradingState.AUCTION, TradingState.OPEN, TradingState.HALTED):
        await desk.exchange.submit(SetInstrumentState(desk.instrument_id, state))
    await mirror.until(desk.core.books[desk.instrument_id].sequence)
    states = [event.state for event in mirror.events if event.kind == STATE]
    assert states == [
        market.TRADING_STATE_AUCTION,
        market.TRADING_STATE_OPEN,
        market.TRADING_STATE_HALTED,
    ]
    mirror.cancel()


async def test_an_empty_book_has_a_snapshot(desk: Desk) -> None:
    mirror = Mirror(desk)
    depth = await mirror.start()
    assert (depth.sequence, depth.snapshot().orders) == (0, ())
    mirror.cancel()


async def test_a_slow_reader_is_cut_off(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(book_orders, "ROWS_BEHIND_MAX", 3)
    mirror = Mirror(desk)
    await mirror.start()
    # One command, so one group, so all at once: nobody can read between.
    for price in range(90, 95):
        await desk.place(desk.alice, BID, price, 1)
    await mirror.until(5)
    await desk.alice.CancelOrders(order_pb.CancelOrdersRequest())
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await mirror.read()
    assert caught.value.code() is grpc.StatusCode.OUT_OF_RANGE
    assert error_info(caught.value).metadata["last_sequence"] == "5"


async def test_nobody_listens_any_more(desk: Desk) -> None:
    first, second = Mirror(desk), Mirror(desk)
    await first.start()
    await second.start()
    first.cancel()
    await desk.place(desk.alice, BID, 100, 1)
    await second.until(1)
    assert list(desk.core.heard) == [desk.instrument_id]
    second.cancel()
    for _ in range(1_000):
        if not desk.core.heard:
            break
        await asyncio.sleep(0.01)
    assert desk.core.heard == {}


async def test_unknown_books_and_batch_books_have_no_orders(desk: Desk) -> None:
    ident = await desk.exchange.batch_instrument(INSTANT)
    batch = desk.core.instruments[ident].name
    for name, reason in (("no/such", "UNKNOWN_INSTRUMENT"), (batch, "ORDER_TYPE_UNSUPPORTED")):
        call = desk.data.WatchOrders(pb.WatchOrdersRequest(instrument=name))
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call.read()
        assert error_info(caught.value).reason == reason


async def test_best_prices_follow_the_touch(desk: Desk) -> None:
    call = desk.data.WatchBestPrices(pb.WatchBestPricesRequest(instrument=INSTRUMENT))
    first = await call.read()
    assert not first.HasField("bid")
    assert not first.HasField("ask")
    await desk.place(desk.alice, BID, 100, 5)
    await desk.place(desk.alice, BID, 90, 5)
    while True:
        async with asyncio.timeout(WITHIN_S):
            found = await call.read()
        if found.bid.price_nanos == 100:
            break
    assert (found.bid.quantity, found.bid.orders) == (5, 1)
    assert found.state == market.TRADING_STATE_OPEN
    call.cancel()


def test_kinds_are_those_of_the_rows() -> None:
    public = {Kind.ADD, Kind.EXECUTE, Kind.TRADE, Kind.REDUCE, Kind.DELETE, Kind.STATE}
    names = ["ADDED", "EXECUTED", "TRADED", "REDUCED", "DELETED", "STATE"]
    assert [f"BOOK_EVENT_KIND_{name}" for name in names] == [
        pb.BookEventKind.Name(int(kind))  # type: ignore[arg-type]
        for kind in sorted(public)
    ]
