"""Exports of market history: every row once, whatever the form; bounded, and never short unseen."""

from __future__ import annotations

import asyncio
import csv
import io
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
import polars as pl
import pytest
import pytest_asyncio

from exchange import tables
from exchange.core.limits import NS_PER_S
from exchange.http.rest import export
from exchange.tables import ParquetMissing
from tests.exchange.http.rest.desk import Desk
from tests.exchange.http.site import PAPER, eventually

pytestmark = pytest.mark.asyncio(loop_scope="module")

TRADES = 7


@pytest_asyncio.fixture(scope="module", loop_scope="module", autouse=True)
async def trades(desk: Desk) -> AsyncIterator[None]:
    """Trades at 101, 102 and so on, of 1, 2 and so on."""
    for number in range(1, TRADES + 1):
        for who, side in (("paper", "SIDE_ASK"), ("other", "SIDE_BID")):
            order = {"side": side, "price_nanos": 100 + number, "quantity_mflop": number}
            order |= {"instrument_id": desk.site.paper_id}
            await desk.ask("POST", "/v1/orders", {"order": order}, who=who)
    await desk.ask("GET", "/v1/trades")
    yield


async def exported(desk: Desk, path: str, kind: str) -> bytes:
    async with desk.http.get(f"/v1/export/{path}", headers=desk.headers("buyer")) as response:
        assert response.status == 200, await response.text()
        assert response.content_type == kind
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        name, form = path.partition("?")[0], "parquet" if "parquet" in kind else "csv"
        assert response.headers["Content-Disposition"] == f'attachment; filename="{name}.{form}"'
        return await response.read()


async def csv_of(desk: Desk, path: str) -> list[dict[str, str]]:
    text = (await exported(desk, path, "text/csv")).decode()
    return list(csv.DictReader(io.StringIO(text)))


@pytest.mark.parametrize("page_rows", [1, 3, 7, 1_000])
async def test_every_trade_is_there_once_newest_first(
    desk: Desk, page_rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export, "PAGE_ROWS", page_rows)
    rows = await csv_of(desk, f"trades?instrument={PAPER}")
    assert [row["price_nanos"] for row in rows] == [str(100 + n) for n in range(TRADES, 0, -1)]
    listed = (await desk.ask("GET", f"/v1/trades?instrument={PAPER}"))["trades"]
    for row, trade in zip(rows, listed, strict=True):
        assert row.pop("instrument") == PAPER
        assert row.pop("taker_side") == "bid"
        assert row == {name: trade[name] for name in row}
    assert list(rows[0]) == [n for n in tables.TRADES if n not in ("instrument", "taker_side")]


async def test_parquet_holds_the_same_in_its_own_types(desk: Desk) -> None:
    for path in (f"trades?instrument={PAPER}", f"candles?instrument={PAPER}&width_s=1"):
        kind = "application/vnd.apache.parquet"
        frame = pl.read_parquet(io.BytesIO(await exported(desk, f"{path}&format=parquet", kind)))
        rows = await csv_of(desk, path)
        assert [{k: str(v) for k, v in row.items()} for row in frame.to_dicts()] == rows
        wanted = {str: pl.String, int: pl.Int64}
        columns = export.KINDS[path.partition("?")[0]].columns
        assert dict(frame.schema) == {name: wanted[kind] for name, kind in columns.items()}


async def test_candles_and_times(desk: Desk) -> None:
    (candle,) = await csv_of(desk, f"candles?instrument={PAPER}&width_s=86400")
    assert (candle["low_nanos"], candle["high_nanos"]) == ("101", str(100 + TRADES))
    assert (candle["trades"], candle["width_s"]) == (str(TRADES), "86400")
    rows = await csv_of(desk, "trades")
    middle = rows[3]["event_time_ns"]
    assert await csv_of(desk, f"trades?start_time_ns={middle}") == rows[:4]
    assert await csv_of(desk, f"trades?end_time_ns={middle}") == rows[4:]
    empty = await exported(desk, "trades?end_time_ns=5&format=csv", "text/csv")
    assert empty == b",".join(name.encode() for name in tables.TRADES) + b"\n"


