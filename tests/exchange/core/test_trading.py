"""Trading states: halts, call auctions, and what stops trading by itself."""

from __future__ import annotations

from typing import Any

import pytest

from exchange.core import commands as c
from exchange.core.events import (
    AuctionCalled,
    AuctionUncrossed,
    InstrumentStateChanged,
    OrderAccepted,
    OrderClosed,
    OrderFilled,
    OrderReplaced,
    OrderTriggered,
)
from exchange.core.limits import NS_PER_S, RECOVERY_GRACE_NS
from exchange.core.reasons import Reason
from matching.protection import DISTANCE_MAX_BPS, EXTENSIONS_MAX, PHASE_MAX_NS
from tests.exchange.core.scenario import FUNDS, Market, of_kind

State = c.TradingState
CALL_NS = 10 * NS_PER_S


def state(market: Market) -> c.TradingState:
    return market.exchange.instruments[market.paper].state


def trade(market: Market, price: int, quantity: int = 10) -> None:
    market.place(account_id=market.bob, side=2, price_nanos=price, quantity_mflop=quantity)
    market.place(price_nanos=price, quantity_mflop=quantity)


def protect(market: Market, **terms: int) -> None:
    market.do(c.SetProtections(market.paper, **({"reopening_call_ns": CALL_NS} | terms)))


def reasons(events: list[Any]) -> list[tuple[int, Reason]]:
    return [(x.state, x.reason) for x in of_kind(events, InstrumentStateChanged)]


# Auctions that the operator calls


def test_an_auction_collects_orders_and_trades_them_at_one_price(market: Market) -> None:
    market.do(c.SetInstrumentState(market.paper, State.AUCTION))
    market.place(price_nanos=105, quantity_mflop=30)
    market.place(price_nanos=102, quantity_mflop=20)
    market.place(price_nanos=100, quantity_mflop=40)
    for price, quantity in ((98, 25), (101, 15), (103, 50)):
        order = {"side": 2, "price_nanos": price, "quantity_mflop": quantity}
        assert len(market.events(market.order(account_id=market.bob, **order))) == 1
    clearing = market.exchange.indicative(market.paper)
    assert clearing is not None
    assert (clearing.price, clearing.volume, clearing.surplus) == (102, 40, 10)
    events = market.events(c.SetInstrumentState(market.paper, State.OPEN))
    filled = of_kind(events, OrderFilled)
    assert {fill.price_nanos for fill in filled} == {102}
    assert sum(fill.quantity_mflop for fill in filled) == 40
    assert of_kind(events, AuctionUncrossed) == [AuctionUncrossed(market.paper, 102, 40)]
    assert reasons(events) == [(State.OPEN, Reason.NONE)]
    assert market.exchange.depth(market.paper, 1) == ([(102, 10, 1)], [(103, 50, 1)])


def test_an_auction_ends_by_itself(market: Market) -> None:
    events = market.events(c.SetInstrumentState(market.paper, State.AUCTION, CALL_NS))
    assert of_kind(events, AuctionCalled) == [AuctionCalled(market.paper, market.now_ns + CALL_NS)]
    trade(market, 100)
    assert of_kind(market.later(CALL_NS - 1), OrderFilled) == []
    assert len(of_kind(market.later(1), OrderFilled)) == 1
    assert state(market) == State.OPEN


def test_an_auction_without_trades_opens_too(market: Market) -> None:
    market.do(c.SetInstrumentState(market.paper, State.AUCTION, 1))
    assert of_kind(market.later(1), AuctionUncrossed) == [AuctionUncrossed(market.paper, 0, 0)]
    assert state(market) == State.OPEN


def test_an_order_that_expires_with_the_call_does_not_trade(market: Market) -> None:
    market.do(c.SetInstrumentState(market.paper, State.AUCTION, CALL_NS))
    end = market.now_ns + CALL_NS
    market.place(time_in_force=2, expire_time_ns=end)
    market.place(account_id=market.bob, side=2)
    events = market.at(end)
    assert [x.reason for x in of_kind(events, OrderClosed)] == [Reason.ORDER_EXPIRED]
    assert of_kind(events, OrderFilled) == []


