"""Seeded torture: nothing that fits a record may raise, and what is refused changes nothing."""

from __future__ import annotations

import pytest

from exchange.core import commands as c
from exchange.core.events import Refused
from tests.exchange.core import sizes
from tests.exchange.core.chaos import Chaos, OrderChaos
from tests.exchange.core.ledger_model import LedgerModel
from tests.exchange.core.scenario import Market, unchanged_but_for_sequence

SEEDS = range(sizes.FIRST_SEED, sizes.FIRST_SEED + sizes.TORTURE_SEEDS)


@pytest.mark.parametrize("seed", SEEDS)
def test_nothing_raises_and_a_refusal_changes_nothing(seed: int) -> None:
    market = Market()
    torture(market, Chaos(market, seed), sizes.TORTURE_COMMANDS)
    market.close()


@pytest.mark.parametrize("seed", SEEDS)
def test_order_books_are_emptied_and_nothing_is_left(seed: int) -> None:
    market = Market()
    torture(market, OrderChaos(market, seed), sizes.TORTURE_ORDER_COMMANDS)
    exchange = market.exchange
    market.do(c.SetInstrumentState(market.paper, c.TradingState.HALTED))
    for account_id, account in exchange.accounts.items():
        market.do(c.MassCancel(account_id, 0, 0))
        assert exchange.ledger.pending(account_id) == 0
        assert account.exposure == {}
    assert exchange.orders == {}
    assert len(exchange.books[market.paper]) == 0
    assert exchange.counters.trade > sizes.TORTURE_ORDER_COMMANDS // 20, "too little happens"
    positions = [a.positions.get(market.paper, 0) for a in exchange.accounts.values()]
    assert sum(positions) == 0
    market.close()


def torture(market: Market, chaos: Chaos, commands: int) -> None:
    """Apply random commands; all must hold after each."""
    model = LedgerModel(market.exchange)
    for _ in range(commands):
        command = chaos.command()
        before = market.exchange.state_tree()
        events = market.events(command)
        if isinstance(events[0], Refused):
            assert len(events) == 1
            assert unchanged_but_for_sequence(before, market.exchange.state_tree()), command
        chaos.saw(events)
        model.saw(command, events)
        model.compare()
