"""`flopex bench orders`: what a batched order costs, as a table."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.table import Table

from flopex.cli.base import Session
from flopex.interrupts import interruptible


async def orders(
    session: Session,
    rounds: Annotated[int, typer.Option(min=1, help="Rounds, each with new exchanges.")] = 5,
    batches: Annotated[int, typer.Option(min=1, help="Batches of a round.")] = 150,
    batch: Annotated[int, typer.Option(min=1, max=4096, help="Orders of a batch.")] = 256,
    seed: Annotated[int, typer.Option(help="Seed of the order flow.")] = 1,
) -> None:
    """What one batched order costs the exchange in CPU time, part by part.

    In one process, without network and disk: batches as messages and as packed rows, by turns.
    Microseconds of CPU per order, median of the rounds with the least and the most.
    """
    from flopex.bench.orders import Settings, run

    def report(number: int, whole: dict[str, float]) -> None:
        told = ", ".join(f"{form} {took} us" for form, took in whole.items())
        session.output.note(f"round {number}: {told} per order")

    result = await interruptible(run, Settings(rounds, batches, batch, seed), report)
    session.output.answer(result, _table(result))


def _table(result: dict[str, Any]) -> Table:
    from flopex.bench.orders import FORMS, PARTS

    machine = result["machine"]
    kind = "compiled" if result["compiled"] else "interpreted"
    title = f"us of CPU per order, {kind}; {machine['cpu']}, Python {machine['python']}"
    table = Table("part", *FORMS, title=title)
    for part in (*PARTS, "whole"):
        cells = [result[form][part] for form in FORMS]
        table.add_row(part, *(f"{middle} ({least} to {most})" for middle, least, most in cells))
    return table
