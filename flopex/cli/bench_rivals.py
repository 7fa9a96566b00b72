"""`flopex bench rivals`: its progress and its table."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from flopex.cli.base import Session
from flopex.cli.exits import CommandError, ExitCode, in_words
from flopex.interrupts import interruptible


async def rivals(
    session: Session,
    directory: Annotated[
        Path, typer.Option(help="A folder on the disk to use; servers get folders of their own.")
    ] = Path(),
    seconds: Annotated[float, typer.Option(min=0.1, help="Seconds of each row.")] = 10.0,
    seed: Annotated[int, typer.Option(help="Seed of the orders.")] = 1,
) -> None:
    """The same orders through PostgreSQL and through Redis streams, each order durable.

    PostgreSQL: one transaction of one UPDATE (the escrow) and one INSERT, synchronous commit.
    Redis: one XADD, appendfsync always. Both as installed on this machine (Debian: postgresql,
    redis-server; Python: psycopg, redis); what is not installed is null.
    """
    from flopex.bench.rivals import Settings, run

    def report(rival: str, row: dict[str, Any]) -> None:
        session.output.note(
            f"{rival}, {row['connections']} connections, {row['batch']} per message: "
            f"{row['per_s']:,} orders/s"
        )

    try:
        result = await interruptible(run, Settings(directory, seconds, seed), report)
    except FileNotFoundError as error:
        raise CommandError(in_words(error), code=ExitCode.USAGE, reason="FOLDER") from error
    except (OSError, RuntimeError) as error:
        raise CommandError(f"the benchmark broke off: {in_words(error)}", reason="BENCH") from error
    for rival in ("postgres", "redis"):
        if result[rival] is None:
            session.output.note(f"{rival} or its Python client is not installed")
    session.output.answer(result, _table(result))


def _table(result: dict[str, Any]) -> Table:
    machine = result["machine"]
    table = Table(
        *("rival", "connections", "orders per message", "orders/s", "p50 ms", "p99 ms"),
        "client CPU us/order",
        title=f"{machine['cpu']}, {machine['cores']} cores, Python {machine['python']}",
        caption=f"{result['settings']['seconds']:g} s a row, seed {result['settings']['seed']}, "
        "closed loop, durable",
    )
    for rival in ("postgres", "redis"):
        for row in result[rival]["rows"] if result[rival] else ():
            table.add_row(
                rival,
                str(row["connections"]),
                str(row["batch"]),
                f"{row['per_s']:,}",
                f"{row['p50_ms']:,.2f}",
                f"{row['p99_ms']:,.2f}",
                f"{row['client_cpu_us_per_order']:,.0f}",
            )
    return table
