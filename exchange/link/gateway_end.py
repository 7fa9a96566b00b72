"""The gateway's end of the link: an `Api` whose calls are answered in the engine's process."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Final

from exchange.link.frames import (
    CALL_MAX,
    ENDING,
    HELLO,
    PAYLOAD_BYTES_MAX,
    VERSION,
    Asking,
    Frame,
    Hello,
    Kind,
    LinkError,
    Opening,
    Ready,
    pack,
    read_count,
    unpack,
)
from exchange.link.lane import Lane
from exchange.link.link import Link
from exchange.rpc.calls import IncomingCall
from exchange.rpc.errors import RETRY_AFTER_NS, Code, RpcError, busy, too_large

METADATA_PASSED: Final = ("authorization", "traceparent", "tracestate")
"""What the engine's process hears of a call's metadata: the key, and whose trace it belongs to."""


REQUEST_SOON_S: Final = 0.01
"""Where a call's only request takes longer to come, the engine hears of the call before it."""


class RemoteApi(Link):
    """Hands calls over the link. It lives as long as the link does.

    Attributes:
        greeted: What the engine said first.
        refused: Calls turned away because the engine took less than came (`BUFFER_BYTES_MAX`).
        drained: Set once no new work is taken.
        stopping: Resolves with the grace, in seconds, once the gateway shall end.
    """

    def __init__(self) -> None:
        super().__init__()
        loop = asyncio.get_running_loop()
        self.greeted: asyncio.Future[Hello] = loop.create_future()
        self.drained = asyncio.Event()
        self.refused = 0
        self.stopping: asyncio.Future[float] = loop.create_future()
        self._lanes: dict[int, Lane] = {}
        self._newest = 0

    def __len__(self) -> int:
        """Calls under way."""
        return len(self._lanes)

    def deepest(self) -> int:
        """Bytes that wait in the call that is read slowest. O(calls)."""
        return max((lane.unread_bytes for lane in self._lanes.values()), default=0)

    @property
    def state(self) -> str:
        """How the exchange is: "ok", "draining" or "stopped"."""
        if self.closed.is_set():
            return "stopped"
        return "draining" if self.drained.is_set() else "ok"

    async def serve(self, call: IncomingCall) -> None:
        """See `Api`.

        Raises:
            RpcError: as the engine's process says; or UNAVAILABLE (ENGINE_DOWN) where it has ended,
                RESOURCE_EXHAUSTED (OVERLOADED) where it takes less than comes.
        """
        await (self._ask(call) if call.single else self._converse(call))

    async def _ask(self, call: IncomingCall) -> None:
        """One request, one response: a frame each, if the request comes soon."""
        early = _Early(call, self._open)
        try:
            request = await early.request()
            if early.lane is not None:
                response = await early.response(request, self)
            else:
                early.lane = self._open(call, request)
                if request is None:
                    self.write(Kind.HALF_CLOSE, early.lane.number)
                response = await _only_response(early.lane)
            if response is None:
                raise RpcError(Code.INTERNAL, "INTERNAL", "the call ended without its response")
            await call.write(response)
        finally:
            early.close()
            if early.lane is not None:
                self._leave(early.lane)

    async def _converse(self, call: IncomingCall) -> None:
        """Any number of messages each way."""
        lane = self._open(call)
        sending = asyncio.get_running_loop().create_task(_send_requests(call, lane, self))
        try:
            while (message := await lane.receive()) is not None:
                await call.write(message)
            if not lane.ended:
                raise LinkError("a call's responses end without its end")
        finally:
            sending.cancel()
            self._leave(lane)

    def _leave(self, lane: Lane) -> None:
        """Nobody waits for this call any more: where it has not ended, it does now."""
        if self._lanes.pop(lane.number, None) is not None:
            self.write(Kind.CANCEL, lane.number)
            lane.end()

    def ready(self, address: str, http_address: str) -> None:
        """Tell the engine where the gateway listens."""
        self.write(Kind.READY, 0, pack(Ready(address, http_address)))

    def failed(self, why: str) -> None:
        """Tell the engine why the gateway cannot start."""
        self.write(Kind.FAILED, 0, why.encode())

    def on_frame(self, frame: Frame) -> None:
        """See `Link`."""
        kind, number, payload = frame
        if kind in (Kind.ANSWER, Kind.MESSAGE, Kind.CREDIT, Kind.END):
            self._go_on(kind, number, payload)
        elif kind == Kind.HELLO and not self.greeted.done():
            hello = unpack(HELLO, payload)
            if hello.version != VERSION:
                raise LinkError(f"the engine speaks version {hello.version}, we {VERSION}")
            self.greeted.set_result(hello)
        elif kind == Kind.DRAIN:
            self.drained.set()
        elif kind == Kind.STOP and not self.stopping.done():
            self.stopping.set_result(read_count(payload) / 1_000)
        else:
            raise LinkError(f"the engine sends frames of kind {kind} at this time")

    def on_lost(self) -> None:
        """See `Link`: the engine's process is gone."""
        lanes, self._lanes = self._lanes, {}
        for lane in lanes.values():
            lane.end(engine_down())
        if not self.greeted.done():
            self.greeted.cancel()
        if not self.stopping.done():
            self.stopping.set_result(0.0)

    def check(self) -> None:
        """Assert that calls are numbered as they were opened."""
        for number, lane in self._lanes.items():
            assert 0 < number == lane.number <= self._newest
            lane.check()

    def _open(self, call: IncomingCall, request: bytes | None = None) -> Lane:
        """Begin a call; with a request, it is the only one."""
        if self.closed.is_set():
            raise engine_down()
        if self.full:
            self.refused += 1
            raise busy("the engine takes less than comes")
        if self._newest == CALL_MAX:
            self.close()
            raise engine_down()
        sent = call.metadata
        metadata = {name: sent[name] for name in METADATA_PASSED if name in sent}
        # Before the number is taken: one that the engine never hears of would break the link.
        if request is None:
            kind, payload = Kind.OPEN, pack(Opening(call.method, metadata, call.left_s))
        else:
            kind, payload = Kind.ASK, pack(Asking(call.method, metadata, call.left_s, request))
            if len(payload) > PAYLOAD_BYTES_MAX:
                raise too_large(len(payload), PAYLOAD_BYTES_MAX)
        number = self._newest = self._newest + 1
        self.write(kind, number, payload)
        lane = self._lanes[number] = Lane(number, self)
        return lane

    def _go_on(self, kind: int, number: int, payload: bytes) -> None:
        lane = self._lanes.get(number)
        if lane is None:
            if not 0 < number <= self._newest:
                raise LinkError(f"call {number} was never opened")
            return  # Its caller has gone, which the engine did not know yet.
        if kind == Kind.MESSAGE:
            lane.take(payload)
        elif kind == Kind.CREDIT:
            lane.more_room(read_count(payload))
        elif kind == Kind.ANSWER:
            del self._lanes[number]
            lane.take(payload)
            lane.end()
        else:
            error = unpack(ENDING, payload).error()
            del self._lanes[number]
            lane.end(error)


