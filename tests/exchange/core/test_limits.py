"""Every bound of `exchange.core.limits` is reached: the last value inside, the first outside."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final
from unittest import mock

import pytest

from exchange.core import commands as c
from exchange.core import limits
from exchange.core.events import (
    AccountOpened,
    EpochBegan,
    InstrumentAdded,
    JobEnded,
    JobQueued,
    JobState,
    KeyAdded,
    LeaseEnded,
    LeaseOffered,
    LeaseState,
    ModelAdded,
    OrderAccepted,
    OrderClosed,
    Posted,
    QuoteEnded,
    QuoteSet,
    ReceiptRefused,
    ReceiptSettled,
    Refused,
    Repeated,
    WorkerRegistered,
)
from exchange.core.limits import NS_PER_MS, NS_PER_S
from exchange.core.reasons import Reason
from exchange.core.settlement import UNSEEN_TOKENS_MAX
from matching.types import CLASSES_MAX
from tests.exchange.core.scenario import ASK, Market, of_kind, replace
from tests.exchange.core.sizes import SOAK

NO_BOUNDS: Final = {
    "NS_PER_MS",
    "NS_PER_S",
    "MFLOP_PER_CU",
    "FLOPS_PER_MFLOP",
    "FLOPS_PER_CU",
    "EVENTS_SINCE_RULES",
    "RULES_VERSION",
}
"""Units, and versions."""

Test = Callable[[Market], None]
REACHED: set[str] = set()


def reaches(*names: str) -> Callable[[Test], Test]:
    """This test reaches these bounds."""

    def register(test: Test) -> Test:
        for name in names:
            assert isinstance(getattr(limits, name), int)
            REACHED.add(name)
        return test

    return register


def test_every_bound_has_a_test() -> None:
    numbers = {name for name, value in vars(limits).items() if isinstance(value, int)}
    assert numbers - NO_BOUNDS == REACHED


# Sizes of single values


@reaches("QUANTITY_MAX_MFLOP")
def test_quantity_of_an_order_and_an_instrument(market: Market) -> None:
    most = limits.QUANTITY_MAX_MFLOP
    terms = replace(market.exchange.instruments[market.paper].terms, name="another")
    assert market.refused(replace(terms, quantity_max_mflop=most + 1)) == Reason.FIELD_INVALID
    assert market.refused(market.order(side=2, quantity_mflop=most + 1)) == (
        Reason.QUANTITY_TOO_LARGE
    )
    assert isinstance(market.do(market.order(side=2, quantity_mflop=most)), OrderAccepted)


@reaches("JOB_QUANTITY_MAX_MFLOP")
def test_quantity_of_a_job(market: Market) -> None:
    most = limits.JOB_QUANTITY_MAX_MFLOP
    market.lease_class("instant/huge/interactive", quantity_max_mflop=10**15)
    job = market.job(quantity_mflop=most, value_nanos=10**11)
    assert market.refused(replace(job, quantity_mflop=most + 1)) == Reason.QUANTITY_TOO_LARGE
    assert isinstance(market.do(job), JobQueued)


@reaches("PRICE_MAX_NANOS")
def test_price_of_an_instrument(market: Market) -> None:
    most = limits.PRICE_MAX_NANOS
    terms = replace(market.exchange.instruments[market.paper].terms, name="another")
    assert market.refused(replace(terms, price_max_nanos=most + 1)) == Reason.FIELD_INVALID
    assert isinstance(market.do(replace(terms, price_max_nanos=most)), InstrumentAdded)


@reaches("COST_MAX_NANOS", "DENSITY_MAX_NANOS")
def test_value_of_a_job(market: Market) -> None:
    most = limits.COST_MAX_NANOS
    job = market.job(quantity_mflop=1, value_nanos=most)
    assert market.refused(replace(job, value_nanos=most + 1)) == Reason.AMOUNT_TOO_LARGE
    queued = market.expect(job, JobQueued)
    assert queued.density_nanos == limits.DENSITY_MAX_NANOS
    assert queued.escrow_nanos == 1_000  # one MFLOP at the class's highest price


def test_the_dearest_order_costs_what_an_amount_may_be(market: Market) -> None:
    """So no order's escrow needs a bound of its own."""
    worst = limits.PRICE_MAX_NANOS * limits.QUANTITY_MAX_MFLOP // limits.MFLOP_PER_CU
    assert worst == limits.COST_MAX_NANOS < limits.BALANCE_MAX_NANOS


