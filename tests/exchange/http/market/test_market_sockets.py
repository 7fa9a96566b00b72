"""Market data over WebSocket: who may watch, what is said, where the bounds are."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import grpc
import pytest
from aiohttp import WSServerHandshakeError
from google.protobuf import json_format

from exchange.core.commands import RevokeKey
from exchange.http.market import requests, sockets, upstreams
from exchange.http.market.sockets import MarketSockets
from exchange.rpc.auth import hash_secret, new_secret
from exchange.rpc.inside import INSIDE
from exchange.testing import InProcessExchange
from exchange.v1 import market_data_service_pb2 as pb
from exchange.v1.market_data_service_pb2_grpc import MarketDataServiceStub
from matching.types import Side
from tests.exchange.http.market.watching import PATH, Book, Crowd, watch
from tests.exchange.http.site import PAPER, Site, eventually, open_site
from tests.waiting import WITHIN_S

BATCH = "instant/cpu/interactive"


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    async with open_site(tmp_path) as found:
        yield found


def market(site: Site) -> MarketSockets:
    edges: Any = site.exchange.server.edges
    found: MarketSockets = edges._http._market
    return found


# ---- who ----


async def test_a_key_in_the_header_or_in_a_message_opens_the_market(site: Site) -> None:
    account_id = str(site.exchange.core.account_by_name["hidden-buyer"])
    async with watch(site) as watcher:
        assert (await watcher.ask(method="ping"))["result"] == {}
        await watcher.subscribe("best", PAPER)
        again = await watcher.ask(method="auth", key=site.buyer)
        assert again["error"]["code"] == "AUTHENTICATED"
    async with site.http.ws_connect(PATH) as socket:
        await socket.send_json({"method": "auth", "key": site.buyer, "id": 7})
        answer = await socket.receive_json(timeout=WITHIN_S)
        assert answer == {"id": 7, "result": {"account_id": account_id}}


async def test_without_a_key_nothing_can_be_watched(site: Site) -> None:
    async with site.http.ws_connect(PATH) as socket:
        for said, code in (
            ({"method": "subscribe", "channel": "book", "instrument": PAPER}, "KEY_MISSING"),
            ({"method": "subscribe", "channel": 7}, "KEY_MISSING"),
            ({"method": "sing"}, "KEY_MISSING"),
            ({"method": "auth"}, "KEY_MISSING"),
            ({"method": "auth", "key": "flx_nonsense"}, "KEY_MISSING"),
            ({"method": "auth", "key": new_secret()}, "KEY_UNKNOWN"),
        ):
            await socket.send_json(said)
            answer = await socket.receive_json(timeout=WITHIN_S)
            assert (answer["id"], answer["error"]["code"]) == (None, code)
        # A mistake can be mended on the same socket.
        await socket.send_json({"method": "auth", "key": site.buyer, "id": "x"})
        assert (await socket.receive_json(timeout=WITHIN_S))["id"] == "x"


async def test_a_wrong_key_in_the_header_is_refused_at_once(site: Site) -> None:
    with pytest.raises(WSServerHandshakeError) as refused:
        await site.http.ws_connect(PATH, headers={"Authorization": f"Bearer {new_secret()}"})
    assert refused.value.status == 401
    assert len(market(site)) == 0


async def test_who_says_no_key_in_time_is_closed(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sockets, "AUTH_WITHIN_S", 0)
    async with site.http.ws_connect(PATH) as socket:
        message = await socket.receive(timeout=WITHIN_S)
        assert (message.data, message.extra) == (1008, "no key within 0 s")


async def test_a_revoked_key_closes_its_sockets_and_no_others(site: Site) -> None:
    other = await site.exchange.trader("other")
    async with watch(site) as kept, watch(site, other) as one, watch(site, other) as two:
        for watcher in (kept, one, two):
            await watcher.subscribe("book", PAPER)
            await watcher.read()
        await site.exchange.submit(RevokeKey(hash_secret(other)))
        assert await one.close_code() == await two.close_code() == 1008
        # They shared one stream of the exchange, which goes on for who is left.
        await site.order(Side.BID, 90, 7)
        assert (await kept.read())["data"]["delta"]["bids"]
    await eventually(lambda: len(market(site)) == 0)


async def test_pages_of_other_sites_may_not_watch(site: Site) -> None:
    headers = {"Origin": "https://elsewhere.example", "Authorization": f"Bearer {site.buyer}"}
    with pytest.raises(WSServerHandshakeError) as refused:
        await site.http.ws_connect(PATH, headers=headers)
    assert refused.value.status == 403


async def test_what_needs_no_key_inside_cannot_be_reached_from_outside(site: Site) -> None:
    assert len(INSIDE) == 8
    async with site.exchange.channel() as opened:
        channel: Any = opened
        for path in INSIDE:
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await channel.unary_stream(path)(b"").read()
            assert refused.value.code() == grpc.StatusCode.UNIMPLEMENTED


# ---- what is said ----


async def test_payloads_are_those_of_grpc(site: Site) -> None:
    await site.order(Side.BID, 90, 7)
    async with watch(site) as watcher, site.exchange.channel() as channel:
        await watcher.subscribe("book", PAPER, depth=3)
        said = await watcher.read()
        assert (said["channel"], said["instrument"]) == ("book", PAPER)
        request = pb.WatchBookRequest(instrument=PAPER, depth=3)
        key = (("authorization", f"Bearer {site.buyer}"),)
        call = MarketDataServiceStub(channel).WatchBook(request, metadata=key)
        over_grpc = await call.read()
        call.cancel()
        assert json_format.ParseDict(said["data"], pb.WatchBookResponse()) == over_grpc
        level = said["data"]["snapshot"]["bids"][0]
        assert level == {"price_nanos": "90", "quantity": "7", "orders": 1}


async def test_best_prices_come_whole(site: Site) -> None:
    async with watch(site) as watcher:
        await watcher.subscribe("best", PAPER)
        assert "bid" not in (await watcher.read())["data"]
        await site.order(Side.BID, 90, 7)
        found = (await watcher.read())["data"]
        assert (found["bid"]["price_nanos"], found.get("ask")) == ("90", None)


async def test_trades_begin_with_as_many_as_asked_for(site: Site) -> None:
    crowd = Crowd(site, 1)
    await crowd.enter()
    for price in (1_000, 1_001, 1_002):
        await crowd.trade(price)

    def prices(message: dict[str, Any]) -> list[str]:
        return [trade["price_nanos"] for trade in message["data"]["trades"]]

    async with watch(site) as one, watch(site) as two, watch(site) as three:
        await one.subscribe("trades", PAPER, recent=2)
        await two.subscribe("trades", "", recent=1_000)
        await three.subscribe("trades", PAPER)
        assert prices(await one.read()) == ["1001", "1002"]
        assert prices(await two.read()) == ["1000", "1001", "1002"]
        await crowd.trade(1_003)
        for watcher in (one, two, three):
            assert prices(await watcher.read()) == ["1003"]


async def test_orders_of_a_book_for_one_who_comes_later(site: Site) -> None:
    crowd = Crowd(site, 2)
    await crowd.enter()
    async with watch(site) as first:
        await first.subscribe("orders", PAPER)
        assert (await first.read())["data"]["snapshot_end"]
        for _ in range(20):
            await crowd.act(20)
        async with watch(site) as second, site.exchange.channel() as channel:
            await second.subscribe("orders", PAPER)
            said = (await second.read())["data"]
            key = (("authorization", f"Bearer {site.buyer}"),)
            request = pb.WatchOrdersRequest(instrument=PAPER)
            call = MarketDataServiceStub(channel).WatchOrders(request, metadata=key)
            fresh: Any = await call.read()
            call.cancel()
            parsed = json_format.ParseDict(said, pb.WatchOrdersResponse())
            assert parsed.sequence == fresh.sequence
            assert list(parsed.snapshot) == list(fresh.snapshot)
            assert len(fresh.snapshot) > 20
            await crowd.act(20)
            following = (await second.read())["data"]["events"]
            assert int(following[0]["sequence"]) == fresh.sequence + 1


async def test_one_stream_of_the_exchange_serves_all_who_watch_the_same(site: Site) -> None:
    services = site.exchange.server.services
    async with watch(site) as one, watch(site) as two:
        held = services.streams
        for watcher in (one, two):
            await watcher.subscribe("book", PAPER)
        assert services.streams == held + 1
        await two.subscribe("best", PAPER)
        assert services.streams == held + 2
        for watcher, channel in ((one, "book"), (two, "book"), (two, "best")):
            answer = await watcher.ask(method="unsubscribe", channel=channel, instrument=PAPER)
            assert answer["result"] == {"channel": channel, "instrument": PAPER}
        await eventually(lambda: services.streams == held)
        await one.subscribe("book", PAPER)
        assert (await one.read())["data"]["snapshot"]
    await eventually(lambda: services.streams == 0)


async def test_nothing_follows_an_unsubscription(site: Site) -> None:
    async with watch(site) as watcher:
        await watcher.subscribe("book", PAPER)
        await watcher.ask(method="unsubscribe", channel="book", instrument=PAPER)
        await site.order(Side.BID, 90, 7)
        await asyncio.sleep(0.1)
        await watcher.say(method="ping", id="last")
        assert (await watcher.read())["id"] == "last"


SUBSCRIBE = {"method": "subscribe", "channel": "book", "instrument": PAPER}


REFUSED: list[tuple[dict[str, Any], str, str | None]] = [
    (SUBSCRIBE | {"channel": "jokes"}, "FIELD_INVALID", "channel"),
    (SUBSCRIBE | {"instrument": ""}, "FIELD_INVALID", "instrument"),
    (SUBSCRIBE | {"instrument": "no/such/thing"}, "UNKNOWN_INSTRUMENT", None),
    (
        {"method": "subscribe", "channel": "trades", "instrument": "no/such/thing"},
        "UNKNOWN_INSTRUMENT",
        None,
    ),
    (SUBSCRIBE | {"channel": "orders", "instrument": BATCH}, "ORDER_TYPE_UNSUPPORTED", None),
    (SUBSCRIBE | {"depth": 0}, "FIELD_INVALID", "depth"),
    (SUBSCRIBE | {"depth": requests.DEPTH_MAX + 1}, "FIELD_INVALID", "depth"),
    (SUBSCRIBE | {"channel": "best", "depth": 5}, "FIELD_INVALID", "depth"),
    (SUBSCRIBE | {"recent": 5}, "FIELD_INVALID", "recent"),
    ({"method": "subscribe", "channel": "trades", "recent": 1_001}, "FIELD_INVALID", "recent"),
    ({"method": "subscribe", "channel": "trades", "recent": -1}, "FIELD_INVALID", "recent"),
    (SUBSCRIBE | {"method": "unsubscribe"}, "NOT_SUBSCRIBED", None),
    (SUBSCRIBE | {"deep": 5}, "MESSAGE_MALFORMED", None),
    (SUBSCRIBE | {"depth": "5"}, "MESSAGE_MALFORMED", None),
    ({"method": "sing"}, "MESSAGE_MALFORMED", None),
    ({}, "MESSAGE_MALFORMED", None),
]


async def test_what_cannot_be_done_is_refused_by_name(site: Site) -> None:
    async with watch(site) as watcher:
        for said, code, param in REFUSED:
            answer = await watcher.ask(**said)
            assert (answer["error"]["code"], answer["error"]["param"]) == (code, param), said
        assert (await watcher.ask(method="ping"))["result"] == {}
        assert len(market(site)._upstreams) == 0


async def test_what_is_no_message_is_refused_and_the_socket_stays(site: Site) -> None:
    async with watch(site) as watcher:
        for said in ("", "[]", "{", '"x"', "1", '{"id": {}}', '{"id": "\\ud800"}'):
            await watcher.socket.send_str(said)
            assert (await watcher.read())["error"]["code"] == "MESSAGE_MALFORMED", said
        assert (await watcher.ask(method="ping"))["result"] == {}


async def test_the_same_is_watched_once(site: Site) -> None:
    async with watch(site) as watcher:
        await watcher.subscribe("book", PAPER)
        answer = await watcher.ask(**SUBSCRIBE, depth=20)
        assert answer["error"]["code"] == "SUBSCRIBED"


async def test_watchers_are_told_when_the_exchange_drains(site: Site) -> None:
    async with watch(site) as watcher:
        await watcher.subscribe("book", PAPER)
        await watcher.read()
        await site.exchange.server.begin_drain()
        assert await watcher.close_code() == 1001


# ---- bounds ----


async def test_a_long_message_ends_the_connection(site: Site) -> None:
    async with watch(site) as watcher:
        await watcher.socket.send_str("x" * (sockets.MESSAGE_BYTES_MAX + 1))
        assert await watcher.close_code() == 1009
    async with watch(site) as watcher:
        await watcher.socket.send_bytes(b"{}")
        assert await watcher.close_code() == 1003


async def test_one_socket_too_many_is_refused(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sockets, "SOCKETS_MAX", 2)
    async with watch(site), watch(site) as two:
        await two.subscribe("book", PAPER)
        with pytest.raises(WSServerHandshakeError) as refused:
            await site.http.ws_connect(PATH)
        assert refused.value.status == 503
        found = await site.text("/metrics")
        assert "flopex_market_sockets 2.0" in found
        assert "flopex_market_streams 1.0" in found
        assert 'flopex_market_subscriptions{channel="book"} 1.0' in found
        assert "flopex_market_refused_total 1.0" in found
    await eventually(lambda: len(market(site)) == 0)
    async with watch(site) as again:
        await again.subscribe("book", PAPER)


async def test_few_may_be_there_without_a_key(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sockets, "UNKNOWN_MAX", 1)
    async with site.http.ws_connect(PATH) as socket:
        with pytest.raises(WSServerHandshakeError) as refused:
            await site.http.ws_connect(PATH)
        assert refused.value.status == 503
        await socket.send_json({"method": "auth", "key": site.buyer})
        await socket.receive_json(timeout=WITHIN_S)
        async with site.http.ws_connect(PATH):
            pass


async def test_a_socket_has_few_subscriptions(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sockets, "SUBSCRIPTIONS_MAX", 2)
    async with watch(site) as watcher:
        await watcher.subscribe("book", PAPER)
        await watcher.subscribe("best", PAPER)
        answer = await watcher.ask(method="subscribe", channel="trades")
        assert answer["error"]["code"] == "OVERLOADED"
        await watcher.ask(method="unsubscribe", channel="best", instrument=PAPER)
        await watcher.subscribe("trades", "")


async def test_few_different_streams_are_open(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upstreams, "UPSTREAMS_MAX", 1)
    async with watch(site) as one, watch(site) as two:
        await one.subscribe("book", PAPER)
        await two.subscribe("book", PAPER)
        error = (await two.ask(method="subscribe", channel="best", instrument=PAPER))["error"]
        assert (error["code"], error["retry_after_ms"]) == ("OVERLOADED", 100)


# ---- two processes ----


async def test_with_the_gateway_in_a_process_of_its_own(tmp_path: Path) -> None:
    async with InProcessExchange(tmp_path, http=True, gateway=True) as exchange:
        base = f"http://{exchange.http_address}"
        async with asyncio.timeout(4 * WITHIN_S), aiohttp.ClientSession(base) as http:
            site = Site(exchange, http)
            await site.open_market()
            other = await exchange.trader("other")
            async with watch(site) as kept, watch(site, other) as gone:
                books = [Book(10), Book(10)]
                for watcher, book in zip((kept, gone), books, strict=True):
                    await watcher.subscribe("book", PAPER)
                    book.take((await watcher.read())["data"])
                await site.order(Side.BID, 90, 7)
                for watcher, book in zip((kept, gone), books, strict=True):
                    book.take((await watcher.read())["data"])
                    assert book.bids == [(90, 7)]
                await exchange.submit(RevokeKey(hash_secret(other)))
                assert await gone.close_code() == 1008
                await site.order(Side.BID, 91, 7)
                books[0].take((await kept.read())["data"])