def test_immediate_orders_wait_for_the_uncross_and_no_longer(market: Market) -> None:
    market.do(c.SetInstrumentState(market.paper, State.AUCTION))
    market.place(time_in_force=3, quantity_mflop=30)
    market.do(market.order(order_type=2, quantity_mflop=5))
    market.place(account_id=market.bob, side=2, quantity_mflop=10)
    events = market.events(c.SetInstrumentState(market.paper, State.OPEN))
    assert sum(x.quantity_mflop for x in of_kind(events, OrderFilled)) == 10
    assert [(x.reason, x.leaves_mflop) for x in of_kind(events, OrderClosed)] == [
        (Reason.IMMEDIATE_OR_CANCEL, 25)
    ]
    assert not market.exchange.orders


def test_what_cannot_wait_is_not_taken_in_an_auction(market: Market) -> None:
    market.do(c.SetInstrumentState(market.paper, State.AUCTION))
    assert market.refused(market.order(time_in_force=4)) == Reason.NOT_IN_AUCTION
    capped = market.order(time_in_force=3, max_cost_nanos=1)
    assert market.refused(capped) == Reason.NOT_IN_AUCTION
    immediate = market.conditional(time_in_force=3, min_quantity_mflop=1)
    assert market.refused(immediate) == Reason.NOT_IN_AUCTION


def test_orders_may_be_changed_and_cancelled_in_an_auction(market: Market) -> None:
    market.do(c.SetInstrumentState(market.paper, State.AUCTION))
    first, second = market.place(), market.place()
    market.place(account_id=market.bob, side=2, price_nanos=90)
    market.do(c.CancelOrder(market.ann, first, bytes(16)))
    market.do(c.ReplaceOrder(market.ann, second, 80, 1_000))
    assert market.exchange.indicative(market.paper) is None
    market.do(c.SetInstrumentState(market.paper, State.OPEN))
    assert market.exchange.counters.trade == 0


def test_one_accounts_orders_do_not_meet_in_an_auction(market: Market) -> None:
    market.do(c.SetInstrumentState(market.paper, State.AUCTION))
    market.place()
    market.place(side=2, price_nanos=90)
    market.place(account_id=market.bob, side=2, price_nanos=95)
    events = market.events(c.SetInstrumentState(market.paper, State.OPEN))
    assert [x.reason for x in of_kind(events, OrderClosed)] == [Reason.SELF_TRADE]
    assert state(market) == State.OPEN


def test_self_trade_prevention_leaves_an_auction_one_price(market: Market) -> None:
    carl = market.account("carl", c.AccountKind.PAPER, FUNDS)
    dora = market.account("dora", c.AccountKind.PAPER, FUNDS)
    market.do(c.SetInstrumentState(market.paper, State.AUCTION))
    market.place(account_id=carl, side=2, price_nanos=100, quantity_mflop=10)
    market.place(account_id=market.ann, price_nanos=110, quantity_mflop=5)
    market.place(account_id=carl, price_nanos=105, quantity_mflop=10, self_trade=2)
    market.place(account_id=market.bob, side=2, price_nanos=104, quantity_mflop=2)
    market.place(account_id=dora, side=2, price_nanos=108, quantity_mflop=5)
    clearing = market.exchange.indicative(market.paper)
    assert clearing is not None
    assert (clearing.price, clearing.volume) == (108, 5), "carl's orders do not meet each other"
    events = market.events(c.SetInstrumentState(market.paper, State.OPEN))
    assert [x.reason for x in of_kind(events, OrderClosed)] == [Reason.SELF_TRADE]
    fills = of_kind(events, OrderFilled)
    assert [(fill.price_nanos, fill.quantity_mflop) for fill in fills] == [(108, 2), (108, 3)]
    assert of_kind(events, AuctionUncrossed) == [AuctionUncrossed(market.paper, 108, 5)]


def test_a_minimum_trades_after_the_auction_and_not_in_it(market: Market) -> None:
    market.do(c.SetInstrumentState(market.paper, State.AUCTION))
    market.do(market.conditional(price_nanos=120, quantity_mflop=7, min_quantity_mflop=2))
    market.place(price_nanos=105, quantity_mflop=6)
    market.place(account_id=market.bob, side=2, price_nanos=100, quantity_mflop=8)
    events = market.events(c.SetInstrumentState(market.paper, State.OPEN))
    kinds = (OrderFilled, AuctionUncrossed)
    assert [type(x) for x in events if isinstance(x, kinds)] == [*kinds, OrderFilled]
    assert of_kind(events, AuctionUncrossed) == [AuctionUncrossed(market.paper, 100, 6)]
    assert [x.quantity_mflop for x in of_kind(events, OrderFilled)] == [6, 2]


