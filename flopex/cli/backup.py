"""`flopex backup` and `flopex restore`."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flopex.cli.base import Session, command
from flopex.cli.exits import CommandError, ExitCode, in_words
from flopex.interrupts import interruptible
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
        typer.Option(help="New folder for keys and webhooks; keep it apart."),
    ] = None,
    operator_key: Annotated[
        bool,
        typer.Option("--operator-key", help="Put the operator's API key with the keys, too."),
    ] = False,
) -> None:
    """Copy a data directory on this machine, also while its exchange runs.

    Every journal block, every receipt and both hash chains are checked. Without --keys the copy of
    prompts and outputs cannot be read; money, orders, jobs, leases and receipts need no key. With
    it, whoever has both folders can read every prompt and output that was there, also after the
    exchange has erased it. Webhooks and alerts go with the keys, as they hold secrets.

    BACKUP.json is written last: a backup without it was not finished, and is not restored.
    """
    from flopex import backups

    take = partial(backups.back_up, operator_key=operator_key)
    copied = await _copying(take, session.data, directory, keys)
    session.output.answer(_facts(copied, directory), _shown("backed up", copied, directory))
    if keys is None:
        session.output.note("neither the keys of prompts and outputs nor webhooks: see --keys")


@command(
    app,
    "restore",
    example="flopex restore /backups/monday --keys /safe/monday --data ./restored",
)
async def restore(
    session: Session,
    source: Annotated[Path, typer.Argument(help="The backup's folder.")],
    keys: Annotated[Path | None, typer.Option(help="The folder with its keys.")] = None,
    without_manifest: Annotated[
        bool,
        typer.Option(
            "--without-manifest",
            help="Take one without BACKUP.json, as earlier releases made them.",
        ),
    ] = False,
) -> None:
    """Put a backup into a new data directory (--data), and check it.

    It is refused, and nothing written, where it was not finished or does not hold what its
    BACKUP.json says. With --without-manifest one that has none is taken; nobody then checks
    whether all receipts, blobs and webhooks are there.

    Start the exchange from it with `flopex serve`. What was acknowledged after the backup is not
    in it: see docs/operating/backup-and-restore.md.
    """
    from flopex import backups

    put_back = partial(backups.restore, without_manifest=without_manifest)
    copied = await _copying(put_back, source, session.data, keys)
    session.output.answer(_facts(copied, session.data), _shown("restored", copied, session.data))
    if keys is None:
        session.output.note("without --keys no prompt, no output and no webhook was restored")
    if not copied.manifest:
        session.output.note("it has no BACKUP.json: receipts, blobs or webhooks may be missing")


async def _copying(
    function: Callable[..., Copied], source: Path, target: Path, keys: Path | None
) -> Copied:
    from exchange.blobs import BlobError
    from exchange.journal import JournalError
    from exchange.webhooks.errors import StoreUnavailable
    from flopex.backups import BackupNotWhole, BackupRefused

    try:
        return await interruptible(function, source, target, keys)
    except BackupRefused as error:
        raise CommandError(in_words(error), code=ExitCode.USAGE, reason="FOLDER") from error
    except BackupNotWhole as error:
        raise CommandError(str(error), error.hint, reason="BACKUP_NOT_WHOLE") from error
    except JournalError as error:
        raise CommandError(str(error), reason="JOURNAL") from error
    except BlobError as error:
        raise CommandError(str(error), reason="BLOBS") from error
    except StoreUnavailable as error:
        raise CommandError(str(error), reason="WEBHOOKS") from error
    except OSError as error:
        raise CommandError(f"cannot copy: {in_words(error)}", reason="COPY") from error


def _facts(copied: Copied, where: Path) -> dict[str, Any]:
    journal = copied.journal
    return {
        "directory": str(where),
        "journal_records": journal.records,
        "journal_bytes": journal.used_bytes,
        "epoch": journal.epoch,
        "chain_hash": journal.chain_hash,
        "receipts": copied.receipts,
        "blobs": copied.blobs.ciphertexts,
        "keys": copied.blobs.keys,
        "webhooks": copied.webhooks,
        "operator_key": copied.operator_key,
        "manifest": copied.manifest,
    }


def _shown(verb: str, copied: Copied, where: Path) -> str:
    return (
        f"{verb} in {where}: {grouped(copied.journal.records)} journal records, "
        f"{grouped(copied.receipts)} receipts, {grouped(copied.blobs.ciphertexts)} blobs, "
        f"{grouped(copied.blobs.keys)} keys, {grouped(copied.webhooks)} webhooks\n"
        f"chain hash {copied.journal.chain_hash.hex()}"
    )
