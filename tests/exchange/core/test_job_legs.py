"""Jobs with legs: at most one is used, and money, ends and new attempts follow."""

from __future__ import annotations

from typing import Any

import pytest

from exchange.core import commands as c
from exchange.core.events import (
    Cleared,
    Fault,
    JobEnded,
    JobLegDropped,
    JobQueued,
    JobState,
    LeaseOffered,
    Repeated,
)
from exchange.core.limits import ATTEMPTS_MAX, NS_PER_S
from exchange.core.reasons import Reason
from matching.types import LEGS_MAX
from tests.exchange.core.job_chaos import LARGE
from tests.exchange.core.scenario import ASK, Market, of_kind

SLOW = {"decode_millitokens_per_s": 5_000}
"""20 tokens take 4 s."""


class TwoModels(Market):
    """A small model and a large one, which needs three times the compute; a worker sells both."""

    def __init__(self) -> None:
        super().__init__()
        self.do(c.AddModel(LARGE.encode()))
        self.large_model = self.exchange.model_by_name[LARGE.name]
        self.large = self.lease_class("large/cpu/interactive", model_id=self.large_model)
        self.slow = self.lease_class("instant/old/batch", **SLOW)
        self.second = self.worker_of(self.seller, name="second", slots=(1,))

    def sell(self, instrument_id: int, ask: int, worker_id: int = 0) -> None:
        """One quote, and no other on its instrument by that worker."""
        self.quote(
            worker_id=worker_id or self.second, instrument_id=instrument_id, prices_nanos=(ask,)
        )

    def legs(self, *legs: tuple[int, int, int], **changes: Any) -> c.SubmitJob:
        """A job with these legs, each (instrument, limit, quantity)."""
        numbers = tuple(number for leg in legs for number in (*leg, 10, 40))
        fields = {"model_id": 0, "quantity_mflop": 0, "input_tokens": 0, "input_tokens_max": 0}
        whole = fields | {"tier": "", "value_nanos": 0, "legs": numbers} | changes
        return self.job(**whole)

    def bid(self, *legs: tuple[int, int, int], **changes: Any) -> int:
        """Submit such a job; its id."""
        self.expect(self.legs(*legs, **changes), JobQueued)
        return self.exchange.counters.job

    @property
    def held(self) -> int:
        """Escrow of the buyer."""
        return self.exchange.ledger.pending(self.buyer)


@pytest.fixture
def market() -> Any:
    market = TwoModels()
    market.do(c.WithdrawQuote(market.worker, market.cpu, 0))
    yield market
    market.close()


def dropped(events: list[Any]) -> list[tuple[int, Reason]]:
    return [(event.leg, event.reason) for event in of_kind(events, JobLegDropped)]


