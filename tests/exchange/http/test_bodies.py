"""Bodies of requests, from strangers: bounded in size, number and time."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from exchange.http import bodies, errors
from exchange.http.bodies import Bodies, read_json
from exchange.http.errors import ApiError
from tests.exchange.http.site import eventually
from tests.waiting import WITHIN_S


@contextlib.asynccontextmanager
async def serve(held: Bodies, gate: asyncio.Event) -> AsyncIterator[aiohttp.ClientSession]:
    """A server that answers once the gate is open."""

    async def answer(request: web.Request) -> web.Response:
        found = await read_json(request)
        await gate.wait()
        return web.json_response(found)

    async def ignore(_: web.Request) -> web.Response:
        return web.json_response({})

    @web.middleware
    async def surround(request: web.Request, handler: bodies.Handler) -> web.StreamResponse:
        try:
            return await handler(request)
        except ApiError as error:
            return errors.response(error)

    app = web.Application(middlewares=[surround, held.bound], client_max_size=1_000)
    app.router.add_post("/", answer)
    app.router.add_get("/", ignore)
    async with (
        asyncio.timeout(WITHIN_S),
        TestServer(app) as server,
        aiohttp.ClientSession(server.make_url("")) as http,
    ):
        yield http


async def test_all_bodies_together_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bodies, "BODIES_BYTES_MAX", 250)
    held, gate = Bodies(), asyncio.Event()
    body = {"a": "x" * 90}
    async with serve(held, gate) as http:
        first = [asyncio.create_task(http.post("/", json=body)) for _ in range(2)]
        await eventually(lambda: held.held_bytes > 190)
        async with http.post("/", json=body) as refused:
            assert (refused.status, refused.headers["Retry-After"]) == (503, "1")
            assert (await refused.json())["error"]["code"] == "OVERLOADED"
        gate.set()
        for task in first:
            async with await task as response:
                assert await response.json() == body
        assert held.held_bytes == 0
        async with http.post("/", json=body) as response:
            assert response.status == 200


async def test_a_body_of_unknown_size_counts_as_the_longest(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(bodies, "BODIES_BYTES_MAX", bodies.BODY_BYTES_MAX - 1)

    async def chunks() -> AsyncIterator[bytes]:
        yield b"{}"

    gate = asyncio.Event()
    gate.set()
    async with serve(Bodies(), gate) as http:
        headers = {"Content-Type": "application/json"}
        async with http.post("/", data=chunks(), headers=headers) as refused:
            assert refused.status == 503
        async with http.post("/") as response:
            assert await response.json() == {}
        # Nobody reads the body of a GET, so nothing is held of it.
        async with http.get("/", data=chunks(), headers=headers) as response:
            assert response.status == 200


async def test_a_body_must_come(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bodies, "BODY_WITHIN_S", 0.1)
    hang = asyncio.Event()

    async def chunks() -> AsyncIterator[bytes]:
        yield b"{"
        await hang.wait()

    async with serve(Bodies(), hang) as http:
        headers = {"Content-Type": "application/json"}
        async with http.post("/", data=chunks(), headers=headers) as refused:
            assert refused.status == 408
            assert (await refused.json())["error"]["code"] == "BODY_LATE"
        hang.set()
