"""`flopex why`: why an order would not fill, a job waits, a worker is passed over."""

from __future__ import annotations

from typing import Annotated

import typer

from flopex.cli import order_options as options
from flopex.cli.base import Session, command
from flopex.cli.units import compute_option, price_option
from flopex.render.why import job_explained, order_explained, worker_explained

app = typer.Typer(
    no_args_is_help=True,
    help="Why an order would not fill, a job waits or paid what it paid, a worker is passed over.",
)


@command(
    app,
    "order",
    example="flopex why order bid smollm2-135m/cpu/interactive --price '300000 nanos'\n"
    "flopex why order ask paper-h100 --price '1700 nanos' --quantity '5 CU'",
)
async def order(
    session: Session,
    side: Annotated[options.SideName, typer.Argument(help="bid buys compute, ask sells it.")],
    instrument: Annotated[str, typer.Argument(help="Instrument's name.")],
    limit: Annotated[
        int,
        typer.Option(
            "--price",
            parser=price_option,
            metavar="PRICE",
            show_default="any price",
            help="Limit price per CU.",
        ),
    ] = 0,
    quantity: Annotated[
        int,
        typer.Option(
            parser=compute_option,
            metavar="COMPUTE",
            show_default="the smallest",
            help="Quantity; of a job its compute budget.",
        ),
    ] = 0,
) -> None:
    """Tell whether an order would fill now, and if not, what would make it. Places nothing.

    On a batch instrument a bid is a job, and an ask a slot that a worker quotes. What is told
    follows from what everybody may see: hidden orders are not counted.
    """
    from exchange.client import Side

    async with session.connect() as client:
        found = await client.market.explain_order(
            instrument, Side[side.name], price=limit, quantity=quantity
        )
    session.output.answer(found, order_explained(found))


@command(app, "job", example="flopex why job 17")
async def job(
    session: Session, job: Annotated[int, typer.Argument(help="The job's number.")]
) -> None:
    """Tell why a job waits and what would make it run; of one that ran, what it paid and why.

    Alternatives are the last prices at which other hardware classes traded before it was granted.
    """
    async with session.connect() as client:
        found = await client.jobs.explain(job)
    session.output.answer(found, job_explained(found))


@command(app, "worker", example="flopex why worker old-laptop")
async def worker(
    session: Session,
    name: Annotated[str, typer.Argument(help="Worker's name, or its number.")],
) -> None:
    """Tell why a worker gets few leases or none: its asks beside the market's."""
    async with session.connect() as client:
        found = await client.workers.explain(int(name) if name.isdecimal() else name)
    session.output.answer(found, worker_explained(found))
