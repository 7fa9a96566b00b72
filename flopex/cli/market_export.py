"""`flopex market export`: what was traded, as a file."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from collections.abc import AsyncIterator, Iterator, Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, BinaryIO, Final

import typer

from flopex.cli.base import Session, command, give_up_stdout
from flopex.cli.exits import CommandError, ExitCode
from flopex.cli.market_history import PAGE_MAX, width_option
from flopex.render.format import grouped

if TYPE_CHECKING:
    from exchange.client import AsyncClient

LINES_AT_ONCE: Final = 1_000
PART_SUFFIX: Final = ".part"
"""Of the file that is written beside the named one, and takes its name once it is whole."""
_DESCRIPTORS: Final = ("/dev/fd/", "/dev/stderr", "/dev/stdout", "/proc/")
"""Where names lead to what is open already: others write there, too."""

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
            help="File; .parquet writes Parquet, everything else CSV. It takes its name once it is "
            "whole.",
            show_default="CSV to stdout",
        ),
    ] = None,
    width: Annotated[
        int, typer.Option(parser=width_option, metavar="WIDTH", help="Width of candles.")
    ] = "1m",  # type: ignore[assignment]
) -> None:
    """Write market history as CSV or Parquet, newest first, however long it is.

    Prices are nano-dollars per CU, quantities MFLOP, times nanoseconds since 1970. Quotes are best
    bids and asks as they stood after the first commit group of each second, where they had changed.
    What is exported is never JSON: --json needs --out, and tells the file and its rows.
    """
    from exchange import tables

    columns = {
        What.TRADES: tables.TRADES,
        What.CANDLES: tables.CANDLES,
        What.QUOTES: tables.QUOTES,
    }[what]
    if out is None and session.json:
        raise CommandError(
            "what is exported is CSV or Parquet, not JSON: --json needs --out FILE",
            "leave --json out for CSV on stdout; flopex market trades --json prints JSON",
            ExitCode.USAGE,
            "USAGE",
        )
    parquet = out is not None and out.suffix == ".parquet"
    if parquet:
        _require_parquet()
    async with session.connect() as client:
        if what is What.CANDLES:
            rows = _candles(client, instrument, width)
        else:
            rows = (_trades if what is What.TRADES else _quotes)(client, instrument)
        if out is None:
            await _to_stdout(columns, rows)
            return
        count = await _to_file(out, columns, rows, parquet=parquet)
    said = {"file": str(out), "rows": count}
    session.output.answer(said, f"{grouped(count)} rows in {out}")


async def _to_stdout(columns: Any, rows: AsyncIterator[Sequence[object]]) -> None:
    try:
        with _writing("stdout"):
            await _write(sys.stdout.buffer, columns, rows)
            sys.stdout.buffer.flush()
    except CommandError:
        give_up_stdout()
        raise


async def _to_file(
    out: Path, columns: Any, rows: AsyncIterator[Sequence[object]], *, parquet: bool
) -> int:
    """Write a file; the number of its rows."""
    from exchange import tables

    with _writing(out), _whole(out) as part:
        csv_file = part.with_name(f"{part.name}.csv") if parquet else part
        try:
            with csv_file.open("wb") as file:
                count = await _write(file, columns, rows)
            if parquet:
                tables.csv_to_parquet(csv_file, part, columns)
        finally:
            if parquet:
                csv_file.unlink(missing_ok=True)
    return count


@contextlib.contextmanager
def _whole(out: Path) -> Iterator[Path]:
    """A file to write beside `out`, whose name it takes at the end.

    Until then, and where it comes to no end, what stood there stays.
    """
    if out.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    opened_already = str(out.absolute()).startswith(_DESCRIPTORS)
    if opened_already or (out.exists() and not out.is_file()):
        yield out  # a device or a pipe takes bytes, and no other file takes its place
        return
    target = Path(os.path.realpath(out))  # a link stays one
    # With the process's number: two exports to one file do not write into each other's.
    part = target.with_name(f"{target.name}.{os.getpid()}{PART_SUFFIX}")
    try:
        yield part
        with part.open("rb") as file:
            os.fsync(file.fileno())
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)


@contextlib.contextmanager
def _writing(to: Path | str) -> Iterator[None]:
    """Say in words why a file or stdout took no more; that its reader has gone, all commands do."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        why = error.strerror or str(error)
        raise CommandError(
            f"cannot write {to}: {why[:1].lower()}{why[1:]}", reason="OUT"
        ) from error


def _require_parquet() -> None:
    from exchange import tables

    try:
        tables.require_parquet()
    except tables.ParquetMissing as error:
        raise CommandError(str(error), "or write CSV: --out FILE.csv", ExitCode.USAGE) from error


async def _write(file: BinaryIO, columns: Any, rows: AsyncIterator[Sequence[object]]) -> int:
    from exchange import tables

    count = 0
    # The head goes with the first rows: where there is no such instrument, nothing is written.
    lines: list[Sequence[object]] = [list(columns)]
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
