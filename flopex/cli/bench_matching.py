"""`flopex bench matching`: its progress bar and its tables."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer
from rich.console import Group
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from flopex.cli.base import Session
from flopex.cli.exits import CommandError
from flopex.interrupts import interruptible

if TYPE_CHECKING:
    from rich.console import RenderableType

    from flopex.cli.output import Output

PEERS_PYTHON: Final = Path(".venv-peers/bin/python")
"""Where `make bench-matching` installs the peers."""
INSTALL_HINT: Final = (
    "not installed: {names}. `make bench-matching` installs the peers into .venv-peers; by hand: "
    "python -m venv .venv-peers && .venv-peers/bin/pip install --group peers"
)


class Part(StrEnum):
    """What is measured."""

    RATES = "rates"
    LATENCY = "latency"
    DEPTH = "depth"
    FLOPEX = "flopex"


class Workload(StrEnum):
    """What rates are measured on."""

    FLOW = "flow"
    SWEEP = "sweep"
    BOOKS64 = "books64"


async def matching(
    session: Session,
    peers: Annotated[
        Path | None,
        typer.Option(
            help="Python in which the peers are installed. Default: .venv-peers, or ours."
        ),
    ] = None,
    liquibook: Annotated[
        Path | None, typer.Option(help="A checkout of liquibook; needs g++.")
    ] = None,
    rounds: Annotated[
        int | None, typer.Option(min=1, max=50, help="Interleaved rounds; 5, or 2 with --quick.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the workloads.")] = 1,
    part: Annotated[
        list[Part] | None, typer.Option(help="Only this part; may be repeated.")
    ] = None,
    workload: Annotated[
        list[Workload] | None, typer.Option(help="Rates on this workload only; may be repeated.")
    ] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="Small workloads; not to publish.")
    ] = False,
) -> None:
    """The matching engine beside its peers, on the same commands, in one run.

    Commands per second of CPU on three seeded workloads, latency per command, memory per resting
    order, and what depth costs. Every contestant's trades are checked first, and again after every
    measurement. Contestants that are not installed are named and left out.
    """
    from flopex.bench.matching.run import QUICK, BenchError, Settings, run

    if peers is None:
        peers = PEERS_PYTHON.absolute() if PEERS_PYTHON.exists() else Path(sys.executable)
    chosen: dict[str, Any] = {"seed": seed, **(QUICK if quick else {})}
    if part:
        chosen["parts"] = tuple(one.value for one in part)
    if workload:
        chosen["timed"] = tuple(one.value for one in workload)
    if rounds is not None:
        chosen["rounds"] = rounds
    settings = Settings(peers=peers, liquibook=liquibook, **chosen)
    try:
        with _progress(session.output) as report:
            result = await interruptible(run, settings, report)
    except BenchError as error:
        raise CommandError(f"the benchmark broke off: {error}", reason="BENCH") from error
    if result["absent"]:
        session.output.note(INSTALL_HINT.format(names=", ".join(result["absent"])))
    session.output.answer(result, tables(result))


@contextmanager
def _progress(output: Output) -> Iterator[Callable[[int, int, str], None]]:
    """A bar on stderr; nothing where nobody watches."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    watched = output.errors.is_terminal and not output.json
    with Progress(
        *columns, TimeElapsedColumn(), console=output.errors, disable=not watched, transient=True
    ) as bar:
        task = bar.add_task("starting", total=None)

        def report(done: int, total: int, what: str) -> None:
            bar.update(task, completed=done, total=total or None, description=what)

        yield report


def tables(result: dict[str, Any]) -> RenderableType:
    """What people see: contestants, and what Flopex alone was asked."""
    near = _depths(result, "deep_flow_us", "us per command by resting orders: flow at the touch")
    far = _depths(result, "depth_us", "us per command by resting orders: at random places")
    return Group(_contestants(result), near, far, _flopex(result))


def _contestants(result: dict[str, Any]) -> Table:
    machine, settings = result["machine"], result["settings"]
    flow, sweep, books = result["workloads"][1:]
    table = Table(
        "contestant",
        "trades",
        f"flow, {flow['commands']:,}",
        f"sweep, {sweep['commands']:,}",
        f"64 books, {books['commands']:,}",
        "flow: Flopex is",
        "p50 us",
        "p99 us",
        "p99.9 us",
        "bytes/order",
        title=f"commands per second of CPU: {machine['cpu']}, {machine['cores']} cores, "
        f"Python {machine['python']}, Flopex {'compiled' if result['compiled'] else 'interpreted'}",
        caption=f"median (lowest-highest) of {settings['rounds']} interleaved rounds, seed "
        f"{settings['seed']}; latency by the wall clock, timer included",
    )
    ours = result["flow_per_s"]
    for row in result["contestants"]:
        rates = [_rate(row, name) for name in ("flow", "sweep", "books64")]
        flow_rate = row["per_s"].get("flow", {}).get("median")
        latency = [f"{v:,.2f}" for v in row["latency_us"].values()] or ["", "", ""]
        table.add_row(
            row["name"],
            "right" if row["right"] else "WRONG: " + "; ".join(row["remarks"]),
            *rates,
            f"{ours / flow_rate:,.2f} x" if ours and flow_rate else "",
            *latency,
            f"{row['bytes_per_order']:,.0f}" if row["bytes_per_order"] else "",
        )
    return table


def _rate(row: dict[str, Any], workload: str) -> str:
    found = row["per_s"].get(workload)
    if found is None:
        return ""
    text = f"{found['median']:,} ({found['min']:,}-{found['max']:,})"
    if row["prefix"]:
        text += f", first {row['prefix'][workload]:,} only"
    return text


def _depths(result: dict[str, Any], key: str, title: str) -> Table:
    depths = result["settings"]["depths"]
    table = Table("contestant", *(f"{n:,}" for n in depths), title=title)
    for row in result["contestants"]:
        cells = (row[key].get(n) for n in depths)
        table.add_row(row["name"], *("" if us is None else f"{us:,.3f}" for us in cells))
    return table


def _flopex(result: dict[str, Any]) -> Table:
    table = Table("Flopex", "", title="what only Flopex was asked")
    for name, label in (("auction", "call auction"), ("managed", "managed bids, 10 trade")):
        ms = result["uncross_ms"].get(name)
        size = result["settings"]["auction_orders" if name == "auction" else "managed_bids"]
        if ms:
            shown = f"{ms['median']:,} ms ({ms['min']:,}-{ms['max']:,})"
            table.add_row(f"uncross of {size:,}: {label}", shown)
    data = result["market_data"] or {}
    for name in ("l2_us", "l1_us", "checksum_us", "checksum_each_us"):
        if name in data:
            table.add_row(f"market data: {name.removesuffix('_us')}", f"{data[name]:,.3f} us")
    for name, us in (result["rules_us"] or {}).items():
        if name != "compiled":
            table.add_row(f"one order in ten: {name}", f"{us:,.3f} us per command")
    for name in (
        "ratio_best_pypi",
        "ratio_liquibook",
        "depth_cost_ratio",
        "depth_cost_ratio_random",
    ):
        value = result[name]
        table.add_row(name, "absent" if value is None else f"{value:,.2f}")
    floor = result["depth_floor"]
    if floor:
        table.add_row(
            "depth_floor: one more step to a random order",
            f"{floor['step_us']:,.3f} us; a command waits for {floor['steps']:,.1f} of them",
        )
    table.add_row("best PyPI peer", result["best_pypi_peer"] or "absent")
    return table
