"""The rules of the continuous book, each shown on a ladder, on the real book and on its twin."""

from __future__ import annotations

import pytest

from matching import (
    PRICE_MAX,
    QUANTITY_MAX,
    Book,
    BookState,
    Cancelled,
    CancelReason,
    Decremented,
    Fill,
    Rejected,
    RejectReason,
    Rested,
    SelfTradePrevention,
    Terms,
)
from matching.reference import NaiveBook
from tests.matching.market import ASK, BID, FOK, GTD, IOC, Market, make, table

NEWEST, OLDEST, BOTH, DECREMENT = SelfTradePrevention
SELF_TRADE = CancelReason.SELF_TRADE


def build(market: Market) -> None:
    """Three levels a side, two orders at each touch."""
    market.ask(1, 5, 101)
    market.ask(2, 7, 101)
    market.ask(3, 9, 103)
    market.bid(4, 4, 99)
    market.bid(5, 6, 99)
    market.bid(6, 8, 97)
    assert market.ladder() == table(
        """
                | 103 | 3:9
                | 101 | 1:5 2:7
        4:4 5:6 |  99 |
            6:8 |  97 |
        """
    )


def test_orders_that_do_not_cross_rest(market: Market) -> None:
    assert market.bid(1, 5, 99) == [Rested(1, 99, 5)]
    assert market.ask(2, 7, 100, tif=GTD) == [Rested(2, 100, 7)]
    assert (market.book.best(BID), market.book.best(ASK)) == (99, 100)
    assert len(market.book) == 2


def test_an_empty_book_has_no_best(market: Market) -> None:
    assert market.book.best(BID) is None
    assert market.book.best(ASK) is None
    assert market.book.depth(ASK, 5) == []
    assert market.book.orders() == []


def test_a_trade_is_at_the_makers_price_oldest_first(market: Market) -> None:
    build(market)
    events = market.bid(7, 14, 110)
    assert events == [
        Fill(1, 1, 7, 7, 101, 5, 0, 9),
        Fill(2, 2, 7, 7, 101, 7, 0, 2),
        Fill(3, 3, 7, 7, 103, 2, 7, 0),
    ]
    assert market.ladder() == table(
        """
                | 103 | 3:7
        4:4 5:6 |  99 |
            6:8 |  97 |
        """
    )


def test_a_sell_trades_from_the_highest_bid_down_to_its_limit(market: Market) -> None:
    build(market)
    events = market.ask(7, 20, 98)
    assert events == [
        Fill(4, 4, 7, 7, 99, 4, 0, 16),
        Fill(5, 5, 7, 7, 99, 6, 0, 10),
        Rested(7, 98, 10),
    ]
    assert market.ladder() == table(
        """
            | 103 | 3:9
            | 101 | 1:5 2:7
            |  98 | 7:10
        6:8 |  97 |
        """
    )


def test_a_maker_that_fills_in_part_keeps_its_place(market: Market) -> None:
    build(market)
    market.bid(7, 3, 101)
    assert market.ladder().splitlines()[1] == "| 101 | 1:2 2:7"
    assert market.book.depth(ASK, 1) == [(101, 9, 2)]


def test_the_rest_of_an_ioc_is_cancelled(market: Market) -> None:
    build(market)
    events = market.bid(7, 15, 101, tif=IOC)
    assert events[-1] == Cancelled(7, 7, 3, CancelReason.IOC_REST)
    assert market.book.order(7) is None
    assert market.ask(8, 3, 101, tif=IOC) == [Cancelled(8, 8, 3, CancelReason.IOC_REST)]


@pytest.mark.parametrize(("quantity", "filled"), [(12, True), (13, False)])
def test_a_fok_trades_in_full_or_touches_nothing(
    market: Market, quantity: int, filled: bool
) -> None:
    build(market)
    before = market.book.state()
    events = market.bid(7, quantity, 102, tif=FOK)
    if filled:
        assert [type(e) for e in events] == [Fill, Fill]
    else:
        assert events == [Cancelled(7, 7, quantity, CancelReason.FOK_UNFILLABLE)]
        assert market.book.state() == before


