"""The engine: order, durability before publication, bounds, failure, recovery."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from exchange.core.commands import AccountKind, Advance, Deposit, OpenAccount, Recovered
from exchange.core.events import AccountOpened, EpochBegan, TimeAdvanced
from exchange.core.exchange import Exchange
from exchange.core.limits import RULES_VERSION
from exchange.core.reasons import Reason
from exchange.core.records import RecordError
from exchange.engine import (
    GROUP_COMMANDS_MAX,
    PENDING_BYTES_MAX,
    PENDING_COMMANDS_MAX,
    Engine,
    EngineBusy,
    EngineConfig,
    EngineStopped,
    Group,
    Outcomes,
    opening,
)
from exchange.engine import engine as engine_module
from exchange.engine.types import GROUP_BYTES_MAX
from exchange.journal import (
    GroupRecord,
    JournalLocked,
    JournalNotReplayed,
    JournalWriteFailed,
    LocalLog,
    LogStore,
    verify_journal,
)
from exchange.journal.files import OsFileSystem
from exchange.journal.writers import WriteMode
from exchange.recovery import cut_last_group, last_group
from exchange.testing import ManualClock, uuid7


def config(tmp_path: Path) -> EngineConfig:
    return EngineConfig(tmp_path / "journal", segment_bytes=16 << 20)


@asynccontextmanager
async def running(engine: Engine) -> AsyncIterator[Engine]:
    task = asyncio.create_task(engine.run())
    try:
        yield engine
    finally:
        await engine.stop()
        await asyncio.gather(task, return_exceptions=True)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


def account(name: str) -> OpenAccount:
    return OpenAccount(AccountKind.REAL, name)


class MemoryLog(LogStore):
    """A log that fails when told to."""

    def __init__(self) -> None:
        self.groups: list[GroupRecord] = []
        self.begun: GroupRecord | None = None
        self.failing = False

    @property
    def next_sequence(self) -> int:
        return self.groups[-1].next_sequence if self.groups else 1

    @property
    def epoch(self) -> int:
        return self.groups[-1].epoch if self.groups else 0

    @property
    def chain_hash(self) -> bytes:
        return bytes(32)

    def append(self, group: GroupRecord) -> None:
        self.begin(group)
        self.finish()

    def begin(self, group: GroupRecord) -> None:
        assert self.begun is None
        assert group.first_sequence == self.next_sequence
        self.begun = group

    def finish(self) -> None:
        if self.failing:
            raise JournalWriteFailed(Path("journal"), 0, "no space left")
        assert self.begun is not None
        self.groups.append(self.begun)
        self.begun = None

    def take_back(self) -> None:
        assert self.begun is not None
        self.begun = None

    def read_from(self, sequence: int) -> Iterator[GroupRecord]:
        return iter(self.groups)

    @property
    def wants_preparing(self) -> bool:
        return False

    @property
    def must_prepare(self) -> bool:
        return False

    def prepare(self) -> bool:
        raise AssertionError("nothing is to be prepared")

    def close(self) -> None:
        pass


async def test_a_command_is_stamped_numbered_and_answered(
    tmp_path: Path, clock: ManualClock
) -> None:
    async with running(Engine.open(config(tmp_path), clock)) as engine:
        outcome = await engine.submit(account("alice"))
        assert isinstance(outcome.first, AccountOpened)
        assert outcome.sequence == 2  # the Advance is 1
        assert outcome.now_ns == clock.now_ns() == engine.core.now_ns
        again = await engine.submit(account("alice"))
        assert again.refused is Reason.NAME_TAKEN


async def test_the_feed_sees_a_group_before_its_submitter_and_after_the_log(
    clock: ManualClock, tmp_path: Path
) -> None:
    log = MemoryLog()
    seen: list[str] = []
    async with running(Engine.open(config(tmp_path), clock, log=log)) as engine:

        def on_group(group: Group) -> None:
            assert log.next_sequence == group.last_sequence + 1
            assert isinstance(group.commands[0], Advance)
            seen.append("feed")

        engine.subscribe(on_group)
        engine.submit_with([account("bob")], lambda result: seen.append("callback"))
        await engine.submit(account("alice"))
        seen.append("future")
    assert seen == ["callback", "feed", "future"]


async def test_neighbours_stay_neighbours(tmp_path: Path, clock: ManualClock) -> None:
    async with running(Engine.open(config(tmp_path), clock)) as engine:
        first = engine.submit_many([account(f"a{i}") for i in range(5)])
        second = engine.submit_many([account(f"b{i}") for i in range(5)])
        sequences = [[o.sequence for o in await future] for future in (first, second)]
    assert sequences == [[2, 3, 4, 5, 6], [7, 8, 9, 10, 11]]
    assert engine.stats.groups == 1


async def test_the_journal_replays_to_the_same_state_in_a_new_epoch(
    tmp_path: Path, clock: ManualClock
) -> None:
    async with running(Engine.open(config(tmp_path), clock)) as engine:
        await engine.submit_many([account(f"a{i}") for i in range(50)])
        await engine.submit(Deposit(3, uuid7(clock.now_ns()), 1_000))
        digest, records = engine.core.digest(), engine.core.sequence
    clock.advance(5_000)
    replayed: list[Group] = []
    digests: list[bytes] = []
    engine = Engine.open(config(tmp_path), clock, replayed.append)
    assert engine.recovered.records == records
    assert engine.recovered.outage_ns == 5_000
    assert engine.core.epoch == 2
    assert isinstance(replayed[-1].commands[0], Recovered)
    assert isinstance(replayed[-1].outcomes[0].first, EpochBegan)
    twin = Exchange()
    for group in replayed[:-1]:
        twin.apply(group.commands)
        digests.append(twin.digest())
    assert digests[-1] == digest
    assert [group.first_sequence for group in replayed] == [1, 52, 54]
    async with running(engine):
        assert (await engine.submit(account("late"))).sequence == records + 3


async def test_one_engine_per_journal(tmp_path: Path, clock: ManualClock) -> None:
    async with running(Engine.open(config(tmp_path), clock)):
        with pytest.raises(JournalLocked):
            Engine.open(config(tmp_path), clock)
    async with running(Engine.open(config(tmp_path), clock)) as engine:
        assert engine.recovered.records == 0  # nothing was ever sequenced
        assert engine.core.epoch == 1


async def test_too_many_waiting_commands_are_refused(tmp_path: Path, clock: ManualClock) -> None:
    async with running(Engine.open(config(tmp_path), clock, log=MemoryLog())) as engine:
        batch = [Advance(0)] * GROUP_COMMANDS_MAX
        futures = [
            engine.submit_many(batch) for _ in range(PENDING_COMMANDS_MAX // GROUP_COMMANDS_MAX)
        ]
        assert engine.pending == PENDING_COMMANDS_MAX
        with pytest.raises(EngineBusy):
            engine.submit(account("one too many"))
        assert [len(outcomes) for outcomes in await asyncio.gather(*futures)] == [4_096] * 16
        assert (await engine.submit(account("alice"))).refused is None
        # Each group held one submission: a second one would have passed GROUP_COMMANDS_MAX.
        assert engine.stats.groups == 17


async def test_too_many_waiting_bytes_are_refused(tmp_path: Path, clock: ManualClock) -> None:
    async with running(Engine.open(config(tmp_path), clock, log=MemoryLog())) as engine:
        large = [account("x" * 500_000)] * 8  # refused by the core, but carried as any other
        waiting = [engine.submit_many(large) for _ in range(PENDING_BYTES_MAX // 4_000_000)]
        with pytest.raises(EngineBusy):
            engine.submit_many(large)
        outcomes = await asyncio.gather(*waiting)
        assert {o.refused for batch in outcomes for o in batch} == {Reason.FIELD_INVALID}


@pytest.mark.parametrize("count", [0, GROUP_COMMANDS_MAX + 1])
async def test_a_batch_has_a_size(tmp_path: Path, clock: ManualClock, count: int) -> None:
    async with running(Engine.open(config(tmp_path), clock)) as engine:
        with pytest.raises(ValueError, match="a batch holds"):
            engine.submit_many([account("a")] * count)


async def test_a_batch_has_a_size_in_bytes(tmp_path: Path, clock: ManualClock) -> None:
    async with running(Engine.open(config(tmp_path), clock)) as engine:
        count = GROUP_BYTES_MAX // 1_000_000 + 1
        with pytest.raises(ValueError, match="a batch holds"):
            engine.submit_many([account("a" * 1_000_000)] * count)


async def test_a_value_that_fits_no_field_harms_nobody_else(
    tmp_path: Path, clock: ManualClock
) -> None:
    async with running(Engine.open(config(tmp_path), clock)) as engine:
        good = engine.submit(account("alice"))
        with pytest.raises(RecordError):
            engine.submit(Deposit(3, bytes(16), 1 << 63))
        assert (await good).refused is None


async def test_a_failed_write_stops_everything_before_anything_is_published(
    tmp_path: Path, clock: ManualClock
) -> None:
    log = MemoryLog()
    engine = Engine.open(config(tmp_path), clock, log=log)
    groups: list[Group] = []
    results: list[Outcomes | EngineStopped] = []
    engine.subscribe(groups.append)
    task = asyncio.create_task(engine.run())
    await engine.submit(account("alice"))
    log.failing = True
    lost = engine.submit(account("bob"))
    engine.submit_with([account("carol")], results.append)
    with pytest.raises(EngineStopped):
        await lost
    with pytest.raises(JournalWriteFailed):
        await task
    assert isinstance(results[0], EngineStopped)
    assert len(groups) == 1
    assert not engine.running
    with pytest.raises(EngineStopped):
        engine.submit(account("dave"))


class Changed:
    """A core with other methods in place of its own; a compiled one takes none itself."""

    def __init__(self, core: Exchange, **methods: Callable[..., Any]) -> None:
        self._core = core
        self.__dict__.update(methods)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._core, name)


def broken(*_: object) -> None:
    raise AssertionError("money appeared")


async def test_a_broken_invariant_stops_the_engine(
    tmp_path: Path, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = MemoryLog()
    engine = Engine.open(config(tmp_path), clock, log=log)
    task = asyncio.create_task(engine.run())

    monkeypatch.setattr(engine.replica, "core", Changed(engine.core, apply_records=broken))
    with pytest.raises(EngineStopped):
        await engine.submit(account("alice"))
    with pytest.raises(AssertionError, match="money appeared"):
        await task
    assert log.groups == []


async def test_time_never_falls(tmp_path: Path, clock: ManualClock) -> None:
    async with running(Engine.open(config(tmp_path), clock)) as engine:
        first = await engine.submit(account("a"))
        clock.advance(-1_000_000)
        second = await engine.submit(account("b"))
        assert second.now_ns == first.now_ns


SECOND_NS = 1_000_000_000


async def test_time_goes_on_where_the_clock_was_set_back(
    tmp_path: Path, clock: ManualClock
) -> None:
    async with running(Engine.open(config(tmp_path), clock)) as engine:
        first = await engine.submit(account("a"))
        clock.advance(-3_600 * SECOND_NS)
        assert engine.now_ns() == first.now_ns
        clock.advance(4 * SECOND_NS)
        second = await engine.submit(account("b"))
        assert second.now_ns == first.now_ns + 3 * SECOND_NS
        clock.advance(5 * 3_600 * SECOND_NS)
        assert engine.now_ns() == clock.now_ns(), "both agree again"


async def test_time_goes_on_where_the_clock_lies_behind_the_journal(
    tmp_path: Path, clock: ManualClock
) -> None:
    async with running(Engine.open(config(tmp_path), clock)) as engine:
        await engine.submit(account("a"))
        last_ns = engine.core.now_ns
    clock.advance(-3_600 * SECOND_NS)
    async with running(Engine.open(config(tmp_path), clock)) as engine:
        clock.advance(4 * SECOND_NS)
        assert (await engine.submit(account("b"))).now_ns == last_ns + 3 * SECOND_NS


async def test_a_due_timer_makes_a_group_of_its_own(
    tmp_path: Path, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(Engine.open(config(tmp_path), clock)) as engine:
        await engine.submit(account("a"))
        due_ns = clock.now_ns() + 1_000
        groups: asyncio.Queue[Group] = asyncio.Queue()
        core = engine.core

        def next_timer_ns() -> int | None:
            return due_ns if core.now_ns < due_ns else None

        monkeypatch.setattr(engine, "core", Changed(core, next_timer_ns=next_timer_ns))
        engine.subscribe(groups.put_nowait)
        engine.wake()
        await asyncio.sleep(0.01)
        assert groups.empty()
        clock.advance(1_000)
        engine.wake()
        group = await groups.get()
        assert [type(outcome.first) for outcome in group.outcomes] == [TimeAdvanced]
        assert group.now_ns == due_ns


async def test_a_reader_that_fails_is_counted_and_the_others_go_on(
    tmp_path: Path, clock: ManualClock
) -> None:
    async with running(Engine.open(config(tmp_path), clock)) as engine:
        groups: list[Group] = []

        def fail(group: Group) -> None:
            raise RuntimeError("a reader's bug")

        engine.subscribe(fail)
        engine.subscribe(groups.append)
        await engine.submit(account("a"))
        assert len(groups) == engine.stats.subscriber_errors == 1


async def test_who_does_not_wait_harms_nobody(tmp_path: Path, clock: ManualClock) -> None:
    async with running(Engine.open(config(tmp_path), clock)) as engine:
        engine.submit(account("a")).cancel()
        engine.submit_many([account("b")]).cancel()
        assert (await engine.submit(account("c"))).sequence == 4
        assert {"a", "b", "c"} <= set(engine.core.account_by_name)


async def test_stopping_commits_what_waits(tmp_path: Path, clock: ManualClock) -> None:
    engine = Engine.open(config(tmp_path), clock)
    task = asyncio.create_task(engine.run())
    future = engine.submit(account("a"))
    await engine.stop()
    await task
    assert (await future).refused is None
    with pytest.raises(EngineStopped):
        engine.submit(account("b"))
    async with running(Engine.open(config(tmp_path), clock)) as engine:
        assert "a" in engine.core.account_by_name


@pytest.mark.parametrize("mode", list(WriteMode))
async def test_a_group_that_cannot_be_applied_is_not_what_a_start_replays(
    tmp_path: Path, clock: ManualClock, monkeypatch: pytest.MonkeyPatch, mode: WriteMode
) -> None:
    """The disk may have it before the core has failed."""
    log = LocalLog(
        tmp_path / "journal",
        rules_version=RULES_VERSION,
        genesis=config(tmp_path).genesis,
        files=OsFileSystem(mode),
    )
    engine = Engine.open(config(tmp_path), clock, log=log)
    task = asyncio.create_task(engine.run())
    await engine.submit(account("alice"))
    durable = engine.core.sequence

    def broken(*_: object) -> None:
        raise ZeroDivisionError("an invariant")

    monkeypatch.setattr(engine_module, "apply", broken)
    with pytest.raises(EngineStopped, match="may or may not"):
        await engine.submit(account("bob"))
    with pytest.raises(ZeroDivisionError):
        await task
    monkeypatch.undo()
    assert verify_journal(tmp_path / "journal").torn_tail is None
    async with running(Engine.open(config(tmp_path), clock)) as engine:
        assert engine.recovered.records == durable
        await engine.submit(account("bob"))


async def test_a_group_that_no_core_gets_past_is_named_and_can_be_given_up(
    tmp_path: Path, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As if the process had died while it applied the group: nobody took it back."""
    settings = config(tmp_path)
    engine = Engine.open(settings, clock)
    task = asyncio.create_task(engine.run())
    await engine.submit(account("alice"))
    durable = engine.core.sequence

    def broken(*_: object) -> None:
        raise ZeroDivisionError("an invariant")

    with monkeypatch.context() as dying:
        dying.setattr(engine_module, "apply", broken)
        dying.setattr(LocalLog, "take_back", LocalLog.finish)
        with pytest.raises(EngineStopped):
            await engine.submit(account("bob"))
        with pytest.raises(ZeroDivisionError):
            await task
    with monkeypatch.context() as starting:
        starting.setattr(opening, "apply", broken)
        with pytest.raises(JournalNotReplayed, match=r"an invariant.*flopex journal cut"):
            Engine.open(settings, clock)
    where = settings.directory, tmp_path / "snapshots", settings.genesis
    gone = cut_last_group(*where, last_group(*where).group)
    assert gone.group.first_sequence == durable + 1
    async with running(Engine.open(settings, clock)) as engine:
        assert engine.recovered.torn_tail is None
        assert set(engine.core.account_by_name) >= {"alice"}
        assert "bob" not in engine.core.account_by_name
        await engine.submit(account("bob"))
