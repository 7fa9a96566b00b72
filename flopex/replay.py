"""Replaying a journal through a fresh core: the same commands must give the same state."""

from __future__ import annotations

import time
from pathlib import Path
from typing import NamedTuple

from exchange.core.exchange import Exchange
from exchange.core.limits import RULES_VERSION
from exchange.core.snapshot import load
from exchange.journal import JournalWalk, Position, SnapshotStore
from exchange.journal.files import OsFileSystem
from exchange.recovery import Replica, collecting_paused
from flopex.journals import beginning_kept, first_sequence, good_snapshots, snapshots_of


class Replay(NamedTuple):
    """What a replay came to.

    Attributes:
        sequence: The last command that was applied.
        digest: Of the state after it.
        imbalance_nanos: Sum over all accounts, nano-dollars.
        seconds: How long it took.
    """

    sequence: int
    digest: bytes
    imbalance_nanos: int
    seconds: float


def replay_journal(directory: Path, up_to_sequence: int) -> Replay:
    """Apply a journal's commands up to and including one; its exchange may be running.

    Where the journal's beginning was removed, the oldest snapshot that stands in for it is the
    start.

    Raises:
        JournalError: the journal or its oldest snapshot cannot be read.
        RecordError: a record cannot be.
        AssertionError: an invariant does not hold in the state that came of it.
    """
    began = time.monotonic()
    with collecting_paused():
        replica, anchor = _start(directory)
        walk = JournalWalk(OsFileSystem(), directory, rules_version=RULES_VERSION, anchor=anchor)
        for record in walk.groups():
            if replica.core.sequence >= up_to_sequence:
                break
            replica.replay(record)
    core = replica.core
    core.check()
    return Replay(core.sequence, core.digest(), core.imbalance_nanos(), time.monotonic() - began)


def _start(directory: Path) -> tuple[Replica, Position | None]:
    if beginning_kept(directory):
        return Replica(Exchange()), None
    store = SnapshotStore(snapshots_of(directory))
    first = first_sequence(directory)
    sequences = [
        head.sequence
        for head in good_snapshots(directory)
        if head.position.next_sequence >= first and head.rules_version == RULES_VERSION
    ]
    head, state = store.read(store.path(min(sequences, default=0)))
    return Replica(load(state), head.outcomes), head.position
