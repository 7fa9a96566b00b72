"""Server-sent events: a response that is written as it comes."""

from __future__ import annotations

import asyncio
from typing import Final

import msgspec
from aiohttp import web

SEND_WITHIN_S: Final = 30.0
"""A client that leaves its events unread for so long is cut off."""


class ClientGone(Exception):
    """The client has closed its connection, or reads nothing."""


class EventStream:
    """A response of server-sent events; its head goes out with the first of them.

    Args:
        request: What it answers.
        headers: Of the response.
    """

    def __init__(self, request: web.Request, headers: dict[str, str]) -> None:
        self._request = request
        self.response = web.StreamResponse(
            headers={
                "Content-Type": "text/event-stream; charset=utf-8",
                "Cache-Control": "no-store",
                # Proxies that collect a response before they pass it on.
                "X-Accel-Buffering": "no",
                **headers,
            }
        )

    async def send(self, data: object, event: str = "") -> None:
        """One event: its data as JSON.

        Raises:
            ClientGone: nobody reads it.
        """
        await self.send_raw(msgspec.json.encode(data), event)

    async def send_raw(self, data: bytes, event: str = "") -> None:
        """One event of one line; raises as `send`."""
        name = f"event: {event}\n".encode() if event else b""
        await self._write(name + b"data: " + data + b"\n\n")

    async def close(self) -> None:
        """Nothing follows; raises as `send`."""
        await self._write(b"", end=True)

    async def _write(self, data: bytes, end: bool = False) -> None:
        try:
            async with asyncio.timeout(SEND_WITHIN_S):
                if not self.response.prepared:
                    await self.response.prepare(self._request)
                await (self.response.write_eof(data) if end else self.response.write(data))
        except TimeoutError as error:
            # Its buffers are full: not even an end would get through.
            if self._request.transport is not None:
                self._request.transport.abort()
            raise ClientGone("the client reads nothing") from error
        except ConnectionError as error:
            raise ClientGone("the client has gone") from error
