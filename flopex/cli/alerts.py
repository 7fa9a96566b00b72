"""`flopex alert add|list|remove`: being told once when a price is reached."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from flopex.cli.base import Session, command
from flopex.cli.units import price_option
from flopex.render.webhooks import alert_terms, alerts_table


class ConditionName(StrEnum):
    """Which prices set an alert off."""

    ABOVE = "above"
    BELOW = "below"


app = typer.Typer(no_args_is_help=True, help="Price alerts: be told once when a price is reached.")


@command(
    app,
    "add",
    example="flopex alert add smollm2-135m/cpu/interactive below '250000 nanos'\n"
    "flopex alert add paper-h100 above '$0.0000018' --webhook 3",
)
async def add(
    session: Session,
    instrument: Annotated[str, typer.Argument(help="Instrument's name.")],
    condition: Annotated[
        ConditionName, typer.Argument(help="above: at the price or above it; below: or below it.")
    ],
    limit: Annotated[
        int, typer.Argument(parser=price_option, metavar="PRICE", help="Price per CU.")
    ],
    webhook: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="WEBHOOK",
            help="Which of your webhooks is told; else the list alone says.",
        ),
    ] = None,
) -> None:
    """Be told of the first trade from now on at a price or beyond it."""
    from exchange.client import AlertCondition

    async with session.connect() as client:
        made = await client.alerts.add(
            instrument, AlertCondition[condition.name], limit, webhook_id=webhook or 0
        )
    session.output.answer(made, f"alert {made.alert_id}: {instrument} at {alert_terms(made)}")
    if webhook is None:
        session.output.note("nobody is called: flopex alert list shows whether it has gone off")


@command(app, "list", example="flopex alert list")
async def list_alerts(session: Session) -> None:
    """Show your alerts; those that have gone off stay until you remove them."""
    async with session.connect() as client:
        found = await client.alerts.list()
    session.output.answer({"alerts": found}, alerts_table(found) if found else "no alerts")


@command(app, "remove", example="flopex alert remove 5")
async def remove(
    session: Session,
    alert: Annotated[int, typer.Argument(min=1, metavar="ALERT", help="The alert's number.")],
) -> None:
    """End an alert."""
    async with session.connect() as client:
        await client.alerts.remove(alert)
    session.output.answer({"removed": alert}, f"alert {alert} is gone")