def test_a_fok_that_crosses_nothing_is_cancelled(market: Market) -> None:
    assert market.ask(1, 1, 5, tif=FOK) == [Cancelled(1, 1, 1, CancelReason.FOK_UNFILLABLE)]


def test_depth_counts_what_is_left_after_fills_and_cancels(market: Market) -> None:
    build(market)
    market.bid(7, 6, 101)
    market.cancel(4)
    assert market.book.depth(ASK, 2) == [(101, 6, 1), (103, 9, 1)]
    assert market.book.depth(BID, 1) == [(99, 6, 1)]
    market.cancel(5)
    assert market.book.best(BID) == 97
    assert market.book.depth(BID, 9) == [(97, 8, 1)]
    assert market.book.depth(BID, 0) == []


def test_cancel_takes_an_order_from_anywhere_in_its_queue(market: Market) -> None:
    for order_id in (1, 2, 3, 4):
        market.bid(order_id, order_id, 50)
    assert market.cancel(2) is not None
    assert market.ladder() == "1:1 3:3 4:4 | 50 |"
    market.cancel(4)
    market.cancel(1)
    assert market.ladder() == "3:3 | 50 |"


def test_dead_and_unknown_ids_are_answered_with_a_rejection(market: Market) -> None:
    market.bid(1, 5, 50)
    assert market.cancel(1) == [Cancelled(1, 1, 5, CancelReason.REQUESTED)]
    for order_id in (1, 77):
        refused = [Rejected(order_id, RejectReason.UNKNOWN_ORDER)]
        assert market.cancel(order_id) == refused
        assert market.replace(order_id, 50, 5) == refused


def test_a_filled_orders_id_is_free_again(market: Market) -> None:
    market.ask(1, 1, 5)
    market.bid(2, 1, 5)
    assert market.ask(1, 2, 6) == [Rested(1, 6, 2)]


class TestReplace:
    def test_less_at_the_same_price_keeps_the_place(self, market: Market) -> None:
        build(market)
        assert market.replace(4, 99, 2) == [Rested(4, 99, 2)]
        assert market.ladder().splitlines()[2] == "4:2 5:6 | 99 |"
        assert market.book.depth(BID, 1) == [(99, 8, 2)]

    def test_the_same_terms_change_nothing(self, market: Market) -> None:
        build(market)
        before = market.book.state()
        assert market.replace(4, 99, 4) == [Rested(4, 99, 4)]
        assert market.book.state() == before

    def test_more_loses_the_place(self, market: Market) -> None:
        build(market)
        assert market.replace(4, 99, 5) == [Rested(4, 99, 5)]
        assert market.ladder().splitlines()[2] == "5:6 4:5 | 99 |"

    def test_another_price_loses_the_place(self, market: Market) -> None:
        build(market)
        assert market.replace(6, 99, 3) == [Rested(6, 99, 3)]
        assert market.ladder().splitlines()[2] == "4:4 5:6 6:3 | 99 |"

    def test_a_crossing_price_trades_as_the_taker(self, market: Market) -> None:
        build(market)
        assert market.replace(4, 101, 8) == [
            Fill(1, 1, 4, 4, 101, 5, 0, 3),
            Fill(2, 2, 4, 4, 101, 3, 4, 0),
        ]

    def test_quantity_is_the_total_so_it_cannot_overfill(self, market: Market) -> None:
        market.bid(1, 10, 50)
        market.ask(2, 6, 50)
        assert market.replace(1, 50, 8) == [Rested(1, 50, 2)]
        assert market.replace(1, 51, 12) == [Rested(1, 51, 6)]

    @pytest.mark.parametrize("total", [6, 3])
    def test_a_total_already_filled_cancels(self, market: Market, total: int) -> None:
        market.bid(1, 10, 50)
        market.ask(2, 6, 50)
        assert market.replace(1, 50, total) == [
            Cancelled(1, 1, 4, CancelReason.REPLACED_BELOW_FILLED)
        ]
        assert len(market.book) == 0


