"""The call auction: each of its rules by hand, properties, and its naive twin."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from matching import Side
from matching.auction import Clearing, Step, clear
from matching.reference_auction import naive_clear
from tests.matching.sizes import AUCTION_SEEDS, AUCTIONS

REFERENCE = 100


def both(
    demand: list[Step], supply: list[Step], reference: int = REFERENCE, tick: int = 1
) -> Clearing | None:
    found = clear(demand, supply, reference, tick)
    assert found == naive_clear(demand, supply, reference, tick)
    return found


@pytest.mark.parametrize(
    ("demand", "supply"),
    [([], []), ([(100, 1)], []), ([], [(100, 1)]), ([(99, 5), (98, 1)], [(100, 5)])],
)
def test_nothing_trades_where_no_bid_meets_an_ask(demand: list[Step], supply: list[Step]) -> None:
    assert both(demand, supply) is None


def test_the_largest_volume_comes_first() -> None:
    # 103: 30 wanted, 100 offered; 102: 60 and 50; 101: 60 and 20.
    found = both([(103, 30), (102, 30)], [(101, 20), (102, 30), (103, 50)], reference=1)
    assert found == Clearing(price=102, volume=50, surplus=10, low=102, high=102)


def test_then_the_smallest_imbalance() -> None:
    # 60 trade at 101 and at 102; 101 leaves 20 bids over, 102 leaves 10 asks over.
    found = both([(102, 60), (101, 20)], [(101, 60), (102, 10)], reference=1)
    assert found == Clearing(price=102, volume=60, surplus=-10, low=101, high=102)
    assert found.imbalance_side is Side.ASK


def test_then_the_pressure_of_bids_raises_the_price() -> None:
    found = both([(105, 50)], [(98, 40)], reference=1)
    assert found == Clearing(price=105, volume=40, surplus=10, low=105, high=105)
    assert found.imbalance_side is Side.BID


def test_then_the_pressure_of_asks_lowers_the_price() -> None:
    found = both([(105, 40)], [(98, 50)], reference=1_000)
    assert found == Clearing(price=98, volume=40, surplus=-10, low=98, high=98)


@pytest.mark.parametrize(("reference", "price"), [(1, 98), (101, 101), (1_000, 105)])
def test_then_the_reference_price(reference: int, price: int) -> None:
    found = both([(105, 40)], [(98, 40)], reference)
    assert found == Clearing(price, volume=40, surplus=0, low=98, high=105)
    assert found.imbalance_side is None


@pytest.mark.parametrize(("reference", "price"), [(1, 101), (101, 101), (102, 102), (900, 102)])
def test_the_reference_decides_between_bids_and_asks_left_over(reference: int, price: int) -> None:
    # 101 leaves 10 bids over, 102 leaves 10 asks over.
    found = both([(102, 60), (101, 10)], [(101, 60), (102, 10)], reference)
    assert found is not None
    assert (found.price, found.surplus) == (price, 10 if price == 101 else -10)


def test_a_price_with_an_imbalance_is_left_for_the_next_tick() -> None:
    demand, supply = [(110, 40), (100, 7)], [(90, 40)]
    assert both(demand, supply, reference=90) == Clearing(101, 40, 0, low=100, high=110)
    assert both(demand, supply, reference=90, tick=5) == Clearing(105, 40, 0, low=100, high=110)


@pytest.mark.parametrize(("reference", "price"), [(102, 100), (103, 105), (108, 110), (107, 105)])
def test_a_reference_off_the_tick_goes_to_the_nearest(reference: int, price: int) -> None:
    found = both([(120, 1)], [(90, 1)], reference, tick=5)
    assert found is not None
    assert found.price == price


def test_of_two_ticks_equally_near_the_lower_is_taken() -> None:
    for reference, price in ((99, 98), (101, 100), (100, 100)):
        found = both([(120, 1)], [(80, 1)], reference, tick=2)
        assert found is not None
        assert found.price == price


def test_prices_may_be_zero_and_less() -> None:
    found = both([(-3, 4), (0, 2)], [(-10, 5), (7, 1)], reference=0)
    assert found == Clearing(price=-3, volume=5, surplus=1, low=-3, high=-3)


@pytest.mark.parametrize(
    ("demand", "supply", "tick", "message"),
    [
        ([(100, 0)], [(100, 1)], 1, "no quantity"),
        ([(100, 1)], [(100, -1)], 1, "no quantity"),
        ([(100, 1)], [(101, 1)], 2, "off the tick of 2"),
        ([(100, 1)], [(100, 1)], 0, "tick 0 is not positive"),
    ],
)
def test_what_is_no_step_is_refused(
    demand: list[Step], supply: list[Step], tick: int, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        clear(demand, supply, REFERENCE, tick)


@pytest.mark.parametrize("seed", range(AUCTION_SEEDS))
def test_against_the_naive_twin(seed: int) -> None:
    rng = random.Random(seed)
    kinds = set()
    for _ in range(AUCTIONS):
        tick = rng.choice((1, 1, 2, 5))
        width = rng.choice((2, 6, 25))
        most = rng.choice((2, 30))

        def steps(tick: int = tick, width: int = width, most: int = most) -> list[Step]:
            return [
                (tick * rng.randint(-width // 2, width), rng.randint(1, most))
                for _ in range(rng.randint(0, 7))
            ]

        found = both(steps(), steps(), rng.randint(-width, 2 * width) * tick // 2, tick)
        kinds.add(found and (found.low < found.high, found.imbalance_side))
    # No trade, then one price or an interval, with bids, asks or nothing left over.
    assert len(kinds) == 7


STEPS = st.lists(st.tuples(st.integers(-40, 40), st.integers(1, 10**15)), max_size=12)


@given(STEPS, STEPS, st.integers(-100, 100))
def test_nobody_inside_the_price_goes_without(
    demand: list[Step], supply: list[Step], reference: int
) -> None:
    found = both(demand, supply, reference)
    if found is None:
        return
    better_bids = sum(quantity for price, quantity in demand if price > found.price)
    better_asks = sum(quantity for price, quantity in supply if price < found.price)
    assert max(better_bids, better_asks) <= found.volume
    assert found.low <= found.price <= found.high


@given(STEPS, STEPS, st.integers(-100, 100), st.randoms(use_true_random=False))
def test_neither_order_nor_splitting_of_steps_matters(
    demand: list[Step], supply: list[Step], reference: int, rng: random.Random
) -> None:
    found = clear(demand, supply, reference)
    split = [
        (price, part)
        for price, quantity in demand
        for part in (quantity // 2, quantity - quantity // 2)
        if part
    ]
    rng.shuffle(split)
    rng.shuffle(supply)
    assert clear(iter(split), iter(supply), reference) == found


@given(STEPS, STEPS, st.integers(-100, 100))
def test_bids_and_asks_are_treated_alike(
    demand: list[Step], supply: list[Step], reference: int
) -> None:
    # In the mirror: prices negated, sides swapped. (At a tick of 1 no price is equally near.)
    found = clear(demand, supply, reference)
    mirrored = clear([(-p, q) for p, q in supply], [(-p, q) for p, q in demand], -reference)
    assert (found is None) == (mirrored is None)
    if found is not None and mirrored is not None:
        assert (found.volume, found.low, found.high) == (
            mirrored.volume,
            -mirrored.high,
            -mirrored.low,
        )
        assert found.price == -mirrored.price
        assert found.surplus == -mirrored.surplus
