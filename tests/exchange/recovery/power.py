"""Power lost, and devices that fail, while a snapshot is written: `make soak-snapshots`.

python -m tests.exchange.recovery.power --seed 1 --count 10000
"""

from __future__ import annotations

import argparse
import errno
import sys
from collections import Counter
from pathlib import Path
from random import Random
from typing import Final

from exchange.core.limits import RULES_VERSION
from exchange.journal import JournalError, LocalLog, Position, SnapshotStore
from exchange.journal.simulated import Fault, SimulatedCrash, SimulatedDisk
from exchange.recovery import follow, recover
from tests.exchange.recovery.journals import GENESIS, groups, replayed, write

JOURNAL: Final = Path("simulated/journal")
SNAPSHOTS: Final = Path("simulated/snapshots")
JOURNALS: Final = 4
"""Different journals; what differs between seeds is where the power goes."""
COMMANDS: Final = 120
CRASHES: Final = 4
HARM: Final = 0.3
OUTCOMES: Final = ("the new one", "the one before")


def disk_with_one_snapshot(journal: int) -> SimulatedDisk:
    """A journal that has gone on since its first snapshot."""
    disk, found = SimulatedDisk(), groups(journal, COMMANDS)
    write(JOURNAL, found[: len(found) // 2], disk)
    follow(JOURNAL, SNAPSHOTS, GENESIS, files=disk)
    write(JOURNAL, found, disk)
    return disk


def changes_of_a_follower(journal: int) -> range:
    """The numbers of the changes that a follower makes on such a disk."""
    disk = disk_with_one_snapshot(journal)
    before = len(disk.changes)
    follow(JOURNAL, SNAPSHOTS, GENESIS, files=disk)
    return range(before, len(disk.changes))


def lose_power(seed: int) -> Counter[str]:
    """A follower that stops at a random change, and a start from what each crash leaves.

    Every start must come to the state of the whole journal: from the new snapshot, or from the one
    before, which nothing may have harmed.
    """
    chance = Random(seed)
    journal = seed % JOURNALS + 1
    disk = disk_with_one_snapshot(journal)
    at = chance.choice(changes_of_a_follower(journal))
    kinds = (
        Fault(crash=True, written=chance.choice((0, 100, 100_000))),
        Fault(error=errno.EIO),
        Fault(error=errno.ENOSPC, written=chance.choice((0, 300))),
    )
    disk._faults = {at: chance.choice(kinds)}
    try:
        follow(JOURNAL, SNAPSHOTS, GENESIS, files=disk)
    except (SimulatedCrash, JournalError, OSError):
        pass
    else:
        raise AssertionError(f"seed {seed}: change {at} failed and nobody noticed")
    found = Counter[str]()
    for crash in range(CRASHES):
        harm = HARM if crash % 2 else 0.0
        found[judge(disk.crash(chance, harm), journal)] += 1
        found["starts"] += 1
    return found


def judge(disk: SimulatedDisk, journal: int) -> str:
    """Start from a disk; which snapshot it took."""

    def open_log(position: Position | None) -> LocalLog:
        return LocalLog(
            JOURNAL, rules_version=RULES_VERSION, genesis=GENESIS, start=position, files=disk
        )

    started = recover(SnapshotStore(SNAPSHOTS, disk), GENESIS, open_log)
    for group in started.log.read_from(started.next_sequence):
        started.replica.apply(group.first_sequence, group.payload)
    started.log.close()
    assert started.snapshot is not None, f"no snapshot is left: {started.refused}"
    assert started.replica.core.dump() == replayed(groups(journal, COMMANDS)).core.dump()
    middle = groups(journal, COMMANDS)[len(groups(journal, COMMANDS)) // 2].first_sequence
    return OUTCOMES[started.next_sequence == middle]


def main() -> None:
    """Many seeds; the first that fails is named."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--count", type=int, default=2_000)
    given = parser.parse_args()
    total = Counter[str]()
    for seed in range(given.seed, given.seed + given.count):
        try:
            total += lose_power(seed)
        except BaseException:
            sys.stderr.write(f"seed {seed} failed; so far {dict(total)}\n")
            raise
    last = given.seed + given.count - 1
    sys.stdout.write(f"seeds {given.seed} to {last}: {dict(total)}\n")


if __name__ == "__main__":
    main()
