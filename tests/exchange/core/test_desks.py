"""The other desks: money, keys, models, instruments, jobs at entry, workers and their quotes."""

from __future__ import annotations

from typing import Any

import pytest

from exchange.core import commands as c
from exchange.core.accounts import EXTERNAL
from exchange.core.client_ids import is_uuid7
from exchange.core.events import (
    AccountOpened,
    Fault,
    JobEnded,
    JobQueued,
    JobState,
    KeyAdded,
    KeyRevoked,
    LeaseOffered,
    Posted,
    QuoteEnded,
    QuoteSet,
    Repeated,
    WorkerState,
    WorkerStateChanged,
)
from exchange.core.exchange import Exchange
from exchange.core.ledger import Ledger
from exchange.core.limits import CLIENT_ID_RETENTION_NS, NS_PER_S
from exchange.core.reasons import Reason
from exchange.core.timers import COMPACT_AT_LEAST, TimerKind, Timers
from tests.exchange.core.scenario import ASK, FUNDS, T0, Market, Offer, of_kind, replace, uuid7

# Money


@pytest.mark.parametrize("kind", [c.Deposit, c.Withdraw])
def test_money_moves_once(market: Market, kind: type[c.Deposit] | type[c.Withdraw]) -> None:
    command = kind(market.buyer, market.new_id(), 1_000)
    assert isinstance(market.do(command), Posted)
    moved = 1_000 if kind is c.Deposit else -1_000
    for _ in range(2):
        assert isinstance(market.do(command), Repeated)
        assert market.real(market.buyer) == FUNDS + moved
    assert market.refused(replace(command, amount_nanos=1_001)) == Reason.DUPLICATE_CLIENT_ID
    other = c.Withdraw if kind is c.Deposit else c.Deposit
    crossed = other(market.buyer, command.request_id, 1_000)
    assert market.refused(crossed) == Reason.DUPLICATE_CLIENT_ID
    market.later(CLIENT_ID_RETENTION_NS + 61 * NS_PER_S)
    assert market.refused(command) == Reason.CLIENT_ID_TOO_OLD


def test_what_is_held_cannot_be_withdrawn(market: Market) -> None:
    market.submit()
    free = market.exchange.ledger.available(market.buyer)
    assert free == FUNDS - 10**6
    too_much = c.Withdraw(market.buyer, market.new_id(), free + 1)
    assert market.refused(too_much) == Reason.INSUFFICIENT_FUNDS
    assert isinstance(market.do(replace(too_much, amount_nanos=free)), Posted)


@pytest.mark.parametrize("account_id", sorted(EXTERNAL))
def test_nobodys_accounts_take_part_in_nothing(market: Market, account_id: int) -> None:
    for command in (
        c.Deposit(account_id, market.new_id(), 1),
        c.Withdraw(account_id, market.new_id(), 1),
        c.AddKey(account_id, 1, bytes(32), "key"),
        market.registration(account_id),
    ):
        assert market.refused(command) == Reason.UNKNOWN_ACCOUNT


def test_paper_money_comes_from_the_paper_source(market: Market) -> None:
    assert market.real(1) == -2 * FUNDS
    assert market.real(2) == -2 * FUNDS
    market.do(c.Withdraw(market.ann, market.new_id(), 5))
    assert (market.real(1), market.real(2)) == (-2 * FUNDS, 5 - 2 * FUNDS)


def test_paper_buys_and_sells_no_real_compute(market: Market) -> None:
    assert market.refused(market.job(account_id=market.ann)) == Reason.ORDER_TYPE_UNSUPPORTED
    assert market.refused(market.registration(market.ann)) == Reason.ORDER_TYPE_UNSUPPORTED


@pytest.mark.parametrize("kind", [0, 3, 255])
def test_an_account_is_real_or_paper(market: Market, kind: int) -> None:
    assert market.refused(c.OpenAccount(kind, "new")) == Reason.FIELD_INVALID


