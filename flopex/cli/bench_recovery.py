"""`flopex bench recovery`: its progress and its table."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from flopex.cli.base import Session
from flopex.cli.exits import CommandError, ExitCode, in_words
from flopex.interrupts import interruptible
from flopex.render.format import grouped


async def recovery(
    session: Session,
    directory: Annotated[
        Path, typer.Option(help="A folder on the disk to measure; 100 bytes a record and more.")
    ] = Path(),
    live_orders: Annotated[int, typer.Option(min=1, help="Orders that rest.")] = 50_000,
    records: Annotated[int, typer.Option(min=1_000, help="Journal records in all.")] = 200_000,
    tail_records: Annotated[
        int, typer.Option(min=0, help="Those of them behind the snapshot.")
    ] = 10_000,
    rounds: Annotated[int, typer.Option(min=1, max=100, help="Restarts.")] = 3,
    seed: Annotated[int, typer.Option(help="Seed of the orders.")] = 1,
) -> None:
    """How fast a journal is replayed, and how long a restart takes from a snapshot and its tail.

    Writes a journal, lets the follower replay it and take a snapshot, and starts the engine anew,
    each time in a process of its own. The goals are stated for --live-orders 1000000 --records
    10000000, which takes many minutes and 12 GB of memory.
    """
    from exchange.journal import JournalError
    from flopex.bench.recovery import Settings, run

    if tail_records >= records:
        raise CommandError("--tail-records must be below --records", code=ExitCode.USAGE)
    settings = Settings(directory, live_orders, records, tail_records, rounds, seed=seed)
    try:
        result = await interruptible(run, settings, session.output.note)
    except FileNotFoundError as error:
        raise CommandError(in_words(error), code=ExitCode.USAGE, reason="FOLDER") from error
    except (JournalError, OSError, RuntimeError) as error:
        raise CommandError(f"the benchmark broke off: {in_words(error)}", reason="BENCH") from error
    session.output.answer(result, _table(result))


def _table(result: dict[str, Any]) -> Table:
    machine = result["machine"]
    form = "compiled" if result["compiled"] else "interpreted"
    low, high = result["restart_s_range"]
    table = Table(
        "measure",
        "value",
        title=f"{machine['cpu']}, {machine['cores']} cores, Python {machine['python']}, {form}",
        caption=f"seed {result['settings']['seed']}; the journal's folder was "
        f"{result['settings']['directory']}",
    )
    for name, value in (
        ("replay", f"{grouped(result['replay_per_s'])} records/s"),
        ("replayed", f"{grouped(result['replay_records'])} records in {result['replay_s']:.1f} s"),
        ("live orders", grouped(result["live_orders"])),
        ("client ids remembered beside them", grouped(result["remembered_ids"])),
        ("snapshot", f"{grouped(result['snapshot_bytes'])} bytes in {result['snapshot_s']:.1f} s"),
        ("tail", f"{grouped(result['tail_records'])} records"),
        ("restart", f"{result['restart_s']:.2f} s ({low:.2f}-{high:.2f})"),
        ("largest process", f"{grouped(result['peak_rss_bytes'])} bytes"),
    ):
        table.add_row(name, value)
    return table
