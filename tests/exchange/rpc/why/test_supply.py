"""What one more bid would get in a batch, against the batch itself."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from exchange.rpc.why.supply import ahead, batch_price, dollars, seconds
from matching.bids import Bid, ClassBid
from matching.clearing import ClearingGroup
from matching.slots import SlotPool, StandingQuote

LATE = 10**15
PRICES = st.integers(1, 12)


def flat_bid(number: int, price: int) -> Bid:
    return Bid(number, 7, price, price, LATE, number, (ClassBid(1, LATE),), flat=True)


@settings(max_examples=300, deadline=None)
@given(
    quotes=st.lists(st.lists(PRICES, min_size=1, max_size=3), max_size=4),
    bids=st.lists(PRICES, max_size=6),
    own=PRICES,
    cleared=st.booleans(),
)
def test_one_more_bid_gets_what_the_batch_gives(
    quotes: list[list[int]], bids: list[int], own: int, cleared: bool
) -> None:
    group = ClearingGroup(1, 10**9)
    for number, prices in enumerate(quotes, 1):
        pool = SlotPool(number, 9, len(prices))
        group.set_quote(StandingQuote(number, 1, pool, tuple(sorted(prices)), number))
    for number, price in enumerate(bids, 1):
        group.add_bid(flat_bid(number, price))
    if cleared:
        group.uncross(1)
    waiting, asks = group.depth(1, 2, 100)
    expected = batch_price(asks, waiting, own)
    group.add_bid(flat_bid(1_000, own))
    fills = {fill.bid_id: fill.price for fill in group.uncross(2).fills}
    assert fills.get(1_000, 0) == expected


def test_the_best_bid_without_a_slot_sets_the_price() -> None:
    assert batch_price([(30, 1, 1)], [(60, 2, 2)], 80) == 60
    assert batch_price([(30, 1, 1)], [(60, 2, 2)], 60) == 0
    assert batch_price([(30, 1, 1), (70, 1, 1)], [(60, 2, 2)], 80) == 30
    assert batch_price([], [], 80) == 0


def test_who_is_ahead() -> None:
    bids = [(9, 100, 2), (8, 50, 3), (7, 1, 1)]
    assert ahead(bids, 8, 1, ties=False) == 2
    assert ahead(bids, 8, 1, ties=True) == 5
    asks = [(1, 5, 1), (2, 5, 4)]
    assert ahead(asks, 2, -1, ties=False) == 1
    assert ahead(asks, 2, -1, ties=True) == 5


def test_amounts_and_times_in_words() -> None:
    assert [dollars(n) for n in (0, 1_700, 10**9, 12_340_000_000)] == [
        "$0.00",
        "$0.0000017",
        "$1.00",
        "$12.34",
    ]
    assert [seconds(n) for n in (0, 1_250_000_000, 60 * 10**9)] == ["0 s", "1.25 s", "60 s"]