def test_account_names(market: Market) -> None:
    assert market.refused(c.OpenAccount(1, "")) == Reason.FIELD_INVALID
    assert market.refused(c.OpenAccount(2, "external")) == Reason.NAME_TAKEN
    assert isinstance(market.do(c.OpenAccount(2, "new")), AccountOpened)


def test_keys(market: Market) -> None:
    key = c.AddKey(market.buyer, 15, b"h" * 32, "laptop")
    for changes, reason in (
        ({"roles": 0}, Reason.FIELD_INVALID),
        ({"roles": 16}, Reason.FIELD_INVALID),
        ({"account_id": 99}, Reason.UNKNOWN_ACCOUNT),
    ):
        assert market.refused(replace(key, **changes)) == reason
    assert isinstance(market.do(key), KeyAdded)
    assert market.refused(replace(key, account_id=market.other)) == Reason.NAME_TAKEN
    assert market.exchange.keys[b"h" * 32] == (market.buyer, 15, "laptop")
    assert market.do(c.RevokeKey(b"h" * 32)) == KeyRevoked(market.buyer, b"h" * 32)
    assert market.exchange.keys == {}
    assert isinstance(market.do(key), KeyAdded)


def test_ledger_never_posts_more_than_it_holds() -> None:
    ledger = Ledger()
    for account_id in (1, 2):
        ledger.open(account_id)
    ledger.open_external(3)
    assert ledger.transfer(3, 1, 100) == Reason.NONE
    hold = ledger.hold(1, 60)
    assert hold is not None
    assert ledger.hold(1, 41) is None
    ledger.post(hold, 2, 50)
    with pytest.raises(AssertionError, match="escrow"):
        ledger.post(hold, 2, 11)
    assert not ledger.resize(hold, 49)
    assert not ledger.resize(hold, 101)
    assert ledger.resize(hold, 100)
    assert hold.amount == 100
    assert ledger.void(hold) == 50
    with pytest.raises(AssertionError, match="closed"):
        ledger.void(hold)
    with pytest.raises(AssertionError, match="closed"):
        ledger.resize(hold, 100)
    assert (ledger.balance(1), ledger.available(1), ledger.balance(2)) == (50, 50, 50)
    assert (ledger.imbalance(), ledger.overdrawn()) == (0, 0)
    ledger.check()


def test_uuid7() -> None:
    assert is_uuid7(uuid7(1, T0))
    for at, bits in ((6, 0x40), (8, 0x40)):
        wrong = bytearray(uuid7(1, T0))
        wrong[at] = bits
        assert not is_uuid7(bytes(wrong))


# Models and instruments


@pytest.mark.parametrize("card", [b"", b"{}", b"[1]", b"\xff", b'{"name":"x","family":"moe"}'])
def test_a_model_card_must_be_one(market: Market, card: bytes) -> None:
    assert market.refused(c.AddModel(card)) == Reason.FIELD_INVALID


def test_cards_are_kept_in_canonical_form(market: Market) -> None:
    market.do(c.AddModel(b' {"flops_per_token": 1, "family": "instant", "name": "x"}'))
    model = market.exchange.models[2]
    assert model.card_bytes == model.card.encode()
    assert market.refused(c.AddModel(model.card_bytes)) == Reason.NAME_TAKEN


