"""Explicit orders: escrow to the nano-dollar, fills, replaces, self-trades, caps, closing."""

from __future__ import annotations

import pytest

from exchange.core import commands as c
from exchange.core.events import (
    OrderAccepted,
    OrderClosed,
    OrderFilled,
    OrderReplaced,
    OrderState,
    Posted,
    Repeated,
)
from exchange.core.limits import NS_PER_S
from exchange.core.reasons import Reason
from matching.types import SelfTradePrevention, TimeInForce
from tests.exchange.core.scenario import FUNDS, Market, of_kind, replace


def held(market: Market) -> int:
    return market.exchange.ledger.pending(market.ann)


def test_a_bid_holds_its_worst_case_rounded_up(market: Market) -> None:
    market.place(price_nanos=100, quantity_mflop=10_001)  # 1.0001 nano-dollars
    assert held(market) == 2
    assert market.exchange.ledger.available(market.ann) == FUNDS - 2


def test_an_ask_holds_no_money(market: Market) -> None:
    market.place(side=2)
    assert held(market) == 0


def test_a_fill_pays_the_makers_price(market: Market) -> None:
    market.place(account_id=market.bob, side=2, price_nanos=90, quantity_mflop=10**6)
    events = market.events(market.order(price_nanos=100, quantity_mflop=10**6))
    (fill,) = of_kind(events, OrderFilled)
    (post,) = of_kind(events, Posted)
    assert (fill.price_nanos, fill.maker_leaves_mflop, fill.taker_leaves_mflop) == (90, 0, 0)
    assert (post.debit_account_id, post.credit_account_id) == (market.ann, market.bob)
    assert (post.amount_nanos, post.reference_id) == (90, fill.trade_id)
    assert (market.real(market.ann), market.real(market.bob)) == (FUNDS - 90, FUNDS + 90)
    assert held(market) == 0
    positions = [market.exchange.accounts[i].positions[market.paper] for i in (market.ann, 7)]
    assert positions == [10**6, -(10**6)]


def test_small_fills_add_up_to_the_ceiling_of_the_whole(market: Market) -> None:
    """333 MFLOP at 1,000 is 0.333 nano-dollars: three of them cost one, not three."""
    market.place(price_nanos=1_000, quantity_mflop=999)
    paid = []
    for _ in range(3):
        ask = market.order(account_id=market.bob, side=2, price_nanos=1_000, quantity_mflop=333)
        paid.append(of_kind(market.events(ask), Posted)[0].amount_nanos)
    assert paid == [1, 0, 0]
    assert market.real(market.ann) == FUNDS - 1


def test_market_orders_never_rest_and_are_protected_by_the_band(market: Market) -> None:
    market.place(account_id=market.bob, side=2, price_nanos=900, quantity_mflop=10)
    events = market.events(market.order(order_type=2, price_nanos=-5, quantity_mflop=30))
    assert of_kind(events, OrderAccepted)[0].price_nanos == 1_000
    assert of_kind(events, OrderFilled)[0].price_nanos == 900
    (closed,) = of_kind(events, OrderClosed)
    assert (closed.reason, closed.leaves_mflop) == (Reason.IMMEDIATE_OR_CANCEL, 20)
    assert market.exchange.depth(market.paper, 5) == ([], [])


def test_a_market_order_may_be_fill_or_kill(market: Market) -> None:
    market.place(account_id=market.bob, side=2, price_nanos=900, quantity_mflop=10)
    events = market.events(market.order(order_type=2, time_in_force=4, quantity_mflop=30))
    assert of_kind(events, OrderFilled) == []
    assert of_kind(events, OrderClosed)[0].reason == Reason.FILL_OR_KILL
    assert held(market) == 0


def test_insufficient_funds_for_a_bid_and_for_a_larger_replace(market: Market) -> None:
    big = market.order(price_nanos=1_000, quantity_mflop=10**15)
    assert isinstance(market.do(big), OrderAccepted)
    assert market.refused(market.order(price_nanos=1_000)) == Reason.INSUFFICIENT_FUNDS
    market.do(c.ReplaceOrder(market.ann, 1, 500, 10**15))
    small = market.place(price_nanos=1_000, quantity_mflop=10**14)
    replacement = c.ReplaceOrder(market.ann, small, 1_000, 9 * 10**14)
    assert market.refused(replacement) == Reason.INSUFFICIENT_FUNDS


