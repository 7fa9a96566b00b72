"""`flopex worker run`: sells a machine's slots."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Iterator
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from flopex.cli.base import Session, command
from flopex.cli.exits import CommandError, ExitCode
from flopex.cli.model_size import ModelSize
from flopex.logs import LogLevel, configure_logs

if TYPE_CHECKING:
    from exchange.client import Instrument
    from worker.config import QuotePlan

RETRY_S: Final = 2.0
"""Pause between two tries to reach an exchange that is not there yet."""

app = typer.Typer(no_args_is_help=True, help="Workers: sell a machine's slots, see and steer them.")


class EngineName(StrEnum):
    """What runs the jobs."""

    ADAPTIVE = "adaptive"
    LLAMA = "llama"
    INSTANT = "instant"


def model_of(engine: EngineName, size: ModelSize) -> str:
    """The model that an engine runs: a quote for another one would fail its buyers' jobs."""
    models = {
        EngineName.ADAPTIVE: f"adaptive-{size}",
        EngineName.LLAMA: "smollm2-135m",
        EngineName.INSTANT: "instant",
    }
    return models[engine]


HINTS: Final = {
    EngineName.ADAPTIVE: "--device cpu needs neither torch nor a GPU",
    EngineName.LLAMA: "install the weights with: flopex model add smollm2",
}
"""What helps when an engine cannot start."""

REFUSED_HINT: Final = (
    "the key needs the role worker; a name that was taken before needs the worker.key with which "
    "it was taken"
)
REPLACED_HINT: Final = (
    "a name and its worker.key are one process's: stop the other one, or give one of them another "
    "--name and --worker-data"
)

Name = Annotated[
    str, typer.Option(help="Name, unique in the account.", show_default="the host's name")
]

Fast = Annotated[
    bool,
    typer.Option(
        "--fast",
        help="llama: draft what followed the same words earlier, and check several tokens at once. "
        "Same greedy output, same bill; refused drafts are your cost.",
    ),
]

Threads = Annotated[
    int, typer.Option(min=0, help="Threads of each llama process; 0 for half of the cores.")
]
Weights = Annotated[
    Path | None, typer.Option(help="Weights; else those of `flopex model add smollm2`.")
]
InstantDelay = Annotated[
    float, typer.Option(min=0, help="Seconds per token of the instant engine.")
]
InstantPromptRate = Annotated[
    float, typer.Option(min=0, help="Prompt tokens that it reads in a second; 0: at once.")
]
InstantHeadStart = Annotated[
    float, typer.Option(min=0, help="Seconds that reading takes less, for messages on their way.")
]

Device = Annotated[
    str,
    typer.Option(
        metavar="auto|cpu|cuda|cuda:N",
        help="adaptive: where the model runs; auto takes a GPU where torch sees one.",
    ),
]

Size = Annotated[
    ModelSize, typer.Option(help="adaptive: which size of the model, each one of its own name.")
]


