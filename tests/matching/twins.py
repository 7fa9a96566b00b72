"""The same commands to the real book and its naive twin; whatever they answer must be equal.

A third book gets the commands as packed rows, all in a few batches, and must say the same bytes.
"""

from __future__ import annotations

from matching import Book, BookEvent, Cancelled, CancelReason, Fill
from matching.packed import Op
from matching.reference_book import NaiveBook
from tests.matching.commands import AnyBook, Command, auction_price
from tests.matching.feed import Feed


class Twins:
    """One book of each kind, and a reader of the public rows."""

    def __init__(self, tick: int = 1, lot: int = 1) -> None:
        self.real = Book(tick, lot)
        self.naive = NaiveBook(tick, lot)
        self.batched = Book(tick, lot)
        self.feed = Feed()
        self.fills = 0
        self._commands: list[bytes] = []
        self._rows: list[bytes] = []

    def do(self, command: Command) -> list[BookEvent]:
        """One command to all; compares the events."""
        taken_out = command.op == Op.CANCEL and command.order_id % 2
        events = take_out(self.real, command) if taken_out else give(self.real, command)
        expected = give(self.naive, command)
        assert events == expected, f"{command}\nreal:  {events}\nnaive: {expected}"
        self.fills += sum(isinstance(event, Fill) for event in events)
        rows = self.real.last_rows()
        self.feed.read(rows)
        self._commands.append(command.packed())
        self._rows.append(rows)
        return events

    def compare(self) -> None:
        """Compare the states, the displayed book and the public rows."""
        real, naive = self.real, self.naive
        assert real.state() == naive.state()
        assert real.digest() == naive.digest()
        assert len(real) == len(naive)
        assert self.feed.sequence == real.sequence
        assert self.feed.state == real.state_now
        for side in (1, 2):
            assert real.best(side) == naive.best(side)
            depth = real.depth(side, 100)
            assert depth == naive.depth(side, 100)
            levels = self.feed.levels(side)
            assert depth == [(p, sum(q for _, q in at), len(at)) for p, at in levels]
            shown = [o.order_id for o in real.orders() if o.side == side and o.shown]
            assert shown == [order_id for _, at in levels for order_id, _ in at]
            assert real.interest(side) == naive.interest(side)

    def compare_batch(self) -> None:
        """The commands since the last call, as one batch, give the same rows."""
        assert self.batched.apply(b"".join(self._commands)) == b"".join(self._rows)
        assert self.batched.state() == self.real.state()
        self._commands.clear()
        self._rows.clear()

    def check(self) -> None:
        self.real.check()
        self.naive.check()

    def empty(self) -> None:
        """Open the book and trade it away: every open lot must come back as a fill or an end."""
        empty(self)


def give(book: AnyBook, command: Command) -> list[BookEvent]:
    """A command row as a method call."""
    match command.op:
        case Op.PLACE:
            return book.place(command.order())
        case Op.CANCEL:
            return book.cancel(command.order_id)
        case Op.REPLACE:
            return book.replace(
                command.order_id, command.price, command.quantity, command.stop_price
            )
        case Op.MASS_CANCEL:
            return book.mass_cancel(command.account_id, command.side)
        case Op.SET_STATE:
            return book.set_state(command.quantity)
        case Op.UNCROSS:
            return book.uncross(command.price)
    raise AssertionError(command)


def take_out(book: Book, command: Command) -> list[BookEvent]:
    """A cancel by who has the order, with the event of its end that the book does not give."""
    order = book.order(command.order_id)
    if order is None:
        return book.cancel(command.order_id)
    end = Cancelled(order.order_id, order.account_id, order.leaves, CancelReason.REQUESTED)
    return [end, *(book.take_out(order) or ())]


SWEEPER = 10**9
"""The account that empties a book; its orders have ids from here too."""


def empty(twins: Twins) -> None:
    """Uncross and open, then sweep both sides until only what nobody can trade is left."""
    while twins.real.state_now != 1:
        price = auction_price(twins.real)
        twins.do(Command(Op.SET_STATE, quantity=2))
        if price is not None:
            twins.do(Command(Op.UNCROSS, price=price))
        twins.do(Command(Op.SET_STATE, quantity=1))
    order_id = SWEEPER
    while twins.real.orders():
        before = len(twins.real)
        for side, limit in ((2, 1), (1, 10**9)):
            waiting = sum(o.leaves for o in twins.real.orders() if o.side != side)
            if waiting:
                order_id += 1
                twins.do(Command(Op.PLACE, side, 3, 1, 0, order_id, SWEEPER, limit, waiting))
        assert len(twins.real) < before, "what rests cannot be traded away"
    for order in twins.real.stops():
        twins.do(Command(Op.CANCEL, order_id=order.order_id))
    assert len(twins.real) == len(twins.naive) == 0
    assert twins.feed.orders == {}
    twins.compare()
