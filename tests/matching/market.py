"""A book under test: commands in a trader's words, the ladder as a table, and a running account.

The account follows every order's open quantity through the events alone and compares it with the
book after each command, so that nothing can be lost or made up on the way.
"""

from __future__ import annotations

from textwrap import dedent

from matching import (
    Book,
    BookEvent,
    Cancelled,
    Decremented,
    Fill,
    Order,
    Rested,
    SelfTradePrevention,
    Side,
    TimeInForce,
)
from matching.reference import NaiveBook

AnyBook = Book | NaiveBook
BID, ASK = Side.BID, Side.ASK
GTC, GTD, IOC, FOK = TimeInForce
SWEEPER = 10**9
"""The account that empties a book at the end of a test; its orders have ids from here too."""


class Market:
    """Drives one book and keeps the account of what is open."""

    def __init__(self, book: AnyBook) -> None:
        self.book = book
        self.open: dict[int, int] = {}
        self.filled: dict[int, int] = {}

    def bid(self, order_id: int, quantity: int, price: int, **terms: int) -> list[BookEvent]:
        """Place a bid; `terms` are account, tif and stp."""
        return self.place(make(order_id, BID, quantity, price, **terms))

    def ask(self, order_id: int, quantity: int, price: int, **terms: int) -> list[BookEvent]:
        """Place an ask; `terms` are account, tif and stp."""
        return self.place(make(order_id, ASK, quantity, price, **terms))

    def place(self, order: Order) -> list[BookEvent]:
        self.open[order.order_id] = order.leaves
        self.filled[order.order_id] = order.quantity - order.leaves
        events = self.book.place(order)
        self._account(events)
        return events

    def cancel(self, order_id: int) -> Order | None:
        order = self.book.cancel(order_id)
        if order is not None:
            assert self.open.pop(order_id) == order.leaves
        self._account([])
        return order

    def replace(self, order_id: int, price: int, quantity: int) -> list[BookEvent] | None:
        if order_id in self.open and quantity > self.filled[order_id]:
            self.open[order_id] = quantity - self.filled[order_id]
        events = self.book.replace(order_id, price, quantity)
        assert (events is None) == (order_id not in self.open)
        self._account(events or [])
        return events

    def ladder(self) -> str:
        return ladder(self.book)

    def empty(self) -> None:
        """Trade the whole book away; every open lot must come back as a fill."""
        for side, price in ((ASK, 1), (BID, 10**9)):
            waiting = sum(q for _, q, _ in self.book.depth(side.opposite, 10**9))
            if waiting:
                sweep = make(SWEEPER + side, side, waiting, price, account=SWEEPER, tif=FOK)
                events = self.place(sweep)
                assert sum(e.quantity for e in events if isinstance(e, Fill)) == waiting
        assert len(self.book) == 0
        assert self.book.state() == ((), ())
        assert self.open == {}
        self.book.check()

    def _account(self, events: list[BookEvent]) -> None:
        for event in events:
            match event:
                case Fill():
                    assert event.quantity > 0
                    self._reduce(event.maker_order_id, event.quantity, event.maker_leaves)
                    self._reduce(event.taker_order_id, event.quantity, event.taker_leaves)
                    self.filled[event.maker_order_id] += event.quantity
                    self.filled[event.taker_order_id] += event.quantity
                case Cancelled():
                    assert self.open.pop(event.order_id) == event.quantity
                case Decremented():
                    self._reduce(event.order_id, event.quantity, event.leaves)
                case Rested():
                    assert self.open[event.order_id] == event.leaves
        self.book.check()
        assert {o.order_id: o.leaves for o in self.book.orders()} == self.open

    def _reduce(self, order_id: int, quantity: int, leaves: int) -> None:
        self.open[order_id] -= quantity
        assert self.open[order_id] == leaves
        if leaves == 0:
            del self.open[order_id]


def make(
    order_id: int,
    side: int,
    quantity: int,
    price: int,
    *,
    account: int | None = None,
    tif: int = GTC,
    stp: int = SelfTradePrevention.CANCEL_NEWEST,
) -> Order:
    """An order; without `account` it has an account of its own."""
    account = order_id if account is None else account
    time_in_force, self_trade = TimeInForce(tif), SelfTradePrevention(stp)
    return Order(order_id, account, side, price, quantity, time_in_force, self_trade)


def ladder(book: AnyBook) -> str:
    """The book as a table: each level's orders as id:leaves, oldest first, best prices inside."""
    bids, asks = book.state()
    rows = [("", price, _cells(rows)) for price, rows in reversed(asks)]
    rows += [(_cells(rows), price, "") for price, rows in bids]
    return "\n".join(f"{bid} | {price} | {ask}".strip() for bid, price, ask in rows)


def table(text: str) -> str:
    """A ladder as written in a test, without its indentation and padding."""
    lines = dedent(text).strip().splitlines()
    return "\n".join(" ".join(line.split()) for line in lines)


def _cells(rows: tuple[tuple[int, ...], ...]) -> str:
    return " ".join(f"{row[0]}:{row[3]}" for row in rows)
