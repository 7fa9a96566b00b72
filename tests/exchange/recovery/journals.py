"""Journals of real commands, for snapshots to be taken of."""

from __future__ import annotations

import random
import shutil
from functools import cache
from pathlib import Path
from typing import Final

from exchange.core.commands import Advance, Command, decode
from exchange.core.exchange import Exchange
from exchange.core.limits import NS_PER_S, RULES_VERSION
from exchange.journal import GroupRecord, LocalLog, SnapshotStore
from exchange.journal.files import FileSystem
from exchange.recovery import Replica, upgrade
from tests.exchange.core.chaos import Chaos
from tests.exchange.core.scenario import Market

GENESIS: Final = b"recovery tests"
SEGMENT_BYTES: Final = 16 << 10
GROUP_MAX: Final = 20
OLDER: Final = {
    rules: Path(__file__).parent / "older" / f"rules-{rules}" for rules in range(3, RULES_VERSION)
}
"""What releases under older rules left behind: the first 300 commands of seed 101, a snapshot, and
the digests that they published last."""


@cache
def groups(seed: int, commands: int = 800) -> tuple[GroupRecord, ...]:
    """Commands of every kind, cut into groups at random; the same for the same seed."""
    market = Market()
    chaos = Chaos(market, seed)
    for _ in range(commands):
        command = chaos.command()
        market.records += command.encode()
        chaos.saw(market.exchange.apply([command])[0])
    waiting: list[Command] = decode(bytes(market.records))
    chance = random.Random(seed)
    found: list[GroupRecord] = []
    first = 1
    while waiting:
        size = chance.randint(1, GROUP_MAX)
        taken, waiting = waiting[:size], waiting[size:]
        payload = b"".join(command.encode() for command in taken)
        found.append(GroupRecord(first, len(taken), 1, payload))
        first += len(taken)
    return tuple(found)


def open_log(directory: Path, files: FileSystem | None = None) -> LocalLog:
    """The log of a test's journal, its segments small."""
    return LocalLog(
        directory,
        rules_version=RULES_VERSION,
        genesis=GENESIS,
        segment_bytes=SEGMENT_BYTES,
        alignment=512,
        files=files,
    )


def write(directory: Path, found: tuple[GroupRecord, ...], files: FileSystem | None = None) -> None:
    """Append the groups that are not in the journal yet."""
    with open_log(directory, files) as log:
        for group in found:
            if group.first_sequence >= log.next_sequence:
                log.append(group)


def replayed(found: tuple[GroupRecord, ...]) -> Replica:
    """What the groups come to, from nothing."""
    replica = Replica(Exchange())
    for group in found:
        replica.apply(group.first_sequence, group.payload)
    return replica


def upgraded(folder: Path, rules: int = 3) -> int:
    """Make a data directory of what the release under these rules left; its last sequence then."""
    shutil.copytree(OLDER[rules], folder)
    return upgrade(folder / "journal", folder / "snapshots", GENESIS).sequence


def go_on(folder: Path, count: int) -> Replica:
    """Append groups to that journal, a second apart; the state after them."""
    (newest, *_) = SnapshotStore(folder / "snapshots").paths()
    position = SnapshotStore(folder / "snapshots").read_head(newest).position
    replica = replayed(groups(101, 300))
    with LocalLog(
        folder / "journal", rules_version=RULES_VERSION, genesis=GENESIS, start=position
    ) as log:
        for _ in range(count):
            payload = Advance(replica.core.now_ns + NS_PER_S).encode()
            log.append(GroupRecord(log.next_sequence, 1, log.epoch, payload))
            replica.apply(log.next_sequence - 1, payload)
    return replica
