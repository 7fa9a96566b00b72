from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from exchange.engine.fine_timer import FineTimer
from exchange.testing.virtual import VirtualLoop

SHORT_NS = 100_000


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.fixture
async def timer() -> AsyncIterator[FineTimer]:
    opened = FineTimer.open(asyncio.get_running_loop())
    assert opened is not None
    yield opened
    opened.close()


async def test_it_keeps_to_less_than_the_loops_own_unit(timer: FineTimer) -> None:
    """On a busy machine many of them end late, but not all."""
    took_ns = []
    for _ in range(50):
        began_ns = time.perf_counter_ns()
        await timer.sleep(SHORT_NS)
        took_ns.append(time.perf_counter_ns() - began_ns)
    assert min(took_ns) >= SHORT_NS
    assert min(took_ns) < 1_000_000


async def test_a_long_time_passes_whole(timer: FineTimer) -> None:
    began_ns = time.perf_counter_ns()
    await timer.sleep(1_050_000_000)
    assert time.perf_counter_ns() - began_ns >= 1_050_000_000


async def test_one_that_was_given_up_does_not_end_the_next(timer: FineTimer) -> None:
    """Also where it has run out already, and the loop is about to say so."""
    for hung_ns in (0, 2 * SHORT_NS):
        sleeping = asyncio.create_task(timer.sleep(SHORT_NS))
        await asyncio.sleep(0)
        time.sleep(hung_ns / 1e9)  # noqa: ASYNC251 - the loop must not see it run out
        sleeping.cancel()
        began_ns = time.perf_counter_ns()
        await timer.sleep(20 * SHORT_NS)
        assert time.perf_counter_ns() - began_ns >= 20 * SHORT_NS


async def test_it_gives_its_file_back() -> None:
    before = open_files()
    timer = FineTimer.open(asyncio.get_running_loop())
    assert timer is not None
    assert open_files() == before + 1
    timer.close()
    timer.close()
    assert open_files() == before


def test_virtual_time_has_none() -> None:
    """The engine then yields, which takes virtual time."""
    loop = VirtualLoop(seed=1)
    before = open_files()
    assert FineTimer.open(loop) is None
    assert open_files() == before
    loop.close()
