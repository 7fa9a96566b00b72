"""`flopex account`."""

from __future__ import annotations

import dataclasses
from typing import Annotated

import typer
from rich.console import Group

from flopex.cli.base import Session, command
from flopex.render.tables import account_table, ledger_table, limits_table, positions_table

app = typer.Typer()


@command(app, "account", example="flopex account --ledger 20\nflopex account --limits")
async def account(
    session: Session,
    ledger: Annotated[
        int, typer.Option(min=0, max=1_000, help="Also show the latest so many ledger entries.")
    ] = 0,
    limits: Annotated[
        bool, typer.Option("--limits", help="Also show how much you may have open and send.")
    ] = False,
) -> None:
    """Show your balance, what open bids and leases hold of it, and what is available.

    Limits that the operator set for your messages are shown without being asked for.
    """
    async with session.connect() as client:
        found = await client.account.get()
        names = {i.instrument_id: i.name for i in await client.market.instruments()}
        parts = [account_table([found])]
        if limits or any(dataclasses.astuple(found.limits.messages)):
            parts.append(limits_table(found))
        if found.positions:
            parts.append(positions_table(found, names))
        entries = []
        if ledger:
            entries = [entry async for entry in client.account.ledger(limit=ledger)]
            parts.append(ledger_table(entries, found.account_id))
        answer = {"account": found, "ledger": entries} if ledger else found
        session.output.answer(answer, Group(*parts))
