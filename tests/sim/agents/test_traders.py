"""Classic traders on the live continuous book."""

from __future__ import annotations

import random

import pytest

from sim.agents.floor import Floor
from sim.agents.traders import AA, KINDS, PRICE_MAX, PRICE_MIN, ZIP, Call, Quotes, Trader
from sim.scenario import Scenario
from sim.studies.auction import SCHEDULES, Schedule, measure, run_day
from sim.studies.study import Cell, Plan


def test_a_call_that_crosses_trades_at_the_makers_price() -> None:
    floor = Floor(3, PRICE_MAX)
    assert floor.call(0, True, 1.5) is None
    assert floor.call(1, True, 1.8) is None
    assert floor.best() == (1.8, None)
    assert floor.call(2, False, 1.2) == (1, 2, 1.8)
    assert floor.best() == (1.5, None)
    # A new call replaces the old one.
    floor.call(0, True, 1.1)
    assert floor.best() == (1.1, None)
    floor.clear()
    assert floor.best() == (None, None)


def test_the_first_schedule_is_smiths_first_test() -> None:
    schedule = SCHEDULES["symmetric"]
    assert sorted(schedule.buyers) == sorted(schedule.sellers)
    assert (min(schedule.buyers), max(schedule.buyers), len(schedule.buyers)) == (0.75, 3.25, 11)
    # Limits beyond 2.00 by 1.25, 1.00 ... 0.25 on either side: twice 3.75.
    assert schedule.surplus() == pytest.approx(7.5)


@pytest.mark.parametrize("name", SCHEDULES)
def test_the_stated_price_clears_the_schedule(name: str) -> None:
    schedule = SCHEDULES[name]
    eager_buyers = sum(limit > schedule.price for limit in schedule.buyers)
    willing_sellers = sum(limit <= schedule.price for limit in schedule.sellers)
    eager_sellers = sum(limit < schedule.price for limit in schedule.sellers)
    willing_buyers = sum(limit >= schedule.price for limit in schedule.buyers)
    assert eager_buyers <= willing_sellers
    assert eager_sellers <= willing_buyers


@pytest.mark.parametrize("kind", KINDS)
def test_nobody_trades_at_a_loss(kind: str) -> None:
    rng = random.Random(1)
    schedule = Schedule((3.0, 2.0, 1.0), (0.8, 1.6, 2.4), 1.8)
    traders = [KINDS[kind](True, limit, rng) for limit in schedule.buyers]
    traders += [KINDS[kind](False, limit, rng) for limit in schedule.sellers]
    floor = Floor(len(traders), PRICE_MAX)
    deals = [deal for _ in range(5) for deal in run_day(floor, traders, rng)]
    assert deals
    for deal in deals:
        assert traders[deal.seller].limit - 1e-4 <= deal.price <= traders[deal.buyer].limit + 1e-4


def test_zip_learns_from_what_it_hears() -> None:
    rng, quotes = random.Random(1), Quotes(PRICE_MIN, PRICE_MAX)
    seller = ZIP(False, 1.0, rng)
    before = seller.price(quotes)
    # A bid was taken far above its price: it asks for more.
    seller.hear(Call(is_bid=True, price=2.0, traded=True), quotes)
    assert seller.price(quotes) > before
    # Its own kind offers less and is not taken: it asks for less, never below its limit.
    for _ in range(200):
        seller.hear(Call(is_bid=False, price=0.9, traded=False), quotes)
    assert seller.price(quotes) == pytest.approx(1.0)
    # It has sold: what others do not get teaches it nothing.
    seller.active = False
    seller.hear(Call(is_bid=False, price=0.5, traded=False), quotes)
    assert seller.price(quotes) == pytest.approx(1.0)


def test_an_aggressive_trader_goes_to_its_limit_and_back_again() -> None:
    buyer = AA(True, 3.0, random.Random(1))
    quotes = Quotes(PRICE_MIN, PRICE_MAX)
    for _ in range(20):
        buyer.hear(Call(is_bid=True, price=2.0, traded=True), quotes)
    middle = buyer._target(0.0)
    assert middle == pytest.approx(2.0)
    assert buyer._target(1.0) == pytest.approx(3.0)
    assert buyer._target(-1.0) == pytest.approx(PRICE_MIN)
    for aggression in (-0.7, -0.2, 0.3, 0.9):
        assert buyer._aggression_of(buyer._target(aggression)) == pytest.approx(aggression)


def test_zero_intelligence_keeps_to_its_limit() -> None:
    rng, quotes = random.Random(1), Quotes(PRICE_MIN, PRICE_MAX)
    asks = [Trader(False, 2.0, rng).price(quotes) for _ in range(200)]
    assert all(ask is not None and 2.0 <= ask <= PRICE_MAX for ask in asks)


def test_zip_finds_the_equilibrium() -> None:
    cell: Cell = {"schedule": "symmetric", "traders": "ZIP", "seed": 1}
    rows = measure(Plan(Scenario()), cell, map)
    assert rows == measure(Plan(Scenario()), cell, map)
    assert sum(row["surplus"] for row in rows) / sum(row["most"] for row in rows) > 0.95
    assert rows[-1]["alpha"] < rows[0]["alpha"]