def test_it_holds_its_dearest_leg_and_is_filled_once(market: TwoModels) -> None:
    job_id = market.bid((market.cpu, ASK, 1_000), (market.large, 2 * ASK, 3_000))
    assert market.held == 2 * ASK * 3_000 // 10**6
    market.sell(market.cpu, ASK)
    market.sell(market.large, ASK, market.worker)
    (offer,) = market.offers(market.batch())
    job = market.exchange.jobs[job_id]
    # (2 ASK - ASK) x 3,000 is more than nothing, so the first leg let its turn pass.
    assert (offer.event.instrument_id, offer.event.quantity_mflop) == (market.large, 3_000)
    assert job.leg == 1
    assert [len(group.bids()) for group in market.exchange.groups.values()] == [0, 0, 0]
    assert market.held == 2 * ASK * 3_000 // 10**6
    assert of_kind(market.batch(), LeaseOffered) == []
    offer.run().settle()
    assert (job.state, job.flops) == (JobState.SETTLED, 29 * 3_000_000)
    assert market.held == 0
    assert market.real(market.seller) == job.paid_nanos == -(-ASK * 29 * 3 // 10**6)


def test_the_first_group_to_clear_fills_where_the_other_has_no_slot(market: TwoModels) -> None:
    market.bid((market.large, ASK, 3_000), (market.cpu, ASK, 1_000))
    market.sell(market.cpu, ASK)
    (offer,) = market.offers(market.batch())
    assert (offer.event.instrument_id, offer.event.quantity_mflop) == (market.cpu, 1_000)


def test_groups_that_are_due_together_clear_in_the_order_of_their_ids(market: TwoModels) -> None:
    market.sell(market.large, ASK)
    market.sell(market.cpu, ASK, market.worker)
    market.later(NS_PER_S)
    now = {"value_nanos": 0, "limit_nanos": ASK}
    market.submit(model_id=market.large_model, quantity_mflop=3_000, **now)
    market.submit(**now)
    cleared = of_kind(market.batch(), Cleared)
    assert [event.instrument_id for event in cleared] == [market.cpu, market.large]


def test_a_failed_attempt_comes_back_with_all_its_legs(market: TwoModels) -> None:
    job_id = market.bid((market.cpu, ASK, 1_000), (market.large, ASK, 3_000))
    market.sell(market.cpu, ASK)
    (offer,) = market.offers(market.batch())
    assert offer.event.instrument_id == market.cpu
    offer.decline()
    job = market.exchange.jobs[job_id]
    assert (job.state, job.attempt, job.dropped) == (JobState.QUEUED, 2, {})
    assert market.held == ASK * 3_000 // 10**6
    market.sell(market.large, ASK, market.worker)
    (offer,) = market.offers(market.batch())
    assert (offer.event.instrument_id, offer.event.attempt) == (market.large, 2)
    market.do(c.WorkerLost(market.worker))
    assert (job.state, job.attempt) == (JobState.QUEUED, 3)
    market.sell(market.cpu, ASK)
    (offer,) = market.offers(market.batch())
    offer.run().settle()
    assert job.paid_nanos == -(-ASK * 29 // 10**6)
    assert [market.exchange.leases[i].quantity_mflop for i in job.lease_ids] == [
        1_000,
        3_000,
        1_000,
    ]


def test_a_job_that_failed_too_often_ends(market: TwoModels) -> None:
    job_id = market.bid((market.cpu, ASK, 1_000), (market.large, ASK, 3_000))
    for attempt in range(1, ATTEMPTS_MAX + 1):
        market.sell((market.cpu, market.large)[attempt % 2], ASK)
        (offer,) = market.offers(market.batch())
        offer.decline()
    job = market.exchange.jobs[job_id]
    assert (job.state, job.attempt, market.held) == (JobState.FAILED, ATTEMPTS_MAX, 0)


def test_a_leg_that_is_too_late_drops_out_and_the_last_ends_the_job(market: TwoModels) -> None:
    # The slow class takes 4.01 s, the other 0.21 s.
    job_id = market.bid((market.slow, 3 * ASK, 1_000), (market.cpu, ASK, 1_000))
    job = market.exchange.jobs[job_id]
    assert market.held == 3 * ASK // 1_000
    due_ns = market.exchange.next_timer_ns()
    assert due_ns is not None
    while not (events := dropped(market.at(due_ns))):
        due_ns = market.exchange.next_timer_ns()
        assert due_ns is not None
    assert events == [(0, Reason.DEADLINE_INFEASIBLE)]
    assert market.now_ns == job.deadline_ns - 4_010_000_000 + 1
    assert (job.state, market.held) == (JobState.QUEUED, ASK // 1_000)
    assert market.exchange.why_legs_wait(job_id) == {1: Reason.NO_QUOTES}
    ended = of_kind(market.at(job.deadline_ns), JobEnded)
    assert [(e.state, e.reason, e.fault) for e in ended] == [
        (JobState.EXPIRED, Reason.DEADLINE_INFEASIBLE, Fault.NONE)
    ]
    assert market.held == 0


def test_legs_that_cannot_serve_it_drop_out_at_entry(market: TwoModels) -> None:
    market.do(c.SetInstrumentState(market.large, c.TradingState.HALTED))
    small = market.lease_class("instant/small/interactive", quantity_max_mflop=500)
    legs = [
        (market.slow, ASK, 1_000),
        (market.large, 9 * ASK, 3_000),
        (small, ASK, 501),
        (market.cpu, ASK, 1_000),
    ]
    command = market.legs(*legs, deadline_within_ns=3 * NS_PER_S)
    queued, *others = market.events(command)
    assert isinstance(queued, JobQueued)
    assert queued.escrow_nanos == market.held == ASK // 1_000
    assert dropped(others) == [
        (0, Reason.DEADLINE_INFEASIBLE),
        (1, Reason.INSTRUMENT_HALTED),
        (2, Reason.NO_CAPABLE_CLASS),
    ]
    assert list(market.exchange.why_legs_wait(queued.job_id)) == [3]
    assert isinstance(market.do(command), Repeated)


def test_where_no_leg_can_serve_it_the_first_says_why(market: TwoModels) -> None:
    market.do(c.SetInstrumentState(market.large, c.TradingState.HALTED))
    legs = [(market.large, ASK, 3_000), (market.slow, ASK, 1_000)]
    reason = market.refused(market.legs(*legs, deadline_within_ns=NS_PER_S))
    assert reason == Reason.INSTRUMENT_HALTED


def test_a_leg_without_a_limit_bids_by_the_value(market: TwoModels) -> None:
    job_id = market.bid((market.cpu, 0, 1_000), (market.large, ASK, 3_000), value_nanos=10**5)
    plans = market.exchange.jobs[job_id].plans
    assert plans[0].density_nanos == 10**5 * 10**6 // 1_000
    assert plans[1].density_nanos == ASK
    assert market.held == max(10**5, ASK * 3_000 // 10**6)


def test_the_cap_holds_for_every_leg(market: TwoModels) -> None:
    cap = ASK * 3_000 // 10**6
    legs = [(market.cpu, ASK, 1_000), (market.large, ASK, 3_000)]
    assert market.refused(market.legs(*legs, max_cost_nanos=cap - 1)) == Reason.MONEY_CAP
    market.bid(*legs, max_cost_nanos=cap)
    assert market.held == cap
    market.bid((market.cpu, 0, 1_000), (market.large, 0, 3_000), max_cost_nanos=cap)
    assert market.held == 2 * cap
    market.sell(market.large, ASK)
    market.sell(market.cpu, ASK, market.worker)
    market.later(9 * NS_PER_S)
    assert all(
        lease.price_nanos * lease.quantity_mflop <= cap * 10**6
        for lease in market.exchange.leases.values()
    )


def test_a_halt_stops_one_leg_and_a_close_drops_it(market: TwoModels) -> None:
    job_id = market.bid((market.cpu, ASK, 1_000), (market.large, ASK, 3_000))
    market.sell(market.large, ASK)
    market.do(c.SetInstrumentState(market.large, c.TradingState.HALTED))
    assert market.offers(market.batch()) == []
    assert market.exchange.why_legs_wait(job_id) == {
        0: Reason.NO_QUOTES,
        1: Reason.INSTRUMENT_HALTED,
    }
    assert market.exchange.why_waiting(job_id) == Reason.NO_QUOTES
    closed = market.events(c.SetInstrumentState(market.large, c.TradingState.CLOSED))
    assert dropped(closed) == [(1, Reason.CANCELLED_BY_OPERATOR)]
    assert market.held == ASK // 1_000
    market.do(c.SetInstrumentState(market.cpu, c.TradingState.CLOSED))
    job = market.exchange.jobs[job_id]
    assert (job.state, job.reason, job.fault) == (
        JobState.CANCELLED,
        Reason.CANCELLED_BY_OPERATOR,
        Fault.OPERATOR,
    )
    assert market.held == 0


def test_what_closed_while_it_ran_is_gone_when_it_comes_back(market: TwoModels) -> None:
    job_id = market.bid((market.cpu, ASK, 1_000), (market.large, ASK, 3_000))
    market.sell(market.cpu, ASK)
    (offer,) = market.offers(market.batch())
    market.do(c.SetInstrumentState(market.large, c.TradingState.CLOSED))
    assert market.held == ASK * 3_000 // 10**6
    events = offer.decline()
    assert dropped(events) == [(1, Reason.CANCELLED_BY_OPERATOR)]
    assert of_kind(events, JobQueued)[0].escrow_nanos == market.held == ASK // 1_000
    assert market.exchange.jobs[job_id].attempt == 2


def test_a_leg_that_meets_its_own_account_ends_the_job(market: TwoModels) -> None:
    market.do(c.Deposit(market.seller, market.new_id(), 10**9))
    job_id = market.bid(
        (market.cpu, ASK, 1_000), (market.large, ASK, 3_000), account_id=market.seller
    )
    market.sell(market.cpu, ASK)
    market.batch()
    job = market.exchange.jobs[job_id]
    assert (job.state, job.reason) == (JobState.CANCELLED, Reason.SELF_TRADE)
    assert [len(group.bids()) for group in market.exchange.groups.values()] == [0, 0, 0]


def test_a_cancel_takes_every_leg_out(market: TwoModels) -> None:
    job_id = market.bid((market.cpu, ASK, 1_000), (market.large, ASK, 3_000))
    market.do(c.CancelJob(market.buyer, job_id))
    assert [len(group.bids()) for group in market.exchange.groups.values()] == [0, 0, 0]
    assert market.held == 0
    market.bid((market.cpu, ASK, 1_000), (market.large, ASK, 3_000))
    market.sell(market.cpu, ASK)
    (offer,) = market.offers(market.batch())
    offer.run()
    market.do(c.CancelJob(market.buyer, offer.job_id))
    offer.settle(cause=c.StopCause.CANCELLED)
    job = market.exchange.jobs[offer.job_id]
    assert (job.state, job.paid_nanos) == (JobState.CANCELLED, -(-ASK * 29 // 10**6))


def test_a_receipt_is_judged_by_the_leg_that_filled(market: TwoModels) -> None:
    """The compute of 29 tokens of the large model is more than the other leg's budget."""
    job_id = market.bid((market.cpu, ASK, 40), (market.large, ASK, 87))
    market.sell(market.large, ASK)
    (offer,) = market.offers(market.batch())
    offer.run().settle()
    assert market.exchange.jobs[job_id].flops == 87 * 10**6
    again = market.bid((market.cpu, ASK, 28), (market.large, ASK, 87))
    market.sell(market.cpu, ASK, market.worker)
    (offer,) = market.offers(market.batch())
    offer.run().settle()
    job = market.exchange.jobs[again]
    assert (job.state, job.attempt) == (JobState.QUEUED, 2)


def test_all_the_legs_that_there_may_be(market: TwoModels) -> None:
    classes = [market.lease_class(f"instant/cpu/tier{n}") for n in range(LEGS_MAX + 1)]
    legs = [(instrument_id, ASK, 1_000) for instrument_id in classes]
    assert market.refused(market.legs(*legs)) == Reason.LEGS_INVALID
    market.bid(*legs[:LEGS_MAX])
    market.sell(classes[LEGS_MAX - 1], ASK)
    (offer,) = market.offers(market.batch())
    assert offer.event.instrument_id == classes[LEGS_MAX - 1]


@pytest.mark.parametrize(
    ("legs", "changes", "reason"),
    [
        ([(99, ASK, 1_000)], {}, Reason.UNKNOWN_INSTRUMENT),
        ([("paper", 100, 1_000)], {}, Reason.ORDER_TYPE_UNSUPPORTED),
        ([("cpu", ASK, 1_000), ("cpu", ASK, 500)], {}, Reason.LEGS_INVALID),
        ([("cpu", ASK, 0)], {}, Reason.QUANTITY_NOT_POSITIVE),
        ([("cpu", ASK, 10**13 + 1)], {}, Reason.QUANTITY_TOO_LARGE),
        ([("cpu", -1, 1_000)], {}, Reason.AMOUNT_NOT_POSITIVE),
        ([("cpu", 10**10, 1_000)], {}, Reason.PRICE_OUT_OF_BAND),
        ([("cpu", ASK, 1_000), ("large", ASK, 2)], {}, Reason.BUDGET_BELOW_MINIMUM),
        ([("cpu", 0, 1_000)], {}, Reason.VALUE_MISSING),
        ([("cpu", ASK, 1_000), ("large", 0, 3_000)], {}, Reason.VALUE_MISSING),
        ([("cpu", ASK, 1_000)], {"value_nanos": 10**6}, Reason.FIELD_INVALID),
        ([("cpu", ASK, 1_000)], {"model_id": 1}, Reason.FIELD_INVALID),
        ([("cpu", ASK, 1_000)], {"tier": "interactive"}, Reason.FIELD_INVALID),
        ([("cpu", ASK, 1_000)], {"quantity_mflop": 1_000}, Reason.FIELD_INVALID),
        ([("cpu", ASK, 1_000)], {"limit_nanos": ASK}, Reason.FIELD_INVALID),
        ([("cpu", ASK, 1_000)], {"account_id": 6}, Reason.ORDER_TYPE_UNSUPPORTED),
    ],
)
def test_refused_legs(
    market: TwoModels, legs: list[Any], changes: dict[str, Any], reason: Reason
) -> None:
    named = [(getattr(market, i) if isinstance(i, str) else i, *rest) for i, *rest in legs]
    assert market.refused(market.legs(*named, **changes)) == reason


def test_a_part_of_a_leg_is_no_leg(market: TwoModels) -> None:
    numbers = market.legs((market.cpu, ASK, 1_000)).legs
    assert market.refused(market.legs(legs=numbers[:-1])) == Reason.LEGS_INVALID
    assert market.refused(market.legs(legs=(*numbers[:3], 0, 40))) == Reason.FIELD_INVALID
    assert market.refused(market.legs(legs=(*numbers[:3], 41, 40))) == Reason.FIELD_INVALID