class TestSelfTrade:
    """Account 9 owns the middle ask of three and sends a bid that reaches all."""

    def crossing_bid(self, market: Market, stp: SelfTradePrevention, **terms: int) -> list[object]:
        market.ask(1, 5, 100)
        market.ask(2, 4, 100, account=9)
        market.ask(3, 5, 101)
        return [*market.bid(7, 12, 101, account=9, stp=stp, **terms)]

    def test_cancel_newest(self, market: Market) -> None:
        events = self.crossing_bid(market, NEWEST)
        assert events == [Fill(1, 1, 7, 9, 100, 5, 0, 7), Cancelled(7, 9, 7, SELF_TRADE)]
        assert market.ladder() == "| 101 | 3:5\n| 100 | 2:4"

    def test_cancel_oldest(self, market: Market) -> None:
        events = self.crossing_bid(market, OLDEST)
        assert events == [
            Fill(1, 1, 7, 9, 100, 5, 0, 7),
            Cancelled(2, 9, 4, SELF_TRADE),
            Fill(3, 3, 7, 9, 101, 5, 0, 2),
            Rested(7, 101, 2),
        ]
        assert market.ladder() == "7:2 | 101 |"

    def test_cancel_both(self, market: Market) -> None:
        events = self.crossing_bid(market, BOTH)
        assert events[1:] == [Cancelled(2, 9, 4, SELF_TRADE), Cancelled(7, 9, 7, SELF_TRADE)]
        assert market.ladder() == "| 101 | 3:5"

    def test_decrement_takes_the_smaller_off_both_without_a_trade(self, market: Market) -> None:
        events = self.crossing_bid(market, DECREMENT)
        assert events == [
            Fill(1, 1, 7, 9, 100, 5, 0, 7),
            Decremented(2, 9, 4, 0),
            Decremented(7, 9, 4, 3),
            Fill(3, 3, 7, 9, 101, 3, 2, 0),
        ]
        assert market.ladder() == "| 101 | 3:2"

    def test_decrement_may_end_the_taker_and_leave_the_maker(self, market: Market) -> None:
        market.ask(1, 9, 100, account=9)
        events = market.bid(2, 4, 100, account=9, stp=DECREMENT)
        assert events == [Decremented(1, 9, 4, 5), Decremented(2, 9, 4, 0)]
        assert market.book.depth(ASK, 1) == [(100, 5, 1)]
        # The total fell with it: what has traded is still quantity - leaves, here nothing.
        assert market.replace(1, 100, 4) == [Rested(1, 100, 4)]

    def test_decrement_of_equal_sizes_ends_both(self, market: Market) -> None:
        market.ask(1, 4, 100, account=9)
        market.bid(2, 4, 100, account=9, stp=DECREMENT)
        assert len(market.book) == 0

    @pytest.mark.parametrize("stp", [NEWEST, BOTH, DECREMENT])
    def test_a_fok_stops_at_an_own_order(self, market: Market, stp: SelfTradePrevention) -> None:
        events = self.crossing_bid(market, stp, tif=FOK)
        assert events == [Cancelled(7, 9, 12, CancelReason.FOK_UNFILLABLE)]
        assert len(market.book) == 3

    def test_a_fok_that_is_full_before_its_own_order_trades(self, market: Market) -> None:
        market.ask(1, 5, 100)
        market.ask(2, 4, 100, account=9)
        assert market.bid(7, 5, 100, account=9, tif=FOK) == [Fill(1, 1, 7, 9, 100, 5, 0, 0)]

    @pytest.mark.parametrize(("quantity", "fills"), [(10, 2), (11, 0)])
    def test_a_fok_that_cancels_the_oldest_counts_others_only(
        self, market: Market, quantity: int, fills: int
    ) -> None:
        market.ask(1, 5, 100)
        market.ask(2, 4, 100, account=9)
        market.ask(3, 5, 101)
        events = market.bid(7, quantity, 101, account=9, stp=OLDEST, tif=FOK)
        assert sum(isinstance(e, Fill) for e in events) == fills
        assert (market.book.order(2) is None) == (fills > 0)

    def test_an_account_may_rest_on_both_sides(self, market: Market) -> None:
        market.bid(1, 5, 99, account=9)
        assert market.ask(2, 5, 100, account=9) == [Rested(2, 100, 5)]


