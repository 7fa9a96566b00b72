"""Both ends of the link over a real socket pair: calls, errors, ends, and broken protocol."""

from __future__ import annotations

import asyncio
import random
import socket

import pytest

from exchange.link import engine_end
from exchange.link.engine_end import AskedCall
from exchange.link.frames import HEADER, Asking, Frame, Hello, Kind, Opening, count, pack
from exchange.link.gateway_end import RemoteApi
from exchange.link.lane import WINDOW_BYTES
from exchange.link.link import BUFFER_BYTES_MAX, Link, attach
from exchange.rpc.errors import Code, RpcError, busy
from tests.exchange.link.ends import Caller, Late, asker, linked, until
from tests.waiting import WITHIN_S


async def test_a_call_and_its_answer() -> None:
    async with linked() as (gateway, _, script):
        caller = Caller("echo", b"one", b"", b"two", authorization="k", secret="not passed")
        caller.left_s = 2.5
        await gateway.serve(caller)
        assert caller.responses == [b"one", b"", b"two"]
        assert script.seen[0].metadata == {"authorization": "k"}
        assert script.seen[0].left_s == 2.5


async def test_one_request_and_one_response_take_a_frame_each() -> None:
    async with linked() as (gateway, engine, script):
        caller = asker("once", b"one", authorization="k", secret="not passed")
        caller.left_s = 2.5
        before = gateway.sent_bytes, engine.sent_bytes
        await gateway.serve(caller)
        assert caller.responses == [b"one"]
        (seen,) = script.seen
        assert isinstance(seen, AskedCall)
        assert (seen.metadata, seen.left_s) == ({"authorization": "k"}, 2.5)
        asking = pack(Asking("once", {"authorization": "k"}, 2.5, b"one"))
        assert gateway.sent_bytes - before[0] == HEADER.size + len(asking)
        assert engine.sent_bytes - before[1] == HEADER.size + len(b"one")


@pytest.mark.parametrize(
    ("method", "request_bytes", "responses"),
    [
        ("once", (b"",), [b""]),
        ("once", (), [b"none"]),
        ("large", (b"x",), [bytes(8 << 20)]),
    ],
)
async def test_asking(
    method: str, request_bytes: tuple[bytes, ...], responses: list[bytes]
) -> None:
    async with linked() as (gateway, _, _):
        caller = asker(method, *request_bytes)
        await gateway.serve(caller)
        assert caller.responses == responses


@pytest.mark.parametrize(
    ("method", "reason"),
    [
        ("deny", "KEY_UNKNOWN"),
        ("refuse", "NOTHING"),
        ("too_large", "MESSAGE_TOO_LARGE"),
        ("silent", "INTERNAL"),
    ],
)
async def test_asking_in_vain(method: str, reason: str) -> None:
    async with linked() as (gateway, _, _):
        caller = asker(method, b"one")
        with pytest.raises(RpcError) as caught:
            await gateway.serve(caller)
        assert caught.value.reason == reason
        assert not caller.responses


async def test_what_is_taken_is_answered_without_a_task() -> None:
    async with linked() as (gateway, engine, script):
        caller = asker("prompt", b"one")
        await gateway.serve(caller)
        assert caller.responses == [b"one"]
        with pytest.raises(RpcError, match="NOTHING"):
            await gateway.serve(asker("prompt_error", b""))
        later = asker("prompt_later", b"two")
        task = asyncio.create_task(gateway.serve(later))
        await until(lambda: len(script.seen) == 3)
        engine.check()
        script.later()
        script.later()  # The second answer is none.
        await task
        assert later.responses == [b"two"]


async def test_what_is_taken_may_be_answered_when_the_caller_has_gone() -> None:
    async with linked() as (gateway, engine, script):
        task = asyncio.create_task(gateway.serve(asker("prompt_later", b"two")))
        await until(lambda: script.seen)
        task.cancel()
        await until(lambda: script.ended)
        script.later()
        assert not len(engine)
        caller = asker("prompt", b"one")
        await gateway.serve(caller)
        assert caller.responses == [b"one"]


