"""How the engine shares its time between the disk and everyone else.

Time is the test's: a sync takes as long as is said, and nobody else's work is taken for the disk's.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from exchange.core.limits import NS_PER_MS
from exchange.engine import Engine
from exchange.engine import engine as engine_module
from exchange.engine.engine import COLLECT_MAX_NS
from exchange.testing import ManualClock
from tests.exchange.engine.test_engine import MemoryLog, account, config, running


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


class StopWatch:
    """Takes the place of module `time` in the engine; stands still until it is moved."""

    def __init__(self) -> None:
        self.now_ns = 0

    def perf_counter_ns(self) -> int:
        return self.now_ns

    def thread_time_ns(self) -> int:
        return self.now_ns


@pytest.fixture
def watch(monkeypatch: pytest.MonkeyPatch) -> StopWatch:
    made = StopWatch()
    monkeypatch.setattr(engine_module, "time", made)
    return made


class SlowLog(MemoryLog):
    """A log whose sync takes its time."""

    def __init__(self, watch: StopWatch) -> None:
        super().__init__()
        self._watch = watch
        self.sync_ns = 0

    def finish(self) -> None:
        self._watch.now_ns += self.sync_ns
        super().finish()


async def _groups_of_two(
    engine: Engine, log: SlowLog, watch: StopWatch, *, sync_ns: int, apart_ns: int
) -> int:
    """Groups that two commands make which come `apart_ns` apart, after a sync of `sync_ns`."""
    log.sync_ns = sync_ns
    await engine.submit(account("first"))
    log.sync_ns = 0
    before = len(log.groups)
    one = engine.submit(account("second"))
    await _engine_looks()
    watch.now_ns += apart_ns
    await _engine_looks()
    two = engine.submit(account("third"))
    await _engine_looks()
    watch.now_ns += COLLECT_MAX_NS
    await asyncio.gather(one, two)
    return len(log.groups) - before


async def _engine_looks() -> None:
    """Let the engine see what there is: it sleeps for less, so its turn comes before ours."""
    await asyncio.sleep(2 * COLLECT_MAX_NS / 1e9)


async def test_a_slow_sync_makes_larger_groups(
    tmp_path: Path, clock: ManualClock, watch: StopWatch
) -> None:
    log = SlowLog(watch)
    async with running(Engine.open(config(tmp_path), clock, log=log)) as engine:
        for sync_ns, groups in ((0, 2), (3 * NS_PER_MS, 1), (NS_PER_MS // 4, 2)):
            apart_ns = NS_PER_MS // 2
            found = await _groups_of_two(engine, log, watch, sync_ns=sync_ns, apart_ns=apart_ns)
            assert found == groups, f"after a sync of {sync_ns} ns"


async def test_commands_are_not_collected_for_longer_than_the_maximum(
    tmp_path: Path, clock: ManualClock, watch: StopWatch
) -> None:
    log = SlowLog(watch)
    sync_ns = 10 * COLLECT_MAX_NS
    async with running(Engine.open(config(tmp_path), clock, log=log)) as engine:
        for apart_ns, groups in ((COLLECT_MAX_NS - 1, 1), (COLLECT_MAX_NS, 2)):
            found = await _groups_of_two(engine, log, watch, sync_ns=sync_ns, apart_ns=apart_ns)
            assert found == groups


async def test_a_part_of_the_time_is_enough_where_others_read(
    tmp_path: Path, clock: ManualClock, watch: StopWatch
) -> None:
    """`collect_divisor`: what would have shared a group after a whole sync's time does not."""
    for divisor, groups in ((1, 1), (4, 2)):
        log = SlowLog(watch)
        settings = replace(config(tmp_path / str(divisor)), collect_divisor=divisor)
        async with running(Engine.open(settings, clock, log=log)) as engine:
            times = {"sync_ns": 4 * NS_PER_MS, "apart_ns": 2 * NS_PER_MS}
            assert await _groups_of_two(engine, log, watch, **times) == groups
