"""What an account may send: refused with the time from which on it would be taken."""

from __future__ import annotations

from typing import Any

import pytest

from exchange.core import commands as c
from exchange.core.events import AccountLimitsSet, JobQueued, OrderAccepted, Refused, Repeated
from exchange.core.limits import NS_PER_S
from exchange.core.reasons import Reason
from exchange.core.throttle import BURST_MAX, RATE_MAX_PER_S, RATIO_MAX, RATIO_WINDOW_MAX_NS
from tests.exchange.core.scenario import T0, Market, replace


def limit(market: Market, account_id: int, **terms: int) -> None:
    market.expect(c.SetAccountLimits(account_id, **terms), AccountLimitsSet)


def too_much(market: Market, command: c.Command) -> Refused:
    """The refusal of a command, which has changed nothing."""
    market.refused(command)
    answer = market.exchange.apply([command])[0][0]
    market.records += command.encode()
    assert isinstance(answer, Refused)
    return answer


def test_a_rate_of_messages(market: Market) -> None:
    limit(market, market.ann, messages_per_s=4, message_burst=3)
    for _ in range(3):
        market.expect(market.order(), OrderAccepted)
    refused = too_much(market, market.order())
    assert refused == Refused(Reason.MESSAGE_RATE, market.ann, T0 + NS_PER_S // 4)
    market.at(refused.retry_at_ns - 1)
    assert market.refused(market.order()) == Reason.MESSAGE_RATE
    market.at(refused.retry_at_ns)
    market.expect(market.order(), OrderAccepted)
    assert market.refused(market.order()) == Reason.MESSAGE_RATE
    market.expect(market.order(account_id=market.bob, price_nanos=1), OrderAccepted)
    market.later(3_600 * NS_PER_S)
    for _ in range(3):
        market.expect(market.order(), OrderAccepted)
    assert market.refused(market.order()) == Reason.MESSAGE_RATE


def test_what_counts(market: Market) -> None:
    """Replacements and multi-leg bids as orders do; cancels, which are never refused; no others."""
    limit(market, market.ann, messages_per_s=1, message_burst=100)
    order = market.order()
    market.do(order)
    assert isinstance(market.do(order), Repeated)
    market.refused(market.order(quantity_mflop=0))
    market.do(c.ReplaceOrder(market.ann, 1, 99, 1_000))
    market.do(c.CancelOrder(market.ann, 1, bytes(16)))
    market.refused(c.CancelOrder(market.ann, 1, bytes(16)))
    market.do(c.MassCancel(market.ann, 0, 0))
    limits = market.exchange.accounts[market.ann].limits
    assert limits is not None
    assert limits.state()[1] == (1, 100, 96 * 10**9, T0)
    limit(market, market.ann, messages_per_s=1, message_burst=1)
    market.place()
    assert market.refused(c.ReplaceOrder(market.ann, 2, 98, 1_000)) == Reason.MESSAGE_RATE
    for _ in range(3):
        market.do(c.MassCancel(market.ann, 0, 0))
    assert market.refused(market.order()) == Reason.MESSAGE_RATE


def test_jobs_are_messages_and_no_orders(market: Market) -> None:
    limit(
        market,
        market.buyer,
        messages_per_s=1,
        message_burst=2,
        order_to_trade_window_ns=NS_PER_S,
        order_to_trade_free=1,
    )
    for _ in range(2):
        queued = market.expect(market.job(), JobQueued)
    refused = too_much(market, market.job())
    assert (refused.reason, refused.retry_at_ns) == (Reason.MESSAGE_RATE, T0 + NS_PER_S)
    market.do(c.CancelJob(market.buyer, queued.job_id))


def test_orders_to_trades_over_all_instruments(market: Market) -> None:
    other = market.paper_book("other")
    window = {"order_to_trade_window_ns": 10 * NS_PER_S}
    limit(market, market.ann, **window, order_to_trade_free=2, order_to_trade_ratio=3)
    market.place(price_nanos=10)
    market.place(price_nanos=10, instrument_id=other)
    refused = too_much(market, market.order(price_nanos=11))
    assert refused.reason == Reason.ORDER_TO_TRADE
    assert refused.retry_at_ns == (T0 // (10 * NS_PER_S) + 1) * 10 * NS_PER_S
    market.do(market.order(account_id=market.bob, side=2, price_nanos=10, quantity_mflop=1))
    for _ in range(3):
        market.place(price_nanos=9)
    assert market.refused(market.order(price_nanos=11)) == Reason.ORDER_TO_TRADE
    market.at(refused.retry_at_ns)
    market.expect(market.order(price_nanos=11), OrderAccepted)


def test_a_books_own_limit_says_when_to_try_again(market: Market) -> None:
    window = {"order_to_trade_window_ns": NS_PER_S, "order_to_trade_free": 1}
    market.do(c.SetProtections(market.paper, **window))
    market.place()
    refused = too_much(market, market.order())
    assert refused == Refused(Reason.ORDER_TO_TRADE, market.ann, T0 + NS_PER_S)
    assert too_much(market, c.ReplaceOrder(market.ann, 1, 99, 1_000)) == refused
    # Nothing of it is left in the next refusal.
    assert too_much(market, market.order(instrument_id=99)).retry_at_ns == 0


def test_zeros_switch_them_off_and_new_ones_begin_anew(market: Market) -> None:
    limit(market, market.ann, messages_per_s=1, message_burst=1)
    market.place()
    assert market.refused(market.order()) == Reason.MESSAGE_RATE
    limit(market, market.ann, messages_per_s=1, message_burst=1)
    market.expect(market.order(), OrderAccepted)
    limit(market, market.ann)
    assert market.exchange.accounts[market.ann].limits is None
    market.expect(market.order(), OrderAccepted)


GREATEST = c.SetAccountLimits(
    6, RATE_MAX_PER_S, BURST_MAX, RATIO_WINDOW_MAX_NS, RATIO_MAX, RATIO_MAX
)


@pytest.mark.parametrize(
    "changes",
    [
        {"messages_per_s": 0},
        {"message_burst": 0},
        {"messages_per_s": RATE_MAX_PER_S + 1},
        {"message_burst": BURST_MAX + 1},
        {"order_to_trade_window_ns": 0},
        {"order_to_trade_window_ns": -1},
        {"order_to_trade_window_ns": RATIO_WINDOW_MAX_NS + 1},
        {"order_to_trade_free": 0},
        {"order_to_trade_free": RATIO_MAX + 1},
        {"order_to_trade_ratio": RATIO_MAX + 1},
    ],
)
def test_limits_that_cannot_be(market: Market, changes: dict[str, Any]) -> None:
    assert market.ann == GREATEST.account_id
    market.expect(GREATEST, AccountLimitsSet)
    assert market.refused(replace(GREATEST, **changes)) == Reason.FIELD_INVALID


def test_whose_they_can_be(market: Market) -> None:
    for account_id in (0, 1, 2, 99):
        reason = market.refused(c.SetAccountLimits(account_id, 1, 1))
        assert reason == Reason.UNKNOWN_ACCOUNT
