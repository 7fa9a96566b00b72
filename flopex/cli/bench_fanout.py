"""`flopex bench fanout`: what it costs to tell a thousand, as a table."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.table import Table

from flopex.cli.base import Session


async def fanout(
    session: Session,
    subscribers: Annotated[int, typer.Option(min=1, help="WebSockets that watch.")] = 1_000,
    slow: Annotated[int, typer.Option(min=0, help="WebSockets beside them that read nothing.")] = 0,
    rate: Annotated[
        float, typer.Option(min=0.1, help="Changes of the book each second; 50 are told at most.")
    ] = 10,
    seconds: Annotated[float, typer.Option(min=0.1, help="How long it is measured.")] = 10,
) -> None:
    """How soon many WebSocket subscribers of one book learn of each change, and at what cost.

    Exchange and subscribers are two processes; the delay is from the commit of a change to its
    arrival, over all messages of all subscribers. CPU is the exchange's, its orders included.
    """
    from flopex.bench.fanout import Settings, run

    result = await run(Settings(subscribers, slow, rate, seconds))
    session.output.answer(result, _table(result))


def _table(result: dict[str, Any]) -> Table:
    machine, settings = result["machine"], result["settings"]
    title = (
        f"{settings['subscribers']} subscribers and {settings['slow']} that read nothing, "
        f"{settings['per_s']:g} changes/s for {settings['seconds']:g} s; {machine['cpu']}"
    )
    table = Table("figure", "value", title=title)
    for name, text in (
        ("messages_per_s", "messages/s"),
        ("each_least", "messages of the subscriber with the fewest"),
        ("each_most", "messages of the subscriber with the most"),
        ("delay_p50_ms", "delay p50, ms"),
        ("delay_p99_ms", "delay p99, ms"),
        ("delay_max_ms", "delay max, ms"),
        ("server_cpu_share", "CPU of the exchange, cores"),
        ("server_cpu_us_per_message", "CPU of the exchange per message, us"),
    ):
        table.add_row(text, str(result[name]))
    return table
