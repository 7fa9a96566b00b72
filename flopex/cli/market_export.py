"""`flopex market export`: what was traded, as a file."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, BinaryIO, Final

import typer

from flopex.cli.base import Session, command
from flopex.cli.exits import CommandError, ExitCode
from flopex.cli.market_history import PAGE_MAX, width_option
from flopex.render.format import grouped

if TYPE_CHECKING:
    from exchange.client import AsyncClient

LINES_AT_ONCE: Final = 1_000

app = typer.Typer()


class What(StrEnum):
    """What can be exported."""

    TRADES = "trades"
    CANDLES = "candles"
    QUOTES = "quotes"


@command(
    app,
    "export",
    example="flopex market export trades smollm2-135m/cpu/interactive > trades.csv\n"
    "flopex market export candles smollm2-135m/cpu/interactive --width 1h --out candles.parquet",
)
async def export(
    session: Session,
    what: Annotated[What, typer.Argument(help="trades, candles, or quotes: best bids and asks.")],
    instrument: Annotated[str, typer.Argument(help="Instrument's name.")],
    out: Annotated[
        Path | None,
        typer.Option(
            help="File; .parquet writes Parquet, everything else CSV.", show_default="CSV to stdout"
        ),
    ] = None,
    width: Annotated[
        int, typer.Option(parser=width_option, metavar="WIDTH", help="Width of candles.")
    ] = "1m",  # type: ignore[assignment]
) -> None:
    """Write market history as CSV or Parquet, newest first, however long it is.

    Prices are nano-dollars per CU, quantities MFLOP, times nanoseconds since 1970. Quotes are best
    bids and asks as they stood at the first command of each second, where they had changed.
    """
    from exchange import tables

    columns = {
        What.TRADES: tables.TRADES,
        What.CANDLES: tables.CANDLES,
        What.QUOTES: tables.QUOTES,
    }[what]
    parquet = out is not None and out.suffix == ".parquet"
    if parquet:
        _require_parquet()
    async with session.connect() as client:
        if what is What.CANDLES:
            rows = _candles(client, instrument, width)
        else:
            rows = (_trades if what is What.TRADES else _quotes)(client, instrument)
        if out is None:
            await _write(sys.stdout.buffer, columns, rows)
            return
        csv_file = out.with_suffix(".csv.part") if parquet else out
        try:
            with csv_file.open("wb") as file:
                count = await _write(file, columns, rows)
            if parquet:
                tables.csv_to_parquet(csv_file, out, columns)
        finally:
            if parquet:
                csv_file.unlink(missing_ok=True)
    said = {"file": str(out), "rows": count}
    session.output.answer(said, f"{grouped(count)} rows in {out}")


def _require_parquet() -> None:
    from exchange import tables

    try:
        tables.require_parquet()
    except tables.ParquetMissing as error:
        raise CommandError(str(error), "or write CSV: --out FILE.csv", ExitCode.USAGE) from error


async def _write(file: BinaryIO, columns: Any, rows: AsyncIterator[Sequence[object]]) -> int:
    from exchange import tables

    file.write(tables.csv_head(columns))
    count = 0
    lines: list[Sequence[object]] = []
    async for row in rows:
        lines.append(row)
        count += 1
        if len(lines) >= LINES_AT_ONCE:
            file.write(tables.csv_lines(lines))
            lines.clear()
    file.write(tables.csv_lines(lines))
    return count


async def _trades(client: AsyncClient, instrument: str) -> AsyncIterator[Sequence[object]]:
    """Rows of `tables.TRADES`."""
    async for trade in client.market.trades(instrument):
        yield (
            trade.event_time_ns,
            instrument,
            trade.trade_id,
            trade.price_nanos,
            trade.quantity_mflop,
            trade.taker_side.name.lower() if trade.taker_side else "",
        )


async def _quotes(client: AsyncClient, instrument: str) -> AsyncIterator[Sequence[object]]:
    """Rows of `tables.QUOTES`."""
    async for best in client.market.best_prices(instrument):
        yield (
            best.event_time_ns,
            instrument,
            best.bid_nanos,
            best.bid_quantity,
            best.ask_nanos,
            best.ask_quantity,
        )


async def _candles(
    client: AsyncClient, instrument: str, width_s: int
) -> AsyncIterator[Sequence[object]]:
    """Rows of `tables.CANDLES`: page by page, each before the one told last."""
    end_ns = 0
    while True:
        page = await client.market.candles(
            instrument, width_s=width_s, end_time_ns=end_ns, limit=PAGE_MAX
        )
        for candle in reversed(page):
            yield (
                candle.start_time_ns,
                instrument,
                width_s,
                candle.open_nanos,
                candle.high_nanos,
                candle.low_nanos,
                candle.close_nanos,
                candle.volume_mflop,
                candle.trades,
            )
        if len(page) < PAGE_MAX:
            return
        end_ns = page[0].start_time_ns
