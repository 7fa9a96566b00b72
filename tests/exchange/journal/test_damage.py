"""Bytes that are not what was written: which are torn tails, which are damage, and where."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import NamedTuple

import pytest

from exchange.journal import (
    GroupRecord,
    JournalDamaged,
    JournalStat,
    LocalLog,
    TornTail,
    verify_journal,
)
from exchange.journal.format import (
    HEAD_BYTES,
    HEADER_BYTES,
    SECTOR_BYTES,
    TRAILER_BYTES,
    align,
    encode_block,
)
from exchange.journal.segment import segment_paths
from exchange.journal.simulated import SimulatedDisk
from tests.exchange.journal.runs import flip_bits

OpenLog = Callable[..., LocalLog]
FOLDER = Path("journal")


class Written(NamedTuple):
    """A small journal on a simulated disk; `starts` are the offsets of the last segment's blocks,
    and where the zeros begin."""

    disk: SimulatedDisk
    paths: list[Path]
    starts: list[int]
    groups: list[GroupRecord]

    @property
    def content(self) -> bytearray:
        return self.disk.content(self.paths[-1])

    def verify(self) -> JournalStat:
        return verify_journal(FOLDER, files=self.disk)


def extent(group: GroupRecord) -> int:
    return align(HEAD_BYTES + len(group.payload) + TRAILER_BYTES, SECTOR_BYTES)


@pytest.fixture
def write(open_log: OpenLog) -> Callable[[list[bytes]], Written]:
    def written(payloads: list[bytes]) -> Written:
        disk = SimulatedDisk()
        groups = []
        with open_log(FOLDER, files=disk) as log:
            for payload in payloads:
                groups.append(GroupRecord(log.next_sequence, 2, 1, payload))
                log.append(groups[-1])
        stat = verify_journal(FOLDER, files=disk)
        starts = [HEADER_BYTES]
        for group in groups[len(groups) - stat.segments[-1].groups :]:
            starts.append(starts[-1] + extent(group))
        return Written(disk, segment_paths(disk, FOLDER), starts, groups)

    return written


Write = Callable[[list[bytes]], Written]
SPARSE = b"head" + bytes(1300) + b"tail"


def test_every_flipped_bit_is_named(write: Write) -> None:
    # One payload is all zeros, and the last group has sectors of zeros in it.
    written = write([b"x", bytes(300), SPARSE])
    assert len(written.content) == 8192
    assert flip_bits(written.disk, written.paths[-1], range(8192)) == 65_536


def test_a_flipped_bit_in_a_full_segment_is_never_a_torn_tail(write: Write) -> None:
    written = write([b"a" * 1000, b"b" * 1000, b"c" * 1500, b"d"])
    assert len(written.paths) == 2
    first = written.disk.content(written.paths[0])
    for offset in range(0, len(first), 3):
        first[offset] ^= 0x10
        with pytest.raises(JournalDamaged) as caught:
            written.verify()
        damage = caught.value
        assert damage.path == written.paths[0]
        assert damage.offset <= offset < damage.offset + damage.length
        assert not damage.last_group
        first[offset] ^= 0x10


@pytest.mark.parametrize("payload", [b"\xa5" * 1200, SPARSE, bytes(1200), b"x"])
@pytest.mark.parametrize("shorter_file", [False, True])
def test_a_last_group_cut_at_any_byte_is_a_torn_tail(
    write: Write, open_log: OpenLog, payload: bytes, shorter_file: bool
) -> None:
    written = write([b"first", b"second" * 100, payload])
    whole = bytes(written.content)
    start = written.starts[-2]
    size = HEAD_BYTES + len(payload) + TRAILER_BYTES
    # Every length of head and trailer; the payload's in steps that meet every sector's edge.
    payload_cuts = range(HEAD_BYTES, size - TRAILER_BYTES - 1, 1 if len(payload) < 600 else 7)
    edges = range(SECTOR_BYTES, size, SECTOR_BYTES)
    cuts = {*range(HEAD_BYTES), *payload_cuts, *edges, *range(size - TRAILER_BYTES - 1, size + 1)}
    for cut in sorted(cuts):
        content = written.content
        content[:] = whole
        if shorter_file:
            del content[start + cut :]
        else:
            content[start + cut :] = bytes(len(whole) - start - cut)
        with open_log(FOLDER, files=written.disk) as log:
            torn = log.recovered.torn_tail
            kept = written.groups if cut == size else written.groups[:2]
            assert list(log.read_from(1)) == kept
            if cut in {0, size}:
                assert torn is None
            else:
                left = len(whole[start : start + cut].rstrip(b"\0"))
                assert torn is not None
                assert torn[:3] == (written.paths[-1], start, left)
            assert len(written.content) == len(whole)
            # What a start that fails meets is there for the next one, too.
            assert written.content[start : start + cut] == whole[start : start + cut]
            again = GroupRecord(log.next_sequence, 1, 1, b"again")
            log.append(again)
            assert list(log.read_from(1)) == [*kept, again]
            assert cut == size or not any(written.content[start + SECTOR_BYTES :])


@pytest.mark.parametrize("payload", [b"\xa5" * 1800, SPARSE, bytes(1700)])
def test_any_sectors_of_the_last_group_may_be_missing(write: Write, payload: bytes) -> None:
    written = write([b"first", payload])
    whole = bytes(written.content)
    start, end = written.starts[-2:]
    starts = range(start, end, SECTOR_BYTES)
    for kept in product([False, True], repeat=len(starts)):
        written.content[:] = whole
        for at, is_kept in zip(starts, kept, strict=True):
            if not is_kept:
                written.content[at : at + SECTOR_BYTES] = bytes(SECTOR_BYTES)
        stat = written.verify()
        if written.content == whole:
            assert stat.groups == 2
            assert stat.torn_tail is None
        else:
            assert stat.groups == 1
            left = len(written.content[start:].rstrip(b"\0"))
            expected = None if not left else (written.paths[-1], start, left)
            assert (stat.torn_tail and stat.torn_tail[:3]) == expected


def test_a_damaged_last_group_is_given_up_only_on_request(write: Write, open_log: OpenLog) -> None:
    written = write([b"first", b"second" * 100])
    start = written.starts[-2]
    written.content[start + 100] ^= 1
    with pytest.raises(JournalDamaged, match="open with cut_damaged_tail"):
        open_log(FOLDER, files=written.disk)
    with open_log(FOLDER, files=written.disk, cut_damaged_tail=True) as log:
        torn = log.recovered.torn_tail
        assert isinstance(torn, TornTail)
        assert (torn.offset, torn.offset + torn.bytes) == (start, 8192)
        assert list(log.read_from(1)) == written.groups[:1]
    # A start that failed has given up nothing.
    with pytest.raises(JournalDamaged):
        open_log(FOLDER, files=written.disk)
    with open_log(FOLDER, files=written.disk, cut_damaged_tail=True) as log:
        log.append(GroupRecord(log.next_sequence, 1, 1, b"again"))
    with open_log(FOLDER, files=written.disk) as log:
        assert (log.recovered.torn_tail, log.recovered.groups) == (None, 2)


def test_damage_before_a_good_group_is_never_given_up(write: Write, open_log: OpenLog) -> None:
    written = write([b"first" * 200, b"second", b"third"])
    written.content[HEADER_BYTES + 300] ^= 1
    with pytest.raises(JournalDamaged, match=f"a good group follows at offset {5632}") as caught:
        open_log(FOLDER, files=written.disk, cut_damaged_tail=True)
    assert caught.value.offset == HEADER_BYTES + HEAD_BYTES


def test_a_group_that_vanished_is_damage(write: Write) -> None:
    written = write([b"first", b"second", b"third"])
    written.content[written.starts[1] : written.starts[2]] = bytes(SECTOR_BYTES)
    with pytest.raises(JournalDamaged, match="no group begins here; a good group follows"):
        written.verify()


def test_groups_in_another_order_are_damage(write: Write) -> None:
    written = write([b"first", b"second", b"third"])
    a, b, c = written.starts[:3]
    content = written.content
    content[a:b], content[b:c] = content[b:c], content[a:b]
    with pytest.raises(JournalDamaged, match="sequence 3 stands where 1 should"):
        written.verify()


def test_a_group_that_was_rewritten_breaks_the_chain(write: Write) -> None:
    written = write([b"first", b"second"])
    forged, _ = encode_block(GroupRecord(1, 2, 1, b"FIRST"), bytes(32), SECTOR_BYTES)
    written.content[HEADER_BYTES : HEADER_BYTES + len(forged)] = forged
    with pytest.raises(JournalDamaged, match="the hash chain breaks at sequence 1"):
        written.verify()


def test_garbage_instead_of_the_last_group_is_damage(write: Write) -> None:
    written = write([b"first", b"second"])
    start, end = written.starts[-2:]
    written.content[start:end] = b"\xff" * (end - start)
    with pytest.raises(JournalDamaged) as caught:
        written.verify()
    assert caught.value.offset == start
    assert caught.value.last_group


@pytest.mark.parametrize(
    ("missing", "reason"),
    [(0, "the segments before sequence"), (1, "before this segment are missing")],
)
def test_a_missing_segment_is_damage(write: Write, missing: int, reason: str) -> None:
    written = write([b"x" * 3000] * 3)
    assert len(written.paths) == 3
    written.disk.remove(written.paths[missing])
    with pytest.raises(JournalDamaged, match=reason):
        written.verify()


def test_a_full_segment_that_was_cut_is_damage(write: Write) -> None:
    written = write([b"x" * 3000] * 2)
    del written.disk.content(written.paths[0])[HEADER_BYTES + 700 :]
    with pytest.raises(JournalDamaged, match="another segment follows"):
        written.verify()


def test_a_segment_of_another_journal_is_damage(write: Write) -> None:
    written, other = write([b"x" * 3000] * 2), write([b"y" * 3000] * 2)
    written.content[:] = other.content
    with pytest.raises(JournalDamaged, match="does not continue the one before"):
        written.verify()


def test_a_renamed_segment_is_damage(write: Write) -> None:
    written = write([b"x" * 3000] * 2)
    written.disk.rename(written.paths[1], written.paths[1].with_name(f"{9:020d}.log"))
    with pytest.raises(JournalDamaged, match="its name says another"):
        written.verify()


def test_other_files_in_the_folder_are_left_alone(write: Write) -> None:
    written = write([b"x"])
    for name in ("notes.log", f"{1:019d}.log", f"{5:020d}.txt"):
        written.disk.open(FOLDER / name, create=True).pwrite(b"?", 0)
    assert written.verify().groups == 1