@command(
    app,
    "run",
    example="flopex worker run --quote smollm2-135m/cpu/interactive=static:300_000\n"
    "flopex worker run --slots 2 --quote smollm2-135m/cpu/batch=inventory:200_000,900_000\n"
    "flopex worker run --engine adaptive --size small "
    "--quote adaptive-small/cpu/interactive=static:300_000",
)
async def run(
    session: Session,
    quote: Annotated[
        list[str],
        typer.Option(
            metavar="INSTRUMENT=POLICY",
            help="A standing quote; may be repeated. Policies, in nano-dollars per CU: "
            "static:PRICE[,PRICE...], cost-plus:NANOS_PER_HOUR,MFLOP_PER_SECOND[,MARGIN_MILLI], "
            "inventory:COST,CEILING[,EXPONENT_MILLI].",
        ),
    ],
    name: Name = "",
    engine: Annotated[EngineName, typer.Option(help="What runs the jobs.")] = EngineName.LLAMA,
    slots: Annotated[int, typer.Option(min=1, help="Jobs at once.")] = 1,
    threads: Threads = 0,
    gguf: Weights = None,
    fast: Fast = False,
    device: Device = "auto",
    size: Size = ModelSize.TINY,
    instant_delay: InstantDelay = 0.0,
    instant_prompt_rate: InstantPromptRate = 0.0,
    instant_head_start: InstantHeadStart = 0.0,
    worker_data: Annotated[
        Path | None,
        typer.Option(help="Holds the worker's signing key.", show_default="DATA/workers/NAME"),
    ] = None,
    log_level: Annotated[LogLevel, typer.Option(help="Least serious log lines.")] = LogLevel.INFO,
) -> None:
    """Run a worker until Ctrl-C or SIGTERM; then drain it: no new leases, finish those it holds.

    It dials out and opens no port. A second Ctrl-C stops it at once. The key needs the role
    worker: flopex admin key ACCOUNT --role worker.
    """
    from worker.agent import run_worker
    from worker.config import InstantOptions, WorkerConfig

    configure_logs(log_level, session.json)
    worker_name = name or socket.gethostname()
    key = session.key()
    with _refused_settings():
        config = WorkerConfig(
            target=session.target,
            key=key,
            name=worker_name,
            data_dir=(worker_data or session.data / "workers" / worker_name).expanduser(),
            engine=engine.value,
            slots=slots,
            threads=threads,
            gguf=gguf,
            fast=fast,
            device=device,
            size=size.value,
            instant=InstantOptions(
                delay_s=instant_delay,
                prompt_delay_s=-instant_head_start,
                prompt_tokens_per_s=instant_prompt_rate,
            ),
        )
    # Last, as it waits for the exchange.
    config = replace(config, quotes=await _plans(session, quote, model_of(engine, size)))
    with _explained(engine):
        status = await run_worker(config)
    session.output.summary(name=worker_name, drained=status == 0)
    if status:
        raise CommandError(
            "stopped before its own drain was done: its log says why", reason="STOPPED"
        )


@contextlib.contextmanager
def _explained(engine: EngineName) -> Iterator[None]:
    """What ends a worker, as the command's own errors."""
    from worker.engines.base import EngineError
    from worker.identity import IdentityError
    from worker.session import WorkerRefused, WorkerReplaced

    try:
        yield
    except WorkerReplaced as error:
        raise CommandError(str(error), REPLACED_HINT, reason="REPLACED") from error
    except WorkerRefused as error:
        text = f"the exchange refused: {error}"
        raise CommandError(text, REFUSED_HINT, reason="REFUSED") from error
    except EngineError as error:
        raise CommandError(
            f"the engine: {error}", HINTS.get(engine, ""), reason="ENGINE"
        ) from error
    except IdentityError as error:
        raise CommandError(str(error), reason="IDENTITY") from error


@contextlib.contextmanager
def _refused_settings() -> Iterator[None]:
    try:
        yield
    except ValueError as error:
        hint = "see: flopex worker run --help"
        raise CommandError(str(error), hint, ExitCode.USAGE, "SETTINGS") from error


async def _plans(session: Session, quotes: list[str], model: str) -> tuple[QuotePlan, ...]:
    """The standing quotes, each on its instrument's tick; all must be of the engine's model."""
    from worker.config import QuotePlan
    from worker.quoting import parse_policy

    instruments = await _instruments(session)
    plans = []
    for text in quotes:
        name, _, policy = text.partition("=")
        instrument = instruments.get(name)
        if instrument is None or instrument.model != model:
            known = ", ".join(sorted(n for n, i in instruments.items() if i.model == model))
            raise CommandError(
                f"the exchange has no instrument {name!r} of the engine's model, {model}",
                f"it has: {known or 'none'}",
                ExitCode.NOT_FOUND,
                "UNKNOWN_INSTRUMENT",
            )
        try:
            plans.append(QuotePlan(name, parse_policy(policy), instrument.tick_nanos))
        except ValueError as error:
            raise CommandError(
                f"--quote {text}: {error}",
                "write INSTRUMENT=POLICY, such as smollm2-135m/cpu/batch=static:300_000",
                ExitCode.USAGE,
                "QUOTE",
            ) from error
    return tuple(plans)


async def _instruments(session: Session) -> dict[str, Instrument]:
    """All instruments by name; waits for an exchange that is not there yet, as a worker does."""
    from exchange.client import Unavailable

    waiting = False
    while True:
        try:
            async with session.connect() as client:
                return {i.name: i for i in await client.market.instruments()}
        except Unavailable:
            if not waiting:
                session.output.note(f"waiting for the exchange at {session.target} ...")
                waiting = True
            await asyncio.sleep(RETRY_S)
