"""Scenes for the reasons that come later: 6xx to 8xx."""

from __future__ import annotations

from exchange.core import commands as c
from exchange.core.events import (
    InstrumentStateChanged,
    JobEnded,
    LeaseEnded,
    OrderClosed,
    ReceiptRefused,
)
from exchange.core.limits import NS_PER_S
from exchange.core.reasons import Reason
from tests.exchange.core.reason_table import gives
from tests.exchange.core.scenario import Market, of_kind

R = Reason


def why_job_ended(market: Market, command: c.Command) -> Reason:
    return market.expect(command, JobEnded).reason


def why_order_closed(market: Market, command: c.Command) -> Reason:
    return market.expect(command, OrderClosed).reason


def why_receipt_refused(market: Market, command: c.Command) -> Reason:
    return market.expect(command, ReceiptRefused).reason


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


@gives(R.DISCONNECTED)
def _(market: Market) -> Reason:
    market.do(market.conditional(stream_id=3))
    return why_order_closed(market, c.EndOrderStream(market.ann, 3))


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
    return market.refused(
        market.conditional(all_or_none=1, price_nanos=1_000, max_cost_nanos=1, quantity_mflop=2_000)
    )


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


@gives(R.POST_ONLY)
def _(market: Market) -> Reason:
    market.place(account_id=market.bob, side=2)
    return why_order_closed(market, market.conditional(post_only=1))


@gives(R.MIN_QUANTITY)
def _(market: Market) -> Reason:
    return why_order_closed(market, market.conditional(min_quantity_mflop=1, time_in_force=3))


@gives(R.BEYOND_BAND)
def _(market: Market) -> Reason:
    market.place(account_id=market.bob, side=2)
    market.place()
    market.do(c.SetProtections(market.paper, static_band_bps=100, reopening_call_ns=1))
    return market.refused(market.order(price_nanos=102))


@gives(R.NOT_IN_AUCTION)
def _(market: Market) -> Reason:
    market.do(c.SetInstrumentState(market.paper, c.TradingState.AUCTION))
    return market.refused(market.order(time_in_force=4))


@gives(R.VOLATILITY)
def _(market: Market) -> Reason:
    market.do(
        c.SetProtections(
            market.paper, volatility_move_bps=1, volatility_window_ns=1, reopening_call_ns=1
        )
    )
    for price in (100, 200):
        market.place(account_id=market.bob, side=2, price_nanos=price)
    order = market.order(price_nanos=200, quantity_mflop=2_000)
    return market.expect(order, InstrumentStateChanged).reason


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


@gives(R.OPERATOR_FAULT)
def _(market: Market) -> Reason:
    return of_kind(market.leased().decline(R.OPERATOR_FAULT), LeaseEnded)[0].reason


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
