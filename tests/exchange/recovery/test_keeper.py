"""The follower's process beside a live engine: when it starts, and how an alarm is told."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

import pytest

from exchange.core.commands import Advance, Deposit, OpenAccount
from exchange.engine import Engine, EngineConfig
from exchange.journal import SnapshotStore
from exchange.recovery import DigestFile, Published, SnapshotConfig, SnapshotKeeper, keeper
from exchange.recovery import __main__ as process
from exchange.recovery.follower import SNAPSHOTS_KEPT_MIN
from exchange.recovery.keeper import (
    LIVE_DIGEST_SIZE_MAX,
    SNAPSHOT_PERIOD_MIN_S,
    SNAPSHOT_RECORDS_MIN,
    live_digests,
)
from exchange.testing.clock import ManualClock
from tests.exchange.core.scenario import T0, uuid7
from tests.waiting import WITHIN_S

RECORDS = SNAPSHOT_RECORDS_MIN


class Live:
    """An engine with a keeper beside it."""

    def __init__(self, folder: Path, config: SnapshotConfig) -> None:
        self.config = EngineConfig(
            folder / "journal", segment_bytes=1 << 20, snapshots=folder / "snapshots"
        )
        assert self.config.snapshots is not None
        self.engine = Engine.open(self.config, ManualClock(T0))
        self.keeper = SnapshotKeeper(
            self.config.directory,
            self.config.snapshots,
            self.config.genesis,
            config,
            self.engine.replica,
        )
        self.engine.subscribe(self.keeper.on_group)
        self.task = asyncio.create_task(self.engine.run())
        self.deposits = 0

    async def commit(self, commands: int) -> None:
        """Some deposits in one group, and the group's Advance."""
        if not self.engine.core.sequence:
            await self.engine.submit(OpenAccount(1, "ann"))
        group = []
        for _ in range(commands):
            self.deposits += 1
            group.append(Deposit(3, uuid7(self.deposits), 5))
        await self.engine.submit_many(group)

    async def followed(self) -> None:
        """Wait for the follower to end."""
        async with asyncio.timeout(WITHIN_S):
            await self.keeper.followed()

    def following(self) -> bool:
        """Whether a follower is at work."""
        return self.keeper.running

    async def close(self, *, publish: bool = True) -> None:
        await self.engine.stop()
        await self.task
        await self.keeper.stop(publish=publish)


async def test_a_snapshot_every_so_many_records(tmp_path: Path) -> None:
    live = Live(tmp_path, SnapshotConfig(records=RECORDS))
    await live.commit(RECORDS - 100)
    assert not live.following()
    await live.commit(200)
    assert live.following()
    sequence, digest = live.engine.core.sequence, live.engine.core.digest()
    await live.commit(50)  # the engine goes on meanwhile
    await live.followed()
    stats = live.keeper.stats
    assert (stats.taken, stats.failed, stats.differs, stats.sequence) == (1, 0, 0, sequence)
    store = SnapshotStore(tmp_path / "snapshots")
    (path,) = store.paths()
    head = store.read(path).head
    assert (head.sequence, head.digest) == (sequence, digest)
    await live.close()
    again = Engine.open(live.config, ManualClock(T0))
    assert again.recovered.snapshot == path
    assert again.recovered.differs == ""
    again._log.close()


async def test_by_time_while_commands_come_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now_s = 1.0
    monkeypatch.setattr(keeper, "_now_s", lambda: now_s)
    live = Live(tmp_path, SnapshotConfig(period_s=SNAPSHOT_PERIOD_MIN_S))
    await live.commit(1)
    assert not live.following()
    now_s += SNAPSHOT_PERIOD_MIN_S
    await live.commit(1)
    assert live.following()
    await live.followed()
    assert live.keeper.stats.taken == 1
    live.keeper.start()  # nothing is newer
    await live.followed()
    stats = live.keeper.stats
    assert (stats.taken, stats.failed, stats.sequence) == (1, 0, live.engine.core.sequence)
    await live.close()


