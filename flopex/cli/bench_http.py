"""`flopex bench http`: HTTP beside gRPC, as a table."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.table import Table

from flopex.cli.base import Session


async def http(
    session: Session,
    rounds: Annotated[int, typer.Option(min=1, help="Rounds of requests.")] = 3,
    seconds: Annotated[
        float, typer.Option(min=0.1, help="Of each kind of request in a round.")
    ] = 5.0,
    concurrency: Annotated[
        int, typer.Option(min=1, max=256, help="Requests under way at a time.")
    ] = 8,
    tokens: Annotated[int, typer.Option(min=1, max=1_024, help="Tokens of an answer.")] = 8,
) -> None:
    """What a chat completion costs beside the same job over gRPC.

    The whole path with an instant engine: the exchange is two processes, worker and clients are
    processes of their own. Median of the rounds with the least and the most.
    """
    from flopex.bench.http import Settings, run
    from flopex.logs import LogLevel, configure_logs

    configure_logs(LogLevel.WARNING, as_json=False)
    settings = Settings(rounds, seconds, concurrency, tokens)
    result = await run(settings, session.output.note)
    session.output.answer(result, _requests(result))


def _requests(result: dict[str, Any]) -> Table:
    from flopex.bench.http import KINDS

    machine, settings = result["machine"], result["settings"]
    title = (
        f"{settings['concurrency']} requests at a time, {settings['tokens']} tokens each; "
        f"{machine['cpu']}, {machine['cores']} cores, Python {machine['python']}"
    )
    table = Table(title=title)
    heads = ("", "answers/s", "p50 ms", "p99 ms", "exchange CPU ms", "client CPU ms")
    for head in heads:
        table.add_column(head, justify="right" if head else "left")
    names = {"grpc": "gRPC", "http": "chat completion", "stream": "the same as a stream"}
    for kind in KINDS:
        cells = [f"{m:g} ({least:g} to {most:g})" for m, least, most in result[kind].values()]
        table.add_row(names[kind], *cells)
    return table
