"""The words that both ways of trading share: sides, times in force, reasons, limits.

Every number in this package is an integer. Prices are nano-dollars per CU (10^12 FLOPs), quantities
MFLOP, times nanoseconds since the epoch. Nothing here reads a clock, a random source or a file, so
the same commands give the same events.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final

PRICE_MAX: Final = 10**9
"""Largest price, in nano-dollars per CU; the smallest is 1."""
QUANTITY_MAX: Final = 10**15
"""Largest quantity of one order, in MFLOP; the smallest is 1."""
CLASSES_MAX: Final = 16
"""Most hardware classes that one managed bid may name."""
LEGS_MAX: Final = 16
"""Most legs of one multi-leg bid."""
POOL_SLOTS_MAX: Final = 1_024
"""Most slots of one pool, and most prices of one standing quote."""


class Side(IntEnum):
    """Which way an order trades."""

    BID = 1
    ASK = 2

    @property
    def opposite(self) -> Side:
        """The side that this one trades with."""
        return Side.ASK if self is Side.BID else Side.BID


class TimeInForce(IntEnum):
    """What happens to the part of an order that does not trade at once.

    GTC and GTD rest (the caller cancels a GTD order when its time has come, the book has no clock),
    IOC is cancelled, FOK trades in full at once or not at all.
    """

    GTC = 1
    GTD = 2
    IOC = 3
    FOK = 4


class SelfTradePrevention(IntEnum):
    """What happens when an incoming order meets a resting one of its own account.

    The incoming order's mode decides. CANCEL_NEWEST cancels the incoming order, CANCEL_OLDEST the
    resting one, CANCEL_BOTH both; DECREMENT takes the smaller open quantity off both, without a
    trade.
    """

    CANCEL_NEWEST = 1
    CANCEL_OLDEST = 2
    CANCEL_BOTH = 3
    DECREMENT = 4


class CancelReason(IntEnum):
    """Why the book itself cancelled an order (a cancel by request needs no reason)."""

    IOC_REST = 1
    FOK_UNFILLABLE = 2
    SELF_TRADE = 3
    REPLACED_BELOW_FILLED = 4


class NoTradeReason(IntEnum):
    """Why a managed bid does not trade now.

    TOO_LATE: no class can still finish it. HALTED: every class that could is halted. NO_ASKS: no
    worker quotes a class that could. NO_FREE_SLOT: workers quote, all their slots are busy.
    PRICE_BELOW_ASK: a slot is free, and dearer than the bid is now.
    """

    NO_ASKS = 1
    PRICE_BELOW_ASK = 2
    NO_FREE_SLOT = 3
    TOO_LATE = 4
    HALTED = 5