@pytest.mark.parametrize(
    "changes",
    [
        {"settlement": 2},
        {"mode": 2},
        {"settlement": 0, "mode": 0},
        {"tick_nanos": 0},
        {"tick_nanos": -1},
        {"tick_nanos": 2, "price_min_nanos": 3, "price_max_nanos": 4},
        {"tick_nanos": 2, "price_min_nanos": 2, "price_max_nanos": 5},
        {"price_min_nanos": 0},
        {"price_min_nanos": 10, "price_max_nanos": 9},
        {"price_max_nanos": 10**9 + 1},
        {"lot_mflop": 0},
        {"quantity_max_mflop": 0},
        {"quantity_max_mflop": 10**15 + 1},
        {"prefill_millitokens_per_s": 0},
        {"decode_millitokens_per_s": 0},
        {"context_tokens_max": 0},
        {"latest_start_ns": 0},
        {"name": ""},
        {"name": "instant/cpu"},
        {"name": "instant//new"},
        {"name": "instant/cpu/new/x"},
        {"name": "other/cpu/new"},
    ],
)
def test_refused_instruments(market: Market, changes: dict[str, Any]) -> None:
    terms = replace(market.exchange.instruments[market.cpu].terms, name="instant/cpu/new")
    assert market.refused(replace(terms, **changes)) == Reason.FIELD_INVALID


def test_instrument_names_and_models(market: Market) -> None:
    terms = market.exchange.instruments[market.cpu].terms
    assert market.refused(terms) == Reason.NAME_TAKEN
    unknown = replace(terms, name="instant/gpu/interactive", model_id=9)
    assert market.refused(unknown) == Reason.UNKNOWN_MODEL


@pytest.mark.parametrize("state", [0, 5, 255])
def test_refused_states(market: Market, state: int) -> None:
    assert market.refused(c.SetInstrumentState(market.cpu, state)) == Reason.FIELD_INVALID
    unknown = c.SetInstrumentState(99, c.TradingState.OPEN)
    assert market.refused(unknown) == Reason.UNKNOWN_INSTRUMENT


def test_a_halted_class_trades_again_when_it_opens(market: Market) -> None:
    job_id = market.submit()
    market.do(c.SetInstrumentState(market.cpu, c.TradingState.HALTED))
    assert of_kind(market.batch(), LeaseOffered) == []
    assert market.exchange.why_waiting(job_id) == Reason.INSTRUMENT_HALTED
    market.do(c.SetInstrumentState(market.cpu, c.TradingState.OPEN))
    assert len(of_kind(market.batch(), LeaseOffered)) == 1


def test_closing_a_class_refunds_only_jobs_that_have_no_other(market: Market) -> None:
    gpu = market.lease_class("instant/gpu/interactive")
    only, both = market.submit(instrument_id=market.cpu), market.submit()
    events = market.events(c.SetInstrumentState(market.cpu, c.TradingState.CLOSED))
    (ended,) = of_kind(events, JobEnded)
    assert (ended.job_id, ended.state, ended.fault) == (only, JobState.CANCELLED, Fault.OPERATOR)
    assert len(of_kind(events, QuoteEnded)) == 1
    assert market.refused(market.quoting()) == Reason.INSTRUMENT_HALTED
    market.quote(instrument_id=gpu)
    assert [offer.job_id for offer in market.offers(market.batch())] == [both]


# Jobs at entry


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"account_id": 99}, Reason.UNKNOWN_ACCOUNT),
        ({"instrument_id": 99}, Reason.UNKNOWN_INSTRUMENT),
        ({"instrument_id": 2}, Reason.ORDER_TYPE_UNSUPPORTED),
        ({"tier": "unknown"}, Reason.UNKNOWN_INSTRUMENT),
        ({"instrument_id": 1, "tier": "unknown"}, Reason.ORDER_TYPE_UNSUPPORTED),
        ({"quantity_mflop": 0}, Reason.QUANTITY_NOT_POSITIVE),
        ({"quantity_mflop": -(2**63)}, Reason.QUANTITY_NOT_POSITIVE),
        ({"value_nanos": -1}, Reason.AMOUNT_NOT_POSITIVE),
        ({"max_cost_nanos": -1}, Reason.AMOUNT_NOT_POSITIVE),
        ({"value_nanos": 0, "limit_nanos": -1}, Reason.AMOUNT_NOT_POSITIVE),
        ({"max_cost_nanos": 10**18 + 1}, Reason.AMOUNT_TOO_LARGE),
        ({"limit_nanos": 5}, Reason.FIELD_INVALID),
        ({"value_nanos": 0, "limit_nanos": 10**9 + 1}, Reason.PRICE_OUT_OF_BAND),
        ({"value_nanos": 0, "limit_nanos": 10**6, "max_cost_nanos": 1}, Reason.MONEY_CAP),
        ({"deadline_within_ns": -1}, Reason.DEADLINE_PASSED),
        ({"input_tokens": 0}, Reason.FIELD_INVALID),
        ({"input_tokens": 41}, Reason.FIELD_INVALID),
        ({"output_tokens_max": 0}, Reason.FIELD_INVALID),
        ({"value_nanos": 10**16, "quantity_mflop": 10**13}, Reason.NO_CAPABLE_CLASS),
        ({"payload_bytes": 2**32 - 1}, Reason.TOO_MANY_QUEUED_BYTES),
    ],
)
def test_refused_jobs(market: Market, changes: dict[str, Any], reason: Reason) -> None:
    assert market.refused(market.job(**changes)) == reason


