"""Multi-leg bids over continuous books: at most one leg fills, whole, and cancels the others.

A leg is an all-or-none bid of its own in one book. An order that comes in takes the leg with the
largest gain among those that would trade whole at once,

    gain = sum over its trades of (limit of the leg - price) x quantity

and of equal ones the leg named first. If none would, every leg rests in its book, hidden as any
order with a minimum is, until one trades; then the others are cancelled in the same step.

The desk sees only what it is told: give every command's events, on any of the books, to `follow`.
See `matching.legs` for the same in clearing groups.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

from matching.book import Book
from matching.events import BookEvent, Cancelled, Decremented, Fill
from matching.order import ALL_OR_NONE, Order
from matching.types import LEGS_MAX, RejectReason, SelfTradePrevention, Side, TimeInForce

__all__ = ["BookLeg", "BookLegDesk", "LeggedOrder", "Step"]

_RESTING: Final = (TimeInForce.GTC, TimeInForce.GTD)


class BookLeg(NamedTuple):
    """One way to fill an order: so much in this book, at this limit or better."""

    instrument_id: int
    price: int
    quantity: int


class LeggedOrder(NamedTuple):
    """An order of which at most one leg fills; in every book it has the same id."""

    order_id: int
    account_id: int
    time_in_force: TimeInForce
    self_trade: SelfTradePrevention
    legs: tuple[BookLeg, ...]


class Step(NamedTuple):
    """What happened in one book, in the order of the steps."""

    instrument_id: int
    events: list[BookEvent]


class BookLegDesk:
    """The multi-leg bids over `books`, which stay the caller's and may grow."""

    def __init__(
        self, books: dict[int, Book], commanded: Callable[[int], None] | None = None
    ) -> None:
        """`commanded` is told the instrument after each command that the desk gives to a book."""
        self._books = books
        self._commanded = commanded
        self._orders: dict[int, LeggedOrder] = {}

    def place(self, order: LeggedOrder) -> list[Step]:
        """Fill one leg, or rest all; empty if the order may not rest and no leg trades whole.

        Raises:
            ValueError: `refusal` has a reason against it, or it is no multi-leg bid: see
                `validate`. Nothing has changed.
        """
        validate(order)
        reason = self.refusal(order)
        if reason is not None:
            msg = f"order {order.order_id}: {reason.name}"
            raise ValueError(msg)
        best: BookLeg | None = None
        most = 0
        for leg in order.legs:
            gain = self._books[leg.instrument_id].gain(_bid(order, leg))
            if gain is not None and (best is None or gain > most):
                best, most = leg, gain
        if best is not None:
            step = self._place(order, best)
            return [step, *self.follow(step.events)]
        steps: list[Step] = []
        if order.time_in_force in _RESTING:
            self._orders[order.order_id] = order
            for leg in order.legs:
                # The others of its book may have waited for this leg, and taken it at once.
                if order.order_id in self._orders:
                    step = self._place(order, leg)
                    steps += [step, *self.follow(step.events)]
        return steps

    def _place(self, order: LeggedOrder, leg: BookLeg) -> Step:
        events = self._books[leg.instrument_id].place(_bid(order, leg))
        if self._commanded is not None:
            self._commanded(leg.instrument_id)
        return Step(leg.instrument_id, events)

    def cancel(self, order_id: int) -> list[Step]:
        """Take every leg out, in the order of the instruments; empty if it is not here."""
        order = self._orders.pop(order_id, None)
        return [] if order is None else self._cancel_legs({order_id: order})

    def cancel_all(self, order_ids: list[int], others: dict[int, list[int]]) -> list[Step]:
        """Take out these orders, and the plain orders of `others` by instrument, all in one step.

        All that must go leave a book, by rising id, before anything there can trade. Ids that are
        not here are passed over.
        """
        waiting = {instrument_id: list(ids) for instrument_id, ids in others.items()}
        for order_id in order_ids:
            order = self._orders.pop(order_id, None)
            if order is not None:
                self._await(waiting, order_id, order)
        return self._cancel_waiting(waiting)

    def follow(self, events: list[BookEvent]) -> list[Step]:
        """What the events of a command in one book lead to in the others.

        An order of which a leg has traded, or was cancelled or decremented, ends: its other legs
        are cancelled. What their absence makes tradable may end other orders in turn.
        """
        ended: dict[int, LeggedOrder] = {}
        for event in events:
            for order_id in _left(event):
                order = self._orders.pop(order_id, None)
                if order is not None:
                    ended[order_id] = order
        return self._cancel_legs(ended) if ended else []

    def refusal(self, order: LeggedOrder) -> RejectReason | None:
        """Why a book would reject one of the legs; None if none would.

        Raises:
            KeyError: there is no such book.
        """
        for leg in order.legs:
            reason = self._books[leg.instrument_id].refusal(_bid(order, leg))
            if reason is not None:
                return reason
        return None

    def order(self, order_id: int) -> LeggedOrder | None:
        """The resting order of this id."""
        return self._orders.get(order_id)

    def __len__(self) -> int:
        """Resting orders."""
        return len(self._orders)

    def state(self) -> tuple[LeggedOrder, ...]:
        """The resting orders by id; their bids are in the books' state."""
        return tuple(self._orders[order_id] for order_id in sorted(self._orders))

    def restore(self, state: Sequence[Any]) -> None:
        """Become what `state` said of a desk over the same books."""
        for order_id, account_id, in_force, self_trade, legs in state:
            self._orders[order_id] = LeggedOrder(
                order_id,
                account_id,
                TimeInForce(in_force),
                SelfTradePrevention(self_trade),
                tuple(BookLeg(*leg) for leg in legs),
            )

    def check(self) -> None:
        """Assert that every leg of every order rests whole in its book."""
        for order in self._orders.values():
            for leg in order.legs:
                resting = self._books[leg.instrument_id].order(order.order_id)
                assert resting is not None, (order, leg)
                assert resting.terms == ALL_OR_NONE

    def _cancel_legs(self, ended: dict[int, LeggedOrder]) -> list[Step]:
        """Cancel what is left of these orders."""
        waiting: dict[int, list[int]] = {}
        for order_id, order in ended.items():
            self._await(waiting, order_id, order)
        return self._cancel_waiting(waiting)

    def _cancel_waiting(self, waiting: dict[int, list[int]]) -> list[Step]:
        """Cancel these orders of each instrument, book by book, and follow what that leads to.

        All orders that must go leave a book before anything there can trade.
        """
        steps: list[Step] = []
        while waiting:
            instrument_id = min(waiting)
            book = self._books[instrument_id]
            order_ids = [i for i in sorted(waiting.pop(instrument_id)) if book.order(i)]
            if not order_ids:
                continue
            events = book.cancel_all(order_ids)
            if self._commanded is not None:
                self._commanded(instrument_id)
            steps.append(Step(instrument_id, events))
            for event in events:
                for order_id in _left(event):
                    next_order = self._orders.pop(order_id, None)
                    if next_order is not None:
                        self._await(waiting, order_id, next_order)
        return steps

    def _await(self, waiting: dict[int, list[int]], order_id: int, order: LeggedOrder) -> None:
        for leg in order.legs:
            waiting.setdefault(leg.instrument_id, []).append(order_id)


