"""The rounding rule: what is posted adds up to the ceiling of the whole."""

from __future__ import annotations

from fractions import Fraction
from itertools import accumulate
from math import ceil, floor

from hypothesis import given
from hypothesis import strategies as st

from exchange.core import limits
from exchange.metering import costs
from exchange.metering.costs import cost_nanos, density_nanos, escrow_nanos, post_nanos

PRICES = st.integers(1, 10**9)
QUANTITIES = st.integers(1, 10**15)


@given(PRICES, st.lists(st.integers(0, 10**19), max_size=20))
def test_posts_add_up_to_the_ceiling_of_the_total(price: int, parts: list[int]) -> None:
    posted = 0
    for total in accumulate(parts):
        post = post_nanos(price, total, posted)
        assert post >= 0
        posted += post
        assert posted == ceil(Fraction(price * total, 10**12))


@given(PRICES, st.integers(0, 10**21))
def test_cost_is_the_ceiling(price: int, flops: int) -> None:
    assert cost_nanos(price, flops) == ceil(Fraction(price * flops, 10**12))


@given(PRICES, QUANTITIES)
def test_escrow_covers_every_cost_within_the_quantity(price: int, quantity: int) -> None:
    escrow = escrow_nanos(price, quantity)
    assert escrow == cost_nanos(price, quantity * 10**6)
    assert escrow <= limits.COST_MAX_NANOS


@given(st.integers(1, 10**18), QUANTITIES)
def test_density_never_costs_more_than_the_value(value: int, quantity: int) -> None:
    density = density_nanos(value, quantity)
    assert density == floor(Fraction(value * 10**6, quantity))
    assert escrow_nanos(density, quantity) <= value
    assert (density + 1) * quantity > value * 10**6


def test_units_agree_with_the_core() -> None:
    assert (costs.FLOPS_PER_CU, costs.MFLOP_PER_CU, costs.FLOPS_PER_MFLOP) == (
        limits.FLOPS_PER_CU,
        limits.MFLOP_PER_CU,
        limits.FLOPS_PER_MFLOP,
    )
