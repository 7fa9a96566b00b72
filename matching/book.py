"""A continuous order book: strict price-visibility-time priority, trades at the maker's price.

docs/reference/matching-rules.md is the rule book, rule by rule with ladders. This module is the way
in; `matching.commands` carries commands out, `matching.entry` matches, `matching.sheet` holds the
orders, `matching.tape` tells what happened. There are two forms of the same commands: methods,
which answer with events, and `apply` (`matching.batch`), which takes and gives packed rows and is
the fast one.

A command that cannot be carried out is answered by one Rejected event, and has changed nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from matching import commands, entry
from matching.auction import Clearing
from matching.batch import apply_rows
from matching.digest import state_digest
from matching.events import BookEvent
from matching.foresight import foresee
from matching.image import Image, image_of, restore_image
from matching.order import STOP, Order
from matching.packed import COMMAND_BYTES, COMPILED
from matching.plan import Plan
from matching.sheet import Sheet
from matching.tape import Tape
from matching.types import (
    BookState,
    CancelReason,
    RejectReason,
)
from matching.uncross import interest

__all__ = ["COMPILED", "Book"]

_Levels = tuple[tuple[int, tuple[tuple[int, ...], ...]], ...]


class Book:
    """A continuous book of one instrument.

    `tick` and `lot` round what the book itself computes: re-priced post-only orders, midpoints,
    what a budget still pays. That orders keep to them is the caller's to check.
    """

    __slots__ = ("_sheet", "_tape")

    def __init__(self, tick: int = 1, lot: int = 1) -> None:
        if tick < 1 or lot < 1:
            raise ValueError(f"tick {tick} and lot {lot} must be positive")
        self._sheet = Sheet(tick, lot)
        self._tape = self._sheet.tape

    # Commands

    def place(self, order: Order, tell_rests: bool = True) -> list[BookEvent]:
        """Trade an order against the other side, then rest or cancel what is left.

        `order.leaves` is what is placed. The book keeps the object, and its `leaves` stay true.
        Costs O(fills), plus a binary search for a new price. Without `tell_rests` there are no
        Rested events: most orders rest, and a caller that knows them by their leaves need not hear.
        """
        self._tape.begin(True)
        self._tape.telling_rests = tell_rests
        commands.place(self._sheet, order)
        return self._tape.events

    def cancel(self, order_id: int) -> list[BookEvent]:
        """Take out an order, or a stop that waits. Costs O(1) if no order has a minimum.

        The first event is Cancelled (REQUESTED), or Rejected (UNKNOWN_ORDER); what the change makes
        tradable follows.
        """
        self._tape.begin(True)
        commands.cancel(self._sheet, order_id)
        return self._tape.events

    def take_out(self, order: Order) -> list[BookEvent] | None:
        """`cancel` for who has the order that the book has: it need not be found.

        None, or the events of what the change makes tradable; of its end nothing is said.
        """
        self._tape.begin(False)
        commands.take_out(self._sheet, order)
        return self._tape.events if self._tape.listening else None

    def cancel_all(
        self, order_ids: list[int], reason: CancelReason = CancelReason.REQUESTED
    ) -> list[BookEvent]:
        """Take out these orders, those that are here, before anything else can trade with them.

        Cancelled (`reason`) for each in turn; then what the change makes tradable follows. Who
        knows which orders are an account's has this for `mass_cancel` (reason MASS_CANCEL) at a
        cost of O(order_ids).
        """
        self._tape.begin(True)
        for order_id in order_ids:
            order = self._sheet.find(order_id)
            if order is not None:
                self._sheet.cancel(order, reason)
        if self._sheet.minimums:
            entry.settle(self._sheet)
        return self._tape.events

    def replace(
        self, order_id: int, price: int, quantity: int, stop_price: int = 0
    ) -> list[BookEvent]:
        """Change price and total quantity of an order, or a waiting stop's price (0: keep it).

        Not more at the same price keeps the place, anything else loses it and may trade. A total at
        or below what has traded cancels the order.
        """
        self._tape.begin(True)
        commands.replace(self._sheet, order_id, price, quantity, stop_price)
        return self._tape.events

    def mass_cancel(self, account_id: int, side: int = 0) -> list[BookEvent]:
        """Cancel all orders of an account, on one side or (0) on both, stops included.

        Events in this order: bids, then asks; best price first; at one price the shown before the
        hidden, oldest first; then the stop orders, oldest first. After them what the change makes
        tradable. Costs O(orders in the book).
        """
        self._tape.begin(True)
        commands.mass_cancel(self._sheet, account_id, side)
        return self._tape.events

    def set_state(self, state: int) -> list[BookEvent]:
        """Go to a `BookState`. Opening a book that is crossed is refused (CROSSED).

        At the end of an auction IOC orders that still wait are cancelled first. Opening re-checks
        resting minimums, then examines stop orders against the last price.
        """
        self._tape.begin(True)
        commands.set_state(self._sheet, state)
        return self._tape.events

    def uncross(self, price: int) -> list[BookEvent]:
        """Trade a book in auction at one price, or separate the accounts that would self-trade.

        Bids at `price` or higher meet asks at `price` or lower, each side in price-visibility-time
        order; then what is left of IOC orders is cancelled. Where an account stands on both sides,
        nothing trades: its orders are cancelled or decremented until it does not, and the price
        must be found anew. The events then hold no fill, and there is at least one. Orders with a
        minimum have no part in it. The book stays in auction. `matching.auction` finds the price,
        `interest` is what it needs to know.
        """
        self._tape.begin(True)
        commands.uncross(self._sheet, price)
        return self._tape.events

    def apply(self, rows: bytes) -> bytes:
        """Carry out packed command rows; returns the packed event rows (`matching.packed`).

        Raises:
            ValueError: the bytes are no whole number of rows; nothing is changed.
        """
        if len(rows) % COMMAND_BYTES:
            raise ValueError(f"{len(rows)} bytes are no whole number of {COMMAND_BYTES}-byte rows")
        self._tape.begin(False)
        apply_rows(self._sheet, rows)
        return self._tape.rows()

    def last_rows(self) -> bytes:
        """The packed event rows of the last command, or of the last `apply`."""
        return self._tape.rows()

    # What a book can tell

    @property
    def sequence(self) -> int:
        """The sequence of the last public event row; 0 before the first."""
        return self._tape.sequence

    @property
    def state_now(self) -> BookState:
        """What the book does with orders now."""
        return self._sheet.state

    @property
    def last_price(self) -> int:
        """The price of the last trade; 0 before the first."""
        return self._sheet.last_price

    def best(self, side: int) -> int | None:
        """The best shown price of a side. Costs O(1)."""
        best = self._sheet.side(side).best
        return best.price if best is not None else None

    def depth(self, side: int, levels: int) -> list[tuple[int, int, int]]:
        """The best `levels` shown levels as (price, shown quantity, orders), best first."""
        book_side = self._sheet.side(side)
        best_keys = book_side.keys[: -levels - 1 : -1]
        found = [book_side.levels[key] for key in best_keys]
        return [(level.price, level.quantity, level.count) for level in found]

    def refusal(self, order: Order) -> RejectReason | None:
        """Why `place` would reject an order now; None if it would not."""
        return entry.refusal(self._sheet, order)

    def gain(self, order: Order) -> int | None:
        """What an order would gain if it were placed now and traded whole on entry; else None.

        The sum over its trades of (limit - price) x quantity for a bid, (price - limit) x quantity
        for an ask. Nothing changes. Costs O(fills).
        """
        if not self._sheet.open:
            return None
        plan = Plan(self._sheet, order).walk()
        if plan.sure < order.leaves:
            return None
        sign = 1 if order.side == 1 else -1
        return sum(sign * (order.price - price) * quantity for _, quantity, price in plan.steps)

    def order(self, order_id: int) -> Order | None:
        """The order of this id, resting or a stop that waits. Costs O(1)."""
        sheet = self._sheet
        return sheet.orders.get(order_id) or sheet.stops.get(order_id)

    def orders(self) -> list[Order]:
        """All resting orders: bids then asks, by price, visibility and time."""
        return self._sheet.queue(1) + self._sheet.queue(2)

    def stops(self) -> list[Order]:
        """The stop orders that wait, oldest first."""
        return self._sheet.stops.orders()

    def interest(self, side: int) -> list[tuple[int, int]]:
        """(price, quantity) of all that an uncross may trade, best price first.

        Hidden quantity and the reserve of icebergs count; orders with a minimum, which have no part
        in an uncross, do not.
        """
        return interest(self._sheet, side)

    def foresee(self, reference: int) -> Clearing | None:
        """The price at which the book would uncross now, self-trade prevention gone through.

        Finding the price by `interest` and `uncross`, until it trades, comes to the same. This is
        what to announce, and to hold against a collar. None: nothing would trade.
        """
        return foresee(self._sheet, reference)

    def snapshot(self) -> bytes:
        """The displayed book as ADD rows, each with the sequence of the last public row.

        Bids then asks, best price first, oldest first: adding them in turn gives the book that the
        public rows up to that sequence give.
        """
        tape = Tape()
        for side in (1, 2):
            for level in self._sheet.side(side).best_first():
                for order in level.orders():
                    tape.sequence = self._tape.sequence - 1
                    tape.added(order)
        return tape.rows()

    def restore(self, order: Order) -> None:
        """Put an order, or a waiting stop, where `orders()` and `stops()` had it; no matching.

        An iceberg's `conditions.reserve` is kept where it leaves no more than a peak to show.

        Raises:
            ValueError: the order would be refused.
        """
        reason = entry.refusal(self._sheet, order)
        if reason is not None:
            raise ValueError(f"order {order.order_id}: {reason.name}")
        reserve = order.conditions.reserve if order.conditions is not None else 0
        if order.terms & STOP:
            self._sheet.stops.add(order)
        else:
            self._sheet.place(order)
            if order.conditions is not None and order.conditions.reserve < reserve < order.leaves:
                self._sheet.hold_back(order, reserve)

    def __len__(self) -> int:
        """Resting orders, and stops that wait."""
        return len(self._sheet.orders) + self._sheet.stops.waiting

    def state(self) -> tuple[object, ...]:
        """Canonical state: bids, asks, stops, trading state and last price, as plain integers.

        Each side is (price, rows of its orders) by price; rows by visibility and time.
        """
        sheet = self._sheet
        return (
            _levels(sheet.queue(1)),
            _levels(sheet.queue(2)),
            sheet.stops.rows(),
            int(sheet.state),
            sheet.last_price,
        )

    def image(self) -> Image:
        """Canonical and whole: the state, and what no twin has, such as the sequence."""
        return image_of(self._sheet)

    @classmethod
    def from_image(cls, image: Sequence[Any], tick: int = 1, lot: int = 1) -> Book:
        """The book whose image it is, with its tick and lot. Costs O(orders).

        Raises:
            LookupError, TypeError or ValueError: it is no image of a book.
        """
        book = cls(tick, lot)
        restore_image(book._sheet, image)
        return book

    def digest(self) -> bytes:
        """SHA-256 over `state()`; the naive twin has the same."""
        return state_digest(self.state())

    def check(self) -> None:
        """Assert every invariant of the book. Costs O(orders)."""
        sheet = self._sheet
        sheet.check()
        assert sheet.open == (sheet.state == BookState.OPEN)
        if sheet.open:
            best_bid, best_ask = sheet.bids.best, sheet.asks.best
            if best_bid is not None and best_ask is not None:
                assert best_bid.price < best_ask.price, "the displayed book is crossed"


def _levels(queue: list[Order]) -> _Levels:
    levels: dict[int, list[tuple[int, ...]]] = {}
    for order in queue:
        levels.setdefault(order.price, []).append(order.row())
    return tuple((price, tuple(rows)) for price, rows in levels.items())
