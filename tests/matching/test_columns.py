"""Columns: every list of integers comes back, in the fewest bytes, and nothing else is taken."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from matching.columns import count_of, cut, halves, joined, numbers, pack, unpack

INT64 = st.integers(-(2**63), 2**63 - 1)


@given(st.lists(INT64, max_size=50))
def test_there_and_back(values: list[int]) -> None:
    column = pack(values)
    assert unpack(column, len(values)) == values
    assert pack(unpack(column, len(values))) == column
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("matching.columns.COMPILED", True)
        assert list(numbers(column, len(values))) == values


@given(st.sets(INT64, max_size=50))
def test_a_column_of_different_integers_knows_their_number(values: set[int]) -> None:
    assert count_of(pack(sorted(values))) == len(values)


@pytest.mark.parametrize(
    ("values", "size"),
    [
        ([], 0),
        ([7] * 1_000, 9),
        ([-128, 127], 1 + 2),
        ([-129, 127], 1 + 4),
        ([0, 128], 1 + 4),
        ([0, 2**15 - 1], 1 + 4),
        ([0, 2**15], 1 + 8),
        ([0, 2**31 - 1], 1 + 8),
        ([0, 2**31], 1 + 16),
        ([-(2**63), 2**63 - 1], 1 + 16),
    ],
)
def test_the_fewest_bytes(values: list[int], size: int) -> None:
    column = pack(values)
    assert len(column) == size
    assert list(numbers(column, len(values))) == values


def test_a_column_that_does_not_collapse_tells_its_number() -> None:
    for values in ([7] * 5, [7], [1, 2]):
        column = pack(values, collapse=False)
        assert count_of(column) == len(values)
        assert unpack(column, len(values)) == values


def test_more_than_64_bits_go_into_two_columns() -> None:
    values = [0, 1, 2**62 - 1, 2**62, 10**24, 2**120]
    assert joined(*halves(values), len(values)) == values
    with pytest.raises(OverflowError):
        pack([0, 2**63])
    with pytest.raises(OverflowError):
        pack([2**63])


@pytest.mark.parametrize(
    ("column", "count"),
    [
        (b"", 1),
        (b"\x00", 1),
        (b"\x00" + bytes(7), 1),
        (b"\x00" + bytes(9), 1),
        (b"\x03" + bytes(3), 1),
        (b"\x01" + bytes(3), 2),
        (b"\x08" + bytes(15), 2),
        (b"\x01", 1),
        (b"\x01" + bytes(1), 0),
    ],
)
def test_what_is_no_column_is_refused(
    column: bytes, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("matching.columns.COMPILED", True)
    for read in (unpack, numbers):
        with pytest.raises(ValueError, match="no column"):
            read(column, count)


def test_strings_of_one_size() -> None:
    assert cut(b"abcdef", 2, 3) == [b"ab", b"cd", b"ef"]
    assert cut(b"", 16, 0) == []
    with pytest.raises(ValueError, match="not 2 times 2"):
        cut(b"abcde", 2, 2)
    with pytest.raises(ValueError, match="width"):
        count_of(b"\x05abc")
