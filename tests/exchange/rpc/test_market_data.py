"""MarketDataService over real gRPC: snapshots, deltas, checksums, conflation, trades."""

from __future__ import annotations

import asyncio
import random
import zlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from exchange.rpc import history, market_data
from exchange.v1 import market_data_service_pb2 as pb
from exchange.v1 import market_pb2
from tests.exchange.rpc.desk import ASK, BID, INSTRUMENT, Desk, open_desk
from tests.exchange.rpc.rig import error_info
from tests.waiting import WITHIN_S

UNKNOWN = "no/such/thing"


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    async with open_desk(tmp_path) as desk:
        yield desk


class Mirror:
    """A reader that keeps the book by the rules of docs/reference/market-data.md alone."""

    def __init__(self, depth: int) -> None:
        self.depth = depth
        self.sequence = 0
        self.messages = 0
        self.sides: tuple[dict[int, int], dict[int, int]] = ({}, {})

    def apply(self, message: pb.WatchBookResponse) -> None:
        self.messages += 1
        is_delta = message.WhichOneof("update") == "delta"
        book = message.delta if is_delta else message.snapshot
        assert message.previous_sequence == (self.sequence if is_delta else 0)
        assert book.sequence > self.sequence
        self.sequence = book.sequence
        if not is_delta:
            self.sides = ({}, {})
        for mine, levels in zip(self.sides, (book.bids, book.asks), strict=True):
            for level in levels:
                if level.quantity:
                    mine[level.price_nanos] = level.quantity
                else:
                    del mine[level.price_nanos]
        bids, asks = self.levels()
        text = "".join(f"{p}:{q}," for p, q in bids[:10])
        text += "|" + "".join(f"{p}:{q}," for p, q in asks[:10])
        assert zlib.crc32(text.encode()) == book.checksum
        assert max(len(bids), len(asks)) <= self.depth

    def levels(self) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
        bids, asks = self.sides
        return sorted(bids.items(), reverse=True), sorted(asks.items())


async def read(call: Any) -> Any:
    async with asyncio.timeout(WITHIN_S):
        return await call.read()


async def read_all(call: Any) -> None:
    while await read(call):
        pass


async def test_instruments_are_listed(desk: Desk) -> None:
    (found,) = (await desk.data.ListInstruments(pb.ListInstrumentsRequest())).instruments
    assert (found.instrument_id, found.name) == (desk.instrument_id, INSTRUMENT)
    assert found.settlement == market_pb2.SETTLEMENT_PAPER
    assert found.clearing_mode == market_pb2.CLEARING_MODE_CONTINUOUS
    assert found.state == market_pb2.TRADING_STATE_OPEN


async def test_a_book(desk: Desk) -> None:
    for price, quantity in ((100, 5), (99, 1), (100, 2)):
        await desk.place(desk.alice, BID, price, quantity)
    await desk.place(desk.alice, ASK, 103, 7)
    await desk.place(desk.bob, BID, 103, 3)
    book = (await desk.data.GetBook(pb.GetBookRequest(instrument=INSTRUMENT))).book
    assert [(b.price_nanos, b.quantity, b.orders) for b in book.bids] == [(100, 7, 2), (99, 1, 1)]
    assert [(a.price_nanos, a.quantity, a.orders) for a in book.asks] == [(103, 4, 1)]
    assert book.sequence == desk.core.sequence
    assert book.last_price_nanos == 103
    assert book.checksum == zlib.crc32(b"100:7,99:1,|103:4,")
    one = (await desk.data.GetBook(pb.GetBookRequest(instrument=INSTRUMENT, depth=1))).book
    assert len(one.bids) == 1


@pytest.mark.parametrize("depth", [1, 10, 100])
async def test_a_watcher_that_follows_the_rules_has_the_book(desk: Desk, depth: int) -> None:
    chance = random.Random(depth)
    call = desk.data.WatchBook(pb.WatchBookRequest(instrument=INSTRUMENT, depth=depth))
    mirror = Mirror(depth)
    mirror.apply(await read(call))
    for _ in range(8):
        for _ in range(10):
            side = chance.choice((BID, ASK))
            await desk.place(desk.alice, side, chance.randint(90, 130), chance.randint(1, 5))
        bids, asks = desk.core.depth(desk.instrument_id, depth)
        wanted = [(p, q) for p, q, _ in bids], [(p, q) for p, q, _ in asks]
        while mirror.levels() != wanted:
            mirror.apply(await read(call))
    call.cancel()


