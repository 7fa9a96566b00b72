"""The gateway's end of the link: an `Api` whose calls are answered in the engine's process."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Final

from exchange.link.frames import (
    CALL_MAX,
    ENDING,
    HELLO,
    VERSION,
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
from exchange.rpc.errors import RETRY_AFTER_NS, Code, RpcError, busy

METADATA_PASSED: Final = ("authorization", "traceparent", "tracestate")
"""What the engine's process hears of a call's metadata: the key, and whose trace it belongs to."""


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
        lane = self._open(call)
        sending = asyncio.get_running_loop().create_task(_send_requests(call, lane, self))
        try:
            while (message := await lane.receive()) is not None:
                await call.write(message)
            if not lane.ended:
                raise LinkError("a call's responses end without its end")
        finally:
            sending.cancel()
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
        if kind in (Kind.MESSAGE, Kind.CREDIT, Kind.END):
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

    def _open(self, call: IncomingCall) -> Lane:
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
        opening = pack(Opening(call.method, metadata, call.left_s))
        number = self._newest = self._newest + 1
        self.write(Kind.OPEN, number, opening)
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
        else:
            error = unpack(ENDING, payload).error()
            del self._lanes[number]
            lane.end(error)


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
