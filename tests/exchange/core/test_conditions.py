"""What orders may ask beyond a price and a quantity: what is held, what trades, what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from exchange.core import commands as c
from exchange.core.events import (
    OrderAccepted,
    OrderClosed,
    OrderFilled,
    OrderReplaced,
    OrderTriggered,
    Repeated,
)
from exchange.core.limits import NS_PER_S
from exchange.core.reasons import Reason
from matching.types import MINIMUM_ORDERS_MAX, PEAKS_MAX, STOP_ORDERS_MAX
from tests.exchange.core.scenario import FUNDS, Market, of_kind, replace

BIG = 10**9
"""MFLOP: at a price of p it costs 1,000 p nano-dollars."""


def held(market: Market, account_id: int | None = None) -> int:
    return market.exchange.ledger.pending(account_id or market.ann)


def ask(market: Market, **changes: Any) -> int:
    return market.place(**{"account_id": market.bob, "side": 2, "quantity_mflop": BIG} | changes)


def fills(market: Market, command: c.Command) -> list[tuple[int, int]]:
    """(price, quantity) of the trades that a command causes."""
    found = of_kind(market.events(command), OrderFilled)
    return [(fill.price_nanos, fill.quantity_mflop) for fill in found]


# Post-only


def test_a_post_only_order_that_would_take_is_cancelled_and_pays_nothing(market: Market) -> None:
    ask(market)
    closed = market.expect(market.conditional(post_only=1), OrderClosed)
    assert (closed.reason, closed.leaves_mflop) == (Reason.POST_ONLY, 1_000)
    assert held(market) == 0
    assert isinstance(market.do(market.conditional(post_only=1, price_nanos=99)), OrderAccepted)


def test_a_repriced_bid_holds_less_and_its_owner_is_told(market: Market) -> None:
    ask(market)
    bid = market.conditional(post_only=2, price_nanos=150, quantity_mflop=BIG)
    told = market.expect(bid, OrderReplaced)
    assert (told.price_nanos, told.leaves_mflop) == (99, BIG)
    assert held(market) == 99 * 1_000
    assert market.exchange.depth(market.paper, 1)[0] == [(99, BIG, 1)]


def test_a_post_only_order_that_is_replaced_does_not_take_either(market: Market) -> None:
    ask(market)
    market.do(market.conditional(post_only=2, price_nanos=90, quantity_mflop=BIG))
    order_id = market.exchange.counters.order
    told = of_kind(market.events(c.ReplaceOrder(market.ann, order_id, 120, BIG)), OrderReplaced)
    assert [x.price_nanos for x in told] == [120, 99]
    assert held(market) == 99 * 1_000


# Minimum quantity and all-or-none


def test_all_or_none_waits_until_it_can_trade_whole(market: Market) -> None:
    market.do(market.conditional(all_or_none=1, quantity_mflop=BIG))
    assert market.exchange.depth(market.paper, 5) == ([], []), "it shows nothing"
    assert fills(market, market.order(account_id=market.bob, side=2, quantity_mflop=BIG // 2)) == []
    other = market.order(account_id=market.bob, side=2, quantity_mflop=BIG // 2)
    assert sum(quantity for _, quantity in fills(market, other)) == BIG
    assert held(market) == 0


def test_a_minimum_that_is_not_there_cancels_an_order_that_cannot_rest(market: Market) -> None:
    ask(market, quantity_mflop=10)
    order = market.conditional(min_quantity_mflop=20, time_in_force=3)
    assert market.expect(order, OrderClosed).reason == Reason.MIN_QUANTITY
    enough = market.conditional(min_quantity_mflop=10, time_in_force=3)
    assert fills(market, enough) == [(100, 10)]


def test_resting_minimums_are_bounded(market: Market) -> None:
    market.bulk(market.conditional(all_or_none=1) for _ in range(MINIMUM_ORDERS_MAX))
    assert market.refused(market.conditional(all_or_none=1)) == Reason.BOOK_FULL
    assert isinstance(market.do(market.order()), OrderAccepted)


# Hidden and iceberg


def test_an_iceberg_holds_its_whole_quantity_and_shows_a_part(market: Market) -> None:
    market.do(market.conditional(quantity_mflop=BIG, display_quantity_mflop=BIG // 10))
    assert held(market) == 100 * 1_000
    assert market.exchange.depth(market.paper, 5)[0] == [(100, BIG // 10, 1)]
    assert (
        fills(market, market.order(account_id=market.bob, side=2, quantity_mflop=BIG))
        == [(100, BIG // 10)] * 10
    )
    assert held(market) == 0


def test_an_iceberg_has_a_most_of_peaks(market: Market) -> None:
    order = market.conditional(quantity_mflop=PEAKS_MAX * 10 + 1, display_quantity_mflop=10)
    assert market.refused(order) == Reason.DISPLAY_TOO_SMALL
    assert isinstance(market.do(replace(order, quantity_mflop=PEAKS_MAX * 10)), OrderAccepted)
    larger = c.ReplaceOrder(market.ann, market.exchange.counters.order, 100, PEAKS_MAX * 10 + 1)
    assert market.refused(larger) == Reason.DISPLAY_TOO_SMALL


def test_a_hidden_order_trades_unseen(market: Market) -> None:
    market.do(market.conditional(hidden=1))
    assert market.exchange.depth(market.paper, 5) == ([], [])
    assert fills(market, market.order(account_id=market.bob, side=2)) == [(100, 1_000)]


# Stops


def test_a_stop_holds_from_entry_and_trades_when_its_time_comes(market: Market) -> None:
    ask(market, price_nanos=105)
    stop = market.conditional(order_type=3, stop_price_nanos=103, quantity_mflop=BIG)
    market.do(stop)
    stop_id = market.exchange.counters.order
    assert held(market) == 1_000 * 1_000, "a stop order may pay the edge of the band"
    assert market.exchange.orders[stop_id].waiting
    ask(market, price_nanos=103, quantity_mflop=10)
    events = market.events(market.order(price_nanos=103, quantity_mflop=10))
    (triggered,) = of_kind(events, OrderTriggered)
    assert (triggered.order_id, triggered.stop_price_nanos) == (stop_id, 103)
    assert [fill.price_nanos for fill in of_kind(events, OrderFilled)] == [103, 105]
    assert held(market) == 0


def test_a_stop_limit_rests_at_its_limit_once_triggered(market: Market) -> None:
    market.do(market.conditional(order_type=4, stop_price_nanos=103, price_nanos=104))
    stop_id = market.exchange.counters.order
    ask(market, price_nanos=103, quantity_mflop=10)
    market.place(price_nanos=103, quantity_mflop=10)
    assert not market.exchange.orders[stop_id].waiting
    assert market.exchange.depth(market.paper, 1)[0] == [(104, 1_000, 1)]


def test_a_waiting_stop_is_replaced_and_cancelled(market: Market) -> None:
    market.do(market.conditional(order_type=4, stop_price_nanos=103, price_nanos=104))
    stop_id = market.exchange.counters.order
    market.do(c.ReplaceOrder(market.ann, stop_id, 110, BIG, 108))
    assert held(market) == 110 * 1_000
    assert market.exchange.orders[stop_id].resting.conditions.stop_price == 108  # type: ignore[union-attr]
    market.do(c.CancelOrder(market.ann, stop_id, bytes(16)))
    assert held(market) == 0
    plain = market.place()
    order = c.ReplaceOrder(market.ann, plain, 100, 1_000, 90)
    assert market.refused(order) == Reason.CONDITIONS_CONFLICT


def test_a_replaced_stop_without_a_limit_keeps_its_protection(market: Market) -> None:
    market.do(market.conditional(order_type=3, stop_price_nanos=103, quantity_mflop=BIG))
    stop_id = market.exchange.counters.order
    market.do(c.ReplaceOrder(market.ann, stop_id, 50, 2 * BIG, 0))
    assert held(market) == 1_000 * 2_000


def test_waiting_stops_expire(market: Market) -> None:
    until = market.now_ns + NS_PER_S
    market.do(
        market.conditional(
            order_type=3, stop_price_nanos=103, time_in_force=2, expire_time_ns=until
        )
    )
    (closed,) = of_kind(market.at(until), OrderClosed)
    assert closed.reason == Reason.ORDER_EXPIRED
    assert held(market) == 0


def test_waiting_stops_are_bounded(market: Market) -> None:
    stop = {"order_type": 4, "stop_price_nanos": 103, "side": 2}
    market.bulk(market.conditional(**stop) for _ in range(STOP_ORDERS_MAX))
    assert market.refused(market.conditional(**stop)) == Reason.BOOK_FULL


def test_others_stop_orders_trade_by_ones_command(market: Market) -> None:
    """Neither order of a trade need be the commander's."""
    carl = market.account("carl", c.AccountKind.PAPER, FUNDS)
    ask(market, price_nanos=110)
    market.do(market.conditional(account_id=carl, order_type=3, stop_price_nanos=101))
    ask(market, price_nanos=101, quantity_mflop=10)
    events = market.events(market.order(price_nanos=101, quantity_mflop=10))
    takers = [fill.taker_account_id for fill in of_kind(events, OrderFilled)]
    assert takers == [market.ann, carl]
    assert held(market, carl) == 0


