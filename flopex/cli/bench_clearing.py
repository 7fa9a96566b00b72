"""`flopex bench clearing`: what an uncross costs, as a table."""

from __future__ import annotations

from typing import Annotated, Any, Final

import typer
from rich.table import Table

from flopex.cli.base import Session
from flopex.interrupts import interruptible

SCENES: Final = ("ramps", "crowd", "one_tick", "limits", "pause")
COLUMNS: Final = (
    "scene",
    "trades",
    "uncross ms",
    "least",
    "most",
    "arm ms",
    "add us",
    "remove us",
)
_KEYS: Final = (
    "fills_per_uncross",
    "uncross_ms",
    "uncross_ms_min",
    "uncross_ms_max",
    "arm_ms",
    "add_us",
    "remove_us",
)


async def clearing(
    session: Session,
    bids: Annotated[int, typer.Option(min=100, help="Resting managed bids.")] = 100_000,
    rounds: Annotated[int, typer.Option(min=1, help="Uncrosses per scene.")] = 200,
    seed: Annotated[int, typer.Option(help="Seed of the bids.")] = 1,
) -> None:
    """What an uncross costs with many resting managed bids, of which ten trade.

    All bids differ in density, cap and latest start and name three classes; asks move before every
    uncross. CPU time, median of the rounds with the least and the most. `pause` is one uncross
    after half of the bids have become too late to start.
    """
    from flopex.bench.clearing import Settings, run

    def report(name: str, row: dict[str, Any]) -> None:
        session.output.note(f"{name}: {row['uncross_ms']} ms")

    result = await interruptible(run, Settings(bids, rounds, seed), report)
    session.output.answer(result, _table(result))


def _table(result: dict[str, Any]) -> Table:
    machine = result["machine"]
    kind = "compiled" if result["compiled"] else "interpreted"
    table = Table(
        *COLUMNS,
        title=f"{result['bids']:,} bids, {kind}; {machine['cpu']}, Python {machine['python']}",
    )
    for scene in SCENES:
        row = result[scene]
        table.add_row(scene, *(str(row.get(key, "")) for key in _KEYS))
    return table
