"""Calls made for HTTP: as gRPC makes them, answered, refused and ended."""

from __future__ import annotations

import asyncio
import contextlib
import io
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from exchange.http.calls import UNREAD_MAX, Calls
from exchange.http.errors import of_rpc
from exchange.rpc import followed
from exchange.rpc.calls import MESSAGE_BYTES_MAX, IncomingCall
from exchange.rpc.errors import Code, RpcError, busy
from exchange.rpc.inside import SUBMIT_JOB
from exchange.v1 import job_service_pb2 as jobs_pb
from exchange.v1 import market_data_service_pb2 as market_pb
from tests.exchange.http.site import PAPER, Site, eventually, open_site
from tests.waiting import WITHIN_S

INSTRUMENTS = "/exchange.v1.MarketDataService/ListInstruments"
WATCH_BOOK = "/exchange.v1.MarketDataService/WatchBook"


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    async with open_site(tmp_path) as found:
        yield found


def calls_of(site: Site) -> Calls:
    edges: Any = site.exchange.server.edges
    made: Calls = edges._http._calls
    return made


def key_of(site: Site) -> dict[str, str]:
    return {"authorization": f"Bearer {site.buyer}"}


async def test_one_request_has_one_response(site: Site) -> None:
    request = market_pb.ListInstrumentsRequest()
    found = await calls_of(site).unary(INSTRUMENTS, request, key_of(site))
    assert PAPER in [instrument.name for instrument in found.instruments]


async def test_a_refusal_is_the_one_of_grpc(site: Site) -> None:
    with pytest.raises(RpcError) as caught:
        await calls_of(site).unary(INSTRUMENTS, market_pb.ListInstrumentsRequest(), {})
    assert (caught.value.code, caught.value.reason) == (Code.UNAUTHENTICATED, "KEY_MISSING")
    assert of_rpc(caught.value).status == 401


async def test_a_message_is_no_longer_than_over_grpc(site: Site) -> None:
    # A body that is let in may be a message that is not.
    body = b'{"url": "%b"}' % (b"x" * MESSAGE_BYTES_MAX)
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {site.buyer}"}
    async with site.http.post("/v1/webhooks", data=io.BytesIO(body), headers=headers) as response:
        assert response.status == 413
        assert (await response.json())["error"]["code"] == "MESSAGE_TOO_LARGE"


async def test_a_key_that_is_no_text_is_no_key(site: Site) -> None:
    host, port = site.exchange.http_address.split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    request = b"GET /v1/models HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer \xff\r\n"
    writer.write(request + b"Connection: close\r\n\r\n")
    assert b" 401 " in await reader.readline()
    writer.close()


async def test_a_submission_is_watched_also_where_its_caller_dies_under_it(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(followed, "ABANDONED_S", 0.1)
    job_blobs: Any = site.exchange.server.services.job_blobs
    put, putting, go_on = job_blobs._put, asyncio.Event(), asyncio.Event()

    async def slow(*arguments: Any) -> None:
        putting.set()
        await go_on.wait()
        await put(*arguments)

    monkeypatch.setattr(job_blobs, "_put", slow)
    request = jobs_pb.SubmitJobRequest(
        client_job_id=site.exchange.id(),
        model="instant",
        input=jobs_pb.JobInput(prompt="one two", output_tokens_max=16),
        quantity_mflop=1_000,
        value_nanos=10_000,
    )
    asking = asyncio.create_task(calls_of(site).unary(SUBMIT_JOB, request, key_of(site)))
    await putting.wait()
    asking.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await asking
    go_on.set()
    jobs = site.exchange.core.jobs
    await eventually(lambda: any(job.state.name == "CANCELLED" for job in jobs.values()))


async def test_a_stream_ends_with_its_block(site: Site) -> None:
    edges: Any = site.exchange.server.edges
    admission = edges._grpc.admission
    request = market_pb.WatchBookRequest(instrument=PAPER)
    async with calls_of(site).stream(WATCH_BOOK, request, key_of(site)) as responses:
        first = await anext(responses)
        assert first.WhichOneof("update") == "snapshot", first
        assert admission.calls == 1
    await eventually(lambda: admission.calls == 0)


async def test_a_stream_that_is_refused_raises_where_it_is_read(site: Site) -> None:
    request = jobs_pb.WatchJobRequest(job_id=10**9)
    path = "/exchange.v1.JobService/WatchJob"
    async with calls_of(site).stream(path, request, key_of(site)) as responses:
        with pytest.raises(RpcError, match="UNKNOWN_JOB"):
            await anext(responses)


async def test_who_does_not_read_does_not_keep_a_stream(site: Site) -> None:
    request = market_pb.WatchBookRequest(instrument=PAPER)
    with contextlib.suppress(TimeoutError):
        async with (
            asyncio.timeout(0.2),
            calls_of(site).stream(WATCH_BOOK, request, key_of(site)),
        ):
            await asyncio.sleep(60)
    edges: Any = site.exchange.server.edges
    await eventually(lambda: edges._grpc.admission.calls == 0)


class Ending:
    """An API whose calls write so much, and end so."""

    def __init__(self, messages: int, end: BaseException | None) -> None:
        self._messages = messages
        self._end = end

    async def serve(self, call: IncomingCall) -> None:
        for _ in range(self._messages):
            await call.write(b"")
        if self._end is not None:
            raise self._end


@pytest.mark.parametrize("messages", [0, 1, UNREAD_MAX, UNREAD_MAX + 1])
@pytest.mark.parametrize(
    ("end", "reason"),
    [(None, None), (busy("too much"), "OVERLOADED"), (asyncio.CancelledError(), "DRAINING")],
)
async def test_a_stream_ends_for_its_reader_however_it_ends(
    messages: int, end: BaseException | None, reason: str | None
) -> None:
    calls = Calls(Ending(messages, end), contextlib.nullcontext)
    count, told = 0, None
    async with (
        asyncio.timeout(WITHIN_S),
        calls.stream(WATCH_BOOK, market_pb.WatchBookRequest(), {}) as responses,
    ):
        # It has written what it can, and may have ended, before anything is read.
        await asyncio.sleep(0.01)
        assert calls.deepest() <= UNREAD_MAX
        assert calls.deepest() >= min(messages, UNREAD_MAX)
        try:
            async for _ in responses:
                count += 1
        except RpcError as error:
            told = error.reason
    assert (count, told) == (messages, reason)
    assert calls.deepest() == 0
