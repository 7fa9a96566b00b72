"""Power lost at a random moment, on a disk that drops, tears and flips what was not synced."""

from __future__ import annotations

from collections import Counter
from functools import cache
from random import Random

from exchange.journal import GroupRecord, JournalDamaged, LocalLog, read_journal
from exchange.journal.simulated import Fault, SimulatedDisk
from exchange.journal.writers import WriteMode
from tests.exchange.journal.runs import FOLDER, GROUPS, Run, open_test_log

CRASHES = 10
"""Disks that one run's end is made into: what was not synced comes out differently in each."""
HARM = 0.3
"""Share of the unsynced sectors that come out torn or flipped, where sectors are not kept whole."""
SYNCS = ("pwrite_durable", "submit", "wait", "fdatasync")
OUTCOMES = ("as acknowledged", "with the group under way", "refused, then given up")


def lose_power(seed: int) -> Counter[str]:
    """A run that stops at a random change, CRASHES disks made of it, and a recovery of each.

    Half of the seeds have a device that keeps its sectors whole. There every recovery must succeed
    with what was acknowledged, or with that and the one group that was under way. The others may
    refuse to start, naming the last group, and must then come back as acknowledged once it is
    given up. One seed in four goes on after the first recovery and loses power again. One run in
    four takes its last group back, as an engine does that could not apply it; half of those come to
    their end, and that group must stay away.

    Returns:
        How often each of OUTCOMES was met, and the number of recoveries.
    """
    chance = Random(seed)
    mode = list(WriteMode)[seed // 4 % 4]
    harm = HARM if seed % 2 else 0.0
    run = _stopped(chance, SimulatedDisk(write_mode=mode), mode)
    found = Counter[str]()
    if seed % 4 == 0:
        disk = run.disk.crash(chance)
        with open_test_log(files=disk) as log:
            before = run.judge(log)
        found[OUTCOMES[before != run.acknowledged]] += 1
        found["recoveries"] += 1
        run = _stopped(chance, disk, mode, before)
    for _ in range(CRASHES):
        found[_recover(run, run.disk.crash(chance, harm), harm)] += 1
        found["recoveries"] += 1
    return found


def _stopped(
    chance: Random, disk: SimulatedDisk, mode: WriteMode, before: list[GroupRecord] | None = None
) -> Run:
    groups = chance.randint(1, GROUPS)
    take_back = chance.random() < 0.25
    if take_back and chance.random() < 0.5:
        return Run(disk, groups, before, take_back=True)  # The power goes once it is all done.
    # Any change, but more often one that makes a group durable.
    changes = changes_of_a_run(mode, groups, take_back)
    syncs = [at for at, operation in enumerate(changes) if operation in SYNCS]
    at = chance.choice((chance.randrange(len(changes)), chance.choice(syncs), chance.choice(syncs)))
    fault = Fault(crash=True, written=chance.choice((0, 10_000, chance.randrange(1200))))
    disk._faults = {len(disk.changes) + at: fault}
    return Run(disk, groups, before, take_back=take_back)


def _recover(run: Run, disk: SimulatedDisk, harm: float) -> str:
    opened = _open(disk)
    if isinstance(opened, LocalLog):
        with opened as log:
            found = _go_on(log, disk)
        assert found in (run.acknowledged, run.sent)
        return OUTCOMES[found != run.acknowledged]
    assert harm, f"refused on a device that keeps its sectors whole: {opened}"
    assert opened.last_group, opened
    with open_test_log(files=disk, cut_damaged_tail=True) as log:
        assert _go_on(log, disk) == run.acknowledged
    return OUTCOMES[2]


def _go_on(log: LocalLog, disk: SimulatedDisk) -> list[GroupRecord]:
    """Append the smallest group, behind which nothing may show; what is there before it."""
    more = GroupRecord(log.next_sequence, 1, log.epoch + 1, b"more")
    log.append(more)
    *found, last = read_journal(FOLDER, files=disk)
    assert last == more
    return found


def _open(disk: SimulatedDisk) -> LocalLog | JournalDamaged:
    try:
        return open_test_log(files=disk)
    except JournalDamaged as damage:
        return damage


@cache
def changes_of_a_run(mode: WriteMode, groups: int, take_back: bool) -> list[str]:
    """The changes that an undisturbed run makes."""
    run = Run(SimulatedDisk(write_mode=mode), groups, take_back=take_back)
    return [change.operation for change in run.disk.changes]