async def test_a_request_that_fits_no_frame_fails_alone() -> None:
    async with linked() as (gateway, _, script):
        with pytest.raises(RpcError, match="MESSAGE_TOO_LARGE"):
            await gateway.serve(asker("once", bytes(8 << 20)))
        await gateway.serve(asker("once", b"one"))
        assert len(script.seen) == 1


@pytest.mark.parametrize("request_bytes", [b"late", None])
async def test_who_sends_late_is_heard_of_before(request_bytes: bytes | None) -> None:
    async with linked() as (gateway, _, script):
        caller = Late("once", request_bytes)
        task = asyncio.create_task(gateway.serve(caller))
        await until(lambda: script.seen)
        assert not task.done()
        caller.sends.set()
        await task
        assert caller.responses == [request_bytes or b"none"]


async def test_who_sends_nothing_is_refused_all_the_same() -> None:
    async with linked() as (gateway, _, _):
        with pytest.raises(RpcError, match="KEY_UNKNOWN"):
            await gateway.serve(Late("deny", b"never"))
        current = asyncio.current_task()
        assert current is not None
        assert not current.cancelling()


async def test_who_has_his_response_need_not_ask() -> None:
    async with linked() as (gateway, _, _):
        caller = Late("large", b"never")
        await gateway.serve(caller)
        assert len(caller.responses) == 1


@pytest.mark.parametrize("late", [False, True])
async def test_an_asker_who_goes_is_told_to_the_engine(late: bool) -> None:
    async with linked() as (gateway, engine, script):
        caller = Late("hang", b"never") if late else asker("hang", b"one")
        task = asyncio.create_task(gateway.serve(caller))
        await until(lambda: len(engine))
        task.cancel()
        await until(lambda: script.cancelled)
        assert task.cancelled()
        assert not len(engine)


async def test_an_engine_that_takes_nothing_more_refuses_late_senders() -> None:
    async with linked() as (gateway, engine, _):
        assert engine._transport is not None
        engine._transport.pause_reading()
        flood = [
            asyncio.create_task(gateway.serve(asker("once", bytes(4 << 20)))) for _ in range(4)
        ]
        await until(lambda: gateway.full)
        for refused in (Late("once", b"never"), asker("once", b"now")):
            with pytest.raises(RpcError, match="OVERLOADED"):
                await gateway.serve(refused)
        engine._transport.resume_reading()
        await asyncio.gather(*flood)


@pytest.mark.parametrize("late", [False, True])
async def test_a_dead_engine_ends_what_was_asked(late: bool) -> None:
    async with linked() as (gateway, engine, script):
        caller = Late("hang", b"never") if late else asker("hang", b"one")
        task = asyncio.create_task(gateway.serve(caller))
        await until(lambda: script.seen)
        engine.close()
        with pytest.raises(RpcError, match="ENGINE_DOWN"):
            await task
        await until(lambda: script.cancelled)


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
        assert WINDOW_BYTES // 2 < gateway.deepest() < 2 * WINDOW_BYTES
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


async def test_a_response_that_waits_for_room_is_still_served() -> None:
    async with linked() as (gateway, engine, script):
        assert gateway._transport is not None
        gateway._transport.pause_reading()
        callers = [asker("large", b"x") for _ in range(3)]
        filling = [asyncio.create_task(gateway.serve(caller)) for caller in callers[:2]]
        await until(lambda: engine.full)
        waiting = asyncio.create_task(gateway.serve(callers[2]))
        await until(lambda: len(script.seen) == len(callers))
        assert script.written == len(filling)
        gateway._transport.resume_reading()
        await asyncio.gather(*filling, waiting)
        assert script.written == len(callers)


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
        [(Kind.ASK, 1, pack(Opening("once", {}, None)))],
        [(Kind.ANSWER, 1, b"")],
        [(Kind.ASK, 1, pack(Asking("hang", {}, None, b""))), (Kind.MESSAGE, 1, b"")],
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