async def test_an_engine_that_differs_from_its_journal_raises_an_alarm(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    live = Live(tmp_path, SnapshotConfig())
    await live.commit(10)
    live.engine.core.ledger._balances[3].posted += 1  # a flipped bit in memory
    live.keeper.start()
    await live.followed()
    stats = live.keeper.stats
    assert (stats.taken, stats.failed, stats.differs) == (0, 1, 1)
    assert SnapshotStore(tmp_path / "snapshots").paths() == []
    assert "differs from the live engine" in capsys.readouterr().out
    await live.close()
    again = Engine.open(live.config, ManualClock(T0))
    assert "did not do the same" in again.recovered.differs
    again._log.close()


async def test_a_follower_that_fails_is_counted(tmp_path: Path) -> None:
    live = Live(tmp_path, SnapshotConfig())
    await live.commit(10)
    held = SnapshotStore(tmp_path / "snapshots").lock()
    live.keeper.start()
    live.keeper.start()  # one at a time
    await live.followed()
    held.close()
    assert (live.keeper.stats.failed, live.keeper.stats.differs) == (1, 0)
    await live.close()


async def test_one_that_is_starved_is_begun_again_and_the_next_does_not_give_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """GIVES_WAY_MAX_S, STARVED_SHARE: then a follower takes its part of the processors."""
    gave_way = []
    start = asyncio.create_subprocess_exec

    async def watched(*command: str, **settings: Any) -> asyncio.subprocess.Process:
        gave_way.append("--gives-way" in command)
        return await start(*command, **settings)

    monkeypatch.setattr(asyncio, "create_subprocess_exec", watched)
    live = Live(tmp_path, SnapshotConfig())

    async def take() -> tuple[int, int, int]:
        await live.commit(10)
        live.keeper.start()
        await live.followed()
        stats = live.keeper.stats
        assert stats.sequence == live.engine.core.sequence
        return stats.taken, stats.late, stats.failed

    monkeypatch.setattr(keeper, "GIVES_WAY_MAX_S", 0.01)
    monkeypatch.setattr(keeper, "STARVED_SHARE", -1.0)  # however little it gets
    assert await take() == (1, 0, 0)
    monkeypatch.setattr(keeper, "STARVED_SHARE", 1_000.0)  # however much
    assert await take() == (2, 1, 0)
    assert await take() == (3, 1, 0)
    monkeypatch.setattr(keeper, "STARVED_SHARE", -1.0)
    assert await take() == (4, 1, 0)
    expected = [True, True, False, False, True]
    assert gave_way == (expected if hasattr(os, "SCHED_IDLE") else [False] * 4)
    await live.close()


def test_the_process_gives_way_where_it_is_told_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[bool] = []
    monkeypatch.setattr(process, "give_way", lambda: told.append(True))
    where = [str(tmp_path), str(tmp_path), "--genesis", "00", "--niceness", "0"]
    assert process.main(where) == process.main([*where, "--gives-way"]) == 1, "there is no journal"
    assert told == [True]


async def test_stopping_ends_a_follower_and_leaves_no_half_snapshot(tmp_path: Path) -> None:
    live = Live(tmp_path, SnapshotConfig())
    await live.commit(500)
    live.keeper.start()
    await asyncio.sleep(0.05)
    await live.close(publish=False)
    assert not live.following()
    # On a busy machine it may have ended before, with a whole one.
    store = SnapshotStore(tmp_path / "snapshots")
    for path in store.paths():
        assert store.read(path).head.sequence == live.engine.core.sequence
    for line in DigestFile(tmp_path / "snapshots").read():
        assert line.sequence == live.engine.core.sequence


async def test_a_large_state_is_not_digested_between_groups(tmp_path: Path) -> None:
    live = Live(tmp_path, SnapshotConfig(records=0))
    await live.commit(10)
    assert live_digests(live.engine.replica, LIVE_DIGEST_SIZE_MAX).state is not None
    await live.commit(LIVE_DIGEST_SIZE_MAX)
    line = live_digests(live.engine.replica, LIVE_DIGEST_SIZE_MAX)
    assert line == Published(live.engine.core.sequence, live.engine.replica.outcomes, None)
    live.engine.core.apply([Advance(T0)])
    assert not live.following(), "0 records are never due"
    await live.close(publish=False)


def test_bounds() -> None:
    with pytest.raises(ValueError, match="below"):
        SnapshotConfig(records=SNAPSHOT_RECORDS_MIN - 1)
    with pytest.raises(ValueError, match="below"):
        SnapshotConfig(period_s=SNAPSHOT_PERIOD_MIN_S / 2)
    with pytest.raises(ValueError, match="below"):
        SnapshotConfig(keep=SNAPSHOTS_KEPT_MIN - 1)
