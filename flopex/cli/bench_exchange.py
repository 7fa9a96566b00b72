"""`flopex bench exchange`: durable orders per second, beside a transport with nothing behind it."""

from __future__ import annotations

import contextlib
import tempfile
import time
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer
from rich.table import Table

from flopex.cli.base import Session
from flopex.cli.exits import CommandError, in_words
from flopex.config import JournalWrites
from flopex.interrupts import interruptible

if TYPE_CHECKING:
    from flopex.bench.exchange import Trial

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
BESIDE: Final = ("replay_per_s", "restart_1m_s", "postgres_per_s", "redis_per_s")
"""What --beside adds."""
_KEYS: Final = (
    "per_s",
    "p50_ms",
    "p99_ms",
    "p999_ms",
    "server_cpu_us_per_order",
    "client_cpu_us_per_order",
)


class Mode(StrEnum):
    """How orders travel."""

    UNARY = "unary"
    STREAM = "stream"
    BATCHED = "batched"


_Beside = Annotated[
    Path | None,
    typer.Option(
        file_okay=False,
        exists=True,
        help="Folder on the journal's disk: measure there, too, how fast a journal of 1.5 "
        "million records is replayed, a restart with 1 million live orders, and the same "
        "orders through PostgreSQL and Redis, where they are installed. Default: a temporary "
        "one where neither --mode nor --rate is given; else this is left out.",
    ),
]


async def exchange(
    session: Session,
    mode: Annotated[
        list[Mode] | None, typer.Option(help="Only this mode; may be repeated.")
    ] = None,
    seconds: Annotated[float, typer.Option(min=0.5, help="Length of one trial.")] = 2.0,
    clients: Annotated[int, typer.Option(min=1, max=8, help="Client processes.")] = 2,
    batch: Annotated[int, typer.Option(min=2, max=4096, help="Most orders per message.")] = 256,
    linger_ms: Annotated[
        float, typer.Option(min=0.1, max=40, help="How long a batch waits for more orders.")
    ] = 2.0,
    seed: Annotated[int, typer.Option(help="Seed of the order flow.")] = 1,
    processes: Annotated[
        int, typer.Option(min=1, max=2, help="1: all in one; 2: engine and gateway apart.")
    ] = 2,
    journal_writes: Annotated[
        JournalWrites, typer.Option(help="How a group becomes durable, as in `flopex serve`.")
    ] = JournalWrites.DIRECT,
    rate: Annotated[
        float,
        typer.Option(min=0, help="Offer this rate once, for so long, instead of seeking the best."),
    ] = 0.0,
    beside: _Beside = None,
    alone: Annotated[
        bool, typer.Option("--alone", help="Leave out what --beside measures.")
    ] = False,
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
    from exchange.journal.writers import WriteMode
    from flopex.bench.exchange import Settings, run

    if alone and beside is not None:
        raise typer.BadParameter("leaves out what --beside asks for", param_hint="--alone")
    chosen = tuple(m.value for m in mode or Mode)
    began = time.monotonic()

    def report(what: Trial | str) -> None:
        text = what if isinstance(what, str) else _told(what)
        session.output.note(f"{time.monotonic() - began:4.0f} s  {text}")

    try:
        with _folder(beside, wanted=not (alone or mode or rate)) as folder:
            settings = Settings(
                chosen, seconds, clients, seed, batch, linger_ms, processes,
                WriteMode(journal_writes), real_time, rate, folder,
            )  # fmt: skip
            session.output.note(
                f"at most {settings.most_seconds / 60:.0f} minutes, a third of it as a rule"
                f"{', and then five beside it' if folder else ''}"
            )
            result = await interruptible(run, settings, report)
    except PermissionError as error:
        raise CommandError(
            f"not allowed: {error}", "SCHED_RR needs root or CAP_SYS_NICE", reason="BENCH"
        ) from error
    except RuntimeError as error:
        raise CommandError(f"the benchmark broke off: {in_words(error)}", reason="BENCH") from error
    session.output.answer(result, _table(result, chosen))
    _fail_where_any_did(result.get("beside_errors"))


@contextlib.contextmanager
def _folder(asked: Path | None, *, wanted: bool) -> Iterator[Path | None]:
    """Where what stands beside is measured: as asked for, in a temporary folder, or not at all."""
    if asked is not None or not wanted:
        yield asked
        return
    with tempfile.TemporaryDirectory(prefix="flopex-bench-") as name:
        folder = Path(name)
        folder.chmod(0o711)  # PostgreSQL, which root runs as nobody, has a folder in it
        yield folder


def _fail_where_any_did(errors: list[str] | None) -> None:
    if errors:
        raise CommandError(f"beside it not all was measured: {'; '.join(errors)}", reason="BENCH")


def _told(trial: Trial) -> str:
    row = trial.measured.row()
    verdict = "held" if trial.measured.good else "failed"
    return (
        f"{trial.mode} {trial.kind}: {row['per_s']:,} orders/s {verdict}, "
        f"p50 {row['p50_ms']} ms, p99 {row['p99_ms']} ms"
    )


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
            for at, row in figures.items():
                table.add_row(mode, kind, at, *(f"{row[key]:,}" for key in _KEYS))
        ratio = measured["ratio_of_ceiling"]
        table.add_row(mode, "full/empty", "limit", "" if ratio is None else f"{ratio:.2f}")
    for name in BESIDE:
        if result[name] is not None:
            table.add_row(name, *("",) * 2, f"{result[name]:,}")
    return table
