"""`flopex market`: what was traded, and at which prices."""

from __future__ import annotations

from typing import Annotated, Final

import typer

from flopex.cli.base import Session, command
from flopex.render.history import candles_table, index_table, trades_table

TRADES_DEFAULT: Final = 20
CANDLES_DEFAULT: Final = 30
PAGE_MAX: Final = 1_000
WIDTHS_S: Final = {
    "1s": 1,
    "1m": 60,
    "5m": 300,
    "15m": 900,
    "1h": 3_600,
    "4h": 14_400,
    "1d": 86_400,
}
"""Widths of candles by their usual names, seconds."""

app = typer.Typer(no_args_is_help=True, help="What was traded: trades, candles, hourly index.")

_INSTRUMENT = typer.Argument(help="Instrument's name.")


def width_option(text: str) -> int:
    """Seconds from a width's usual name."""
    if text not in WIDTHS_S:
        raise typer.BadParameter(f"must be one of {', '.join(WIDTHS_S)}")
    return WIDTHS_S[text]


@command(
    app,
    "trades",
    example="flopex market trades\n"
    "flopex market trades smollm2-135m/cpu/interactive --limit 1000 --json",
)
async def trades(
    session: Session,
    instrument: Annotated[
        str, typer.Argument(help="Instrument's name. Default: all of them.")
    ] = "",
    limit: Annotated[
        int, typer.Option(min=1, help="At most this many, newest first.")
    ] = TRADES_DEFAULT,
) -> None:
    """List past trades, newest first: fills of books, and leases that batches granted."""
    async with session.connect() as client:
        names = {i.instrument_id: i.name for i in await client.market.instruments()}
        found = [trade async for trade in client.market.trades(instrument, limit=limit)]
    shown = trades_table(found, names) if found else "no trades yet"
    session.output.answer({"trades": found}, shown)


@command(
    app,
    "candles",
    example="flopex market candles smollm2-135m/cpu/interactive --width 1h\n"
    "flopex market candles smollm2-135m/cpu/interactive --width 1m --limit 500 --json",
)
async def candles(
    session: Session,
    instrument: Annotated[str, _INSTRUMENT],
    width: Annotated[
        int,
        typer.Option(parser=width_option, metavar="WIDTH", help=f"One of {', '.join(WIDTHS_S)}."),
    ] = "1m",  # type: ignore[assignment]
    limit: Annotated[
        int, typer.Option(min=1, max=PAGE_MAX, help="At most this many, the newest.")
    ] = CANDLES_DEFAULT,
) -> None:
    """Show open, high, low, close and volume by interval; one without a trade has no candle."""
    async with session.connect() as client:
        found = await client.market.candles(instrument, width_s=width, limit=limit)
    shown = candles_table(found) if found else "no trades yet"
    answer = {"instrument": instrument, "width_s": width, "candles": found}
    session.output.answer(answer, shown)


@command(
    app,
    "index",
    example="flopex market index smollm2-135m/cpu/interactive --limit 24",
)
async def index(
    session: Session,
    instrument: Annotated[str, _INSTRUMENT],
    limit: Annotated[
        int, typer.Option(min=1, max=PAGE_MAX, help="At most this many hours, the newest.")
    ] = CANDLES_DEFAULT,
) -> None:
    """Show the index of each hour that is over: a mean price that odd trades move little.

    An hour's trades are sorted by price, a tenth of the volume at each end is left out, and the
    rest is averaged by volume. Trades of an account with itself do not count.
    """
    async with session.connect() as client:
        found = await client.market.hourly_index(instrument, limit=limit)
    shown = index_table(found) if found else "no hour with trades is over yet"
    session.output.answer({"instrument": instrument, "hours": found}, shown)
