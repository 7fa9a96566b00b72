"""The follower: makes the next snapshot by replaying the journal, beside the live engine.

It starts from the last good snapshot, applies what the journal has since, and holds its digests
against those that the live engine published on the way. So a snapshot is never the live engine's
word alone, and an engine that does not do what its journal says is found at the next snapshot. What
is written is loaded again first: a snapshot that does not come back equal is never stored.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

from exchange.core.limits import RULES_VERSION
from exchange.core.snapshot import load
from exchange.journal import (
    GroupRecord,
    JournalNotFound,
    JournalWalk,
    Position,
    SnapshotStore,
    genesis_digest,
    has_journal,
    head_of,
)
from exchange.journal.files import FileSystem, LockHeld, OsFileSystem
from exchange.journal.log import LOCK_NAME
from exchange.processors import pause
from exchange.recovery.digests import Comparison, DigestFile, Published
from exchange.recovery.replay import collecting_paused
from exchange.recovery.start import recover

REPLAY_REST: Final = 1
"""Where processors are few, a replay rests as long as it worked: with more, commands could come
faster than they are replayed, and each snapshot would be later than the one before."""
SNAPSHOTS_KEPT: Final = 3
"""Newest snapshots that stay: the last, the one before it, and one to spare."""
SNAPSHOTS_KEPT_MIN: Final = 2


class Taken(NamedTuple):
    """What a follower did.

    Attributes:
        path: The snapshot; None where the journal has nothing newer than the last one.
        sequence: Of the last command in it.
        base_sequence: Of the snapshot it was replayed from; 0 for the journal's beginning.
        digest: Of the state.
        compared: Digests of the live engine that it came by, all of them equal.
        refused: Snapshots that could not be used, and why.
        state_bytes: Size of the state.
        replay_s: Seconds for loading and replaying.
        replay_cpu_s: CPU seconds of this process for the same.
        write_s: Seconds for writing, and for checking what was to be written.
    """

    path: Path | None
    sequence: int
    base_sequence: int
    digest: bytes
    compared: int
    refused: tuple[str, ...]
    state_bytes: int
    replay_s: float
    replay_cpu_s: float
    write_s: float


class Tail:
    """The groups behind a position, each with the chain's place behind it.

    The first is read at once, so that a journal which does not come by the position shows it.
    """

    def __init__(self, walk: JournalWalk) -> None:
        self._walk = walk
        self._groups = walk.groups()
        self._first = self._take()

    def __iter__(self) -> Iterator[tuple[GroupRecord, Position]]:
        found = self._first
        while found is not None:
            yield found
            found = self._take()

    def close(self) -> None:
        """Read no more."""
        self._groups.close()

    def _take(self) -> tuple[GroupRecord, Position] | None:
        group = next(self._groups, None)
        return None if group is None else (group, self._walk.position)


def follow(
    journal: Path,
    snapshots: Path,
    genesis: bytes,
    *,
    live: Published | None = None,
    keep: int = SNAPSHOTS_KEPT,
    files: FileSystem | None = None,
) -> Taken:
    """Take a snapshot of the journal's end, or of the place that the live engine names.

    Args:
        journal: The journal's folder.
        snapshots: The snapshots' folder.
        genesis: What the exchange started from.
        live: Where the live engine stands, and its digests there: the snapshot is of that place.
            None: of the last group that is certainly durable; all of the journal where no engine
            has it open.
        keep: Newest snapshots that stay; those before them are removed.
        files: Another file system, for tests.

    Raises:
        ValueError: `keep` is below SNAPSHOTS_KEPT_MIN.
        Differs: the live engine published other digests. Nothing was written.
        SnapshotsBusy: another follower is at work.
        JournalError: the journal cannot be read, or the snapshot cannot be written.
        RecordError: the journal holds what is no command.
        AssertionError: an invariant of the state does not hold. Nothing was written.
    """
    if keep < SNAPSHOTS_KEPT_MIN:
        raise ValueError(f"keep {keep} is below {SNAPSHOTS_KEPT_MIN}: one may turn out damaged")
    disk = OsFileSystem() if files is None else files
    if not has_journal(journal, files=disk):
        raise JournalNotFound(journal)
    store = SnapshotStore(snapshots, disk)
    held = store.lock()
    try:
        with _at_rest(disk, journal) as at_rest:
            return _follow(disk, journal, store, genesis, live, keep, at_rest=at_rest)
    finally:
        held.close()


def _follow(
    disk: FileSystem,
    journal: Path,
    store: SnapshotStore,
    genesis: bytes,
    live: Published | None,
    keep: int,
    *,
    at_rest: bool,
) -> Taken:
    began, began_cpu = time.monotonic(), time.process_time()

    def open_tail(start: Position | None) -> Tail:
        return Tail(
            JournalWalk(disk, journal, rules_version=RULES_VERSION, genesis=genesis, anchor=start)
        )

    published = DigestFile(store.directory).read()
    comparison = Comparison([*published, *([live] if live else [])])
    with collecting_paused():
        started = recover(store, genesis, open_tail)
        replica, position = started.replica, None
        base, upto = replica.core.sequence, live.sequence if live else None
        comparison.check(replica)
        with contextlib.closing(started.log) as tail:
            for group, reached in _durable(tail, upto, at_rest=at_rest):
                replica.apply(group.first_sequence, group.payload)
                pause(REPLAY_REST)
                comparison.check(replica)
                position = reached
        replayed, replayed_cpu = time.monotonic(), time.process_time() - began_cpu
        core = replica.core
        if position is None:
            compared, refused, spent = comparison.compared, started.refused, replayed - began
            return Taken(
                None, base, base, core.digest(), compared, refused, 0, spent, replayed_cpu, 0
            )
        core.check()
        state = core.dump()
        assert load(state).dump() == state, "the state does not come back from its own bytes"
    head = head_of(RULES_VERSION, genesis_digest(genesis), position, replica.outcomes, state)
    path = store.write(head, state)
    for old in store.paths()[keep:]:
        store.remove(old)
    return Taken(
        path,
        core.sequence,
        base,
        head.digest,
        comparison.compared,
        started.refused,
        len(state),
        replayed - began,
        replayed_cpu,
        time.monotonic() - replayed,
    )


def _durable(
    tail: Tail, upto: int | None, *, at_rest: bool
) -> Iterator[tuple[GroupRecord, Position]]:
    """The groups that no loss of power can take back.

    What the engine names is durable. Otherwise, with an engine at work, the last group may not be:
    it is when another one follows, for groups are written one by one.
    """
    waiting: tuple[GroupRecord, Position] | None = None
    for group, position in tail:
        if waiting is not None:
            yield waiting
        waiting = group, position
        if upto is not None and group.next_sequence > upto:
            break
    if waiting is None:
        return
    reached = waiting[0].next_sequence - 1
    if at_rest if upto is None else reached <= upto:
        yield waiting


@contextlib.contextmanager
def _at_rest(disk: FileSystem, journal: Path) -> Iterator[bool]:
    """Whether no engine has the journal open; then none can take it meanwhile."""
    try:
        held = disk.lock(journal / LOCK_NAME)
    except LockHeld:
        yield False
        return
    try:
        yield True
    finally:
        held.close()
