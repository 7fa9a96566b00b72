"""One call's messages on a link, each way within a window.

A sender may be ahead of its reader by `WINDOW_BYTES` and one message; then it waits. So a reader
who does not read holds up its own call, at its source, and no other.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Final, Protocol

from exchange.link.frames import PAYLOAD_BYTES_MAX, Kind, LinkError, count
from exchange.rpc.errors import Code, RpcError, too_large

WINDOW_BYTES: Final = 256 << 10
"""Bytes that may be under way to a reader who has not read them."""
MESSAGE_COST: Final = 256
"""What a message counts beside its bytes: small ones take memory, too."""


class Frames(Protocol):
    """Where a lane's frames go."""

    @property
    def full(self) -> bool:
        """Whether the other end takes less than is written."""
        ...

    def write(self, kind: Kind, call: int, payload: bytes = b"") -> None:
        """Send a frame; does not wait."""
        ...

    async def writable(self) -> None:
        """Return once what was written before is on its way."""
        ...


class Lane:
    """One end of a call. It ends once: with `end`, by either side. One task sends, one receives.

    Args:
        number: Of the call.
        frames: Where its frames go.
    """

    __slots__ = (
        "_arrived", "_consumed", "_ended", "_frames", "_inbox", "_last", "_owed", "_reader",
        "_room", "_sender", "_take", "number",
    )  # fmt: skip

    def __init__(self, number: int, frames: Frames) -> None:
        self.number = number
        self._frames = frames
        self._inbox: deque[bytes] = deque()
        self._last = False
        self._ended: RpcError | bool = False
        self._reader: asyncio.Future[None] | None = None
        self._sender: asyncio.Future[None] | None = None
        self._take: Callable[[bytes], bool] | None = None
        self._room = WINDOW_BYTES
        self._owed = 0
        self._consumed = 0
        self._arrived = 0

    @property
    def ended(self) -> bool:
        """Whether nothing is sent any more."""
        return self._ended is not False

    @property
    def unread_bytes(self) -> int:
        """What has come and was not read yet, as the window counts it."""
        return self._arrived - self._consumed

    async def send(self, message: bytes) -> None:
        """Send a message once there is room for it.

        Raises:
            RpcError: the call has ended with an error, or is over; or the message is longer than a
                frame, which would break the link, and with it every other call.
        """
        if len(message) > PAYLOAD_BYTES_MAX:
            raise too_large(len(message), PAYLOAD_BYTES_MAX)
        await self._frames.writable()
        while self._room <= 0 and not self.ended:
            self._sender = asyncio.get_running_loop().create_future()
            await self._sender
        if self.ended:
            raise self._ended if isinstance(self._ended, RpcError) else over()
        self._send(message)

    def send_now(self, message: bytes) -> bool:
        """Send a message where `send` would not wait and not raise; whether it was sent."""
        if self._room <= 0 or self.ended or self._frames.full or len(message) > PAYLOAD_BYTES_MAX:
            return False
        self._send(message)
        return True

    def _send(self, message: bytes) -> None:
        self._room -= len(message) + MESSAGE_COST
        self._frames.write(Kind.MESSAGE, self.number, message)

    def offer(self, take: Callable[[bytes], bool]) -> None:
        """Offer each message to `take` as it comes, while a task waits in `receive` for it.

        What it does not take, by returning False, is received. It must not raise.
        """
        self._take = take

    async def receive(self) -> bytes | None:
        """The next message; None where no more follow.

        Raises:
            RpcError: the call has ended with an error; what came before it is read first.
        """
        while not self._inbox:
            if isinstance(self._ended, RpcError):
                raise self._ended
            if self._last or self.ended:
                return None
            self._reader = asyncio.get_running_loop().create_future()
            await self._reader
        message = self._inbox.popleft()
        self._credit(len(message) + MESSAGE_COST)
        return message

    def _credit(self, cost: int) -> None:
        """Tell the sender what was read, in few frames."""
        self._consumed += cost
        self._owed += cost
        if self._owed >= WINDOW_BYTES // 2 and not self.ended:
            self._frames.write(Kind.CREDIT, self.number, count(self._owed))
            self._owed = 0

    # ---- what the link brings ----

    def take(self, message: bytes) -> None:
        """A message has come.

        Raises:
            LinkError: the sender does not keep within its window, or has said that none follows.
        """
        if self._last:
            raise LinkError("a message after the last")
        if self._arrived - self._consumed >= WINDOW_BYTES:
            raise LinkError("a call's messages exceed its window")
        cost = len(message) + MESSAGE_COST
        self._arrived += cost
        waits = self._reader is not None and not self._reader.done()
        if self._take is not None and waits and not self._inbox and self._take(message):
            self._credit(cost)
            return
        self._inbox.append(message)
        _wake(self._reader)

    def no_more(self) -> None:
        """The sender has said that no message follows."""
        self._last = True
        _wake(self._reader)

    def more_room(self, room: int) -> None:
        """The reader has read.

        Raises:
            LinkError: more than was sent.
        """
        self._room += room
        if self._room > WINDOW_BYTES:
            raise LinkError("credit for what was not sent")
        _wake(self._sender)

    def end(self, error: RpcError | None = None) -> None:
        """The call is over; what has come can still be read. A second end does nothing."""
        if not self.ended:
            self._ended = error or True
            self._take = None
            _wake(self._reader)
            _wake(self._sender)

    def check(self) -> None:
        """Assert what holds between any two steps."""
        waiting = sum(len(message) + MESSAGE_COST for message in self._inbox)
        assert waiting == self._arrived - self._consumed
        assert waiting < WINDOW_BYTES + PAYLOAD_BYTES_MAX + MESSAGE_COST
        assert self._room <= WINDOW_BYTES
        assert 0 <= self._owed <= self._consumed


def over() -> RpcError:
    """Nothing can be said in a call that has ended."""
    return RpcError(Code.CANCELLED, "CALL_OVER", "the call has ended")


def _wake(waiter: asyncio.Future[None] | None) -> None:
    if waiter is not None and not waiter.done():
        waiter.set_result(None)
