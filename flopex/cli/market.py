"""`flopex instruments` and `flopex book`."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated, Final

import typer
from rich.live import Live

from flopex.cli.base import Session, command
from flopex.cli.output import plain
from flopex.render.format import clock_time, grouped, price, words
from flopex.render.ladder import LadderView, ladder
from flopex.render.tables import instruments_table

if TYPE_CHECKING:
    from exchange.client import Book, Instrument

LEVELS_DEFAULT: Final = 10
LEVELS_MAX: Final = 100
FRAMES_PER_S: Final = 10

app = typer.Typer()


@command(app, "instruments", example="flopex instruments")
async def instruments(session: Session) -> None:
    """List what is traded, with ticks, price bands and the promises of each hardware class."""
    async with session.connect() as client:
        found = await client.market.instruments()
        shown = instruments_table(found) if found else "the exchange has no instruments yet"
        session.output.answer({"instruments": found}, shown)


@command(
    app,
    "book",
    example="flopex book smollm2-135m/cpu/interactive\n"
    "flopex book smollm2-135m/cpu/interactive --watch",
)
async def book(
    session: Session,
    instrument: Annotated[str, typer.Argument(help="Instrument's name.")],
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Keep it up to date.")] = False,
    levels: Annotated[
        int, typer.Option(min=1, max=LEVELS_MAX, help="Price levels per side.")
    ] = LEVELS_DEFAULT,
) -> None:
    """Show a book as a ladder: asks above, bids below, depth as bars. Ctrl-C ends --watch.

    On a batch book, bids are waiting jobs at what they bid now, and asks are free slots.
    """
    async with session.connect() as client:
        terms = await client.market.instrument(instrument)
        if not watch:
            found = await client.market.book(instrument, depth=levels)
            session.output.answer(found, ladder(_view(found, terms), levels))
            return
        updates = 0
        try:
            if session.json:
                async for found in client.market.watch_book(instrument, depth=levels):
                    updates += 1
                    session.output.line({"type": "book", **plain(found)})
                return
            with Live(console=session.output.console, refresh_per_second=FRAMES_PER_S) as live:
                async for found in client.market.watch_book(instrument, depth=levels):
                    updates += 1
                    live.update(ladder(_view(found, terms), levels))
        except asyncio.CancelledError:
            session.output.summary(updates=updates)


def _view(found: Book, instrument: Instrument) -> LadderView:
    return LadderView(
        instrument.name,
        found.bids,
        found.asks,
        found.last_price_nanos,
        batch=instrument.clearing_mode.name == "BATCH",
        subtitle=f"{_state(found)}, as of {clock_time(found.event_time_ns)}",
    )


def _state(found: Book) -> str:
    """The book's state; of an auction, how it would end now and when it ends."""
    auction = found.auction
    if auction is None:
        return words(found.state.name)
    if not auction.price_nanos:
        shown = "auction, nothing would trade"
    else:
        side = "bids" if auction.imbalance_mflop > 0 else "asks"
        shown = f"auction at {price(auction.price_nanos)}: {grouped(auction.volume_mflop)} MFLOP"
        if auction.imbalance_mflop:
            shown += f", {grouped(abs(auction.imbalance_mflop))} of {side} left"
    return shown + (f", ends {clock_time(auction.end_time_ns)}" if auction.end_time_ns else "")
