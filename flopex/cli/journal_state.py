"""`flopex journal snapshot|prune|upgrade`: states of a journal, and what they make superfluous."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flopex.cli.base import Session, command
from flopex.cli.exits import CommandError, ExitCode
from flopex.cli.journal import DIRECTORY, find_folder, journal_errors
from flopex.interrupts import interruptible
from flopex.render.format import grouped

if TYPE_CHECKING:
    from exchange.recovery import Pruned

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
            raise CommandError(f"a segment cannot be moved: {error}", reason="FOLDER") from error
    facts = pruned._asdict() | {"segments": [str(path) for path in pruned.segments]}
    session.output.answer(facts | {"removed": not dry_run}, _pruned(pruned, dry_run=dry_run))


def _pruned(pruned: Pruned, *, dry_run: bool) -> str:
    went = "would go" if dry_run else "went"
    return (
        f"{len(pruned.segments)} segments, {grouped(pruned.size)} bytes {went}; the journal begins "
        f"with sequence {pruned.first_sequence}, the oldest start is from the snapshot of sequence "
        f"{pruned.oldest_start}"
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