def validate(order: LeggedOrder) -> None:
    """Refuse what is no multi-leg bid.

    Raises:
        ValueError: the number of legs is outside its limits, an instrument is named twice, or the
            mode is DECREMENT, which would leave legs that are for less than the order.
    """
    if not 0 < len(order.legs) <= LEGS_MAX:
        msg = f"order {order.order_id} has {len(order.legs)} legs, not 1..{LEGS_MAX}"
        raise ValueError(msg)
    if len({leg.instrument_id for leg in order.legs}) < len(order.legs):
        msg = f"order {order.order_id} names an instrument twice"
        raise ValueError(msg)
    if order.self_trade == SelfTradePrevention.DECREMENT:
        msg = f"order {order.order_id}: legs cannot be decremented"
        raise ValueError(msg)


def _bid(order: LeggedOrder, leg: BookLeg) -> Order:
    return Order(
        order.order_id,
        order.account_id,
        Side.BID,
        leg.price,
        leg.quantity,
        order.time_in_force,
        order.self_trade,
        ALL_OR_NONE,
    )


def _left(event: BookEvent) -> list[int]:
    """The orders that an event may have ended: all-or-none bids trade whole or not at all."""
    if isinstance(event, Fill):
        return [event.maker_order_id, event.taker_order_id]
    if isinstance(event, Cancelled | Decremented):
        return [event.order_id]
    return []
