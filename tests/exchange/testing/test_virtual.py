"""Time jumps, processes die whole, and nothing is left to the machine."""

from __future__ import annotations

import asyncio
import random
import secrets
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from exchange.testing.clock import START_NS
from exchange.testing.virtual import JUMP_S_MAX, TIMERS_KEPT, StandsStill, VirtualLoop

HOUR_S = 3_600


@pytest.fixture
def loop() -> Iterator[VirtualLoop]:
    made = VirtualLoop(seed=1)
    with made.installed():
        yield made
        made.close()


def test_an_hour_takes_no_time(loop: VirtualLoop) -> None:
    began = time.process_time()
    loop.run_until_complete(asyncio.sleep(HOUR_S))
    assert HOUR_S <= loop.time() < HOUR_S + 1
    assert time.monotonic() == time.perf_counter() == loop.time()
    assert time.time_ns() == START_NS + loop.now_ns
    assert time.process_time() - began < 5


def test_code_that_polls_gets_somewhere(loop: VirtualLoop) -> None:
    async def poll() -> None:
        give_up = time.perf_counter_ns() + 1_000_000
        while time.perf_counter_ns() < give_up:  # noqa: ASYNC110 - as the engine does
            await asyncio.sleep(0)

    loop.run_until_complete(poll())
    assert loop.now_ns >= 1_000_000


def test_waiting_for_what_never_comes_is_said(loop: VirtualLoop) -> None:
    async def wait() -> None:
        await loop.create_future()

    with pytest.raises(StandsStill):
        loop.run_until_complete(wait())


def test_a_turn_jumps_no_further_than_a_day(loop: VirtualLoop) -> None:
    fired: list[float] = []
    loop.call_later(2.5 * JUMP_S_MAX, lambda: fired.append(loop.time()))
    for days in (1, 2, 2.5):
        assert not fired
        loop._run_once()
        assert days * JUMP_S_MAX <= loop.time() < days * JUMP_S_MAX + 1
    assert fired == [loop.time()]


@pytest.mark.parametrize("more", [0, 1])
def test_cancelled_timers_are_kept_while_they_are_few(loop: VirtualLoop, more: int) -> None:
    """Those that come first are taken out anyway, so one that is not cancelled goes before."""
    loop.call_later(HOUR_S, str)
    for timer in [loop.call_later(2 * HOUR_S, str) for _ in range(TIMERS_KEPT - 1 + more)]:
        timer.cancel()
    loop.call_soon(str)
    loop._run_once()
    left = 1 if more else TIMERS_KEPT
    assert (len(loop._timers), loop._cancelled) == (left, left - 1)


def test_cancelled_timers_are_counted_until_they_are_out(loop: VirtualLoop) -> None:
    fired: list[str] = []

    def first() -> None:
        fired.append("first")
        beside.cancel()  # it is due and out already

    loop.call_at(1, first)
    loop.call_at(1, fired.append, "cancelled").cancel()
    beside = loop.call_at(1, fired.append, "beside")
    loop.call_at(2, fired.append, "later").cancel()
    loop.call_at(3, fired.append, "last")
    loop._run_once()
    assert (len(loop._timers), loop._cancelled) == (2, 1)
    loop._run_once()
    assert fired == ["first", "last"]
    assert (len(loop._timers), loop._cancelled) == (0, 0)


def test_a_killed_process_does_nothing_more(loop: VirtualLoop) -> None:
    said: list[str] = []
    process = loop.process("victim")

    async def child() -> None:
        try:
            await asyncio.sleep(2)
            said.append("child")
        finally:
            said.append("finally")

    async def victim() -> None:
        asyncio.get_running_loop().call_later(2, said.append, "timer")
        asyncio.create_task(child()).add_done_callback(lambda _: said.append("callback"))
        said.append("began")
        await asyncio.sleep(2)
        said.append("ended")

    async def play() -> None:
        process.on_kill.append(lambda: said.append("heard"))
        process.spawn(victim())
        await asyncio.sleep(1)
        process.kill()
        process.kill()
        process.call_at(loop.time() + 1, said.append, "late")
        await asyncio.sleep(9)

    loop.run_until_complete(play())
    assert said == ["began", "heard"]


def test_clocks_may_be_wrong_and_drift(loop: VirtualLoop) -> None:
    right, wrong = loop.process("right"), loop.process("wrong")
    wrong.clock_ahead_ns, wrong.clock_drift_ppm = -5_000_000_000, 1_000

    async def look() -> int:
        return time.time_ns()

    async def play() -> tuple[int, int]:
        await asyncio.sleep(1_000)
        return await asyncio.gather(right.spawn(look()), wrong.spawn(look()))

    one, other = loop.run_until_complete(play())
    assert -4_001_000_000 < other - one < -3_999_000_000  # 5 s behind, 1 s of drift


def test_a_threads_work_is_done_at_once_and_told_later(loop: VirtualLoop) -> None:
    done: list[float] = []

    async def play() -> float:
        await asyncio.to_thread(lambda: done.append(loop.time()))
        with pytest.raises(ZeroDivisionError):
            await asyncio.to_thread(lambda: 1 // 0)
        return loop.time()

    assert loop.run_until_complete(play()) > done[0]


async def _draw() -> list[object]:
    return [random.random(), secrets.token_bytes(8), random.choice("abcdef"), secrets.randbits(60)]


def _drawn(seed: int, *names: str) -> list[list[object]]:
    loop = VirtualLoop(seed)
    with loop.installed():
        drawn = [loop.run_until_complete(loop.process(name).spawn(_draw())) for name in names]
        loop.close()
    return drawn


def test_chance_follows_the_seed_and_the_process() -> None:
    assert _drawn(7, "a", "b") == _drawn(7, "a", "b") == list(reversed(_drawn(7, "b", "a")))
    assert len({str(d) for d in (*_drawn(7, "a", "b"), *_drawn(8, "a", "b"))}) == 4


def test_the_machine_is_itself_again_afterwards() -> None:
    def look() -> tuple[Callable[..., Any], ...]:
        return (time.time_ns, time.monotonic, random.random, random._urandom)  # type: ignore[attr-defined]

    before = look()
    loop = VirtualLoop()
    with loop.installed():
        assert not set(look()) & set(before)
        loop.close()
    assert look() == before
