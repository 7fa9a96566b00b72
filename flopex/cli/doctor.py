"""`flopex doctor`."""

from __future__ import annotations

from typing import Annotated, Final

import typer
from rich.table import Table
from rich.text import Text

from flopex.cli.base import Session, command
from flopex.cli.exits import CommandError
from flopex.config import ADDRESS_DEFAULT, HTTP_DEFAULT, HTTP_OFF
from flopex.interrupts import interruptible

app = typer.Typer()

STYLES: Final = {"ok": "green", "warning": "yellow", "failure": "bold red"}


@command(app, "doctor", example="flopex doctor --data ./exchange\nflopex doctor --json")
async def doctor(
    session: Session,
    address: Annotated[str, typer.Option(help="host:port that serve shall listen on.")] = (
        ADDRESS_DEFAULT
    ),
    http: Annotated[str, typer.Option(help="The same for HTTP; off for none.")] = HTTP_DEFAULT,
    read_model: Annotated[
        str, typer.Option(metavar="URL", help="Database for queries, as for serve.")
    ] = "",
) -> None:
    """Look at everything that an exchange needs here: one line each, with what to do.

    Installation, compiled engine, data directory, free space, disk syncs, ports, the journal's last
    segment, the read model, clock, open files, GPU. Exit code 0 where nothing is a failure, else 1.
    """
    from exchange.server.read_model import read_model_url
    from flopex.doctor import Place, Status, examine

    place = Place(
        session.data,
        address,
        "" if http == HTTP_OFF else http,
        read_model_url(session.data, read_model),
    )
    found = await interruptible(lambda: list(examine(place)))
    failures = sum(finding.status is Status.FAILURE for finding in found)
    warnings = sum(finding.status is Status.WARNING for finding in found)
    table = Table.grid(padding=(0, 2))
    for finding in found:
        table.add_row(
            Text(finding.status, style=STYLES[finding.status]), finding.check, finding.text
        )
        if finding.remedy:
            table.add_row("", "", Text(f"-> {finding.remedy}", style="italic"))
    session.output.answer(
        {
            "findings": [finding._asdict() for finding in found],
            "failures": failures,
            "warnings": warnings,
        },
        table,
    )
    if failures:
        raise CommandError(f"{failures} of {len(found)} checks failed", reason="DOCTOR")
