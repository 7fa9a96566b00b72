"""What comes without a key, or from who takes or says nothing: it costs little, and ends."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from aiohttp import WSServerHandshakeError, web

from exchange.http import app, listener
from exchange.http.addresses import split_address
from exchange.http.bodies import BODY_BYTES_MAX, READ_AHEAD_BYTES
from exchange.rpc.auth import new_secret
from tests.exchange.http.site import Site, eventually, open_site
from tests.waiting import WITHIN_S

POSTS = ("/v1/chat/completions", "/v1/completions", "/v1/responses", "/v1/jobs", "/v1/orders")
SOCKETS = ("/ws/v1/overview", "/ws/v1/market")


pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def site(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Site]:
    async with open_site(tmp_path_factory.mktemp("site"), within_s=None) as found:
        yield found


def http_of(site: Site) -> Any:
    edges: Any = site.exchange.server.edges
    return edges._http


async def connect(site: Site) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_connection(*split_address(site.exchange.http_address))


def head(path: str, key: str, more: str) -> bytes:
    lines = ("Host: x", f"Authorization: Bearer {key}", "Content-Type: application/json", more)
    return "\r\n".join((f"POST {path} HTTP/1.1", *lines, "", "")).encode()


# ---- keys ----


@pytest.mark.parametrize("path", POSTS)
@pytest.mark.parametrize(
    "size", [f"Content-Length: {BODY_BYTES_MAX}", "Transfer-Encoding: chunked"]
)
async def test_a_key_is_looked_up_before_the_body_is_read(site: Site, path: str, size: str) -> None:
    reader, writer = await connect(site)
    writer.write(head(path, new_secret(), size))
    async with asyncio.timeout(WITHIN_S):
        assert b" 401 " in await reader.readline()
    assert http_of(site)._bodies.held_bytes == 0
    writer.close()


@pytest.mark.parametrize("path", POSTS)
async def test_an_unknown_key_is_refused_for_that_whatever_it_asks(site: Site, path: str) -> None:
    headers = {"Authorization": f"Bearer {new_secret()}"}
    async with site.http.post(path, json={"no": "such"}, headers=headers) as response:
        assert response.status == 401
        assert (await response.json())["error"]["code"] == "KEY_UNKNOWN"


async def test_what_is_no_key_is_told_of_the_header(site: Site) -> None:
    headers = {"Authorization": "Bearer x"}
    for response in (
        await site.http.get("/v1/account", headers=headers),
        await site.http.post("/v1/completions", json={}, headers=headers),
    ):
        error = (await response.json())["error"]
        assert (response.status, error["code"]) == (401, "KEY_MISSING")
        assert "header 'Authorization" in error["message"]
        assert "metadata" not in error["message"]


@pytest.mark.parametrize("scheme", ["bearer", "BEARER", "beaReR"])
async def test_a_scheme_is_taken_in_any_case(site: Site, scheme: str) -> None:
    headers = {"Authorization": f"{scheme} {site.buyer}"}
    for path in ("/v1/account", "/v1/models", "/v1/export/trades"):
        async with site.http.get(path, headers=headers) as response:
            assert response.status == 200, path
    async with site.http.post("/v1/completions", json={}, headers=headers) as response:
        assert (await response.json())["error"]["code"] == "FIELD_MISSING"
    async with site.http.ws_connect("/ws/v1/market", headers=headers) as watching:
        await watching.send_json({"method": "ping", "id": 1})
        assert (await watching.receive_json(timeout=WITHIN_S))["id"] == 1


async def test_a_scheme_beside_a_header_that_is_no_text_is_left_alone(site: Site) -> None:
    reader, writer = await connect(site)
    lines = b"Host: x\r\nX-Name: \xff\r\nAuthorization: bearer flx_\r\n\r\n"
    writer.write(b"GET /v1/account HTTP/1.1\r\n" + lines)
    assert b" 401 " in await reader.readline()
    writer.close()


# ---- bodies ----


async def test_nothing_is_unpacked(site: Site) -> None:
    reader, writer = await connect(site)
    size = "Content-Length: 5\r\nContent-Encoding: gzip"
    writer.write(head("/v1/completions", site.buyer, size) + b"no zip"[:5])
    assert b" 415 " in await reader.readline()
    writer.close()


async def test_little_waits_to_be_read(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    http = http_of(site)
    asked: asyncio.Future[web.Request] = asyncio.get_running_loop().create_future()
    go = asyncio.Event()

    class Views:
        async def overview(self, *_: object) -> object:
            await go.wait()
            raise web.HTTPServiceUnavailable

    monkeypatch.setattr(http, "_views", Views())
    monkeypatch.setattr(http._listener, "spoke", asked.set_result)
    _, writer = await connect(site)
    writer.write(b"GET /v1/overview HTTP/1.1\r\nHost: x\r\nContent-Length: 4000000\r\n\r\n")
    writer.write(b" " * 4_000_000)
    request = await asyncio.wait_for(asked, WITHIN_S)
    await eventually(lambda: request.content.total_bytes > 2 * READ_AHEAD_BYTES)
    # Nothing more is taken from the connection; a read of the system's comes whole.
    transport: Any = request.transport
    assert not transport.is_reading()
    assert request.content.total_bytes <= 2 * READ_AHEAD_BYTES + transport.max_size
    writer.close()
    go.set()


# ---- connections ----


async def ends(reader: asyncio.StreamReader) -> bool:
    """Whether the other side closes the connection."""
    async with asyncio.timeout(WITHIN_S):
        with contextlib.suppress(ConnectionError):
            while await reader.read(1 << 16):
                pass
    return True


async def test_a_connection_that_has_asked_may_not_idle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app, "KEEPALIVE_S", 0.3)
    async with open_site(tmp_path) as site, site.http.ws_connect(SOCKETS[0]) as watching:
        request = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
        for more in (b"", request, b"GET /healthz HTTP/1.1\r\nHo"):
            reader, writer = await connect(site)
            writer.write(request + more)
            assert await ends(reader)
            writer.close()
        # One that is being answered stays.
        async with asyncio.timeout(WITHIN_S):
            for _ in range(3):
                await watching.receive_str()


@pytest.mark.skipif(not hasattr(socket, "TCP_USER_TIMEOUT"), reason="Linux alone has this")
async def test_who_takes_nothing_is_cut_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listener, "TAKEN_WITHIN_S", 0.5)
    async with open_site(tmp_path) as site:
        with socket.socket() as slow:
            slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
            slow.setblocking(False)
            loop = asyncio.get_running_loop()
            await loop.sock_connect(slow, split_address(site.exchange.http_address))
            connections = http_of(site)._listener
            await eventually(lambda: len(connections) == 1)
            request = b"GET /v1/openapi.json HTTP/1.1\r\nHost: x\r\n\r\n"
            await loop.sock_sendall(slow, request * 30)
            await eventually(lambda: len(connections) == 0)


# ---- what is no HTTP, and no address ----


@pytest.mark.parametrize("path", SOCKETS)
@pytest.mark.parametrize("origin", ["http://[x", "http://[::1", "http://\u2100.example"])
async def test_an_origin_that_is_no_address_is_foreign(site: Site, path: str, origin: str) -> None:
    with pytest.raises(WSServerHandshakeError) as refused:
        await site.http.ws_connect(path, headers={"Origin": origin})
    assert refused.value.status == 403


@pytest.mark.parametrize("line", [b"no header", b"X-Long: " + b"x" * 10_000], ids=["no", "long"])
async def test_what_is_no_http_is_no_fault_of_ours(
    site: Site, caplog: pytest.LogCaptureFixture, line: bytes
) -> None:
    caplog.set_level(logging.DEBUG, "aiohttp.server")
    reader, writer = await connect(site)
    writer.write(b"GET /healthz HTTP/1.1\r\n" + line + b"\r\n\r\n")
    async with asyncio.timeout(WITHIN_S):
        answer = await reader.read()
    assert b" 400 " in answer
    levels = {record.levelno for record in caplog.records if record.name == "aiohttp.server"}
    assert levels == {logging.DEBUG}
    writer.close()