# Money-capped orders


def test_a_budget_order_trades_what_its_cap_pays(market: Market) -> None:
    ask(market, price_nanos=100, quantity_mflop=BIG)
    ask(market, price_nanos=200, quantity_mflop=BIG)
    order = market.order(
        order_type=2, price_nanos=0, quantity_mflop=2 * BIG, max_cost_nanos=150 * 1_000
    )
    events = market.events(order)
    bought = [(x.price_nanos, x.quantity_mflop) for x in of_kind(events, OrderFilled)]
    assert bought == [(100, BIG), (200, BIG // 4)]
    (closed,) = of_kind(events, OrderClosed)
    assert (closed.reason, closed.leaves_mflop) == (Reason.MONEY_CAP, BIG - BIG // 4)
    assert market.real(market.bob) - FUNDS == 150 * 1_000
    assert held(market) == 0


def test_a_budget_order_holds_its_cap(market: Market) -> None:
    """Its worst case is beyond what the account has."""
    ask(market, price_nanos=100, quantity_mflop=1_000)
    market.do(c.Withdraw(market.ann, market.new_id(), FUNDS - 1_000))
    order = market.order(order_type=2, price_nanos=0, quantity_mflop=BIG, max_cost_nanos=1_001)
    assert market.refused(order) == Reason.INSUFFICIENT_FUNDS
    assert fills(market, replace(order, max_cost_nanos=1_000)) == [(100, 1_000)]


def test_a_budget_that_a_whole_order_exceeds_kills_it(market: Market) -> None:
    ask(market)
    order = market.order(time_in_force=4, quantity_mflop=BIG, max_cost_nanos=99_999)
    assert market.expect(order, OrderClosed).reason == Reason.FILL_OR_KILL
    assert fills(market, market.order(**kill_of(order, 100_000))) == [(100, BIG)]


def kill_of(order: c.PlaceOrder, max_cost_nanos: int) -> dict[str, int]:
    return {
        "time_in_force": order.time_in_force,
        "quantity_mflop": order.quantity_mflop,
        "max_cost_nanos": max_cost_nanos,
    }


def test_an_ask_has_no_cap(market: Market) -> None:
    order = market.order(side=2, max_cost_nanos=1)
    assert market.refused(order) == Reason.CONDITIONS_CONFLICT


# What contradicts itself


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"post_only": 3}, Reason.FIELD_INVALID),
        ({"all_or_none": 2}, Reason.FIELD_INVALID),
        ({"hidden": 2}, Reason.FIELD_INVALID),
        ({"post_only": 1, "time_in_force": 3}, Reason.CONDITIONS_CONFLICT),
        ({"post_only": 1, "order_type": 2}, Reason.CONDITIONS_CONFLICT),
        ({"all_or_none": 1, "min_quantity_mflop": 5}, Reason.CONDITIONS_CONFLICT),
        ({"hidden": 1, "display_quantity_mflop": 100}, Reason.CONDITIONS_CONFLICT),
        ({"min_quantity_mflop": 1_001}, Reason.CONDITIONS_CONFLICT),
        ({"display_quantity_mflop": 1_001}, Reason.CONDITIONS_CONFLICT),
        ({"min_quantity_mflop": -1}, Reason.QUANTITY_NOT_POSITIVE),
        ({"display_quantity_mflop": -1}, Reason.QUANTITY_NOT_POSITIVE),
        ({"stop_price_nanos": 100}, Reason.CONDITIONS_CONFLICT),
        ({"order_type": 3}, Reason.CONDITIONS_CONFLICT),
        ({"order_type": 3, "stop_price_nanos": 1_001}, Reason.PRICE_OUT_OF_BAND),
        ({"order_type": 3, "stop_price_nanos": -1}, Reason.PRICE_OUT_OF_BAND),
        ({"order_type": 4, "stop_price_nanos": 5, "price_nanos": 0}, Reason.PRICE_OUT_OF_BAND),
        ({"order_type": 5}, Reason.FIELD_INVALID),
    ],
)
def test_refused_conditions(market: Market, changes: dict[str, int], reason: Reason) -> None:
    assert market.refused(market.conditional(**changes)) == reason


