"""`flopex admin auction`, `protect` and `limits`: when a book trades, how far, and who may send."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from flopex.cli.admin import Target, set_state
from flopex.cli.base import Session, command
from flopex.cli.units import duration_option
from flopex.render.tables import limits_table

app = typer.Typer()


def _bps(text: str) -> Any:
    return typer.Option(min=0, metavar="BPS", help=f"{text} In basis points (1/10,000).")


def _span(text: str) -> Any:
    return typer.Option(parser=duration_option, metavar="DURATION", help=text)


def _count(text: str) -> Any:
    return typer.Option(min=0, metavar="COUNT", help=text)


@command(
    app,
    "auction",
    example="flopex admin auction paper-h100 --call 5m\nflopex admin resume instrument paper-h100",
)
async def auction(
    session: Session,
    instrument: Annotated[str, typer.Argument(help="A continuous instrument's name.")],
    call: Annotated[
        int | None,
        typer.Option(
            parser=duration_option,
            metavar="DURATION",
            help="How long orders are taken; then it trades. Without it: until you resume it.",
        ),
    ] = None,
) -> None:
    """Open a call auction: orders are taken, and trade all at once and at one price at its end."""
    await set_state(session, Target.INSTRUMENT, instrument, "AUCTION", call or 0)


@command(
    app,
    "protect",
    example="flopex admin protect paper-h100 --static-band 500 --reopening-call 30s\n"
    "flopex admin protect paper-h100 --volatility-move 200 --volatility-window 10s "
    "--reopening-call 30s --book-orders 100000",
)
async def protect(
    session: Session,
    instrument: Annotated[str, typer.Argument(help="A continuous instrument's name.")],
    static_band: Annotated[int, _bps("Farthest of a trade from the last auction.")] = 0,
    dynamic_band: Annotated[int, _bps("Farthest of a trade from the last one.")] = 0,
    volatility_move: Annotated[int, _bps("A trade farther off stops trading.")] = 0,
    volatility_window: Annotated[int, _span("Within this time.")] = 0,
    reopening_call: Annotated[int, _span("Length of the auction that trading goes on with.")] = 0,
    reopening_collar: Annotated[int, _bps("A price farther off extends it.")] = 0,
    reopening_extension: Annotated[int, _span("Length of an extension.")] = 0,
    reopening_extensions: Annotated[int, _count("Most extensions.")] = 0,
    book_orders: Annotated[int, _count("Most open orders.")] = 0,
    message_window: Annotated[int, _span("Length of a window of the order-to-trade limit.")] = 0,
    free_messages: Annotated[int, _count("Messages of an account that are free in a window.")] = 0,
    messages_per_trade: Annotated[int, _count("Further messages for each of its trades.")] = 0,
) -> None:
    """Set what keeps a book orderly: all of it at once, and what is left out is switched off."""
    from exchange.client import Protections

    async with session.connect() as client:
        after = await client.admin.set_protections(
            instrument,
            Protections(
                static_band_bps=static_band,
                dynamic_band_bps=dynamic_band,
                volatility_move_bps=volatility_move,
                volatility_window_ns=volatility_window,
                reopening_call_ns=reopening_call,
                reopening_collar_bps=reopening_collar,
                reopening_extension_ns=reopening_extension,
                reopening_extensions=reopening_extensions,
                book_orders_max=book_orders,
                order_to_trade_window_ns=message_window,
                order_to_trade_free=free_messages,
                order_to_trade_ratio=messages_per_trade,
            ),
        )
    session.output.answer(after, f"{after.name} is protected")


@command(
    app,
    "limits",
    example="flopex admin limits ada --messages-per-s 50 --burst 200\n"
    "flopex admin limits bot --messages-per-s 1000 --burst 1000 --message-window 1m "
    "--free-messages 500 --messages-per-trade 20",
)
async def limits(
    session: Session,
    account: Annotated[str, typer.Argument(help="The account's name.")],
    messages_per_s: Annotated[int, _count("Messages per second, sustained.")] = 0,
    burst: Annotated[int, _count("Messages at once, after a pause.")] = 0,
    message_window: Annotated[int, _span("Length of a window of the order-to-trade limit.")] = 0,
    free_messages: Annotated[int, _count("Order messages that are free in a window.")] = 0,
    messages_per_trade: Annotated[int, _count("Further ones for each trade in it.")] = 0,
) -> None:
    """Set how much an account may send: all at once, and what is left out is switched off."""
    from exchange.client import MessageLimits

    async with session.connect() as client:
        after = await client.admin.set_account_limits(
            account,
            MessageLimits(
                messages_per_s=messages_per_s,
                message_burst=burst,
                order_to_trade_window_ns=message_window,
                order_to_trade_free=free_messages,
                order_to_trade_ratio=messages_per_trade,
            ),
        )
    session.output.answer(after, limits_table(after))
