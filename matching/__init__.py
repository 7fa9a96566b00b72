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

from matching.bids import Bid, ClassBid, validate_bid
from matching.book import COMPILED, Book
from matching.book_legs import BookLeg, BookLegDesk, LeggedOrder
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
from matching.legs import GroupUncross, Leg, LegDesk, MultiLegBid
from matching.order import Conditions, Order
from matching.ramp import ramp_price, reach_time_ns, round_down, round_up
from matching.slots import SlotPool, StandingQuote
from matching.types import (
    CLASSES_MAX,
    LEGS_MAX,
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

__all__ = [
    "CLASSES_MAX",
    "COMPILED",
    "LEGS_MAX",
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
    "BookLeg",
    "BookLegDesk",
    "BookState",
    "CancelReason",
    "Cancelled",
    "ClassBid",
    "ClearingGroup",
    "Conditions",
    "Decremented",
    "Fill",
    "GroupUncross",
    "LeaseFill",
    "Leg",
    "LegDesk",
    "LeggedOrder",
    "MultiLegBid",
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
