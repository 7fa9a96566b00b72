"""Every reason that the core can give, reached by one small scene each; none is dead."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import pytest

from exchange.core import commands as c
from exchange.core.events import (
    JobEnded,
    LeaseEnded,
    OrderClosed,
    ReceiptRefused,
)
from exchange.core.limits import (
    BALANCE_MAX_NANOS,
    CLIENT_ID_RETENTION_NS,
    COST_MAX_NANOS,
    DEADLINE_MAX_NS,
    JOB_QUANTITY_MAX_MFLOP,
    NS_PER_S,
    PAYLOAD_BYTES_MAX,
)
from exchange.core.reasons import Reason
from tests.exchange.core.scenario import FUNDS, Market, of_kind

NOT_FROM_THE_CORE: Final = {
    Reason.NONE: "no refusal at all",
    Reason.ROLE_MISSING: "the gateway's: it knows the caller's key",
    Reason.NO_LIQUIDITY: "reserved: a market order without a counterpart answers 606 or 607",
    Reason.ATTEMPTS_EXHAUSTED: "reserved: a job that failed too often ends with its last fault",
    Reason.OPERATOR_FAULT: "reserved: an outage shows as Fault.OPERATOR beside the reason",
}

Case = Callable[[Market], Reason]
CASES: dict[Reason, Case] = {}
R = Reason


def gives(reason: Reason) -> Callable[[Case], Case]:
    """This scene ends in that reason."""

    def register(case: Case) -> Case:
        assert reason not in CASES
        CASES[reason] = case
        return case

    return register


def why_job_ended(market: Market, command: c.Command) -> Reason:
    return market.expect(command, JobEnded).reason


def why_order_closed(market: Market, command: c.Command) -> Reason:
    return market.expect(command, OrderClosed).reason


def why_receipt_refused(market: Market, command: c.Command) -> Reason:
    return market.expect(command, ReceiptRefused).reason


@pytest.mark.parametrize("reason", list(Reason), ids=lambda reason: reason.name)
def test_reason_is_reached(market: Market, reason: Reason) -> None:
    if reason in NOT_FROM_THE_CORE:
        assert reason not in CASES
    else:
        assert CASES[reason](market) == reason


# 1xx permission


@gives(R.NOT_OWNER)
def _(market: Market) -> Reason:
    return market.refused(c.CancelOrder(market.bob, market.place(), bytes(16)))


@gives(R.ACCOUNT_HALTED)
def _(market: Market) -> Reason:
    market.do(c.SetAccountHalted(market.buyer, 1))
    return market.refused(market.job())


@gives(R.KEY_MISMATCH)
def _(market: Market) -> Reason:
    return market.refused(market.registration(market.seller, public_key=b"x" * 32))


# 2xx unknown


@gives(R.UNKNOWN_ACCOUNT)
def _(market: Market) -> Reason:
    return market.refused(market.job(account_id=99))


@gives(R.UNKNOWN_INSTRUMENT)
def _(market: Market) -> Reason:
    return market.refused(market.order(instrument_id=99))


@gives(R.UNKNOWN_MODEL)
def _(market: Market) -> Reason:
    return market.refused(market.job(model_id=99))


@gives(R.UNKNOWN_ORDER)
def _(market: Market) -> Reason:
    return market.refused(c.CancelOrder(market.ann, 99, bytes(16)))


@gives(R.UNKNOWN_JOB)
def _(market: Market) -> Reason:
    return market.refused(c.CancelJob(market.buyer, 99))


@gives(R.UNKNOWN_WORKER)
def _(market: Market) -> Reason:
    return market.refused(c.WorkerLost(99))


@gives(R.UNKNOWN_LEASE)
def _(market: Market) -> Reason:
    return market.refused(c.AcceptLease(market.worker, 99, 1, 1))


@gives(R.UNKNOWN_POOL)
def _(market: Market) -> Reason:
    return market.refused(market.quoting(pool=1))


@gives(R.UNKNOWN_QUOTE)
def _(market: Market) -> Reason:
    return market.refused(c.WithdrawQuote(market.worker, market.cpu, 1))


@gives(R.UNKNOWN_KEY)
def _(market: Market) -> Reason:
    return market.refused(c.RevokeKey(bytes(32)))


# 3xx shape


@gives(R.PRICE_OFF_TICK)
def _(market: Market) -> Reason:
    coarse = market.paper_book("coarse", tick_nanos=10, price_min_nanos=10)
    return market.refused(market.order(instrument_id=coarse, price_nanos=15))


@gives(R.PRICE_OUT_OF_BAND)
def _(market: Market) -> Reason:
    return market.refused(market.order(price_nanos=1_001))


@gives(R.QUANTITY_NOT_POSITIVE)
def _(market: Market) -> Reason:
    return market.refused(market.order(quantity_mflop=0))


@gives(R.QUANTITY_OFF_LOT)
def _(market: Market) -> Reason:
    lots = market.paper_book("lots", lot_mflop=100)
    return market.refused(market.order(instrument_id=lots, quantity_mflop=150))


@gives(R.QUANTITY_TOO_LARGE)
def _(market: Market) -> Reason:
    return market.refused(market.job(quantity_mflop=JOB_QUANTITY_MAX_MFLOP + 1))


@gives(R.AMOUNT_NOT_POSITIVE)
def _(market: Market) -> Reason:
    return market.refused(c.Deposit(market.buyer, market.new_id(), 0))


@gives(R.AMOUNT_TOO_LARGE)
def _(market: Market) -> Reason:
    return market.refused(market.job(value_nanos=COST_MAX_NANOS + 1))


@gives(R.VALUE_TOO_SMALL)
def _(market: Market) -> Reason:
    return market.refused(market.job(value_nanos=1, quantity_mflop=10**7))


@gives(R.DEADLINE_PASSED)
def _(market: Market) -> Reason:
    return market.refused(market.job(deadline_within_ns=0))


@gives(R.DEADLINE_TOO_FAR)
def _(market: Market) -> Reason:
    return market.refused(market.job(deadline_within_ns=DEADLINE_MAX_NS + 1))


@gives(R.PAYLOAD_TOO_LARGE)
def _(market: Market) -> Reason:
    return market.refused(market.job(payload_bytes=PAYLOAD_BYTES_MAX + 1))


@gives(R.FIELD_INVALID)
def _(market: Market) -> Reason:
    return market.refused(market.order(side=3))


@gives(R.NAME_TAKEN)
def _(market: Market) -> Reason:
    return market.refused(c.OpenAccount(1, "buyer"))


@gives(R.PRICES_INVALID)
def _(market: Market) -> Reason:
    return market.refused(market.quoting(prices_nanos=(2, 1)))


@gives(R.ORDER_TYPE_UNSUPPORTED)
def _(market: Market) -> Reason:
    return market.refused(market.order(instrument_id=market.cpu))


@gives(R.VALUE_MISSING)
def _(market: Market) -> Reason:
    return market.refused(market.job(value_nanos=0))


@gives(R.BUDGET_BELOW_MINIMUM)
def _(market: Market) -> Reason:
    market.do(c.AddModel(b'{"name":"dear","family":"instant","flops_per_token":2000000}'))
    dear = market.exchange.model_by_name["dear"]
    market.lease_class("dear/cpu/interactive", model_id=dear)
    return market.refused(market.job(model_id=dear, quantity_mflop=1))


@gives(R.CONTEXT_TOO_LONG)
def _(market: Market) -> Reason:
    return market.refused(market.job(output_tokens_max=4_096))


# 4xx idempotency


@gives(R.DUPLICATE_CLIENT_ID)
def _(market: Market) -> Reason:
    job = market.job()
    market.do(job)
    return market.refused(market.job(client_job_id=job.client_job_id, quantity_mflop=999))


@gives(R.CLIENT_ID_TOO_OLD)
def _(market: Market) -> Reason:
    return market.refused(market.job(client_job_id=market.new_id(-CLIENT_ID_RETENTION_NS - 10**6)))


@gives(R.CLIENT_ID_IN_FUTURE)
def _(market: Market) -> Reason:
    return market.refused(market.job(client_job_id=market.new_id(61 * NS_PER_S)))


@gives(R.CLIENT_ID_INVALID)
def _(market: Market) -> Reason:
    return market.refused(market.job(client_job_id=bytes(16)))


# 5xx money and caps


@gives(R.INSUFFICIENT_FUNDS)
def _(market: Market) -> Reason:
    return market.refused(c.Withdraw(market.buyer, market.new_id(), FUNDS + 1))


@gives(R.TOO_MANY_OPEN_ORDERS)
def _(market: Market) -> Reason:
    market.lower("orders", "OPEN_ORDERS_PER_ACCOUNT_MAX", 1)
    market.place()
    return market.refused(market.order())


@gives(R.TOO_MANY_OPEN_JOBS)
def _(market: Market) -> Reason:
    market.lower("jobs", "OPEN_JOBS_PER_ACCOUNT_MAX", 1)
    market.submit()
    return market.refused(market.job())


@gives(R.TOO_MANY_QUEUED_BYTES)
def _(market: Market) -> Reason:
    market.bulk(market.job(payload_bytes=PAYLOAD_BYTES_MAX) for _ in range(256))
    return market.refused(market.job(payload_bytes=1))


@gives(R.TOO_MANY_CLIENT_IDS)
def _(market: Market) -> Reason:
    market.lower("accounts", "CLIENT_IDS_PER_ACCOUNT_MAX", 2)
    market.submit()
    return market.refused(market.job())


@gives(R.BALANCE_TOO_LARGE)
def _(market: Market) -> Reason:
    return market.refused(c.Deposit(market.buyer, market.new_id(), BALANCE_MAX_NANOS))


@gives(R.POSITION_TOO_LARGE)
def _(market: Market) -> Reason:
    market.bulk(market.order(side=2, quantity_mflop=10**15) for _ in range(10))
    return market.refused(market.order(side=2, quantity_mflop=1))


@gives(R.EXCHANGE_FULL)
def _(market: Market) -> Reason:
    market.lower("operator", "ACCOUNTS_MAX", len(market.exchange.accounts))
    return market.refused(c.OpenAccount(1, "one more"))


# 6xx market


@gives(R.INSTRUMENT_HALTED)
def _(market: Market) -> Reason:
    market.do(c.SetInstrumentState(market.cpu, c.TradingState.HALTED))
    return market.refused(market.job())


@gives(R.NO_CAPABLE_CLASS)
def _(market: Market) -> Reason:
    return market.refused(market.job(quantity_mflop=10**9 + 1))


@gives(R.DEADLINE_INFEASIBLE)
def _(market: Market) -> Reason:
    return market.refused(market.job(deadline_within_ns=200_000_000))


@gives(R.SELF_TRADE)
def _(market: Market) -> Reason:
    market.place()
    return why_order_closed(market, market.order(side=2))


@gives(R.IMMEDIATE_OR_CANCEL)
def _(market: Market) -> Reason:
    return why_order_closed(market, market.order(time_in_force=3))


@gives(R.FILL_OR_KILL)
def _(market: Market) -> Reason:
    return why_order_closed(market, market.order(time_in_force=4))


@gives(R.ORDER_EXPIRED)
def _(market: Market) -> Reason:
    market.do(market.order(time_in_force=2, expire_time_ns=market.now_ns + 1))
    return why_order_closed(market, c.Advance(market.now_ns + 1))


@gives(R.CANCELLED_BY_OWNER)
def _(market: Market) -> Reason:
    return why_job_ended(market, c.CancelJob(market.buyer, market.submit()))


@gives(R.CANCELLED_BY_OPERATOR)
def _(market: Market) -> Reason:
    return why_job_ended(market, c.CancelJob(0, market.submit()))


@gives(R.REPLACED_BELOW_FILLED)
def _(market: Market) -> Reason:
    order_id = market.place(quantity_mflop=1_000)
    market.place(account_id=market.bob, side=2, quantity_mflop=600)
    return why_order_closed(market, c.ReplaceOrder(market.ann, order_id, 100, 600))


@gives(R.JOB_CLOSED)
def _(market: Market) -> Reason:
    cancel = c.CancelJob(market.buyer, market.submit())
    market.do(cancel)
    return market.refused(cancel)


@gives(R.MONEY_CAP)
def _(market: Market) -> Reason:
    return market.refused(market.order(price_nanos=1_000, max_cost_nanos=1, quantity_mflop=2_000))


@gives(R.PRICE_BELOW_ASK)
def _(market: Market) -> Reason:
    market.quote(prices_nanos=(10**9,))
    return market.exchange.why_waiting(market.submit())


@gives(R.NO_FREE_SLOT)
def _(market: Market) -> Reason:
    market.leased()
    market.leased()
    return market.exchange.why_waiting(market.submit())


@gives(R.NO_QUOTES)
def _(market: Market) -> Reason:
    market.do(c.WithdrawQuote(market.worker, market.cpu, 0))
    return market.exchange.why_waiting(market.submit())


# 7xx leases and workers


@gives(R.STALE_FENCE)
def _(market: Market) -> Reason:
    worker_id, lease_id, epoch, sequence = market.leased().token
    return market.refused(c.AcceptLease(worker_id, lease_id, epoch, sequence - 1))


@gives(R.LEASE_CLOSED)
def _(market: Market) -> Reason:
    offer = market.leased()
    offer.decline()
    return market.refused(c.AcceptLease(*offer.token))


@gives(R.LEASE_STATE)
def _(market: Market) -> Reason:
    return market.refused(c.StartLease(*market.leased().token))


def why_lease_ended_in_time(market: Market, by_ns: int) -> Reason:
    return market.expect(c.Advance(market.now_ns + by_ns), LeaseEnded).reason


@gives(R.ACCEPT_TIMEOUT)
def _(market: Market) -> Reason:
    market.leased()
    return why_lease_ended_in_time(market, 2 * NS_PER_S)


@gives(R.START_TIMEOUT)
def _(market: Market) -> Reason:
    market.leased().accept()
    return why_lease_ended_in_time(market, 2 * NS_PER_S)


@gives(R.RECEIPT_TIMEOUT)
def _(market: Market) -> Reason:
    market.running()
    return why_lease_ended_in_time(market, 10 * NS_PER_S)


@gives(R.WORKER_LOST)
def _(market: Market) -> Reason:
    market.running()
    return market.expect(c.WorkerLost(market.worker), LeaseEnded).reason


@gives(R.WORKER_PAUSED)
def _(market: Market) -> Reason:
    market.do(c.SetWorker(market.seller, market.worker, c.WorkerAction.PAUSE))
    return market.refused(market.quoting())


@gives(R.WORKER_DECLINED)
def _(market: Market) -> Reason:
    return of_kind(market.leased().decline(R.WORKER_DECLINED), LeaseEnded)[0].reason


@gives(R.ENGINE_FAILED)
def _(market: Market) -> Reason:
    return why_receipt_refused(market, market.running().receipt(cause=c.StopCause.FAILED))


@gives(R.SLOTS_IN_USE)
def _(market: Market) -> Reason:
    market.leased()
    market.leased()
    return market.refused(market.registration(market.seller, slots=(1,), resume=1))


@gives(R.WORKER_DRAINED)
def _(market: Market) -> Reason:
    market.running()
    return market.expect(c.LeaveWorker(market.worker), LeaseEnded).reason


@gives(R.WORKER_BUSY)
def _(market: Market) -> Reason:
    return of_kind(market.leased().decline(R.WORKER_BUSY), LeaseEnded)[0].reason


@gives(R.MODEL_NOT_LOADED)
def _(market: Market) -> Reason:
    return of_kind(market.leased().decline(R.MODEL_NOT_LOADED), LeaseEnded)[0].reason


# 8xx receipts


@gives(R.RECEIPT_BAD_SIGNATURE)
def _(market: Market) -> Reason:
    return why_receipt_refused(market, market.running().receipt(signature_valid=0))


@gives(R.RECEIPT_WRONG_MODEL)
def _(market: Market) -> Reason:
    return why_receipt_refused(market, market.running().receipt(model_digest=bytes(32)))


@gives(R.RECEIPT_WRONG_INPUT)
def _(market: Market) -> Reason:
    return why_receipt_refused(market, market.running().receipt(input_digest=bytes(32)))


@gives(R.RECEIPT_FLOPS_MISMATCH)
def _(market: Market) -> Reason:
    return why_receipt_refused(market, market.running().receipt(flops=29 * 10**6 - 1))


@gives(R.RECEIPT_OVER_BUDGET)
def _(market: Market) -> Reason:
    return why_receipt_refused(market, market.running(quantity_mflop=28).receipt())


@gives(R.RECEIPT_TOKENS_IMPLAUSIBLE)
def _(market: Market) -> Reason:
    return why_receipt_refused(market, market.running().receipt(tokens_received=15))


@gives(R.RECEIPT_MALFORMED)
def _(market: Market) -> Reason:
    return why_receipt_refused(market, market.running().receipt(trace=b"?"))


@gives(R.RECEIPT_LATE)
def _(market: Market) -> Reason:
    offer = market.running()
    receipt = offer.receipt()
    market.later(60 * NS_PER_S)
    return why_receipt_refused(market, receipt)


@gives(R.RECEIPT_WRONG_OUTPUT)
def _(market: Market) -> Reason:
    return why_receipt_refused(market, market.running().receipt(output_digest=bytes(32)))
