"""Money for a hundred, and a thousand that want it."""

from __future__ import annotations

import random

import pytest

from exchange.core import commands as c
from exchange.core.events import AnyEvent, JobQueued, OrderAccepted, Posted, Refused, Repeated
from exchange.core.reasons import Reason
from tests.exchange.core.scenario import Market, of_kind

MONEY_FOR = 100
RACERS = 1_000


def funded(market: Market, kind: int, amount_nanos: int) -> int:
    return market.account("racer", kind, amount_nanos)


def run_race(market: Market, commands: list[c.Command], seed: int) -> list[AnyEvent]:
    """Each command three times over, shuffled, in groups of every size: retries race as well."""
    rng = random.Random(seed)
    entrants = commands * 3
    rng.shuffle(entrants)
    answers: list[AnyEvent] = []
    while entrants:
        size = rng.randint(1, 128)
        group, entrants = entrants[:size], entrants[size:]
        answers += market.bulk([c.Advance(market.now_ns + 1), *group])
    return answers


@pytest.mark.parametrize("seed", range(3))
def test_jobs(market: Market, seed: int) -> None:
    market.do(c.WithdrawQuote(market.worker, market.cpu, 0))
    racer = funded(market, c.AccountKind.REAL, MONEY_FOR * 10**6)
    answers = run_race(market, [market.job(account_id=racer) for _ in range(RACERS)], seed)
    refused = of_kind(answers, Refused)
    assert len(of_kind(answers, JobQueued)) == MONEY_FOR
    assert {event.reason for event in refused} == {Reason.INSUFFICIENT_FUNDS}
    assert len(refused) + len(of_kind(answers, Repeated)) == 3 * RACERS - MONEY_FOR
    assert market.exchange.ledger.available(racer) == 0
    assert market.exchange.overspend_nanos() == 0


@pytest.mark.parametrize("seed", range(3))
def test_orders(market: Market, seed: int) -> None:
    racer = funded(market, c.AccountKind.PAPER, MONEY_FOR)
    bids = [market.order(account_id=racer, quantity_mflop=10_000) for _ in range(RACERS)]
    answers = run_race(market, [*bids], seed)
    assert len(of_kind(answers, OrderAccepted)) == MONEY_FOR
    assert {e.reason for e in of_kind(answers, Refused)} == {Reason.INSUFFICIENT_FUNDS}
    assert market.exchange.ledger.available(racer) == 0
    assert market.exchange.overspend_nanos() == 0


def test_withdrawals_race_jobs(market: Market) -> None:
    market.do(c.WithdrawQuote(market.worker, market.cpu, 0))
    racer = funded(market, c.AccountKind.REAL, MONEY_FOR * 10**6)
    jobs = [market.job(account_id=racer) for _ in range(RACERS // 2)]
    withdrawals = [c.Withdraw(racer, market.new_id(), 10**6) for _ in range(RACERS // 2)]
    answers = run_race(market, [*jobs, *withdrawals], 7)
    assert len(of_kind(answers, JobQueued)) + len(of_kind(answers, Posted)) == MONEY_FOR
    assert market.exchange.ledger.available(racer) == 0
    assert market.real(racer) == len(of_kind(answers, JobQueued)) * 10**6
