"""Mass cancels, and orders that live as long as the stream that they were placed on."""

from __future__ import annotations

import pytest

from exchange.core import commands as c
from exchange.core.events import (
    EpochBegan,
    OrderClosed,
    OrderFilled,
    OrdersCancelled,
)
from exchange.core.reasons import Reason
from tests.exchange.core.scenario import Market, of_kind


def open_ids(market: Market) -> list[int]:
    return sorted(market.exchange.orders)


@pytest.mark.parametrize(
    ("which", "left"),
    [
        ((0, 0), [5]),
        ((0, 1), [2, 5]),
        ((0, 2), [1, 3, 4, 5]),
        ((2, 0), [3, 5]),
        ((2, 1), [2, 3, 5]),
        ((3, 2), [1, 2, 3, 4, 5]),
    ],
)
def test_which_orders_a_mass_cancel_names(
    market: Market, which: tuple[int, int], left: list[int]
) -> None:
    other = market.paper_book("other")
    assert (market.paper, other) == (2, 3)
    market.place(price_nanos=10)
    market.place(price_nanos=20, side=2)
    market.place(price_nanos=10, instrument_id=other)
    market.do(market.conditional(order_type=3, stop_price_nanos=15))
    market.place(account_id=market.bob, price_nanos=10)
    events = market.events(c.MassCancel(market.ann, *which))
    assert events[0] == OrdersCancelled(market.ann, Reason.CANCELLED_BY_OWNER, 5 - len(left))
    assert {x.reason for x in of_kind(events, OrderClosed)} <= {Reason.CANCELLED_BY_OWNER}
    assert open_ids(market) == left


def test_a_mass_cancel_gives_the_money_back(market: Market) -> None:
    market.bulk(market.order(price_nanos=price) for price in range(1, 101))
    market.do(c.MassCancel(market.ann, 0, 0))
    assert market.exchange.ledger.pending(market.ann) == 0
    assert market.exchange.accounts[market.ann].exposure == {}


def test_a_mass_cancel_works_in_a_halt(market: Market) -> None:
    market.place()
    market.do(c.SetInstrumentState(market.paper, c.TradingState.HALTED))
    market.do(c.SetAccountHalted(market.ann, 1))
    market.do(c.MassCancel(market.ann, 0, 0))
    assert open_ids(market) == []


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        (c.MassCancel(99, 0, 0), Reason.UNKNOWN_ACCOUNT),
        (c.MassCancel(6, 99, 0), Reason.UNKNOWN_INSTRUMENT),
        (c.MassCancel(6, 0, 3), Reason.FIELD_INVALID),
        (c.EndOrderStream(99, 1), Reason.UNKNOWN_ACCOUNT),
        (c.EndOrderStream(6, 0), Reason.FIELD_INVALID),
    ],
)
def test_refused_mass_cancels(market: Market, command: c.Command, reason: Reason) -> None:
    assert market.refused(command) == reason


def test_a_stream_takes_its_orders_along_and_no_others(market: Market) -> None:
    market.do(market.conditional(stream_id=1))
    market.do(market.conditional(stream_id=2))
    market.place()
    market.do(market.conditional(account_id=market.bob, stream_id=1))
    events = market.events(c.EndOrderStream(market.ann, 1))
    assert events[0] == OrdersCancelled(market.ann, Reason.DISCONNECTED, 1)
    assert [(x.order_id, x.reason) for x in of_kind(events, OrderClosed)] == [
        (1, Reason.DISCONNECTED)
    ]
    assert open_ids(market) == [2, 3, 4]
    assert market.do(c.EndOrderStream(market.ann, 9)) == OrdersCancelled(
        market.ann, Reason.DISCONNECTED, 0
    )


def test_a_restart_ends_every_stream(market: Market) -> None:
    market.do(market.conditional(stream_id=1))
    market.do(market.conditional(account_id=market.bob, stream_id=1))
    market.place()
    events = market.events(c.Recovered(2, 0))
    assert isinstance(events[0], EpochBegan)
    assert len(of_kind(events, OrderClosed)) == 2
    assert open_ids(market) == [3]


def test_an_order_of_a_stream_trades_like_any_other(market: Market) -> None:
    market.do(market.conditional(stream_id=1))
    bid = market.order(account_id=market.bob, side=2)
    assert len(of_kind(market.events(bid), OrderFilled)) == 1
    assert market.do(c.EndOrderStream(market.ann, 1)) == OrdersCancelled(
        market.ann, Reason.DISCONNECTED, 0
    )


def test_all_are_gone_before_anything_can_trade(market: Market) -> None:
    """Without her 7 alone the ask would meet ann's 10 and bob's."""
    carl = market.account("carl", c.AccountKind.PAPER)
    whole = {"price_nanos": 60, "all_or_none": 1}
    market.do(market.conditional(quantity_mflop=7, **whole))
    market.do(market.conditional(quantity_mflop=10, **whole))
    market.do(market.conditional(quantity_mflop=10, account_id=market.bob, **whole))
    market.do(market.conditional(quantity_mflop=20, account_id=carl, side=2, **whole))
    assert open_ids(market) == [1, 2, 3, 4]
    events = market.events(c.MassCancel(market.ann, 0, 0))
    assert [type(event) for event in events] == [OrdersCancelled, OrderClosed, OrderClosed]
    assert open_ids(market) == [3, 4]


def test_what_is_left_trades_after_all_ends_and_the_oldest_end_first(market: Market) -> None:
    carl = market.account("carl", c.AccountKind.PAPER)
    other = market.paper_book("other")
    whole = {"price_nanos": 60, "all_or_none": 1}
    market.place(instrument_id=other)
    market.do(market.conditional(quantity_mflop=7, **whole))
    market.place(instrument_id=other, price_nanos=1)
    for _ in range(2):
        market.do(market.conditional(quantity_mflop=10, account_id=market.bob, **whole))
    market.do(market.conditional(quantity_mflop=20, account_id=carl, side=2, **whole))
    events = market.events(c.MassCancel(market.ann, 0, 0))
    assert events[0] == OrdersCancelled(market.ann, Reason.CANCELLED_BY_OWNER, 3)
    assert [event.order_id for event in of_kind(events[1:4], OrderClosed)] == [1, 2, 3]
    fills = of_kind(events[4:], OrderFilled)
    assert [(fill.quantity_mflop, fill.price_nanos) for fill in fills] == [(10, 60), (10, 60)]
    assert open_ids(market) == []


@pytest.mark.parametrize(
    "end",
    [c.MassCancel(6, 0, 0), c.EndOrderStream(6, 1), c.Recovered(2, 0)],
    ids=lambda e: type(e).__name__,
)
def test_the_oldest_end_first_whatever_went_before(market: Market, end: c.Command) -> None:
    """The last order takes the first one's place in its account's list, as it does nowhere else."""
    assert market.ann == 6
    for _ in range(5):
        market.do(market.conditional(stream_id=1))
    market.do(c.CancelOrder(market.ann, 1, bytes(16)))
    assert [order.order_id for order in market.exchange.accounts[market.ann].orders] == [5, 2, 3, 4]
    ended = of_kind(market.events(end), OrderClosed)
    assert [event.order_id for event in ended] == [2, 3, 4, 5]
