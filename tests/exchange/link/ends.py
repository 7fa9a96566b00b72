"""What the tests of the link's ends talk with: callers, an API that follows a script, a link."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable, Mapping
from typing import cast

from exchange.link.engine_end import EngineEnd
from exchange.link.gateway_end import RemoteApi
from exchange.link.link import attach
from exchange.rpc import calls
from exchange.rpc.calls import IncomingCall
from exchange.rpc.errors import Code, RpcError
from tests.waiting import WITHIN_S


class Caller:
    """A call as the gateway has it: what it sends, and what came back."""

    def __init__(self, method: str, *requests: bytes, **metadata: str) -> None:
        self.method = method
        self.metadata: Mapping[str, str] = metadata
        self.left_s: float | None = None
        self.single = False
        self.responses: list[bytes] = []
        self.may_read = asyncio.Event()
        self.may_read.set()
        self.open = False
        self._requests = list(requests)

    async def read(self) -> bytes | None:
        if self._requests:
            return self._requests.pop(0)
        if self.open:
            await asyncio.Future()
        return None

    async def write(self, message: bytes) -> None:
        await self.may_read.wait()
        self.responses.append(message)

    def on_end(self, callback: Callable[[], object]) -> None:
        raise NotImplementedError


class Script:
    """Answers by the method's name."""

    def __init__(self) -> None:
        self.seen: list[IncomingCall] = []
        self.cancelled = 0
        self.ended = 0
        self.written = 0
        self.later: Callable[[], None]

    def take(self, call: calls.AskedCall) -> bool:
        """A "prompt" call is answered at once or, as "prompt_later", when `later` is called."""
        if not call.method.startswith("prompt"):
            return False
        self.seen.append(cast("IncomingCall", call))
        call.on_end(self._end)
        self.later = lambda: call.answer(call.request)
        if call.method == "prompt_error":
            call.fail(RpcError(Code.NOT_FOUND, "NOTHING", "nothing"))
        elif call.method == "prompt":
            self.later()
        return True

    async def serve(self, call: IncomingCall) -> None:
        self.seen.append(call)
        call.on_end(self._end)
        try:
            await getattr(self, call.method)(call)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise

    def _end(self) -> None:
        self.ended += 1

    async def echo(self, call: IncomingCall) -> None:
        while (message := await call.read()) is not None:
            await call.write(message)

    async def refuse(self, call: IncomingCall) -> None:
        await call.write(b"first")
        raise RpcError(Code.NOT_FOUND, "NOTHING", "nothing", {"a": "b"}, 5)

    async def hang(self, call: IncomingCall) -> None:
        await asyncio.Future()

    async def pour(self, call: IncomingCall) -> None:
        while True:
            await call.write(bytes(1_000))

    async def once(self, call: IncomingCall) -> None:
        request = await call.read()
        await call.write(b"none" if request is None else request)

    async def deny(self, call: IncomingCall) -> None:
        raise RpcError(Code.UNAUTHENTICATED, "KEY_UNKNOWN", "no such key")

    async def too_large(self, call: IncomingCall) -> None:
        await call.write(bytes((8 << 20) + 1))

    async def silent(self, call: IncomingCall) -> None:
        await call.read()

    async def large(self, call: IncomingCall) -> None:
        await call.write(bytes(8 << 20))
        self.written += 1


@contextlib.asynccontextmanager
async def linked() -> AsyncIterator[tuple[RemoteApi, EngineEnd, Script]]:
    ours, theirs = socket.socketpair()
    script = Script()
    gateway, engine = RemoteApi(), EngineEnd(script, b"settings")
    await attach(gateway, theirs)
    await attach(engine, ours)
    async with asyncio.timeout(2 * WITHIN_S):
        hello = await gateway.greeted
        assert hello.settings == b"settings"
        gateway.ready("a:1", "")
        assert (await engine.ready).address == "a:1"
        yield gateway, engine, script
        gateway.check()
        engine.check()
        gateway.close()
        await gateway.closed.wait()
        await engine.closed.wait()
    assert not len(engine)
    assert not len(gateway)
    assert script.ended == len(script.seen)


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(WITHIN_S):
        while not condition():  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(0.001)


def asker(method: str, *requests: bytes, **metadata: str) -> Caller:
    """A caller of a method with one request and one response."""
    caller = Caller(method, *requests, **metadata)
    caller.single = True
    return caller


class Late(Caller):
    """A caller whose only request comes when it may."""

    def __init__(self, method: str, request: bytes | None) -> None:
        super().__init__(method, *([] if request is None else [request]))
        self.single = True
        self.sends = asyncio.Event()

    async def read(self) -> bytes | None:
        await self.sends.wait()
        return await super().read()
