"""To other rules: the last state under the old ones, and a segment behind it under the new ones.

A journal replays to the same state only under the rules that it was written under, so a release
with other rules cannot replay it. What it can take over is a state: the old release is stopped and
takes a last snapshot of all of its journal; this release makes of it a state under its own rules,
stores it as a snapshot of the same place, and begins a segment there whose header names the chain
hash of the old journal's end. So the chain goes on, and everything before stays what it was.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec

from exchange.core.limits import RULES_VERSION
from exchange.core.snapshot import SnapshotInvalid, load
from exchange.journal import (
    JournalLocked,
    JournalNotFound,
    JournalStat,
    Position,
    SnapshotDamaged,
    SnapshotHead,
    SnapshotStore,
    genesis_digest,
    has_journal,
    head_of,
    verify_journal,
)
from exchange.journal.files import LockHeld, OsFileSystem
from exchange.journal.format import FORMAT_VERSION, SegmentHeader
from exchange.journal.log import LOCK_NAME
from exchange.journal.segment import UNFINISHED_NAME, SegmentBuilder
from exchange.recovery.copies import copy_file
from exchange.recovery.digests import DigestFile

Converter = Callable[[list[Any]], list[Any]]
"""Makes a state tree of the next rules of one under the rules before; see `Exchange.state_tree`."""


def _same(tree: list[Any]) -> list[Any]:
    return tree


CONVERTERS: Final[Mapping[int, Converter]] = {3: _same, 4: _same}
"""By the version that a state was under; each leads to the next version. States of rules 3, the
first that had snapshots, are those of rules 4, whose digest of outcomes is over other bytes; rules
5 refuse receipts that those before took."""


class UpgradeRefused(Exception):
    """The journal stays as it is; the message says what is missing."""


class Upgraded(NamedTuple):
    """What an upgrade did.

    Attributes:
        from_rules: Rules of the journal before.
        to_rules: Rules from here on.
        sequence: Of the last command under the old rules.
        digest: Of the state under the new rules.
        segment: The new segment.
    """

    from_rules: int
    to_rules: int
    sequence: int
    digest: bytes
    segment: Path


def upgrade(
    journal: Path,
    snapshots: Path,
    genesis: bytes,
    converters: Mapping[int, Converter] = CONVERTERS,
) -> Upgraded:
    """Go on under this release's rules where a journal under older ones ends. Can be run again.

    Args:
        journal: The journal's folder; no exchange may have it open.
        snapshots: The snapshots' folder.
        genesis: What the exchange started from.
        converters: See CONVERTERS.

    Raises:
        UpgradeRefused: it has these rules already or newer ones; its last snapshot is not of its
            end; or no converter leads here.
        JournalNotFound: the folder has no journal.
        JournalLocked: an exchange runs.
        SnapshotsBusy: a follower is at work.
        JournalError: the journal cannot be read or written.
        OSError: the old snapshot cannot be copied, or the published digests not be removed.
    """
    if not has_journal(journal):
        raise JournalNotFound(journal)
    disk = OsFileSystem()
    store = SnapshotStore(snapshots)
    with contextlib.ExitStack() as held:
        try:
            held.callback(disk.lock(journal / LOCK_NAME).close)
        except LockHeld as error:
            raise JournalLocked(journal / LOCK_NAME, error.holder) from error
        stat = verify_journal(journal, genesis=genesis, beginning_kept=False)
        old = stat.segments[-1].rules_version
        if old >= RULES_VERSION:
            raise UpgradeRefused(
                f"the journal is under rules {old}, and this release has {RULES_VERSION}"
            )
        if stat.torn_tail is not None:
            raise UpgradeRefused(
                f"{stat.torn_tail.path.name} ends with a torn tail: start and stop the release "
                "that wrote it once, and let it take its last snapshot after that"
            )
        held.callback(store.lock().close)
        head, state = _last_state(store, stat, genesis)
        if head.rules_version < RULES_VERSION:
            head = _converted(store, head, state, converters)
        # They are of states and outcomes under the old rules, which no replay comes by again.
        DigestFile(snapshots).forget()
        header = SegmentHeader(
            FORMAT_VERSION,
            RULES_VERSION,
            stat.epoch,
            stat.next_sequence,
            stat.segments[-1].alignment,
            stat.segments[-1].segment_bytes,
            stat.genesis,
            stat.chain_hash,
        )
        (journal / UNFINISHED_NAME).unlink(missing_ok=True)
        segment = SegmentBuilder(disk, journal, header.segment_bytes).finish(header)
        return Upgraded(old, RULES_VERSION, head.sequence, head.digest, segment)


def _last_state(
    store: SnapshotStore, stat: JournalStat, genesis: bytes
) -> tuple[SnapshotHead, bytes]:
    """The snapshot of the journal's very end."""
    path = store.path(stat.next_sequence - 1)
    try:
        head, state = store.read(path)
    except SnapshotDamaged as error:
        raise UpgradeRefused(
            f"there is no good snapshot of the journal's end, sequence {stat.next_sequence - 1} "
            f"({error.reason}): with the release that wrote it, stop the exchange and run flopex "
            "journal snapshot"
        ) from error
    position = Position(stat.next_sequence, head.position.epoch, stat.chain_hash)
    if head.genesis != genesis_digest(genesis) or head.position != position:
        raise UpgradeRefused(f"{path} is not of this journal")
    return head, bytes(state)


def _converted(
    store: SnapshotStore, head: SnapshotHead, state: bytes, converters: Mapping[int, Converter]
) -> SnapshotHead:
    """The state under the new rules, checked, and stored in the old one's place."""
    tree = msgspec.msgpack.decode(state)
    while tree[0] < RULES_VERSION:
        convert = converters.get(tree[0])
        if convert is None:
            raise UpgradeRefused(f"this release cannot take over a state of rules {tree[0]}")
        tree = [tree[0] + 1, *convert(tree)[1:]]
    new = msgspec.msgpack.encode(tree)
    try:
        exchange = load(new)
        exchange.check()
    except (SnapshotInvalid, AssertionError) as error:
        raise UpgradeRefused(f"the state does not fit the new rules: {error}") from error
    if exchange.dump() != new:
        raise UpgradeRefused("the state does not come back from its own bytes under the new rules")
    path = store.path(head.sequence)
    # The old release can still go back to its own.
    copy_file(path, path.with_suffix(f".rules-{head.rules_version}"))
    head = head_of(RULES_VERSION, head.genesis, head.position, head.outcomes, new)
    store.write(head, new)
    return head
