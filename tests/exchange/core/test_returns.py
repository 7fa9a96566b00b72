"""Outages of the exchange, and workers that come back: what stands, and whose fault it was."""

from __future__ import annotations

import pytest

from exchange.core import commands as c
from exchange.core.events import (
    Fault,
    JobEnded,
    LeaseEnded,
    LeaseOffered,
    LeaseState,
    ReceiptSettled,
    WorkerRegistered,
)
from exchange.core.exchange import Exchange
from exchange.core.limits import NS_PER_S, RECOVERY_GRACE_NS
from exchange.core.reasons import Reason
from tests.exchange.core.scenario import Market, of_kind, replace

# Recovery


def test_after_an_outage_timers_are_extended_and_fences_hold(market: Market) -> None:
    offer = market.leased()
    outage = 30 * NS_PER_S
    market.do(c.Recovered(2, outage))
    market.later(outage + RECOVERY_GRACE_NS)
    assert market.exchange.leases[offer.event.lease_id].state == LeaseState.OFFERED
    offer.run()
    assert isinstance(offer.settle()[0], ReceiptSettled)


def test_faults_in_the_grace_are_the_operators(market: Market) -> None:
    market.running()
    market.do(c.Recovered(2, NS_PER_S))
    (ended,) = of_kind(market.events(c.WorkerLost(market.worker)), LeaseEnded)
    assert (ended.fault, ended.reason) == (Fault.OPERATOR, Reason.WORKER_LOST)
    assert market.exchange.workers[market.worker].leases_failed == 0


def test_after_the_grace_faults_are_the_workers_again(market: Market) -> None:
    market.running()
    market.do(c.Recovered(2, NS_PER_S))
    market.later(NS_PER_S + RECOVERY_GRACE_NS)
    (ended,) = of_kind(market.events(c.WorkerLost(market.worker)), LeaseEnded)
    assert ended.fault == Fault.WORKER


def test_a_buyers_deadline_is_not_extended(market: Market) -> None:
    market.do(c.WithdrawQuote(market.worker, market.cpu, 0))
    market.submit(deadline_within_ns=NS_PER_S)
    market.do(c.Recovered(2, 30 * NS_PER_S))
    (ended,) = of_kind(market.later(NS_PER_S), JobEnded)
    assert ended.reason == Reason.DEADLINE_INFEASIBLE


@pytest.mark.parametrize(("epoch", "outage"), [(1, 0), (0, 0), (2, -1)])
def test_refused_recoveries(market: Market, epoch: int, outage: int) -> None:
    assert market.refused(c.Recovered(epoch, outage)) == Reason.FIELD_INVALID


def test_a_lease_of_the_new_epoch_carries_it(market: Market) -> None:
    market.do(c.Recovered(7, 0))
    assert market.leased().event.fence_epoch == 7


# Workers that come back


def test_a_resuming_worker_keeps_its_leases(market: Market) -> None:
    offer = market.running()
    answer = market.do(market.registration(market.seller, resume=1))
    assert isinstance(answer, WorkerRegistered)
    assert answer.resumed_lease_ids == (offer.lease_id,)
    assert isinstance(offer.settle()[0], ReceiptSettled)


def test_a_worker_that_lost_its_leases_may_come_back_smaller(market: Market) -> None:
    market.running()
    market.running()
    smaller = market.registration(market.seller, slots=(1,))
    assert market.refused(replace(smaller, resume=1)) == Reason.SLOTS_IN_USE
    assert len(of_kind(market.events(smaller), LeaseEnded)) == 2
    assert market.exchange.workers[market.worker].slots == [1]


def test_a_worker_that_grows_again_trades_at_once(market: Market) -> None:
    market.do(market.registration(market.seller, slots=(1,), resume=1))
    market.leased()
    market.submit()
    assert market.offers(market.batch()) == []
    market.do(market.registration(market.seller, slots=(2,), resume=1))
    assert of_kind(market.batch(), LeaseOffered) != []


def test_a_worker_that_was_lost_registers_and_sells_again(market: Market) -> None:
    market.do(c.WorkerLost(market.worker))
    assert market.refused(c.WorkerLost(market.worker)) == Reason.WORKER_LOST
    assert market.refused(market.quoting()) == Reason.WORKER_PAUSED
    market.do(market.registration(market.seller))
    market.quote()
    assert market.leased().event.worker_id == market.worker


def test_a_busy_workers_total_outgrows_64_bits(market: Market) -> None:
    """An H100 passes 2^64 FLOPs in half a day; digests must go on."""
    market.exchange.workers[market.worker].earned_flops = 2**64
    assert len(market.exchange.digest()) == 32
    market.exchange.workers[market.worker].earned_flops = 0


def test_digests_tell_first_results_apart(market: Market) -> None:
    offer = market.running()
    offer.settle()
    before = market.exchange.digest()
    lease = market.exchange.leases[offer.lease_id]
    first, lease.first_result = lease.first_result, None
    assert market.exchange.digest() != before
    lease.first_result = first
    assert market.exchange.digest() == before
    assert Exchange().digest() != before
