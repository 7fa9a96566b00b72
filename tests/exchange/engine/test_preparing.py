"""How the engine has the journal's next segment written before it is needed."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from exchange.engine import Engine, EngineStopped, Group
from exchange.engine.ahead import SegmentAhead
from exchange.journal import GroupRecord, JournalWriteFailed, LocalLog, verify_journal
from exchange.journal.simulated import Fault, SimulatedDisk
from exchange.testing import ManualClock
from tests.exchange.engine.test_engine import MemoryLog, account, config, running


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


SMALL_SEGMENT_BYTES = 1 << 20


def simulated_log(disk: SimulatedDisk) -> LocalLog:
    folder = Path("journal")
    return LocalLog(
        folder, rules_version=1, genesis=b"", segment_bytes=SMALL_SEGMENT_BYTES, files=disk
    )


def measure_appends(log: LocalLog, disk: SimulatedDisk) -> list[int]:
    """The bytes that each append writes, from now on."""
    begin, written = log.begin, []

    def counting(group: GroupRecord) -> None:
        before = len(disk.changes)
        begin(group)
        written.append(sum(c.size for c in disk.changes[before:] if c.operation == "pwrite"))

    log.begin = counting  # type: ignore[method-assign]
    return written


def measured_log() -> tuple[SimulatedDisk, LocalLog, list[int]]:
    """A log on a disk of its own, and the bytes that each append will write."""
    disk = SimulatedDisk()
    log = simulated_log(disk)
    return disk, log, measure_appends(log, disk)


def assert_made_ahead(disk: SimulatedDisk, written: list[int]) -> None:
    """The group that rotates has written itself and a header of 4096 bytes, and no zeros."""
    assert len(verify_journal(Path("journal"), files=disk).segments) == 2
    assert max(written) <= sorted(written)[-2] + 4096 + 512


async def fill_segment(engine: Engine, *, idle: bool) -> None:
    """Commit a segment and a half."""
    for n in range(SMALL_SEGMENT_BYTES * 3 // 2 // (40 * 512)):
        futures = [engine.submit(account(f"{'n' * 100}-{n}-{i}")) for i in range(150)]
        await asyncio.gather(*futures)
        if idle:
            await asyncio.sleep(0.001)


async def test_a_segment_is_written_ahead_in_idle_moments(
    tmp_path: Path, clock: ManualClock
) -> None:
    disk, log, written = measured_log()
    async with running(Engine.open(config(tmp_path), clock, log=log)) as engine:
        await engine.submit(account("a"))
        await asyncio.sleep(0.001)
        assert engine.ahead.steps == 0, "less than half of the segment is used"
        await fill_segment(engine, idle=True)
        assert 0 < engine.ahead.steps <= 8
    assert_made_ahead(disk, written)


async def test_without_an_idle_moment_rotation_writes_the_segment_itself(
    tmp_path: Path, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk, log, written = measured_log()
    monkeypatch.setattr(LocalLog, "wants_preparing", False)
    async with running(Engine.open(config(tmp_path), clock, log=log)) as engine:
        await fill_segment(engine, idle=False)
        assert engine.ahead.steps == 0
    assert len(verify_journal(Path("journal"), files=disk).segments) == 2
    assert max(written) > SMALL_SEGMENT_BYTES - 4096


async def test_who_never_idles_writes_the_next_segment_group_by_group(
    tmp_path: Path, clock: ManualClock
) -> None:
    disk, log, written = measured_log()
    async with running(Engine.open(config(tmp_path), clock, log=log)) as engine:
        ended = asyncio.Event()

        def more(_: Group) -> None:
            if len(written) * 40 * 512 < SMALL_SEGMENT_BYTES * 3 // 2:
                number = len(written)
                engine.submit_many([account(f"{'n' * 100}-{number}-{i}") for i in range(150)])
            else:
                ended.set()

        engine.subscribe(more)
        await engine.submit(account("a"))
        await ended.wait()
        assert engine.ahead.steps > 0
    assert_made_ahead(disk, written)


async def test_commands_come_before_the_next_step_of_preparing(
    tmp_path: Path, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[str] = []
    log = MemoryLog()
    monkeypatch.setattr(MemoryLog, "wants_preparing", True)
    async with running(Engine.open(config(tmp_path), clock, log=log)) as engine:

        def prepare() -> bool:
            order.append("step")
            if len(order) == 1:
                engine.submit(account("a"))
            if len(order) == 3:
                monkeypatch.setattr(MemoryLog, "wants_preparing", False)
            return False

        monkeypatch.setattr(log, "prepare", prepare)
        engine.subscribe(lambda _: order.append("group"))
        await asyncio.sleep(0.01)
    assert order == ["step", "group", "step"]


@pytest.mark.parametrize("idle", [True, False])
async def test_a_thread_writes_the_segment_ahead(
    tmp_path: Path, clock: ManualClock, idle: bool
) -> None:
    """The group that rotates waits for a step at most, and finds the segment made."""
    settings = replace(config(tmp_path), segment_bytes=SMALL_SEGMENT_BYTES, prepare_in_thread=True)
    async with running(Engine.open(settings, clock)) as engine:
        await fill_segment(engine, idle=idle)
        assert 0 < engine.ahead.steps <= 8
        assert threading.active_count() > 1
    assert len(verify_journal(settings.directory).segments) == 2
    assert "segment-ahead" not in "".join(thread.name for thread in threading.enumerate())


async def test_a_log_is_closed_only_once_the_step_under_way_is_taken(
    tmp_path: Path, clock: ManualClock
) -> None:
    log, begun, go_on = MemoryLog(), threading.Event(), threading.Event()
    order: list[str] = []

    def prepare() -> bool:
        begun.set()
        go_on.wait(10)
        order.append("step")
        return True

    log.prepare = prepare  # type: ignore[method-assign]
    log.close = lambda: order.append("close")  # type: ignore[method-assign]
    ahead = SegmentAhead(log, in_thread=True)
    ahead._due = lambda busy: True  # type: ignore[method-assign]
    assert ahead.prepare(busy=False, wake=lambda: None) is False
    await asyncio.to_thread(begun.wait, 10)
    assert ahead.prepare(busy=False, wake=lambda: None) is False
    threading.Timer(0.05, go_on.set).start()
    ahead.close()
    log.close()
    assert order == ["step", "close"]


@pytest.mark.parametrize("in_thread", [False, True])
async def test_a_journal_that_cannot_prepare_ends_the_engine(
    tmp_path: Path, clock: ManualClock, in_thread: bool
) -> None:
    disk = SimulatedDisk()
    log = simulated_log(disk)
    engine = Engine.open(replace(config(tmp_path), prepare_in_thread=in_thread), clock, log=log)
    task = asyncio.create_task(engine.run())
    while log.wants_preparing is False:
        await engine.submit_many(
            [account(f"{'n' * 100}-{engine.core.sequence}-{i}") for i in range(500)]
        )
    disk._faults = {len(disk.changes) + n: Fault(error=28) for n in range(4)}
    with pytest.raises(JournalWriteFailed):
        await task
    with pytest.raises(EngineStopped):
        engine.submit(account("late"))
