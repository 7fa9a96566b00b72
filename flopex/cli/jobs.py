"""`flopex jobs` and `flopex cancel`."""

from __future__ import annotations

from typing import Annotated, Final

import typer
from rich.console import Group
from rich.text import Text

from flopex.cli.base import Session, command
from flopex.render.format import money, words
from flopex.render.tables import job_details, jobs_table

JOBS_DEFAULT: Final = 20

app = typer.Typer()


@command(app, "jobs", example="flopex jobs --open\nflopex jobs 17 --json")
async def jobs(
    session: Session,
    job: Annotated[int | None, typer.Argument(help="Only this job, with its answer.")] = None,
    open_only: Annotated[
        bool, typer.Option("--open", help="Only jobs that have not ended.")
    ] = False,
    limit: Annotated[
        int, typer.Option(min=1, help="At most this many, newest first.")
    ] = JOBS_DEFAULT,
) -> None:
    """List your jobs, newest first; or show one with its answer.

    The answer of a job that ended is kept for 24 hours, the job itself for good.
    """
    async with session.connect() as client:
        if job is not None:
            one = await client.jobs.get(job)
            text = await client.jobs.output(job)
            shown = Group(job_details(one), Text(), Text(text))
            session.output.answer({"job": one, "output": text}, shown)
            return
        found = [job async for job in client.jobs.list(open_only=open_only, limit=limit)]
        session.output.answer({"jobs": found}, jobs_table(found) if found else "no jobs")


@command(app, "cancel", example="flopex cancel 17")
async def cancel(
    session: Session, job: Annotated[int, typer.Argument(help="The job's number.")]
) -> None:
    """Stop a job and its bill. One that waits costs nothing; one that runs, what it did so far."""
    async with session.connect() as client:
        found = await client.jobs.cancel(job)
        if found.is_open:
            shown = f"job {found.job_id} is being stopped; its bill follows: flopex jobs {job}"
        else:
            shown = f"job {found.job_id} {words(found.state.name)}, paid {money(found.paid_nanos)}"
        session.output.answer(found, shown)
