"""Bids with a money cap that may rest: for what the rest of the money buys at their limit."""

from __future__ import annotations

from typing import Any

import pytest

from exchange.core import commands as c
from exchange.core.events import (
    OrderAccepted,
    OrderClosed,
    OrderFilled,
    OrderReplaced,
    OrderState,
)
from exchange.core.reasons import Reason
from tests.exchange.core.scenario import Market, of_kind

BIG = 10**9
"""MFLOP: at a price of p it costs 1,000 p nano-dollars."""
CAP = 150_000


def capped(market: Market, **changes: Any) -> c.PlaceOrder:
    """Ann's bid for four at 100, with money for one and a half."""
    return market.order(**({"quantity_mflop": 4 * BIG, "max_cost_nanos": CAP} | changes))


def sell(market: Market, price: int, quantity: int) -> list[Any]:
    """Bob's ask, and what it leads to."""
    terms = {"side": 2, "price_nanos": price, "quantity_mflop": quantity}
    return market.events(market.order(account_id=market.bob, **terms))


def test_it_rests_for_what_the_rest_of_the_money_buys(market: Market) -> None:
    """The example of docs/reference/orders.md."""
    sell(market, 50, BIG)
    events = market.events(capped(market))
    accepted, filled, _, replaced = events
    assert isinstance(accepted, OrderAccepted)
    assert accepted.quantity_mflop == 4 * BIG
    assert isinstance(filled, OrderFilled)
    assert (filled.quantity_mflop, filled.price_nanos) == (BIG, 50)
    assert replaced == OrderReplaced(2, market.ann, market.paper, 100, 2 * BIG, BIG)
    ledger, ann = market.exchange.ledger, market.exchange.accounts[market.ann]
    assert ledger.pending(market.ann) == 100_000
    assert ann.exposure == {(market.paper, 1): BIG}
    before = market.real(market.bob)
    sell(market, 90, 3 * BIG)
    assert market.real(market.bob) - before == 100_000
    assert ann.positions[market.paper] == 2 * BIG
    assert (ledger.pending(market.ann), ann.exposure, ann.orders) == (0, {}, [])


def test_without_an_ask_it_rests_for_what_the_cap_buys(market: Market) -> None:
    market.do(capped(market))
    (order,) = market.exchange.open_orders_of(market.ann)
    assert (order.quantity_mflop, order.leaves_mflop) == (3 * BIG // 2, 3 * BIG // 2)
    assert market.exchange.ledger.pending(market.ann) == CAP
    sell(market, 100, 4 * BIG)
    assert market.exchange.ledger.pending(market.ann) == 0
    assert market.exchange.accounts[market.ann].positions[market.paper] == 3 * BIG // 2


def test_a_cap_that_pays_for_all_changes_nothing(market: Market) -> None:
    (accepted,) = market.events(capped(market, max_cost_nanos=400_000))
    assert isinstance(accepted, OrderAccepted)
    assert market.exchange.ledger.pending(market.ann) == 400_000


def test_where_the_rest_buys_no_lot_it_ends(market: Market) -> None:
    lots = market.paper_book("lots", lot_mflop=BIG)
    terms = {"instrument_id": lots, "price_nanos": 100}
    market.do(market.order(account_id=market.bob, side=2, quantity_mflop=BIG, **terms))
    events = market.events(capped(market, instrument_id=lots))
    assert [fill.quantity_mflop for fill in of_kind(events, OrderFilled)] == [BIG]
    (closed,) = of_kind(events, OrderClosed)
    assert (closed.state, closed.reason) == (OrderState.CANCELED, Reason.MONEY_CAP)
    assert closed.leaves_mflop == 3 * BIG
    assert market.exchange.ledger.pending(market.ann) == 0
    assert market.exchange.accounts[market.ann].exposure == {}


def test_it_is_an_order_like_any_other_then(market: Market) -> None:
    """Its time, its cancel, its replacement within the cap; beyond it that is refused."""
    market.do(capped(market))
    beyond = c.ReplaceOrder(market.ann, 1, 100, 3 * BIG // 2 + 1)
    assert market.refused(beyond) == Reason.MONEY_CAP
    assert market.refused(c.ReplaceOrder(market.ann, 1, 101, 3 * BIG // 2)) == Reason.MONEY_CAP
    market.expect(c.ReplaceOrder(market.ann, 1, 50, 3 * BIG), OrderReplaced)
    assert market.exchange.ledger.pending(market.ann) == CAP
    market.do(c.CancelOrder(market.ann, 1, bytes(16)))
    assert market.exchange.ledger.pending(market.ann) == 0
    assert market.exchange.accounts[market.ann].exposure == {}


@pytest.mark.parametrize("conditions", [{"hidden": 1}, {"display_quantity_mflop": BIG // 10}])
def test_hidden_and_icebergs_rest_with_a_cap(market: Market, conditions: dict[str, int]) -> None:
    terms = {"quantity_mflop": 4 * BIG, "max_cost_nanos": CAP}
    market.do(market.conditional(**terms, **conditions))
    assert market.exchange.ledger.pending(market.ann) == CAP
    sell(market, 100, 4 * BIG)
    assert market.exchange.accounts[market.ann].positions[market.paper] == 3 * BIG // 2


def test_a_post_only_one_is_cut_at_the_price_that_it_gets(market: Market) -> None:
    sell(market, 51, BIG)
    terms = {"quantity_mflop": 4 * BIG, "max_cost_nanos": CAP}
    market.do(market.conditional(post_only=2, **terms))
    (order,) = market.exchange.open_orders_of(market.ann)
    assert (order.price_nanos, order.leaves_mflop) == (50, 3 * BIG)
    assert market.exchange.ledger.pending(market.ann) == CAP


def test_in_an_auction_it_waits_for_what_it_can_pay(market: Market) -> None:
    market.do(c.SetInstrumentState(market.paper, c.TradingState.AUCTION))
    market.do(capped(market))
    sell(market, 40, 4 * BIG)
    market.do(c.SetInstrumentState(market.paper, c.TradingState.OPEN))
    assert market.exchange.accounts[market.ann].positions[market.paper] == 3 * BIG // 2
    assert market.exchange.ledger.pending(market.ann) == 0
    assert market.real(market.bob) >= 0


def test_its_own_account_may_take_off_more(market: Market) -> None:
    """Self-trade prevention and the cap both cut it; what is exposed and held follows."""
    sell(market, 100, BIG)
    own = market.order(side=2, price_nanos=90, quantity_mflop=BIG)
    market.do(own)
    market.do(capped(market, self_trade=4))
    account = market.exchange.accounts[market.ann]
    (order,) = account.orders
    assert order.leaves_mflop == BIG // 2
    assert account.exposure == {(market.paper, 1): BIG // 2}
    assert account.positions == {market.paper: BIG}


@pytest.mark.parametrize(
    "conditions",
    [
        {"all_or_none": 1},
        {"min_quantity_mflop": BIG},
        {"order_type": 4, "stop_price_nanos": 100},
    ],
)
def test_what_cannot_be_cut_must_fit_its_cap(market: Market, conditions: dict[str, int]) -> None:
    terms = {"quantity_mflop": 4 * BIG, **conditions}
    whole = market.conditional(**terms, max_cost_nanos=399_999)
    assert market.refused(whole) == Reason.MONEY_CAP
    market.expect(market.conditional(**terms, max_cost_nanos=400_000), OrderAccepted)
