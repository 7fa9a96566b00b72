"""Seeded torture: nothing that fits a record may raise, and what is refused changes nothing."""

from __future__ import annotations

import pytest

from exchange.core import commands as c
from exchange.core.events import Refused
from matching.types import Side
from tests.exchange.core import sizes
from tests.exchange.core.chaos import Chaos, OrderChaos
from tests.exchange.core.ledger_model import LedgerModel
from tests.exchange.core.scenario import Market, unchanged_but_for_sequence
from tests.matching.feed import Feed

SEEDS = range(sizes.FIRST_SEED, sizes.FIRST_SEED + sizes.TORTURE_SEEDS)


@pytest.mark.parametrize("seed", SEEDS)
def test_nothing_raises_and_a_refusal_changes_nothing(seed: int) -> None:
    market = Market()
    torture(market, Chaos(market, seed), sizes.TORTURE_COMMANDS)
    market.close()


@pytest.mark.parametrize("seed", SEEDS)
def test_order_books_are_emptied_and_nothing_is_left(seed: int) -> None:
    market = Market()
    chaos = OrderChaos(market, seed)
    exchange = market.exchange
    feeds = {book: Feed() for book in chaos.books}
    for book in feeds:
        exchange.listen(book)
    torture(market, chaos, sizes.TORTURE_ORDER_COMMANDS, feeds)
    for book in chaos.books:
        market.do(c.SetInstrumentState(book, c.TradingState.HALTED))
    for account_id, account in exchange.accounts.items():
        market.do(c.MassCancel(account_id, 0, 0))
        assert exchange.ledger.pending(account_id) == 0
        assert account.exposure == {}
    assert exchange.orders == {}
    assert [len(exchange.books[book]) for book in chaos.books] == [0, 0, 0]
    assert exchange.counters.trade > sizes.TORTURE_ORDER_COMMANDS // 20, "too little happens"
    for book in chaos.books:
        assert sum(a.positions.get(book, 0) for a in exchange.accounts.values()) == 0
    market.close()


def torture(
    market: Market, chaos: Chaos, commands: int, feeds: dict[int, Feed] | None = None
) -> None:
    """Apply random commands; all must hold after each, and the books follow from their feeds."""
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
        for book, feed in (feeds or {}).items():
            feed.read(market.exchange.take_rows(book))
            assert feed.sequence == market.exchange.books[book].sequence
            for side in Side:
                shown = [(p, sum(q for _, q in level)) for p, level in feed.levels(side)]
                depth = market.exchange.books[book].depth(side, 1_000)
                assert shown == [(price, quantity) for price, quantity, _ in depth]
