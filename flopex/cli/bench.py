"""`flopex bench`: measurements as commands."""

from __future__ import annotations

import asyncio
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer
from rich.table import Table

from flopex.cli.base import Session, command
from flopex.cli.bench_clearing import clearing
from flopex.cli.bench_gating import gating
from flopex.cli.bench_journal import journal
from flopex.cli.bench_matching import matching
from flopex.cli.exits import CommandError

if TYPE_CHECKING:
    from flopex.bench.exchange import Measured

app = typer.Typer(no_args_is_help=True, help="Benchmarks: each states its method and its spread.")

COLUMNS: Final = (
    "mode",
    "server",
    "at",
    "orders/s",
    "p50 ms",
    "p99 ms",
    "p99.9 ms",
    "server CPU us/order",
    "client CPU us/order",
)


class Mode(StrEnum):
    """How orders travel."""

    UNARY = "unary"
    STREAM = "stream"
    BATCHED = "batched"


@command(
    app,
    "exchange",
    example="flopex bench exchange\nflopex bench exchange --mode batched --seconds 10 --json",
)
async def exchange(
    session: Session,
    mode: Annotated[
        list[Mode] | None, typer.Option(help="Only this mode; may be repeated.")
    ] = None,
    seconds: Annotated[float, typer.Option(min=0.5, help="Length of one trial.")] = 3.0,
    clients: Annotated[int, typer.Option(min=1, max=8, help="Client processes.")] = 2,
    batch: Annotated[int, typer.Option(min=2, max=4096, help="Most orders per message.")] = 256,
    seed: Annotated[int, typer.Option(help="Seed of the order flow.")] = 1,
) -> None:
    """Orders per second with durable acknowledgements, and how long an acknowledgement takes.

    Open loop, separate processes, gRPC over loopback; latency counts from the time at which an
    order should have been sent. A mode's rate is the highest offered one at which every order was
    acknowledged with a p99 under 50 ms. Beside it stands the same transport with nothing behind
    it, measured in the same run.
    """
    from flopex.bench.exchange import Settings, run

    chosen = tuple(m.value for m in mode or Mode)
    settings = Settings(chosen, seconds, clients, seed, batch)

    def report(name: str, kind: str, measured: Measured) -> None:
        row = measured.row()
        verdict = "held" if measured.good else "failed"
        session.output.note(
            f"{name} {kind}: {row['per_s']:,} orders/s {verdict}, "
            f"p50 {row['p50_ms']} ms, p99 {row['p99_ms']} ms"
        )

    try:
        result = await asyncio.to_thread(run, settings, report)
    except RuntimeError as error:
        raise CommandError(f"the benchmark broke off: {error}", reason="BENCH") from error
    session.output.answer(result, _table(result, chosen))


command(
    app,
    "clearing",
    example="flopex bench clearing\nflopex bench clearing --bids 10000 --rounds 50 --json",
)(clearing)


command(
    app,
    "matching",
    example="flopex bench matching --quick\n"
    "flopex bench matching --liquibook ../liquibook --json\n"
    "make bench-matching LIQUIBOOK=../liquibook",
)(matching)

command(
    app,
    "gating",
    example="flopex bench gating\nflopex bench gating --quick --json",
)(gating)


command(
    app,
    "journal",
    example="flopex bench journal --directory ./exchange\n"
    "flopex bench journal --real-time --rounds 40 --json",
)(journal)


def _table(result: dict[str, Any], modes: tuple[str, ...]) -> Table:
    machine = result["machine"]
    table = Table(
        *COLUMNS,
        title=f"{machine['cpu']}, {machine['cores']} cores, Python {machine['python']}",
        caption="rate: the highest at which all orders were acknowledged, p99 under 50 ms; "
        "half: median of three trials at half of it",
    )
    for mode in modes:
        measured = result[mode]
        for kind in ("full", "empty"):
            figures = measured[kind]
            if figures is None:
                table.add_row(mode, kind, "limit", "none held")
                continue
            for at in ("limit", "half"):
                row = figures[at]
                table.add_row(mode, kind, at, *(f"{row[key]:,}" for key in _KEYS))
        ratio = measured["ratio_of_ceiling"]
        table.add_row(mode, "full/empty", "limit", "" if ratio is None else f"{ratio:.2f}")
    return table


_KEYS: Final = (
    "per_s",
    "p50_ms",
    "p99_ms",
    "p999_ms",
    "server_cpu_us_per_order",
    "client_cpu_us_per_order",
)
