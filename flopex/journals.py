"""Looking at a journal from outside: where it lies, and the commands in it. Changes nothing."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec

from exchange.core.commands import Advance, decode
from exchange.core.limits import RULES_VERSION
from exchange.journal import (
    FIRST_SEQUENCE,
    GroupRecord,
    JournalNotFound,
    SnapshotDamaged,
    SnapshotHead,
    SnapshotStore,
    has_journal,
    read_journal,
)
from exchange.journal.files import OsFileSystem
from exchange.journal.segment import segment_paths

JOURNAL: Final = "journal"
SNAPSHOTS: Final = "snapshots"


class Entry(NamedTuple):
    """One command of a journal.

    Attributes:
        sequence: Its own.
        epoch: Of the engine that wrote it.
        time_ns: Of its commit group, nanoseconds since the epoch; None where the group has none.
        command: The name of the command's type.
        fields: Its fields by name.
    """

    sequence: int
    epoch: int
    time_ns: int | None
    command: str
    fields: dict[str, Any]


def find_journal(directory: Path) -> Path:
    """The journal that is meant by a folder: its own, or that of a data directory or a backup.

    Raises:
        JournalReadFailed: the device failed.
    """
    inside = directory / JOURNAL
    return inside if not has_journal(directory) and has_journal(inside) else directory


def snapshots_of(journal: Path) -> Path:
    """Where a journal's snapshots lie: beside it."""
    return journal.parent / SNAPSHOTS


def beginning_kept(journal: Path) -> bool:
    """Whether a journal must have its first segment: not where a good snapshot stands in for it.

    Raises:
        JournalReadFailed: the device failed.
    """
    first = first_sequence(journal)
    if first == FIRST_SEQUENCE:
        return True
    return not any(head.position.next_sequence >= first for head in good_snapshots(journal))


def first_sequence(journal: Path) -> int:
    """Where the journal begins now.

    Raises:
        JournalNotFound: it holds no segment.
    """
    paths = segment_paths(OsFileSystem(), journal)
    if not paths:
        raise JournalNotFound(journal)
    return int(paths[0].stem)


def good_snapshots(journal: Path) -> list[SnapshotHead]:
    """The heads of a journal's snapshots that are whole, the newest first. O(their bytes)."""
    store, found = SnapshotStore(snapshots_of(journal)), []
    for path in store.paths():
        with contextlib.suppress(SnapshotDamaged):
            found.append(store.read(path).head)
    return found


def read_entries(
    directory: Path, from_sequence: int = FIRST_SEQUENCE, to_sequence: int | None = None
) -> Iterator[list[Entry]]:
    """The commands from one sequence to another, both included, group by group.

    Raises:
        JournalError: the journal cannot be read, or was written under other rules.
        RecordError: a command cannot be decoded.
    """
    groups = read_journal(directory, from_sequence=from_sequence, rules_version=RULES_VERSION)
    for group in groups:
        if to_sequence is not None and group.first_sequence > to_sequence:
            return
        last = group.next_sequence - 1 if to_sequence is None else to_sequence
        yield [entry for entry in _entries(group) if from_sequence <= entry.sequence <= last]


def _entries(group: GroupRecord) -> list[Entry]:
    commands = decode(group.payload)
    first = commands[0]
    time_ns = first.now_ns if isinstance(first, Advance) else None
    return [
        Entry(sequence, group.epoch, time_ns, type(one).__name__, msgspec.structs.asdict(one))
        for sequence, one in enumerate(commands, group.first_sequence)
    ]
