"""Order matching for Flopex: a continuous book, and batch clearing of managed bids and slots.

    >>> from matching import Book, Order, SelfTradePrevention, Side, TimeInForce
    >>> book = Book()
    >>> gtc, oldest = TimeInForce.GTC, SelfTradePrevention.CANCEL_OLDEST
    >>> book.place(Order(1, 10, Side.ASK, 1_700, 500, gtc, oldest))
    [Rested(order_id=1, price=1700, leaves=500)]
    >>> fill, = book.place(Order(2, 11, Side.BID, 1_800, 200, gtc, oldest))
    >>> fill.price, fill.quantity, fill.maker_leaves
    (1700, 200, 300)

Everything is an integer, nothing reads a clock or a random source, and the package imports nothing
of the others: the same commands give the same events.
"""

from __future__ import annotations

from typing import Final

from matching import book as _book
from matching.bids import Bid, ClassBid, validate_bid
from matching.book import Book
from matching.clearing import ClearingGroup, LeaseFill, Uncross, WhyNot
from matching.events import (
    Armed,
    BookEvent,
    Cancelled,
    Decremented,
    Fill,
    Rejected,
    Rested,
    StateChanged,
    Triggered,
)
from matching.order import Conditions, Order
from matching.ramp import ramp_price, reach_time_ns, round_down, round_up
from matching.slots import SlotPool, StandingQuote
from matching.types import (
    CLASSES_MAX,
    MINIMUM_ORDERS_MAX,
    PEAKS_MAX,
    POOL_SLOTS_MAX,
    PRICE_MAX,
    QUANTITY_MAX,
    STOP_ORDERS_MAX,
    BookState,
    CancelReason,
    NoTradeReason,
    RejectReason,
    SelfTradePrevention,
    Side,
    Terms,
    TimeInForce,
)

COMPILED: Final = not (_book.__file__ or "").endswith(".py")
"""Whether the books run as a compiled extension (`make compile`, built wheels) or interpreted."""

__all__ = [
    "CLASSES_MAX",
    "COMPILED",
    "MINIMUM_ORDERS_MAX",
    "PEAKS_MAX",
    "POOL_SLOTS_MAX",
    "PRICE_MAX",
    "QUANTITY_MAX",
    "STOP_ORDERS_MAX",
    "Armed",
    "Bid",
    "Book",
    "BookEvent",
    "BookState",
    "CancelReason",
    "Cancelled",
    "ClassBid",
    "ClearingGroup",
    "Conditions",
    "Decremented",
    "Fill",
    "LeaseFill",
    "NoTradeReason",
    "Order",
    "RejectReason",
    "Rejected",
    "Rested",
    "SelfTradePrevention",
    "Side",
    "SlotPool",
    "StandingQuote",
    "StateChanged",
    "Terms",
    "TimeInForce",
    "Triggered",
    "Uncross",
    "WhyNot",
    "ramp_price",
    "reach_time_ns",
    "round_down",
    "round_up",
    "validate_bid",
]