def test_a_replace_resizes_the_escrow_both_ways(market: Market) -> None:
    order_id = market.place(price_nanos=100, quantity_mflop=10**6)
    for price, quantity, escrow in ((100, 2 * 10**6, 200), (50, 10**6, 50), (70, 10**6 + 1, 71)):
        answer = market.do(c.ReplaceOrder(market.ann, order_id, price, quantity))
        assert isinstance(answer, OrderReplaced)
        assert held(market) == escrow


def test_a_replace_of_a_part_filled_order_counts_what_it_paid(market: Market) -> None:
    order_id = market.place(price_nanos=100, quantity_mflop=10**6)
    market.place(account_id=market.bob, side=2, price_nanos=100, quantity_mflop=400_000)
    assert (market.real(market.ann), held(market)) == (FUNDS - 40, 60)
    answer = market.do(c.ReplaceOrder(market.ann, order_id, 100, 500_000))
    assert isinstance(answer, OrderReplaced)
    assert (answer.leaves_mflop, held(market)) == (100_000, 10)


def test_a_replace_to_what_is_filled_ends_the_order(market: Market) -> None:
    order_id = market.place(quantity_mflop=1_000)
    market.place(account_id=market.bob, side=2, quantity_mflop=600)
    events = market.events(c.ReplaceOrder(market.ann, order_id, 100, 600))
    assert [type(event) for event in events] == [OrderClosed]
    assert held(market) == 0
    assert market.exchange.accounts[market.ann].exposure == {}


def test_a_replace_may_trade_at_once(market: Market) -> None:
    market.place(account_id=market.bob, side=2, price_nanos=110)
    order_id = market.place(price_nanos=100)
    events = market.events(c.ReplaceOrder(market.ann, order_id, 110, 1_000))
    assert of_kind(events, OrderFilled)[0].price_nanos == 110
    assert market.exchange.open_orders_of(market.ann) == []


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"order_id": 99}, Reason.UNKNOWN_ORDER),
        ({"account_id": 7}, Reason.NOT_OWNER),
        ({"price_nanos": 0}, Reason.PRICE_OUT_OF_BAND),
        ({"price_nanos": 1_001}, Reason.PRICE_OUT_OF_BAND),
        ({"quantity_mflop": 0}, Reason.QUANTITY_NOT_POSITIVE),
        ({"quantity_mflop": 10**15 + 1}, Reason.QUANTITY_TOO_LARGE),
    ],
)
def test_refused_replaces(market: Market, changes: dict[str, int], reason: Reason) -> None:
    command = c.ReplaceOrder(market.ann, market.place(), 100, 1_000)
    assert market.refused(replace(command, **changes)) == reason


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"side": 0}, Reason.FIELD_INVALID),
        ({"order_type": 5}, Reason.FIELD_INVALID),
        ({"time_in_force": 5}, Reason.FIELD_INVALID),
        ({"time_in_force": 0}, Reason.FIELD_INVALID),
        ({"self_trade": 0}, Reason.FIELD_INVALID),
        ({"self_trade": 5}, Reason.FIELD_INVALID),
        ({"quantity_mflop": -1}, Reason.QUANTITY_NOT_POSITIVE),
        ({"time_in_force": 2, "expire_time_ns": 0}, Reason.DEADLINE_PASSED),
        ({"max_cost_nanos": -1}, Reason.AMOUNT_NOT_POSITIVE),
        ({"account_id": 99}, Reason.UNKNOWN_ACCOUNT),
        ({"account_id": 3}, Reason.ORDER_TYPE_UNSUPPORTED),  # real money
        ({"account_id": 1}, Reason.ORDER_TYPE_UNSUPPORTED),
    ],
)
def test_refused_orders(market: Market, changes: dict[str, int], reason: Reason) -> None:
    assert market.refused(market.order(**changes)) == reason