def test_stops_that_the_auctions_price_triggers_trade_after_it(market: Market) -> None:
    market.do(market.conditional(order_type=3, stop_price_nanos=105, quantity_mflop=10))
    market.place(account_id=market.bob, side=2, price_nanos=120, quantity_mflop=10)
    market.do(c.SetInstrumentState(market.paper, State.AUCTION))
    trade(market, 110)
    events = market.events(c.SetInstrumentState(market.paper, State.OPEN))
    assert [fill.price_nanos for fill in of_kind(events, OrderFilled)] == [110, 120]
    assert len(of_kind(events, OrderTriggered)) == 1


def test_an_open_book_is_not_opened_again(market: Market) -> None:
    before = market.exchange.books[market.paper].sequence
    events = market.events(c.SetInstrumentState(market.paper, State.OPEN))
    assert events == [InstrumentStateChanged(market.paper, State.OPEN)]
    assert market.exchange.books[market.paper].sequence == before


# Halts


def test_a_halted_auction_uncrosses_before_it_opens(market: Market) -> None:
    market.do(c.SetInstrumentState(market.paper, State.AUCTION, CALL_NS))
    trade(market, 100)
    market.do(c.SetInstrumentState(market.paper, State.HALTED))
    assert market.refused(market.order()) == Reason.INSTRUMENT_HALTED
    assert market.later(2 * CALL_NS), "no timer is left"
    events = market.events(c.SetInstrumentState(market.paper, State.OPEN))
    assert len(of_kind(events, OrderFilled)) == 1


def test_a_halt_is_followed_by_the_reopening_call(market: Market) -> None:
    protect(market)
    market.do(c.SetInstrumentState(market.paper, State.HALTED))
    events = market.events(c.SetInstrumentState(market.paper, State.OPEN))
    assert reasons(events) == [(State.AUCTION, Reason.NONE)]
    events = market.events(c.SetInstrumentState(market.paper, State.OPEN))
    assert reasons(events) == [(State.OPEN, Reason.NONE)], "the operator may end the call early"


def test_a_closed_auction_gives_every_order_back(market: Market) -> None:
    market.do(c.SetInstrumentState(market.paper, State.AUCTION, CALL_NS))
    trade(market, 100)
    market.do(market.conditional(order_type=3, stop_price_nanos=105))
    events = market.events(c.SetInstrumentState(market.paper, State.CLOSED))
    assert len(of_kind(events, OrderClosed)) == 3
    assert market.exchange.ledger.pending(market.ann) == 0
    reopening = c.SetInstrumentState(market.paper, State.AUCTION)
    assert market.refused(reopening) == Reason.INSTRUMENT_HALTED


def test_an_outage_extends_an_auction(market: Market) -> None:
    market.do(c.SetInstrumentState(market.paper, State.AUCTION, CALL_NS))
    market.do(c.Recovered(2, 5 * NS_PER_S))
    market.later(CALL_NS + 5 * NS_PER_S + RECOVERY_GRACE_NS - 1)
    assert state(market) == State.AUCTION
    market.later(1)
    assert state(market) == State.OPEN


@pytest.mark.parametrize(
    ("wanted", "call_ns", "reason"),
    [
        (State.AUCTION, -1, Reason.FIELD_INVALID),
        (State.AUCTION, PHASE_MAX_NS + 1, Reason.FIELD_INVALID),
        (State.OPEN, 1, Reason.FIELD_INVALID),
    ],
)
def test_refused_calls(market: Market, wanted: int, call_ns: int, reason: Reason) -> None:
    assert market.refused(c.SetInstrumentState(market.paper, wanted, call_ns)) == reason


def test_a_batch_instrument_has_no_auction(market: Market) -> None:
    call = c.SetInstrumentState(market.cpu, State.AUCTION)
    assert market.refused(call) == Reason.ORDER_TYPE_UNSUPPORTED
    protections = c.SetProtections(market.cpu, book_orders_max=1)
    assert market.refused(protections) == Reason.ORDER_TYPE_UNSUPPORTED
    assert market.refused(c.SetProtections(99)) == Reason.UNKNOWN_INSTRUMENT


# Protections