async def test_a_watcher_is_conflated(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(market_data, "BOOK_INTERVAL_S", 0.5)  # on a slow machine, too
    call = desk.data.WatchBook(pb.WatchBookRequest(instrument=INSTRUMENT))
    mirror = Mirror(10)
    mirror.apply(await read(call))
    orders = [desk.order(BID, 100, 1) for _ in range(300)]
    from tests.exchange.rpc.desk import TradeCall, places

    async with TradeCall(desk.alice) as trade:
        for order in orders:
            await trade.send(*places([order]))
        await trade.finish()
    while mirror.levels() != ([(100, 300)], []):
        mirror.apply(await read(call))
    assert mirror.messages < 150
    call.cancel()


async def test_what_changes_nothing_is_not_sent(desk: Desk) -> None:
    call = desk.data.WatchBook(pb.WatchBookRequest(instrument=INSTRUMENT))
    mirror = Mirror(10)
    mirror.apply(await read(call))
    await desk.place(desk.alice, BID, 0, 1)  # refused
    await asyncio.sleep(3 * market_data.BOOK_INTERVAL_S)
    await desk.place(desk.alice, BID, 100, 1)
    mirror.apply(await read(call))
    assert (mirror.messages, mirror.levels()) == (2, ([(100, 1)], []))
    call.cancel()


async def test_trades_recent_and_new(desk: Desk) -> None:
    await desk.place(desk.alice, ASK, 100, 100)
    for quantity in (1, 2, 3):
        await desk.place(desk.bob, BID, 100, quantity)
    call = desk.data.WatchTrades(pb.WatchTradesRequest(instrument=INSTRUMENT, recent=2))
    recent = await read(call)
    assert [(t.trade_id, t.quantity_mflop) for t in recent.trades] == [(2, 2), (3, 3)]
    every = desk.data.WatchTrades(pb.WatchTradesRequest(recent=1))
    assert [t.trade_id for t in (await read(every)).trades] == [3]
    await desk.place(desk.bob, BID, 100, 4)
    for stream in (call, every):
        (trade,) = (await read(stream)).trades
        assert (trade.trade_id, trade.quantity_mflop, trade.taker_side) == (4, 4, BID)
        assert trade.event_time_ns == desk.core.now_ns
        stream.cancel()


async def test_a_slow_reader_of_trades_is_cut_off(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(history, "TRADES_BEHIND_MAX", 3)
    await desk.place(desk.bob, ASK, 100, 1)
    await desk.place(desk.alice, BID, 100, 1)
    call = desk.data.WatchTrades(pb.WatchTradesRequest(recent=1))
    await read(call)
    for _ in range(5):
        await desk.place(desk.alice, ASK, 100, 1)
    await desk.place(desk.bob, BID, 100, 5)  # five trades of one command
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await read_all(call)
    assert caught.value.code() is grpc.StatusCode.OUT_OF_RANGE
    info = error_info(caught.value)
    assert (info.reason, int(info.metadata["last_sequence"])) == (
        "SLOW_READER",
        desk.core.sequence,
    )


async def test_what_cannot_be_asked(desk: Desk) -> None:
    data = desk.data
    cases = [
        (data.GetBook(pb.GetBookRequest(instrument=UNKNOWN)), "UNKNOWN_INSTRUMENT"),
        (data.GetBook(pb.GetBookRequest(instrument=INSTRUMENT, depth=101)), "FIELD_INVALID"),
        (read(data.WatchBook(pb.WatchBookRequest(instrument=UNKNOWN))), "UNKNOWN_INSTRUMENT"),
        (
            read(data.WatchBook(pb.WatchBookRequest(instrument=INSTRUMENT, depth=101))),
            "FIELD_INVALID",
        ),
        (read(data.WatchTrades(pb.WatchTradesRequest(instrument=UNKNOWN))), "UNKNOWN_INSTRUMENT"),
        (read(data.WatchTrades(pb.WatchTradesRequest(recent=1_001))), "FIELD_INVALID"),
    ]
    for call, reason in cases:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call
        assert error_info(caught.value).reason == reason
