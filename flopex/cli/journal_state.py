"""`flopex journal snapshot|prune|upgrade|cut`: states of a journal, its beginning and its end."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flopex.cli.base import Session, command
from flopex.cli.exits import CommandError, ExitCode, in_words
from flopex.cli.journal import DIRECTORY, find_folder, journal_errors
from flopex.interrupts import interruptible
from flopex.render.format import grouped, several

if TYPE_CHECKING:
    from exchange.journal import GroupRecord
    from exchange.recovery import Cut, Pruned, Trial

app = typer.Typer()


@command(
    app,
    "snapshot",
    example="flopex journal snapshot --data ./exchange",
)
async def snapshot(
    session: Session,
    directory: Annotated[Path | None, DIRECTORY] = None,
    keep: Annotated[
        int, typer.Option(min=2, help="Newest snapshots that stay; older ones are removed.")
    ] = 3,
) -> None:
    """Take a snapshot: replay the journal from the last one, and store the state that comes of it.

    A running exchange does it by itself (see docs/operating/snapshots.md). Beside one, the snapshot
    is of the last group but one; of a stopped one it is of the journal's end. What the exchange has
    published of its own state on the way is compared: where it differs, nothing is stored and the
    exit code is 1, with reason REPLAY_DIFFERS.
    """
    from exchange.recovery import GENESIS, Differs, follow
    from flopex.journals import snapshots_of

    folder = await find_folder(session, directory)
    with journal_errors():
        try:
            taken = await interruptible(follow, folder, snapshots_of(folder), GENESIS, keep=keep)
        except Differs as error:
            raise CommandError(str(error), reason="REPLAY_DIFFERS") from error
        except AssertionError as error:
            raise CommandError(
                f"replaying the journal breaks an invariant: {error}",
                "keep the directory as it is and report this",
                reason="REPLAY",
            ) from error
    for reason in taken.refused:
        session.output.note(f"not used: {reason}")
    facts = taken._asdict() | {"path": None if taken.path is None else str(taken.path)}
    if taken.path is None:
        text = f"nothing is newer than the snapshot of sequence {taken.sequence}"
    else:
        text = (
            f"{taken.path}: state after sequence {taken.sequence}, {grouped(taken.state_bytes)} "
            f"bytes, digest {taken.digest.hex()}\nreplayed from sequence {taken.base_sequence} in "
            f"{taken.replay_s:.2f} s; {taken.compared} published digests compared, all equal"
        )
    session.output.answer(facts, text)


@command(
    app,
    "prune",
    example="flopex journal prune --data ./exchange --keep 2 --dry-run\n"
    "flopex journal prune --data ./exchange --keep 2 --archive /archive/exchange",
)
async def prune(
    session: Session,
    directory: Annotated[Path | None, DIRECTORY] = None,
    keep: Annotated[
        int, typer.Option(min=2, help="Newest good snapshots that a start can still use.")
    ] = 2,
    archive: Annotated[
        Path | None,
        typer.Option(help="Copy each segment there, and read it back, before it goes."),
    ] = None,
    delete: Annotated[bool, typer.Option("--delete", help="Remove them without a copy.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what would be removed.")
    ] = False,
) -> None:
    """Remove the segments that lie before the oldest of the kept snapshots. Never by itself.

    The exchange may be running. What was removed cannot be replayed here any more: whoever wants to
    check the whole history, or to build a read model anew, needs the archive.
    """
    from exchange.recovery import GENESIS, PruneRefused
    from exchange.recovery import prune as remove
    from flopex.journals import snapshots_of

    if not dry_run and (archive is None) != delete:
        raise CommandError(
            "say what becomes of the segments: --archive DIR, or --delete, or --dry-run",
            code=ExitCode.USAGE,
            reason="USAGE",
        )
    folder = await find_folder(session, directory)
    with journal_errors():
        try:
            pruned = await interruptible(
                remove,
                folder,
                snapshots_of(folder),
                GENESIS,
                keep=keep,
                archive=archive,
                dry_run=dry_run,
            )
        except PruneRefused as error:
            raise CommandError(str(error), reason="PRUNE") from error
        except OSError as error:
            raise CommandError(
                f"a segment cannot be moved: {in_words(error)}", reason="FOLDER"
            ) from error
    facts = pruned._asdict() | {"segments": [str(path) for path in pruned.segments]}
    session.output.answer(facts | {"removed": not dry_run}, _pruned(pruned, dry_run=dry_run))


def _pruned(pruned: Pruned, *, dry_run: bool) -> str:
    went = "would go" if dry_run else "went"
    return (
        f"{several(len(pruned.segments), 'segment')}, {grouped(pruned.size)} bytes {went}; the "
        f"journal begins with sequence {pruned.first_sequence}, the oldest start is from the "
        f"snapshot of sequence {pruned.oldest_start}"
    )


@command(
    app,
    "upgrade",
    example="flopex journal upgrade --data ./exchange",
)
async def upgrade(session: Session, directory: Annotated[Path | None, DIRECTORY] = None) -> None:
    """Let a journal go on under this release's rules, from the last snapshot of the release before.

    First, with the old release: stop the exchange, and run `flopex journal snapshot`. Nothing that
    was written is changed; a new segment begins, chained to the end of the old one.
    """
    from exchange.recovery import GENESIS, UpgradeRefused
    from exchange.recovery import upgrade as go_on
    from flopex.journals import snapshots_of

    folder = await find_folder(session, directory)
    with journal_errors():
        try:
            done = await interruptible(go_on, folder, snapshots_of(folder), GENESIS)
        except UpgradeRefused as error:
            raise CommandError(str(error), reason="UPGRADE") from error
    text = (
        f"rules {done.from_rules} ended with sequence {done.sequence}, rules {done.to_rules} go on "
        f"in {done.segment.name}; the state there has digest {done.digest.hex()}"
    )
    session.output.answer(done._asdict() | {"segment": str(done.segment)}, text)


@command(
    app,
    "cut",
    example="flopex journal cut --data ./exchange --dry-run\n"
    "flopex journal cut --data ./exchange --yes",
)
async def cut(
    session: Session,
    directory: Annotated[
        Path | None,
        typer.Argument(help="A journal or a data directory. Default: the data directory (--data)."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what would be taken away.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Take it away.")] = False,
    untried: Annotated[
        bool,
        typer.Option("--untried", help="Do not see first whether a replay gets past it after all."),
    ] = False,
) -> None:
    """Give up the last group, where the exchange ends at every start while it applies that group.

    A group is on the disk before it is applied, and clients are answered after it was. So nobody
    was told of a group that ended the exchange which wrote it. Another process replays the journal
    first, and the group is given up only if that breaks at it: not where it gets past it, does not
    come to it, or ends for want of memory or by a signal from outside. One that is known to have
    been applied stays: by a snapshot, a published digest, or a write after it. Whether another
    release had applied it, or this one before, is for you to know, and with --untried (for a group
    at which a replay hangs) all of it: whoever gives up a group that was applied takes back what
    clients were told. The bytes are kept beside the segments, in a file that ends with .cut.
    """
    from exchange.journal.backup import MANIFEST_NAME
    from exchange.recovery import GENESIS, CutRefused, cut_last_group, last_group
    from flopex.journals import snapshots_of

    if dry_run == yes:
        raise CommandError(
            "say --dry-run, to see the group, or --yes, to take it away",
            code=ExitCode.USAGE,
            reason="USAGE",
        )
    folder = await find_folder(session, directory)
    with journal_errors():
        try:
            if (folder / MANIFEST_NAME).exists():
                raise CutRefused("this is a backup, which says how far it goes: restore it first")
            where = folder, snapshots_of(folder), GENESIS
            found = await interruptible(last_group, *where)
            trial = None if untried else await interruptible(_broken_by, *where, found.group)
            if yes:
                await interruptible(cut_last_group, *where, found.group)
        except CutRefused as error:
            raise CommandError(f"the last group stays: {error}", reason="CUT") from error
        except OSError as error:
            reason = in_words(error)
            raise CommandError(f"the last group stays: {reason}", reason="FOLDER") from error
    group = found.group
    facts = {
        "first_sequence": group.first_sequence,
        "last_sequence": group.next_sequence - 1,
        "epoch": group.epoch,
        "commands": None if trial is None else trial.commands,
        "breaks": None if trial is None else trial.end,
        "segment": str(found.segment),
        "offset": found.offset,
        "size": len(found.block),
        "kept": None if dry_run else str(found.kept),
    }
    session.output.answer(facts, _cut(found, trial, dry_run=dry_run))


def _broken_by(journal: Path, snapshots: Path, genesis: bytes, group: GroupRecord) -> Trial:
    """How a replay breaks at the group; CutRefused where it does not."""
    from exchange.recovery import CutRefused, try_group

    trial = try_group(journal, snapshots, genesis, group)
    if trial.passed:
        raise CutRefused("a replay gets past it: start the exchange")
    if not trial.reached:
        raise CutRefused(f"a replay does not even come to it: {trial.said}")
    if not trial.end:
        raise CutRefused(
            f"a replay ended at it, but perhaps not by it ({trial.said}): try again with more "
            "memory, or say --untried"
        )
    return trial


def _cut(found: Cut, trial: Trial | None, *, dry_run: bool) -> str:
    group = found.group
    commands = None if trial is None else trial.commands
    held = (
        several(group.count, "command")
        if commands is None
        else ", ".join(f"{count} {name}" for name, count in commands.items())
    )
    breaks = "" if trial is None else f"; a replay breaks at it: {trial.end}"
    went = "would go" if dry_run else f"went to {found.kept}"
    return (
        f"sequences {group.first_sequence} to {group.next_sequence - 1} of epoch {group.epoch} "
        f"({held}), {several(len(found.block), 'byte')} at offset {found.offset} of "
        f"{found.segment.name}, {went}{breaks}"
    )
