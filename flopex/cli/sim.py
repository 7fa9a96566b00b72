"""`flopex sim`: demand traces through the live engine, and what that proves."""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import msgspec
import typer
from rich.console import Group, RenderableType
from rich.table import Table

from flopex.cli.base import Session, command
from flopex.cli.exits import CommandError, ExitCode
from flopex.interrupts import interruptible

if TYPE_CHECKING:
    from rich.progress import Progress

    from sim.scenario import Scenario
    from sim.studies.run import Result
    from sim.studies.study import Plan

FLEET_WORKERS: Final = 24
"""Of a fleet that is made of offers, unless somebody says otherwise."""

app = typer.Typer(no_args_is_help=True, help="Simulate: demand traces through the live engine.")


Offers = Annotated[
    Path | None,
    typer.Option(help="Offers of machines (Vast.ai, or AWS spot prices) as the fleet, with --gpu."),
]
Gpus = Annotated[
    list[str] | None,
    typer.Option(
        "--gpu",
        metavar="NAME=SPEED",
        help="A GPU (or type of machine) that takes part, and its speed; may be repeated.",
    ),
]
Workers = Annotated[
    int, typer.Option(min=0, help="Most workers of such a fleet; 0 for one per GPU offered.")
]
Lost = Annotated[
    Path | None,
    typer.Option("--losses", help="Preemptions, as whose nodes workers are lost and come back."),
]


@command(
    app,
    "study",
    example="flopex sim study list\n"
    "flopex sim study welfare --trace AzureLLMInferenceTrace_conv.csv --load 1.3\n"
    "flopex sim study incentives --trace conv.csv.gz --trace code.csv.gz --out results\n"
    "flopex sim study welfare --trace trace.csv.gz --scenario fleet.toml --json\n"
    "flopex sim study sellers --trace conv.csv --offers offers.csv --gpu 'H100 SXM=1'\n"
    "flopex sim study worker_loss --trace conv.csv --losses p3-trace.csv",
)
async def study(
    session: Session,
    name: Annotated[str, typer.Argument(help="A study; `list` prints all.")],
    trace: Annotated[
        list[Path] | None,
        typer.Option(
            help="A demand trace: Azure, BurstGPT, Mooncake, ServeGen, or plain CSV; may be "
            "repeated."
        ),
    ] = None,
    load: Annotated[
        list[float] | None,
        typer.Option(min=0.01, help="Work over capacity; may be repeated.", show_default="study's"),
    ] = None,
    seed: Annotated[
        list[int] | None,
        typer.Option(help="Seed of values and deadlines; may be repeated.", show_default="study's"),
    ] = None,
    windows: Annotated[
        int | None, typer.Option(min=2, help="Windows of each trace.", show_default="20")
    ] = None,
    scenario: Annotated[
        Path | None, typer.Option(help="TOML file with the rest: fleet, values, quotes.")
    ] = None,
    offers: Offers = None,
    gpu: Gpus = None,
    workers: Workers = FLEET_WORKERS,
    losses: Lost = None,
    curves: Annotated[
        Path | None, typer.Option(help="What `flopex quality --json` printed, for `gating`.")
    ] = None,
    out: Annotated[
        Path, typer.Option(help="Folder for results: Parquet, verdict and report.")
    ] = Path("studies"),
    processes: Annotated[
        int, typer.Option(min=0, help="Processes at once; 0 for one per core.")
    ] = 0,
) -> None:
    """Run a study of the market: a claim that was stated before it is measured.

    Demand traces are stretched to a load and given to the engine that runs live, in virtual time.
    Values and deadlines are in no trace: they come from the scenario's model. Results are kept:
    the same command again runs only what has not been run yet. The last line with --json is the
    verdict.
    """
    _need_the_simulator()
    from sim.bound import BoundError
    from sim.scenario import ScenarioError
    from sim.traces import TraceFileError

    if name == "list":
        _list(session)
        return
    try:
        plan = _plan(trace or [], scenario, curves, windows, tuple(load or ()), tuple(seed or ()))
        settings = _supplied(plan.scenario, offers, gpu or [], workers, losses)
        plan = msgspec.structs.replace(plan, scenario=settings)
        result = await _run(session, name, plan, out, processes)
    except (TraceFileError, ScenarioError) as error:
        raise CommandError(str(error), code=ExitCode.USAGE, reason="SCENARIO") from error
    except BoundError as error:
        raise CommandError(str(error), reason="BOUND") from error
    for line in result.lines if session.json else ():
        session.output.line(line)
    session.output.answer(result.verdict, _shown(name, result))


def _need_the_simulator() -> None:
    missing = [name for name in ("scipy", "polars", "matplotlib") if find_spec(name) is None]
    if missing:
        raise CommandError(
            f"the simulator needs {', '.join(missing)}",
            "pip install 'flopex[sim]'",
            reason="NO_SIMULATOR",
        )


