"""Dealers on the live continuous book: whole ticks, whole lots, exact bounds."""

from __future__ import annotations

import random

import msgspec
import pytest

from sim import Plan, Scenario
from sim.agents.floor import Floor
from sim.agents.makers import Broker, Maker, dealer
from sim.agents.traders import PRICE_MAX
from sim.scenario import Agent, ScenarioError, checked
from sim.studies.dealers import TICKS_PER_DOLLAR, cells, run_session
from tests.sim.demands import SMALL

FAIR = 2 * TICKS_PER_DOLLAR


def test_quotes_move_away_from_what_is_held() -> None:
    maker = Maker(Agent("maker", bound=2, half_spread=0.01, skew=0.005), 10_000, 10_000)
    assert maker.quotes() == (9_900, 10_100)
    maker.fill(9_900, bought=True)
    assert maker.quotes() == (9_850, 10_050)
    maker.fill(9_850, bought=True)
    assert maker.quotes() == (None, 10_000)  # at its bound
    for _ in range(4):
        maker.fill(10_000, bought=False)
    assert maker.position == -2
    assert maker.quotes() == (10_000, None)
    assert maker.cash == 4 * 10_000 - 9_900 - 9_850
    with pytest.raises(AssertionError, match="more than it may"):
        maker.fill(10_000, bought=False)


def test_what_is_fair_follows_trades() -> None:
    maker = Maker(Agent("maker"), 10_000, 10_000)
    for _ in range(200):
        maker.hear(12_000)
    assert 11_980 < maker.fair <= 12_000


def test_a_broker_sells_what_it_has_and_never_below_cost() -> None:
    broker = Broker(Agent("broker", bound=2, margin=0.05), 10_000)
    assert broker.quotes() == (9_500, None)
    broker.fill(9_500, bought=True)
    assert broker.quotes() == (9_500, 10_000)
    for _ in range(200):
        broker.hear(5_000)  # the price falls, and it holds on
    bid, ask = broker.quotes()
    assert bid is not None
    assert bid < 5_000
    assert ask == 9_975
    broker.fill(9_975, bought=False)
    assert (broker.position, broker.cash) == (0, 475)


def test_a_quote_rests_and_never_takes() -> None:
    floor = Floor(2, PRICE_MAX)
    floor.call(0, False, 2.0)
    floor.quote(1, FAIR + 100, FAIR + 200)
    # It would have bought at 2.00: it rests a tick below.
    bid, ask = floor.best()
    assert bid == pytest.approx(2.0 - 1 / TICKS_PER_DOLLAR)
    assert ask == 2.0
    floor.quote(1, FAIR - 500, None)
    assert floor.best() == (1.95, 2.0)
    assert floor.call(0, False, 1.5) == (1, 0, 1.95)
    assert (floor.position(0), floor.position(1)) == (-1, 1)
    floor.check()


def test_a_maker_narrows_the_spread_and_keeps_to_its_bound() -> None:
    seed = "makers"
    alone = run_session(None, random.Random(seed))
    found = dealer(Agent("maker", bound=3), FAIR)
    made = run_session(found, random.Random(seed))
    spreads = [sum(m.spread for m in moments) / len(moments) for moments in (alone, made)]
    assert spreads[1] < 0.5 * spreads[0]
    positions = [moment.position for moment in made]
    assert max(map(abs, positions)) == 3  # the bound is reached, and kept
    assert sum(m.traded for m in made) > sum(m.traded for m in alone)
    assert found.cash + found.position * FAIR > 0


def test_a_broker_makes_money_or_holds() -> None:
    found = dealer(Agent("broker", bound=4), FAIR)
    moments = run_session(found, random.Random("brokers"))
    positions = [moment.position for moment in moments]
    assert min(positions) >= 0
    assert 0 < max(positions) <= 4
    assert found.cash + found.position * FAIR > 0


def test_dealers_come_from_the_scenario() -> None:
    scenario = Scenario(agents=(Agent("maker", bound=5), Agent("canceller", accounts=(0,))))
    assert [cell["dealer"] for cell in cells(Plan(checked(scenario)))] == ["none", "0 maker"]
    assert [cell["dealer"] for cell in cells(Plan(Scenario()))] == ["none", "0 maker", "1 broker"]
    wrong = msgspec.structs.replace(SMALL, agents=(Agent("maker", accounts=(0,)),))
    with pytest.raises(ScenarioError, match="agent"):
        checked(wrong)
