"""The WebSocket: pushes, conflates, bounds, and lets no reader harm another."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import WSMsgType, WSServerHandshakeError

from exchange.http import feed, sockets, views
from exchange.http.feed import OverviewFeed
from exchange.http.sockets import OverviewSockets
from matching.types import Side
from tests.exchange.http.site import Site, eventually, open_site
from tests.waiting import WITHIN_S

PATH = "/ws/v1/overview"


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    async with open_site(tmp_path) as site:
        yield site


async def read(socket: aiohttp.ClientWebSocketResponse) -> dict[str, Any]:
    found: dict[str, Any] = await socket.receive_json(timeout=WITHIN_S)
    return found


async def read_until(socket: aiohttp.ClientWebSocketResponse, sequence: int) -> dict[str, Any]:
    """The first message that contains this command."""
    while True:
        found = await read(socket)
        if found["sequence"] >= sequence:
            return found


async def test_the_first_message_is_the_overview_and_changes_follow(site: Site) -> None:
    async with site.http.ws_connect(PATH) as socket:
        first = await read(socket)
        shown = await site.overview()
        assert first | {"uptime_s": 0} == shown | {"uptime_s": 0}
        await site.order(Side.BID, 90, 7)
        second = await read_until(socket, site.exchange.core.sequence)
        assert second["instruments"][0]["bids"] == [[90, 7, 1]]


async def test_what_happens_between_two_messages_is_conflated(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed, "INTERVAL_S", 0.4)
    async with site.http.ws_connect(PATH) as socket:
        await read(socket)
        for price in range(1, 31):
            await site.order(Side.BID, price, 1)
        messages = 0
        while (await read(socket))["orders_open"] < 30:
            messages += 1
        assert messages < 15


async def test_messages_keep_their_distance(site: Site) -> None:
    loop = asyncio.get_running_loop()
    async with site.http.ws_connect(PATH) as socket:
        await read(socket)
        began = loop.time()
        for price in range(1, 6):
            await site.order(Side.BID, price, 1)
            await read_until(socket, site.exchange.core.sequence)
        assert loop.time() - began > 4 * feed.INTERVAL_S * 0.9


async def test_silence_is_broken_by_a_heartbeat(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed, "HEARTBEAT_S", 0.05)
    async with site.http.ws_connect(PATH) as socket:
        for _ in range(3):
            assert (await read(socket))["type"] == "overview"


async def test_a_late_watcher_does_not_get_an_old_state(site: Site) -> None:
    async with site.http.ws_connect(PATH) as socket:
        await read(socket)
    await eventually(lambda: not http_sockets(site))
    await site.order(Side.BID, 90, 7)
    async with site.http.ws_connect(PATH) as socket:
        assert (await read(socket))["orders_open"] == 1


async def test_an_overview_that_fails_is_logged_and_the_feed_goes_on(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed, "HEARTBEAT_S", 0.05)
    async with site.http.ws_connect(PATH) as socket:
        await read(socket)
        with monkeypatch.context() as patch:
            patch.setattr(views, "overview", lambda *_: 1 / 0)
            await asyncio.sleep(0.2)
        assert (await read(socket))["type"] == "overview"


async def test_a_client_that_speaks_is_told_that_there_is_nothing_to_say(site: Site) -> None:
    async with site.http.ws_connect(PATH) as socket:
        await socket.send_str("hello")
        while (message := await socket.receive(timeout=WITHIN_S)).type == WSMsgType.TEXT:
            pass
        assert (message.type, message.data) == (WSMsgType.CLOSE, 1008)


async def test_a_long_message_ends_the_connection(site: Site) -> None:
    async with site.http.ws_connect(PATH) as socket:
        await socket.send_str("x" * (sockets.MESSAGE_BYTES_MAX + 1))
        while (message := await socket.receive(timeout=WITHIN_S)).type == WSMsgType.TEXT:
            pass
        assert (message.type, message.data) == (WSMsgType.CLOSE, 1009)


async def test_one_watcher_too_many_is_refused(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sockets, "SOCKETS_MAX", 2)
    async with site.http.ws_connect(PATH) as one, site.http.ws_connect(PATH) as two:
        with pytest.raises(WSServerHandshakeError) as refused:
            await site.http.ws_connect(PATH)
        assert refused.value.status == 503
        await read(one)
        await read(two)
        assert "flopex_http_sockets 2.0" in await site.text("/metrics")
    await eventually(lambda: not http_sockets(site))
    async with site.http.ws_connect(PATH) as again:
        await read(again)


@pytest.mark.parametrize("origin", ["https://elsewhere.example", "null", "http://127.0.0.1:1"])
async def test_pages_of_other_sites_may_not_watch(site: Site, origin: str) -> None:
    with pytest.raises(WSServerHandshakeError) as refused:
        await site.http.ws_connect(PATH, headers={"Origin": origin})
    assert refused.value.status == 403


async def test_the_page_itself_may_watch(site: Site) -> None:
    async with site.http.ws_connect(PATH, headers={"Origin": site.url}) as socket:
        await read(socket)


async def test_a_plain_request_is_a_typed_error(site: Site) -> None:
    async with site.http.get(PATH) as response:
        assert response.status == 400
        assert (await response.json())["error"]["code"] == "BAD_REQUEST"


async def test_watchers_are_told_when_the_exchange_closes(site: Site) -> None:
    async with site.http.ws_connect(PATH) as socket:
        await read(socket)
        stopping = asyncio.create_task(site.exchange.server.stop(0))
        states = []
        while (message := await socket.receive(timeout=WITHIN_S)).type == WSMsgType.TEXT:
            states.append(json.loads(message.data)["state"])
        assert (message.type, message.data) == (WSMsgType.CLOSE, 1001)
        await stopping


# ---- slow readers ----


class StuckSocket:
    """A connection whose buffers are full."""

    def __init__(self) -> None:
        self.sending = asyncio.Event()

    async def send_str(self, _: str) -> None:
        self.sending.set()
        await asyncio.Event().wait()


class Request:
    """As much of a request as the writer looks at."""

    def __init__(self) -> None:
        self.aborted = False
        self.transport = self

    def abort(self) -> None:
        self.aborted = True


async def test_a_reader_that_reads_nothing_is_cut_off_and_harms_nobody(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sockets, "SEND_WITHIN_S", 0.3)
    edges: Any = site.exchange.server.edges
    http = edges._http
    overview_feed: OverviewFeed = http._feed
    stuck: Any = StuckSocket()
    request: Any = Request()
    async with site.http.ws_connect(PATH) as socket:
        await read(socket)
        writing = asyncio.create_task(OverviewSockets(overview_feed)._write(request, stuck))
        await stuck.sending.wait()
        assert overview_feed.readers == 2
        await site.order(Side.BID, 90, 7)
        await read_until(socket, site.exchange.core.sequence)
        await asyncio.wait_for(writing, WITHIN_S)
        assert request.aborted
        assert overview_feed.readers == 1


def http_sockets(site: Site) -> int:
    edges: Any = site.exchange.server.edges
    http = edges._http
    return len(http._sockets)
