"""`flopex order`: explicit orders on continuous instruments."""

from __future__ import annotations

import time
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from flopex.cli.base import Session, command
from flopex.cli.exits import CommandError, ExitCode
from flopex.cli.hints import HINTS
from flopex.cli.units import compute_option, duration_option, money_option, price_option
from flopex.render.format import grouped, price, words
from flopex.render.tables import orders_table

if TYPE_CHECKING:
    from exchange.client import OrderResult

app = typer.Typer(no_args_is_help=True, help="Explicit orders on continuous instruments.")


class SideName(StrEnum):
    """Which side of the book."""

    BID = "bid"
    ASK = "ask"


class TimeInForceName(StrEnum):
    """How long an order works."""

    GTC = "gtc"
    GTD = "gtd"
    IOC = "ioc"
    FOK = "fok"


class SelfTradeName(StrEnum):
    """What happens instead of a trade with one's own order."""

    CANCEL_NEWEST = "cancel-newest"
    CANCEL_OLDEST = "cancel-oldest"
    CANCEL_BOTH = "cancel-both"
    DECREMENT = "decrement"


@command(
    app,
    "place",
    example="flopex order place bid paper-h100 --price '1700 nanos' --quantity '5 CU'\n"
    "flopex order place ask paper-h100 --quantity 1000 --market",
)
async def place(
    session: Session,
    side: Annotated[SideName, typer.Argument(help="bid buys compute, ask sells it.")],
    instrument: Annotated[str, typer.Argument(help="Instrument's name.")],
    quantity: Annotated[
        int, typer.Option(parser=compute_option, metavar="COMPUTE", help="How much compute.")
    ],
    limit: Annotated[
        int | None,
        typer.Option("--price", parser=price_option, metavar="PRICE", help="Limit price per CU."),
    ] = None,
    market: Annotated[
        bool, typer.Option("--market", help="At any price within the instrument's band.")
    ] = False,
    time_in_force: Annotated[
        TimeInForceName,
        typer.Option(
            "--time-in-force",
            "--tif",
            help="gtc: until cancelled; gtd: --expires; ioc: now or never; fok: whole or never.",
        ),
    ] = TimeInForceName.GTC,
    expires: Annotated[
        int | None,
        typer.Option(
            parser=duration_option, metavar="DURATION", help="End of a gtd order, from now."
        ),
    ] = None,
    max_cost: Annotated[
        int | None,
        typer.Option(parser=money_option, metavar="MONEY", help="Money cap of a bid."),
    ] = None,
    self_trade: Annotated[
        SelfTradeName, typer.Option(help="What happens instead of a trade with yourself.")
    ] = SelfTradeName.CANCEL_NEWEST,
) -> None:
    """Place an order. A refused one ends with exit code 1 and its reason."""
    from exchange.client import OrderType, SelfTradePrevention, Side, TimeInForce

    if market == (limit is not None):
        raise CommandError(
            "an order needs either a limit price or --market",
            "--price '1700 nanos', or --market",
            ExitCode.USAGE,
            "PRICE",
        )
    if (time_in_force is TimeInForceName.GTD) != (expires is not None):
        raise CommandError(
            "--expires and --tif gtd belong together", code=ExitCode.USAGE, reason="EXPIRES"
        )
    async with session.connect() as client:
        result = await client.orders.place(
            instrument,
            Side[side.name],
            limit or 0,
            quantity,
            order_type=OrderType.MARKET if market else OrderType.LIMIT,
            time_in_force=TimeInForce[time_in_force.name],
            self_trade=SelfTradePrevention[self_trade.name],
            expire_time_ns=time.time_ns() + expires if expires else 0,
            max_cost=max_cost or 0,
        )
    _answer(session, result)


@command(app, "cancel", example="flopex order cancel 17")
async def cancel(
    session: Session, order: Annotated[int, typer.Argument(help="The order's number.")]
) -> None:
    """Cancel an order; what it traded stays traded."""
    async with session.connect() as client:
        _answer(session, await client.orders.cancel(order_id=order))


@command(app, "replace", example="flopex order replace 17 --price '1800 nanos' --quantity '5 CU'")
async def replace(
    session: Session,
    order: Annotated[int, typer.Argument(help="The order's number.")],
    limit: Annotated[
        int, typer.Option("--price", parser=price_option, metavar="PRICE", help="New limit price.")
    ],
    quantity: Annotated[
        int,
        typer.Option(
            parser=compute_option,
            metavar="COMPUTE",
            help="New total quantity; what has traded counts towards it.",
        ),
    ],
) -> None:
    """Change an order's price or total quantity.

    Less quantity at the same price keeps its place in the queue; any other change loses it.
    """
    async with session.connect() as client:
        _answer(session, await client.orders.replace(order, limit, quantity))


@command(app, "list", example="flopex order list --instrument paper-h100")
async def list_orders(
    session: Session,
    instrument: Annotated[str, typer.Option(help="Only this instrument.")] = "",
) -> None:
    """List your open orders."""
    async with session.connect() as client:
        found = [order async for order in client.orders.list(instrument=instrument)]
        names = {i.instrument_id: i.name for i in await client.market.instruments()}
    shown = orders_table(found, names) if found else "no open orders"
    session.output.answer({"orders": found}, shown)


def _answer(session: Session, result: OrderResult) -> None:
    """Print what became of an instruction; a refusal is an error."""
    from flopex.cli.failures import refusal_code

    if result.rejected:
        if session.json:
            session.output.line(result)
        raise CommandError(
            f"refused: {words(result.reason)}",
            HINTS.get(result.reason, ""),
            refusal_code(result.reason),
            result.reason,
        )
    first = result.reports[0].execution_type.name if result.reports else ""
    changed = "replaced, " if first == "REPLACED" else ""
    lines = [f"order {result.order_id}: {changed}{words(result.state.name)}"]
    if result.repeated:
        lines[0] += " (repeated)"
    elif result.reason:
        lines[0] += f" ({words(result.reason)})"
    lines += [
        f"  traded {grouped(fill.quantity_mflop)} MFLOP at {price(fill.price_nanos)} nano$/CU"
        for fill in result.fills
    ]
    session.output.answer(result, "\n".join(lines))
