"""Replaying a journal through a fresh core: the same commands must give the same state."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from exchange.core.commands import Command, decode
from exchange.core.events import AnyEvent
from exchange.core.exchange import Exchange
from exchange.core.limits import RULES_VERSION
from exchange.core.snapshot import load
from exchange.journal import JournalWalk, Position, SnapshotStore, rules_since
from exchange.journal.files import OsFileSystem
from exchange.recovery import Comparison, Differs, DigestFile, Replica, collecting_paused
from flopex.journals import beginning_kept, first_sequence, good_snapshots, snapshots_of

Watcher = Callable[[Exchange, Sequence[Command], Iterable[list[AnyEvent]]], None]
"""Shown each commit group and its events, right after the core has applied it."""


class Replay(NamedTuple):
    """What a replay came to.

    Attributes:
        from_sequence: The first command that was applied: not 1 where the journal's beginning was
            removed, or is under older rules.
        sequence: The last command that was applied.
        digest: Of the state after it.
        imbalance_nanos: Sum over all accounts, nano-dollars.
        seconds: How long it took.
        records: Commands that were applied.
        compared: Digests that the live exchange or its snapshots had recorded, all equal.
    """

    from_sequence: int
    sequence: int
    digest: bytes
    imbalance_nanos: int
    seconds: float
    records: int
    compared: int


def replay_journal(
    directory: Path, up_to_sequence: int | None = None, watch: Watcher | None = None
) -> Replay:
    """Apply a journal's commands up to and including one; its exchange may be running.

    On the way the state is held against every digest that was recorded of it: those that the live
    engine published, and those of the snapshots. Where the journal's beginning was removed, or is
    under older rules, the oldest snapshot that stands in for it is the start.

    Raises:
        Differs: the replay came to another state than the live exchange.
        JournalError: the journal or its oldest snapshot cannot be read.
        RecordError: a record cannot be.
        AssertionError: an invariant does not hold in the state that came of it.
    """
    began = time.monotonic()
    comparison = Comparison(DigestFile(snapshots_of(directory)).read())
    heads = {
        head.sequence: head
        for head in good_snapshots(directory)
        if head.rules_version == RULES_VERSION
    }
    snapshots = 0
    with collecting_paused():
        replica, anchor = _start(directory)
        started = replica.core.sequence
        walk = JournalWalk(OsFileSystem(), directory, rules_version=RULES_VERSION, anchor=anchor)
        for record in walk.groups():
            if up_to_sequence is not None and replica.core.sequence >= up_to_sequence:
                break
            commands = decode(record.payload)
            events = replica.apply(record.first_sequence, record.payload)
            if watch is not None:
                watch(replica.core, commands, events)
            comparison.check(replica)
            head = heads.get(replica.core.sequence)
            if head is not None:
                if (found := replica.core.digest()) != head.digest:
                    raise Differs(head.sequence, "state", head.digest, found)
                snapshots += 1
    core = replica.core
    core.check()
    return Replay(
        started + 1,
        core.sequence,
        core.digest(),
        core.imbalance_nanos(),
        time.monotonic() - began,
        core.sequence - started,
        comparison.compared + snapshots,
    )


def replays_whole(directory: Path) -> bool:
    """Whether a journal's beginning is there, and was not left behind by an upgrade.

    Raises:
        JournalError: a header cannot be read.
    """
    since = rules_since(directory, RULES_VERSION)
    return beginning_kept(directory) and since in {None, first_sequence(directory)}


def _start(directory: Path) -> tuple[Replica, Position | None]:
    first = rules_since(directory, RULES_VERSION)
    sequences = (
        head.sequence
        for head in good_snapshots(directory)
        if first is not None
        and head.position.next_sequence >= first
        and head.rules_version == RULES_VERSION
    )
    oldest = None if replays_whole(directory) else min(sequences, default=None)
    if oldest is None:
        return Replica(Exchange()), None
    store = SnapshotStore(snapshots_of(directory))
    head, state = store.read(store.path(oldest))
    return Replica(load(state), head.outcomes), head.position
