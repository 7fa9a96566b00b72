"""Health, metrics, the page's files, and what surrounds every request."""

from __future__ import annotations

import asyncio
import contextlib
import resource
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from prometheus_client.parser import text_string_to_metric_families

from exchange.core.commands import AddInstrument, CancelJob
from exchange.http import listener, metrics, pages
from exchange.http.addresses import split_address
from exchange.http.listener import connections_max
from exchange.server import Server, ServerConfig
from matching.types import Side
from tests.exchange.http.site import PAPER, Site, eventually, open_site
from tests.waiting import WITHIN_S


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    async with open_site(tmp_path) as site:
        yield site


# ---- health ----


async def test_health_is_ok_then_draining_then_gone(tmp_path: Path) -> None:
    async with open_site(tmp_path) as site:
        async with site.http.get("/healthz") as response:
            assert (response.status, await response.json()) == (200, {"status": "ok"})
        site.exchange.server.services.drain.begin()
        async with site.http.get("/healthz") as response:
            assert (response.status, await response.json()) == (503, {"status": "draining"})
        assert (await site.overview())["state"] == "draining"
        await site.exchange.server.stop(0)
        with pytest.raises(aiohttp.ClientConnectionError):
            await site.http.get("/healthz")


async def test_a_stopped_engine_is_not_healthy(site: Site) -> None:
    await site.exchange.engine.stop()
    async with site.http.get("/healthz") as response:
        assert (response.status, await response.json()) == (503, {"status": "stopped"})


# ---- metrics ----


async def scrape(site: Site) -> dict[str, Any]:
    """Each sample's value by name and labels."""
    async with site.http.get("/metrics") as response:
        assert response.status == 200
        assert response.headers["Content-Type"] == metrics.CONTENT_TYPE
        families = list(text_string_to_metric_families(await response.text()))
    return {
        sample.name + "".join(f" {k}={v}" for k, v in sorted(sample.labels.items())): sample.value
        for family in families
        for sample in family.samples
    }


QUEUES = (
    "engine_commands",
    "engine_bytes",
    "order_reports",
    "order_batches",
    "order_instructions",
    "book_orders",
    "trades",
    "worker_messages",
    "worker_steps",
    "read_model_questions",
    "job_payloads",
    "job_payload_bytes",
    "receipt_bytes",
)


async def test_metrics_tell_the_exchange_from_the_inside(site: Site) -> None:
    await site.order(Side.BID, 90, 7)
    await site.order(Side.BID, 100, 5)
    await site.submit_job()
    async with site.worker(2) as worker:
        await worker.run(await worker.offer(), "one two")
        core, stats = site.exchange.core, site.exchange.engine.stats
        records, commands, groups = core.sequence, stats.commands, stats.groups
        found = await scrape(site)
    assert found["flopex_up"] == 1
    assert found["flopex_draining"] == 0
    assert found["flopex_epoch"] == 1
    assert 10 < records <= found["flopex_journal_records"] <= core.sequence
    assert 10 < commands <= found["flopex_commands_total"] <= stats.commands
    assert 0 < groups <= found["flopex_commit_groups_total"] <= stats.groups
    assert 0 < found["flopex_append_seconds_total"] <= stats.append_ns / 1e9
    assert found["flopex_apply_seconds_total"] > 0
    for part in ("apply", "append", "publish"):
        assert found[f"flopex_{part}_cpu_seconds_total"] > 0
    assert found["flopex_pending_commands"] == 0
    assert 0 < found["flopex_journal_sync_seconds_count"] <= found["flopex_commit_groups_total"] + 1
    held_up, written = (found[f"flopex_journal_{part}_seconds_sum"] for part in ("sync", "write"))
    assert 0 < held_up < written
    assert found["flopex_ack_seconds_count"] > 10
    assert found["flopex_group_commands_sum"] > 10
    assert found["flopex_leases state=running"] == 0
    assert found["flopex_leases_ended_total state=settled"] == 1
    for queue in QUEUES:
        assert found[f"flopex_queue_depth queue={queue}"] == 0
        assert found[f"flopex_queue_limit queue={queue}"] > 0
    assert found["flopex_orders_open"] == 2
    assert found[f"flopex_book_levels instrument={PAPER} side=bid"] == 2
    assert found[f"flopex_book_levels instrument={PAPER} side=ask"] == 0
    assert found["flopex_instruments state=open"] == 2
    assert (found["flopex_jobs_settled_total"], found["flopex_jobs_unsettled_total"]) == (1, 0)
    assert (found["flopex_jobs_open"], found["flopex_leases_open"]) == (0, 0)
    assert found["flopex_settled_flops_total"] > 0
    assert found["flopex_ledger_imbalance_nanos"] == 0
    assert found["flopex_workers state=ready"] == found["flopex_worker_sessions"] == 1
    assert (found["flopex_worker_slots"], found["flopex_worker_slots_in_use"]) == (2, 0)
    assert found["flopex_rpc_streams"] == 1
    assert found["flopex_rpc_calls_total method=exchange.v1.JobService/SubmitJob"] == 1
    assert found["process_resident_memory_bytes"] > 0


