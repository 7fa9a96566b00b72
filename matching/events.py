"""What a continuous book reports: the events of one command, in the order they happened."""

from __future__ import annotations

from typing import NamedTuple

from matching.types import CancelReason


class Fill(NamedTuple):
    """Two orders traded `quantity` at the maker's `price`; leaves are those after it."""

    maker_order_id: int
    maker_account_id: int
    taker_order_id: int
    taker_account_id: int
    price: int
    quantity: int
    maker_leaves: int
    taker_leaves: int


class Cancelled(NamedTuple):
    """The book cancelled what was left (`quantity`) of an order; the order is out of the book."""

    order_id: int
    account_id: int
    quantity: int
    reason: CancelReason


class Decremented(NamedTuple):
    """Self-trade prevention took `quantity` off an order; at `leaves` 0 it is out of the book."""

    order_id: int
    account_id: int
    quantity: int
    leaves: int


class Rested(NamedTuple):
    """The order now rests at `price` with `leaves`."""

    order_id: int
    price: int
    leaves: int


BookEvent = Fill | Cancelled | Decremented | Rested
