"""Books under load: each message fits what a reader holds, whenever he came, however he reads."""

from __future__ import annotations

import asyncio
import random
import socket as sockets
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from exchange.http.market import outbox
from exchange.http.market import sockets as market_sockets
from exchange.v1 import market_data_service_pb2 as pb
from exchange.v1.market_data_service_pb2_grpc import MarketDataServiceStub
from tests.exchange.http.market.watching import Book, Crowd, Watcher, watch
from tests.exchange.http.site import PAPER, Site, eventually, open_site
from tests.waiting import WITHIN_S

SEED = 20_261_126
READERS = 24
BUFFER_BYTES = 32_768
ROUNDS = 60
BURST = 12


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    async with open_site(tmp_path) as found:
        yield found


async def exchange_book(site: Site, depth: int) -> Any:
    async with site.exchange.channel() as channel:
        key = (("authorization", f"Bearer {site.buyer}"),)
        request = pb.GetBookRequest(instrument=PAPER, depth=depth)
        return (await MarketDataServiceStub(channel).GetBook(request, metadata=key)).book


async def read_to(watcher: Watcher, book: Book, checksum: int) -> None:
    """Read until the book is the exchange's; each message is checked."""
    while book.sequence < 0 or book.checksum() != checksum:
        book.take((await watcher.read())["data"])


async def test_a_book_that_anybody_rebuilds_is_the_exchanges_at_every_message(site: Site) -> None:
    chance = random.Random(SEED)
    crowd = Crowd(site, SEED)
    await crowd.enter()
    done = asyncio.Event()

    async def reader(delay_s: float, depth: int) -> Book:
        await asyncio.sleep(delay_s)
        book = Book(depth)
        async with watch(site) as watcher:
            await watcher.subscribe("book", PAPER, depth=depth)
            while not done.is_set():
                book.take((await watcher.read())["data"])
            found = await exchange_book(site, depth)
            await read_to(watcher, book, found.checksum)
            assert book.bids == [(level.price_nanos, level.quantity) for level in found.bids]
            assert book.asks == [(level.price_nanos, level.quantity) for level in found.asks]
        return book

    readers = [
        asyncio.create_task(reader(chance.random() * 1.5, chance.choice((1, 5, 10, 100))))
        for _ in range(READERS)
    ]
    for _ in range(ROUNDS):
        await crowd.act(BURST)
        await asyncio.sleep(0.03)
    done.set()
    await crowd.trade()
    async with asyncio.timeout(2 * WITHIN_S):
        books = await asyncio.gather(*readers)
    assert sum(book.deltas for book in books) > READERS
    assert all(book.snapshots == 1 for book in books)


def hold_little(site: Site, watcher: Watcher) -> Any:
    """Let both ends of the newest socket hold little; the client's connection."""
    raw = watcher.socket.get_extra_info("socket")
    raw.setsockopt(sockets.SOL_SOCKET, sockets.SO_RCVBUF, BUFFER_BYTES)
    edges: Any = site.exchange.server.edges
    newest = tuple(edges._http._market._open)[-1]
    transport = newest._request.transport
    transport.get_extra_info("socket").setsockopt(
        sockets.SOL_SOCKET, sockets.SO_SNDBUF, BUFFER_BYTES
    )
    transport.set_write_buffer_limits(4_096)
    client: Any = watcher.socket
    return client._conn.transport


async def test_a_slow_reader_is_conflated_and_cut_off_and_harms_nobody(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    # However long a busy machine takes: it is not for being slow that it is cut off here.
    monkeypatch.setattr(market_sockets, "SEND_WITHIN_S", 100)
    monkeypatch.setattr(market_sockets, "PING_S", 100)
    monkeypatch.setattr(outbox, "UNREAD_MAX", 40)
    monkeypatch.setattr(outbox, "BEHIND_MAX", 4)
    crowd = Crowd(site, SEED)
    await crowd.enter()
    edges: Any = site.exchange.server.edges
    counts = edges._http._market._counts
    history, done = site.exchange.server.services.history, asyncio.Event()
    slow_book, quick_book = Book(100), Book(100)
    async with watch(site) as quick, watch(site) as slow:
        transport = hold_little(site, slow)
        for watcher in (slow, quick):
            await watcher.subscribe("trades", PAPER)
            await watcher.subscribe("book", PAPER, depth=100)
        transport.pause_reading()

        async def read_quickly() -> None:
            last = 0
            while not done.is_set() or last != history.trades(0, 1)[-1].trade_id:
                message = await quick.read()
                assert "error" not in message
                if message["channel"] == "trades":
                    last = int(message["data"]["trades"][-1]["trade_id"])
                else:
                    quick_book.take(message["data"])

        reading = asyncio.create_task(read_quickly())
        while counts["slow_readers"] < 1 or counts["conflated"] < 1:
            await crowd.act(150)
            await asyncio.sleep(0.01)
        done.set()
        await crowd.trade()
        await asyncio.wait_for(reading, WITHIN_S)
        # It reads again: its book is the exchange's, and it is told where its trades ended.
        transport.resume_reading()
        found = await exchange_book(site, 100)
        ending: dict[str, Any] = {}
        while slow_book.checksum() != found.checksum or not ending:
            message = await slow.read()
            if message["channel"] == "book":
                slow_book.take(message["data"])
            elif "error" in message:
                ending = message
            else:
                last = message["data"]["trades"][-1]["trade_id"]
        assert slow_book.snapshots > 1
        assert (ending["error"]["code"], ending["error"]["resume_from"]) == ("SLOW_READER", last)
        await slow.subscribe("trades", PAPER, recent=1_000)
        again = (await slow.read())["data"]["trades"]
        assert last in [trade["trade_id"] for trade in again]


async def test_who_reads_nothing_is_cut_off(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(market_sockets, "SEND_WITHIN_S", 0.3)
    crowd = Crowd(site, SEED)
    await crowd.enter()
    edges: Any = site.exchange.server.edges
    async with watch(site) as stuck:
        transport = hold_little(site, stuck)
        await stuck.subscribe("orders", PAPER)
        transport.pause_reading()

        async def act() -> None:
            while True:
                await crowd.act(40)
                await asyncio.sleep(0)

        acting = asyncio.create_task(act())
        await eventually(lambda: len(edges._http._market) == 0)
        acting.cancel()
        transport.abort()
