"""`flopex order`: explicit orders on continuous instruments."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated, Final

import typer

from flopex.cli import order_options as options
from flopex.cli.base import Session, command
from flopex.cli.exits import CommandError, ExitCode
from flopex.cli.hints import HINTS
from flopex.cli.units import compute_option, price_option
from flopex.render.format import grouped, price, words
from flopex.render.history import past_orders_table
from flopex.render.tables import orders_table

if TYPE_CHECKING:
    from exchange.client import OrderResult

HISTORY_DEFAULT: Final = 20

app = typer.Typer(no_args_is_help=True, help="Explicit orders on continuous instruments.")


@command(
    app,
    "place",
    example="flopex order place bid paper-h100 --price '1700 nanos' --quantity '5 CU'\n"
    "flopex order place ask paper-h100 --quantity 1000 --market\n"
    "flopex order place bid paper-h100 --price '1700 nanos' --quantity '5 CU' --post-only reprice\n"
    "flopex order place ask paper-h100 --market --stop '1500 nanos' --quantity '5 CU'",
)
async def place(
    session: Session,
    side: Annotated[options.SideName, typer.Argument(help="bid buys compute, ask sells it.")],
    instrument: Annotated[str, typer.Argument(help="Instrument's name.")],
    quantity: options.Quantity,
    limit: options.Limit = None,
    market: options.Market = False,
    stop: options.Stop = None,
    time_in_force: options.Tif = options.TimeInForceName.GTC,
    expires: options.Expires = None,
    max_cost: options.MaxCost = None,
    self_trade: options.SelfTrade = options.SelfTradeName.CANCEL_NEWEST,
    post_only: options.PostOnly = None,
    all_or_none: options.AllOrNone = False,
    min_quantity: options.MinQuantity = None,
    display: options.Display = None,
    hidden: options.Hidden = False,
) -> None:
    """Place an order. A refused one ends with exit code 1 and its reason."""
    from exchange.client import OrderTerms, OrderType, PostOnlyMode, SelfTradePrevention, Side
    from exchange.client import TimeInForce as Tif

    if market == (limit is not None):
        raise CommandError(
            "an order needs either a limit price or --market",
            "--price '1700 nanos', or --market",
            ExitCode.USAGE,
            "PRICE",
        )
    if (time_in_force is options.TimeInForceName.GTD) != (expires is not None):
        raise CommandError(
            "--expires and --tif gtd belong together", code=ExitCode.USAGE, reason="EXPIRES"
        )
    kinds = (OrderType.LIMIT, OrderType.MARKET, OrderType.STOP_LIMIT, OrderType.STOP)
    terms: OrderTerms = {
        "order_type": kinds[market + 2 * (stop is not None)],
        "time_in_force": Tif[time_in_force.name],
        "self_trade": SelfTradePrevention[self_trade.name],
        "expire_time_ns": time.time_ns() + expires if expires else 0,
        "max_cost": max_cost,
    }
    if post_only or all_or_none or min_quantity or display or hidden or stop:
        terms |= {
            "post_only": PostOnlyMode[post_only.name if post_only else "UNSPECIFIED"],
            "all_or_none": all_or_none,
            "min_quantity": min_quantity or 0,
            "display_quantity": display or 0,
            "hidden": hidden,
            "stop_price": stop or 0,
        }
    async with session.connect() as client:
        result = await client.orders.place(
            instrument, Side[side.name], limit or 0, quantity, **terms
        )
    _answer(session, result)


@command(
    app,
    "legs",
    example="flopex order legs 'paper-h100=1700 nanos:5 CU' 'paper-a100=900 nanos:7 CU'",
)
async def legs(
    session: Session,
    leg: Annotated[
        list[str],
        typer.Argument(metavar="INSTRUMENT=PRICE:COMPUTE...", help="One way to fill it."),
    ],
    time_in_force: options.Tif = options.TimeInForceName.GTC,
    expires: options.Expires = None,
    max_cost: options.MaxCost = None,
) -> None:
    """Place a bid of which at most one leg fills, whole; then the others are gone."""
    from exchange.client import TimeInForce

    if (time_in_force is options.TimeInForceName.GTD) != (expires is not None):
        raise CommandError(
            "--expires and --tif gtd belong together", code=ExitCode.USAGE, reason="EXPIRES"
        )
    wanted = [_leg(text) for text in leg]
    async with session.connect() as client:
        result = await client.orders.place_legs(
            wanted,
            time_in_force=TimeInForce[time_in_force.name],
            expire_time_ns=time.time_ns() + expires if expires else 0,
            max_cost=max_cost,
        )
    _answer(session, result)


def _leg(text: str) -> tuple[str, int, int]:
    """Instrument, price and quantity."""
    name, equals, terms = text.partition("=")
    limit, colon, quantity = terms.partition(":")
    if not equals or not colon:
        raise CommandError(
            f"{text!r} is no leg", "paper-h100='1700 nanos:5 CU'", ExitCode.USAGE, "LEG"
        )
    return name, price_option(limit), compute_option(quantity)


@command(
    app,
    "cancel",
    example="flopex order cancel 17\nflopex order cancel --all --instrument paper-h100 --side bid",
)
async def cancel(
    session: Session,
    order: Annotated[int, typer.Argument(help="The order's number.")] = 0,
    cancel_all: Annotated[
        bool, typer.Option("--all", help="All of your open orders, in one step.")
    ] = False,
    instrument: Annotated[
        str | None, typer.Option(help="With --all: only this instrument.")
    ] = None,
    side: Annotated[
        options.SideName | None, typer.Option(help="With --all: only this side.")
    ] = None,
) -> None:
    """Cancel an order, or all; what has traded stays traded."""
    from exchange.client import Side

    if cancel_all == bool(order) or (order and (instrument is not None or side)):
        raise CommandError(
            "name an order, or use --all", "flopex order list", ExitCode.USAGE, "ORDER"
        )
    if instrument == "":  # a script's empty variable must not cancel everything
        raise CommandError(
            "--instrument is empty", "leave it out for all", ExitCode.USAGE, "INSTRUMENT"
        )
    async with session.connect() as client:
        if order:
            _answer(session, await client.orders.cancel(order_id=order))
            return
        which = Side[side.name if side else "UNSPECIFIED"]
        count = await client.orders.cancel_all(0 if instrument is None else instrument, which)
    session.output.answer({"cancelled": count}, f"{grouped(count)} orders cancelled")


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
    stop: Annotated[
        int | None,
        typer.Option(parser=price_option, metavar="PRICE", help="New price that triggers a stop."),
    ] = None,
) -> None:
    """Change an order's price or total quantity.

    Less quantity at the same price keeps its place in the queue; any other change loses it.
    """
    async with session.connect() as client:
        _answer(session, await client.orders.replace(order, limit, quantity, stop_price=stop or 0))


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


@command(app, "history", example="flopex order history --limit 50\nflopex order history --json")
async def history(
    session: Session,
    limit: Annotated[
        int, typer.Option(min=1, help="At most this many, newest first.")
    ] = HISTORY_DEFAULT,
) -> None:
    """List all orders that you ever placed, newest first, with what became of them."""
    async with session.connect() as client:
        found = [order async for order in client.orders.history(limit=limit)]
        names = {i.instrument_id: i.name for i in await client.market.instruments()}
    shown = past_orders_table(found, names) if found else "no orders yet"
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
