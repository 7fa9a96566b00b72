"""`flopex replay`: a journal once more, bit for bit, and then under other rules."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer
from rich.console import Group, RenderableType
from rich.table import Table

from flopex.cli.base import Session, command
from flopex.cli.exits import CommandError, ExitCode
from flopex.cli.journal import beginning, find_folder, journal_errors, replay_errors
from flopex.interrupts import interruptible
from flopex.render.format import grouped, money

if TYPE_CHECKING:
    from flopex.replay import Replay
    from sim.recording import Recording
    from sim.settings import Settings

app = typer.Typer()

_ROWS: Final = (
    "submitted",
    "refused",
    "settled",
    "expired",
    "cancelled",
    "failed",
    "open",
    "failed_attempts",
    "value_nanos",
    "paid_nanos",
    "welfare_nanos",
    "price_nanos",
    "wait_p50_ms",
    "wait_p95_ms",
    "answer_p50_ms",
    "answer_p95_ms",
)
_TEXTS: Final = {
    "submitted": "jobs submitted",
    "failed_attempts": "attempts that failed",
    "value_nanos": "value answered",
    "paid_nanos": "buyers paid",
    "welfare_nanos": "value less first-slot asks",
    "price_nanos": "mean price, nano$/CU",
    "wait_p50_ms": "wait for a slot, median ms",
    "wait_p95_ms": "... 95 %",
    "answer_p50_ms": "wait for the answer, median ms",
    "answer_p95_ms": "... 95 %",
}
_MONEY: Final = ("value_nanos", "paid_nanos", "welfare_nanos")


@command(
    app,
    "replay",
    example="flopex replay ./exchange\n"
    "flopex replay /backups/monday --set batch_period_ms=50 --set workers=1 --json",
)
async def replay(
    session: Session,
    directory: Annotated[
        Path | None,
        typer.Argument(
            metavar="JOURNAL",
            help="A data directory, a journal or a backup. Default: the data directory (--data).",
        ),
    ] = None,
    changes: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="NAME=VALUE",
            help="What if: clearing=batch|continuous, batch_period_ms=N, k_ms=N, tick=NANOS, "
            "tier=NAME, workers=N, slots=N; may be repeated.",
        ),
    ] = None,
) -> None:
    """Replay a journal bit for bit; then ask what would have become of the same demand.

    The replay's digest is held against all that the live exchange and its snapshots recorded; exit
    code 1 where it differs. With --set the recorded jobs, fleets, quotes and operator's decisions
    go through the engine again under other rules, and workers are played: each lease takes what the
    recorded one took. That is done twice, as recorded and with the changes, so that the columns
    differ by the changes alone.
    """
    settings = _settings(changes or [])
    folder = await find_folder(session, directory)
    with journal_errors(), replay_errors():
        found, recording = await interruptible(_replayed, folder, settings is not None)
    facts: dict[str, Any] = {
        "directory": str(folder),
        "records": found.records,
        "seconds": round(found.seconds, 3),
        "records_per_s": round(found.records / found.seconds),
        "from_sequence": found.from_sequence,
        "sequence": found.sequence,
        "digest": found.digest,
        "digests_compared": found.compared,
        "imbalance_nanos": found.imbalance_nanos,
    }
    shown: RenderableType = _said(folder, found)
    if settings is not None and recording is not None:
        with replay_errors():
            facts |= await interruptible(_what_if, recording, settings, changes or [])
        shown = Group(shown, *_tables(facts))
    session.output.answer(facts, shown)


def _settings(changes: list[str]) -> Settings | None:
    if not changes:
        return None
    try:
        from sim.settings import SettingError, parse_settings
    except ImportError as error:
        raise CommandError(
            f"the simulator needs more packages: {error}",
            "pip install 'flopex[sim]'",
            reason="NO_SIMULATOR",
        ) from error
    try:
        return parse_settings(changes)
    except SettingError as error:
        raise CommandError(str(error), code=ExitCode.USAGE, reason="SETTING") from error


def _replayed(folder: Path, record: bool) -> tuple[Replay, Recording | None]:
    from flopex.replay import replay_journal, replays_whole

    if not record:
        return replay_journal(folder), None
    from sim.recording import Recording

    if not replays_whole(folder):
        raise CommandError(
            "the journal's beginning was removed, or is under the rules of an earlier release: "
            "accounts, instruments and fleets are in it",
            "replay a backup from before it was pruned or upgraded, with the release that wrote "
            "it, or leave --set out",
            reason="PRUNED",
        )
    recording = Recording()
    return replay_journal(folder, watch=recording.see), recording


def _what_if(recording: Recording, settings: Settings, changes: list[str]) -> dict[str, Any]:
    from sim.settings import AS_RECORDED, SettingError
    from sim.whatif import play

    try:
        plain, changed = (play(recording, one) for one in (AS_RECORDED, settings))
    except SettingError as error:
        raise CommandError(str(error), code=ExitCode.USAGE, reason="SETTING") from error
    return {
        "set": changes,
        "recorded": recording.tally.summary(),
        "simulated": plain.summary,
        "what_if": changed.summary,
        "change": {name: changed.summary[name] - plain.summary[name] for name in _ROWS},
        "restarts": recording.restarts,
        "guessed": {"simulated": plain.guessed, "what_if": changed.guessed},
        "unplayable": changed.unplayable,
        "what_if_digest": changed.digest,
    }


def _said(folder: Path, found: Replay) -> str:
    against = (
        f"equal to all {found.compared} that the exchange and its snapshots recorded"
        if found.compared
        else "nothing was recorded to compare it with"
    )
    return (
        f"{folder}: replayed {grouped(found.records)} records{beginning(found)} in "
        f"{found.seconds:.2f} s, {grouped(round(found.records / found.seconds))} a second\n"
        f"state {found.digest.hex()}: {against}"
    )


def _tables(facts: dict[str, Any]) -> list[RenderableType]:
    columns = ("recorded", "simulated", "what_if")
    table = Table(
        "what became of the jobs",
        "recorded",
        "simulated",
        "what if",
        "change",
        title=", ".join(facts["set"]),
        caption=_caption(facts),
    )
    for name in _ROWS:
        show = money if name in _MONEY else grouped
        cells = [show(facts[column][name]) for column in columns]
        change = facts["change"][name]
        table.add_row(_TEXTS.get(name, name), *cells, f"{'+' * (change > 0)}{show(change)}")
    prices = Table("instrument", "recorded", "simulated", "what if", title="mean price (leases)")
    for instrument in sorted({name for column in columns for name in facts[column]["prices"]}):
        sold = [facts[column]["prices"].get(instrument) for column in columns]
        prices.add_row(
            instrument,
            *(f"{grouped(one['price_nanos'])} ({one['leases']})" if one else "" for one in sold),
        )
    return [table, prices]


def _caption(facts: dict[str, Any]) -> str:
    notes = ["recorded: what happened; simulated: the same rules, workers played"]
    guessed = facts["guessed"]["what_if"]
    if guessed:
        notes.append(f"{guessed} leases of jobs that were never answered: typical work")
    if facts["unplayable"]:
        notes.append(f"{facts['unplayable']} jobs left out: nothing is known of their model's work")
    if facts["restarts"]:
        notes.append(f"{facts['restarts']} restarts are not played")
    return "; ".join(notes)
