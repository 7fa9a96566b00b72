"""`flopex worker status|pause|resume|drain`: an owner's workers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Group, RenderableType

from flopex.cli import worker_run
from flopex.cli.base import Session, command
from flopex.cli.exits import CommandError, ExitCode
from flopex.render.format import words
from flopex.render.tables import worker_details, workers_table

if TYPE_CHECKING:
    from exchange.client import Worker

app = worker_run.app
_NAME = typer.Argument(help="Worker's name, or its number.")


@command(app, "status", example="flopex worker status")
async def status(
    session: Session,
    name: Annotated[str, typer.Argument(help="Only this worker, by name or number.")] = "",
) -> None:
    """Show your workers: state, slots, quotes, leases, earnings. The operator sees all."""
    async with session.connect() as client:
        found = await client.workers.list()
    if name:
        found = tuple(w for w in found if name in (w.name, str(w.worker_id)))
        if not found:
            raise CommandError(
                f"no worker is called {name!r}",
                "flopex worker status lists them",
                ExitCode.NOT_FOUND,
                "UNKNOWN_WORKER",
            )
    shown: RenderableType = workers_table(found) if found else "no workers"
    if name:
        shown = Group(shown, *(worker_details(worker) for worker in found))
    session.output.answer({"workers": found}, shown)


@command(app, "pause", example="flopex worker pause old-laptop")
async def pause(session: Session, name: Annotated[str, _NAME]) -> None:
    """Give a worker no new leases; those it holds go on."""
    async with session.connect() as client:
        _answer(session, await client.workers.pause(_which(name)))


@command(app, "resume", example="flopex worker resume old-laptop")
async def resume(session: Session, name: Annotated[str, _NAME]) -> None:
    """Let a paused worker take leases again."""
    async with session.connect() as client:
        _answer(session, await client.workers.resume(_which(name)))


@command(app, "drain", example="flopex worker drain old-laptop")
async def drain(session: Session, name: Annotated[str, _NAME]) -> None:
    """Let a worker finish what it holds; then its process ends."""
    async with session.connect() as client:
        _answer(session, await client.workers.drain(_which(name)))


def _which(name: str) -> int | str:
    return int(name) if name.isdecimal() else name


def _answer(session: Session, worker: Worker) -> None:
    session.output.answer(worker, f"worker {worker.name}: {words(worker.state.name)}")