def test_the_money_cap_holds_at_entry_and_on_replace(market: Market) -> None:
    order = market.order(price_nanos=100, quantity_mflop=10**6, max_cost_nanos=100)
    whole = market.conditional(all_or_none=1, price_nanos=100, quantity_mflop=10**6)
    assert market.refused(replace(whole, max_cost_nanos=99)) == Reason.MONEY_CAP
    market.do(order)
    order_id = market.exchange.counters.order
    assert market.refused(c.ReplaceOrder(market.ann, order_id, 101, 10**6)) == Reason.MONEY_CAP
    market.place(account_id=market.bob, side=2, quantity_mflop=500_000)
    more = c.ReplaceOrder(market.ann, order_id, 100, 10**6 + 1)
    assert market.refused(more) == Reason.MONEY_CAP
    assert isinstance(market.do(replace(more, quantity_mflop=900_000)), OrderReplaced)


def test_a_halted_account_cancels_and_does_not_replace(market: Market) -> None:
    order_id = market.place()
    market.do(c.SetAccountHalted(market.ann, 1))
    replacement = c.ReplaceOrder(market.ann, order_id, 100, 500)
    assert market.refused(replacement) == Reason.ACCOUNT_HALTED
    assert market.refused(market.order()) == Reason.ACCOUNT_HALTED
    assert isinstance(market.do(c.CancelOrder(market.ann, order_id, bytes(16))), OrderClosed)


def test_a_halted_instrument_takes_cancels_only(market: Market) -> None:
    order_id = market.place()
    market.do(c.SetInstrumentState(market.paper, c.TradingState.HALTED))
    assert market.refused(market.order()) == Reason.INSTRUMENT_HALTED
    replacement = c.ReplaceOrder(market.ann, order_id, 100, 500)
    assert market.refused(replacement) == Reason.INSTRUMENT_HALTED
    assert isinstance(market.do(c.CancelOrder(market.ann, order_id, bytes(16))), OrderClosed)
    market.do(c.SetInstrumentState(market.paper, c.TradingState.OPEN))
    assert isinstance(market.do(market.order()), OrderAccepted)


def test_a_closed_instrument_gives_every_order_back(market: Market) -> None:
    market.place(price_nanos=100)
    market.place(account_id=market.bob, side=2, price_nanos=200)
    events = market.events(c.SetInstrumentState(market.paper, c.TradingState.CLOSED))
    reasons = {event.reason for event in of_kind(events, OrderClosed)}
    assert (len(of_kind(events, OrderClosed)), reasons) == (2, {Reason.CANCELLED_BY_OPERATOR})
    assert held(market) == 0
    reopening = c.SetInstrumentState(market.paper, c.TradingState.OPEN)
    assert market.refused(reopening) == Reason.INSTRUMENT_HALTED


def test_cancel_by_client_id(market: Market) -> None:
    order = market.order()
    market.do(order)
    by_id = c.CancelOrder(market.ann, 0, order.client_order_id)
    assert market.refused(replace(by_id, account_id=market.bob)) == Reason.UNKNOWN_ORDER
    assert market.refused(replace(by_id, account_id=99)) == Reason.UNKNOWN_ORDER
    assert isinstance(market.do(by_id), OrderClosed)
    assert market.refused(by_id) == Reason.UNKNOWN_ORDER
    assert market.exchange.order_by_client_id(market.ann, order.client_order_id) == 1


def test_a_deposits_id_names_no_order(market: Market) -> None:
    """The result of a deposit is its sequence number, which may be an order's number too."""
    request = market.new_id()
    market.do(c.Deposit(market.ann, request, 1))
    sequence = market.exchange.sequence
    while market.exchange.counters.order < sequence:
        market.place(quantity_mflop=1)
    assert market.exchange.orders[sequence].account_id == market.ann
    assert market.refused(c.CancelOrder(market.ann, 0, request)) == Reason.UNKNOWN_ORDER
    assert market.exchange.order_by_client_id(market.ann, request) is None


