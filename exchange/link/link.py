"""One end of the socket: frames in, frames out, few system calls."""

from __future__ import annotations

import abc
import asyncio
import socket
from typing import Final

import structlog

from exchange.link.frames import Frame, FrameDecoder, Kind, LinkError, header

BUFFER_BYTES_MAX: Final = 8 << 20
"""Bytes written and not yet taken by the other end, after which calls wait with their messages and
no new call is let in."""

_log = structlog.get_logger(__name__)


class Link(asyncio.Protocol, abc.ABC):
    """Carries frames until either end closes it. What the frames mean is its owner's."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._decoder = FrameDecoder()
        self._out: list[bytes] = []
        self._flushing = False
        self._writable = asyncio.Event()
        self._writable.set()
        self.closed = asyncio.Event()
        self.sent_bytes = 0
        self.received_bytes = 0

    @property
    def full(self) -> bool:
        """Whether the other end takes less than is written."""
        return not self._writable.is_set()

    def write(self, kind: Kind, call: int = 0, payload: bytes = b"") -> None:
        """Send a frame with the others of this turn of the loop; nothing once it is closed."""
        self._out.append(header(kind, call, len(payload)))
        if payload:
            self._out.append(payload)
        if not self._flushing:
            self._flushing = True
            asyncio.get_running_loop().call_soon(self._flush)

    async def writable(self) -> None:
        """Return once what was written before is on its way, or the link is closed."""
        if not self._writable.is_set():
            await self._writable.wait()

    def close(self) -> None:
        """Send what was written, then end."""
        if self._transport is not None:
            self._flush()
            self._transport.close()

    def _flush(self) -> None:
        self._flushing = False
        out, self._out = b"".join(self._out), []
        if out and self._transport is not None and not self._transport.is_closing():
            self.sent_bytes += len(out)
            self._transport.write(out)

    # ---- for the owner to define ----

    @abc.abstractmethod
    def on_frame(self, frame: Frame) -> None:
        """A frame has come.

        Raises:
            LinkError: it must not come here or now.
        """

    @abc.abstractmethod
    def on_lost(self) -> None:
        """The link is closed."""

    # ---- asyncio.Protocol ----

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See asyncio."""
        assert isinstance(transport, asyncio.Transport)
        transport.set_write_buffer_limits(high=BUFFER_BYTES_MAX)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """See asyncio."""
        self.received_bytes += len(data)
        try:
            for frame in self._decoder.feed(data):
                self.on_frame(frame)
        except LinkError as error:
            _log.error("the link between engine and gateway is broken", error=str(error))
            if self._transport is not None:
                self._transport.abort()

    def pause_writing(self) -> None:
        """See asyncio."""
        self._writable.clear()

    def resume_writing(self) -> None:
        """See asyncio."""
        self._writable.set()

    def connection_lost(self, exc: Exception | None) -> None:
        """See asyncio."""
        del exc
        self._writable.set()
        self.closed.set()
        self.on_lost()


async def attach(link: Link, end: socket.socket) -> None:
    """Let a link use this end of a socket pair."""
    end.setblocking(False)
    loop = asyncio.get_running_loop()
    await loop.create_unix_connection(lambda: link, sock=end)