async def test_streams_and_sessions_are_not_counted_after_their_end(site: Site) -> None:
    async with site.worker(1):
        pass
    await eventually(lambda: not site.exchange.server.services.streams)
    found = await scrape(site)
    assert found["flopex_worker_sessions"] == 0


async def test_refused_calls_are_counted_by_reason(site: Site) -> None:
    site.buyer = "flx_" + "x" * 43
    with pytest.raises(Exception, match="UNAUTHENTICATED"):
        await site.submit_job()
    found = await scrape(site)
    errors = [name for name in found if name.startswith("flopex_rpc_errors_total")]
    assert len(errors) == 1
    assert "method=exchange.v1.JobService/SubmitJob reason=KEY" in errors[0]


async def test_commands_that_the_core_refuses_are_counted_by_reason(site: Site) -> None:
    for _ in range(2):
        await site.exchange.engine.submit(CancelJob(0, 99))
    found = await scrape(site)
    assert found["flopex_refused_commands_total reason=UNKNOWN_JOB"] == 2


async def test_how_far_the_read_model_is(site: Site) -> None:
    await site.order(Side.BID, 90, 7)
    services = site.exchange.server.services
    asked = await services.ask(lambda _: None)
    read_model = services.read_model
    assert read_model is not None
    await eventually(lambda: read_model.sequence >= asked.sequence)
    found = await scrape(site)
    assert found["flopex_read_model_sequence"] >= asked.sequence > 0
    assert found["flopex_read_model_lag_commands"] >= 0
    assert found["flopex_read_model_questions"] == 0


async def test_labels_are_bounded(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "INSTRUMENTS_MAX", 1)
    monkeypatch.setattr(metrics, "BOOK_LEVELS_MAX", 1)
    await site.order(Side.BID, 90, 7)
    await site.order(Side.BID, 100, 5)
    found = await scrape(site)
    books = {name: value for name, value in found.items() if name.startswith("flopex_book")}
    assert books == {
        f"flopex_book_levels instrument={PAPER} side=bid": 1,
        f"flopex_book_levels instrument={PAPER} side=ask": 0,
    }


async def test_a_name_cannot_break_the_exposition(site: Site) -> None:
    terms = site.exchange.core.instruments[site.paper_id].terms
    fields = {f: getattr(terms, f) for f in terms.__struct_fields__} | {"name": 'a"b\\c\nd 1'}
    await site.exchange.submit(AddInstrument(**fields))
    found = await scrape(site)
    assert 'flopex_book_levels instrument=a"b\\c\nd 1 side=bid' in found


# ---- what surrounds a request ----


@pytest.mark.parametrize("path", ["/nothing", "/static/none.js", "/static/..%2fapp.py", "/v1/x"])
async def test_what_is_not_there_is_a_typed_error(site: Site, path: str) -> None:
    async with site.http.get(path) as response:
        assert response.status == 404
        error = (await response.json())["error"]
        assert (error["code"], error["type"]) == ("NOT_FOUND", "invalid_request_error")
        assert response.headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