def test_the_escrow_is_the_value_and_never_more_than_the_cap(market: Market) -> None:
    assert market.expect(market.job(), JobQueued).escrow_nanos == 10**6
    capped = market.expect(market.job(max_cost_nanos=1_001), JobQueued)
    assert (capped.escrow_nanos, capped.density_nanos) == (1_001, 10**9)
    only_cap = market.expect(market.job(value_nanos=0, max_cost_nanos=77), JobQueued)
    assert only_cap.escrow_nanos == 77


def test_an_explicit_limit_bids_the_same_at_all_times(market: Market) -> None:
    below = market.job(value_nanos=0, limit_nanos=ASK - 1, deadline_within_ns=60 * NS_PER_S)
    market.do(below)
    assert market.offers(market.later(59 * NS_PER_S)) == []
    at_once = market.submit(value_nanos=0, limit_nanos=ASK, deadline_within_ns=60 * NS_PER_S)
    (offer,) = market.offers(market.batch())
    assert (offer.job_id, offer.event.price_nanos) == (at_once, ASK)


def test_a_managed_bid_rises_until_it_meets_the_ask(market: Market) -> None:
    job_id = market.submit(value_nanos=10**5, deadline_within_ns=10 * NS_PER_S)
    assert market.exchange.why_waiting(job_id) == Reason.PRICE_BELOW_ASK
    offers: list[Offer] = []
    while not offers:
        due_ns = market.exchange.next_timer_ns()
        assert due_ns is not None
        offers = market.offers(market.at(due_ns))
    # Half of its density one second before its latest start: 50 million of 100.
    latest_start = market.exchange.jobs[job_id].plans[0].latest_start_ns
    assert 0 <= latest_start - market.now_ns - NS_PER_S * 9 // 10 <= NS_PER_S // 10


def test_a_job_that_nobody_can_start_in_time_leaves_with_its_escrow(market: Market) -> None:
    market.do(c.WithdrawQuote(market.worker, market.cpu, 0))
    job_id = market.submit(deadline_within_ns=NS_PER_S)
    latest_start = market.exchange.jobs[job_id].plans[0].latest_start_ns
    assert latest_start == market.now_ns + NS_PER_S - 210 * 10**6
    assert of_kind(market.at(latest_start), JobEnded) == []
    (ended,) = of_kind(market.later(1), JobEnded)
    assert (ended.state, ended.reason, ended.paid_nanos) == (
        JobState.EXPIRED,
        Reason.DEADLINE_INFEASIBLE,
        0,
    )
    assert market.exchange.ledger.available(market.buyer) == FUNDS


def test_a_bid_that_meets_its_own_ask_is_cancelled(market: Market) -> None:
    market.do(c.Deposit(market.seller, market.new_id(), FUNDS))
    market.submit(account_id=market.seller)
    (ended,) = of_kind(market.batch(), JobEnded)
    assert (ended.state, ended.reason, ended.fault) == (
        JobState.CANCELLED,
        Reason.SELF_TRADE,
        Fault.BUYER,
    )