@reaches("BALANCE_MAX_NANOS")
def test_balance(market: Market) -> None:
    most = limits.BALANCE_MAX_NANOS
    account_id = market.account("rich", c.AccountKind.REAL)
    room = most + market.real(1)  # what the world outside can still give
    new_id = market.new_id
    assert market.refused(c.Deposit(account_id, new_id(), most + 1)) == Reason.AMOUNT_TOO_LARGE
    assert market.refused(c.Deposit(account_id, new_id(), room + 1)) == Reason.BALANCE_TOO_LARGE
    assert isinstance(market.do(c.Deposit(account_id, new_id(), room)), Posted)


@reaches("POSITION_MAX_MFLOP")
def test_position(market: Market) -> None:
    lots = limits.POSITION_MAX_MFLOP // limits.QUANTITY_MAX_MFLOP
    ask = {"account_id": market.bob, "side": 2, "quantity_mflop": limits.QUANTITY_MAX_MFLOP}
    for _ in range(lots - 1):
        market.place(**ask, price_nanos=1)
        market.place(quantity_mflop=limits.QUANTITY_MAX_MFLOP, price_nanos=1)
    assert market.exchange.accounts[market.ann].positions[market.paper] == 9 * 10**15
    held = market.order(quantity_mflop=limits.QUANTITY_MAX_MFLOP, price_nanos=1)
    assert isinstance(market.do(held), OrderAccepted)
    # What is held and what is open together are at the bound now.
    assert market.refused(market.order(quantity_mflop=1)) == Reason.POSITION_TOO_LARGE
    more = c.ReplaceOrder(market.ann, market.exchange.counters.order, 1, 10**15 - 1)
    market.do(more)
    assert isinstance(market.do(market.order(quantity_mflop=1)), OrderAccepted)
    assert market.refused(replace(more, quantity_mflop=10**15)) == Reason.POSITION_TOO_LARGE
    assert isinstance(market.do(market.order(side=2, quantity_mflop=1)), OrderAccepted)


