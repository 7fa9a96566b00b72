"""A device that fails, a machine that stops, and what is found afterwards."""

from __future__ import annotations

import errno
from collections import Counter
from collections.abc import Callable
from random import Random

import pytest

from exchange.journal import (
    GroupRecord,
    JournalPoisoned,
    JournalReadFailed,
    JournalWriteFailed,
    LocalLog,
    verify_journal,
)
from exchange.journal.format import SECTOR_BYTES
from exchange.journal.simulated import Fault, SimulatedCrash, SimulatedDisk
from exchange.journal.writers import WriteMode
from tests.exchange.journal.power import OUTCOMES, lose_power
from tests.exchange.journal.runs import FOLDER, GROUPS, Run

OpenLog = Callable[..., LocalLog]
CRASH_SEEDS = 6
TAKEN_BACK_SEEDS = 50
POWER_SEEDS = 60


def changes_of_a_run(mode: WriteMode) -> int:
    run = Run(SimulatedDisk(write_mode=mode))
    assert run.error is None
    assert len(run.acknowledged) == GROUPS
    assert len(verify_journal(FOLDER, files=run.disk).segments) > 2
    return len(run.disk.changes)


@pytest.mark.parametrize("mode", list(WriteMode))
@pytest.mark.parametrize(
    "fault",
    [
        Fault(errno.EIO),
        Fault(errno.EIO, written=700),
        Fault(errno.ENOSPC, written=10),
        Fault(errno.ENOSPC),
        Fault(crash=True),
        Fault(crash=True, written=600),
    ],
    ids=str,
)
def test_a_failure_at_any_change_loses_nothing_that_was_acknowledged(
    fault: Fault, mode: WriteMode
) -> None:
    for at in range(changes_of_a_run(mode)):
        run = Run(SimulatedDisk({at: fault}, mode))
        assert run.error is not None
        for seed in range(CRASH_SEEDS):
            run.check(run.disk.crash(Random(seed)))
        # The process alone was restarted: the machine still holds what was not synced.
        run.check(run.disk)


@pytest.mark.parametrize("fault", [Fault(errno.EIO, written=700), Fault(crash=True)], ids=str)
def test_a_failure_while_a_group_is_taken_back_leaves_it_or_not(fault: Fault) -> None:
    mode = WriteMode.OVERLAPPED
    whole = Run(SimulatedDisk(write_mode=mode), take_back=True).disk.changes
    parts = ["submit", "wait", "pwrite_durable", "pwrite_durable"]
    assert [change.operation for change in whole[-4:]] == parts
    for step, at in enumerate(range(len(whole) - len(parts), len(whole))):
        run = Run(SimulatedDisk({at: fault}, mode), take_back=True)
        if parts[step:] == parts[-1:]:
            # Without its head it is none, whatever becomes of the rest.
            run.sent = list(run.acknowledged)
        if fault.error and parts[step] == "wait":
            assert run.error is None, "what the wait says is no matter: zeros go over it"
        for seed in range(TAKEN_BACK_SEEDS):
            run.check(run.disk.crash(Random(seed)))
        run.check(run.disk)


def test_a_group_that_was_taken_back_stays_away() -> None:
    for mode in WriteMode:
        run = Run(SimulatedDisk(write_mode=mode), take_back=True)
        assert run.sent == run.acknowledged
        for seed in range(TAKEN_BACK_SEEDS):
            run.check(run.disk.crash(Random(seed)))


@pytest.mark.parametrize(
    ("mode", "written"),
    # A direct write goes on at the last whole sector.
    [
        (WriteMode.FDATASYNC, 5),
        (WriteMode.DSYNC, 5),
        (WriteMode.DIRECT, 600),
        (WriteMode.OVERLAPPED, 600),
    ],
)
def test_a_short_write_is_carried_on(mode: WriteMode, written: int) -> None:
    disk = SimulatedDisk(write_mode=mode)
    Run(disk)
    writes = [
        at
        for at, change in enumerate(disk.changes)
        if change.operation.startswith(("pwrite", "wait")) and change.size > written
    ]
    assert 0 < len(writes) < len(disk.changes)
    for at in writes:
        run = Run(SimulatedDisk({at: Fault(written=written)}, mode))
        assert run.error is None
        assert len(run.disk.changes) == len(disk.changes) + 1
        run.check(run.disk)


def test_a_direct_write_of_less_than_a_sector_is_a_failure(
    open_log: OpenLog, group: Callable[..., GroupRecord]
) -> None:
    disk = SimulatedDisk(write_mode=WriteMode.DIRECT)
    log = open_log(FOLDER, files=disk)
    disk._faults = {len(disk.changes): Fault(written=511)}
    with pytest.raises(JournalWriteFailed, match="took no more bytes"):
        log.append(group(1))