@pytest.mark.parametrize(
    ("quantity", "price", "reason"),
    [
        (0, 5, RejectReason.QUANTITY_OUTSIDE_LIMITS),
        (-1, 5, RejectReason.QUANTITY_OUTSIDE_LIMITS),
        (QUANTITY_MAX + 1, 5, RejectReason.QUANTITY_OUTSIDE_LIMITS),
        (5, 0, RejectReason.PRICE_OUTSIDE_LIMITS),
        (5, PRICE_MAX + 1, RejectReason.PRICE_OUTSIDE_LIMITS),
    ],
)
def test_terms_outside_their_limits_change_nothing(
    market: Market, quantity: int, price: int, reason: RejectReason
) -> None:
    market.bid(1, 5, 5)
    before = market.book.state()
    assert market.bid(2, quantity, price) == [Rejected(2, reason)]
    assert market.replace(1, price, quantity) == [Rejected(1, reason)]
    assert market.book.state() == before


def test_the_largest_order_trades_exactly(market: Market) -> None:
    market.ask(1, QUANTITY_MAX, PRICE_MAX)
    assert market.bid(2, QUANTITY_MAX, PRICE_MAX) == [
        Fill(1, 1, 2, 2, PRICE_MAX, QUANTITY_MAX, 0, 0)
    ]


def test_a_repeated_id_is_refused(market: Market) -> None:
    market.bid(1, 5, 5)
    market.bid(2, 5, 9, stop_price=9)
    assert market.ask(1, 5, 50) == [Rejected(1, RejectReason.DUPLICATE_ORDER)]
    assert market.ask(2, 5, 50) == [Rejected(2, RejectReason.DUPLICATE_ORDER)]


def test_leaves_above_the_quantity_are_refused(market: Market) -> None:
    order = make(1, BID, 5, 5)
    order.leaves = 6
    assert market.place(order) == [Rejected(1, RejectReason.QUANTITY_OUTSIDE_LIMITS)]


def test_the_state_is_plain_integers(market: Market) -> None:
    market.ask(3, 9, 103, account=7, tif=GTD)
    market.bid(1, 5, 103)
    market.bid(4, 2, 110, stop_price=108)
    assert market.book.state() == (
        (),
        ((103, ((3, 7, 9, 4, int(GTD), int(NEWEST)),)),),
        ((1, 110, 4, 4, 2, 2, 1, int(NEWEST), int(Terms.STOP), 0, 0, 108, 0, 0),),
        int(BookState.OPEN),
        103,
    )


def test_both_kinds_of_book_have_the_same_digest() -> None:
    digests = set()
    for book in (Book(), NaiveBook()):
        market = Market(book)
        build(market)
        digests.add(market.book.digest())
        assert len(market.book.digest()) == 32
        market.cancel(1)
        assert market.book.digest() not in digests
    assert len(digests) == 1


def test_a_tick_or_lot_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="tick 0"):
        Book(tick=0)


def test_many_cancels_at_once_say_why() -> None:
    book = Book()
    for order_id in (1, 2, 3):
        book.place(make(order_id, BID, 5, 99))
    reason = CancelReason.MASS_CANCEL
    found = book.cancel_all([3, 9, 1], reason)
    assert [(event.order_id, event.reason) for event in found if isinstance(event, Cancelled)] == [
        (3, reason),
        (1, reason),
    ]
    assert [order.order_id for order in book.orders()] == [2]


def test_a_book_that_is_dropped_lets_go_of_its_orders() -> None:
    """Compiled, the garbage collector does not follow the links of a queue."""
    book = Book()
    orders = [make(order_id, BID, 5, 99) for order_id in (1, 2, 3)]
    for order in orders:
        book.place(order)
    assert orders[1].older is orders[0]
    del book
    assert all(order.level is None for order in orders)
    assert all(order.older is None and order.newer is None for order in orders)
