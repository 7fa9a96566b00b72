"""Start-up takes the newest snapshot that is good and of this journal, and says what it passed."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest

from exchange.core.limits import RULES_VERSION
from exchange.engine import Engine, EngineConfig, Group
from exchange.journal import (
    JournalBehind,
    JournalDamaged,
    LocalLog,
    Position,
    SnapshotStore,
    genesis_digest,
    head_of,
)
from exchange.recovery import DigestFile, Published, Started, follow, recover
from exchange.testing.clock import ManualClock
from tests.exchange.recovery.journals import (
    GENESIS,
    SEGMENT_BYTES,
    groups,
    open_log,
    replayed,
    write,
)


def start(folder: Path, before: int | None = None) -> Started[LocalLog]:
    def open_behind(position: Position | None) -> LocalLog:
        return LocalLog(
            folder / "journal", rules_version=RULES_VERSION, genesis=GENESIS, start=position
        )

    started = recover(SnapshotStore(folder / "snapshots"), GENESIS, open_behind, before=before)
    for group in started.log.read_from(started.next_sequence):
        started.replica.apply(group.first_sequence, group.payload)
    started.log.close()
    return started


def journal_with_snapshots(folder: Path, seed: int, *ends: int) -> list[Path]:
    """A whole journal and snapshots at some of its groups, the newest first."""
    found = groups(seed)
    for end in ends:
        write(folder / "journal", found[:end])
        follow(folder / "journal", folder / "snapshots", GENESIS)
    write(folder / "journal", found)
    return SnapshotStore(folder / "snapshots").paths()


def test_snapshot_and_tail_are_the_whole_journal(tmp_path: Path) -> None:
    newest, _ = journal_with_snapshots(tmp_path, 1, 20, 40)
    started, whole = start(tmp_path), replayed(groups(1))
    assert (started.snapshot, started.refused) == (newest, ())
    assert started.next_sequence == groups(1)[39].next_sequence
    assert started.replica.core.dump() == whole.core.dump()
    assert started.replica.outcomes == whole.outcomes
    started.replica.core.check()


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda data: data[:-1], "bytes, its head says"),
        (lambda data: data[:100], "head of a snapshot is missing"),
        (lambda _: b"", "head of a snapshot is missing"),
        (lambda data: data[:5_000] + bytes([data[5_000] ^ 4]) + data[5_001:], "digest of the head"),
        (lambda data: data[:-1] + b"X", "end is missing"),
        (lambda data: data[:20] + bytes([data[20] ^ 1]) + data[21:], "checksum"),
    ],
)
def test_a_damaged_one_gives_way_to_the_one_before(tmp_path: Path, damage, reason: str) -> None:  # type: ignore[no-untyped-def]
    newest, older = journal_with_snapshots(tmp_path, 2, 20, 40)
    newest.write_bytes(damage(newest.read_bytes()))
    started = start(tmp_path)
    assert started.snapshot == older
    (refused,) = started.refused
    assert newest.name in refused
    assert reason in refused
    assert started.replica.core.dump() == replayed(groups(2)).core.dump()
    older.write_bytes(damage(older.read_bytes()))
    started = start(tmp_path)
    assert (started.snapshot, len(started.refused)) == (None, 2)
    assert started.replica.core.dump() == replayed(groups(2)).core.dump()


def test_one_of_other_rules_or_of_another_exchange_is_not_taken(tmp_path: Path) -> None:
    (path,) = journal_with_snapshots(tmp_path, 3, 30)
    store = SnapshotStore(tmp_path / "snapshots")
    head, state = store.read(path)
    store.write(head._replace(rules_version=RULES_VERSION + 1), bytes(state))
    assert "under rules" in start(tmp_path).refused[0]
    store.write(head._replace(genesis=genesis_digest(b"another")), bytes(state))
    assert "another exchange" in start(tmp_path).refused[0]
    store.write(head._replace(position=head.position._replace(chain_hash=bytes(32))), bytes(state))
    assert "another history" in start(tmp_path).refused[0]
    wrong = head_of(RULES_VERSION, head.genesis, head.position, head.outcomes, b"\x90")
    store.write(wrong, b"\x90")
    assert "no state" in start(tmp_path).refused[0]
    # The state of another sequence, under this one's name.
    early = replayed(groups(3)[:5]).core.dump()
    store.write(head_of(RULES_VERSION, head.genesis, head.position, bytes(32), early), early)
    started = start(tmp_path)
    assert "a state after sequence" in started.refused[0]
    assert started.replica.core.dump() == replayed(groups(3)).core.dump()


def test_a_journal_that_ends_before_its_snapshot_has_lost_something(tmp_path: Path) -> None:
    journal_with_snapshots(tmp_path, 4, len(groups(4)))
    for segment in sorted((tmp_path / "journal").glob("*.log"))[-2:]:
        segment.unlink()
    with pytest.raises(JournalBehind, match="acknowledged commands are missing"):
        start(tmp_path)
    for path in SnapshotStore(tmp_path / "snapshots").paths():
        path.unlink()
    assert start(tmp_path).snapshot is None


def test_segments_before_the_snapshot_are_not_needed(tmp_path: Path) -> None:
    newest, older = journal_with_snapshots(tmp_path, 5, 20, 40)
    segments = sorted((tmp_path / "journal").glob("*.log"))
    first_needed = int(older.stem) + 1
    for segment, following in pairwise(segments):
        if int(following.stem) <= first_needed:
            segment.unlink()
    assert len(sorted((tmp_path / "journal").glob("*.log"))) < len(segments)
    assert start(tmp_path).snapshot == newest
    newest.unlink()
    assert start(tmp_path).snapshot == older
    # A reader who wants everything gets what is left, and is told.
    started = start(tmp_path, before=1)
    assert started.snapshot == older
    assert "missing" in started.refused[0]
    older.unlink()
    with pytest.raises(JournalDamaged, match="are missing"):
        start(tmp_path)


def test_readers_along_get_what_they_need(tmp_path: Path) -> None:
    newest, older = journal_with_snapshots(tmp_path, 6, 20, 40)
    assert start(tmp_path, before=int(newest.stem)).snapshot == older
    assert start(tmp_path, before=int(newest.stem) + 1).snapshot == newest
    assert start(tmp_path, before=1).snapshot is None


def config(folder: Path) -> EngineConfig:
    return EngineConfig(
        folder / "journal",
        segment_bytes=SEGMENT_BYTES,
        genesis=GENESIS,
        snapshots=folder / "snapshots",
    )


def opened(folder: Path, *, replay_from: int = 1) -> tuple[Engine, list[Group]]:
    seen: list[Group] = []
    engine = Engine.open(config(folder), ManualClock(0), seen.append, replay_from=replay_from)
    engine._log.close()
    return engine, seen


def test_an_engine_starts_from_it(tmp_path: Path) -> None:
    (newest,) = journal_with_snapshots(tmp_path, 7, 40)
    behind = int(newest.stem) + 1
    engine, seen = opened(tmp_path, replay_from=behind)
    assert engine.recovered.snapshot == newest
    assert engine.recovered.records == groups(7)[-1].next_sequence - behind
    assert seen[0].first_sequence == behind
    whole, everything = opened(tmp_path)  # from the beginning, with one epoch more
    assert whole.recovered.snapshot is None
    assert everything[0].first_sequence == 1
    assert whole.core.sequence == engine.core.sequence + 1


def test_an_engine_holds_its_replay_against_what_was_published(tmp_path: Path) -> None:
    journal_with_snapshots(tmp_path, 8, 20)
    digests = DigestFile(tmp_path / "snapshots")
    there = replayed(groups(8)[:40])
    digests.publish(Published(there.core.sequence, there.outcomes, there.core.digest()))
    assert opened(tmp_path)[0].recovered.differs == ""
    assert digests.read() == []
    digests.publish(Published(there.core.sequence, bytes(32), None))
    assert f"after sequence {there.core.sequence}" in opened(tmp_path)[0].recovered.differs


def test_a_start_does_not_read_what_lies_before(tmp_path: Path) -> None:
    """Damage there is for `flopex journal verify` to find; the snapshot vouches for the state."""
    (newest,) = journal_with_snapshots(tmp_path, 9, len(groups(9)) - 2)
    first = min((tmp_path / "journal").glob("*.log"))
    first.write_bytes(first.read_bytes()[:5_000])
    assert start(tmp_path).snapshot == newest
    with pytest.raises(JournalDamaged):
        open_log(tmp_path / "journal")
