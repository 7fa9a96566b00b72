"""What an order would trade, worked out before anything is touched.

Orders without conditions that meet nothing but shown orders trade as they go (`matching.entry`).
All others need to know first: a FOK or a minimum must be certain of its quantity, a hidden minimum
is passed over or not, a budget runs out, a post-only order must not trade at all. A `Plan` walks
the other side by price, visibility and time and writes down what happens; carrying it out is the
caller's.
"""

from __future__ import annotations

from collections import deque
from typing import Final

from matching.levels import BookSide, Level
from matching.order import AT_LEAST, BUDGET, Order
from matching.sheet import Sheet

_CANCEL_OLDEST: Final = 2
_DECREMENT: Final = 4


class Plan:
    """The steps of one order (`taker`) against the other side.

    A step is (maker, quantity, price); quantity 0 means that the taker meets an order of its own
    account. `sure` is the quantity that trades for certain: up to the first own order, or all of
    it where own orders are merely cancelled. `spent`: the budget pays no lot more.

    A `block` is the plan of a resting minimum: own orders are passed over, and the steps' prices do
    not matter.
    """

    __slots__ = (
        "block",
        "budget",
        "done",
        "left",
        "own",
        "own_best",
        "sheet",
        "spent",
        "steps",
        "sure",
        "taker",
        "touch",
        "traded",
    )

    def __init__(self, sheet: Sheet, taker: Order, block: bool = False) -> None:
        self.sheet = sheet
        self.taker = taker
        self.block = block
        self.steps: list[tuple[Order, int, int]] = []
        self.left = taker.leaves
        self.traded = 0
        self.sure = 0
        self.own = False
        self.done = False
        self.spent = False
        conditions = taker.conditions
        has_budget = conditions is not None and conditions.terms & BUDGET
        self.budget = conditions.budget if conditions is not None and has_budget else -1
        self.own_best: Level | None = sheet.side(taker.side).best
        self.touch = 0

    def walk(self, to_first_trade: bool = False) -> Plan:
        """Go through the other side down to the taker's limit, or only to the first trade."""
        opposite = 3 - self.taker.side
        shown, hidden = self.sheet.side(opposite), self.sheet.hidden(opposite)
        limit = shown.sign * self.taker.price
        at, hidden_at = len(shown.keys) - 1, len(hidden.keys) - 1
        while self.left > 0 and not self.done:
            key = shown.keys[at] if at >= 0 else limit - 1
            hidden_key = hidden.keys[hidden_at] if hidden_at >= 0 else limit - 1
            if key < limit and hidden_key < limit:
                break
            if to_first_trade and self.traded:
                break
            if hidden_key > key:
                self.touch = abs(shown.keys[at]) if at >= 0 else 0
                self._hidden_level(hidden.levels[hidden_key])
                hidden_at -= 1
            else:
                self._shown_level(shown.levels[key], to_first_trade)
                at -= 1
        return self

    def worst_price(self) -> int:
        """The price of the last maker, which is the worst."""
        return self.steps[-1][0].price

    def _shown_level(self, level: Level, to_first_trade: bool) -> None:
        """The queue of a level; an iceberg's next peaks come behind all others."""
        refreshed: deque[tuple[Order, int]] = deque()
        order = level.oldest
        while order is not None and self.left > 0 and not self.done:
            size = order.shown
            self._meet(order, size, order.price)
            if order.leaves > size:
                refreshed.append((order, order.leaves - size))
            if to_first_trade and self.traded:
                return
            order = order.newer
        while refreshed and self.left > 0 and not self.done:
            order, rest = refreshed.popleft()
            if order.account_id == self.taker.account_id:
                continue
            conditions = order.conditions
            assert conditions is not None
            size = min(conditions.display, rest)
            self._meet(order, size, order.price)
            if rest > size:
                refreshed.append((order, rest - size))

    def _hidden_level(self, level: Level) -> None:
        order = level.oldest
        while order is not None and self.left > 0 and not self.done:
            if order.terms & AT_LEAST:
                if not self._queue_jump():
                    self._meet(order, order.leaves, self._improved(order.price))
            else:
                self._meet(order, order.leaves, order.price)
            order = order.newer

    def _queue_jump(self) -> bool:
        """Whether a shown order of the taker's side has priority over it for a resting minimum."""
        own_best = self.own_best
        if self.block or own_best is None:
            return False
        return own_best.key >= own_best.side.sign * self.taker.price

    def _improved(self, price: int) -> int:
        """The price of a trade with a resting minimum: nobody trades through a shown order."""
        own_best = self.own_best
        if self.block or own_best is None:
            return price
        sign = own_best.side.sign
        if sign * price >= own_best.key:
            return price
        if not self.touch:
            return own_best.price
        tick = self.sheet.tick
        middle = (own_best.price + self.touch) // 2 // tick * tick
        return sign * min(sign * middle, sign * self.taker.price)

    def _meet(self, maker: Order, size: int, price: int) -> None:
        """One maker with `size` to give; may end the plan."""
        taker = self.taker
        quantity = min(size, self.left)
        own = maker.account_id == taker.account_id
        if self.budget >= 0 and not own:
            lot = self.sheet.lot
            quantity = min(quantity, self.budget // price // lot * lot)
        if maker.conditions is not None and quantity < maker.least() and maker.terms & AT_LEAST:
            return
        if own:
            self._meet_own(maker, price)
            return
        if self.budget >= 0:
            self.budget -= quantity * price
            if quantity < min(size, self.left):
                self.spent = self.done = True
        if quantity:
            self.steps.append((maker, quantity, price))
            self.traded += quantity
            self.left -= quantity
            if not self.own:
                self.sure += quantity

    def _meet_own(self, maker: Order, price: int) -> None:
        if self.block:
            return
        self.steps.append((maker, 0, price))
        mode = self.taker.self_trade
        if mode == _CANCEL_OLDEST:
            return
        self.own = True
        if mode == _DECREMENT:
            self.left -= min(maker.leaves, self.left)
        else:
            self.done = True


def best_key(shown: BookSide, hidden: BookSide) -> int | None:
    """The best key of a side, shown or hidden."""
    if shown.best is None:
        return hidden.best.key if hidden.best is not None else None
    if hidden.best is None:
        return shown.best.key
    return max(shown.best.key, hidden.best.key)
