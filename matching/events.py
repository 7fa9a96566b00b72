"""What a continuous book reports: the events of one command, in the order they happened."""

from __future__ import annotations

from typing import NamedTuple

from matching.types import BookState, CancelReason, RejectReason


class Fill(NamedTuple):
    """Two orders traded `quantity` at `price`; leaves are those after it.

    The price is the maker's, but for the three cases that the rule book names: a maker priced
    through the displayed best prices, a resting minimum that becomes tradable, and an uncross, in
    which the bid is called the taker.
    """

    maker_order_id: int
    maker_account_id: int
    taker_order_id: int
    taker_account_id: int
    price: int
    quantity: int
    maker_leaves: int
    taker_leaves: int


class Cancelled(NamedTuple):
    """What was left (`quantity`) of an order is cancelled; the order is out of the book."""

    order_id: int
    account_id: int
    quantity: int
    reason: CancelReason


class Decremented(NamedTuple):
    """Self-trade prevention took `quantity` off an order, or its budget does not pay so much.

    At `leaves` 0 it is out of the book.
    """

    order_id: int
    account_id: int
    quantity: int
    leaves: int


class Rested(NamedTuple):
    """The order now rests at `price` with `leaves`, shown or hidden."""

    order_id: int
    price: int
    leaves: int


class Armed(NamedTuple):
    """The stop order now waits for a trade at its `stop_price` or beyond."""

    order_id: int
    stop_price: int
    leaves: int


class Triggered(NamedTuple):
    """The stop order's time has come; what it does as an order follows."""

    order_id: int
    stop_price: int


class Rejected(NamedTuple):
    """The command is refused and has changed nothing; order_id 0 if it was about no order."""

    order_id: int
    reason: RejectReason


class StateChanged(NamedTuple):
    """The book is now in `state`."""

    state: BookState


BookEvent = Fill | Cancelled | Decremented | Rested | Armed | Triggered | Rejected | StateChanged
