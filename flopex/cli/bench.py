"""`flopex bench`: measurements as commands."""

from __future__ import annotations

import asyncio
import json
import time
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer
from rich.console import Group
from rich.table import Table

from flopex.cli.base import Session, command
from flopex.cli.bench_clearing import clearing
from flopex.cli.bench_gating import gating
from flopex.cli.bench_journal import journal
from flopex.cli.bench_matching import matching
from flopex.cli.bench_orders import orders
from flopex.cli.bench_recovery import recovery
from flopex.cli.bench_rivals import rivals
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
    seconds: Annotated[float, typer.Option(min=0.5, help="Length of one trial.")] = 2.0,
    clients: Annotated[int, typer.Option(min=1, max=8, help="Client processes.")] = 2,
    batch: Annotated[int, typer.Option(min=2, max=4096, help="Most orders per message.")] = 256,
    seed: Annotated[int, typer.Option(help="Seed of the order flow.")] = 1,
    processes: Annotated[
        int, typer.Option(min=1, max=2, help="1: all in one; 2: engine and gateway apart.")
    ] = 1,
    real_time: Annotated[
        bool,
        typer.Option(
            "--real-time",
            help="Run under SCHED_RR, so that busy neighbours do not show; needs root.",
        ),
    ] = False,
) -> None:
    """Orders per second with durable acknowledgements, and how long an acknowledgement takes.

    Open loop, separate processes, gRPC over loopback; latency counts from the time at which an
    order should have been sent. A mode's rate is the highest offered one at which every order was
    acknowledged with a p99 under 50 ms. Beside it stands the same transport with nothing behind
    it, measured in the same run.
    """
    from flopex.bench.exchange import Settings, run

    chosen = tuple(m.value for m in mode or Mode)
    settings = Settings(chosen, seconds, clients, seed, batch, processes, real_time)
    began = time.monotonic()
    session.output.note(
        f"at most {settings.most_seconds / 60:.0f} minutes, a third of it as a rule"
    )

    def report(name: str, kind: str, measured: Measured) -> None:
        row = measured.row()
        verdict = "held" if measured.good else "failed"
        session.output.note(
            f"{time.monotonic() - began:4.0f} s  {name} {kind}: {row['per_s']:,} orders/s "
            f"{verdict}, p50 {row['p50_ms']} ms, p99 {row['p99_ms']} ms"
        )

    try:
        result = await asyncio.to_thread(run, settings, report)
    except PermissionError as error:
        raise CommandError(
            f"not allowed: {error}", "SCHED_RR needs root or CAP_SYS_NICE", reason="BENCH"
        ) from error
    except RuntimeError as error:
        raise CommandError(f"the benchmark broke off: {error}", reason="BENCH") from error
    session.output.answer(result, _table(result, chosen))


command(
    app,
    "orders",
    example="flopex bench orders\nflopex bench orders --rounds 3 --json",
)(orders)

command(
    app,
    "rivals",
    example="flopex bench rivals\nflopex bench rivals --directory ./exchange --seconds 30 --json",
)(rivals)


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


@command(
    app,
    "model",
    example="flopex bench model --json\n"
    "flopex bench model --data BIG-Bench-Hard/bbh --plots plots\n"
    "flopex bench model --retrain --weights runs/again",
)
async def model(
    session: Session,
    seed: Annotated[int, typer.Option(help="Seed of the questions.")] = 1,
    weights: Annotated[
        Path | None,
        typer.Option(file_okay=False, help="Folder of weights; those of the package by default."),
    ] = None,
    plots: Annotated[Path | None, typer.Option(help="Folder for the plots (PNG).")] = None,
    questions: Annotated[int, typer.Option(min=50, help="Test questions of each mix.")] = 1_500,
    retrain: Annotated[
        bool, typer.Option(help="Train all contestants into --weights before (hours).")
    ] = False,
    keep: Annotated[
        bool, typer.Option(help="Keep the chosen thresholds beside the weights, for workers.")
    ] = False,
) -> None:
    """What the adaptive model saves against dense models, and that its caps and meter hold.

    Thresholds come from a validation split, test questions were excluded from training by the hash
    of their canonical form. FLOPs are 2 per multiply-add of all matrix products. Here --data names
    a folder of BIG-Bench-Hard JSON files. It needs the extra `train`.
    """
    result = await asyncio.to_thread(
        _bench_model, session, (seed, session.data_named, weights, plots, questions, retrain, keep)
    )
    if session.json:
        # Everything first, then one line with the figures that matter.
        print(json.dumps(result))
        print(json.dumps(result["summary"]))
        return
    summary = json.dumps(result["summary"], indent=1)
    session.output.answer(result["summary"], Group(*_model_tables(result), summary))


def _bench_model(
    session: Session, wanted: tuple[int, Path | None, Path | None, Path | None, int, bool, bool]
) -> dict[str, Any]:
    seed, data, weights, plots, questions, retrain, keep = wanted
    try:
        from flopex.bench import model as bench
        from flopex.bench.model_plots import plot
        from worker.model.errors import WeightsError
        from worker.model.shipped import TRAINED
        from worker.model.tasks.bbh import BbhError

        folder = weights or TRAINED
        if retrain:
            if weights is None:
                raise CommandError("--retrain needs --weights FOLDER", reason="NO_FOLDER")
            bench.retrain(folder, data, session.output.note)
        settings = bench.Settings(seed, data, folder, questions)
        result = bench.run(settings, session.output.note)
        if plots:
            plot(settings, result, plots)
        if keep:
            bench.keep_policies(result, folder)
    except ImportError as error:
        raise CommandError(
            f"the benchmark needs torch and matplotlib: {error}",
            "pip install 'flopex[train]'",
            reason="NO_TORCH",
        ) from error
    except (WeightsError, BbhError) as error:
        raise CommandError(str(error), reason="BENCH") from error
    return result


def _model_tables(result: dict[str, Any]) -> list[Table]:
    sets = list(next(iter(result["contestants"].values()))["sets"])
    table = Table("contestant", *sets, title="score / kFLOP per question (all matrix products)")
    for label, entry in result["contestants"].items():
        cells = [
            f"{entry['sets'][s]['accuracy']:.3f} / {entry['sets'][s]['flops'] / 1e3:,.0f}"
            for s in sets
        ]
        table.add_row(label + ("" if entry["converged"] else " (not converged)"), *cells)
    parts = Table("variant", "uniform", "easy-heavy", title="the same weights: score / kFLOP")
    for name in result["decomposition"]["uniform"]:
        cells = [
            (f"{row['accuracy']:.3f} / " if "accuracy" in row else "")
            + f"{row['flops'] / 1e3:,.0f}"
            for row in (result["decomposition"][mix][name] for mix in ("uniform", "easy_heavy"))
        ]
        parts.add_row(name, *cells)
    return [table, parts]


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

command(
    app,
    "recovery",
    example="flopex bench recovery\n"
    "flopex bench recovery --live-orders 1000000 --records 10000000 --directory /data --json",
)(recovery)
