"""Streams to clients that do not read, and calls that fail on the way."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from exchange.http.rest import streams
from exchange.rpc.errors import slow_reader
from exchange.v1 import job_service_pb2 as pb
from tests.waiting import WITHIN_S


async def endless() -> AsyncIterator[Any]:
    while True:
        yield pb.WatchJobResponse(chunk=pb.OutputChunk(text="x" * 100_000))


async def failing() -> AsyncIterator[Any]:
    yield pb.WatchJobResponse(chunk=pb.OutputChunk(text="x"))
    raise slow_reader("it was read too slowly", {"last_sequence": 7})


async def test_who_does_not_read_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "SEND_WITHIN_S", 0.2)
    ended = asyncio.Event()

    async def serve(request: web.Request) -> web.StreamResponse:
        try:
            return await streams.send(request, endless(), streams.EVENTS)
        finally:
            ended.set()

    app = web.Application()
    app.router.add_get("/", serve)
    async with asyncio.timeout(WITHIN_S), TestServer(app) as server:
        _, writer = await asyncio.open_connection(server.host, server.port, limit=1_024)
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        await ended.wait()
        writer.transport.abort()


@pytest.mark.parametrize(
    ("form", "last"),
    [
        (streams.EVENTS, b"event: error\ndata: "),
        (streams.lines("unused"), b""),
    ],
)
async def test_a_call_that_fails_says_so_last(form: streams.Form, last: bytes) -> None:
    async def serve(request: web.Request) -> web.StreamResponse:
        form_of_any = streams.Form(form.content_type, lambda _: b"part\n", form.failure, b"")
        return await streams.send(request, failing(), form_of_any)

    app = web.Application()
    app.router.add_get("/", serve)
    async with asyncio.timeout(WITHIN_S), TestServer(app) as server:
        reader, writer = await asyncio.open_connection(server.host, server.port)
        writer.write(b"GET / HTTP/1.0\r\n\r\n")
        told = (await reader.read()).partition(b"\r\n\r\n")[2]
        writer.close()
    error = b'{"error":{"message":"it was read too slowly","type":"invalid_request_error",'
    assert told.startswith(b"part\n" + last + error)
    assert b'"code":"SLOW_READER"' in told