def test_gtd_orders_expire_and_leave_no_timer(market: Market) -> None:
    until = market.now_ns + NS_PER_S
    order_id = market.place(time_in_force=2, expire_time_ns=until)
    gone = market.place(time_in_force=2, expire_time_ns=until)
    market.do(c.CancelOrder(market.ann, gone, bytes(16)))
    (closed,) = of_kind(market.at(until), OrderClosed)
    assert (closed.order_id, closed.state, closed.reason) == (
        order_id,
        OrderState.EXPIRED,
        Reason.ORDER_EXPIRED,
    )
    assert held(market) == 0


def test_a_gtd_order_that_traded_does_not_expire(market: Market) -> None:
    until = market.now_ns + NS_PER_S
    market.place(time_in_force=2, expire_time_ns=until)
    market.place(account_id=market.bob, side=2, time_in_force=2, expire_time_ns=until)
    assert of_kind(market.at(until), OrderClosed) == []


M = SelfTradePrevention


@pytest.mark.parametrize(
    ("mode", "closed", "open_leaves", "escrow"),
    [
        (M.CANCEL_NEWEST, [2], {1: 600}, 1),
        (M.CANCEL_OLDEST, [1], {2: 1_000}, 0),
        (M.CANCEL_BOTH, [1, 2], {}, 0),
        (M.DECREMENT, [1], {2: 400}, 0),
    ],
)
def test_self_trade_modes(
    market: Market, mode: int, closed: list[int], open_leaves: dict[int, int], escrow: int
) -> None:
    market.place(quantity_mflop=600)
    events = market.events(market.order(side=2, quantity_mflop=1_000, self_trade=mode))
    assert [event.order_id for event in of_kind(events, OrderClosed)] == closed
    assert of_kind(events, OrderFilled) == []
    leaves = {o.order_id: o.leaves_mflop for o in market.exchange.open_orders_of(market.ann)}
    assert leaves == open_leaves
    assert held(market) == escrow


def test_decrement_frees_the_escrow_it_no_longer_needs(market: Market) -> None:
    market.place(price_nanos=1_000, quantity_mflop=10**6)
    assert held(market) == 1_000
    taker = market.order(side=2, price_nanos=1_000, quantity_mflop=400_000, self_trade=M.DECREMENT)
    events = market.events(taker)
    assert of_kind(events, OrderReplaced)[0].leaves_mflop == 600_000
    assert held(market) == 600


def test_a_decremented_taker_still_pays_for_what_it_buys(market: Market) -> None:
    market.place(side=2, price_nanos=500, quantity_mflop=400_000)
    market.place(account_id=market.bob, side=2, price_nanos=600, quantity_mflop=400_000)
    market.do(market.order(price_nanos=1_000, quantity_mflop=10**6, self_trade=M.DECREMENT))
    assert market.real(market.ann) == FUNDS - 240
    (rest,) = market.exchange.open_orders_of(market.ann)
    assert rest.leaves_mflop == 200_000
    assert market.exchange.ledger.pending(market.ann) >= 200


def test_repeats_of_an_order_answer_the_first_result(market: Market) -> None:
    order = market.order()
    market.do(order)
    for _ in range(2):
        assert market.do(order) == Repeated(market.ann, 1)
    market.do(c.CancelOrder(market.ann, 1, bytes(16)))
    assert market.do(order) == Repeated(market.ann, 1)
    assert market.refused(replace(order, price_nanos=99)) == Reason.DUPLICATE_CLIENT_ID
    other_account = market.do(replace(order, account_id=market.bob))
    assert isinstance(other_account, OrderAccepted), "client ids are the account's own"


def test_a_refused_order_leaves_its_client_id_free(market: Market) -> None:
    order = market.order(price_nanos=1_001)
    market.refused(order)
    assert isinstance(market.do(replace(order, price_nanos=1_000)), OrderAccepted)


def test_time_in_force_as_seen_by_the_owner(market: Market) -> None:
    market.place(time_in_force=TimeInForce.GTC)
    (order,) = market.exchange.open_orders_of(market.ann)
    assert (order.time_in_force, order.side, order.price_nanos) == (1, 1, 100)
    assert order.quantity_mflop == 1_000
