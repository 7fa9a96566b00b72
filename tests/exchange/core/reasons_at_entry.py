"""Scenes for the reasons that a request meets at once: 1xx to 5xx."""

from __future__ import annotations

import msgspec

from exchange.core import commands as c
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
from tests.exchange.core.reason_table import gives
from tests.exchange.core.scenario import FUNDS, Market

R = Reason


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


@gives(R.CONDITIONS_CONFLICT)
def _(market: Market) -> Reason:
    return market.refused(market.conditional(post_only=1, time_in_force=3))


@gives(R.DISPLAY_TOO_SMALL)
def _(market: Market) -> Reason:
    return market.refused(market.conditional(quantity_mflop=101, display_quantity_mflop=1))


@gives(R.LEGS_INVALID)
def _(market: Market) -> Reason:
    order = market.order(instrument_id=0, price_nanos=0, quantity_mflop=0)
    fields = msgspec.structs.asdict(order)
    return market.refused(c.PlaceMultiLegOrder(**fields, legs=(market.cpu, 100, 1)))


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
    market.lower("order_entry", "OPEN_ORDERS_PER_ACCOUNT_MAX", 1)
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
    market.lower("client_ids", "CLIENT_IDS_PER_ACCOUNT_MAX", 2)
    market.submit()
    return market.refused(market.job())


@gives(R.BALANCE_TOO_LARGE)
def _(market: Market) -> Reason:
    return market.refused(c.Deposit(market.buyer, market.new_id(), BALANCE_MAX_NANOS))


@gives(R.POSITION_TOO_LARGE)
def _(market: Market) -> Reason:
    market.bulk(market.order(side=2, quantity_mflop=10**15) for _ in range(10))
    return market.refused(market.order(side=2, quantity_mflop=1))


@gives(R.BOOK_FULL)
def _(market: Market) -> Reason:
    market.do(c.SetProtections(market.paper, book_orders_max=1))
    market.place()
    return market.refused(market.order(account_id=market.bob))


@gives(R.ORDER_TO_TRADE)
def _(market: Market) -> Reason:
    market.do(c.SetProtections(market.paper, order_to_trade_window_ns=10**9, order_to_trade_free=1))
    market.place()
    return market.refused(market.order())


@gives(R.MESSAGE_RATE)
def _(market: Market) -> Reason:
    market.do(c.SetAccountLimits(market.ann, messages_per_s=1, message_burst=1))
    market.place()
    return market.refused(market.order())


@gives(R.EXCHANGE_FULL)
def _(market: Market) -> Reason:
    market.lower("operator", "ACCOUNTS_MAX", len(market.exchange.accounts))
    return market.refused(c.OpenAccount(1, "one more"))
