"""How the engine shares its time between the disk and everyone else."""

from __future__ import annotations

import asyncio
import itertools
import time
from dataclasses import replace
from pathlib import Path

import pytest

from exchange.engine import Engine
from exchange.engine.engine import COLLECT_MAX_NS
from exchange.journal import GroupRecord
from exchange.testing import ManualClock
from tests.exchange.engine.test_engine import MemoryLog, account, config, running


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


class SlowLog(MemoryLog):
    """A log whose sync takes its time."""

    sync_s = 0.0

    def append(self, group: GroupRecord) -> None:
        time.sleep(self.sync_s)
        super().append(group)


async def _two_apart(engine: Engine, log: SlowLog, sync_s: float, apart_s: float) -> int:
    """Groups that two commands make which come `apart_s` apart, after a sync of `sync_s`."""
    log.sync_s = sync_s
    await engine.submit(account(f"first {sync_s} {apart_s}"))
    log.sync_s = 0.0
    before = len(log.groups)
    one = engine.submit(account(f"second {sync_s} {apart_s}"))
    until = time.perf_counter() + apart_s
    async with asyncio.timeout(10 * apart_s + 1):
        for _ in itertools.takewhile(lambda _: time.perf_counter() < until, itertools.count()):
            await asyncio.sleep(0)
        for _ in range(3):  # what fell due while a busy machine ran others gets its turn
            await asyncio.sleep(0)
    two = engine.submit(account(f"third {sync_s} {apart_s}"))
    await asyncio.gather(one, two)
    return len(log.groups) - before


async def test_a_slow_sync_makes_larger_groups(tmp_path: Path, clock: ManualClock) -> None:
    log = SlowLog()
    async with running(Engine.open(config(tmp_path), clock, log=log)) as engine:
        quick = [await _two_apart(engine, log, 0.0, 0.0005 + i * 1e-6) for i in range(20)]
        slow = [await _two_apart(engine, log, 0.003, 0.0005 + i * 1e-6) for i in range(20)]
    assert max(quick) == 2, "after a quick sync nothing is held back"
    assert min(slow) == 1, "what comes soon after a slow sync shares a group"
    assert sum(slow) < sum(quick)


async def test_commands_are_not_collected_for_longer_than_the_maximum(
    tmp_path: Path, clock: ManualClock
) -> None:
    log = SlowLog()
    apart_s = 3 * COLLECT_MAX_NS / 1e9
    async with running(Engine.open(config(tmp_path), clock, log=log)) as engine:
        assert await _two_apart(engine, log, 10 * COLLECT_MAX_NS / 1e9, apart_s) == 2


async def test_a_part_of_the_time_is_enough_where_others_read(
    tmp_path: Path, clock: ManualClock
) -> None:
    """`collect_divisor`: what would have shared a group after a whole sync's time does not."""
    made = {}
    for divisor in (1, 4):
        log = SlowLog()
        settings = replace(config(tmp_path / str(divisor)), collect_divisor=divisor)
        async with running(Engine.open(settings, clock, log=log)) as engine:
            made[divisor] = [
                await _two_apart(engine, log, 0.004, 0.002 + i * 1e-6) for i in range(10)
            ]
    # Of ten tries each, as a busy machine makes some of the syncs longer.
    assert sum(made[1]) < sum(made[4])
