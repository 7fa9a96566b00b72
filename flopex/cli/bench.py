"""`flopex bench`: measurements as commands."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Group
from rich.table import Table

from flopex.cli.base import Session, command
from flopex.cli.bench_clearing import clearing
from flopex.cli.bench_exchange import exchange
from flopex.cli.bench_fanout import fanout
from flopex.cli.bench_gating import gating
from flopex.cli.bench_http import http
from flopex.cli.bench_journal import journal
from flopex.cli.bench_matching import matching
from flopex.cli.bench_orders import orders
from flopex.cli.bench_recovery import recovery
from flopex.cli.bench_rivals import rivals
from flopex.cli.bench_sim import simulator
from flopex.cli.exits import CommandError
from flopex.interrupts import interruptible

app = typer.Typer(no_args_is_help=True, help="Benchmarks: each states its method and its spread.")

command(
    app,
    "exchange",
    example="flopex bench exchange\n"
    "flopex bench exchange --mode batched --rate 50000 --seconds 60 --json\n"
    "flopex bench exchange --alone --json",
)(exchange)

command(
    app,
    "orders",
    example="flopex bench orders\nflopex bench orders --rounds 3 --json",
)(orders)

command(
    app,
    "fanout",
    example="flopex bench fanout\nflopex bench fanout --slow 100 --rate 20 --json",
)(fanout)

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
    "http",
    example="flopex bench http\nflopex bench http --rounds 5 --concurrency 16 --json",
)(http)


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
    result = await interruptible(
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


command(
    app,
    "recovery",
    example="flopex bench recovery\n"
    "flopex bench recovery --live-orders 1000000 --records 10000000 --directory /data --json",
)(recovery)

command(
    app,
    "sim",
    example="flopex bench sim\nflopex bench sim --jobs 1000000 --workers 1000 --json",
)(simulator)
