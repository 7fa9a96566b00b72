from __future__ import annotations

import doctest

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exchange.v1.reason_pb2 import Reason
from worker import quoting
from worker.config import QuotePlan
from worker.quotes import RETRY_S, QuoteBoard
from worker.quoting import (
    PRICE_MAX_NANOS,
    CostPlus,
    Inventory,
    QuotePolicy,
    Static,
    on_tick,
    parse_policy,
)

CLOSED = Reason.REASON_UNKNOWN_INSTRUMENT
PRICES = st.integers(1, PRICE_MAX_NANOS)


def test_the_examples_in_the_text_hold() -> None:
    assert doctest.testmod(quoting).failed == 0


@given(low=PRICES, high=PRICES, exponent=st.integers(1, 5_000), slots=st.integers(1, 64))
def test_inventory_prices_never_fall_and_stay_in_their_range(
    low: int, high: int, exponent: int, slots: int
) -> None:
    cost, ceiling = sorted((low, high))
    prices = Inventory(cost, ceiling, exponent).prices_nanos(slots)
    assert len(prices) == slots
    assert prices[0] == cost
    assert list(prices) == sorted(prices)
    assert prices[-1] <= ceiling
    assert all(type(price) is int for price in prices)


def test_a_higher_exponent_keeps_prices_low_for_longer() -> None:
    straight = Inventory(100, 10_000, 1_000).prices_nanos(8)
    patient = Inventory(100, 10_000, 3_000).prices_nanos(8)
    assert all(a <= b for a, b in zip(patient, straight, strict=True))
    assert patient != straight


@given(cost=st.integers(1, 10**10), speed=st.integers(1, 10**9), margin=st.integers(0, 5_000))
def test_cost_plus_never_sells_below_cost(cost: int, speed: int, margin: int) -> None:
    try:
        policy = CostPlus(cost, speed, margin)
    except ValueError:
        return  # dearer than any price
    price = policy.prices_nanos(3)[2]
    mflop_per_hour = speed * 3_600
    # Revenue of a full hour, in millionths of a nano-dollar, covers the cost and the margin.
    assert price * mflop_per_hour * 1_000 >= cost * 1_000_000 * (1_000 + margin)


def test_static_prices_last_for_all_slots() -> None:
    assert Static((5, 9)).prices_nanos(4) == (5, 9, 9, 9)
    assert Static((5, 9)).prices_nanos(1) == (5,)


@pytest.mark.parametrize(
    ("text", "policy"),
    [
        ("static:7", Static((7,))),
        ("static:7,8", Static((7, 8))),
        ("cost-plus:80_000_000,50_000", CostPlus(80_000_000, 50_000)),
        ("cost-plus:80000000,50000,200", CostPlus(80_000_000, 50_000, 200)),
        ("inventory:1,2", Inventory(1, 2)),
        ("inventory:1,2,1500", Inventory(1, 2, 1_500)),
    ],
)
def test_policies_have_a_short_form(text: str, policy: QuotePolicy) -> None:
    assert parse_policy(text) == policy


@pytest.mark.parametrize(
    "text",
    [
        "",
        "static",
        "static:",
        "static:0",
        "static:-1",
        "static:2,1",
        "static:1.5",
        f"static:{PRICE_MAX_NANOS + 1}",
        "cost-plus:1",
        "cost-plus:0,1",
        "cost-plus:1,0",
        "cost-plus:1,1,-1",
        "inventory:2,1",
        "inventory:1,2,0",
        "inventory:1,2,3,4",
        "auction:1",
    ],
)
def test_nonsense_is_no_policy(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_policy(text)


@given(prices=st.lists(PRICES, max_size=8), tick=st.integers(1, 10_000))
def test_ticks_round_up(prices: list[int], tick: int) -> None:
    rounded = on_tick(sorted(prices), tick)
    assert list(rounded) == sorted(rounded)
    for price, on in zip(sorted(prices), rounded, strict=True):
        assert on % tick == 0
        assert 0 <= on - price < tick


def test_a_board_sends_each_quote_when_it_is_due() -> None:
    board = QuoteBoard([QuotePlan("a", Static((1,)), ttl_s=30), QuotePlan("b", Static((2,)))], 1)
    assert [q.instrument for q in board.due(100.0, 1)] == ["a", "b"]
    assert board.due(109.0, 1) == []
    assert board.next_due_at() == 110.0
    assert [q.instrument for q in board.due(110.0, 1)] == ["a"]
    assert board.refused("b", CLOSED, 111.0)
    assert not board.refused("b", CLOSED, 112.0)
    assert not board.refused("unknown", CLOSED, 112.0)
    assert [q.instrument for q in board.due(112.0 + RETRY_S, 1)] == ["b"]
    board.restart()
    assert len(board.due(118.0, 1)) == 2


def test_slots_whose_engine_reloads_are_not_quoted() -> None:
    board = QuoteBoard([QuotePlan("a", Static((1, 2)), ttl_s=30)], 3)

    def prices(now_s: float, slots: int) -> list[list[int]]:
        return [list(quote.prices_nanos) for quote in board.due(now_s, slots)]

    assert prices(0.0, 3) == [[1, 2, 2]]
    assert prices(1.0, 2) == [[1, 2]]
    assert prices(2.0, 0) == [[]]  # withdrawn
    assert not board.refused("a", CLOSED, 3.0)
    assert prices(1_000.0, 0) == []
    assert prices(1_001.0, 3) == [[1, 2, 2]]


def test_an_instrument_that_cannot_be_served_is_not_quoted_again() -> None:
    board = QuoteBoard([QuotePlan("a", Static((1,))), QuotePlan("b", Static((2,)))], 1)
    board.drop("a")
    board.drop("a")
    board.restart()
    assert [quote.instrument for quote in board.due(0.0, 1)] == ["b"]


def test_a_worker_without_quotes_has_nothing_due() -> None:
    assert QuoteBoard([], 1).next_due_at() is None


@pytest.mark.parametrize("change", [{"instrument": ""}, {"tick_nanos": 0}, {"ttl_s": 0}])
def test_a_plan_is_checked(change: dict[str, object]) -> None:
    values: dict[str, object] = {"instrument": "a", "policy": Static((1,)), **change}
    with pytest.raises(ValueError, match="quote"):
        QuotePlan(**values)  # type: ignore[arg-type]
