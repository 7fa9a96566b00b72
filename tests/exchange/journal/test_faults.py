"""A device that fails, a machine that stops, and what is found afterwards."""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest

from exchange.journal import (
    GroupRecord,
    JournalPoisoned,
    JournalReadFailed,
    JournalWriteFailed,
    LocalLog,
    read_journal,
    verify_journal,
)
from exchange.journal.simulated import Fault, SimulatedCrash, SimulatedDisk

OpenLog = Callable[..., LocalLog]
FOLDER = Path("journal")
GROUPS = 14
CRASH_SEEDS = 6


class Run:
    """A short run: what was acknowledged, what was on its way, and how it ended."""

    def __init__(self, open_log: OpenLog, disk: SimulatedDisk, group: Callable[..., GroupRecord]):
        self.disk = disk
        self.acknowledged: list[GroupRecord] = []
        self.sent: list[GroupRecord] = []
        self.error: BaseException | None = None
        log = None
        try:
            log = open_log(FOLDER, files=disk)
            for _ in range(GROUPS):
                self.sent.append(group(log.next_sequence))
                log.append(self.sent[-1])
                self.acknowledged.append(self.sent[-1])
                if len(self.sent) % 2:
                    log.prepare(1500)
        except (JournalWriteFailed, SimulatedCrash) as error:
            self.error = error
            if log is not None and isinstance(error, JournalWriteFailed):
                with pytest.raises(JournalPoisoned, match="an earlier write failed"):
                    log.append(group(log.next_sequence))
        finally:
            if log is not None:
                log.close()

    def check(self, open_log: OpenLog, disk: SimulatedDisk) -> None:
        """Open again: all that was acknowledged, and at most the one group that was on its way."""
        with open_log(FOLDER, files=disk) as log:
            found = list(log.read_from(1))
            assert found[: len(self.acknowledged)] == self.acknowledged
            assert found in (self.acknowledged, self.sent)
            # What recovery has accepted, it may act on: the next loss of power takes none of it.
            check_content(disk.crash(Random(1)), found)
            more = GroupRecord(log.next_sequence, 1, 1, b"more")
            log.append(more)
            check_content(disk, [*found, more])
            check_content(disk.crash(Random(2)), [*found, more])


def check_content(disk: SimulatedDisk, groups: list[GroupRecord]) -> None:
    assert list(read_journal(FOLDER, files=disk)) == groups


def changes_of_a_run(open_log: OpenLog, group: Callable[..., GroupRecord]) -> int:
    run = Run(open_log, SimulatedDisk(), group)
    assert run.error is None
    assert len(run.acknowledged) == GROUPS
    assert len(verify_journal(FOLDER, files=run.disk).segments) > 2
    return len(run.disk.changes)


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
    open_log: OpenLog, group: Callable[..., GroupRecord], fault: Fault
) -> None:
    for at in range(changes_of_a_run(open_log, group)):
        run = Run(open_log, SimulatedDisk({at: fault}), group)
        assert run.error is not None
        for seed in range(CRASH_SEEDS):
            run.check(open_log, run.disk.crash(Random(seed)))
        # The process alone was restarted: the machine still holds what was not synced.
        run.check(open_log, run.disk)


def test_a_short_write_is_carried_on(open_log: OpenLog, group: Callable[..., GroupRecord]) -> None:
    changes = changes_of_a_run(open_log, group)
    disk = SimulatedDisk()
    Run(open_log, disk, group)
    writes = [at for at, change in enumerate(disk.changes) if change.operation == "pwrite"]
    assert 0 < len(writes) < changes
    for at in writes:
        run = Run(open_log, SimulatedDisk({at: Fault(written=5)}), group)
        assert run.error is None
        run.check(open_log, run.disk)


def test_a_device_that_takes_nothing_is_a_failure(
    open_log: OpenLog, group: Callable[..., GroupRecord]
) -> None:
    disk = SimulatedDisk()
    log = open_log(FOLDER, files=disk)
    at = len(disk.changes)
    disk._faults = {at: Fault(written=5), at + 1: Fault(written=0)}
    with pytest.raises(JournalWriteFailed, match="took no more bytes; stop the engine"):
        log.append(group(1))


def test_recovery_may_be_interrupted_at_any_change(
    open_log: OpenLog, group: Callable[..., GroupRecord]
) -> None:
    torn = Run(open_log, SimulatedDisk(), group)
    last = SimulatedDisk({len(torn.disk.changes) - 2: Fault(crash=True, written=90)})
    first = Run(open_log, last, group)
    assert isinstance(first.error, SimulatedCrash)
    for fault in (Fault(errno.EIO), Fault(crash=True), Fault(crash=True, written=40)):
        for at in range(20):
            disk = Run(
                open_log,
                SimulatedDisk({len(torn.disk.changes) - 2: Fault(crash=True, written=90)}),
                group,
            ).disk
            disk._faults = {len(disk.changes) + at: fault}
            try:
                open_log(FOLDER, files=disk).close()
            except (JournalWriteFailed, SimulatedCrash):
                first.check(open_log, disk.crash(Random(at)))
            else:
                assert at > 2
                break
        else:
            pytest.fail("recovery makes more changes than were tried")


def test_a_group_over_a_torn_tail_may_be_torn_too(
    open_log: OpenLog, group: Callable[..., GroupRecord]
) -> None:
    for seed in range(40):
        disk = SimulatedDisk()
        for size in (3000, 600, 1500):
            with open_log(FOLDER, files=disk) as log:
                assert log.next_sequence == 1
                disk._faults = {len(disk.changes) + 1: Fault(crash=True)}
                with pytest.raises(SimulatedCrash):
                    log.append(group(1, size=size))
            disk = disk.crash(Random(seed))
            if verify_journal(FOLDER, files=disk).groups:
                break


def test_power_lost_at_random_moments(open_log: OpenLog, group: Callable[..., GroupRecord]) -> None:
    changes = changes_of_a_run(open_log, group)
    for seed in range(300):
        chance = Random(seed)
        fault = Fault(crash=True, written=chance.randrange(1200))
        run = Run(open_log, SimulatedDisk({chance.randrange(changes): fault}), group)
        run.check(open_log, run.disk.crash(chance))


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