def _plan(
    traces: list[Path],
    scenario: Path | None,
    curves: Path | None,
    windows: int | None,
    loads: tuple[float, ...],
    seeds: tuple[int, ...],
) -> Plan:
    import sim

    settings = sim.Scenario()
    if scenario:
        settings = sim.load_scenario(scenario)
        # What the file says goes before the study's own loads and seeds, and behind the options.
        stated = tomllib.loads(scenario.read_text())
        loads = loads or ((settings.load,) if "load" in stated else ())
        seeds = seeds or ((settings.seed,) if "seed" in stated else ())
    if windows:
        settings = msgspec.structs.replace(settings, windows=windows)
    paths = tuple(str(path) for path in traces)
    return sim.Plan(settings, paths, loads, seeds, str(curves or ""))


def _supplied(
    settings: Scenario, offers: Path | None, gpus: list[str], workers: int, losses: Path | None
) -> Scenario:
    """The scenario with the fleet of the offers, and with the losses of the preemptions.

    Raises:
        ScenarioError: a file cannot be read, or no fleet can be made of it.
    """
    from sim.scenario import Losses, ScenarioError, checked
    from sim.scenario_file import Fleet, classes_of, nodes_of

    if bool(offers) != bool(gpus):
        raise ScenarioError("a fleet needs --offers FILE and --gpu NAME=SPEED")
    if offers:
        speeds = {}
        for text in gpus:
            name, _, speed = text.rpartition("=")
            try:
                speeds[name] = float(speed)
            except ValueError as error:
                raise ScenarioError(f"--gpu {text}: write NAME=SPEED") from error
        slots = settings.classes[0].slots
        classes = classes_of(Fleet(str(offers), speeds, slots, workers))
        settings = msgspec.structs.replace(settings, classes=classes)
    if losses:
        told = msgspec.structs.replace(settings.losses or Losses(), nodes=nodes_of(losses))
        settings = msgspec.structs.replace(settings, losses=told)
    return checked(settings)


async def _run(session: Session, name: str, plan: Plan, out: Path, processes: int) -> Result:
    """The study, beside a bar that shows how many cells are done."""
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
    )

    import sim

    columns = TextColumn(name), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    with Progress(*columns, console=session.output.errors, disable=session.json) as bar:
        return await interruptible(sim.run_study, name, plan, out, processes, _told(bar))


def _told(bar: Progress) -> Callable[[int, int], None]:
    task = bar.add_task("cells", total=None)
    return lambda done, of: bar.update(task, completed=done, total=of)


def _shown(name: str, result: Result) -> RenderableType:
    verdict = result.verdict
    parts: list[RenderableType] = []
    if name == "welfare":
        parts += [_rules([*result.lines, verdict]), ""]
    claims = Table("claim", "figure", "95 %", "", title=f"{verdict['number']} {name}")
    for claim in verdict["claims"]:
        low, high = claim["low"], claim["high"]
        claims.add_row(
            claim["says"],
            "" if claim["figure"] is None else f"{claim['figure']:.3f}",
            f"{low:.3f} to {high:.3f}" if None not in (low, high) and low < high else "",
            {True: "met", False: "[red]not met[/]", None: ""}[claim["met"]],
        )
    return Group(*parts, claims, f"report: {result.folder / 'report.html'}")


def _rules(lines: list[dict[str, Any]]) -> Table:
    """Welfare over the bound, by rule and market."""
    table = Table("rule", title="welfare over the clairvoyant bound")
    for line in lines:
        table.add_column(f"{line['trace'].split('.')[0]}\nload {line['load']:g}", justify="right")
    table.add_row(
        "the market",
        *(f"{x['ratio_mean']:.3f}\n{x['ratio_low']:.3f} to {x['ratio_high']:.3f}" for x in lines),
    )
    order = sorted(lines[-1]["baselines"], key=lambda rule: -lines[-1]["baselines"][rule])
    for rule in order:
        table.add_row(rule, *(f"{line['baselines'][rule]:.3f}" for line in lines))
    table.add_row("bound loose by", *(f"{line['bound_looseness']:.3f}" for line in lines))
    return table


def _list(session: Session) -> None:
    from sim.studies import catalog

    studies = [catalog.find(name) for name in catalog.NAMES]
    table = Table("study", "", "hypothesis", "threshold")
    for one in studies:
        table.add_row(one.name, one.number, one.hypothesis, one.threshold)
    for name, why in catalog.WAITING.items():
        table.add_row(name, "", why, "")
    answer = {
        one.name: {
            "number": one.number,
            "hypothesis": one.hypothesis,
            "metric": one.metric,
            "threshold": one.threshold,
            "reads": one.reads,
        }
        for one in studies
    } | {name: {"waiting": why} for name, why in catalog.WAITING.items()}
    session.output.answer(answer, table)
