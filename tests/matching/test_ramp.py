"""The tick table and the price of a managed bid over time."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from matching import PRICE_MAX, ramp_price, reach_time_ns, round_down, round_up
from matching.tick_table import TICKS

SECOND = 10**9
PRICES = st.integers(1, PRICE_MAX)
DENSITIES = st.integers(1, 10 * PRICE_MAX)
STARTS = st.integers(0, 10**6 * SECOND)
KS = st.integers(1, 10 * SECOND)


def test_the_table_follows_its_recurrence() -> None:
    ticks = [1]
    while ticks[-1] < PRICE_MAX:
        ticks.append(min(PRICE_MAX, ticks[-1] + -(-ticks[-1] // 50)))
    assert tuple(ticks) == TICKS


def test_steps_are_about_two_percent() -> None:
    for low, high in pairwise(TICKS):
        assert high - low == 1 or (high - low) * 100 <= 4 * low
        assert low < 1_000 or high == PRICE_MAX or 200 <= (high - low) * 10_000 // low <= 210


@given(PRICES)
def test_rounding_brackets_the_price_with_neighbours(price: int) -> None:
    low, high = round_down(price), round_up(price)
    assert low <= price <= high
    assert low == max(tick for tick in TICKS if tick <= price)
    assert high == min(tick for tick in TICKS if tick >= price)


def test_rounding_at_the_ends() -> None:
    assert round_down(0) == 0
    assert round_down(-5) == 0
    assert round_down(PRICE_MAX + 1) == PRICE_MAX
    assert (round_up(0), round_up(PRICE_MAX)) == (1, PRICE_MAX)
    with pytest.raises(ValueError, match="above"):
        round_up(PRICE_MAX + 1)


def test_a_ramp_by_hand() -> None:
    # 5,000 per CU, start by t = 10 s, k = 1 s: 5,000 / (1 + slack in s), rounded down to a tick.
    def price(second: int, cap: int = PRICE_MAX) -> int:
        return ramp_price(5_000, cap, 10 * SECOND, second * SECOND, SECOND)

    assert [price(0), price(6), price(9)] == [452, 988, 2_492]
    assert price(10) == price(99) == round_down(5_000)
    assert price(10, cap=700) == 699


@given(DENSITIES, PRICES, STARTS, st.lists(STARTS, min_size=2), KS)
def test_a_price_never_falls_and_never_exceeds_cap_or_density(
    density: int, cap: int, start: int, times: list[int], k: int
) -> None:
    prices = [ramp_price(density, cap, start, now, k) for now in sorted(times)]
    assert prices == sorted(prices)
    assert all(p == 0 or p in TICKS for p in prices)
    assert prices[-1] <= min(cap, density)


@given(DENSITIES, PRICES, STARTS, KS, PRICES)
def test_reach_time_is_the_first_time(density: int, cap: int, start: int, k: int, ask: int) -> None:
    at = reach_time_ns(density, cap, start, k, ask)
    if at is None:
        assert ramp_price(density, cap, start, start, k) < ask
    else:
        assert at <= start
        assert ramp_price(density, cap, start, at, k) >= ask
        assert ramp_price(density, cap, start, at - 1, k) < ask
