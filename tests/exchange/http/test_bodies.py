"""Bodies of requests: bounded in size, number, form and time, and no stranger's is read."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import json
from collections.abc import AsyncIterator, Awaitable, Callable

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from exchange.http import bodies, errors
from exchange.http.bodies import BODIES, Bodies, read_json
from exchange.http.errors import ApiError
from tests.exchange.http.site import eventually
from tests.waiting import WITHIN_S

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
JSON = {"Content-Type": "application/json"}


class Desk:
    """A server that reads, and answers once the gate is open.

    Attributes:
        held: What it holds of bodies.
        read: Bodies that were read.
        request: The newest.
        gate: Lets it answer.
    """

    def __init__(self) -> None:
        self.held = Bodies()
        self.read = 0
        self.request: web.Request | None = None
        self.gate = asyncio.Event()
        self.http: aiohttp.ClientSession
        self.port = 0

    async def answer(self, request: web.Request) -> web.Response:
        self.request = request
        found = await read_json(request)
        self.read += 1
        await self.gate.wait()
        return web.json_response(found)

    async def send(self, *parts: bytes) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A connection of its own, on which these bytes were sent."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.writelines(parts)
        await writer.drain()
        return reader, writer


@contextlib.asynccontextmanager
async def open_desk() -> AsyncIterator[Desk]:
    desk = Desk()

    @web.middleware
    async def surround(request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            return await handler(request)
        except ApiError as error:
            return errors.response(error)

    app = web.Application(middlewares=[surround])
    app[BODIES] = desk.held
    app.router.add_post("/", desk.answer)
    server = TestServer(app)
    await server.start_server(auto_decompress=False)
    async with (
        asyncio.timeout(WITHIN_S),
        server,
        aiohttp.ClientSession(server.make_url("")) as http,
    ):
        desk.http = http
        desk.port = server.port or 0
        yield desk
        desk.gate.set()


def head(length: int | None) -> bytes:
    """The head of a request with a body that long; None: in chunks."""
    size = "Transfer-Encoding: chunked" if length is None else f"Content-Length: {length}"
    return (
        f"POST / HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n{size}\r\n\r\n".encode()
    )


async def code_of(response: aiohttp.ClientResponse) -> tuple[int, str]:
    return response.status, (await response.json())["error"]["code"]


# ---- all together ----


async def test_all_bodies_together_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bodies, "BODIES_BYTES_MAX", 250)
    async with open_desk() as desk:
        desk.gate.set()
        body = json.dumps({"a": "x" * 90}).encode()
        opened = [await desk.send(head(len(body)), body[:-1]) for _ in range(2)]
        await eventually(lambda: desk.held.held_bytes == 2 * (len(body) - 1))
        async with desk.http.post("/", data=body, headers=JSON) as refused:
            assert (refused.status, refused.headers["Retry-After"]) == (503, "1")
            assert (await refused.json())["error"]["code"] == "OVERLOADED"
        for reader, writer in opened:
            writer.write(body[-1:])
            assert b" 200 " in await reader.readline()
            writer.close()
        assert desk.held.held_bytes == 0
        async with desk.http.post("/", data=body, headers=JSON) as response:
            assert response.status == 200


@pytest.mark.parametrize("length", [200, None], ids=["stated", "in chunks"])
async def test_a_body_that_does_not_come_takes_no_room(
    monkeypatch: pytest.MonkeyPatch, length: int | None
) -> None:
    monkeypatch.setattr(bodies, "BODIES_BYTES_MAX", 250)
    async with open_desk() as desk:
        desk.gate.set()
        opened = [await desk.send(head(length)) for _ in range(10)]
        async with desk.http.post("/", json={"a": "x" * 90}) as response:
            assert response.status == 200
        for _, writer in opened:
            writer.close()


async def test_a_body_takes_no_room_while_its_request_is_answered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(bodies, "BODIES_BYTES_MAX", 250)
    async with open_desk() as desk:

        async def chunks() -> AsyncIterator[bytes]:
            yield json.dumps({"a": "x" * 90}).encode()

        asked = [
            asyncio.create_task(desk.http.post("/", data=chunks(), headers=JSON)) for _ in range(10)
        ]
        await eventually(lambda: desk.read == len(asked))
        assert desk.held.held_bytes == 0
        desk.gate.set()
        for task in asked:
            async with await task as response:
                assert response.status == 200


async def test_who_goes_away_leaves_nothing_behind() -> None:
    async with open_desk() as desk:
        _, writer = await desk.send(head(100), b"x" * 50)
        await eventually(lambda: desk.held.held_bytes == 50)
        writer.close()
        await eventually(lambda: desk.held.held_bytes == 0)


# ---- one ----


@pytest.mark.parametrize("length", [bodies.BODY_BYTES_MAX + 1, None], ids=["stated", "in chunks"])
async def test_a_body_has_a_longest(length: int | None) -> None:
    async with open_desk() as desk:
        reader, writer = await desk.send(head(length))
        if length is None:
            # All but the stated one must have come to be too long.
            size = bodies.BODY_BYTES_MAX + 1
            writer.writelines((f"{size:x}\r\n".encode(), b" " * size))
        assert b" 413 " in await reader.readline()
        assert await reader.readuntil(b"BODY_TOO_LARGE")
        assert desk.held.held_bytes == 0
        writer.close()


async def answer_to_coded(desk: Desk, coding: str, body: bytes) -> bytes:
    """The status line; aiohttp's own client would compress what it is told is compressed."""
    headers = JSON | {"Content-Encoding": coding, "Content-Length": str(len(body))}
    text = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    reader, writer = await desk.send(f"POST / HTTP/1.1\r\nHost: x\r\n{text}\r\n".encode(), body)
    line = await reader.readline()
    writer.close()
    return line


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "zstd", "identity, gzip", "GZIP"])
async def test_a_body_in_another_form_is_not_read(coding: str) -> None:
    async with open_desk() as desk:
        assert b" 415 " in await answer_to_coded(desk, coding, gzip.compress(b" " * 1_000_000))


async def test_a_body_as_it_is_may_be_called_so() -> None:
    async with open_desk() as desk:
        desk.gate.set()
        assert b" 200 " in await answer_to_coded(desk, "Identity", b"{}")


async def test_a_body_that_cannot_be_read_is_malformed() -> None:
    async with open_desk() as desk:
        reader, writer = await desk.send(head(None), b"1\r\n{\r\n")
        await eventually(lambda: desk.held.held_bytes == 1)
        assert desk.request is not None
        desk.request.content.set_exception(web.RequestPayloadError("no chunk"))
        assert b" 400 " in await reader.readline()
        assert await reader.readuntil(b"BODY_MALFORMED")
        writer.close()


async def test_a_body_must_come(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bodies, "BODY_WITHIN_S", 0.1)
    hang = asyncio.Event()

    async def chunks() -> AsyncIterator[bytes]:
        yield b"{"
        await hang.wait()

    async with open_desk() as desk:
        async with desk.http.post("/", data=chunks(), headers=JSON) as refused:
            assert await code_of(refused) == (408, "BODY_LATE")
        hang.set()
