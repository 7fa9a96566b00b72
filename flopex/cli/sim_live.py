"""`flopex sim live`: a scenario against a live exchange, in real processes."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer
from rich.table import Table

from flopex.cli.base import Session, command
from flopex.cli.exits import CommandError, ExitCode
from flopex.render.format import grouped

if TYPE_CHECKING:
    from sim.scenario import Scenario

app = typer.Typer()

Attach = Annotated[
    bool,
    typer.Option(
        "--attach",
        help="Use the exchange at --target, with its operator's key, and do not start one.",
    ),
]
Allowance = Annotated[
    float,
    typer.Option(
        min=0, help="How much shorter an engine runs than its class promises: what messages take."
    ),
]
RealTime = Annotated[
    bool,
    typer.Option(
        "--real-time",
        help="Run the live part under SCHED_RR, so that busy neighbours do not show; needs root.",
    ),
]
BOTH: Final = ("live", "simulated")


@command(
    app,
    "live",
    example="flopex sim live --trace AzureLLMInferenceTrace_conv.csv --load 1.3 --speed 20\n"
    "flopex sim live --trace trace.csv.gz --attach --target exchange:7411 --key-file operator.key",
)
async def live(
    session: Session,
    trace: Annotated[Path, typer.Option(help="A demand trace, as for `flopex sim study`.")],
    load: Annotated[float, typer.Option(min=0.01, help="Work over capacity.")] = 1.3,
    speed: Annotated[float, typer.Option(min=0.01, help="How much faster than the trace.")] = 20.0,
    windows: Annotated[int, typer.Option(min=2, help="Windows of the trace.")] = 20,
    limit: Annotated[
        int, typer.Option(min=0, help="Only so many of the trace's requests; 0: all.")
    ] = 0,
    seed: Annotated[int, typer.Option(help="Seed of values and deadlines.")] = 1,
    scenario: Annotated[
        Path | None, typer.Option(help="TOML file with the rest: fleet, values, quotes.")
    ] = None,
    attach: Attach = False,
    real_time: RealTime = False,
    allowance_ms: Allowance = 20.0,
    processes: Annotated[
        int, typer.Option(min=0, help="Processes for the bound; 0 for one per core.")
    ] = 0,
) -> None:
    """Run a demand against a live exchange over gRPC, and hold the result against the simulator.

    Starts an exchange of two processes and a worker process (instant engine) for each worker of the
    scenario, submits every job at its time, waits for all to end, and simulates the same demand.
    Exit code 0 if no job was lost, the ledger is zero, the journal replays to the live digest and
    the welfare lies in the simulator's 95 % interval.
    """
    try:
        from flopex.live.fleet import LiveRunFailed
        from flopex.live.run import Settings, run, run_against
        from sim.scenario import ScenarioError
        from sim.traces import TraceFileError
    except ImportError as error:
        raise CommandError(
            f"the simulator needs more packages: {error}",
            "pip install 'flopex[sim]'",
            reason="NO_SIMULATOR",
        ) from error

    def report(what: str, done: int, of: int) -> None:
        session.output.note(f"{what} {done}/{of}" if of > 1 else what)

    given = {"load": load, "windows": windows, "seed": seed}
    with tempfile.TemporaryDirectory(prefix="flopex-live-") as scratch:
        directory = session.data_named or Path(scratch)
        try:
            settings = Settings(
                trace,
                _scenario(scenario, given),
                speed,
                directory,
                allowance_ms / 1_000,
                limit,
                processes,
                real_time,
            )
            result = await (
                run_against(settings, session.target, session.key(), report)
                if attach
                else run(settings, report)
            )
        except (TraceFileError, ScenarioError) as error:
            raise CommandError(str(error), code=ExitCode.USAGE, reason="SCENARIO") from error
        except PermissionError as error:
            raise CommandError(
                f"not allowed: {error}", "SCHED_RR needs root or CAP_SYS_NICE", reason="LIVE_RUN"
            ) from error
        except LiveRunFailed as error:
            raise CommandError(str(error), reason="LIVE_RUN") from error
    session.output.answer(result, _table(result))
    wrong = _wrong(result)
    if wrong:
        raise CommandError("; ".join(wrong), reason="LIVE_RUN")


def _scenario(path: Path | None, given: dict[str, Any]) -> Scenario:
    import msgspec

    import sim

    base = sim.load_scenario(path) if path else sim.Scenario()
    if base.losses or base.spot:
        raise sim.ScenarioError("workers of a live run are not lost, and their costs stay")
    return msgspec.structs.replace(base, **given)


def _wrong(result: dict[str, Any]) -> list[str]:
    """What must hold and does not."""
    interval = f"{result['ratio_low']} and {result['ratio_high']}, as simulated"
    return [
        text
        for text, holds in (
            (f"{result['lost']} jobs were lost", not result["lost"]),
            (f"{result['unanswered']} submissions had no answer", not result["unanswered"]),
            ("the ledger is not zero", not result["ledger_imbalance_nanos"]),
            ("more was billed than was held", not result["overspend_nanos"]),
            (f"an invariant failed: {result['failure']}", not result["failure"]),
            (
                "the journal was not held against the live digest",
                result.get("replay_digest_equal", True),
            ),
            (f"welfare {result['ratio_live']} is not between {interval}", result["within"]),
        )
        if not holds
    ]


def _table(result: dict[str, Any]) -> Table:
    table = Table(
        "",
        "live",
        "simulated",
        title=f"{grouped(result['jobs'])} jobs at load {result['load']} in {result['seconds']} s, "
        f"{result['speed']:g} times the trace's speed",
        caption=f"95 % interval of the simulator: {result['ratio_low']:.3f} to "
        f"{result['ratio_high']:.3f}; seed {result['seed']}",
    )
    ends = ", ".join(f"{grouped(n)} {name}" for name, n in sorted(result["ends"].items()))
    late = f"{result['submitted_late_p50_ms']} ms, at most {result['submitted_late_max_ms']} ms"
    for row in (
        ("welfare over the bound", *(f"{result[f'ratio_{which}']:.3f}" for which in BOTH)),
        ("answered in time", *(f"{result[f'settled_{which}']:.1%}" for which in BOTH)),
        (
            "buyers paid, nano$",
            grouped(result["paid_live_nanos"]),
            grouped(result["paid_simulated_nanos"]),
        ),
        ("jobs taken", grouped(result["acknowledged"]), ""),
        ("jobs refused", grouped(sum(result["refused"].values())), ""),
        ("how they ended", ends, ""),
        ("jobs lost", grouped(result["lost"]), ""),
        ("sum over all accounts, nano$", grouped(result["ledger_imbalance_nanos"]), ""),
        ("submitted late, median", late, ""),
    ):
        table.add_row(*row)
    return table
