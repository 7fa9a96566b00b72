"""Writing, reading back, rotating, refusing."""

from __future__ import annotations

import doctest
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exchange.journal import (
    FIRST_SEQUENCE,
    GROUP_COUNT_MAX,
    GroupRecord,
    JournalClosed,
    JournalDamaged,
    JournalEpochStale,
    JournalGenesisMismatch,
    JournalGroupTooLarge,
    JournalLocked,
    JournalNotFound,
    JournalOutOfOrder,
    JournalVersionMismatch,
    LocalLog,
    LogStore,
    read_journal,
    verify_journal,
)
from exchange.journal.format import (
    HEADER_BYTES,
    SEQUENCE_MAX,
    decode_header,
    encode_header,
)
from exchange.journal.segment import segment_paths
from exchange.journal.simulated import SimulatedDisk

OpenLog = Callable[..., LocalLog]
Fill = Callable[..., list[GroupRecord]]


def test_groups_come_back_in_order(tmp_path: Path, open_log: OpenLog, fill: Fill) -> None:
    with open_log(tmp_path / "journal") as log:
        written = fill(log, 20)
        assert list(log.read_from(FIRST_SEQUENCE)) == written
        state = (log.next_sequence, log.epoch, log.chain_hash)
    with open_log(tmp_path / "journal") as log:
        assert list(log.read_from(1)) == written
        assert (log.next_sequence, log.epoch, log.chain_hash) == state
        assert log.recovered.groups == 20
        assert log.recovered.records == log.next_sequence - 1
        assert log.recovered.torn_tail is None
        written += fill(log, 5)
    assert list(read_journal(tmp_path / "journal")) == written


def test_a_local_log_is_a_log_store(tmp_path: Path, open_log: OpenLog) -> None:
    store: LogStore = open_log(tmp_path)
    assert store.next_sequence == FIRST_SEQUENCE
    assert store.epoch == 0
    store.close()
    store.close()


def test_reading_begins_with_the_group_that_holds_the_sequence(
    tmp_path: Path, open_log: OpenLog, fill: Fill
) -> None:
    with open_log(tmp_path) as log:
        written = fill(log, 30)
        assert len(log.recovered.segments) == 1
        assert len(verify_journal(tmp_path).segments) > 2
        for sequence in range(1, log.next_sequence):
            expected = [g for g in written if g.next_sequence > sequence]
            assert list(log.read_from(sequence)) == expected
        assert list(log.read_from(log.next_sequence)) == []
        for sequence in (0, log.next_sequence + 1):
            with pytest.raises(JournalOutOfOrder):
                log.read_from(sequence)


def test_reading_ends_where_the_log_ended_when_it_began(
    tmp_path: Path, open_log: OpenLog, fill: Fill
) -> None:
    with open_log(tmp_path) as log:
        written = fill(log, 3)
        reading = log.read_from(1)
        fill(log, 20)
        assert list(reading) == written


def test_a_segment_that_is_full_is_followed_by_another(
    tmp_path: Path, open_log: OpenLog, group: Callable[..., GroupRecord]
) -> None:
    with open_log(tmp_path) as log:
        largest = log.group_bytes_max
        sizes = [largest, 1, largest, 400, 400]
        written = []
        for size in sizes:
            written.append(group(log.next_sequence, size=size))
            log.append(written[-1])
        stat = verify_journal(tmp_path)
        assert [segment.groups for segment in stat.segments] == [1, 1, 1, 2]
        names = [segment.path.name for segment in stat.segments]
        firsts = [written[index].first_sequence for index in (0, 1, 2, 3)]
        assert names == [f"{first:020d}.log" for first in firsts]
        assert {path.stat().st_size for path in segment_paths_of(tmp_path)} == {8192}
    with open_log(tmp_path) as log:
        assert list(log.read_from(1)) == written


def test_a_segment_that_was_prepared_costs_little_when_it_is_needed(
    open_log: OpenLog, group: Callable[..., GroupRecord]
) -> None:
    disk = SimulatedDisk()
    with open_log(Path("journal"), files=disk, segment_bytes=65536) as log:
        assert [log.prepare(20_000) for _ in range(5)] == [False, False, False, True, True]
        log.append(group(1, size=log.group_bytes_max))
        before = len(disk.changes)
        log.append(group(log.next_sequence, size=100))
        changes = disk.changes[before:]
        assert [(c.operation, c.size) for c in changes] == [
            ("pwrite", HEADER_BYTES),
            ("fdatasync", 0),
            ("rename", 0),
            ("sync_directory", 0),
            ("submit", 512),
            ("wait", 512),
        ]
        log.prepare(1)
    # What was prepared and not needed is removed.
    assert "next.new" in disk.names(Path("journal"))
    with open_log(Path("journal"), files=disk) as log:
        assert log.recovered.groups == 2
        assert "next.new" not in disk.names(Path("journal"))


