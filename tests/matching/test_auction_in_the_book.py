"""From orders to trades: the auction's price, and the book that trades at it."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

import pytest

from matching import (
    Book,
    BookState,
    Cancelled,
    CancelReason,
    Conditions,
    Decremented,
    Fill,
    Order,
    Rejected,
    RejectReason,
    SelfTradePrevention,
    Side,
    Terms,
    TimeInForce,
)
from matching.auction import Clearing, clear
from matching.reference_book import NaiveBook
from tests.matching.commands import AnyBook
from tests.matching.market import ASK, BID, GTC, IOC, Market, make, table
from tests.matching.sizes import AUCTION_BOOKS

TICK = 5


@dataclass
class Auction:
    """A market in auction, and what its uncross did.

    `separated` counts the uncrosses that only separated accounts; `placed` are the orders that
    stood in the book at the one that traded, as they were before it.
    """

    market: Market
    filled: dict[int, int] = field(default_factory=dict)
    separated: int = 0
    placed: list[Order] = field(default_factory=list)

    def uncross(self, reference: int) -> Clearing | None:
        """Uncross at the price that the rules find, and open."""
        book = self.market.book
        foreseen = book.foresee(reference) if isinstance(book, Book) else None
        found = self._price(reference)
        while not self._uncross_at(found.price if found else reference) and found:
            self.separated += 1
            found = self._price(reference)
        assert self._price(reference) is None, "an auction has one price"
        if isinstance(book, Book):
            assert foreseen == found
        self.market.state(BookState.OPEN)
        assert self.market.book.state_now == BookState.OPEN
        return found

    def _price(self, reference: int) -> Clearing | None:
        book = self.market.book
        return clear(book.interest(BID), book.interest(ASK), reference, TICK)

    def _uncross_at(self, price: int) -> bool:
        """Whether it traded."""
        self.placed = [order.copy() for order in self.market.book.orders()]
        events = self.market.uncross(price)
        fills = [event for event in events if isinstance(event, Fill)]
        for fill in fills:
            assert fill.price == price
            for order_id in (fill.maker_order_id, fill.taker_order_id):
                self.filled[order_id] = self.filled.get(order_id, 0) + fill.quantity
        return bool(fills)


@pytest.fixture(params=[Book, NaiveBook])
def auction(request: pytest.FixtureRequest) -> Auction:
    book: AnyBook = request.param(TICK, 1)
    market = Market(book)
    market.state(BookState.AUCTION)
    return Auction(market)


def test_an_opening(auction: Auction) -> None:
    market = auction.market
    market.bid(1, 30, 105)
    market.ask(2, 25, 95)
    market.bid(3, 8, 100)
    market.bid(4, 9, 100)
    market.ask(5, 20, 100)
    market.ask(6, 10, 110)
    market.bid(7, 6, 100, tif=IOC)
    # 45 trade at 100 and none may be left over in front of them: 30, then 8, then 7 of 9.
    assert auction.uncross(reference=200) == Clearing(100, volume=45, surplus=8, low=100, high=100)
    assert auction.filled == {1: 30, 2: 25, 3: 8, 4: 7, 5: 20}
    assert market.ladder() == table(
        """
        | 110 | 6:10
        4:2 | 100 |
        """
    )
    market.empty()


def test_where_nothing_crosses_the_book_opens_as_it_is(auction: Auction) -> None:
    auction.market.bid(1, 30, 95)
    auction.market.ask(2, 30, 100)
    assert auction.uncross(reference=100) is None
    assert auction.filled == {}
    auction.market.empty()


def test_reserves_and_hidden_orders_count(auction: Auction) -> None:
    market = auction.market
    market.bid(1, 30, 105, display=10)
    market.ask(2, 25, 95, terms=Terms.HIDDEN)
    assert auction.uncross(reference=100) == Clearing(105, volume=25, surplus=5, low=105, high=105)
    assert auction.filled == {1: 25, 2: 25}
    market.empty()


def test_one_price_where_an_account_meets_itself(auction: Auction) -> None:
    market = auction.market
    market.ask(1, 10, 100, account=9)
    market.bid(2, 10, 105, account=9, stp=SelfTradePrevention.CANCEL_OLDEST)
    market.bid(3, 5, 110)
    market.ask(4, 2, 100)
    market.ask(5, 5, 105)
    market.bid(6, 1, 100, tif=IOC)
    # 15 would trade at 105. Without order 1 it is 7, at the same price.
    assert auction.uncross(reference=100) == Clearing(105, volume=7, surplus=8, low=105, high=105)
    assert auction.separated == 1
    assert auction.filled == {3: 5, 4: 2, 5: 5, 2: 2}
    assert market.ladder() == table("2:8 | 105 |")
    market.empty()


def test_the_price_moves_with_what_self_trade_prevention_takes(auction: Auction) -> None:
    market = auction.market
    market.ask(1, 10, 90, account=9)
    market.bid(2, 10, 95, account=9, stp=SelfTradePrevention.CANCEL_OLDEST)
    market.bid(3, 5, 110)
    market.ask(4, 2, 95)
    market.ask(5, 5, 105)
    # 12 would trade at 95. Without order 1 only 2 would, but 5 at 105.
    assert auction.uncross(reference=95) == Clearing(105, volume=5, surplus=-2, low=105, high=105)
    assert auction.separated == 1
    assert auction.filled == {3: 5, 4: 2, 5: 3}
    market.empty()


def test_a_separation_ends_no_immediate_order_and_is_all_that_happens(auction: Auction) -> None:
    market = auction.market
    market.ask(1, 3, 100, account=9)
    market.bid(2, 10, 105, account=9, stp=SelfTradePrevention.DECREMENT)
    market.bid(3, 5, 110, tif=IOC)
    market.ask(4, 4, 105)
    assert market.uncross(105) == [Decremented(1, 9, 3, 0), Decremented(2, 9, 3, 7)]
    (fill, end) = market.uncross(105)
    assert isinstance(fill, Fill)
    assert (fill.maker_order_id, fill.taker_order_id, fill.quantity) == (4, 3, 4)
    assert end == Cancelled(3, 3, 1, CancelReason.IOC_REST)
    market.empty()


def test_a_minimum_waits_for_the_opening(auction: Auction) -> None:
    market = auction.market
    market.bid(1, 7, 120, minimum=2)
    market.ask(2, 20, 80, terms=Terms.ALL_OR_NONE)
    market.bid(3, 6, 105)
    market.ask(4, 8, 100)
    refused = [Rejected(5, RejectReason.NOT_IN_AUCTION)]
    assert market.bid(5, 7, 120, minimum=2, tif=IOC) == refused
    assert market.ask(5, 7, 120, terms=Terms.ALL_OR_NONE, tif=IOC) == refused
    # 1 stands before 3 and 2 before 4, but neither counts in the price nor takes a share.
    assert auction.uncross(reference=100) == Clearing(100, volume=6, surplus=-2, low=100, high=100)
    assert auction.filled == {3: 6, 4: 6}
    assert market.filled[1] == market.filled[4] - 6 == 2, "2 of the 2 left over, after the opening"
    market.empty()


def test_a_minimum_and_an_order_of_its_account_may_stand_on_both_sides(auction: Auction) -> None:
    market = auction.market
    market.bid(1, 5, 105, account=9, minimum=3)
    market.ask(2, 5, 100, account=9)
    market.bid(3, 5, 100)
    assert auction.uncross(reference=100) is not None
    assert auction.separated == 0
    assert auction.filled == {2: 5, 3: 5}
    market.empty()


@pytest.mark.parametrize("seed", range(AUCTION_BOOKS))
def test_random_books(seed: int) -> None:
    rng = random.Random(seed)
    auction = Auction(Market(Book(TICK, 1)))
    market = auction.market
    market.state(BookState.AUCTION)
    accounts = rng.choice((None, 3, 20))
    for order_id in range(1, rng.randint(2, 60)):
        order = make(
            order_id,
            rng.choice(tuple(Side)),
            rng.randint(1, 50),
            TICK * rng.randint(10, rng.choice((12, 40))),
            account=accounts and rng.randint(1, accounts),
            tif=rng.choice((GTC, GTC, IOC)),
            stp=rng.choice(tuple(SelfTradePrevention)),
        )
        if order.time_in_force == GTC and rng.random() < 0.1:
            order.conditions = Conditions(Terms.MINIMUM, rng.randint(1, 50), 0, 0, 0)
        market.place(order)
        if rng.random() < 0.2:
            market.cancel(rng.randint(1, order_id))
    found = auction.uncross(TICK * rng.randint(10, 40))
    plain = [order for order in auction.placed if not order.terms & Terms.MINIMUM]
    assert auction.filled.keys() <= {order.order_id for order in plain}
    traded = {order.order_id: auction.filled.get(order.order_id, 0) for order in plain}
    for side in Side:
        mine = [order for order in plain if order.side == side]
        assert sum(traded[order.order_id] for order in mine) == (found.volume if found else 0)
        # In priority: filled in full, then at most one in part, then nothing.
        full = [traded[order.order_id] == order.leaves for order in mine]
        assert full == sorted(full, reverse=True)
        some = [traded[order.order_id] > 0 for order in mine]
        assert some == sorted(some, reverse=True)
        assert sum(some) - sum(full) in {0, 1}
    left = market.book.orders()
    assert all(order.time_in_force == TimeInForce.GTC for order in left)
    if found is not None:
        # Whoever would have paid more, or asked less, than the price has traded.
        assert all(
            order.price <= found.price if order.side == BID else order.price >= found.price
            for order in left
            if not order.terms & Terms.MINIMUM
        )
    market.empty()
