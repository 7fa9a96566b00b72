"""The naive twin of multi-leg bids over continuous books.

It looks at the books, not at their events: an order of which a leg no longer rests whole has ended.
What a leg would gain is tried out on a copy of its book.
"""

from __future__ import annotations

from matching.book_legs import BookLeg, LeggedOrder, Step, validate
from matching.events import BookEvent, Fill
from matching.order import Order
from matching.reference_book import NaiveBook
from matching.reference_terms import refusal
from matching.types import CancelReason, RejectReason, Side, Terms, TimeInForce


class NaiveLegBook(NaiveBook):
    """`NaiveBook` with what a desk of multi-leg bids asks of a book."""

    def cancel_all(
        self, order_ids: list[int], reason: CancelReason = CancelReason.REQUESTED
    ) -> list[BookEvent]:
        """See `Book.cancel_all`."""
        self._events = []
        for order_id in order_ids:
            order = self.order(order_id)
            if order is not None:
                self._cancel(order, reason)
        return self._settled()

    def gain(self, order: Order) -> int | None:
        """See `Book.gain`, for a bid."""
        trial = NaiveLegBook(self.tick, self.lot)
        trial.state_now = self.state_now
        trial._orders = [resting.copy() for resting in self._orders]
        whole = order.copy()
        whole.time_in_force = TimeInForce.FOK
        fills = [
            event
            for event in trial.place(whole)
            if isinstance(event, Fill) and event.taker_order_id == order.order_id
        ]
        if sum(fill.quantity for fill in fills) < order.quantity:
            return None
        return sum((order.price - fill.price) * fill.quantity for fill in fills)


class NaiveBookLegDesk:
    """`matching.book_legs.BookLegDesk` as a list of orders."""

    def __init__(self, books: dict[int, NaiveLegBook]) -> None:
        self.books = books
        self.orders: list[LeggedOrder] = []

    def place(self, order: LeggedOrder) -> list[Step]:
        """See `BookLegDesk.place`."""
        validate(order)
        if self.refusal(order) is not None:
            raise ValueError(order)
        gains = [
            (self.books[leg.instrument_id].gain(bid_of(order, leg)), leg) for leg in order.legs
        ]
        able = [(gain, leg) for gain, leg in gains if gain is not None]
        if able:
            _, best = max(able, key=lambda row: row[0])
            events = self.books[best.instrument_id].place(bid_of(order, best))
            return [Step(best.instrument_id, events), *self.follow([])]
        steps: list[Step] = []
        if order.time_in_force in (TimeInForce.GTC, TimeInForce.GTD):
            placed: list[BookLeg] = []
            for leg in order.legs:
                events = self.books[leg.instrument_id].place(bid_of(order, leg))
                steps.append(Step(leg.instrument_id, events))
                placed.append(leg)
                # Until the last leg is placed, the order is as if it had no others.
                self.orders.append(order._replace(legs=tuple(placed)))
                steps += self.follow([])
                if self.order(order.order_id) is None:
                    return steps
                self.orders.pop()
            self.orders.append(order)
        return steps

    def cancel(self, order_id: int) -> list[Step]:
        """See `BookLegDesk.cancel`."""
        order = self.order(order_id)
        if order is None:
            return []
        self.orders.remove(order)
        return self._cancel_legs([order])

    def cancel_all(self, order_ids: list[int], others: dict[int, list[int]]) -> list[Step]:
        """See `BookLegDesk.cancel_all`."""
        ended = [order for order in self.orders if order.order_id in order_ids]
        self.orders = [order for order in self.orders if order not in ended]
        return self._cancel_legs(ended, others)

    def follow(self, _: list[BookEvent]) -> list[Step]:
        """See `BookLegDesk.follow`."""
        return self._cancel_legs(self._take_ended())

    def refusal(self, order: LeggedOrder) -> RejectReason | None:
        """See `BookLegDesk.refusal`."""
        reasons = [refusal(self.books[leg.instrument_id], bid_of(order, leg)) for leg in order.legs]
        return next((reason for reason in reasons if reason is not None), None)

    def order(self, order_id: int) -> LeggedOrder | None:
        """See `BookLegDesk.order`."""
        return next((order for order in self.orders if order.order_id == order_id), None)

    def state(self) -> tuple[LeggedOrder, ...]:
        """See `BookLegDesk.state`."""
        return tuple(sorted(self.orders))

    def check(self) -> None:
        """See `BookLegDesk.check`."""
        assert all(self._is_whole(order) for order in self.orders)

    def _is_whole(self, order: LeggedOrder) -> bool:
        resting = [(self.books[leg.instrument_id].order(order.order_id), leg) for leg in order.legs]
        return all(bid is not None and bid.leaves == leg.quantity for bid, leg in resting)

    def _take_ended(self) -> list[LeggedOrder]:
        ended = [order for order in self.orders if not self._is_whole(order)]
        self.orders = [order for order in self.orders if order not in ended]
        return ended

    def _cancel_legs(
        self, ended: list[LeggedOrder], others: dict[int, list[int]] | None = None
    ) -> list[Step]:
        steps: list[Step] = []
        while True:
            waiting: dict[int, list[int]] = {}
            for instrument_id, order_ids in (others or {}).items():
                here = [i for i in order_ids if self.books[instrument_id].order(i) is not None]
                if here:
                    waiting[instrument_id] = here
            for order in ended:
                for leg in order.legs:
                    if self.books[leg.instrument_id].order(order.order_id) is not None:
                        waiting.setdefault(leg.instrument_id, []).append(order.order_id)
            if not waiting:
                return steps
            first = min(waiting)
            steps.append(Step(first, self.books[first].cancel_all(sorted(waiting[first]))))
            ended += self._take_ended()


def bid_of(order: LeggedOrder, leg: BookLeg) -> Order:
    """A leg as an order of its book."""
    return Order(
        order.order_id,
        order.account_id,
        Side.BID,
        leg.price,
        leg.quantity,
        order.time_in_force,
        order.self_trade,
        Terms.ALL_OR_NONE,
    )
