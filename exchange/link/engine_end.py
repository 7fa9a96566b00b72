"""The engine's end of the link: calls come in and are answered."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from typing import Final

import structlog

from exchange.link.frames import (
    OPENING,
    READY,
    VERSION,
    Ending,
    Frame,
    Hello,
    Kind,
    LinkError,
    Opening,
    Ready,
    count,
    pack,
    read_count,
    unpack,
)
from exchange.link.lane import Lane
from exchange.link.link import Link
from exchange.rpc.calls import Api
from exchange.rpc.errors import Code, RpcError

LANES_MAX: Final = 8_192
"""Calls under way on one link: the gateway lets half as many in, and those that have just ended
count here a little longer."""

_log = structlog.get_logger(__name__)
_OK: Final = pack(Ending())


class LinkCall:
    """One call that has come over the link, as an `IncomingCall`."""

    __slots__ = ("_callbacks", "_lane", "left_s", "metadata", "method", "task")

    def __init__(self, opening: Opening, lane: Lane) -> None:
        self.method = opening.method
        self.metadata: Mapping[str, str] = opening.metadata
        self.left_s = opening.left_s
        self._lane = lane
        self._callbacks: list[Callable[[], object]] = []
        self.task: asyncio.Task[None] | None = None

    async def read(self) -> bytes | None:
        """See `IncomingCall`."""
        return await self._lane.receive()

    async def write(self, message: bytes) -> None:
        """See `IncomingCall`."""
        await self._lane.send(message)

    def on_end(self, callback: Callable[[], object]) -> None:
        """See `IncomingCall`."""
        self._callbacks.append(callback)

    def end(self) -> None:
        """Tell those who wanted to know."""
        callbacks, self._callbacks = self._callbacks, []
        for callback in callbacks:
            callback()


class EngineEnd(Link):
    """Answers what the gateway asks.

    Args:
        api: Who answers.
        settings: What the gateway is told before anything else.
    """

    def __init__(self, api: Api, settings: bytes) -> None:
        super().__init__()
        self._api = api
        self._settings = settings
        self._calls: dict[int, tuple[Lane, LinkCall]] = {}
        self._newest = 0
        self.ready: asyncio.Future[Ready] = asyncio.get_running_loop().create_future()

    def __len__(self) -> int:
        """Calls under way."""
        return len(self._calls)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See asyncio."""
        super().connection_made(transport)
        self.write(Kind.HELLO, 0, pack(Hello(VERSION, self._settings)))

    def drain(self) -> None:
        """Let the gateway say that no new work is taken."""
        self.write(Kind.DRAIN)

    def stop(self, grace_s: float) -> None:
        """Let the gateway end, once calls have finished or the grace is over."""
        self.write(Kind.STOP, 0, count(int(grace_s * 1_000)))

    def on_frame(self, frame: Frame) -> None:
        """See `Link`."""
        kind, number, payload = frame
        if kind == Kind.OPEN:
            self._open(number, payload)
        elif kind == Kind.READY and not self.ready.done():
            self.ready.set_result(unpack(READY, payload))
        elif kind == Kind.FAILED and not self.ready.done():
            self.ready.set_exception(OSError(payload.decode(errors="replace")))
        elif kind in (Kind.MESSAGE, Kind.CREDIT, Kind.HALF_CLOSE, Kind.CANCEL):
            self._go_on(kind, number, payload)
        else:
            raise LinkError(f"the gateway sends frames of kind {kind} at this time")

    def on_lost(self) -> None:
        """See `Link`: the gateway is gone, and with it every caller."""
        if not self.ready.done():
            self.ready.set_exception(OSError("the gateway ended before it was ready"))
            self.ready.exception()  # It may be that nobody waits any more.
        for number in tuple(self._calls):
            self._cancel(number)

    def check(self) -> None:
        """Assert that calls are numbered as they came, and within their bounds."""
        assert len(self._calls) <= LANES_MAX
        for number, (lane, call) in self._calls.items():
            assert 0 < number == lane.number <= self._newest
            assert call.task is not None
            lane.check()

    def _open(self, number: int, payload: bytes) -> None:
        if number != self._newest + 1 or len(self._calls) >= LANES_MAX:
            raise LinkError(f"call {number} after {self._newest}, {len(self._calls)} under way")
        self._newest = number
        lane = Lane(number, self)
        call = LinkCall(unpack(OPENING, payload), lane)
        self._calls[number] = lane, call
        call.task = asyncio.get_running_loop().create_task(self._serve(call, lane))

    def _go_on(self, kind: int, number: int, payload: bytes) -> None:
        found = self._calls.get(number)
        if found is None:
            if not 0 < number <= self._newest:
                raise LinkError(f"call {number} was never opened")
            return  # It has ended, which the gateway did not know yet.
        lane, _ = found
        if kind == Kind.MESSAGE:
            lane.take(payload)
        elif kind == Kind.CREDIT:
            lane.more_room(read_count(payload))
        elif kind == Kind.HALF_CLOSE:
            lane.no_more()
        else:
            self._cancel(number)

    def _cancel(self, number: int) -> None:
        """The caller has gone: what serves it is told at once, and again by its own task's end."""
        lane, call = self._calls.pop(number)
        lane.end(gone())
        call.end()
        assert call.task is not None
        call.task.cancel()

    async def _serve(self, call: LinkCall, lane: Lane) -> None:
        ending = _OK
        try:
            await self._api.serve(call)
        except RpcError as error:
            ending = pack(Ending.of(error))
        except asyncio.CancelledError:
            if lane.number in self._calls:
                raise  # Not the caller: this process ends.
            return
        finally:
            found = self._calls.pop(lane.number, None)
            lane.end()
            call.end()
            if found is not None:
                self.write(Kind.END, lane.number, ending)


def gone() -> RpcError:
    """The caller has gone."""
    return RpcError(Code.CANCELLED, "CALLER_GONE", "the caller has gone")


async def give_up(link: EngineEnd, within_s: float) -> None:
    """Wait for the link to close, so long; then close it."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(within_s):
            await link.closed.wait()
    link.close()
