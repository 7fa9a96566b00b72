"""Packed rows: the layout, what damage to them does, and that they say what the events say."""

from __future__ import annotations

import struct

import pytest

from matching import (
    MINIMUM_ORDERS_MAX,
    PEAKS_MAX,
    PRICE_MAX,
    QUANTITY_MAX,
    STOP_ORDERS_MAX,
    Book,
    BookState,
    Rejected,
    RejectReason,
    Rested,
    Terms,
    order,
    packed,
)
from matching.packed import (
    COMMAND,
    COMMAND_BYTES,
    COMMAND_DTYPE,
    EVENT,
    EVENT_BYTES,
    EVENT_DTYPE,
    Kind,
    Op,
)
from matching.reference import NaiveBook
from tests.matching.commands import AnyBook, Command
from tests.matching.feed import Feed
from tests.matching.market import ASK, BID, FOK, GTC, IOC, Market, make
from tests.matching.twins import Twins


def test_the_rows_are_as_long_as_their_columns() -> None:
    numpy = pytest.importorskip("numpy")
    assert numpy.dtype(list(COMMAND_DTYPE)).itemsize == COMMAND.size == COMMAND_BYTES
    assert numpy.dtype(list(EVENT_DTYPE)).itemsize == EVENT.size == EVENT_BYTES
    assert packed.FIRST_COLUMNS.size == COMMAND_BYTES


def test_plain_constants_and_enumerations_agree() -> None:
    for enumeration in (Op, Kind):
        for member in enumeration:
            assert getattr(packed, member.name) == member
    for term in Terms:
        assert term.name is not None
        assert getattr(order, term.name) == term
    assert order.AT_LEAST == Terms.MINIMUM | Terms.ALL_OR_NONE
    assert order.UNSEEN == order.AT_LEAST | Terms.HIDDEN


def test_numpy_reads_the_events_by_name() -> None:
    numpy = pytest.importorskip("numpy")
    book = Book()
    rows = book.apply(
        b"".join(
            [
                Command(Op.PLACE, 2, 1, 1, 0, 1, 1, 101, 5).packed(),
                Command(Op.PLACE, 1, 3, 1, 0, 2, 2, 103, 7).packed(),
                Command(Op.CANCEL, order_id=9).packed(),
            ]
        )
    )
    events = numpy.frombuffer(rows, list(EVENT_DTYPE))
    assert events["kind"].tolist() == [Kind.ADD, Kind.EXECUTE, Kind.CANCELLED, Kind.REJECTED]
    assert events["sequence"].tolist() == [1, 2, 0, 0]
    assert events["order_id"].tolist() == [1, 1, 2, 9]
    assert events["taker_id"].tolist() == [0, 2, 0, 0]
    assert events["quantity"].tolist() == [5, 5, 2, 0]


@pytest.mark.parametrize("cut", [1, 79, 81])
def test_bytes_that_are_no_whole_rows_change_nothing(cut: int) -> None:
    book = Book()
    row = Command(Op.PLACE, 1, 1, 1, 0, 1, 1, 100, 5).packed()
    with pytest.raises(ValueError, match=f"{cut} bytes"):
        book.apply((row + row)[:cut])
    assert len(book) == 0


@pytest.mark.parametrize(
    "row",
    [
        bytes(COMMAND_BYTES),
        Command(77, order_id=5).packed(),
        Command(Op.PLACE, 9, 1, 1, 0, 5, 1, 100, 5).packed(),
        Command(Op.PLACE, 1, 1, 1, 1 << 20, 5, 1, 100, 5).packed(),
        Command(Op.PLACE, 1, 1, 1, int(Terms.MINIMUM), 5, 1, 100, 5, -1).packed(),
        b"\xff" * COMMAND_BYTES,
        struct.pack("<Q9q", Op.PLACE | 1 << 8 | 1 << 16 | 1 << 24, *[-(2**63)] * 9),
    ],
)
def test_a_row_of_nonsense_is_answered_by_a_rejection(row: bytes) -> None:
    book = Book()
    (answer,) = EVENT.iter_unpack(book.apply(row))
    assert answer[0] == Kind.REJECTED
    assert len(book) == 0
    assert book.sequence == 0


def _place(
    order_id: int, side: int, quantity: int, price: int, tif: int = GTC, account: int = 0
) -> Command:
    """A row that places; without `account` the order has an account of its own."""
    return Command(Op.PLACE, side, tif, 2, 0, order_id, account or order_id, price, quantity)


def test_a_batch_of_plain_rows_says_what_the_same_commands_say_one_by_one() -> None:
    """What plain rows can meet: each kind of order, and each bound."""
    iceberg = Command(Op.PLACE, ASK, GTC, 2, int(Terms.ICEBERG), 6, 6, 101, 9, 0, 4)
    hidden = Command(Op.PLACE, BID, GTC, 2, int(Terms.HIDDEN), 30, 30, 95, 5)
    twins = Twins()
    for command in (
        *(_place(order_id, ASK, 5, 101) for order_id in range(1, 6)),
        iceberg,
        _place(7, ASK, QUANTITY_MAX, 102),
        _place(8, ASK, 2**30, 102),
        _place(9, ASK, QUANTITY_MAX + 1, 102),
        _place(10, ASK, 0, 102),
        _place(11, ASK, 5, PRICE_MAX + 1),
        _place(8, ASK, 5, 102),
        *(_place(order_id, BID, 3, 99) for order_id in range(12, 16)),
        *(Command(Op.CANCEL, order_id=order_id) for order_id in (2, 1, 5, 1, 77)),
        _place(16, BID, 7, 101),
        _place(17, BID, 1, 101),
        _place(18, ASK, 4, 102, account=19),
        _place(19, BID, 6, 102, account=3),
        _place(20, BID, 6, 101, tif=FOK),
        _place(21, BID, 60, 103, tif=IOC, account=7),
        _place(22, BID, 60, 1, tif=IOC),
        _place(23, BID, QUANTITY_MAX, 102),
        _place(24, BID, 5, 103, account=18),
        _place(25, ASK, 5, 98, account=13),
        Command(Op.CANCEL, order_id=6),
        hidden,
        _place(31, ASK, 2, 95),
        Command(Op.CANCEL, order_id=30),
        _place(32, ASK, 2, 95),
    ):
        twins.do(command)
        twins.compare()
        twins.check()
    twins.compare_batch()
    twins.empty()