async def test_quotes_are_the_best_prices_of_seconds(desk: Desk) -> None:
    def is_later(second: int) -> bool:
        return desk.site.exchange.clock.now_ns() // NS_PER_S > second

    async def place(price: int) -> None:
        order = {"side": "SIDE_BID", "price_nanos": price, "quantity_mflop": 3}
        order |= {"instrument_id": desk.site.paper_id}
        await desk.ask("POST", "/v1/orders", {"order": order}, who="paper")

    for price in (7, 8):
        await place(price)
        # A second is looked at by its first command.
        after = desk.site.exchange.core.now_ns // NS_PER_S
        await eventually(partial(is_later, after))
    await place(9)
    rows = await csv_of(desk, f"quotes?instrument={PAPER}")
    listed = (await desk.ask("GET", f"/v1/prices?instrument={PAPER}"))["prices"]
    assert [row.pop("instrument") for row in rows] == [PAPER] * len(rows)
    assert rows == listed
    assert [row["bid_nanos"] for row in rows[:2]] == ["9", "8"]
    newest = rows[0]
    assert (newest["bid_quantity"], newest["ask_nanos"], newest["ask_quantity"]) == ("3", "0", "0")
    paged = await desk.ask("GET", f"/v1/prices?instrument={PAPER}&page_size=1")
    token = paged["next_page_token"]
    path = f"/v1/prices?instrument={PAPER}&page_size=1&page_token={token}"
    assert (await desk.ask("GET", path))["prices"] == listed[1:2]


@pytest.mark.parametrize(
    ("path", "status", "param"),
    [
        ("trades?format=xlsx", 400, "format"),
        ("trades?page_size=3", 400, "page_size"),
        ("trades?width_s=60", 400, "width_s"),
        ("trades?instrument=a&instrument=b", 400, "instrument"),
        ("trades?start_time_ns=x", 400, "start_time_ns"),
        ("trades?instrument=none", 404, None),
        ("candles", 404, None),
        (f"candles?instrument={PAPER}&width_s=7", 400, "width_s"),
    ],
)
async def test_what_is_wrong_is_refused_by_name(
    desk: Desk, path: str, status: int, param: str | None
) -> None:
    error = await desk.refused("GET", f"/v1/export/{path}", status=status)
    assert error["param"] == param
    # Who asks is known before what is asked.
    assert (await desk.refused("GET", f"/v1/export/{path}", who="", status=401))["param"] is None


async def test_parquet_files_are_bounded(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export, "PARQUET_ROWS_MAX", TRADES - 1)
    error = await desk.refused("GET", "/v1/export/trades?format=parquet")
    assert "over 6 rows" in error["message"]
    monkeypatch.setattr(export, "PARQUET_AT_ONCE_MAX", 0)
    path = "/v1/export/trades?format=parquet"
    assert (await desk.refused("GET", path, status=503))["code"] == "OVERLOADED"
    assert len(await csv_of(desk, "trades")) == TRADES


async def test_a_parquet_file_leaves_its_connection_open(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    # Read in pieces, whole ones and a last one.
    monkeypatch.setattr(export, "CHUNK_BYTES", 100)
    host, port = desk.site.exchange.http_address.split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    key = desk.headers("buyer")["Authorization"]
    try:
        for _ in range(2):
            request = "GET /v1/export/trades?format=parquet HTTP/1.1\r\nHost: x\r\n"
            writer.write(f"{request}Authorization: {key}\r\n\r\n".encode())
            head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
            assert head.startswith("http/1.1 200 ")
            length = int(head.partition("content-length: ")[2].partition("\r\n")[0])
            frame = pl.read_parquet(io.BytesIO(await reader.readexactly(length)))
            assert len(frame) == TRADES
    finally:
        writer.close()
    assert not caplog.records


async def test_a_parquet_file_that_is_taken_too_slowly_is_cut_off(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    def long(_: Path, target: Path, __: Any) -> None:
        with target.open("wb") as file:
            file.truncate(1 << 30)

    monkeypatch.setattr(tables, "csv_to_parquet", long)
    monkeypatch.setattr(export, "PARQUET_SENT_WITHIN_S", 0.2)
    path = "/v1/export/trades?format=parquet"
    async with desk.http.get(path, headers=desk.headers("buyer")) as response:
        assert response.content_length == 1 << 30
        with pytest.raises(aiohttp.ClientError):
            async for _ in response.content.iter_any():
                pass


async def test_without_its_package_parquet_says_what_to_install(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing() -> Any:
        raise ParquetMissing

    monkeypatch.setattr(tables, "require_parquet", missing)
    error = await desk.refused("GET", "/v1/export/trades?format=parquet", status=501)
    assert "pip install 'flopex[export]'" in error["message"]


async def test_an_export_that_breaks_off_is_not_taken_for_whole(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export, "PAGE_ROWS", 2)
    services = desk.site.exchange.server.services
    read_model, asked = services.read_model, 0
    ask = type(services).ask

    async def fails_later(self: Any, *arguments: Any, **more: Any) -> Any:
        nonlocal asked
        asked += 1
        if asked > 2:
            services.read_model = None
        return await ask(self, *arguments, **more)

    monkeypatch.setattr(type(services), "ask", fails_later)
    try:
        with pytest.raises(aiohttp.ClientError):
            await exported(desk, "trades", "text/csv")
    finally:
        services.read_model = read_model
    assert asked == 3
