"""A book that follows somebody else's feed, event by event, and a tally of what it made of it."""

from __future__ import annotations

import json
from collections.abc import Hashable

from matching import Book, Fill, Order, Rejected, SelfTradePrevention, Side, TimeInForce
from matching.depth import Depth
from matching.events import BookEvent

FAILURES_PRINTED_MAX = 50
"""So many differences are printed one by one; the rest is counted."""


class Follower:
    """A book, fed with what others did: it must follow without a trade or refusal.

    The feed names orders by any key of its own. Beside the book stands what a reader of its public
    rows sees, which must be the book.
    """

    def __init__(self) -> None:
        self.book = Book()
        self.display = Depth()
        self.trades = 0
        self._ids: dict[Hashable, int] = {}

    def add(self, key: Hashable, side: Side, price: int, quantity: int) -> str:
        """Rest an order; returns what went wrong, or nothing."""
        order_id = self._ids.setdefault(key, len(self._ids) + 1)
        # The two sides are two accounts, so that what crosses trades, and is noticed.
        order = Order(
            order_id,
            int(side),
            side,
            price,
            quantity,
            TimeInForce.GTC,
            SelfTradePrevention.CANCEL_NEWEST,
        )
        return self._judge(self.book.place(order))

    def change(self, key: Hashable, quantity: int) -> str:
        """Change what is open of an order; returns what went wrong, or nothing."""
        order = self.book.order(self._ids.get(key, 0))
        if order is None:
            return "the order is not in the book"
        traded = order.quantity - order.leaves
        return self._judge(self.book.replace(order.order_id, order.price, traded + quantity))

    def cancel(self, key: Hashable) -> str:
        """Take an order out; returns what went wrong, or nothing."""
        return self._judge(self.book.cancel(self._ids.get(key, 0)))

    def holds(self, key: Hashable) -> bool:
        """Whether an order is in the book."""
        return self.book.order(self._ids.get(key, 0)) is not None

    def knows(self, key: Hashable) -> bool:
        """Whether an order of this key was ever added."""
        return key in self._ids

    def state(self) -> str:
        """What is wrong with the best prices after an event, or nothing."""
        bid, ask = self.book.best(Side.BID), self.book.best(Side.ASK)
        if bid is not None and ask is not None and bid >= ask:
            return f"the book is crossed: bid {bid}, ask {ask}"
        return self._undisplayed(1)

    def finish(self) -> str:
        """What is wrong with the whole book at the end, or nothing."""
        self.book.check()
        self.display.check()
        return self._undisplayed(len(self.book))

    def _undisplayed(self, most: int) -> str:
        """How what is displayed differs from the book in the best levels, or nothing."""
        for side in Side:
            levels = self.book.depth(side, most)
            displayed = self.display.levels(side, most)
            if displayed != levels:
                return f"the book has {levels[:3]}, its public rows make {displayed[:3]}"
        return ""

    def _judge(self, events: list[BookEvent]) -> str:
        try:
            self.display.apply(self.book.last_rows())
        except ValueError as error:
            return f"the public rows do not follow: {error}"
        fills = [event for event in events if isinstance(event, Fill)]
        self.trades += len(fills)
        refused = [event.reason.name for event in events if isinstance(event, Rejected)]
        if refused:
            return f"refused: {refused[0]}"
        return f"{len(fills)} trades, the first at {fills[0].price}" if fills else ""


class Tally:
    """How many tests passed, and what the others said."""

    def __init__(self) -> None:
        self.passed = 0
        self.failures: list[str] = []

    def count(self, name: str, *wrong: str) -> None:
        """One test: passed if nothing is wrong."""
        said = "; ".join(filter(None, wrong))
        if said:
            self.failures.append(f"{name}: {said}")
        else:
            self.passed += 1

    def report(self, facts: dict[str, int], as_json: bool) -> int:
        """Print the result, as one JSON object or for people; returns the exit status."""
        counts = {"passed": self.passed, "failed": len(self.failures)}
        if as_json:
            print(json.dumps(facts | counts))
        else:
            for failure in self.failures[:FAILURES_PRINTED_MAX]:
                print(failure)
            if len(self.failures) > FAILURES_PRINTED_MAX:
                print(f"... and {len(self.failures) - FAILURES_PRINTED_MAX} more")
            for name, value in facts.items():
                print(f"{name.replace('_', ' ')}: {value}")
            print(f"{self.passed} passed, {len(self.failures)} failed")
        return 1 if self.failures else 0
