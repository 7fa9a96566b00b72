"""Exports of market history as CSV and Parquet, newest first.

An export is the pages of a list, one after the other. CSV goes out as the pages come in. Parquet
has its index at its end: it is made in a file, out of the CSV, and both are gone afterwards.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import tempfile
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from aiohttp import web

from exchange import tables
from exchange.http.calls import Calls
from exchange.http.errors import ApiError
from exchange.http.rest import messages, requests
from exchange.http.rest.messages import invalid
from exchange.http.rest.streams import SEND_WITHIN_S
from exchange.rpc.errors import RpcError
from exchange.rpc.methods import METHODS
from exchange.tables import Columns, ParquetMissing
from exchange.v1 import market_data_service_pb2 as pb
from exchange.v1 import market_pb2

PAGE_ROWS: Final = 1_000
"""Rows asked for at a time."""
PARQUET_ROWS_MAX: Final = 5_000_000
"""Most rows of a Parquet file: it lies on the disk for a while."""
PARQUET_AT_ONCE_MAX: Final = 2
"""Parquet files that are made at the same time."""
PARQUET_SENT_WITHIN_S: Final = 600.0
"""A Parquet file that was not taken by then is cut off: it holds a place of those few."""
CHUNK_BYTES: Final = 256 * 1_024
"""As much of a Parquet file is read at a time."""
RETRY_AFTER_MS: Final = 5_000
CONTENT_TYPES: Final = {"csv": "text/csv", "parquet": "application/vnd.apache.parquet"}

Row = Sequence[object]


@dataclass(frozen=True, slots=True)
class Kind:
    """What can be exported.

    Attributes:
        method: Lists it, newest page first.
        columns: Of the table.
        parameters: Of the request, those that a client may give.
        rows: Rows of a page, newest first, from the answer, the request, and instruments' names.
    """

    method: str
    columns: Columns
    parameters: tuple[str, ...]
    rows: Callable[[Any, Any, Mapping[int, str]], Iterator[Row]]


def _trades(answer: Any, _: Any, names: Mapping[int, str]) -> Iterator[Row]:
    for trade in answer.trades:
        side = market_pb2.Side.Name(trade.taker_side).removeprefix("SIDE_").lower()
        yield (
            trade.event_time_ns,
            names.get(trade.instrument_id, ""),
            trade.trade_id,
            trade.price_nanos,
            trade.quantity_mflop,
            side if trade.taker_side else "",
        )


def _candles(answer: Any, request: Any, _: Mapping[int, str]) -> Iterator[Row]:
    for candle in reversed(answer.candles):
        yield (
            candle.start_time_ns,
            request.instrument,
            request.width_s,
            candle.open_nanos,
            candle.high_nanos,
            candle.low_nanos,
            candle.close_nanos,
            candle.volume_mflop,
            candle.trades,
        )


def _quotes(answer: Any, request: Any, _: Mapping[int, str]) -> Iterator[Row]:
    for best in answer.prices:
        yield (
            best.event_time_ns,
            request.instrument,
            best.bid_nanos,
            best.bid_quantity,
            best.ask_nanos,
            best.ask_quantity,
        )


_TIMES: Final = ("start_time_ns", "end_time_ns")
_SERVICE: Final = "/exchange.v1.MarketDataService"
KINDS: Final = {
    "trades": Kind(f"{_SERVICE}/ListTrades", tables.TRADES, ("instrument", *_TIMES), _trades),
    "candles": Kind(
        f"{_SERVICE}/ListCandles", tables.CANDLES, ("instrument", "width_s", *_TIMES), _candles
    ),
    "quotes": Kind(f"{_SERVICE}/ListBestPrices", tables.QUOTES, ("instrument", *_TIMES), _quotes),
}


class Exports:
    """Serves the exports.

    Args:
        calls: Makes the calls of the API.
    """

    def __init__(self, calls: Calls) -> None:
        self._calls = calls
        self._making = 0
        self.routes = [
            web.get(f"/v1/export/{name}", self._server(name), allow_head=False) for name in KINDS
        ]

    def _server(self, name: str) -> Callable[[web.Request], Any]:
        async def serve(request: web.Request) -> web.StreamResponse:
            return await self._serve(name, request)

        return serve

    async def _serve(self, name: str, request: web.Request) -> web.StreamResponse:
        metadata = requests.read_key(request)
        kind = KINDS[name]
        form = request.query.get("format", "csv")
        if form not in CONTENT_TYPES:
            raise invalid("format", f"must be one of {', '.join(CONTENT_TYPES)}")
        pages = self._pages(kind, _read(kind, request), metadata)
        async with contextlib.aclosing(pages):
            # A refusal comes with the first page, and is a plain error then.
            first = await anext(pages)
            headers = {
                "Content-Type": CONTENT_TYPES[form],
                "Content-Disposition": f'attachment; filename="{name}.{form}"',
                "Cache-Control": "no-store",
            }
            if form == "csv":
                return await _send_csv(request, headers, kind, first, pages)
            with self._one_at_a_time(), tempfile.TemporaryDirectory() as folder:
                path = await _make_parquet(Path(folder), kind, first, pages)
                return await _send_file(request, headers, path)

    @contextlib.contextmanager
    def _one_at_a_time(self) -> Iterator[None]:
        if self._making >= PARQUET_AT_ONCE_MAX:
            text = "other Parquet files are being made; try again later, or take CSV"
            raise ApiError(503, "OVERLOADED", text, retry_after_ms=RETRY_AFTER_MS)
        self._making += 1
        try:
            yield
        finally:
            self._making -= 1

    async def _pages(
        self, kind: Kind, asked: Any, metadata: Mapping[str, str]
    ) -> AsyncGenerator[list[Row], None]:
        """Pages of rows, until the oldest.

        Raises:
            RpcError: a call was refused.
        """
        listing = pb.ListInstrumentsRequest()
        found = await self._calls.unary(f"{_SERVICE}/ListInstruments", listing, metadata)
        names = {instrument.instrument_id: instrument.name for instrument in found.instruments}
        while True:
            answer = await self._calls.unary(kind.method, asked, metadata)
            yield list(kind.rows(answer, asked, names))
            if not answer.next_page_token:
                return
            asked.page_token = answer.next_page_token


def _read(kind: Kind, request: web.Request) -> Any:
    """The request of the first page.

    Raises:
        ApiError: 400: a parameter is wrong.
    """
    asked: Any = METHODS[kind.method].request_class(page_size=PAGE_ROWS)
    for name in dict.fromkeys(request.query):
        if name == "format":
            continue
        if name not in kind.parameters:
            raise messages.unknown(name)
        if len(request.query.getall(name)) > 1:
            raise invalid(name, "is given more than once")
        messages.fill_text(asked, name, request.query[name], name)
    if "width_s" in kind.parameters:
        asked.width_s = asked.width_s or 60
    return asked


async def _send_csv(
    request: web.Request,
    headers: Mapping[str, str],
    kind: Kind,
    first: list[Row],
    pages: AsyncIterator[list[Row]],
) -> web.StreamResponse:
    response = web.StreamResponse(headers=headers)
    await response.prepare(request)
    try:
        await response.write(tables.csv_head(kind.columns))
        rows: list[Row] | None = first
        while rows is not None:
            async with asyncio.timeout(SEND_WITHIN_S):
                await response.write(tables.csv_lines(rows))
            rows = await anext(pages, None)
        await response.write_eof()
    except (RpcError, TimeoutError, ConnectionError):
        # Without its end mark nobody takes what was sent for the whole.
        if request.transport is not None:
            request.transport.abort()
    return response


async def _send_file(
    request: web.Request, headers: Mapping[str, str], path: Path
) -> web.StreamResponse:
    # Not a FileResponse: aiohttp would open the file again once it is sent, and it is gone then.
    response = web.StreamResponse(headers=headers)
    with path.open("rb") as file:
        response.content_length = os.fstat(file.fileno()).st_size
        await response.prepare(request)
        try:
            async with asyncio.timeout(PARQUET_SENT_WITHIN_S):
                while chunk := await asyncio.to_thread(file.read, CHUNK_BYTES):
                    await response.write(chunk)
                await response.write_eof()
        except OSError:
            # Of the file, of a client that has gone or takes too long. What is shorter than its
            # head says is not taken for the whole.
            if request.transport is not None:
                request.transport.abort()
    return response


async def _make_parquet(
    folder: Path, kind: Kind, first: list[Row], pages: AsyncIterator[list[Row]]
) -> Path:
    """Write the file.

    Raises:
        ApiError: 400: it would be too long; 501: this installation cannot.
        RpcError: a page was refused.
    """
    try:
        await asyncio.to_thread(tables.require_parquet)
    except ParquetMissing as error:
        text = f"{error} on the exchange's machine; format=csv needs nothing"
        raise ApiError(501, "UNIMPLEMENTED", text, "format") from error
    source, target = folder / "table.csv", folder / "table.parquet"
    count = 0
    with source.open("wb") as file:
        file.write(tables.csv_head(kind.columns))
        rows: list[Row] | None = first
        while rows is not None:
            count += len(rows)
            if count > PARQUET_ROWS_MAX:
                text = f"holds over {PARQUET_ROWS_MAX} rows: ask for less time, or for CSV"
                raise invalid("start_time_ns", text)
            await asyncio.to_thread(file.write, tables.csv_lines(rows))
            rows = await anext(pages, None)
    await asyncio.to_thread(tables.csv_to_parquet, source, target, kind.columns)
    return target
