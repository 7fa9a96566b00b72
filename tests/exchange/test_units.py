from __future__ import annotations

import doctest
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exchange import units

NUMBERS = st.integers(min_value=-(2**62), max_value=2**62)
POSITIVE = st.integers(min_value=0, max_value=2**62)


def test_the_examples_in_the_docstrings_are_true() -> None:
    assert doctest.testmod(units).failed == 0


@given(NUMBERS)
def test_money_survives_text(nanos: int) -> None:
    assert units.parse_money(units.format_money(nanos)) == nanos
    assert units.parse_price(units.format_price(nanos)) == nanos


@given(POSITIVE)
def test_compute_survives_text(mflop: int) -> None:
    assert units.parse_compute(units.format_compute(mflop)) == mflop


@given(POSITIVE)
def test_durations_survive_text(duration_ns: int) -> None:
    assert units.parse_duration(units.format_duration(duration_ns)) == duration_ns


@pytest.mark.parametrize(
    ("text", "nanos"),
    [
        ("0.002", 2_000_000),
        (" $ .5 ", 500_000_000),
        ("1_000 dollars", 10**12),
        ("-$1", -(10**9)),
        ("17 nano-dollars", 17),
        ("1.000000000000", 10**9),
        ("1,002", 1_002 * 10**9),
        ("10,000,000 nanos", 10**7),
    ],
)
def test_money_is_read(text: str, nanos: int) -> None:
    assert units.parse_money(text) == nanos


@pytest.mark.parametrize(
    ("text", "mflop"),
    [
        ("1 MFLOP", 1),
        ("2.5 gflops", 2_500),
        ("1 PFLOP", 10**9),
        ("1,000 CU", 10**9),
        ("1EFLOP", 10**12),
    ],
)
def test_compute_is_read(text: str, mflop: int) -> None:
    assert units.parse_compute(text) == mflop


@pytest.mark.parametrize(
    ("read", "text"),
    [
        (units.parse_money, ""),
        (units.parse_money, "$"),
        (units.parse_money, "money"),
        (units.parse_money, "1 EUR"),
        (units.parse_money, "1,00"),
        (units.parse_money, "$5 nanos"),
        (units.parse_money, "0.0000000001"),
        (units.parse_money, "1e-3"),
        (units.parse_money, "٣"),
        (units.parse_price, "$1/GFLOP"),
        (units.parse_compute, "250"),
        (units.parse_compute, "1 FLOP"),
        (units.parse_compute, "0.5 MFLOP"),
        (units.parse_compute, "-1 CU"),
        (units.parse_compute, "CU"),
        (units.parse_duration, ""),
        (units.parse_duration, "30"),
        (units.parse_duration, "30 fortnights"),
        (units.parse_duration, "1h and more"),
        (units.parse_duration, "0.1 ns"),
        (units.parse_duration, "-1s"),
    ],
)
def test_what_is_no_amount_is_refused(read: Callable[[str], int], text: str) -> None:
    with pytest.raises(ValueError, match=r"not an? |finer than|no number"):
        read(text)


@pytest.mark.parametrize(
    ("read", "text"),
    [
        (units.parse_money, "0,002"),
        (units.parse_money, "-$0,002"),
        (units.parse_money, "00,002"),
        (units.parse_money, "012,500 nanos"),
        (units.parse_money, "1,50"),
        (units.parse_money, "1.500,25"),
        (units.parse_price, "0,440/CU"),
        (units.parse_compute, "0,250 CU"),
        (units.parse_duration, "0,500s"),
        (units.parse_duration, "1h 0,500s"),
    ],
)
def test_a_decimal_comma_is_refused_and_not_read_as_thousands(
    read: Callable[[str], int], text: str
) -> None:
    with pytest.raises(ValueError, match="a comma only groups thousands, the decimal sign is a"):
        read(text)


def test_what_has_no_comma_is_told_nothing_of_commas() -> None:
    with pytest.raises(ValueError, match=r"like '30s' or '1h 30m'\)$"):
        units.parse_duration("30")


@pytest.mark.parametrize(
    "read", [units.parse_money, units.parse_price, units.parse_compute, units.parse_duration]
)
@pytest.mark.parametrize("value", [0.002, True, None, b"1"])
def test_only_integers_and_text_are_taken(read: Callable[[object], int], value: object) -> None:
    with pytest.raises(TypeError, match="must be an int or a str"):
        read(value)
