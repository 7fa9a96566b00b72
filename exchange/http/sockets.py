"""WebSockets that push the overview: read-only, bounded, and cut off where nobody reads."""

from __future__ import annotations

import asyncio
from typing import Final
from urllib.parse import urlsplit

from aiohttp import WSCloseCode, WSMsgType, web

from exchange.http.errors import ApiError
from exchange.http.feed import OverviewFeed

SOCKETS_MAX: Final = 1_000
"""WebSockets open at the same time; one more is refused with 503."""
MESSAGE_BYTES_MAX: Final = 1_024
"""Longest message that is taken from a client: there is nothing to say but the protocol's own."""
PING_S: Final = 20.0
"""A connection is pinged this often and closed where no answer comes in half of it."""
SEND_WITHIN_S: Final = 10.0
"""A client that leaves its messages unread for so long is cut off."""


class OverviewSockets:
    """All WebSockets of the overview."""

    def __init__(self, feed: OverviewFeed) -> None:
        self._feed = feed
        self._open: set[web.WebSocketResponse] = set()
        self._closing = False

    def __len__(self) -> int:
        return len(self._open)

    async def handle(self, request: web.Request) -> web.WebSocketResponse:
        """Serve one connection until either side ends it.

        Raises:
            ApiError: another site's page asks, too many are open, or the exchange closes.
        """
        require_same_origin(request)
        if self._closing or len(self._open) >= SOCKETS_MAX:
            raise ApiError(503, "OVERLOADED", f"{len(self._open)} watchers; try again later")
        socket = web.WebSocketResponse(
            heartbeat=PING_S, max_msg_size=MESSAGE_BYTES_MAX, compress=False
        )
        self._open.add(socket)
        try:
            await socket.prepare(request)
            writer = asyncio.create_task(self._write(request, socket))
            try:
                await _read(socket)
            finally:
                writer.cancel()
                await asyncio.gather(writer, return_exceptions=True)
        finally:
            self._open.discard(socket)
        return socket

    async def close(self) -> None:
        """Say goodbye to all; no new one is taken."""
        self._closing = True
        goodbye = (
            socket.close(code=WSCloseCode.GOING_AWAY, message=b"the exchange closes")
            for socket in tuple(self._open)
        )
        await asyncio.gather(*goodbye, return_exceptions=True)

    async def _write(self, request: web.Request, socket: web.WebSocketResponse) -> None:
        with self._feed.watch() as reader:
            while True:
                text = await reader.next()
                try:
                    async with asyncio.timeout(SEND_WITHIN_S):
                        await socket.send_str(text)
                except TimeoutError:
                    # Its buffers are full: a close frame would not get through either.
                    if request.transport is not None:
                        request.transport.abort()
                    return
                except ConnectionError:
                    return


async def _read(socket: web.WebSocketResponse) -> None:
    """Wait for the client's end; whatever it says breaks the protocol."""
    async for message in socket:
        if message.type in (WSMsgType.TEXT, WSMsgType.BINARY):
            await socket.close(
                code=WSCloseCode.POLICY_VIOLATION, message=b"this socket takes no messages"
            )


def require_same_origin(request: web.Request) -> None:
    """Let no other site's page watch: browsers would, but they say where the page is from.

    Raises:
        ApiError: a page of another site asks.
    """
    origin = request.headers.get("Origin")
    if origin is None:
        return
    try:
        known = urlsplit(origin).netloc.lower() == request.host.lower()
    except ValueError:
        # It is no address, so not ours.
        known = False
    if not known:
        raise ApiError(403, "FOREIGN_ORIGIN", f"pages of {origin} may not watch this exchange")
