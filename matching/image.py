"""The image of a book: all that it knows, as plain tuples and columns, and the book made of it.

`Book.state` is what a book and its naive twin have in common; an image has the rest as well, such
as the sequence of the market data. A book made of an image does what the book would have done.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from mypy_extensions import i64

from matching.columns import count_of, numbers, pack, unpack
from matching.order import Conditions, Order
from matching.sheet import Sheet
from matching.types import BookState

_COLUMNS: Final = (
    "order_id",
    "account_id",
    "side",
    "price",
    "quantity",
    "leaves",
    "time_in_force",
    "self_trade",
)
"""Of every order, the id first; conditions stand beside them, for few orders have any."""

Image = tuple[object, ...]
"""(sequence, state, last price, lowest and highest trade not examined, orders, minimums, stops)"""


def image_of(sheet: Sheet) -> Image:
    """All that a sheet knows between two commands. Costs O(orders)."""
    stops = sheet.stops
    assert not stops.queue, "a triggered order has not entered"
    return (
        sheet.tape.sequence,
        int(sheet.state),
        sheet.last_price,
        stops.low,
        stops.high,
        _pack_orders(sheet.queue(1) + sheet.queue(2)),
        pack(list(sheet.minimums)),
        _pack_orders(stops.orders()),
    )


def restore_image(sheet: Sheet, image: Sequence[Any]) -> None:
    """Make an empty sheet what the image says. Costs O(orders).

    Raises:
        LookupError, TypeError or ValueError: it is no image of a book.
    """
    sequence, state, last_price, low, high, resting, minimums, stops = image
    sheet.tape.sequence = sequence
    sheet.state = BookState(state)
    sheet.open = sheet.state == BookState.OPEN
    sheet.last_price = last_price
    orders = _unpack_orders(resting)
    sheet.orders.reserve(len(orders))
    for order in orders:
        sheet.put(order)
    for order_id in unpack(minimums, count_of(minimums)):
        found = sheet.orders.get(order_id)
        if found is None:
            raise LookupError(f"order {order_id} has a minimum and is not in the image")
        sheet.minimums[order_id] = found
    for order in _unpack_orders(stops):
        sheet.stops.add(order)
    sheet.stops.low, sheet.stops.high = low, high


def _pack_orders(orders: list[Order]) -> tuple[object, ...]:
    columns = [pack([getattr(order, name) for order in orders]) for name in _COLUMNS]
    asked = [
        (at, c.terms, c.minimum, c.display, c.stop_price, str(c.budget), c.reserve)
        for at, order in enumerate(orders)
        if (c := order.conditions) is not None
    ]  # a budget may exceed 64 bits
    return (*columns, asked)


def _unpack_orders(packed: Sequence[Any]) -> list[Order]:
    *columns, asked = packed
    count = count_of(columns[0])
    read = [numbers(column, count) for column in columns]
    ids, accounts, sides, prices, quantities, leaves, in_force, modes = read
    orders: list[Order] = []
    at: i64 = 0
    while at < count:
        if ids[at] < 1 or leaves[at] < 1:
            msg = "an order without an id or without anything left"
            raise ValueError(msg)
        order = Order(
            int(ids[at]), int(accounts[at]), int(sides[at]), int(prices[at]),
            int(quantities[at]), int(in_force[at]), int(modes[at]),
        )  # fmt: skip
        order.leaves = int(leaves[at])
        orders.append(order)
        at += 1
    for number, terms, minimum, display, stop_price, budget, reserve in asked:
        conditions = Conditions(terms, minimum, display, stop_price, int(budget))
        conditions.reserve = reserve
        orders[number].conditions = conditions
    return orders