def test_jobs_are_remembered_for_a_day_and_ids_a_minute_longer(market: Market) -> None:
    job = market.job()
    market.do(job)
    offer = market.offers(market.batch())[0].run()
    offer.settle()
    assert market.do(job) == Repeated(market.buyer, offer.job_id)
    assert market.exchange.jobs_of(market.buyer) == [offer.job_id]
    market.later(CLIENT_ID_RETENTION_NS)
    assert market.exchange.jobs_of(market.buyer) == []
    assert market.do(job) == Repeated(market.buyer, offer.job_id)
    market.later(60 * NS_PER_S)
    assert market.do(job) == Repeated(market.buyer, offer.job_id)
    market.later(1)
    assert market.refused(job) == Reason.CLIENT_ID_TOO_OLD


def test_an_open_job_is_remembered_however_long_it_is_open(market: Market) -> None:
    market.do(c.WithdrawQuote(market.worker, market.cpu, 0))
    job = market.job(deadline_within_ns=6 * 24 * 3_600 * NS_PER_S)
    market.do(job)
    market.later(5 * 24 * 3_600 * NS_PER_S)
    assert isinstance(market.do(job), Repeated)


# Workers and quotes


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"worker_id": 99}, Reason.UNKNOWN_WORKER),
        ({"instrument_id": 99}, Reason.UNKNOWN_INSTRUMENT),
        ({"instrument_id": 2}, Reason.ORDER_TYPE_UNSUPPORTED),
        ({"pool": 65_535}, Reason.UNKNOWN_POOL),
        ({"prices_nanos": ()}, Reason.PRICES_INVALID),
        ({"prices_nanos": (1, 2, 3)}, Reason.PRICES_INVALID),
        ({"prices_nanos": (0,)}, Reason.PRICE_OUT_OF_BAND),
        ({"prices_nanos": (1, 2**63 - 1)}, Reason.PRICE_OUT_OF_BAND),
        ({"ttl_ns": -1}, Reason.FIELD_INVALID),
    ],
)
def test_refused_quotes(market: Market, changes: dict[str, Any], reason: Reason) -> None:
    assert market.refused(market.quoting(**changes)) == reason


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"account_id": 99}, Reason.UNKNOWN_ACCOUNT),
        ({"name": ""}, Reason.FIELD_INVALID),
        ({"slots": (1, 1)}, Reason.FIELD_INVALID),
        ({"public_key": b"x" * 32}, Reason.KEY_MISMATCH),
    ],
)
def test_refused_registrations(market: Market, changes: dict[str, Any], reason: Reason) -> None:
    assert market.refused(replace(market.registration(market.seller), **changes)) == reason


