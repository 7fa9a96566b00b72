"""The measurement of what the greedy uncross gives away is itself right, on cases done by hand."""

from __future__ import annotations

import itertools
import json
import random

import pytest

from matching import (
    Bid,
    ClassBid,
    ClearingGroup,
    Leg,
    MultiLegBid,
    SlotPool,
    StandingQuote,
)
from tests.matching.greedy_loss import FAMILIES, FAR, Case, greedy, main, optimum, options
from tests.matching.greedy_loss import random_case as draw

SLOW, FAST = 11, 12


def case(quotes: dict[int, tuple[int, ...]], *bids: tuple[int, int, tuple[int, ...]]) -> Case:
    """One pool per class of `quotes`; bids are (price, quantity, classes)."""
    group = ClearingGroup(1, 1)
    pools = []
    for instrument_id, prices in quotes.items():
        pools.append(SlotPool(instrument_id, -1, len(prices)))
        quote = StandingQuote(instrument_id, instrument_id, pools[-1], prices, instrument_id)
        group.set_quote(quote)
    orders = []
    for order_id, (price, quantity, named) in enumerate(bids, 1):
        classes = tuple(ClassBid(c, FAR) for c in named)
        bid = Bid(order_id, order_id, price, price, FAR, order_id, classes, flat=True)
        orders.append(MultiLegBid(order_id, (Leg(1, bid, quantity),)))
    return Case({1: group}, pools, orders)


def test_the_cheapest_slot_may_be_the_only_one_for_another() -> None:
    # 100 takes the slow slot for 10, although the fast one costs only 1 more; 90 has no other.
    one = case({SLOW: (10,), FAST: (11,)}, (100, 1, (SLOW, FAST)), (90, 1, (SLOW,)))
    assert optimum(one) == (100 - 11) + (90 - 10)
    assert greedy(one) == 100 - 10


def test_a_small_bid_at_a_higher_price_goes_before_a_large_one() -> None:
    one = case({SLOW: (10,)}, (100, 1, (SLOW,)), (90, 5, (SLOW,)))
    assert optimum(one) == (90 - 10) * 5
    assert greedy(one) == 100 - 10


def test_slots_of_a_pool_are_sold_in_turn() -> None:
    one = case({SLOW: (10, 50)}, (60, 1, (SLOW,)), (55, 1, (SLOW,)))
    # Nobody gets the slot for 50 while that for 10 is free.
    assert optimum(one) == greedy(one) == (60 - 10) + (55 - 50)


def brute_force(one: Case) -> int:
    """The best of all subsets of options that are allowed."""
    ways = list(options(one))
    in_use = {pool.pool_id: pool.in_use for pool in one.pools}
    best = 0
    for count in range(len(ways) + 1):
        for chosen in itertools.combinations(ways, count):
            steps = sorted((way.pool_id, way.step) for way in chosen)
            if len({way.order_id for way in chosen}) < count or len(set(steps)) < count:
                continue
            allowed = all(
                step == in_use[pool_id] or (pool_id, step - 1) in steps for pool_id, step in steps
            )
            if allowed:
                best = max(best, sum(way.welfare for way in chosen))
    return best


@pytest.mark.parametrize("family", FAMILIES)
def test_the_optimum_is_the_best_of_all_assignments(family: str) -> None:
    rng, compared = random.Random(6), 0
    while compared < 25:
        one = draw(rng, family)
        if 0 < len(list(options(one))) <= 11:
            assert optimum(one) == brute_force(one)
            compared += 1


def test_the_command_prints_one_object(capsys: pytest.CaptureFixture[str]) -> None:
    main(["--cases", "20", "--seed", "7", "--json"])
    found = json.loads(capsys.readouterr().out)
    assert found["cases"] == 20
    assert found["seed"] == 7
    for family in FAMILIES:
        row = found[family]
        assert 0 <= row["median"] <= row["p99"] <= row["worst"] < 1
        assert 0 < row["optimal_share"] <= 1
    main(["--cases", "2"])
    assert "none lost" in capsys.readouterr().out