class _Early:
    """Waits for a call's only request. Where that takes its time, the call is opened before it.

    So the engine refuses whom it would refuse anyway, whether he sends something or not.

    Attributes:
        lane: The call's, once it is opened.
    """

    __slots__ = ("_call", "_open", "_reading", "_refusal", "_response", "lane")

    def __init__(self, call: IncomingCall, opened: Callable[[IncomingCall], Lane]) -> None:
        self._call = call
        self._open = opened
        self._reading: asyncio.Task[object] | None = None
        self._refusal: RpcError | None = None
        self._response: asyncio.Task[bytes | None] | None = None
        self.lane: Lane | None = None

    async def request(self) -> bytes | None:
        """The request; None where the caller sends none, or has his response before it.

        Raises:
            RpcError: the call was refused.
        """
        task = self._reading = asyncio.current_task()
        assert task is not None
        timer = asyncio.get_running_loop().call_later(REQUEST_SOON_S, self._open_early)
        try:
            return await self._call.read()
        except asyncio.CancelledError:
            if self._reading is not None or task.uncancel():
                raise  # It was not us, or not us alone.
            if self._refusal is not None:
                raise self._refusal from None
            return None
        finally:
            self._reading = None
            timer.cancel()

    async def response(self, request: bytes | None, link: Link) -> bytes | None:
        """Send the request after the opening; the response to it.

        Raises:
            RpcError: the call was refused.
        """
        assert self.lane is not None
        assert self._response is not None
        if not self.lane.ended:
            if request is not None:
                await self.lane.send(request)
            link.write(Kind.HALF_CLOSE, self.lane.number)
        return await self._response

    def close(self) -> None:
        """Nobody waits any more."""
        if self._response is not None:
            self._response.cancel()

    def _open_early(self) -> None:
        try:
            self.lane = self._open(self._call)
        except RpcError as error:
            self._refusal = error
            self._stop_reading()
            return
        self._response = asyncio.get_running_loop().create_task(_only_response(self.lane))
        self._response.add_done_callback(self._responded)

    def _responded(self, response: asyncio.Task[bytes | None]) -> None:
        if not response.cancelled():
            response.exception()  # It may be that nobody asks any more.
            self._stop_reading()

    def _stop_reading(self) -> None:
        if self._reading is not None:
            self._reading.cancel()
            self._reading = None


async def _only_response(lane: Lane) -> bytes | None:
    """The one response of a call that ends well; raises `RpcError` as it ends otherwise."""
    response = await lane.receive()
    if response is not None:
        await lane.receive()
    return response


async def _send_requests(call: IncomingCall, lane: Lane, link: Link) -> None:
    """Pass the caller's messages on, as there is room for them."""
    # Where it breaks off, the receiving side learns why: from the engine, or as the caller goes.
    with contextlib.suppress(RpcError):
        while (message := await call.read()) is not None:
            await lane.send(message)
        if not lane.ended:
            link.write(Kind.HALF_CLOSE, lane.number)


def engine_down() -> RpcError:
    """The engine's process has ended under a call, or before it."""
    return RpcError(
        Code.UNAVAILABLE,
        "ENGINE_DOWN",
        "the engine has ended; what had no answer may have been done: repeat it with the same id",
        retry_after_ns=10 * RETRY_AFTER_NS,
    )