def segment_paths_of(directory: Path) -> list[Path]:
    return sorted(directory.glob("*.log"))


def test_a_larger_segment_replaces_one_that_holds_no_group(
    tmp_path: Path, open_log: OpenLog, group: Callable[..., GroupRecord]
) -> None:
    open_log(tmp_path).close()
    with open_log(tmp_path, segment_bytes=65536) as log:
        log.append(group(1, size=20_000))
    stat = verify_journal(tmp_path)
    assert [segment.segment_bytes for segment in stat.segments] == [65536]


@pytest.mark.parametrize("alignment", [512, 1024, 2048, 4096])
def test_every_alignment_works(
    tmp_path: Path, open_log: OpenLog, fill: Fill, alignment: int
) -> None:
    with open_log(tmp_path, alignment=alignment, segment_bytes=16384) as log:
        written = fill(log, 20)
    with open_log(tmp_path) as log:
        written += fill(log, 20)
        assert list(log.read_from(1)) == written


def test_what_is_refused_leaves_the_log_as_it_was(
    tmp_path: Path, open_log: OpenLog, fill: Fill
) -> None:
    with open_log(tmp_path) as log:
        written = fill(log, 2, epoch=5)
        following = log.next_sequence
        good = GroupRecord(following, 1, 5, b"good")
        for bad, error in [
            (good._replace(first_sequence=following - 1), JournalOutOfOrder),
            (good._replace(first_sequence=following + 1), JournalOutOfOrder),
            (good._replace(epoch=4), JournalEpochStale),
            (good._replace(epoch=1 << 63), JournalEpochStale),
            (good._replace(payload=b""), JournalGroupTooLarge),
            (good._replace(payload=bytes(log.group_bytes_max + 1)), JournalGroupTooLarge),
            (good._replace(count=0), JournalGroupTooLarge),
            (good._replace(count=GROUP_COUNT_MAX + 1), JournalGroupTooLarge),
        ]:
            with pytest.raises(error):
                log.append(bad)
        log.append(good)
        assert list(log.read_from(1)) == [*written, good]


def test_the_largest_group_is_taken(tmp_path: Path, open_log: OpenLog) -> None:
    with open_log(tmp_path) as log:
        largest = GroupRecord(1, GROUP_COUNT_MAX, 1, bytes(log.group_bytes_max))
        log.append(largest)
        assert list(log.read_from(1)) == [largest]


def test_sequences_do_not_run_over(open_log: OpenLog) -> None:
    log = open_log(Path("journal"), files=SimulatedDisk())
    log._position = log._position._replace(next_sequence=SEQUENCE_MAX)
    with pytest.raises(JournalGroupTooLarge):
        log.append(GroupRecord(SEQUENCE_MAX, 1, 1, b"x"))


def test_the_epoch_may_rise_within_a_segment(tmp_path: Path, open_log: OpenLog, fill: Fill) -> None:
    with open_log(tmp_path) as log:
        fill(log, 1, epoch=1)
    with open_log(tmp_path) as log:
        assert log.epoch == 1
        fill(log, 1, epoch=2)
    with open_log(tmp_path) as log:
        assert log.epoch == 2
        with pytest.raises(JournalEpochStale, match="replaced and must stop"):
            fill(log, 1, epoch=1)


def test_a_closed_log_says_so(tmp_path: Path, open_log: OpenLog, fill: Fill) -> None:
    log = open_log(tmp_path)
    log.close()
    with pytest.raises(JournalClosed):
        fill(log, 1)
    with pytest.raises(JournalClosed):
        log.prepare()


def test_other_rules_are_refused(tmp_path: Path, open_log: OpenLog, fill: Fill) -> None:
    with open_log(tmp_path) as log:
        written = fill(log, 1)
    with pytest.raises(JournalVersionMismatch, match="flopex journal upgrade") as caught:
        open_log(tmp_path, rules_version=4)
    assert (caught.value.found, caught.value.wanted) == (3, 4)
    with open_log(tmp_path) as log:  # and the lock was given back
        assert list(log.read_from(1)) == written