@reaches("NAME_BYTES_MAX")
def test_names(market: Market) -> None:
    longest = "é" * (limits.NAME_BYTES_MAX // 2)
    seller, hashed = market.seller, bytes(32)
    for command in (
        c.OpenAccount(1, longest),
        c.AddKey(seller, 1, hashed, longest),
        market.registration(seller, name=longest),
        replace(market.exchange.instruments[market.paper].terms, name=longest),
    ):
        field = "label" if isinstance(command, c.AddKey) else "name"
        assert market.refused(replace(command, **{field: longest + "e"})) == Reason.FIELD_INVALID
        assert not isinstance(market.do(command), Refused)


@reaches("CARD_BYTES_MAX")
def test_model_card(market: Market) -> None:
    card = b'{"name":"padded","family":"instant","flops_per_token":1}'
    longest = card + b" " * (limits.CARD_BYTES_MAX - len(card))
    assert market.refused(c.AddModel(longest + b" ")) == Reason.FIELD_INVALID
    assert isinstance(market.do(c.AddModel(longest)), ModelAdded)


@reaches("FACTS_BYTES_MAX")
def test_worker_facts(market: Market) -> None:
    longest = b"f" * limits.FACTS_BYTES_MAX
    command = market.registration(market.seller, facts=longest + b"f")
    assert market.refused(command) == Reason.FIELD_INVALID
    assert isinstance(market.do(replace(command, facts=longest)), WorkerRegistered)


@reaches("TRACE_BYTES_MAX")
def test_trace_bytes_are_bounded_before_they_are_read(market: Market) -> None:
    receipt = market.running().receipt(trace=b"t" * (limits.TRACE_BYTES_MAX + 1))
    with mock.patch("exchange.core.settlement.decode_trace") as read:
        answer = market.do(receipt)
    assert not read.called
    assert isinstance(answer, ReceiptRefused)
    assert answer.reason == Reason.RECEIPT_MALFORMED


@reaches("PAYLOAD_BYTES_MAX")
def test_payload(market: Market) -> None:
    job = market.job(payload_bytes=limits.PAYLOAD_BYTES_MAX + 1)
    assert market.refused(job) == Reason.PAYLOAD_TOO_LARGE
    assert isinstance(market.do(replace(job, payload_bytes=limits.PAYLOAD_BYTES_MAX)), JobQueued)


@reaches("OUTPUT_TOKENS_MAX")
def test_tokens(market: Market) -> None:
    most = limits.OUTPUT_TOKENS_MAX
    terms = market.exchange.instruments[market.cpu].terms
    long = replace(terms, name="instant/long/interactive", context_tokens_max=most)
    assert market.refused(replace(long, context_tokens_max=most + 1)) == Reason.FIELD_INVALID
    market.do(long)
    job = market.job(output_tokens_max=most - 10, deadline_within_ns=20_000 * NS_PER_S)
    assert market.refused(replace(job, output_tokens_max=most)) == Reason.CONTEXT_TOO_LONG
    assert market.refused(replace(job, output_tokens_max=most + 1)) == Reason.FIELD_INVALID
    assert isinstance(market.do(job), JobQueued)


# How many of a kind


@reaches("ACCOUNTS_MAX")
def test_accounts(market: Market) -> None:
    market.lower("operator", "ACCOUNTS_MAX", len(market.exchange.accounts) + 1)
    assert isinstance(market.do(c.OpenAccount(1, "last")), AccountOpened)
    assert market.refused(c.OpenAccount(1, "one more")) == Reason.EXCHANGE_FULL


def a_card(number: int) -> c.AddModel:
    return c.AddModel(b'{"name":"m%d","family":"instant","flops_per_token":1}' % number)


@reaches("MODELS_MAX")
def test_models(market: Market) -> None:
    answers = market.bulk(a_card(i) for i in range(limits.MODELS_MAX - 1))
    assert len(of_kind(answers, ModelAdded)) == limits.MODELS_MAX - 1
    assert market.refused(a_card(limits.MODELS_MAX)) == Reason.EXCHANGE_FULL


@reaches("INSTRUMENTS_MAX")
def test_instruments(market: Market) -> None:
    terms = market.exchange.instruments[market.paper].terms
    have, most = len(market.exchange.instruments), limits.INSTRUMENTS_MAX
    answers = market.bulk(replace(terms, name=f"p{i}") for i in range(have, most))
    assert len(of_kind(answers, InstrumentAdded)) == most - have
    assert market.refused(replace(terms, name="one more")) == Reason.EXCHANGE_FULL


def test_classes_of_a_group(market: Market) -> None:
    for number in range(1, CLASSES_MAX):
        market.lease_class(f"instant/class{number}/interactive")
    terms = market.exchange.instruments[market.cpu].terms
    more = replace(terms, name="instant/more/interactive")
    assert market.refused(more) == Reason.EXCHANGE_FULL
    assert isinstance(market.do(replace(more, name="instant/more/batch")), InstrumentAdded)


@reaches("WORKERS_MAX")
def test_workers(market: Market) -> None:
    market.lower("workers", "WORKERS_MAX", 2)
    last = market.registration(market.seller, name="last")
    assert isinstance(market.do(last), WorkerRegistered)
    assert market.refused(replace(last, name="one more")) == Reason.EXCHANGE_FULL
    assert isinstance(market.do(last), WorkerRegistered), "it may always come back"


@reaches("POOLS_PER_WORKER_MAX", "SLOTS_PER_POOL_MAX")
def test_pools_and_slots(market: Market) -> None:
    pools, slots = limits.POOLS_PER_WORKER_MAX, limits.SLOTS_PER_POOL_MAX
    largest = market.registration(market.seller, name="large", slots=(slots,) * pools)
    for refused in ((), (slots,) * (pools + 1), (slots + 1,), (0,), (-1,)):
        assert market.refused(replace(largest, slots=refused)) == Reason.FIELD_INVALID
    assert isinstance(market.do(largest), WorkerRegistered)


@reaches("KEYS_PER_ACCOUNT_MAX")
def test_keys_of_an_account(market: Market) -> None:
    keys = [c.AddKey(market.buyer, 1, bytes([i]) * 32, "key") for i in range(101)]
    answers = market.bulk(keys[: limits.KEYS_PER_ACCOUNT_MAX])
    assert len(of_kind(answers, KeyAdded)) == limits.KEYS_PER_ACCOUNT_MAX
    assert market.refused(keys[-1]) == Reason.EXCHANGE_FULL
    assert isinstance(market.do(replace(keys[-1], account_id=market.other)), KeyAdded)


@reaches("OPEN_ORDERS_PER_ACCOUNT_MAX")
def test_open_orders(market: Market) -> None:
    most = limits.OPEN_ORDERS_PER_ACCOUNT_MAX
    if SOAK == 1:
        most = 2_000
        market.lower("order_entry", "OPEN_ORDERS_PER_ACCOUNT_MAX", most)
    first = market.order(quantity_mflop=1)
    answers = market.bulk(
        replace(first, client_order_id=market.new_id(), price_nanos=1 + i % 1_000)
        for i in range(most)
    )
    assert len(of_kind(answers, OrderAccepted)) == most
    assert market.refused(first) == Reason.TOO_MANY_OPEN_ORDERS
    market.do(c.CancelOrder(market.ann, most, bytes(16)))
    assert isinstance(market.do(first), OrderAccepted)


@reaches("OPEN_JOBS_PER_ACCOUNT_MAX")
def test_open_jobs(market: Market) -> None:
    first = market.job()
    most = limits.OPEN_JOBS_PER_ACCOUNT_MAX
    if SOAK == 1:
        most = 1_000
        market.lower("jobs", "OPEN_JOBS_PER_ACCOUNT_MAX", most)
    answers = market.bulk(replace(first, client_job_id=market.new_id()) for i in range(most))
    assert len(of_kind(answers, JobQueued)) == most
    assert market.refused(first) == Reason.TOO_MANY_OPEN_JOBS
    market.do(c.CancelJob(market.buyer, most))
    assert isinstance(market.do(first), JobQueued)


@reaches("QUEUED_BYTES_PER_ACCOUNT_MAX")
def test_queued_bytes(market: Market) -> None:
    jobs = limits.QUEUED_BYTES_PER_ACCOUNT_MAX // limits.PAYLOAD_BYTES_MAX
    market.bulk(market.job(payload_bytes=limits.PAYLOAD_BYTES_MAX) for _ in range(jobs))
    assert market.refused(market.job(payload_bytes=1)) == Reason.TOO_MANY_QUEUED_BYTES
    assert isinstance(market.do(market.job(payload_bytes=0)), JobQueued)


@reaches("CLIENT_IDS_PER_ACCOUNT_MAX")
def test_client_ids(market: Market) -> None:
    market.lower("client_ids", "CLIENT_IDS_PER_ACCOUNT_MAX", 4)  # one was the deposit's
    for _ in range(3):
        market.do(c.CancelJob(market.buyer, market.submit()))
    assert market.refused(market.job()) == Reason.TOO_MANY_CLIENT_IDS
    market.later(2 * limits.CLIENT_ID_RETENTION_NS)
    assert isinstance(market.do(market.job()), JobQueued)


@reaches("ATTEMPTS_MAX")
def test_attempts(market: Market) -> None:
    offer = market.leased()
    for attempt in range(1, limits.ATTEMPTS_MAX):
        assert of_kind(offer.decline(), JobQueued)[0].attempt == attempt + 1
        market.quote()
        (offer,) = market.offers(market.batch())
    (ended,) = of_kind(offer.decline(), JobEnded)
    assert (ended.state, ended.reason) == (JobState.FAILED, Reason.WORKER_BUSY)
    assert market.exchange.ledger.pending(market.buyer) == 0


# Times


@reaches("DEADLINE_MAX_NS")
def test_deadline(market: Market) -> None:
    job = market.job(deadline_within_ns=limits.DEADLINE_MAX_NS + 1)
    assert market.refused(job) == Reason.DEADLINE_TOO_FAR
    assert isinstance(market.do(replace(job, deadline_within_ns=limits.DEADLINE_MAX_NS)), JobQueued)


@reaches("QUOTE_TTL_MAX_NS")
def test_quote_ttl(market: Market) -> None:
    quote = market.quoting(ttl_ns=limits.QUOTE_TTL_MAX_NS)
    assert market.refused(replace(quote, ttl_ns=quote.ttl_ns + 1)) == Reason.FIELD_INVALID
    assert market.refused(replace(quote, ttl_ns=0)) == Reason.FIELD_INVALID
    assert isinstance(market.do(quote), QuoteSet)
    assert of_kind(market.later(quote.ttl_ns - 1), QuoteEnded) == []
    assert len(of_kind(market.later(1), QuoteEnded)) == 1


@reaches("CLIENT_ID_RETENTION_NS", "CLIENT_ID_AHEAD_MAX_NS")
def test_client_id_window(market: Market) -> None:
    old, ahead = -limits.CLIENT_ID_RETENTION_NS, limits.CLIENT_ID_AHEAD_MAX_NS
    for edge, step, reason in (
        (old, -NS_PER_MS, Reason.CLIENT_ID_TOO_OLD),
        (ahead, NS_PER_MS, Reason.CLIENT_ID_IN_FUTURE),
    ):
        beyond = market.job(client_job_id=market.new_id(edge + step))
        assert market.refused(beyond) == reason
        assert isinstance(market.do(market.job(client_job_id=market.new_id(edge))), JobQueued)


@reaches("CLIENT_ID_RETENTION_NS", "CLIENT_ID_AHEAD_MAX_NS")
def test_a_client_id_from_the_future_is_remembered_until_it_is_too_old(market: Market) -> None:
    ahead = limits.CLIENT_ID_AHEAD_MAX_NS
    job = market.job(client_job_id=market.new_id(ahead))
    market.do(job)
    market.do(c.CancelJob(market.buyer, market.exchange.counters.job))
    market.later(limits.CLIENT_ID_RETENTION_NS + ahead)
    assert isinstance(market.do(job), Repeated)
    market.later(1)
    assert market.refused(job) == Reason.CLIENT_ID_TOO_OLD


@reaches("ORDER_ID_RETENTION_NS")
def test_order_ids_are_remembered_for_a_shorter_time(market: Market) -> None:
    old = market.order(client_order_id=market.new_id(-limits.ORDER_ID_RETENTION_NS - NS_PER_MS))
    assert market.refused(old) == Reason.CLIENT_ID_TOO_OLD
    order = market.order(client_order_id=market.new_id(limits.CLIENT_ID_AHEAD_MAX_NS))
    market.do(order)
    market.do(c.CancelOrder(order.account_id, 0, order.client_order_id))
    market.later(limits.ORDER_ID_RETENTION_NS + limits.CLIENT_ID_AHEAD_MAX_NS)
    assert isinstance(market.do(order), Repeated)
    market.later(1)
    assert market.refused(order) == Reason.CLIENT_ID_TOO_OLD
    assert order.client_order_id not in market.exchange.accounts[order.account_id].client_ids


@reaches("ACCEPT_WITHIN_NS")
def test_accept_deadline(market: Market) -> None:
    offer = market.leased()
    assert offer.event.accept_within_ns == limits.ACCEPT_WITHIN_NS
    assert of_kind(market.later(limits.ACCEPT_WITHIN_NS - 1), LeaseEnded) == []
    (ended,) = of_kind(market.later(1), LeaseEnded)
    assert (ended.state, ended.reason) == (LeaseState.EXPIRED, Reason.ACCEPT_TIMEOUT)


@reaches("SETTLE_AFTER_STOP_NS")
def test_receipt_deadline(market: Market) -> None:
    first, second = market.running(), market.running()
    for offer, late in ((first, 0), (second, 1)):
        due_ns = market.exchange.leases[offer.lease_id].stop_by_ns + limits.SETTLE_AFTER_STOP_NS
        market.at(due_ns - 1 + late)
        answer = market.do(offer.receipt())
        if late:
            assert isinstance(answer, ReceiptRefused)
            assert answer.reason == Reason.RECEIPT_LATE
        else:
            assert isinstance(answer, ReceiptSettled)


@reaches("RECOVERY_GRACE_NS", "OUTAGE_MAX_NS")
def test_outage(market: Market) -> None:
    offer = market.leased()
    before = market.exchange.leases[offer.lease_id].settle_by_ns
    longest = limits.OUTAGE_MAX_NS
    assert market.expect(c.Recovered(2, 2 * longest), EpochBegan).outage_ns == 2 * longest
    moved = market.exchange.leases[offer.lease_id].settle_by_ns - before
    assert moved == longest + limits.RECOVERY_GRACE_NS


def test_unseen_tokens(market: Market) -> None:
    """An end of text, and a character that is cut, give tokens which no chunk shows."""
    seen = 20 - UNSEEN_TOKENS_MAX
    assert isinstance(market.do(market.running().receipt(tokens_received=seen)), ReceiptSettled)
    lie = market.do(market.running().receipt(tokens_received=seen - 1))
    assert isinstance(lie, ReceiptRefused)


def test_tokens_beyond_the_output_limit_are_not_billed(market: Market) -> None:
    most = 20 + UNSEEN_TOKENS_MAX
    assert isinstance(market.do(market.running().receipt(10, most - 1)), ReceiptSettled)
    lie = market.do(market.running().receipt(10, most))
    assert isinstance(lie, ReceiptRefused)
    assert lie.reason == Reason.RECEIPT_TOKENS_IMPLAUSIBLE


@pytest.mark.parametrize("gone", [False, True])
def test_gtd_order_expires_to_the_nanosecond(market: Market, gone: bool) -> None:
    market.place(time_in_force=2, expire_time_ns=market.now_ns + NS_PER_S)
    closed = of_kind(market.later(NS_PER_S - 1 + gone), OrderClosed)
    assert len(closed) == gone


def test_offers_never_exceed_the_slots(market: Market) -> None:
    for _ in range(5):
        market.submit(limit_nanos=ASK, value_nanos=0)
    assert len(of_kind(market.batch(), LeaseOffered)) == 2