def test_an_order_trades_up_to_the_edge_of_the_band_and_calls_an_auction(market: Market) -> None:
    trade(market, 500)
    protect(market, dynamic_band_bps=100)
    for price in (505, 506):
        market.place(account_id=market.bob, side=2, price_nanos=price)
    events = market.events(market.order(price_nanos=510, quantity_mflop=2_000))
    (accepted,) = of_kind(events, OrderAccepted)
    assert accepted.price_nanos == 505, "the most that it may pay now"
    assert [fill.price_nanos for fill in of_kind(events, OrderFilled)] == [505]
    assert reasons(events) == [(State.AUCTION, Reason.BEYOND_BAND)]
    assert market.later(CALL_NS)
    assert state(market) == State.OPEN


def test_an_order_that_the_band_does_not_bind_calls_nothing(market: Market) -> None:
    trade(market, 500)
    protect(market, dynamic_band_bps=100)
    market.place(account_id=market.bob, side=2, price_nanos=505)
    events = market.events(market.order(price_nanos=510, quantity_mflop=2_000))
    assert reasons(events) == []
    assert market.exchange.depth(market.paper, 1)[0] == [(505, 1_000, 1)]
    killed = market.events(market.order(side=2, price_nanos=1, time_in_force=4))
    assert reasons(killed) == []


def test_a_market_order_is_protected_by_the_band(market: Market) -> None:
    trade(market, 500)
    protect(market, dynamic_band_bps=100)
    market.place(account_id=market.bob, side=2, price_nanos=600)
    events = market.events(market.order(order_type=2))
    assert of_kind(events, OrderFilled) == []
    assert reasons(events) == [(State.AUCTION, Reason.BEYOND_BAND)]


def test_a_limit_must_lie_in_the_static_band(market: Market) -> None:
    trade(market, 500)
    protect(market, static_band_bps=1_000)
    assert market.refused(market.order(price_nanos=551)) == Reason.BEYOND_BAND
    assert market.refused(market.order(price_nanos=449)) == Reason.BEYOND_BAND
    order_id = market.place(price_nanos=450)
    replaced = c.ReplaceOrder(market.ann, order_id, 551, 1_000)
    assert market.refused(replaced) == Reason.BEYOND_BAND
    market.do(c.SetInstrumentState(market.paper, State.AUCTION))
    assert isinstance(market.do(market.order(price_nanos=551)), OrderAccepted)


def test_a_replace_does_not_reach_beyond_the_dynamic_band(market: Market) -> None:
    trade(market, 500)
    protect(market, dynamic_band_bps=100)
    order_id = market.place(price_nanos=400)
    beyond = c.ReplaceOrder(market.ann, order_id, 506, 1_000)
    assert market.refused(beyond) == Reason.BEYOND_BAND
    within = market.do(c.ReplaceOrder(market.ann, order_id, 505, 1_000))
    assert isinstance(within, OrderReplaced)


def test_trades_that_move_too_far_stop_trading(market: Market) -> None:
    protect(market, volatility_move_bps=500, volatility_window_ns=16 * NS_PER_S)
    trade(market, 500)
    market.later(NS_PER_S)
    trade(market, 525)
    market.place(account_id=market.bob, side=2, price_nanos=526)
    events = market.events(market.order(price_nanos=526))
    assert [fill.price_nanos for fill in of_kind(events, OrderFilled)] == [526]
    assert reasons(events) == [(State.AUCTION, Reason.VOLATILITY)]
    trade(market, 600)
    market.later(CALL_NS)
    assert state(market) == State.OPEN
    assert market.exchange.instruments[market.paper].last_price_nanos == 600
    trade(market, 601)
    assert state(market) == State.OPEN, "what was before the auction is forgotten"


def test_stops_that_run_beyond_the_band_stop_trading(market: Market) -> None:
    trade(market, 500)
    market.do(market.conditional(order_type=3, stop_price_nanos=505, quantity_mflop=10))
    protect(market, dynamic_band_bps=100)
    market.place(account_id=market.bob, side=2, price_nanos=505, quantity_mflop=10)
    market.place(account_id=market.bob, side=2, price_nanos=700, quantity_mflop=10)
    events = market.events(market.order(price_nanos=505, quantity_mflop=10))
    assert [fill.price_nanos for fill in of_kind(events, OrderFilled)] == [505, 700]
    assert reasons(events) == [(State.AUCTION, Reason.VOLATILITY)]


