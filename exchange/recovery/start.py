"""How an engine finds its state: the newest good snapshot, one before it, or the whole journal."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, Generic, NamedTuple, Protocol, TypeVar

from exchange.core.exchange import Exchange
from exchange.core.limits import RULES_VERSION
from exchange.core.snapshot import SnapshotInvalid, load
from exchange.journal import (
    FIRST_SEQUENCE,
    JournalDamaged,
    JournalStartMismatch,
    Position,
    Snapshot,
    SnapshotDamaged,
    SnapshotStore,
    genesis_digest,
)
from exchange.recovery.replay import NO_OUTCOMES, Replica, collecting_paused

GENESIS: Final = b"flopex"
"""What the journal's hash chain begins with, unless another is named."""


class Closable(Protocol):
    """What reads the journal from a position on."""

    def close(self) -> None:
        """Give it back."""


Log = TypeVar("Log", bound=Closable)


class Started(NamedTuple, Generic[Log]):
    """A state, and the journal open behind it.

    Attributes:
        replica: The state; nothing of the tail is applied yet.
        log: What `open_log` gave.
        next_sequence: The first of the tail.
        snapshot: Which one it was made of; None for the empty exchange.
        refused: Why each newer snapshot was not taken.
    """

    replica: Replica
    log: Log
    next_sequence: int
    snapshot: Path | None
    refused: tuple[str, ...]


def recover(
    store: SnapshotStore | None,
    genesis: bytes,
    open_log: Callable[[Position | None], Log],
    before: int | None = None,
) -> Started[Log]:
    """Make the newest state that can be trusted, with the journal open behind it.

    A snapshot is trusted if every byte is what was written, its rules and genesis are ours, and the
    journal comes by its chain hash. Otherwise the one before is tried, then the empty exchange.

    Args:
        store: Where snapshots are; None for no look at any.
        genesis: What the exchange started from.
        open_log: Opens the journal behind a position; None opens the whole of it.
        before: Somebody reads along from this sequence on, so that only snapshots before it will
            do; None where nobody does.

    Raises:
        JournalBehind: the journal ends before a good snapshot.
        JournalError: as `open_log`.
    """
    refused: list[str] = []
    for path, snapshot in _readable(store, before, refused):
        reason = mismatch(snapshot, genesis)
        if reason:
            refused.append(f"{path.name}: {reason}")
            continue
        try:
            log = open_log(snapshot.head.position)
        except JournalStartMismatch as error:
            refused.append(f"{path.name}: {error}")
            continue
        try:
            core = _load(snapshot)
        except SnapshotInvalid as error:
            log.close()
            refused.append(f"{path.name}: {error}")
            continue
        except BaseException:
            log.close()
            raise
        replica = Replica(core, snapshot.head.outcomes)
        return Started(replica, log, core.sequence + 1, path, tuple(refused))
    try:
        log = open_log(None)
    except JournalDamaged as error:
        # The beginning may be gone on purpose. Whoever reads along then sees what is left.
        if before is None or store is None or not store.paths():
            raise
        started = recover(store, genesis, open_log)
        return started._replace(refused=(str(error), *started.refused))
    return Started(Replica(Exchange(), NO_OUTCOMES), log, FIRST_SEQUENCE, None, tuple(refused))


def mismatch(snapshot: Snapshot, genesis: bytes) -> str:
    """Why a whole snapshot is not of this exchange; empty if it is."""
    if snapshot.head.rules_version != RULES_VERSION:
        return f"taken under rules {snapshot.head.rules_version}, not {RULES_VERSION}"
    if snapshot.head.genesis != genesis_digest(genesis):
        return "of another exchange: its genesis is another"
    return ""


def _readable(
    store: SnapshotStore | None, before: int | None, refused: list[str]
) -> Iterator[tuple[Path, Snapshot]]:
    if store is None:
        return
    for path in store.paths():
        try:
            if before is None or store.read_head(path).sequence < before:
                yield path, store.read(path)
        except SnapshotDamaged as error:
            refused.append(f"{path.name}: {error.reason}")


def _load(snapshot: Snapshot) -> Exchange:
    with collecting_paused():
        core = load(snapshot.state)
    if core.sequence != snapshot.head.sequence:
        raise SnapshotInvalid(f"a state after sequence {core.sequence}")
    return core
