"""`flopex bench journal`: its progress and its table."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Final

import typer
from rich.table import Table

from flopex.cli.base import Session
from flopex.cli.exits import CommandError, ExitCode, in_words
from flopex.interrupts import interruptible

COLUMNS: Final = (
    "records",
    "mode",
    "alignment",
    "groups/s",
    "records/s",
    "p50 us",
    "p99 us",
    "p99.9 us",
    "CPU us/group",
    "CPU us/record",
)


async def journal(
    session: Session,
    directory: Annotated[
        Path, typer.Option(help="A folder on the disk to measure; needs 3 GiB for a moment.")
    ] = Path(),
    rounds: Annotated[int, typer.Option(min=1, max=1000, help="Interleaved rounds.")] = 20,
    groups: Annotated[
        int, typer.Option(min=1, max=10_000, help="Groups of each kind in a round.")
    ] = 100,
    record_bytes: Annotated[
        int, typer.Option(min=1, max=4096, help="Size of a record, in bytes.")
    ] = 100,
    seed: Annotated[int, typer.Option(help="Seed of the records' bytes.")] = 1,
    real_time: Annotated[
        bool,
        typer.Option(
            "--real-time",
            help="Run under SCHED_RR, so that busy neighbours do not hide the disk; needs root.",
        ),
    ] = False,
) -> None:
    """How long a durable commit group takes, for each way of writing it, on a disk of this machine.

    All ways and alignments in one run, interleaved, with 1, 16, 128 and 1024 records in a group;
    wall time of the whole append, and the CPU time of this process.
    """
    from exchange.journal import JournalError
    from flopex.bench.journal import Settings, run

    settings = Settings(directory, rounds, groups, record_bytes, seed, real_time)

    def report(done: int, total: int) -> None:
        session.output.note(f"round {done + 1} of {total}")

    try:
        result = await interruptible(run, settings, report)
    except PermissionError as error:
        raise CommandError(
            f"not allowed: {error}", "SCHED_RR needs root or CAP_SYS_NICE", reason="BENCH"
        ) from error
    except FileNotFoundError as error:
        raise CommandError(in_words(error), code=ExitCode.USAGE, reason="FOLDER") from error
    except (JournalError, OSError) as error:
        raise CommandError(f"the benchmark broke off: {in_words(error)}", reason="BENCH") from error
    for fallback in result["fallbacks"]:
        session.output.note(
            "{mode}, alignment {alignment}: refused here, wrote {wrote}".format_map(fallback)
        )
    session.output.answer(result, _table(result))


def _table(result: dict[str, Any]) -> Table:
    machine, disk, settings = result["machine"], result["disk"], result["settings"]
    table = Table(
        *COLUMNS,
        title=f"{machine['cpu']}, {machine['cores']} cores, Python {machine['python']}; "
        f"{disk['file_system']} on {disk['device']}, blocks of {disk['block_bytes']}",
        caption=f"{settings['rounds']} rounds of {settings['groups']} groups, seed "
        f"{settings['seed']}, {settings['record_bytes']} bytes a record; p50 and CPU with the "
        f"lowest and highest round; default: {result['default']['mode']}",
    )
    records = result["rows"][0]["records"]
    for row in result["rows"]:
        if row["records"] != records:
            table.add_section()
            records = row["records"]
        table.add_row(
            f"{row['records']:,}",
            row["mode"],
            str(row["alignment"]),
            f"{row['groups_per_s']:,}",
            f"{row['records_per_s']:,}",
            _ranged(row, "p50_us"),
            f"{row['p99_us']:,.0f}",
            f"{row['p999_us']:,.0f}",
            _ranged(row, "cpu_us_per_group"),
            f"{row['cpu_us_per_record']:,.3f}",
        )
    return table


def _ranged(row: dict[str, Any], name: str) -> str:
    low, high = row[f"{name}_rounds"]
    return f"{row[name]:,.0f} ({low:,.0f}-{high:,.0f})"
