"""Multi-leg bids: at most one leg fills, whole; money, positions and ends follow."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from exchange.core import commands as c
from exchange.core.events import (
    OrderAccepted,
    OrderClosed,
    OrderFilled,
    OrdersCancelled,
    Repeated,
)
from exchange.core.limits import NS_PER_S
from exchange.core.reasons import Reason
from matching.types import LEGS_MAX
from tests.exchange.core.scenario import FUNDS, Market, of_kind, replace

BIG = 10**9
"""MFLOP: at a price of p it costs 1,000 p nano-dollars."""


@pytest.fixture
def books(market: Market) -> tuple[int, int, int]:
    return market.paper, market.paper_book("second"), market.paper_book("third")


def bid(market: Market, *legs: tuple[int, int, int], **changes: Any) -> c.PlaceMultiLegOrder:
    fields = msgspec.structs.asdict(market.order(instrument_id=0, price_nanos=0, quantity_mflop=0))
    numbers = tuple(number for leg in legs for number in leg)
    return c.PlaceMultiLegOrder(**(fields | {"legs": numbers} | changes))


def ask(market: Market, book: int, price: int, quantity: int = BIG, **changes: Any) -> c.PlaceOrder:
    fields = {"account_id": market.bob, "side": 2, "instrument_id": book} | changes
    return market.order(price_nanos=price, quantity_mflop=quantity, **fields)


def fills(events: list[Any]) -> list[tuple[int, int, int]]:
    return [
        (fill.instrument_id, fill.price_nanos, fill.quantity_mflop)
        for fill in of_kind(events, OrderFilled)
    ]


def held(market: Market) -> int:
    return market.exchange.ledger.pending(market.ann)


def test_it_holds_its_dearest_leg(market: Market, books: tuple[int, int, int]) -> None:
    first, second, third = books
    market.do(bid(market, (first, 100, BIG), (second, 10, 5 * BIG), (third, 120, BIG)))
    assert held(market) == 120 * 1_000
    account = market.exchange.accounts[market.ann]
    assert account.exposure == {(first, 1): BIG, (second, 1): 5 * BIG, (third, 1): BIG}
    (order,) = market.exchange.open_orders_of(market.ann)
    assert (order.instrument_id, order.leaves_mflop, len(order.legs)) == (0, 0, 3)


def test_an_incoming_one_takes_the_leg_with_the_largest_gain(
    market: Market, books: tuple[int, int, int]
) -> None:
    first, second, third = books
    market.do(ask(market, first, 95))
    market.do(ask(market, second, 80))
    market.do(ask(market, third, 10, BIG - 1))
    events = market.events(bid(market, *((book, 100, BIG) for book in books)))
    assert fills(events) == [(second, 80, BIG)], "the third book cannot fill it whole"
    assert held(market) == 0
    assert market.exchange.accounts[market.ann].exposure == {}
    assert market.exchange.accounts[market.ann].positions == {second: BIG}


def test_the_first_leg_to_fill_cancels_the_others(
    market: Market, books: tuple[int, int, int]
) -> None:
    first, second, _ = books
    market.do(bid(market, (first, 100, BIG), (second, 50, BIG)))
    assert market.exchange.depth(first, 5) == ([], []), "legs rest unseen"
    assert fills(market.events(ask(market, first, 100, BIG // 2))) == []
    events = market.events(ask(market, first, 90, BIG // 2))
    assert sum(quantity for _, _, quantity in fills(events)) == BIG
    assert not market.exchange.orders
    assert fills(market.events(ask(market, second, 50))) == [], "the other leg is gone"
    assert held(market) == 0


@pytest.mark.parametrize(
    ("time_in_force", "reason"),
    [(3, Reason.IMMEDIATE_OR_CANCEL), (4, Reason.FILL_OR_KILL)],
)
def test_one_that_may_not_rest_fills_at_once_or_not_at_all(
    market: Market, books: tuple[int, int, int], time_in_force: int, reason: Reason
) -> None:
    legs = [(book, 100, BIG) for book in books]
    closed = market.expect(bid(market, *legs, time_in_force=time_in_force), OrderClosed)
    assert closed.reason == reason
    assert held(market) == 0
    assert market.exchange.accounts[market.ann].exposure == {}
    market.do(ask(market, books[2], 100))
    events = market.events(bid(market, *legs, time_in_force=time_in_force))
    assert fills(events) == [(books[2], 100, BIG)]


def test_it_is_cancelled_by_either_id_and_by_all_mass_cancels(
    market: Market, books: tuple[int, int, int]
) -> None:
    first, second, third = books
    order = bid(market, (first, 100, BIG), (second, 50, BIG))
    market.do(order)
    assert isinstance(market.do(order), Repeated)
    market.do(c.CancelOrder(market.ann, 0, order.client_order_id))
    assert held(market) == 0
    market.do(bid(market, (first, 100, BIG), (second, 50, BIG)))
    assert market.do(c.MassCancel(market.ann, third, 0)) == OrdersCancelled(
        market.ann, Reason.CANCELLED_BY_OWNER, 0
    )
    assert market.do(c.MassCancel(market.ann, second, 1)) == OrdersCancelled(
        market.ann, Reason.CANCELLED_BY_OWNER, 1
    )
    market.do(bid(market, (first, 100, BIG), stream_id=4))
    market.do(c.EndOrderStream(market.ann, 4))
    assert len(market.exchange.books[first]) == 0
    assert held(market) == 0


def test_it_expires(market: Market, books: tuple[int, int, int]) -> None:
    until = market.now_ns + NS_PER_S
    legs = [(book, 100, BIG) for book in books]
    market.do(bid(market, *legs, time_in_force=2, expire_time_ns=until))
    (closed,) = of_kind(market.at(until), OrderClosed)
    assert closed.reason == Reason.ORDER_EXPIRED
    assert [len(market.exchange.books[book]) for book in books] == [0, 0, 0]


def test_a_leg_that_meets_its_own_account_ends_the_whole(
    market: Market, books: tuple[int, int, int]
) -> None:
    first, second, _ = books
    market.do(bid(market, (first, 100, BIG), (second, 50, BIG)))
    oldest = ask(market, first, 90, account_id=market.ann, self_trade=2)
    events = market.events(oldest)
    assert [x.reason for x in of_kind(events, OrderClosed)] == [Reason.SELF_TRADE]
    assert len(market.exchange.books[second]) == 0


def test_a_closed_instrument_ends_the_whole(market: Market, books: tuple[int, int, int]) -> None:
    first, second, _ = books
    market.do(bid(market, (first, 100, BIG), (second, 50, BIG)))
    events = market.events(c.SetInstrumentState(second, c.TradingState.CLOSED))
    assert [x.reason for x in of_kind(events, OrderClosed)] == [Reason.CANCELLED_BY_OPERATOR]
    assert len(market.exchange.books[first]) == 0


def test_a_leg_may_fill_when_an_auction_is_over(
    market: Market, books: tuple[int, int, int]
) -> None:
    first, second, _ = books
    market.do(c.SetInstrumentState(first, c.TradingState.AUCTION))
    market.do(bid(market, (first, 100, BIG), (second, 50, BIG)))
    market.do(market.order(account_id=market.bob, side=1, price_nanos=90, quantity_mflop=BIG))
    carl = market.account("carl", c.AccountKind.PAPER, FUNDS)
    market.do(ask(market, first, 90, 2 * BIG, account_id=carl))
    events = market.events(c.SetInstrumentState(first, c.TradingState.OPEN))
    assert sum(quantity for _, _, quantity in fills(events)) == 2 * BIG
    assert len(market.exchange.books[second]) == 0


def test_two_that_fill_by_one_command_leave_each_book_once(
    market: Market, books: tuple[int, int, int]
) -> None:
    first, second, _ = books
    for _ in range(2):
        market.do(bid(market, (first, 100, BIG), (second, 50, BIG)))
    events = market.events(ask(market, first, 90, 2 * BIG))
    assert [quantity for _, _, quantity in fills(events)] == [BIG, BIG]
    assert len(market.exchange.books[second]) == 0
    assert fills(market.events(ask(market, second, 40))) == []


def test_a_repeat_over_another_stream(market: Market, books: tuple[int, int, int]) -> None:
    order = bid(market, (books[0], 100, BIG), stream_id=1)
    market.do(order)
    assert isinstance(market.do(replace(order, stream_id=2)), Repeated)


@pytest.mark.parametrize(
    ("legs", "changes", "reason"),
    [
        ((), {}, Reason.LEGS_INVALID),
        (((2, 100, BIG), (2, 90, BIG)), {}, Reason.LEGS_INVALID),
        (((1, 100, 1_000),), {}, Reason.LEGS_INVALID),  # a batch instrument
        (tuple((i, 1, 1) for i in range(LEGS_MAX + 1)), {}, Reason.LEGS_INVALID),
        (((2, 100, BIG), (99, 90, BIG)), {}, Reason.UNKNOWN_INSTRUMENT),
        (((2, 0, BIG),), {}, Reason.PRICE_OUT_OF_BAND),
        (((2, 100, 0),), {}, Reason.QUANTITY_NOT_POSITIVE),
        (((2, 1_000, 10**15), (3, 1, 1)), {"account_id": 7}, Reason.INSUFFICIENT_FUNDS),
        (((2, 100, BIG),), {"side": 2}, Reason.CONDITIONS_CONFLICT),
        (((2, 100, BIG),), {"side": 0}, Reason.FIELD_INVALID),
        (((2, 100, BIG),), {"order_type": 2}, Reason.CONDITIONS_CONFLICT),
        (((2, 100, BIG),), {"self_trade": 4}, Reason.CONDITIONS_CONFLICT),
        (((2, 100, BIG),), {"price_nanos": 1}, Reason.FIELD_INVALID),
        (((2, 100, BIG),), {"quantity_mflop": 1}, Reason.FIELD_INVALID),
        (((2, 100, BIG),), {"time_in_force": 2}, Reason.DEADLINE_PASSED),
        (((2, 100, BIG),), {"max_cost_nanos": 99_999}, Reason.MONEY_CAP),
        (((2, 100, BIG),), {"max_cost_nanos": -1}, Reason.AMOUNT_NOT_POSITIVE),
        (((2, 100, BIG),), {"account_id": 3}, Reason.ORDER_TYPE_UNSUPPORTED),
        (((2, 100, BIG),), {"instrument_id": 2}, Reason.FIELD_INVALID),
    ],
)
def test_refused_legs(
    market: Market,
    books: tuple[int, int, int],
    legs: tuple[tuple[int, int, int], ...],
    changes: dict[str, int],
    reason: Reason,
) -> None:
    market.do(c.Withdraw(market.bob, market.new_id(), FUNDS // 2))
    assert market.refused(bid(market, *legs, **changes)) == reason


def test_an_odd_number_of_numbers_is_no_legs(market: Market) -> None:
    assert market.refused(bid(market, legs=(2, 100))) == Reason.LEGS_INVALID


def test_all_the_legs_that_there_may_be(market: Market) -> None:
    books = [market.paper, *(market.paper_book(f"book{i}") for i in range(LEGS_MAX - 1))]
    order = bid(market, *((book, 100, BIG) for book in books))
    assert isinstance(market.do(order), OrderAccepted)
    assert fills(market.events(ask(market, books[-1], 100))) == [(books[-1], 100, BIG)]
    assert all(len(market.exchange.books[book]) == 0 for book in books)


def test_what_legs_meet_in_halts_and_protections(
    market: Market, books: tuple[int, int, int]
) -> None:
    first, second, _ = books
    order = bid(market, (first, 100, BIG), (second, 50, BIG))
    for terms, reason in (
        ({"book_orders_max": 1}, Reason.BOOK_FULL),
        ({"static_band_bps": 10, "reopening_call_ns": 1}, Reason.BEYOND_BAND),
        ({"order_to_trade_window_ns": NS_PER_S, "order_to_trade_free": 1}, Reason.ORDER_TO_TRADE),
    ):
        market.do(c.SetProtections(second))
        market.do(ask(market, second, 70, 10))
        market.do(market.order(instrument_id=second, price_nanos=70, quantity_mflop=10))
        market.do(c.SetProtections(second, **terms))
        kept = market.order(instrument_id=second, price_nanos=70, quantity_mflop=10)
        market.do(kept)
        assert market.refused(order) == reason
        market.do(c.CancelOrder(market.ann, 0, kept.client_order_id))
    market.do(c.SetProtections(second))
    market.do(c.SetInstrumentState(second, c.TradingState.HALTED))
    assert market.refused(order) == Reason.INSTRUMENT_HALTED


def test_it_is_not_replaced(market: Market, books: tuple[int, int, int]) -> None:
    market.do(bid(market, (books[0], 100, BIG)))
    replaced = c.ReplaceOrder(market.ann, 1, 90, BIG)
    assert market.refused(replaced) == Reason.ORDER_TYPE_UNSUPPORTED
