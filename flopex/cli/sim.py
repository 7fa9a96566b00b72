"""`flopex sim`: demand traces through the live engine, and what that proves."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer
from rich.table import Table

from flopex.cli.base import Session, command
from flopex.cli.exits import CommandError, ExitCode

if TYPE_CHECKING:
    from sim.scenario import Scenario

app = typer.Typer(no_args_is_help=True, help="Simulate: demand traces through the live engine.")
study = typer.Typer(no_args_is_help=True, help="Studies of the market, with their verdicts.")
app.add_typer(study, name="study")

_TEXTS: Final = {
    "market": "the market: managed bids, 10 ms batches",
    "fifo": "first in, first out",
    "fifo_drop": "... dropping what can no longer be done in time",
    "edf_drop": "earliest deadline first, dropping",
    "priority": "three strict priorities, truthful, dropping",
    "density": "highest value per work first, truthful, dropping",
    "posted": "one posted price, the best in hindsight",
    "reverse_auction": "an auction per job that takes 1 s",
    "least_loaded": "the least loaded slot",
    "cheapest_spill": "the cheapest class, spilling after 2 s",
}


@command(
    study,
    "welfare",
    example="flopex sim study welfare --trace AzureLLMInferenceTrace_conv.csv --load 1.3\n"
    "flopex sim study welfare --trace trace.csv.gz --scenario fleet.toml --json",
)
async def welfare(
    session: Session,
    trace: Annotated[
        Path,
        typer.Option(help="A demand trace: Azure, BurstGPT, Mooncake, ServeGen, or plain CSV."),
    ],
    load: Annotated[
        float | None, typer.Option(min=0.01, help="Work over capacity.", show_default="1.3")
    ] = None,
    windows: Annotated[
        int | None, typer.Option(min=2, help="Windows of the trace.", show_default="20")
    ] = None,
    seed: Annotated[
        int | None, typer.Option(help="Seed of values and deadlines.", show_default="1")
    ] = None,
    scenario: Annotated[
        Path | None, typer.Option(help="TOML file with the rest: fleet, values, quotes.")
    ] = None,
    processes: Annotated[
        int, typer.Option(min=0, help="Processes for the bound; 0 for one per core.")
    ] = 0,
) -> None:
    """The market's welfare against the clairvoyant bound, and what a user would run instead.

    The trace is stretched to the load and given to the engine that runs live, in virtual time.
    Values and deadlines are in no trace: they come from the scenario's model.
    """
    try:
        import sim
        from sim.bound import BoundError
    except ImportError as error:
        raise CommandError(
            f"the simulator needs NumPy and SciPy: {error}",
            "pip install 'flopex[sim]'",
            reason="NO_SCIPY",
        ) from error
    given = {"load": load, "windows": windows, "seed": seed}

    def report(what: str, done: int, of: int) -> None:
        session.output.note(f"{what} {done}/{of}" if of > 1 else what)

    try:
        settings = _scenario(scenario, {k: v for k, v in given.items() if v is not None})
        result = await asyncio.to_thread(sim.run, trace, settings, processes, report)
    except (sim.TraceFileError, sim.ScenarioError) as error:
        raise CommandError(str(error), code=ExitCode.USAGE, reason="SCENARIO") from error
    except BoundError as error:
        raise CommandError(str(error), reason="BOUND") from error
    session.output.answer(result, _table(result))


def _scenario(path: Path | None, given: dict[str, Any]) -> Scenario:
    import msgspec

    import sim

    base = sim.load_scenario(path) if path else sim.Scenario()
    return msgspec.structs.replace(base, **given)


def _table(result: dict[str, Any]) -> Table:
    table = Table(
        "rule",
        "welfare / bound",
        "market gains",
        "95 %",
        "missed",
        title=f"load {result['load']}, {result['jobs']:,} jobs in {result['windows']} windows, "
        f"seed {result['seed']}; bound loose by about {result['bound_looseness']:.1%}",
    )
    low, high = result["ratio_low"], result["ratio_high"]
    missed = result["missed"]
    table.add_row(
        _TEXTS["market"],
        f"{result['ratio_mean']:.3f}",
        "",
        f"{low:.3f} to {high:.3f}",
        f"{missed['market']:.0%}",
    )
    for name, mean in sorted(result["baselines"].items(), key=lambda item: -item[1]):
        gain, least, most = result["gains"][name]
        table.add_row(
            _TEXTS[name],
            f"{mean:.3f}",
            f"{gain:+.3f}",
            f"{least:+.3f} to {most:+.3f}",
            f"{missed[name]:.0%}",
        )
    return table
