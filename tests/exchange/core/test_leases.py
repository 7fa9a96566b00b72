"""Leases: every transition, fences, timeouts, receipts honest and not, and whose fault it was."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from typing import Any

import pytest

from exchange.core import commands as c
from exchange.core.events import (
    Cleared,
    Fault,
    JobCancelling,
    JobEnded,
    JobQueued,
    JobState,
    LeaseAccepted,
    LeaseEnded,
    LeaseStarted,
    LeaseState,
    Posted,
    QuoteEnded,
    ReceiptRefused,
    ReceiptSettled,
    Refused,
)
from exchange.core.leases import DECLINE_REASONS
from exchange.core.limits import FLOPS_PER_MFLOP, NS_PER_S
from exchange.core.reasons import Reason
from exchange.core.settlement import EARLY_MAX_NS, EARLY_SHARE
from exchange.metering.adaptive import (
    END_TOKEN,
    AdaptiveShape,
    AdaptiveTrace,
    Decision,
    Policy,
    Step,
    Thought,
    follows,
)
from exchange.metering.cards import ModelCard
from exchange.metering.traces import flops
from tests.exchange.core.scenario import ASK, FUNDS, RECEIPT, Market, Offer, of_kind, replace

ADAPTIVE = ModelCard(
    name="adaptive-tiny",
    family="adaptive",
    template_tokens=1,
    adaptive=AdaptiveShape(64, 128, 4, 4, 2, 128, 32, 256, 768, 10),
)
BILL = -(-ASK * 29 // 10**6)
"""What the usual receipt costs: 29 MFLOP."""


def lease_state(market: Market, offer: Offer) -> LeaseState:
    return market.exchange.leases[offer.lease_id].state


def job_state(market: Market, offer: Offer) -> JobState:
    return market.exchange.jobs[offer.job_id].state


# The way it should go


def test_a_job_is_offered_run_metered_and_settled(market: Market) -> None:
    job_id = market.submit()
    assert market.exchange.jobs[job_id].state == JobState.QUEUED
    events = market.batch()
    assert of_kind(events, Cleared)[0].price_nanos == ASK
    (offer,) = market.offers(events)
    assert offer.event.ask_nanos <= offer.event.price_nanos <= offer.event.bid_nanos
    assert (lease_state(market, offer), job_state(market, offer)) == (1, JobState.LEASED)
    assert isinstance(market.do(c.AcceptLease(*offer.token)), LeaseAccepted)
    assert (lease_state(market, offer), job_state(market, offer)) == (2, JobState.LEASED)
    assert isinstance(market.do(c.StartLease(*offer.token)), LeaseStarted)
    assert (lease_state(market, offer), job_state(market, offer)) == (3, JobState.RUNNING)
    events = offer.settle()
    (settled,) = of_kind(events, ReceiptSettled)
    assert (settled.flops, settled.billed_nanos) == (29 * 10**6, BILL)
    assert [type(event) for event in events] == [ReceiptSettled, Posted, LeaseEnded, JobEnded]
    assert (lease_state(market, offer), job_state(market, offer)) == (4, JobState.SETTLED)
    assert (market.real(market.buyer), market.real(market.seller)) == (FUNDS - BILL, BILL)
    assert market.exchange.ledger.pending(market.buyer) == 0
    worker = market.exchange.workers[market.worker]
    assert (worker.leases_settled, worker.earned_nanos, worker.in_use) == (1, BILL, [0])


def test_a_receipt_may_come_before_the_start_was_told(market: Market) -> None:
    assert isinstance(market.leased().accept().settle()[0], ReceiptSettled)


def test_a_job_stopped_by_its_budget_is_settled(market: Market) -> None:
    events = market.running(quantity_mflop=15).settle(10, 5, cause=c.StopCause.BUDGET)
    assert of_kind(events, JobEnded)[0].state == JobState.SETTLED


def test_nothing_done_costs_nothing(market: Market) -> None:
    events = market.running(quantity_mflop=39).settle(0, 0, cause=c.StopCause.BUDGET)
    assert of_kind(events, Posted)[0].amount_nanos == 0
    assert market.real(market.buyer) == FUNDS


def test_a_prompt_that_may_not_fit_its_context_can_end_with_nothing_done(market: Market) -> None:
    context = market.exchange.instruments[1].terms.context_tokens_max
    for most, kind in ((context, ReceiptSettled), (context - 1, ReceiptRefused)):
        offer = market.running(input_tokens_max=most)
        assert isinstance(offer.settle(0, 0, cause=c.StopCause.LENGTH)[0], kind)
    assert market.real(market.buyer) == FUNDS


# Transitions: each step in each state


def enter(market: Market, state: LeaseState) -> Offer:
    """A lease in this state."""
    offer = market.leased()
    if state in (LeaseState.ACCEPTED, LeaseState.RUNNING, LeaseState.SETTLED, LeaseState.FAILED):
        offer.accept()
    if state in (LeaseState.RUNNING, LeaseState.SETTLED):
        offer.start()
    if state == LeaseState.SETTLED:
        offer.settle()
    if state == LeaseState.EXPIRED:
        market.later(2 * NS_PER_S)
    if state in (LeaseState.DECLINED, LeaseState.FAILED):
        offer.decline()
    if state == LeaseState.REVOKED:
        market.do(c.CancelJob(market.buyer, offer.job_id))
    assert lease_state(market, offer) == state
    return offer


STEPS: dict[str, Callable[[Offer], c.Command]] = {
    "accept": lambda offer: c.AcceptLease(*offer.token),
    "start": lambda offer: c.StartLease(*offer.token),
    "decline": lambda offer: c.DeclineLease(*offer.token, Reason.WORKER_BUSY),
    "settle": lambda offer: offer.receipt(),
}
S = LeaseState
TAKEN: dict[tuple[str, LeaseState], LeaseState] = {
    ("accept", S.OFFERED): S.ACCEPTED,
    ("start", S.ACCEPTED): S.RUNNING,
    ("decline", S.OFFERED): S.DECLINED,
    ("decline", S.ACCEPTED): S.FAILED,
    ("decline", S.RUNNING): S.FAILED,
    ("settle", S.ACCEPTED): S.SETTLED,
    ("settle", S.RUNNING): S.SETTLED,
}


@pytest.mark.parametrize(("step", "state"), list(product(STEPS, S)))
def test_each_step_in_each_state(market: Market, step: str, state: LeaseState) -> None:
    offer = enter(market, state)
    answer = market.do(STEPS[step](offer))
    assert lease_state(market, offer) == TAKEN.get((step, state), state)
    if (step, state) in TAKEN:
        assert not isinstance(answer, Refused | ReceiptRefused)
    elif step == "settle" and state == S.SETTLED:
        assert isinstance(answer, ReceiptSettled), "a repeat gets the first result"
    else:
        assert isinstance(answer, Refused | ReceiptRefused)
        closed = Reason.RECEIPT_LATE if step == "settle" else Reason.LEASE_CLOSED
        is_open = state in (S.OFFERED, S.ACCEPTED, S.RUNNING)
        assert answer.reason == (Reason.LEASE_STATE if is_open else closed)


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"lease_id": 99}, Reason.UNKNOWN_LEASE),
        ({"worker_id": 2}, Reason.NOT_OWNER),
        ({"worker_id": 99}, Reason.NOT_OWNER),
        ({"fence_epoch": 0}, Reason.STALE_FENCE),
        ({"fence_epoch": 2}, Reason.STALE_FENCE),
        ({"fence_sequence": 0}, Reason.STALE_FENCE),
        ({"fence_sequence": 2**64 - 1}, Reason.STALE_FENCE),
    ],
)
def test_whoever_holds_another_token_changes_nothing(
    market: Market, step: str, changes: dict[str, int], reason: Reason
) -> None:
    market.worker_of(market.seller, name="second")
    offer = market.running()
    answer = market.do(replace(STEPS[step](offer), **changes))
    assert isinstance(answer, Refused | ReceiptRefused)
    assert answer.reason == reason
    assert lease_state(market, offer) == LeaseState.RUNNING


def test_a_new_attempt_has_a_new_fence(market: Market) -> None:
    first = market.leased()
    first.decline()
    market.quote()
    (second,) = market.offers(market.batch())
    assert (second.job_id, second.event.attempt) == (first.job_id, 2)
    assert second.token[2:] != first.token[2:]
    mixed = c.AcceptLease(market.worker, second.lease_id, *first.token[2:])
    assert market.refused(mixed) == Reason.STALE_FENCE
    stale = replace(second.receipt(), lease_id=first.lease_id, fence_sequence=first.token[3])
    assert market.do(stale) == ReceiptRefused(
        first.lease_id, market.worker, Reason.RECEIPT_LATE, stale.receipt_digest
    )


# Failed attempts bill nothing and bring the whole budget back

FAILURES: dict[str, Callable[[Market, Offer], list[object]]] = {
    "lost": lambda market, offer: [*market.events(c.WorkerLost(market.worker))],
    "left": lambda market, offer: [*market.events(c.LeaveWorker(market.worker))],
    "restarted": lambda market, offer: [*market.events(market.registration(market.seller))],
    "declined": lambda market, offer: [*offer.decline(Reason.WORKER_LOST)],
    "lied": lambda market, offer: [*offer.settle(signature_valid=0)],
    "broken": lambda market, offer: [*offer.settle(cause=c.StopCause.FAILED)],
}


@pytest.mark.parametrize("failure", FAILURES)
def test_a_failed_attempt_bills_nothing_and_returns_the_budget(
    market: Market, failure: str
) -> None:
    offer = market.running()
    escrow = market.exchange.ledger.pending(market.buyer)
    events = FAILURES[failure](market, offer)
    (ended,) = [event for event in events if isinstance(event, LeaseEnded)]
    assert (ended.state, ended.fault, ended.billed_nanos) == (S.FAILED, Fault.WORKER, 0)
    (queued,) = [event for event in events if isinstance(event, JobQueued)]
    assert (queued.attempt, queued.quantity_mflop, queued.escrow_nanos) == (2, 1_000, escrow)
    assert market.exchange.ledger.pending(market.buyer) == escrow
    assert market.real(market.buyer) == FUNDS
    assert market.exchange.workers[market.worker].in_use == [0]
    assert market.exchange.workers[market.worker].leases_failed == 1


def test_all_leases_of_a_lost_worker_fail(market: Market) -> None:
    offers = [market.running(), market.leased()]
    events = market.events(c.WorkerLost(market.worker))
    ended = [event.lease_id for event in of_kind(events, LeaseEnded)]
    assert ended == [offer.lease_id for offer in offers]


def test_a_job_too_late_for_another_attempt_ends(market: Market) -> None:
    offer = market.running(deadline_within_ns=NS_PER_S)
    market.later(NS_PER_S)
    (ended,) = of_kind(market.events(c.WorkerLost(market.worker)), JobEnded)
    assert (ended.state, ended.reason) == (JobState.EXPIRED, Reason.DEADLINE_INFEASIBLE)
    assert (ended.fault, ended.paid_nanos, ended.job_id) == (Fault.WORKER, 0, offer.job_id)


def test_an_attempt_that_fails_after_its_classes_closed_ends_the_job(market: Market) -> None:
    offer = market.running()
    market.do(c.SetInstrumentState(market.cpu, c.TradingState.CLOSED))
    assert lease_state(market, offer) == LeaseState.RUNNING
    (ended,) = of_kind(offer.decline(), JobEnded)
    assert (ended.state, ended.reason, ended.fault) == (
        JobState.CANCELLED,
        Reason.CANCELLED_BY_OPERATOR,
        Fault.OPERATOR,
    )


def test_a_running_lease_settles_after_its_class_closed(market: Market) -> None:
    offer = market.running()
    market.do(c.SetInstrumentState(market.cpu, c.TradingState.CLOSED))
    assert isinstance(offer.settle()[0], ReceiptSettled)


@pytest.mark.parametrize("reason", [*DECLINE_REASONS, 0, 1, 801, 65_535])
def test_decline_reasons(market: Market, reason: int) -> None:
    offer = market.leased()
    command = c.DeclineLease(*offer.token, reason)
    if reason in DECLINE_REASONS:
        assert market.expect(command, LeaseEnded).reason == reason
    else:
        assert market.refused(command) == Reason.FIELD_INVALID


def test_who_declines_is_asked_again_only_after_a_new_quote(market: Market) -> None:
    """Else the cheapest worker could decline a job's attempts away."""
    dear = market.worker_of(market.seller, name="dear", public_key=b"d" * 32)
    market.quote(worker_id=dear, prices_nanos=(ASK + 1,))
    first = market.leased()
    assert first.event.worker_id != dear
    (ended,) = of_kind(first.decline(), QuoteEnded)
    assert ended.worker_id == first.event.worker_id
    (second,) = market.offers(market.batch())
    assert second.event.worker_id == dear