def test_parts_keep_to_the_lot(market: Market) -> None:
    lots = market.paper_book("lots", lot_mflop=100)
    order = market.conditional(instrument_id=lots, min_quantity_mflop=150)
    assert market.refused(order) == Reason.QUANTITY_OFF_LOT
    order = market.conditional(instrument_id=lots, display_quantity_mflop=150)
    assert market.refused(order) == Reason.QUANTITY_OFF_LOT


def test_a_plain_stop_is_no_order(market: Market) -> None:
    assert market.refused(market.order(order_type=3)) == Reason.CONDITIONS_CONFLICT


# Repeats


def test_a_repeat_over_another_stream_is_a_repeat(market: Market) -> None:
    order = market.conditional(stream_id=1)
    market.do(order)
    assert isinstance(market.do(replace(order, stream_id=2)), Repeated)
    plain = market.order(client_order_id=order.client_order_id)
    assert isinstance(market.do(plain), Repeated), "the stream is the only difference"
    other = market.conditional(client_order_id=order.client_order_id, hidden=1)
    assert market.refused(other) == Reason.DUPLICATE_CLIENT_ID


def test_a_conditional_order_is_found_by_its_client_id(market: Market) -> None:
    order = market.conditional(hidden=1)
    market.do(order)
    assert market.exchange.order_by_client_id(market.ann, order.client_order_id) == 1
    market.do(c.CancelOrder(market.ann, 0, order.client_order_id))
    assert held(market) == 0