async def test_everything_is_read_only(site: Site, method: str) -> None:
    for path in ("/", "/v1/overview", "/metrics", "/healthz", "/ws/v1/overview"):
        async with site.http.request(method, path, data=b"{}") as response:
            assert response.status == 405
            assert (await response.json())["error"]["code"] == "METHOD_NOT_ALLOWED"
            assert "GET" in response.headers["Allow"]


async def test_an_unexpected_failure_tells_only_where_to_look(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("secret detail")

    monkeypatch.setattr(pages, "respond", broken)
    async with site.http.get("/") as response:
        assert response.status == 500
        error = (await response.json())["error"]
    assert (error["code"], error["type"]) == ("INTERNAL", "server_error")
    assert "secret" not in error["message"]


# ---- start and stop ----


async def test_an_address_in_use_is_said_and_leaves_nothing_running(
    tmp_path: Path, site: Site
) -> None:
    config = ServerConfig(
        tmp_path / "second", "127.0.0.1:0", http_address=site.exchange.http_address
    )
    with pytest.raises(OSError, match="cannot listen for HTTP"):
        await Server(config).start()
    # The journal was given back with the rest.
    server = Server(ServerConfig(tmp_path / "second", "127.0.0.1:0"))
    await server.start()
    assert server.http_address == ""
    await server.stop(0)


async def read_to_the_end(reader: asyncio.StreamReader) -> bytes:
    """What came until the other side closed."""
    async with asyncio.timeout(WITHIN_S):
        with contextlib.suppress(ConnectionError):
            return await reader.read()
        return b""


async def test_connections_are_bounded(site: Site) -> None:
    edges: Any = site.exchange.server.edges
    http = edges._http
    http._listener._most = 4
    host, port = split_address(site.exchange.http_address)
    await site.overview()  # this session's own connection
    opened = [await asyncio.open_connection(host, port) for _ in range(12)]
    await eventually(lambda: len(http._runner.server.connections) == 4)
    assert [await read_to_the_end(reader) for reader, _ in opened[3:]] == [b""] * 9
    await site.overview()
    for _, writer in opened:
        writer.close()
    await eventually(lambda: len(http._runner.server.connections) == 1)
    reader, writer = await asyncio.open_connection(host, port)
    writer.write(b"GET /healthz HTTP/1.0\r\n\r\n")
    assert b"200 OK" in await read_to_the_end(reader)
    writer.close()


async def test_a_connection_that_says_nothing_is_let_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listener, "REQUEST_WITHIN_S", 0.3)
    async with open_site(tmp_path) as site, site.http.ws_connect("/ws/v1/overview") as socket:
        host, port = split_address(site.exchange.http_address)
        silent, first = await asyncio.open_connection(host, port)
        halting, second = await asyncio.open_connection(host, port)
        second.write(b"GET / HTTP/1.1\r\nHost: ")
        assert await read_to_the_end(silent) == b""
        assert await read_to_the_end(halting) == b""
        first.close()
        second.close()
        # One that has asked for something stays.
        async with asyncio.timeout(WITHIN_S):
            for _ in range(3):
                await socket.receive_str()


def test_connections_leave_files_for_the_journal() -> None:
    most = listener.CONNECTIONS_MAX
    assert connections_max(1_024) == 256
    assert connections_max(1) == 1
    assert connections_max(10**6) == connections_max(resource.RLIM_INFINITY) == most


@pytest.mark.parametrize("address", ["", "7412", "127.0.0.1", "host:", ":1", "h:70000", "h:x"])
def test_an_address_is_a_host_and_a_port(address: str) -> None:
    with pytest.raises(ValueError, match="is not host:port"):
        split_address(address)


def test_brackets_are_for_ipv6() -> None:
    assert split_address("[::1]:0") == ("::1", 0)
    assert split_address("localhost:7412") == ("localhost", 7_412)