def test_a_lease_that_the_exchange_gives_back_is_not_the_workers_fault(market: Market) -> None:
    offer = market.leased()
    (ended,) = of_kind(offer.decline(Reason.OPERATOR_FAULT), LeaseEnded)
    assert (ended.fault, ended.reason) == (Fault.OPERATOR, Reason.OPERATOR_FAULT)
    assert market.exchange.workers[ended.worker_id].leases_failed == 0


# Receipts

LIES: dict[str, tuple[dict[str, Any], Reason]] = {
    "signature": ({"signature_valid": 0}, Reason.RECEIPT_BAD_SIGNATURE),
    "cause 0": ({"cause": 0}, Reason.RECEIPT_MALFORMED),
    "cause 7": ({"cause": 7}, Reason.RECEIPT_MALFORMED),
    "model": ({"model_digest": b"x" * 32}, Reason.RECEIPT_WRONG_MODEL),
    "input": ({"input_digest": b"x" * 32}, Reason.RECEIPT_WRONG_INPUT),
    "output": ({"output_digest": b"x" * 32}, Reason.RECEIPT_WRONG_OUTPUT),
    "chunks": ({"output_digest_received": b"x" * 32}, Reason.RECEIPT_WRONG_OUTPUT),
    "engine": ({"cause": c.StopCause.FAILED}, Reason.ENGINE_FAILED),
    "unasked cancel": ({"cause": c.StopCause.CANCELLED}, Reason.ENGINE_FAILED),
    "no trace": ({"trace": b""}, Reason.RECEIPT_MALFORMED),
    "more flops": ({"flops": 29 * 10**6 + 1}, Reason.RECEIPT_FLOPS_MISMATCH),
    "most flops": ({"flops": 2**64 - 1}, Reason.RECEIPT_FLOPS_MISMATCH),
    "prompt": ({"prompt": 41}, Reason.RECEIPT_TOKENS_IMPLAUSIBLE),
    "output tokens": ({"steps": 24}, Reason.RECEIPT_TOKENS_IMPLAUSIBLE),
    "budget that had room": (
        {"cause": c.StopCause.BUDGET},
        Reason.RECEIPT_TOKENS_IMPLAUSIBLE,
    ),
    "nothing done": ({"prompt": 0, "steps": 0}, Reason.RECEIPT_TOKENS_IMPLAUSIBLE),
    "over budget": ({"steps": 991}, Reason.RECEIPT_OVER_BUDGET),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_lying_receipt_pays_nothing_for_good(market: Market, lie: str) -> None:
    changes, reason = LIES[lie]
    offer = market.running()
    events = offer.settle(**changes)
    assert events[0] == ReceiptRefused(offer.lease_id, market.worker, reason, RECEIPT)
    assert of_kind(events, LeaseEnded)[0].reason == reason
    assert of_kind(events, JobQueued)[0].attempt == 2
    # The truth comes too late: one receipt per lease, and it had the first result.
    assert market.events(offer.receipt()) == [events[0]]
    assert market.real(market.seller) == 0


def test_time_that_has_not_run_out_stops_no_job(market: Market) -> None:
    """A worker that could end jobs unanswered, at once and unpunished, would be the cheapest."""
    for done in ((0, 0), (10, 3)):
        offer = market.running()
        events = offer.settle(*done, cause=c.StopCause.TIME)
        assert of_kind(events, ReceiptRefused)[0].reason == Reason.ENGINE_FAILED
        assert of_kind(events, JobQueued)[0].attempt == 2
        market.events(c.CancelJob(market.buyer, offer.job_id))
    assert market.exchange.workers[market.worker].leases_failed == 2


@pytest.mark.parametrize(("before_ns", "kind"), [(0, ReceiptSettled), (1, ReceiptRefused)])
def test_a_worker_whose_time_ran_out_is_believed_as_far_as_clocks_differ(
    market: Market, before_ns: int, kind: type
) -> None:
    offer = market.running()
    whole_ns = offer.event.stop_within_ns
    market.later(whole_ns - whole_ns // EARLY_SHARE - EARLY_MAX_NS - before_ns)
    assert isinstance(offer.settle(10, 3, cause=c.StopCause.TIME)[0], kind)


def test_a_lease_that_lived_through_a_restart_ends_when_its_worker_says(market: Market) -> None:
    """Its time was extended by what the exchange was away; the worker's own ran on."""
    offer = market.running()
    market.do(c.Recovered(market.exchange.epoch + 1, 5 * NS_PER_S))
    assert isinstance(offer.settle(10, 3, cause=c.StopCause.TIME)[0], ReceiptSettled)


def test_what_an_adaptive_model_decided_must_follow() -> None:
    """Steps that no budget pays, experts that are not there, decisions for no reason: unpaid."""
    market = Market(ADAPTIVE)
    step = Step(experts=0b0011, now_ppm=950_000, ever_ppm=960_000, margin_ppm=1)
    unsure, absent = step._replace(now_ppm=0), step._replace(experts=0xFFFF)
    twice = step._replace(experts=0b0111)
    lies = [
        ((absent,) * 32, Decision.ANSWER),
        ((absent,) * 32, Decision.HOPELESS),
        ((twice,), Decision.ANSWER),
        ((step, step), Decision.ANSWER),  # it was sure after the first
        ((unsure,) * (ADAPTIVE.shape.steps_max + 1), Decision.STEPS),
        ((unsure,), Decision.ANSWER),
        ((step,), Decision.ANSWER),  # and this is the truth
    ]
    for steps, decision in lies:
        offer = market.running()
        budget_flops = offer.event.quantity_mflop * FLOPS_PER_MFLOP
        thought = Thought(steps, decision, -1 if decision == Decision.HOPELESS else END_TOKEN, 1)
        trace = AdaptiveTrace(10, budget_flops, Policy(), (thought,))
        nothing = offer.receipt(0, 0, cause=c.StopCause.FINISHED)
        told = {"flops": flops(ADAPTIVE, trace), "tokens_received": 1, "trace": trace.encode()}
        answer = market.events(replace(nothing, **told))[0]
        if (steps, decision) == lies[-1]:
            assert isinstance(answer, ReceiptSettled)
            continue
        assert answer == ReceiptRefused(
            offer.lease_id, market.worker, Reason.RECEIPT_MALFORMED, RECEIPT
        )
        market.events(c.CancelJob(market.buyer, offer.job_id))
        # Nor does the truth under another budget than the lease's count.
        other = AdaptiveTrace(10, budget_flops + 1, Policy(), (Thought((step,), *thought[1:]),))
        assert not follows(ADAPTIVE.shape, other, budget_flops)
    market.close()


def test_a_repeated_receipt_gets_the_first_result_and_posts_nothing(market: Market) -> None:
    offer = market.running()
    first = offer.settle()[0]
    for repeat in (offer.receipt(), offer.receipt(signature_valid=0), offer.receipt(10, 3)):
        assert market.events(repeat) == [first]
    assert market.real(market.seller) == BILL


def test_a_receipt_before_the_accept_is_refused_and_may_come_again(market: Market) -> None:
    offer = market.leased()
    answer = market.do(offer.receipt())
    assert isinstance(answer, ReceiptRefused)
    assert answer.reason == Reason.LEASE_STATE
    offer.run()
    assert isinstance(market.do(offer.receipt()), ReceiptSettled)


def test_a_forgotten_lease_is_unknown(market: Market) -> None:
    offer = market.running()
    offer.settle()
    receipt = offer.receipt()
    market.later(25 * 3_600 * NS_PER_S)
    assert offer.job_id not in market.exchange.jobs
    answer = market.do(receipt)
    assert isinstance(answer, ReceiptRefused)
    assert answer.reason == Reason.UNKNOWN_LEASE
    assert market.exchange.leases == {}


def test_the_bill_is_rounded_up_once(market: Market) -> None:
    market.quote(prices_nanos=(1, 1))
    (settled,) = of_kind(market.running().settle(), ReceiptSettled)
    assert settled.billed_nanos == 1


# Cancelling


def test_cancel_in_the_book(market: Market) -> None:
    job_id = market.submit()
    (ended,) = of_kind(market.events(c.CancelJob(market.buyer, job_id)), JobEnded)
    assert (ended.state, ended.fault, ended.paid_nanos) == (JobState.CANCELLED, Fault.BUYER, 0)
    assert market.offers(market.batch()) == []
    assert market.exchange.ledger.pending(market.buyer) == 0


def test_cancel_of_an_offered_lease_revokes_it(market: Market) -> None:
    offer = market.leased()
    events = market.events(c.CancelJob(market.buyer, offer.job_id))
    (ended,) = of_kind(events, LeaseEnded)
    assert (ended.state, ended.fault) == (S.REVOKED, Fault.BUYER)
    assert of_kind(events, JobEnded)[0].state == JobState.CANCELLED
    assert market.exchange.workers[market.worker].leases_failed == 0


@pytest.mark.parametrize("started", [False, True])
@pytest.mark.parametrize("cause", [c.StopCause.CANCELLED, c.StopCause.FINISHED])
def test_cancel_of_a_lease_at_work_bills_what_was_done(
    market: Market, started: bool, cause: int
) -> None:
    offer = market.running() if started else market.leased().accept()
    events = market.events(c.CancelJob(market.buyer, offer.job_id))
    assert [type(event) for event in events] == [JobCancelling]
    assert market.exchange.leases[offer.lease_id].cancelling
    (ended,) = of_kind(offer.settle(10, 3, cause=cause), JobEnded)
    assert (ended.state, ended.reason) == (JobState.CANCELLED, Reason.CANCELLED_BY_OWNER)
    assert ended.paid_nanos == -(-ASK * 13 // 10**6) == market.real(market.seller)


def test_cancel_without_a_receipt_bills_nothing(market: Market) -> None:
    offer = market.running()
    market.do(c.CancelJob(0, offer.job_id))
    assert of_kind(market.later(2 * NS_PER_S - 1), JobEnded) == []
    (ended,) = of_kind(market.later(1), JobEnded)
    assert (ended.state, ended.reason) == (JobState.CANCELLED, Reason.CANCELLED_BY_OPERATOR)
    assert (ended.fault, ended.paid_nanos) == (Fault.OPERATOR, 0)


@pytest.mark.parametrize("failure", FAILURES)
def test_cancel_and_then_a_failure_ends_cancelled(market: Market, failure: str) -> None:
    offer = market.running()
    market.do(c.CancelJob(market.buyer, offer.job_id))
    events = FAILURES[failure](market, offer)
    (ended,) = [event for event in events if isinstance(event, JobEnded)]
    assert (ended.state, ended.reason) == (JobState.CANCELLED, Reason.CANCELLED_BY_OWNER)


def test_cancel_by_others(market: Market) -> None:
    job_id = market.submit()
    assert market.refused(c.CancelJob(market.other, job_id)) == Reason.NOT_OWNER
    assert isinstance(market.do(c.CancelJob(0, job_id)), JobEnded)
    assert market.refused(c.CancelJob(0, job_id)) == Reason.JOB_CLOSED
