"""Slot pools, standing quotes, and the ladder of asks."""

from __future__ import annotations

import pytest

from matching import POOL_SLOTS_MAX, PRICE_MAX, SlotPool, StandingQuote
from matching.slots import AskLadder


def test_a_quote_follows_its_pool() -> None:
    pool = SlotPool(1, 10, 3)
    quote = StandingQuote(1, 5, pool, (100, 150, 150), 1)
    seen = [quote.ask()]
    for _ in range(3):
        pool.take()
        seen.append(quote.ask())
    assert seen == [100, 150, 150, None]
    pool.give()
    assert (quote.ask(), quote.free_slots()) == (150, 1)


def test_fewer_prices_than_slots_sell_only_so_many() -> None:
    pool = SlotPool(1, 10, 3)
    quote = StandingQuote(1, 5, pool, (100,), 1)
    pool.take()
    assert (quote.ask(), quote.free_slots()) == (None, 0)


def test_a_pool_never_oversells() -> None:
    pool = SlotPool(1, 10, 1)
    pool.take()
    with pytest.raises(ValueError, match="no free slot"):
        pool.take()
    pool.give()
    with pytest.raises(ValueError, match="no slot in use"):
        pool.give()
    assert pool.in_use == 0


def test_a_pool_that_shrinks_below_its_leases_waits_for_them() -> None:
    pool = SlotPool(1, 10, 3)
    quote = StandingQuote(1, 5, pool, (1, 2, 3), 1)
    pool.take()
    pool.take()
    pool.resize(1)
    assert (pool.in_use, quote.ask(), quote.free_slots()) == (2, None, 0)
    pool.give()
    assert quote.ask() is None
    pool.give()
    assert quote.ask() == 1
    pool.resize(0)
    assert quote.ask() is None


@pytest.mark.parametrize(
    "prices", [(), (0, 1), (2, 1), (1, PRICE_MAX + 1), (1,) * (POOL_SLOTS_MAX + 1), (1, 3, 2, 4)]
)
def test_prices_outside_their_limits_are_refused(prices: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="prices"):
        StandingQuote(1, 5, SlotPool(1, 10, 1), prices, 1)


def test_slots_have_a_named_bound() -> None:
    pool = SlotPool(1, 10, POOL_SLOTS_MAX)
    quote = StandingQuote(1, 5, pool, (7,) * POOL_SLOTS_MAX, 1)
    for _ in range(POOL_SLOTS_MAX):
        pool.take()
    assert quote.ask() is None
    for slots in (-1, POOL_SLOTS_MAX + 1):
        with pytest.raises(ValueError, match="slots"):
            SlotPool(1, 10, slots)
        with pytest.raises(ValueError, match="slots"):
            pool.resize(slots)


def test_a_ladder_sorts_by_ask_then_age_then_pool() -> None:
    ladder = AskLadder()
    pools = [SlotPool(pool_id, 10, 2) for pool_id in range(1, 5)]
    for pool, price, sequence in zip(pools, (50, 40, 40, 40), (1, 7, 6, 6), strict=True):
        ladder.add(StandingQuote(pool.pool_id, 5, pool, (price, price + 5), sequence))
    assert [quote.pool.pool_id for quote in ladder.best_first()] == [3, 4, 2, 1]
    pools[2].take()
    assert [quote.pool.pool_id for quote in ladder.best_first()] == [4, 2, 3, 1]
    assert ladder.depth(2) == [(40, 2, 2), (45, 3, 3)]
    assert ladder.depth(9) == [(40, 2, 2), (45, 3, 3), (50, 1, 1), (55, 1, 1)]
    assert (ladder.best_ask(), ladder.depth(0)) == (40, [])
    ladder.check()


def test_a_pool_moves_its_quotes_in_every_ladder() -> None:
    pool = SlotPool(1, 10, 1)
    ladders = [AskLadder(), AskLadder()]
    quotes = [StandingQuote(n, n, pool, (30 + n,), n) for n in (0, 1)]
    for ladder, quote in zip(ladders, quotes, strict=True):
        ladder.add(quote)
    pool.take()
    assert [ladder.best() for ladder in ladders] == [None, None]
    pool.give()
    assert [ladder.best_ask() for ladder in ladders] == [30, 31]
    ladders[0].remove(quotes[0])
    assert pool.quotes == [quotes[1]]
    with pytest.raises(ValueError, match="already listed"):
        ladders[1].add(quotes[1])
    for ladder in ladders:
        ladder.check()