def test_the_price_of_a_slot_depends_on_those_in_use(market: Market) -> None:
    market.quote(prices_nanos=(ASK, ASK * 3 // 2))
    assert market.exchange.depth(market.cpu, 5)[1] == [(ASK, 1, 1), (ASK * 3 // 2, 1, 1)]
    assert market.leased().event.ask_nanos == ASK
    second = market.leased()
    assert second.event.ask_nanos == ASK * 3 // 2
    second.run().settle()
    assert market.exchange.depth(market.cpu, 5)[1] == [(ASK * 3 // 2, 1, 1)]


@pytest.mark.parametrize(
    ("action", "state"),
    [(c.WorkerAction.PAUSE, WorkerState.PAUSED), (c.WorkerAction.DRAIN, WorkerState.DRAINING)],
)
def test_a_paused_worker_finishes_and_sells_no_more(
    market: Market, action: int, state: WorkerState
) -> None:
    offer = market.running()
    events = market.events(c.SetWorker(market.seller, market.worker, action))
    assert [type(event) for event in events] == [QuoteEnded, WorkerStateChanged]
    assert market.refused(market.quoting()) == Reason.WORKER_PAUSED
    assert market.exchange.workers[market.worker].state == state
    assert offer.settle() != []
    market.do(c.SetWorker(0, market.worker, c.WorkerAction.RESUME))
    assert isinstance(market.quote(), QuoteSet)


def test_who_may_pause_a_worker(market: Market) -> None:
    pause = c.SetWorker(market.buyer, market.worker, c.WorkerAction.PAUSE)
    assert market.refused(pause) == Reason.NOT_OWNER
    assert market.refused(replace(pause, worker_id=99)) == Reason.UNKNOWN_WORKER
    assert market.refused(replace(pause, account_id=0, action=4)) == Reason.FIELD_INVALID
    market.do(c.LeaveWorker(market.worker))
    assert market.refused(replace(pause, account_id=0)) == Reason.WORKER_LOST


def test_a_halted_account_sells_nothing(market: Market) -> None:
    offer = market.running()
    events = market.events(c.SetAccountHalted(market.seller, 1))
    assert len(of_kind(events, QuoteEnded)) == 1
    assert market.refused(market.quoting()) == Reason.ACCOUNT_HALTED
    assert market.refused(c.SetAccountHalted(99, 1)) == Reason.UNKNOWN_ACCOUNT
    offer.settle()
    market.do(c.SetAccountHalted(market.seller, 0))
    assert isinstance(market.quote(), QuoteSet)


def test_unknown_workers(market: Market) -> None:
    for command in (c.LeaveWorker(99), c.WithdrawQuote(99, market.cpu, 0)):
        assert market.refused(command) == Reason.UNKNOWN_WORKER


# Time


def test_time_never_falls(market: Market) -> None:
    now_ns = market.now_ns
    for earlier in (now_ns - 1, 0, -1, -(2**63)):
        market.at(earlier)
        assert market.now_ns == now_ns


def test_timers_fire_in_order_and_once() -> None:
    timers = Timers()
    kinds = (TimerKind.UNCROSS, TimerKind.LEASE_STEP)
    for kind in kinds:
        for ident in (2, 1):
            timers.set(kind, ident, 10)
    timers.set(TimerKind.JOB_FORGET, 9, 5)
    timers.set(TimerKind.UNCROSS, 2, 11)
    timers.cancel(TimerKind.LEASE_STEP, 1)
    assert (timers.next_ns(), timers.pop_due(4)) == (5, None)
    fired = [timers.pop_due(20) for _ in range(4)]
    assert fired == [(7, 9), (1, 2), (6, 1), (6, 2)]
    assert (timers.pop_due(20), timers.next_ns()) == (None, None)


def test_stale_timers_are_thrown_away() -> None:
    timers = Timers()
    for due_ns in range(1, 10 * COMPACT_AT_LEAST):
        timers.set(TimerKind.UNCROSS, 1, due_ns)
    assert len(timers._kinds[TimerKind.UNCROSS].heap) <= COMPACT_AT_LEAST
    timers.check()


def test_cancelled_timers_behind_an_armed_one_are_thrown_away() -> None:
    timers = Timers()
    for ident in range(10 * COMPACT_AT_LEAST):
        timers.set(TimerKind.ORDER_EXPIRY, ident, 5 + ident)
    for ident in range(1, 10 * COMPACT_AT_LEAST):
        timers.cancel(TimerKind.ORDER_EXPIRY, ident)
    assert len(timers._kinds[TimerKind.ORDER_EXPIRY].heap) <= COMPACT_AT_LEAST
    assert timers.next_ns() == 5
    timers.check()


def test_the_oldest_repeats_do_not_fill_the_memory(market: Market) -> None:
    for _ in range(50):
        market.do(c.Deposit(market.buyer, market.new_id(), 1))
    market.later(2 * CLIENT_ID_RETENTION_NS)
    assert not market.exchange.accounts[market.buyer].client_ids
    assert market.exchange.client_ids.state() == Exchange().client_ids.state()
