"""The gateway's process: `python -m exchange.server.gateway_main FD`, started by `GatewayProcess`.

It is told everything over the link, and ends with it: what a terminal or a service manager signals
to the whole group is left to the engine's process.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import signal
import socket
import sys
from typing import Final

import msgspec
import structlog

from exchange.link.gateway_end import RemoteApi
from exchange.link.link import attach
from exchange.server.config import EdgesConfig
from exchange.server.edges import Edges, allow_open_files
from exchange.server.internal import RemoteViews

LAST_WORDS_S: Final = 0.5
"""Once the engine has died, callers get this long to hear of it."""

_log = structlog.get_logger(__name__)


async def run(end: socket.socket) -> None:
    """Serve until the engine says stop, or dies.

    Args:
        end: This process's end of the link.
    """
    link = RemoteApi()
    await attach(link, end)
    try:
        hello = await link.greeted
    except asyncio.CancelledError:
        return  # The engine has died before it said anything.
    config = msgspec.json.decode(hello.settings, type=EdgesConfig)
    edges = Edges(link, RemoteViews(link), config, link)
    try:
        await edges.start()
    except (OSError, ValueError) as error:
        link.failed(str(error))
        link.close()
        return
    gc.freeze()
    link.ready(edges.address, edges.http_address)
    draining = asyncio.create_task(_drain(link, edges))
    grace_s = await link.stopping
    draining.cancel()
    if link.closed.is_set():
        _log.error("the engine has died")
        grace_s = LAST_WORDS_S
    await edges.stop(grace_s)
    link.close()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(LAST_WORDS_S):
            await link.closed.wait()


async def _drain(link: RemoteApi, edges: Edges) -> None:
    await link.drained.wait()
    await edges.begin_drain()


def main(fd: int) -> None:
    """Run until the link ends."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    allow_open_files()
    asyncio.run(run(socket.socket(fileno=fd)))


if __name__ == "__main__":
    main(int(sys.argv[1]))