def test_another_exchange_is_refused(tmp_path: Path, open_log: OpenLog) -> None:
    open_log(tmp_path).close()
    with pytest.raises(JournalGenesisMismatch, match="belongs to another exchange"):
        open_log(tmp_path, genesis=b"another")


def test_a_newer_format_is_told_from_damage(tmp_path: Path, open_log: OpenLog) -> None:
    open_log(tmp_path).close()
    (path,) = segment_paths_of(tmp_path)
    raw = bytearray(path.read_bytes())
    header = decode_header(bytes(raw[:HEADER_BYTES]))
    raw[:HEADER_BYTES] = encode_header(header._replace(format_version=2))
    path.write_bytes(raw)
    with pytest.raises(JournalVersionMismatch, match="format 2, this program needs 1"):
        open_log(tmp_path)


@pytest.mark.parametrize(
    "options",
    [
        {"rules_version": -1},
        {"rules_version": 1 << 32},
        {"alignment": 513},
        {"segment_bytes": 4096},
        {"segment_bytes": 8193},
        {"segment_bytes": 1 << 31},
    ],
)
def test_options_have_bounds(tmp_path: Path, open_log: OpenLog, options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(options))):
        open_log(tmp_path, **options)
    assert list(tmp_path.iterdir()) == []


def test_there_is_one_writer_in_a_process(tmp_path: Path, open_log: OpenLog) -> None:
    with open_log(tmp_path), pytest.raises(JournalLocked, match="is in use by process"):
        open_log(tmp_path)
    open_log(tmp_path).close()


def test_a_folder_without_a_journal_is_not_one(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "missing"):
        with pytest.raises(JournalNotFound):
            verify_journal(folder)


def test_files_are_for_their_owner_only(tmp_path: Path, open_log: OpenLog) -> None:
    open_log(tmp_path / "journal").close()
    assert (tmp_path / "journal").stat().st_mode & 0o077 == 0
    for path in (tmp_path / "journal").iterdir():
        assert path.stat().st_mode & 0o077 == 0


def test_an_unfinished_segment_is_removed(tmp_path: Path, open_log: OpenLog, fill: Fill) -> None:
    with open_log(tmp_path) as log:
        written = fill(log, 3)
    unfinished = tmp_path / f"{99:020d}.new"
    unfinished.write_bytes(b"half")
    with open_log(tmp_path) as log:
        assert not unfinished.exists()
        assert list(log.read_from(1)) == written


def test_a_missing_group_is_noticed_on_reading_back(open_log: OpenLog, fill: Fill) -> None:
    disk = SimulatedDisk()
    with open_log(Path("journal"), files=disk) as log:
        fill(log, 2, size=100)
        (path,) = segment_paths(disk, Path("journal"))
        disk.content(path)[HEADER_BYTES + 512 :] = bytes(8192 - HEADER_BYTES - 512)
        with pytest.raises(JournalDamaged, match="can no longer be read"):
            list(log.read_from(1))


@settings(max_examples=60)
@given(data=st.data())
def test_any_groups_and_restarts_come_back(data: st.DataObject) -> None:
    disk = SimulatedDisk()
    written: list[GroupRecord] = []
    epoch = 0
    for _ in range(data.draw(st.integers(1, 4), "restarts")):
        epoch += data.draw(st.integers(0, 2))
        segment_bytes = data.draw(st.sampled_from([8192, 16384, 65536]))
        with LocalLog(
            Path("journal"),
            rules_version=1,
            genesis=b"",
            segment_bytes=segment_bytes,
            alignment=data.draw(st.sampled_from([512, 4096])),
            files=disk,
        ) as log:
            assert list(log.read_from(1)) == written
            for _ in range(data.draw(st.integers(0, 6), "groups")):
                size = data.draw(
                    st.integers(1, log.group_bytes_max) | st.just(log.group_bytes_max), "size"
                )
                payload = data.draw(st.sampled_from([bytes, lambda n: b"\x5a" * n]))(size)
                count = data.draw(st.integers(1, 1000))
                written.append(GroupRecord(log.next_sequence, count, epoch, payload))
                log.append(written[-1])
    assert list(read_journal(Path("journal"), files=disk)) == written


def test_the_example_in_the_documentation_runs() -> None:
    import exchange.journal.log as documented

    assert doctest.testmod(documented) == (0, 4)