def test_an_auction_whose_price_is_too_far_away_is_extended(market: Market) -> None:
    trade(market, 500)
    protect(
        market,
        reopening_collar_bps=1_000,
        reopening_extension_ns=5 * NS_PER_S,
        reopening_extensions=2,
    )
    market.do(c.SetInstrumentState(market.paper, State.AUCTION, CALL_NS))
    trade(market, 650)
    for wait_ns in (CALL_NS, 5 * NS_PER_S):
        events = market.later(wait_ns)
        assert of_kind(events, AuctionCalled) == [
            AuctionCalled(market.paper, market.now_ns + 5 * NS_PER_S)
        ]
    assert [x.price_nanos for x in of_kind(market.later(5 * NS_PER_S), OrderFilled)] == [650]


def test_a_book_has_a_most_of_orders(market: Market) -> None:
    protect(market, book_orders_max=2)
    first = market.place()
    market.do(market.conditional(order_type=3, stop_price_nanos=105))
    assert market.refused(market.order()) == Reason.BOOK_FULL
    market.do(c.CancelOrder(market.ann, first, bytes(16)))
    assert isinstance(market.do(market.order()), OrderAccepted)


def test_orders_to_trades_are_limited(market: Market) -> None:
    protect(
        market,
        order_to_trade_window_ns=NS_PER_S,
        order_to_trade_free=2,
        order_to_trade_ratio=3,
    )
    order_id = market.place()
    market.do(c.CancelOrder(market.ann, order_id, bytes(16)))
    assert market.refused(market.order()) == Reason.ORDER_TO_TRADE
    other = market.place(account_id=market.bob)
    replaced = c.ReplaceOrder(market.bob, other, 100, 999)
    market.do(replaced)
    assert market.refused(replaced) == Reason.ORDER_TO_TRADE
    cancelled = market.do(c.CancelOrder(market.bob, other, bytes(16)))
    assert isinstance(cancelled, OrderClosed), "a cancel is never refused"
    market.later(NS_PER_S)
    trade(market, 100)
    for _ in range(4):
        assert isinstance(market.do(market.order(price_nanos=50)), OrderAccepted)
    assert market.refused(market.order()) == Reason.ORDER_TO_TRADE


def test_a_refused_order_counts_as_no_message(market: Market) -> None:
    """Nor does it begin the next window."""
    protect(market, order_to_trade_window_ns=NS_PER_S, order_to_trade_free=1)
    market.place()
    market.later(NS_PER_S)
    dear = market.order(price_nanos=1_000, quantity_mflop=10**15)
    assert market.refused(dear) == Reason.INSUFFICIENT_FUNDS
    assert isinstance(market.do(market.order()), OrderAccepted)


@pytest.mark.parametrize(
    "terms",
    [
        {"static_band_bps": 1, "reopening_call_ns": 0},
        {"volatility_move_bps": 1, "volatility_window_ns": 0},
        {"volatility_move_bps": 1, "volatility_window_ns": -1},
        {"static_band_bps": DISTANCE_MAX_BPS + 1},
        {"dynamic_band_bps": DISTANCE_MAX_BPS + 1},
        {"volatility_move_bps": DISTANCE_MAX_BPS + 1, "volatility_window_ns": 1},
        {"volatility_move_bps": 1, "volatility_window_ns": PHASE_MAX_NS + 1},
        {"reopening_call_ns": -1},
        {"reopening_call_ns": PHASE_MAX_NS + 1},
        {"reopening_extensions": 1},
        {"reopening_extensions": EXTENSIONS_MAX + 1, "reopening_extension_ns": 1},
        {"reopening_extension_ns": PHASE_MAX_NS + 1},
        {"reopening_collar_bps": DISTANCE_MAX_BPS + 1},
        {"order_to_trade_window_ns": -1},
        {"order_to_trade_window_ns": 1},
    ],
)
def test_refused_protections(market: Market, terms: dict[str, int]) -> None:
    command = c.SetProtections(market.paper, **({"reopening_call_ns": 1} | terms))
    assert market.refused(command) == Reason.FIELD_INVALID


def test_protections_may_be_changed_and_switched_off(market: Market) -> None:
    trade(market, 500)
    protect(market, static_band_bps=1)
    assert market.refused(market.order(price_nanos=600)) == Reason.BEYOND_BAND
    market.do(c.SetProtections(market.paper))
    assert market.exchange.instruments[market.paper].guards is None
    assert isinstance(market.do(market.order(price_nanos=600)), OrderAccepted)
