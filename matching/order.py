"""An order of a continuous book, before, in and after it.

A plain order (a price and a quantity, GTC to FOK) has `conditions` None and pays for nothing that
it does not use. All else that an order may ask is in `Conditions`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from mypy_extensions import mypyc_attr

from matching.packed import COMPILED

if TYPE_CHECKING:
    from matching.levels import Level

# Plain ints, which a compiled module holds as constants (`Terms` has the words).
POST_ONLY: Final = 1
REPRICE: Final = 2
HIDDEN: Final = 4
ALL_OR_NONE: Final = 8
MINIMUM: Final = 16
ICEBERG: Final = 32
STOP: Final = 64
BUDGET: Final = 128
AT_LEAST: Final = 8 | 16
"""Any of these makes an order one with a minimum."""
UNSEEN: Final = 4 | 8 | 16
"""Any of these makes a resting order show nothing."""


class Conditions:
    """What an order asks beyond a price and a quantity.

    `terms` says which fields apply; the others are 0. `reserve` is the part of a resting iceberg
    that waits behind its peak, `budget` what is left of the money cap, in the unit of price x
    quantity.
    """

    __slots__ = ("budget", "display", "minimum", "reserve", "stop_price", "terms")

    def __init__(
        self, terms: int, minimum: int, display: int, stop_price: int, budget: int
    ) -> None:
        self.terms = terms
        self.minimum = minimum
        self.display = display
        self.stop_price = stop_price
        self.budget = budget
        self.reserve = 0


# Its links are cycles, which `Sheet.__del__` takes apart. The memory of the last one that went,
# which a cache still has, is the next one's.
@mypyc_attr(acyclic=True, free_list_len=1)
class Order:
    """One order. `quantity` is the total, `leaves` the part still open.

    `side`, `time_in_force` and `self_trade` are values of the enumerations, as plain ints. The
    keywords `minimum`, `display`, `stop_price` and `budget` set their own flag in `terms`; 0 means
    not used. `display` is the peak of an iceberg order. A stop order's `price` is its limit once
    triggered (a stop order without a limit is an IOC at the protection price).
    """

    __slots__ = (
        "account_id",
        "conditions",
        "leaves",
        "level",
        "newer",
        "older",
        "order_id",
        "price",
        "quantity",
        "self_trade",
        "side",
        "time_in_force",
        *(("chain",) if COMPILED else ()),  # of `matching.index`
    )

    def __init__(
        self,
        order_id: int,
        account_id: int,
        side: int,
        price: int,
        quantity: int,
        time_in_force: int,
        self_trade: int,
        terms: int = 0,
        minimum: int = 0,
        display: int = 0,
        stop_price: int = 0,
        budget: int = 0,
    ) -> None:
        # Compiled, it lies in memory like this: what finds it, then what a cancel changes in its
        # neighbours.
        if COMPILED:
            self.chain: Order | None = None
        self.order_id = order_id
        self.level: Level | None = None
        self.older: Order | None = None
        self.newer: Order | None = None
        self.conditions: Conditions | None = None
        self.leaves = quantity
        self.price = price
        self.side = side
        self.account_id = account_id
        self.quantity = quantity
        self.time_in_force = time_in_force
        self.self_trade = self_trade
        if terms or minimum or display or stop_price or budget:
            self._ask(terms, minimum, display, stop_price, budget)

    def _ask(self, terms: int, minimum: int, display: int, stop_price: int, budget: int) -> None:
        asked = terms
        if minimum:
            asked |= MINIMUM
        if display:
            asked |= ICEBERG
        if stop_price:
            asked |= STOP
        if budget:
            asked |= BUDGET
        self.conditions = Conditions(asked, minimum, display, stop_price, budget)

    @property
    def terms(self) -> int:
        """The `Terms` that the order asks."""
        conditions = self.conditions
        return 0 if conditions is None else conditions.terms

    @property
    def shown(self) -> int:
        """The part of a resting order that the market sees."""
        conditions = self.conditions
        if conditions is None:
            return self.leaves
        return 0 if conditions.terms & UNSEEN else self.leaves - conditions.reserve

    def least(self) -> int:
        """The effective minimum: the least that one execution must trade of the order."""
        conditions = self.conditions
        if conditions is None or not conditions.terms & AT_LEAST:
            return 1
        if conditions.terms & ALL_OR_NONE:
            return self.leaves
        return min(conditions.minimum, self.leaves)

    def copy(self) -> Order:
        """An equal order that stands in no queue."""
        c = self.conditions
        copy = Order(
            self.order_id,
            self.account_id,
            self.side,
            self.price,
            self.quantity,
            self.time_in_force,
            self.self_trade,
        )
        copy.leaves = self.leaves
        if c is not None:
            copied = Conditions(c.terms, c.minimum, c.display, c.stop_price, c.budget)
            copied.reserve = c.reserve
            copy.conditions = copied
        return copy

    def __deepcopy__(self, memo: object) -> Order:
        return self.copy()

    def row(self) -> tuple[int, ...]:
        """Every field, as plain ints, in a fixed order."""
        plain = (
            self.order_id,
            self.account_id,
            self.quantity,
            self.leaves,
            self.time_in_force,
            self.self_trade,
        )
        c = self.conditions
        if c is None:
            return plain
        return (*plain, c.terms, c.minimum, c.display, c.stop_price, c.budget, c.reserve)
