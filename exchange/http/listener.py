"""Accepting connections: bounded, and let go where they say or take nothing.

Every connection is an open file of the process, and the journal needs some, too.
"""

from __future__ import annotations

import asyncio
import resource
import socket
from typing import Final

from aiohttp import web
from aiohttp.web_protocol import RequestHandler

CONNECTIONS_MAX: Final = 1_200
"""Connections open at the same time, WebSockets included; fewer where files are few."""
FILES_SHARE: Final = 4
"""At most one in so many of the process's open files is an HTTP connection."""
REQUEST_WITHIN_S: Final = 10.0
"""A new connection that has not sent its first request by then is closed."""
KEEPALIVE_S: Final = 30.0
"""After an answer the next request, up to the end of its head, must have come by then."""
TAKEN_WITHIN_S: Final = 30.0
"""A client that takes nothing of what it is sent for so long is cut off, by the system (Linux)."""


def connections_max(files_max: int) -> int:
    """How many connections to take where the process may have `files_max` open files."""
    if files_max == resource.RLIM_INFINITY:
        return CONNECTIONS_MAX
    return max(1, min(CONNECTIONS_MAX, files_max // FILES_SHARE))


class Listener:
    """An open port.

    Args:
        most: Connections open at the same time; one more is closed at once.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._silent: set[asyncio.BaseProtocol] = set()
        self._server: asyncio.Server | None = None
        self._web: web.Server | None = None

    @property
    def most(self) -> int:
        """Connections that may be open."""
        return self._most

    def __len__(self) -> int:
        """Connections that are open."""
        return len(self._web.connections) if self._web is not None else 0

    async def open(self, server: web.Server, host: str, port: int) -> int:
        """Begin to accept for this server; the port.

        Raises:
            OSError: the address cannot be had.
        """
        loop = asyncio.get_running_loop()
        self._web = server

        def connect() -> asyncio.Protocol:
            if len(server.connections) >= self._most:
                return _Refused()
            handler = server()
            self._silent.add(handler)
            loop.call_later(REQUEST_WITHIN_S, self._look_at, handler)
            return handler

        self._server = await loop.create_server(connect, host, port)
        if hasattr(socket, "TCP_USER_TIMEOUT"):
            for listening in self._server.sockets:
                # Those that it accepts inherit it.
                ms = round(TAKEN_WITHIN_S * 1_000)
                listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, ms)
        chosen: int = self._server.sockets[0].getsockname()[1]
        return chosen

    def spoke(self, request: web.Request) -> None:
        """This request's connection is in use: it is not closed for being silent."""
        self._silent.discard(request.protocol)

    def close(self) -> None:
        """Accept no more."""
        if self._server is not None:
            self._server.close()

    def _look_at(self, handler: RequestHandler) -> None:
        if handler in self._silent:
            self._silent.discard(handler)
            handler.force_close()


class _Refused(asyncio.Protocol):
    """A connection too many."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        transport.abort()