def test_a_durable_write_syncs_nothing_but_itself() -> None:
    for seed in range(40):
        disk = SimulatedDisk()
        file = disk.open(FOLDER / "a", create=True)
        disk.sync_directory(FOLDER)
        file.pwrite(b"before" * 100, 0)
        file.pwrite_durable(b"durable", 100)
        file.pwrite(b"after", 300)
        left = bytes(disk.crash(Random(seed)).content(FOLDER / "a"))
        assert left[100:107] == b"durable"
        if not any(left[512:]):
            break
    else:
        pytest.fail("every sector that was never synced was there each time")


@pytest.mark.parametrize("mode", list(WriteMode))
def test_a_device_that_takes_nothing_is_a_failure(
    open_log: OpenLog, group: Callable[..., GroupRecord], mode: WriteMode
) -> None:
    disk = SimulatedDisk(write_mode=mode)
    log = open_log(FOLDER, files=disk)
    at = len(disk.changes)
    disk._faults = dict.fromkeys(range(at, at + 5), Fault(written=0))
    with pytest.raises(JournalWriteFailed, match="took no more bytes; stop the engine"):
        log.append(group(1))


def test_recovery_may_be_interrupted_at_any_change(open_log: OpenLog) -> None:
    """Up to the zeros over the torn tail and their sync, which come with the first group."""
    changes_of_one = Run(SimulatedDisk()).disk.changes
    assert changes_of_one[-1].size > SECTOR_BYTES

    def torn_run() -> Run:
        fault = Fault(crash=True, written=SECTOR_BYTES)
        return Run(SimulatedDisk({len(changes_of_one) - 1: fault}))

    def recover(disk: SimulatedDisk) -> None:
        with open_log(FOLDER, files=disk) as log:
            assert log.recovered.torn_tail is not None
            more = GroupRecord(log.next_sequence, 1, log.epoch, b"more")
            try:
                log.append(more)
            except JournalWriteFailed:
                with pytest.raises(JournalPoisoned):
                    log.append(more)
                raise

    first = torn_run()
    assert isinstance(first.error, SimulatedCrash)
    whole = torn_run().disk
    recover(whole)
    made = [change.operation for change in whole.changes[len(first.disk.changes) :]]
    made = made[: made.index("submit")]  # then the group's own write begins
    assert made[-2:] == ["pwrite", "fdatasync"]
    # A device writes a sector whole or not at all, also when it is zeros over a torn tail.
    for fault in (Fault(errno.EIO), Fault(crash=True), Fault(crash=True, written=SECTOR_BYTES)):
        for at in range(len(made)):
            disk = torn_run().disk
            disk._faults = {len(disk.changes) + at: fault}
            with pytest.raises((JournalWriteFailed, SimulatedCrash)):
                recover(disk)
            for seed in range(CRASH_SEEDS):
                first.check(disk.crash(Random(seed)))


def test_a_group_over_a_torn_tail_may_be_torn_too(
    open_log: OpenLog, group: Callable[..., GroupRecord]
) -> None:
    for seed in range(40):
        disk = SimulatedDisk()
        for size in (3000, 600, 1500):
            with open_log(FOLDER, files=disk) as log:
                assert log.next_sequence == 1
                # First the tail becomes zeros, durably: a write and a sync.
                at = seed % 3 if log.recovered.torn_tail else 0
                disk._faults = {len(disk.changes) + at: Fault(crash=True, written=size * 2)}
                with pytest.raises(SimulatedCrash):
                    log.append(group(1, size=size))
            disk = disk.crash(Random(seed))
            if verify_journal(FOLDER, files=disk).groups:
                break


def test_power_lost_at_random_moments() -> None:
    found = Counter[str]()
    for seed in range(POWER_SEEDS):
        found += lose_power(seed)
    # Each way that it can end is met, also with a device that does not keep sectors whole.
    assert all(found[outcome] for outcome in OUTCOMES), found
    assert found["recoveries"] == sum(found[outcome] for outcome in OUTCOMES)


def test_an_interrupted_append_poisons_the_log(
    open_log: OpenLog, group: Callable[..., GroupRecord]
) -> None:
    disk = SimulatedDisk()
    with open_log(FOLDER, files=disk) as log:
        disk._faults = {len(disk.changes): Fault(crash=True)}
        with pytest.raises(SimulatedCrash):
            log.append(group(1))
        with pytest.raises(JournalPoisoned, match="SimulatedCrash"):
            log.append(group(1))


def test_a_read_error_has_its_own_name(
    open_log: OpenLog, group: Callable[..., GroupRecord]
) -> None:
    disk = SimulatedDisk()
    with open_log(FOLDER, files=disk) as log:
        log.append(group(1))
        disk.read_error = errno.EIO
        with pytest.raises(JournalReadFailed, match="check the device"):
            list(log.read_from(1))
    with pytest.raises(JournalReadFailed):
        open_log(FOLDER, files=disk)
    disk.read_error = 0
    open_log(FOLDER, files=disk).close()
