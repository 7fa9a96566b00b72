"""The orders of one transaction: a row each, whatever happened to them.

Orders are most of what happens, so theirs is a path of its own. One that came and went in one batch
is one INSERT. One of an earlier batch is changed in a row of which only the changed columns count,
so that both are changed by the same few assignments, and it gets one UPDATE for its fate and one
for new terms.
"""

from __future__ import annotations

from operator import itemgetter
from typing import TYPE_CHECKING, Final

from exchange.core.events import OrderState
from exchange.readmodel.schema import ORDERS, insert_statement, update_statement

if TYPE_CHECKING:
    from exchange.readmodel.database import Database

Cell = int | bytes

ID: Final = ORDERS.place("order_id")
PRICE: Final = ORDERS.place("price_nanos")
QUANTITY: Final = ORDERS.place("quantity_mflop")
LEAVES: Final = ORDERS.place("leaves_mflop")
FILLED: Final = ORDERS.place("filled_mflop")
STATE: Final = ORDERS.place("state")
REASON: Final = ORDERS.place("reason")
END: Final = ORDERS.place("end_time_ns")
SEQUENCE: Final = ORDERS.place("sequence")

FATE: Final = ("leaves_mflop", "state", "reason", "end_time_ns", "sequence")
FATE_ADDED: Final = ("filled_mflop",)
TERMS: Final = ("price_nanos", "quantity_mflop", "leaves_mflop", "sequence")

FATE_OF: Final = itemgetter(*map(ORDERS.place, (*FATE, *FATE_ADDED)), ID)
TERMS_OF: Final = itemgetter(*map(ORDERS.place, TERMS), ID)

PARTIALLY_FILLED: Final = int(OrderState.PARTIALLY_FILLED)
ALL_FILLED: Final = int(OrderState.FILLED)
NOT_CHANGED: Final = 0
"""In place of a state: no order has it."""


class OrderRows:
    """New and changed orders."""

    def __init__(self) -> None:
        self._new: dict[int, list[Cell]] = {}
        self._changed: dict[int, list[Cell]] = {}
        self._replaced: set[int] = set()  # of the changed ones

    def __len__(self) -> int:
        return len(self._new) + len(self._changed)

    def insert(self, row: list[Cell]) -> None:
        """A new order; the list is kept."""
        self._new[row[ID]] = row  # type: ignore[index]

    def fill(self, order_id: int, quantity: int, leaves: int, now_ns: int, sequence: int) -> None:
        """It traded, and has this left."""
        row = self._new.get(order_id) or self._earlier(order_id)
        row[FILLED] += quantity  # type: ignore[operator]
        row[LEAVES] = leaves
        if leaves:
            row[STATE] = PARTIALLY_FILLED
        else:
            row[STATE] = ALL_FILLED
            row[END] = now_ns
        row[SEQUENCE] = sequence

    def replace(self, order_id: int, price: int, quantity: int, leaves: int, sequence: int) -> None:
        """It has other terms."""
        row = self._new.get(order_id)
        if row is None:
            row = self._earlier(order_id)
            self._replaced.add(order_id)
        row[PRICE] = price
        row[QUANTITY] = quantity
        row[LEAVES] = leaves
        row[SEQUENCE] = sequence

    def close(
        self, order_id: int, state: int, reason: int, leaves: int, now_ns: int, sequence: int
    ) -> None:
        """It left the book unfilled or in part."""
        row = self._new.get(order_id) or self._earlier(order_id)
        row[LEAVES] = leaves
        row[STATE] = state
        row[REASON] = reason
        row[END] = now_ns
        row[SEQUENCE] = sequence

    def write(self, database: Database) -> None:
        """Write them."""
        if self._new:
            database.change_many(insert_statement(ORDERS), self._new.values())
        if self._replaced:
            terms = [TERMS_OF(self._changed[order_id]) for order_id in self._replaced]
            database.change_many(update_statement(ORDERS, TERMS, ()), terms)
        fates = [FATE_OF(row) for row in self._changed.values() if row[STATE] != NOT_CHANGED]
        if fates:
            database.change_many(update_statement(ORDERS, FATE, FATE_ADDED), fates)
        self._new.clear()
        self._changed.clear()
        self._replaced.clear()

    def _earlier(self, order_id: int) -> list[Cell]:
        """What changes of an order that is in the tables already; `FILLED` is what is added."""
        row = self._changed.get(order_id)
        if row is None:
            row = self._changed[order_id] = [0] * len(ORDERS.columns)
            row[ID] = order_id
        return row
