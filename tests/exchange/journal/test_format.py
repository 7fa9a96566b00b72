"""The bytes of headers and blocks."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exchange.journal.errors import JournalDamaged
from exchange.journal.format import (
    BLOCK_ALIGNMENTS,
    END_MARK,
    GROUP_BYTES_MAX,
    HEAD_BYTES,
    HEADER_BYTES,
    SECTOR_BYTES,
    SEGMENT_BYTES,
    BadBlock,
    GroupRecord,
    Position,
    SegmentHeader,
    check_head,
    count_zero_sectors,
    decode_body,
    decode_head,
    decode_header,
    encode_block,
    encode_header,
    group_bytes_max,
)

HASH = bytes(range(32))
HEADER = SegmentHeader(1, 7, 2, 100, 512, 1 << 20, bytes(32), HASH)


@given(
    payload=st.binary(min_size=1, max_size=3000) | st.integers(1, 3000).map(bytes),
    alignment=st.sampled_from(BLOCK_ALIGNMENTS),
)
def test_a_block_comes_back_as_it_was(payload: bytes, alignment: int) -> None:
    group = GroupRecord(5, 2, 9, payload)
    raw, chain_hash = encode_block(group, HASH, alignment)
    assert len(raw) % alignment == 0
    head = decode_head(memoryview(raw))
    check_head(head, Position(5, 9, HASH), len(raw))
    assert decode_body(head, memoryview(raw)) == (group, len(raw), chain_hash)
    zeros = sum(not any(raw[at : at + SECTOR_BYTES]) for at in range(0, len(raw), SECTOR_BYTES))
    assert head.zero_sectors == zeros


def test_a_header_comes_back_as_it_was() -> None:
    page = encode_header(HEADER)
    assert len(page) == HEADER_BYTES
    assert decode_header(page) == HEADER


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"alignment": 100}, "out of bounds"),
        ({"segment_bytes": 1}, "out of bounds"),
        ({"first_sequence": 0}, "out of bounds"),
    ],
)
def test_a_header_out_of_bounds_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        decode_header(encode_header(HEADER._replace(**change)))


def test_a_header_cut_short_is_refused() -> None:
    with pytest.raises(ValueError, match="cut short"):
        decode_header(encode_header(HEADER)[:-1])


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"first_sequence": 6}, "sequence 6 stands where 5 should"),
        ({"previous_hash": bytes(32)}, "hash chain breaks"),
        ({"epoch": 8}, "epoch 8 follows epoch 9"),
        ({"count": 0}, "out of bounds"),
        ({"payload_bytes": GROUP_BYTES_MAX + 1}, "out of bounds"),
        ({"payload_bytes": 5000}, "runs over the end"),
    ],
)
def test_a_head_that_does_not_follow_is_refused(change: dict[str, Any], reason: str) -> None:
    raw, _ = encode_block(GroupRecord(5, 2, 9, b"x"), HASH, 512)
    head = decode_head(memoryview(raw))
    with pytest.raises(BadBlock, match=reason):
        check_head(head._replace(**change), Position(5, 9, HASH), 4096)


def test_no_single_bit_makes_a_byte_of_the_end_mark_zero() -> None:
    assert all(byte.bit_count() > 1 for byte in END_MARK)


def test_zero_sectors_are_counted_from_the_block_not_from_the_payload() -> None:
    assert count_zero_sectors(bytes(SECTOR_BYTES)) == 0
    assert count_zero_sectors(bytes(2 * SECTOR_BYTES - HEAD_BYTES)) == 1


def test_the_bound_of_a_group_leaves_room_for_its_frame() -> None:
    assert group_bytes_max(SEGMENT_BYTES, 512) == GROUP_BYTES_MAX
    largest = group_bytes_max(8192, 512)
    raw, _ = encode_block(GroupRecord(1, 1, 1, bytes(largest)), HASH, 512)
    assert len(raw) == 8192 - HEADER_BYTES


def test_one_hash_vouches_for_all_before_it() -> None:
    hashes = [HASH]
    for sequence in range(1, 4):
        hashes.append(encode_block(GroupRecord(sequence, 1, 1, b"same"), hashes[-1], 512)[1])
    assert all(before != after for before, after in pairwise(hashes))
    other = encode_block(GroupRecord(1, 1, 1, b"sama"), HASH, 512)[1]
    assert other != hashes[1]


def test_errors_say_where_and_what_to_do() -> None:
    message = str(JournalDamaged(Path("a.log"), 4096, "why", length=80, last_group=True))
    assert "a.log is damaged in the 80 bytes at offset 4096: why" in message
    assert "cut_damaged_tail" in message
