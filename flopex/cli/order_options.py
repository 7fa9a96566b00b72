"""The options of an order, each with its help."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from flopex.cli.units import compute_option, duration_option, money_option, positive, price_option


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


class PostOnlyName(StrEnum):
    """What an order that must not take does where it would."""

    REJECT = "reject"
    REPRICE = "reprice"


Quantity = Annotated[
    int, typer.Option(parser=compute_option, metavar="COMPUTE", help="How much compute.")
]
Limit = Annotated[
    int | None,
    typer.Option("--price", parser=price_option, metavar="PRICE", help="Limit price per CU."),
]
Market = Annotated[
    bool, typer.Option("--market", help="At any price within the instrument's band.")
]
Stop = Annotated[
    int | None,
    typer.Option(
        parser=price_option,
        metavar="PRICE",
        help="Wait until a trade reaches this price; then it is a limit or a market order.",
    ),
]
Tif = Annotated[
    TimeInForceName,
    typer.Option(
        "--time-in-force",
        "--tif",
        help="gtc: until cancelled; gtd: --expires; ioc: now or never; fok: whole or never.",
    ),
]
Expires = Annotated[
    int | None,
    typer.Option(parser=duration_option, metavar="DURATION", help="End of a gtd order, from now."),
]
MaxCost = Annotated[
    int | None,
    typer.Option(
        parser=positive(money_option),
        metavar="MONEY",
        help="Money cap of a bid: one that never rests trades what it pays for.",
    ),
]
SelfTrade = Annotated[
    SelfTradeName, typer.Option(help="What happens instead of a trade with yourself.")
]
PostOnly = Annotated[
    PostOnlyName | None,
    typer.Option(help="Never take: reject what would, or rest one tick behind the other side."),
]
AllOrNone = Annotated[
    bool, typer.Option("--all-or-none", help="Trade all that is left at once, or nothing.")
]
MinQuantity = Annotated[
    int | None,
    typer.Option(parser=compute_option, metavar="COMPUTE", help="Least quantity of a trade."),
]
Display = Annotated[
    int | None,
    typer.Option(
        parser=compute_option, metavar="COMPUTE", help="Show this part at a time (iceberg)."
    ),
]
Hidden = Annotated[bool, typer.Option("--hidden", help="Rest unseen, behind what is shown.")]
