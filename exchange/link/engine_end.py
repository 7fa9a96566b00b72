"""The engine's end of the link: calls come in and are answered."""

from __future__ import annotations

import abc
import asyncio
import contextlib
from collections.abc import Callable, Mapping
from typing import Final

import structlog

from exchange.link.frames import (
    ASKING,
    OPENING,
    PAYLOAD_BYTES_MAX,
    READY,
    VERSION,
    Asking,
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
from exchange.rpc.calls import PromptApi
from exchange.rpc.errors import Code, RpcError, too_large

LANES_MAX: Final = 8_192
"""Calls under way on one link: the gateway lets half as many in, and those that have just ended
count here a little longer."""

_log = structlog.get_logger(__name__)
_OK: Final = pack(Ending())


class LinkCall(abc.ABC):
    """One call that has come over the link, as an `IncomingCall`."""

    __slots__ = ("_callbacks", "left_s", "metadata", "method", "number", "task")

    single = False

    def __init__(self, number: int, opening: Opening) -> None:
        self.number = number
        self.method = opening.method
        self.metadata: Mapping[str, str] = opening.metadata
        self.left_s = opening.left_s
        self._callbacks: list[Callable[[], object]] = []
        self.task: asyncio.Task[None] | None = None

    @abc.abstractmethod
    async def read(self) -> bytes | None:
        """See `IncomingCall`."""

    @abc.abstractmethod
    async def write(self, message: bytes) -> None:
        """See `IncomingCall`."""

    def on_end(self, callback: Callable[[], object]) -> None:
        """See `IncomingCall`."""
        self._callbacks.append(callback)

    def end(self, error: RpcError | None = None) -> None:
        """It is over: tell those who wanted to know. `error`: of what, where its task lives on."""
        del error
        callbacks, self._callbacks = self._callbacks, []
        for callback in callbacks:
            callback()


class LaneCall(LinkCall):
    """A call whose messages come and go one by one."""

    __slots__ = ("lane",)

    def __init__(self, number: int, opening: Opening, lane: Lane) -> None:
        super().__init__(number, opening)
        self.lane = lane

    async def read(self) -> bytes | None:
        """See `IncomingCall`."""
        return await self.lane.receive()

    async def write(self, message: bytes) -> None:
        """See `IncomingCall`."""
        await self.lane.send(message)

    def offer(self, take: Callable[[bytes], bool]) -> None:
        """See `PromptCall`."""
        self.lane.offer(take)

    def write_now(self, message: bytes) -> bool:
        """See `PromptCall`."""
        return self.lane.send_now(message)

    def end(self, error: RpcError | None = None) -> None:
        """See `LinkCall`."""
        self.lane.end(error)
        super().end(error)


class AskedCall(LinkCall):
    """A call that came with its request, and goes with its response: see `calls.AskedCall`.

    Attributes:
        request: Its request.
        response: What `write` was given; it goes when the task that serves the call is done.
    """

    __slots__ = ("_link", "_was_read", "request", "response")

    single = True

    def __init__(self, number: int, asking: Asking, link: EngineEnd) -> None:
        super().__init__(number, asking)
        self._link = link
        self._was_read = False
        self.request = asking.request
        self.response: bytes | None = None

    def answer(self, response: bytes) -> None:
        """See `calls.AskedCall`; a response that no frame can hold is an error."""
        if len(response) > PAYLOAD_BYTES_MAX:
            self.fail(too_large(len(response), PAYLOAD_BYTES_MAX))
        else:
            self._link.finish(self, Kind.ANSWER, response)

    def fail(self, error: RpcError) -> None:
        """See `calls.AskedCall`."""
        self._link.finish(self, Kind.END, pack(Ending.of(error)))

    async def read(self) -> bytes | None:
        """See `IncomingCall`."""
        if self._was_read:
            return None
        self._was_read = True
        return self.request

    async def write(self, message: bytes) -> None:
        """See `IncomingCall`; raises `RpcError` where no frame can hold the message."""
        if len(message) > PAYLOAD_BYTES_MAX:
            raise too_large(len(message), PAYLOAD_BYTES_MAX)
        # Here it still counts as an open call, and its deadline still ends it.
        await self._link.writable()
        assert self.response is None, "a call that takes one request has one response"
        self.response = message


class EngineEnd(Link):
    """Answers what the gateway asks.

    Args:
        api: Who answers.
        settings: What the gateway is told before anything else.
    """

    def __init__(self, api: PromptApi, settings: bytes) -> None:
        super().__init__()
        self._api = api
        self._settings = settings
        self._calls: dict[int, LinkCall] = {}
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
        if kind == Kind.ASK:
            self._begin(AskedCall(number, unpack(ASKING, payload), self))
        elif kind == Kind.OPEN:
            self._begin(LaneCall(number, unpack(OPENING, payload), Lane(number, self)))
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
        for call in tuple(self._calls.values()):
            self._cancel(call)

    def check(self) -> None:
        """Assert that calls are numbered as they came, and within their bounds."""
        assert len(self._calls) <= LANES_MAX
        for number, call in self._calls.items():
            assert 0 < number == call.number <= self._newest
            if isinstance(call, LaneCall):
                assert call.task is not None
                assert number == call.lane.number
                call.lane.check()

    def _begin(self, call: LinkCall) -> None:
        number = call.number
        if number != self._newest + 1 or len(self._calls) >= LANES_MAX:
            raise LinkError(f"call {number} after {self._newest}, {len(self._calls)} under way")
        self._newest = number
        self._calls[number] = call
        # What is answered without a task does not wait for room either.
        if isinstance(call, AskedCall) and not self.full and self._api.take(call):
            return
        call.task = asyncio.get_running_loop().create_task(self._serve(call))

    def _go_on(self, kind: int, number: int, payload: bytes) -> None:
        call = self._calls.get(number)
        if call is None:
            if not 0 < number <= self._newest:
                raise LinkError(f"call {number} was never opened")
            return  # It has ended, which the gateway did not know yet.
        if kind == Kind.CANCEL:
            self._cancel(call)
        elif not isinstance(call, LaneCall):
            raise LinkError(f"frames of kind {kind} in call {number}, which was asked at once")
        elif kind == Kind.MESSAGE:
            call.lane.take(payload)
        elif kind == Kind.CREDIT:
            call.lane.more_room(read_count(payload))
        else:
            call.lane.no_more()

    def _cancel(self, call: LinkCall) -> None:
        """The caller has gone: what serves it is told at once, and again by its own task's end."""
        del self._calls[call.number]
        call.end(gone())
        if call.task is not None:
            call.task.cancel()

    def finish(self, call: LinkCall, kind: Kind, payload: bytes) -> None:
        """The last frame of a call, unless its caller has gone."""
        found = self._calls.pop(call.number, None)
        call.end()
        if found is not None:
            self.write(kind, call.number, payload)

    async def _serve(self, call: LinkCall) -> None:
        kind, payload = Kind.END, _OK
        try:
            await self._api.serve(call)
            if isinstance(call, AskedCall) and call.response is not None:
                kind, payload = Kind.ANSWER, call.response
        except RpcError as error:
            payload = pack(Ending.of(error))
        except asyncio.CancelledError:
            if call.number in self._calls:
                raise  # Not the caller: this process ends.
            return
        finally:
            self.finish(call, kind, payload)


def gone() -> RpcError:
    """The caller has gone."""
    return RpcError(Code.CANCELLED, "CALLER_GONE", "the caller has gone")


async def give_up(link: EngineEnd, within_s: float) -> None:
    """Wait for the link to close, so long; then close it."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(within_s):
            await link.closed.wait()
    link.close()
