"""A book under test: commands in a trader's words, the ladder as a table, and a running account.

The account follows every order's open quantity through the events alone and compares it with the
book after each command, so that nothing can be lost or made up on the way.
"""

from __future__ import annotations

from textwrap import dedent

from matching import (
    BookEvent,
    BookState,
    Cancelled,
    CancelReason,
    Decremented,
    Fill,
    Order,
    Rejected,
    Rested,
    SelfTradePrevention,
    Side,
    TimeInForce,
)
from tests.matching.commands import AnyBook, auction_price
from tests.matching.twins import SWEEPER

BID, ASK = Side.BID, Side.ASK
GTC, GTD, IOC, FOK = TimeInForce


class Market:
    """Drives one book and keeps the account of what is open."""

    def __init__(self, book: AnyBook) -> None:
        self.book = book
        self.open: dict[int, int] = {}
        self.filled: dict[int, int] = {}

    def bid(self, order_id: int, quantity: int, price: int, **terms: int) -> list[BookEvent]:
        """Place a bid; `terms` are account, tif, stp and an order's conditions."""
        return self.place(make(order_id, BID, quantity, price, **terms))

    def ask(self, order_id: int, quantity: int, price: int, **terms: int) -> list[BookEvent]:
        """Place an ask; `terms` are account, tif, stp and an order's conditions."""
        return self.place(make(order_id, ASK, quantity, price, **terms))

    def place(self, order: Order) -> list[BookEvent]:
        quantity = order.quantity
        events = self.book.place(order)
        if not isinstance(events[0], Rejected):
            self.open[order.order_id] = quantity
            self.filled[order.order_id] = 0
        return self._account(events)

    def cancel(self, order_id: int) -> list[BookEvent]:
        return self._account(self.book.cancel(order_id))

    def mass_cancel(self, account: int, side: int = 0) -> list[BookEvent]:
        return self._account(self.book.mass_cancel(account, side))

    def replace(
        self, order_id: int, price: int, quantity: int, stop_price: int = 0
    ) -> list[BookEvent]:
        events = self.book.replace(order_id, price, quantity, stop_price)
        if not isinstance(events[0], Rejected) and quantity > self.filled[order_id]:
            self.open[order_id] = quantity - self.filled[order_id]
        return self._account(events)

    def state(self, state: BookState) -> list[BookEvent]:
        return self._account(self.book.set_state(state))

    def uncross(self, price: int) -> list[BookEvent]:
        return self._account(self.book.uncross(price))

    def ladder(self) -> str:
        return ladder(self.book)

    def empty(self) -> None:
        """Trade the whole book away; every open lot must come back as a fill."""
        if self.book.state_now != BookState.OPEN:
            self.state(BookState.AUCTION)
            while (price := auction_price(self.book)) is not None:
                events = self.uncross(price)
                if not events or any(isinstance(event, Fill) for event in events):
                    break
            self.state(BookState.OPEN)
        sweeper = SWEEPER
        while self.book.orders():
            before = sum(self.open.values())
            for side, price in ((ASK, 1), (BID, 10**9)):
                waiting = sum(o.leaves for o in self.book.orders() if o.side != side)
                if waiting:
                    sweeper += 1
                    self.place(make(sweeper, side, waiting, price, account=SWEEPER, tif=IOC))
            assert sum(self.open.values()) < before
        for order in self.book.stops():
            self.cancel(order.order_id)
        assert len(self.book) == 0
        assert self.book.state()[:3] == ((), (), ())
        assert self.open == {}
        self.book.check()

    def _account(self, events: list[BookEvent]) -> list[BookEvent]:
        for event in events:
            match event:
                case Fill():
                    assert event.quantity > 0
                    self._reduce(event.maker_order_id, event.quantity, event.maker_leaves)
                    self._reduce(event.taker_order_id, event.quantity, event.taker_leaves)
                    self.filled[event.maker_order_id] += event.quantity
                    self.filled[event.taker_order_id] += event.quantity
                case Cancelled():
                    left = self.open.pop(event.order_id)
                    assert left == event.quantity or (
                        event.reason == CancelReason.REPLACED_BELOW_FILLED
                    )
                case Decremented():
                    self._reduce(event.order_id, event.quantity, event.leaves)
                case Rested():
                    assert self.open[event.order_id] == event.leaves
        self.book.check()
        working = self.book.orders() + self.book.stops()
        assert {o.order_id: o.leaves for o in working} == self.open
        return events

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
    **conditions: int,
) -> Order:
    """An order; without `account` it has an account of its own."""
    account = order_id if account is None else account
    return Order(order_id, account, side, price, quantity, tif, stp, **conditions)


def ladder(book: AnyBook) -> str:
    """The book as a table: each level's orders as id:leaves, oldest first, best prices inside.

    A hidden order stands in parentheses; an iceberg as id:shown+reserve.
    """
    prices = sorted({order.price for order in book.orders()}, reverse=True)
    rows = [(_cells(book, BID, price), price, _cells(book, ASK, price)) for price in prices]
    return "\n".join(f"{bid} | {price} | {ask}".strip() for bid, price, ask in rows)


def table(text: str) -> str:
    """A ladder as written in a test, without its indentation and padding."""
    lines = dedent(text).strip().splitlines()
    return "\n".join(" ".join(line.split()) for line in lines)


def _cells(book: AnyBook, side: Side, price: int) -> str:
    return " ".join(_cell(o) for o in book.orders() if (o.side, o.price) == (side, price))


def _cell(order: Order) -> str:
    if not order.shown:
        return f"({order.order_id}:{order.leaves})"
    if order.leaves > order.shown:
        return f"{order.order_id}:{order.shown}+{order.leaves - order.shown}"
    return f"{order.order_id}:{order.leaves}"
