"""`flopex bench sim`: its progress and its table."""

from __future__ import annotations

from typing import Annotated, Any, Final

import typer
from rich.table import Table

from flopex.cli.base import Session
from flopex.cli.exits import CommandError, ExitCode
from flopex.interrupts import interruptible
from flopex.render.format import grouped


async def simulator(
    session: Session,
    jobs: Annotated[int, typer.Option(min=100, help="Jobs.")] = 100_000,
    workers: Annotated[int, typer.Option(min=3, help="Workers, in three classes.")] = 1_000,
    slots: Annotated[int, typer.Option(min=1, max=1_024, help="Slots of each.")] = 8,
    load: Annotated[float, typer.Option(min=0.01, help="Work over capacity.")] = 1.3,
    seed: Annotated[int, typer.Option(help="Seed of the demand.")] = 1,
) -> None:
    """How fast the simulator runs a market: events per second of one core, time and memory.

    The whole run is timed, from the opening of the market to the digest and the check of its last
    state. One seed gives one digest; the one of `--jobs 3000 --workers 100` is published.
    """
    try:
        from flopex.bench.simulator import Settings, run
        from sim.scenario import ScenarioError
    except ImportError as error:
        raise CommandError(
            f"the simulator needs more packages: {error}",
            "pip install 'flopex[sim]'",
            reason="NO_SIMULATOR",
        ) from error
    session.output.note(f"{grouped(jobs)} jobs over {grouped(workers)} workers")
    try:
        result = await interruptible(run, Settings(jobs, workers, slots, load, seed))
    except ScenarioError as error:
        raise CommandError(str(error), code=ExitCode.USAGE, reason="SCENARIO") from error
    session.output.answer(result, _table(result))


_PUBLISHED: Final = {
    True: "yes: this machine decides as was published",
    False: "NO: this machine makes another market of it",
    None: "nothing is published for these settings",
}


def _table(result: dict[str, Any]) -> Table:
    machine = result["machine"]
    form = "compiled" if result["compiled"] else "interpreted"
    table = Table(
        "measure",
        "value",
        title=f"{machine['cpu']}, {machine['cores']} cores, Python {machine['python']}, {form}",
        caption=f"seed {result['settings']['seed']}, load {result['settings']['load']}; one market "
        "runs on one core",
    )
    for name, value in (
        ("jobs", grouped(result["jobs"])),
        ("workers", grouped(result["settings"]["workers"])),
        ("events", grouped(result["events"])),
        ("CPU", f"{result['cpu_s']:.1f} s"),
        ("wall clock", f"{result['wall_s']:.1f} s for {result['market_s']:.0f} s of the market"),
        ("events per CPU second", grouped(result["events_per_cpu_s"])),
        ("jobs per CPU second", grouped(result["jobs_per_cpu_s"])),
        ("largest memory", f"{grouped(result['peak_rss_bytes'])} bytes"),
        ("digest", result["digest"]),
        ("as published", _PUBLISHED[result["digest_as_published"]]),
    ):
        table.add_row(name, value)
    return table
