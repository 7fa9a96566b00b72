"""`flopex journal`: is it whole, what is in it, and which commands."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Group, RenderableType
from rich.table import Table

from flopex.cli.base import Session, command
from flopex.cli.exits import CommandError, ExitCode
from flopex.interrupts import interruptible
from flopex.render.format import grouped, several
from flopex.render.tables import plain_table

if TYPE_CHECKING:
    from exchange.journal import JournalDamaged, JournalStat
    from flopex.replay import Replay

app = typer.Typer(
    no_args_is_help=True, help="The journal: whether it is whole, what is in it, and its snapshots."
)

DIRECTORY = typer.Argument(
    help="A journal, a backup or a data directory. Default: the data directory (--data)."
)


@command(
    app,
    "verify",
    example="flopex journal verify --data ./exchange\n"
    "flopex journal verify /backups/monday --chain 5d3f... --replay",
)
async def verify(
    session: Session,
    directory: Annotated[Path | None, DIRECTORY] = None,
    chain: Annotated[
        str | None,
        typer.Option(metavar="HEX", help="The chain hash that it must end with, from elsewhere."),
    ] = None,
    replay: Annotated[
        bool,
        typer.Option("--replay", help="Apply every command to an empty exchange, too."),
    ] = False,
) -> None:
    """Read every byte of a journal and check it: checksums, hash chain, sequences, zeros.

    Exit code 0 if it is whole, 1 if a byte is not what was written; then the file, the offset and
    the length of the damaged region are named. A torn tail is no damage: it is a group whose
    writing was cut off, and was never acknowledged. While an exchange runs in the directory it may
    be the group that is being written.
    """
    folder = await find_folder(session, directory)
    facts: dict[str, Any] = {"directory": str(folder), "whole": True, "damage": None}
    with journal_errors():
        stat, damage = await interruptible(_read, folder)
        if damage is not None:
            if session.json:
                session.output.line(facts | {"whole": False, "damage": _damage(damage)})
            raise CommandError(str(damage), reason="JOURNAL_DAMAGED")
        assert stat is not None
        if chain is not None and stat.chain_hash.hex() != chain.lower():
            raise CommandError(
                f"the journal ends with chain hash {stat.chain_hash.hex()}, not {chain}",
                "it is another journal, or it was longer or shorter when that hash was noted",
                reason="JOURNAL_CHAIN",
            )
        replayed = await interruptible(_replay, folder, stat) if replay else None
    facts |= {**_totals(stat), "replay": None if replayed is None else replayed._asdict()}
    session.output.answer(facts, _verified(folder, stat, replayed))


@command(
    app,
    "stat",
    example="flopex journal stat --data ./exchange\nflopex journal stat /backups/monday --json",
)
async def stat(session: Session, directory: Annotated[Path | None, DIRECTORY] = None) -> None:
    """What is in a journal: segments, groups, records, bytes, sequences, epoch, rules, chain hash.

    Reads and checks every byte of it, as `flopex journal verify` does.
    """
    folder = await find_folder(session, directory)
    with journal_errors():
        found, damage = await interruptible(_read, folder)
    if damage is not None:
        raise CommandError(str(damage), reason="JOURNAL_DAMAGED")
    assert found is not None
    segments = [_segment(found, at) for at in range(len(found.segments))]
    facts = {"directory": str(folder), **_totals(found), "segments": segments}
    session.output.answer(facts, _tables(folder, found, segments))


@command(
    app,
    "dump",
    example="flopex journal dump --data ./exchange --from 1000 --to 2000\n"
    "flopex journal dump /backups/monday | jq 'select(.command == \"Deposit\")'",
)
async def dump(
    session: Session,
    directory: Annotated[Path | None, DIRECTORY] = None,
    from_sequence: Annotated[int, typer.Option("--from", min=1, help="The first sequence.")] = 1,
    to_sequence: Annotated[
        int | None, typer.Option("--to", min=1, help="The last sequence. Default: all.")
    ] = None,
) -> None:
    """Print a journal's commands, decoded, one JSON object on a line (with or without --json).

    Each has its sequence, the epoch of its engine, the time of its commit group, the command's name
    and its fields; bytes are hexadecimal. No prompt and no output is in a journal; accounts, money,
    orders and digests are. With --json the last line is a summary.
    """
    from flopex.journals import read_entries

    if to_sequence is not None and to_sequence < from_sequence:
        raise CommandError("--to is before --from", code=ExitCode.USAGE, reason="USAGE")
    folder = await find_folder(session, directory)
    commands = 0
    with journal_errors():
        for entries in read_entries(folder, from_sequence, to_sequence):
            for entry in entries:
                session.output.line(entry._asdict())
            commands += len(entries)
            await asyncio.sleep(0)  # the moment at which Ctrl-C is heard
    if not commands:
        session.output.note(f"the journal holds no command from {from_sequence} on")
    session.output.summary(commands=commands)


async def find_folder(session: Session, directory: Path | None) -> Path:
    """The journal that is meant: of the folder named, or of the data directory."""
    from flopex.journals import find_journal

    with journal_errors():
        return await interruptible(find_journal, directory or session.data)


@contextmanager
def journal_errors() -> Iterator[None]:
    """What goes wrong with a journal, as the command line says it."""
    from exchange.core.records import RecordError
    from exchange.journal import JournalDamaged, JournalError, JournalMismatch, JournalNotFound

    try:
        yield
    except JournalNotFound as error:
        raise CommandError(str(error), code=ExitCode.NOT_FOUND, reason="NO_JOURNAL") from error
    except JournalDamaged as error:
        raise CommandError(str(error), reason="JOURNAL_DAMAGED") from error
    except JournalMismatch as error:
        raise CommandError(str(error), reason="JOURNAL_VERSION") from error
    except JournalError as error:
        raise CommandError(str(error), reason="JOURNAL") from error
    except RecordError as error:
        raise CommandError(f"a command cannot be decoded: {error}", reason="RECORD") from error


def _read(folder: Path) -> tuple[JournalStat | None, JournalDamaged | None]:
    from exchange.journal import JournalDamaged, verify_journal
    from flopex.journals import beginning_kept

    try:
        return verify_journal(folder, beginning_kept=beginning_kept(folder)), None
    except JournalDamaged as damage:
        return None, damage


def _replay(folder: Path, stat: JournalStat) -> Replay:
    from flopex.replay import replay_journal

    with replay_errors():
        return replay_journal(folder, stat.next_sequence - 1)


@contextmanager
def replay_errors() -> Iterator[None]:
    """What a replay finds wrong, as the command line says it."""
    from exchange.recovery import Differs

    hint = "keep the directory as it is and report this"
    try:
        yield
    except Differs as error:
        raise CommandError(str(error), hint, reason="REPLAY_DIFFERS") from error
    except AssertionError as error:
        raise CommandError(
            f"the journal's bytes are whole, but replaying it breaks an invariant: {error}",
            hint,
            reason="REPLAY",
        ) from error


def _damage(damage: JournalDamaged) -> dict[str, Any]:
    return {
        "file": str(damage.path),
        "offset": damage.offset,
        "length": damage.length,
        "reason": damage.reason,
        "last_group": damage.last_group,
    }


def _totals(stat: JournalStat) -> dict[str, Any]:
    torn = stat.torn_tail
    return {
        "groups": stat.groups,
        "records": stat.records,
        "used_bytes": stat.used_bytes,
        "first_sequence": stat.segments[0].first_sequence,
        "last_sequence": stat.next_sequence - 1,
        "epoch": stat.epoch,
        "rules_version": stat.segments[-1].rules_version,
        "genesis": stat.genesis,
        "chain_hash": stat.chain_hash,
        "torn_tail": torn and {**torn._asdict(), "path": str(torn.path)},
    }


def _segment(stat: JournalStat, at: int) -> dict[str, Any]:
    segment = stat.segments[at]
    return {
        "file": segment.path.name,
        "first_sequence": segment.first_sequence,
        "last_sequence": segment.first_sequence + segment.records - 1,
        "groups": segment.groups,
        "records": segment.records,
        "used_bytes": segment.used_bytes,
        "segment_bytes": segment.segment_bytes,
        "alignment": segment.alignment,
        "rules_version": segment.rules_version,
    }


def _verified(folder: Path, stat: JournalStat, replayed: Replay | None) -> str:
    counted = (
        f"{several(stat.records, 'record')} in {several(stat.groups, 'group')}, "
        f"{several(len(stat.segments), 'segment')}, {grouped(stat.used_bytes)} bytes"
    )
    lines = [
        f"{folder} is whole: {counted}, up to sequence {stat.next_sequence - 1}",
        f"chain hash {stat.chain_hash.hex()}",
    ]
    if stat.torn_tail is not None:
        lines.append(_torn(stat))
    if replayed is not None:
        lines.append(
            f"replayed {several(replayed.records, 'command')}{beginning(replayed)} in "
            f"{replayed.seconds:.2f} s: state "
            f"{replayed.digest.hex()}, sum over all accounts {replayed.imbalance_nanos} nanos"
        )
    return "\n".join(lines)


def beginning(replayed: Replay) -> str:
    """Where a replay began, if that is not where the journal did: words after what it counts."""
    first = replayed.from_sequence
    return "" if first == 1 else f" from sequence {grouped(first)} on"


def _torn(stat: JournalStat) -> str:
    torn = stat.torn_tail
    assert torn is not None
    return (
        f"torn tail: {torn.bytes} bytes at offset {torn.offset} of {torn.path.name} "
        f"({torn.reason}); never acknowledged, the next start that succeeds overwrites it"
    )


def _tables(folder: Path, stat: JournalStat, segments: list[dict[str, Any]]) -> RenderableType:
    totals = Table.grid(padding=(0, 2))  # two chain hashes are compared: none may be cut
    totals.add_column(style="dim", no_wrap=True)
    totals.add_column(overflow="fold")
    totals.add_row("journal", str(folder))
    for name, value in _totals(stat).items():
        if name == "torn_tail":
            totals.add_row("torn tail", "none" if value is None else _torn(stat))
        elif isinstance(value, bytes):
            totals.add_row(name.replace("_", " "), value.hex())
        else:
            totals.add_row(name.replace("_", " "), grouped(value))
    names = [name.replace("_", " ") for name in segments[0]]
    table = plain_table(*names, right=names[1:])
    for segment in segments:
        table.add_row(*(v if isinstance(v, str) else grouped(v) for v in segment.values()))
    return Group(totals, table)
