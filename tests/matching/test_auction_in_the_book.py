"""From orders to trades: the auction's price, and the book that trades at it."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

import pytest

from matching import Book, BookState, Fill, Side, Terms, TimeInForce
from matching.auction import Clearing, clear
from matching.reference_book import NaiveBook
from tests.matching.commands import AnyBook
from tests.matching.market import ASK, BID, GTC, IOC, Market, make, table
from tests.matching.sizes import AUCTION_BOOKS

TICK = 5


@dataclass
class Auction:
    """A market in auction, and what its uncross did."""

    market: Market
    filled: dict[int, int] = field(default_factory=dict)

    def uncross(self, reference: int) -> Clearing | None:
        """Uncross at the price that the rules find, and open."""
        book = self.market.book
        found = clear(book.interest(BID), book.interest(ASK), reference, TICK)
        for event in self.market.uncross(found.price if found else reference):
            if isinstance(event, Fill):
                assert found is not None
                assert event.price == found.price
                for order_id in (event.maker_order_id, event.taker_order_id):
                    self.filled[order_id] = self.filled.get(order_id, 0) + event.quantity
        self.market.state(BookState.OPEN)
        assert book.state_now == BookState.OPEN
        return found


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


@pytest.mark.parametrize("seed", range(AUCTION_BOOKS))
def test_random_books(seed: int) -> None:
    rng = random.Random(seed)
    auction = Auction(Market(Book(TICK, 1)))
    market = auction.market
    market.state(BookState.AUCTION)
    for order_id in range(1, rng.randint(2, 60)):
        side = rng.choice(tuple(Side))
        tif = rng.choice((GTC, GTC, IOC))
        price = TICK * rng.randint(10, rng.choice((12, 40)))
        market.place(make(order_id, side, rng.randint(1, 50), price, tif=tif))
        if rng.random() < 0.2:
            market.cancel(rng.randint(1, order_id))
    placed = market.book.orders()
    found = auction.uncross(TICK * rng.randint(10, 40))
    traded = {order.order_id: auction.filled.get(order.order_id, 0) for order in placed}
    for side in Side:
        mine = [order for order in placed if order.side == side]
        assert sum(traded[order.order_id] for order in mine) == (found.volume if found else 0)
        # In priority: filled in full, then at most one in part, then nothing.
        full = [traded[order.order_id] == order.quantity for order in mine]
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
        )
    market.empty()
