"""`flopex backup` and `flopex restore`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flopex.cli.base import Session, command
from flopex.cli.exits import CommandError, ExitCode
from flopex.render.format import grouped

if TYPE_CHECKING:
    from flopex.backups import Copied

app = typer.Typer()


@command(
    app,
    "backup",
    example="flopex backup /backups/monday --keys /safe/monday --data ./exchange",
)
async def backup(
    session: Session,
    directory: Annotated[Path, typer.Argument(help="New folder for the backup.")],
    keys: Annotated[
        Path | None,
        typer.Option(help="New folder for the keys of prompts and outputs; keep it apart."),
    ] = None,
) -> None:
    """Copy a data directory on this machine, also while its exchange runs.

    Every journal block and the hash chain are checked. Without --keys the copy of prompts, outputs
    and receipts cannot be read; money, orders, jobs and leases need no key.
    """
    from flopex import backups

    copied = await _copying(backups.back_up, session.data, directory, keys)
    session.output.answer(_facts(copied, directory), _shown("backed up", copied, directory))
    if keys is None:
        session.output.note("the keys of prompts and outputs are not in it: see --keys")


@command(
    app,
    "restore",
    example="flopex restore /backups/monday --keys /safe/monday --data ./restored",
)
async def restore(
    session: Session,
    source: Annotated[Path, typer.Argument(help="The backup's folder.")],
    keys: Annotated[Path | None, typer.Option(help="The folder with its keys.")] = None,
) -> None:
    """Put a backup into a new data directory (--data), and check it.

    Start the exchange from it with `flopex serve`. What was acknowledged after the backup is not
    in it: see docs/operating/backup-and-restore.md.
    """
    from flopex import backups

    copied = await _copying(backups.restore, source, session.data, keys)
    session.output.answer(_facts(copied, session.data), _shown("restored", copied, session.data))
    if keys is None:
        session.output.note("without --keys no prompt, output or receipt was restored")


async def _copying(
    function: Callable[..., Copied], source: Path, target: Path, keys: Path | None
) -> Copied:
    from exchange.journal import JournalError
    from flopex.backups import BackupRefused

    try:
        return await asyncio.to_thread(function, source, target, keys)
    except BackupRefused as error:
        raise CommandError(str(error), code=ExitCode.USAGE, reason="FOLDER") from error
    except JournalError as error:
        raise CommandError(str(error), reason="JOURNAL") from error
    except OSError as error:
        raise CommandError(f"cannot copy: {error}", reason="COPY") from error


def _facts(copied: Copied, where: Path) -> dict[str, Any]:
    journal = copied.journal
    return {
        "directory": str(where),
        "journal_records": journal.records,
        "journal_bytes": journal.used_bytes,
        "epoch": journal.epoch,
        "chain_hash": journal.chain_hash,
        "blobs": copied.ciphertexts,
        "keys": copied.keys,
    }


def _shown(verb: str, copied: Copied, where: Path) -> str:
    return (
        f"{verb} in {where}: {grouped(copied.journal.records)} journal records, "
        f"{grouped(copied.ciphertexts)} blobs, {grouped(copied.keys)} keys\n"
        f"chain hash {copied.journal.chain_hash.hex()}"
    )
