"""Both ends of the link over a real socket pair: calls, errors, ends, and broken protocol."""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
from collections.abc import AsyncIterator, Callable, Mapping

import pytest

from exchange.link import engine_end
from exchange.link.engine_end import EngineEnd
from exchange.link.frames import Frame, Hello, Kind, count, pack
from exchange.link.gateway_end import RemoteApi
from exchange.link.lane import WINDOW_BYTES
from exchange.link.link import BUFFER_BYTES_MAX, Link, attach
from exchange.rpc.calls import IncomingCall
from exchange.rpc.errors import Code, RpcError, busy
from tests.waiting import WITHIN_S


class Caller:
    """A call as the gateway has it: what it sends, and what came back."""

    def __init__(self, method: str, *requests: bytes, **metadata: str) -> None:
        self.method = method
        self.metadata: Mapping[str, str] = metadata
        self.left_s: float | None = None
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

    async def large(self, call: IncomingCall) -> None:
        await call.write(bytes(8 << 20))


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


async def test_a_call_and_its_answer() -> None:
    async with linked() as (gateway, _, script):
        caller = Caller("echo", b"one", b"", b"two", authorization="k", secret="not passed")
        caller.left_s = 2.5
        await gateway.serve(caller)
        assert caller.responses == [b"one", b"", b"two"]
        assert script.seen[0].metadata == {"authorization": "k"}
        assert script.seen[0].left_s == 2.5


async def test_an_error_comes_with_what_was_said_before_it() -> None:
    async with linked() as (gateway, _, _):
        caller = Caller("refuse")
        with pytest.raises(RpcError) as caught:
            await gateway.serve(caller)
        assert caller.responses == [b"first"]
        error = caught.value
        assert (error.code, error.reason, error.metadata) == (Code.NOT_FOUND, "NOTHING", {"a": "b"})
        assert error.retry_after_ns == 5


async def test_a_call_that_cannot_be_written_fails_alone() -> None:
    async with linked() as (gateway, _, script):
        with pytest.raises(UnicodeEncodeError):
            await gateway.serve(Caller("echo", authorization="\udcff"))
        caller = Caller("echo", b"one")
        await gateway.serve(caller)
        assert caller.responses == [b"one"]
        assert len(script.seen) == 1


async def test_calls_run_beside_each_other_and_keep_their_order() -> None:
    chance = random.Random(1)
    async with linked() as (gateway, engine, _):
        callers = [
            Caller("echo", *[chance.randbytes(chance.choice((1, 100, 70_000))) for _ in range(20)])
            for _ in range(50)
        ]
        wanted = [list(caller._requests) for caller in callers]
        await asyncio.gather(*map(gateway.serve, callers))
        assert [caller.responses for caller in callers] == wanted
        engine.check()


async def test_the_longest_response() -> None:
    async with linked() as (gateway, _, _):
        caller = Caller("large")
        await gateway.serve(caller)
        assert [len(message) for message in caller.responses] == [8 << 20]


async def test_a_caller_who_goes_is_told_to_the_engine() -> None:
    async with linked() as (gateway, engine, script):
        task = asyncio.create_task(gateway.serve(Caller("hang")))
        await until(lambda: len(engine))
        task.cancel()
        await until(lambda: script.cancelled)
        assert not len(engine)


async def test_a_slow_reader_holds_up_its_own_call_only() -> None:
    async with linked() as (gateway, engine, _):
        slow = Caller("pour")
        slow.may_read.clear()
        task = asyncio.create_task(gateway.serve(slow))
        await until(lambda: gateway.received_bytes > WINDOW_BYTES // 2)
        await asyncio.sleep(0.05)
        assert gateway.received_bytes < 2 * WINDOW_BYTES
        quick = Caller("echo", b"x")
        await gateway.serve(quick)
        assert quick.responses == [b"x"]
        slow.may_read.set()
        await until(lambda: len(slow.responses) > 1_000)
        task.cancel()
        await until(lambda: not len(engine))


async def test_a_dead_engine_ends_every_call() -> None:
    async with linked() as (gateway, engine, script):
        caller = Caller("echo", b"one")
        caller.open = True
        task = asyncio.create_task(gateway.serve(caller))
        await until(lambda: caller.responses)
        engine.close()
        with pytest.raises(RpcError, match="ENGINE_DOWN") as caught:
            await task
        assert caught.value.code is Code.UNAVAILABLE
        assert caught.value.retry_after_ns
        with pytest.raises(RpcError, match="ENGINE_DOWN"):
            await gateway.serve(Caller("echo"))
        assert await gateway.stopping == 0
        await until(lambda: script.cancelled)


async def test_an_engine_that_does_not_read_is_overload() -> None:
    async with linked() as (gateway, engine, _):
        assert engine._transport is not None
        engine._transport.pause_reading()
        callers = [Caller("echo", bytes(4 << 20)) for _ in range(4)]
        tasks = [asyncio.create_task(gateway.serve(caller)) for caller in callers]
        await until(lambda: gateway.full)
        assert gateway._transport is not None
        assert gateway._transport.get_write_buffer_size() > BUFFER_BYTES_MAX
        with pytest.raises(RpcError) as caught:
            await gateway.serve(Caller("echo"))
        assert caught.value.details() == busy("the engine takes less than comes").details()
        assert gateway.refused == 1
        engine._transport.resume_reading()
        await asyncio.gather(*tasks)
        assert all(caller.responses == [bytes(4 << 20)] for caller in callers)


async def test_drain_and_stop_are_told() -> None:
    async with linked() as (gateway, engine, _):
        engine.drain()
        await gateway.drained.wait()
        engine.stop(2.5)
        assert await gateway.stopping == 2.5


@pytest.mark.parametrize(
    "frames",
    [
        [(Kind.MESSAGE, 1, b"")],
        [(Kind.OPEN, 2, b"")],
        [(Kind.OPEN, 1, b"no opening")],
        [(Kind.END, 0, b"")],
        [(Kind.READY, 0, b"")],
        [(Kind.HELLO, 0, pack(Hello(1, b"")))],
        [(Kind.CREDIT, 9, count(1))],
    ],
)
async def test_a_gateway_that_breaks_the_protocol_is_let_go(
    frames: list[tuple[Kind, int, bytes]],
) -> None:
    async with linked() as (gateway, engine, _):
        for kind, number, payload in frames:
            gateway.write(kind, number, payload)
        await engine.closed.wait()


async def test_the_number_of_calls_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_end, "LANES_MAX", 3)
    async with linked() as (gateway, engine, _):
        tasks = [asyncio.create_task(gateway.serve(Caller("hang"))) for _ in range(4)]
        for task in tasks:
            with pytest.raises(RpcError, match="ENGINE_DOWN"):
                await task
        await engine.closed.wait()


async def test_another_version_is_refused() -> None:
    ours, theirs = socket.socketpair()
    gateway, engine = RemoteApi(), Silent()
    await attach(gateway, theirs)
    await attach(engine, ours)
    engine.write(Kind.HELLO, 0, pack(Hello(99, b"")))
    async with asyncio.timeout(WITHIN_S):
        await gateway.closed.wait()
    assert gateway.greeted.cancelled()
    engine.close()
    await engine.closed.wait()


class Silent(Link):
    """An end that only sends."""

    def on_frame(self, frame: Frame) -> None:
        raise AssertionError(f"nobody answers, and yet this came: {frame}")

    def on_lost(self) -> None:
        pass
