"""Seeded torture: nothing that fits a record may raise, and what is refused changes nothing."""

from __future__ import annotations

from unittest import mock

import pytest

import matching
from exchange.core import commands as c
from exchange.core.events import JobState, Refused
from matching.reference_clearing import NaiveClearingGroup
from matching.reference_legs import NaiveLegDesk
from matching.types import Side
from tests.exchange.core import sizes
from tests.exchange.core.chaos import Chaos, OrderChaos
from tests.exchange.core.job_chaos import JobChaos
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
    assert not exchange.orders
    assert [len(exchange.books[book]) for book in chaos.books] == [0, 0, 0]
    assert exchange.counters.trade > sizes.TORTURE_ORDER_COMMANDS // 20, "too little happens"
    for book in chaos.books:
        assert sum(a.positions.get(book, 0) for a in exchange.accounts.values()) == 0
    market.close()


@pytest.mark.skipif(matching.COMPILED, reason="a compiled core takes no groups but its own")
@pytest.mark.parametrize("seed", SEEDS)
def test_jobs_with_legs_agree_with_the_naive_twin(seed: int) -> None:
    """Twin exchanges, one of which clears by lists that are scanned in full, say the same."""
    with (
        mock.patch("exchange.core.operator.ClearingGroup", NaiveClearingGroup),
        mock.patch("exchange.core.state.LegDesk", NaiveLegDesk),
    ):
        naive = Market()
        JobChaos(naive, seed)
    market = Market()
    chaos = JobChaos(market, seed)
    model = LedgerModel(market.exchange)
    leased: set[int] = set()
    for _ in range(sizes.TORTURE_JOB_COMMANDS):
        command = chaos.command()
        events = market.events(command)
        assert naive.events(command) == events, command
        assert naive.exchange.state_tree() == market.exchange.state_tree()
        chaos.saw(events)
        model.saw(command, events)
        model.compare()
        leased |= {job.leg for job in market.exchange.jobs.values() if job.terms.legs and job.leg}
    jobs = [job for job in market.exchange.jobs.values() if job.terms.legs]
    assert {job.state for job in jobs} >= {JobState.SETTLED, JobState.CANCELLED, JobState.EXPIRED}
    assert leased, "no later leg ever fills"
    assert any(job.attempt > 1 for job in jobs), "no attempt ever fails"
    assert any(job.dropped and job.lease_ids for job in jobs), "no leg drops out before another's"
    naive.close()
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
