"""`flopex readmodel`: how far it is, whether it is right, and making it again."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from flopex.cli.base import Session, command
from flopex.cli.exits import CommandError, ExitCode
from flopex.interrupts import interruptible
from flopex.render.format import date_time, grouped

if TYPE_CHECKING:
    from exchange.readmodel.check import Report
    from exchange.readmodel.database import Database

app = typer.Typer(
    no_args_is_help=True,
    help="The read model: tables of what happened, made from the journal, for queries and pages.",
)

REBUILT_WITHIN_S: Final = 24 * 3_600.0
LOOK_EVERY_S: Final = 0.1

_URL = typer.Option(
    "--read-model",
    metavar="URL",
    help="sqlite:////path or postgresql://user@host/name. Default: the data directory's file.",
)


@command(
    app,
    "status",
    example="flopex readmodel status --data ./exchange\n"
    "flopex readmodel status --read-model postgresql://flopex@db/flopex --json",
)
async def status(session: Session, read_model: Annotated[str, _URL] = "") -> None:
    """How far the read model is: its last sequence, what it lacks, and how many rows it holds."""
    with _read_model_errors():
        journal, url = _places(session, read_model)
        facts = await interruptible(_status, journal, url)
    lines = [
        f"read model      {_shown(url)}",
        f"sequence        {grouped(facts['sequence'])}, {grouped(facts['lag'])} behind the journal",
        f"as of           {date_time(facts['time_ns']) if facts['time_ns'] else 'the beginning'}",
        *(f"{name:<14}  {grouped(count)}" for name, count in facts["rows"].items()),
    ]
    session.output.answer({"url": _shown(url), **facts}, "\n".join(lines))


@command(
    app,
    "check",
    example="flopex readmodel check --data ./exchange\nflopex readmodel check --json",
)
async def check(session: Session, read_model: Annotated[str, _URL] = "") -> None:
    """Replay the journal up to where the read model is, and compare both.

    Balances, the entries that they came of, open orders, jobs, leases, instruments and workers must
    be equal, and no order, job, lease or trade may be missing. Exit code 0 where they are, 1 where
    anything differs. The exchange may be running.
    """
    with _read_model_errors():
        journal, url = _places(session, read_model)
        report = await interruptible(_check, journal, url)
    facts = {**report._asdict(), "equal": report.equal}
    if not report.equal:
        if session.json:
            session.output.line(facts)
        raise CommandError(
            f"{grouped(report.differences)} differences at sequence {grouped(report.sequence)}: "
            + "; ".join(report.examples),
            "make it again: flopex readmodel rebuild; and report this",
            reason="READ_MODEL_WRONG",
        )
    compared = ", ".join(f"{grouped(count)} {name}" for name, count in report.compared.items())
    shown = f"equal to the core at sequence {grouped(report.sequence)}: {compared}"
    session.output.answer(facts, shown)


@command(
    app,
    "rebuild",
    example="flopex readmodel rebuild --data ./exchange\n"
    "flopex readmodel rebuild --read-model postgresql://flopex@db/flopex",
)
async def rebuild(session: Session, read_model: Annotated[str, _URL] = "") -> None:
    """Empty the read model and make it again from the journal.

    Where an exchange runs on it, that does the work and this command waits for it; queries then
    answer from what is there so far.
    """
    began = time.monotonic()
    with _read_model_errors():
        journal, url = _places(session, read_model)
        facts = await interruptible(_rebuild, journal, url)
    facts["seconds"] = round(time.monotonic() - began, 3)
    per_s = round(facts["sequence"] / max(facts["seconds"], 1e-3))
    shown = (
        f"made again up to sequence {grouped(facts['sequence'])} in {facts['seconds']:.2f} s "
        f"({grouped(per_s)} commands/s)"
    )
    session.output.answer({"url": _shown(url), **facts}, shown)


def _places(session: Session, asked: str) -> tuple[Path, str]:
    from exchange.readmodel.database import check_url
    from exchange.server.read_model import read_model_url
    from flopex.journals import find_journal, first_sequence

    journal, url = find_journal(session.data), read_model_url(session.data, asked)
    check_url(url)
    first_sequence(journal)  # there is one
    return journal, url


def _shown(url: str) -> str:
    """The URL without a password."""
    before, at, after = url.rpartition("@")
    return f"{before.split('://')[0]}://...{at}{after}" if at else url


@contextmanager
def _read_model_errors() -> Iterator[None]:
    from exchange.journal import JournalError, JournalNotFound
    from exchange.readmodel.errors import ReadModelError, ReadModelMissing, ReadModelUrlInvalid

    try:
        yield
    except JournalNotFound as error:
        raise CommandError(str(error), code=ExitCode.NOT_FOUND, reason="NO_JOURNAL") from error
    except JournalError as error:
        raise CommandError(str(error), reason="JOURNAL") from error
    except ReadModelUrlInvalid as error:
        raise CommandError(str(error), code=ExitCode.USAGE, reason="USAGE") from error
    except ReadModelMissing as error:
        hint = "make it: flopex readmodel rebuild"
        raise CommandError(str(error), hint, ExitCode.NOT_FOUND, "NO_READ_MODEL") from error
    except ReadModelError as error:
        raise CommandError(str(error), reason="READ_MODEL") from error


@contextmanager
def _opened(url: str, *, read_only: bool) -> Iterator[Database]:
    from exchange.readmodel.database import connect

    database = connect(url, read_only=read_only)
    try:
        yield database
    finally:
        database.close()


def _last_sequence(journal: Path, after: int) -> int:
    """The journal's last sequence; it holds at least up to `after`, or something is wrong."""
    from exchange.journal import JournalFollower

    follower = JournalFollower(journal, from_sequence=after + 1)
    try:
        while follower.poll():
            pass
        return follower.next_sequence - 1
    finally:
        follower.close()