def test_a_budget_may_need_more_than_64_bits() -> None:
    book = Book()
    quantity, price = 10**15, 10**9
    book.apply(Command(Op.PLACE, 2, 1, 1, 0, 1, 1, price, quantity).packed())
    terms = int(Terms.BUDGET)
    budget = quantity * price - 1
    rows = book.apply(
        Command(Op.PLACE, 1, 3, 1, terms, 2, 2, price, quantity, budget=budget).packed()
    )
    execute, cancelled = EVENT.iter_unpack(rows)
    assert execute[8] == quantity - 1
    assert cancelled[0] == Kind.CANCELLED
    assert cancelled[8] == 1


def test_a_snapshot_and_the_rows_after_it_give_the_displayed_book() -> None:
    book, feed = Book(), Feed()
    book.place(make(1, BID, 9, 99, display=3))
    book.place(make(2, ASK, 5, 101))
    book.place(make(3, ASK, 5, 101, terms=Terms.HIDDEN))
    snapshot = book.snapshot()
    assert {row[5] for row in EVENT.iter_unpack(snapshot)} == {book.sequence}
    for row in EVENT.iter_unpack(snapshot):
        feed.orders[row[6]] = (row[1], row[7], row[8])
    feed.sequence = book.sequence
    book.place(make(4, BID, 12, 101, tif=IOC))
    feed.read(book.last_rows())
    assert feed.levels(1) == [(99, [(1, 3)])]
    assert feed.levels(2) == []


@pytest.mark.parametrize("kind", [Book, NaiveBook])
class TestBounds:
    """Each bound is reached, and one less is not."""

    def test_stop_orders(self, kind: type[AnyBook]) -> None:
        book = kind()
        if isinstance(book, NaiveBook):
            # One more scan per order would take the naive book a minute.
            book._stops = [make(i, BID, 1, 9, stop_price=9) for i in range(1, STOP_ORDERS_MAX)]
        else:
            for order_id in range(1, STOP_ORDERS_MAX):
                book.place(make(order_id, BID, 1, 9, stop_price=9))
        last = book.place(make(STOP_ORDERS_MAX, BID, 1, 9, stop_price=9))
        assert not isinstance(last[0], Rejected)
        assert book.place(make(STOP_ORDERS_MAX + 1, BID, 1, 9, stop_price=9)) == [
            Rejected(STOP_ORDERS_MAX + 1, RejectReason.TOO_MANY_STOPS)
        ]
        assert len(book) == STOP_ORDERS_MAX

    def test_orders_with_a_minimum(self, kind: type[AnyBook]) -> None:
        market = Market(kind())
        for order_id in range(1, MINIMUM_ORDERS_MAX + 1):
            assert market.bid(order_id, 5, 9, minimum=3) == [Rested(order_id, 9, 5)]
        order_id = MINIMUM_ORDERS_MAX + 1
        refused = [Rejected(order_id, RejectReason.TOO_MANY_MINIMUMS)]
        assert market.bid(order_id, 5, 9, terms=Terms.ALL_OR_NONE) == refused
        market.cancel(1)
        assert market.bid(order_id, 5, 9, terms=Terms.ALL_OR_NONE) == [Rested(order_id, 9, 5)]
        market.empty()

    def test_peaks(self, kind: type[AnyBook]) -> None:
        market = Market(kind())
        refused = [Rejected(1, RejectReason.DISPLAY_TOO_SMALL)]
        assert market.ask(1, 2 * PEAKS_MAX + 1, 9, display=2) == refused
        assert market.ask(1, 2 * PEAKS_MAX, 9, display=2) == [Rested(1, 9, 2 * PEAKS_MAX)]
        assert market.replace(1, 9, 2 * PEAKS_MAX + 1) == refused
        assert len(market.bid(2, 2 * PEAKS_MAX, 9)) == PEAKS_MAX


def test_a_book_is_rebuilt_by_restoring_its_orders() -> None:
    book = Book()
    book.set_state(BookState.AUCTION)
    book.place(make(1, BID, 9, 102))
    book.place(make(2, ASK, 9, 100, minimum=4))
    book.place(make(3, ASK, 9, 103, terms=Terms.HIDDEN))
    book.place(make(4, ASK, 9, 90, stop_price=95))
    copy = Book()
    copy.set_state(BookState.AUCTION)
    for old in book.orders() + book.stops():
        copy.restore(old.copy())
    assert copy.state() == book.state()
    copy.check()
    with pytest.raises(ValueError, match="order 1: DUPLICATE_ORDER"):
        copy.restore(make(1, BID, 1, 1))


def test_a_restored_iceberg_shows_what_was_left_of_its_peak() -> None:
    book, copy = Book(), Book()
    book.place(make(1, BID, 9, 99, display=3))
    book.place(make(2, ASK, 2, 99))
    (old,) = book.orders()
    copy.restore(old.copy())
    assert copy.depth(BID, 1) == book.depth(BID, 1) == [(99, 1, 1)]
    assert copy.orders()[0].row() == old.row()
    copy.check()