def _status(journal: Path, url: str) -> dict[str, Any]:
    from exchange.readmodel.errors import ReadModelMissing
    from exchange.readmodel.progress import read_progress
    from exchange.readmodel.schema import PROGRESS, TABLES

    with _opened(url, read_only=True) as database, database.transaction(write=False):
        progress = read_progress(database)
        if progress is None:
            raise ReadModelMissing("there is no read model yet")
        rows = {
            table.name: database.query(f"SELECT COUNT(*) FROM {table.name}")[0][0]  # noqa: S608
            for table in TABLES
            if table != PROGRESS
        }
    last = _last_sequence(journal, progress.sequence)
    return {
        "sequence": progress.sequence,
        "journal_sequence": last,
        "lag": last - progress.sequence,
        "time_ns": progress.time_ns,
        "schema_version": progress.schema_version,
        "rules_version": progress.rules_version,
        "chain_hash": progress.chain_hash,
        "rows": rows,
    }


def _check(journal: Path, url: str) -> Report:
    from exchange.readmodel.check import check_read_model
    from flopex.journals import snapshots_of

    with _opened(url, read_only=True) as database:
        return check_read_model(journal, database, snapshots_of(journal))


def _rebuild(journal: Path, url: str) -> dict[str, Any]:
    from exchange.readmodel.errors import ReadModelLocked
    from exchange.readmodel.feed import Feed, replay_to
    from exchange.readmodel.progress import START, make_tables, read_progress

    replay_to(journal, START)[0].close()  # nothing is emptied that cannot be made again
    last = _last_sequence(journal, 0)
    with _opened(url, read_only=False) as database:
        try:
            database.lock()
        except ReadModelLocked:
            with database.transaction():
                make_tables(database)
            deadline = time.monotonic() + REBUILT_WITHIN_S
            while time.monotonic() < deadline:
                progress = read_progress(database)
                if progress is not None and progress.sequence >= last:
                    return {"sequence": progress.sequence, "by": "the exchange"}
                time.sleep(LOOK_EVERY_S)
            raise
        feed = Feed.begin(journal, database)
        feed.run_to_end()
        feed.close()
        return {"sequence": feed.progress.sequence, "by": "this command"}
