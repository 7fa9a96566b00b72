"""The words that both ways of trading share: sides, times in force, reasons, limits.

Every number in this package is an integer. Prices are nano-dollars per CU (10^12 FLOPs), quantities
MFLOP, times nanoseconds since the epoch. Nothing here reads a clock, a random source or a file, so
the same commands give the same events.
"""

from __future__ import annotations

from enum import IntEnum, IntFlag
from typing import Final

PRICE_MAX: Final = 10**9
"""Largest price, in nano-dollars per CU; the smallest is 1."""
QUANTITY_MAX: Final = 10**15
"""Largest quantity of one order, in MFLOP; the smallest is 1."""
STOP_ORDERS_MAX: Final = 10_000
"""Most stop orders that wait in one book."""
MINIMUM_ORDERS_MAX: Final = 256
"""Most resting orders with a minimum quantity in one book: each may be re-checked per command."""
PEAKS_MAX: Final = 100
"""Most peaks of one iceberg order: its display is at least this part of its quantity."""
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
    IOC is cancelled, FOK trades in full at once or not at all. A market order is an IOC or a FOK
    whose price is the caller's protection price. In an auction an IOC waits for the uncross.
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


class Terms(IntFlag):
    """What an order asks beyond a price and a quantity; 0 is a plain order.

    POST_ONLY: never takes; what would take is cancelled, or with REPRICE given a price one tick
    away from the order it would have met. HIDDEN: rests unseen, behind what is shown at its price.
    ALL_OR_NONE: trades all that is left of it at once, or nothing. MINIMUM, ICEBERG, STOP, BUDGET:
    the field `minimum`, `display`, `stop_price`, `budget` applies.
    """

    POST_ONLY = 1
    REPRICE = 2
    HIDDEN = 4
    ALL_OR_NONE = 8
    MINIMUM = 16
    ICEBERG = 32
    STOP = 64
    BUDGET = 128


class BookState(IntEnum):
    """What a book does with orders.

    OPEN: continuous trading. AUCTION: orders collect and may cross, nothing trades until
    `Book.uncross`. HALTED: cancels only.
    """

    OPEN = 1
    AUCTION = 2
    HALTED = 3


class CancelReason(IntEnum):
    """Why an order left the book other than by trading."""

    IOC_REST = 1
    FOK_UNFILLABLE = 2
    SELF_TRADE = 3
    REPLACED_BELOW_FILLED = 4
    REQUESTED = 5
    MASS_CANCEL = 6
    POST_ONLY_WOULD_TAKE = 7
    BUDGET_SPENT = 8
    MINIMUM_UNFILLABLE = 9


class RejectReason(IntEnum):
    """Why a command was refused; a refused command has changed nothing.

    TERMS_CONFLICT: a flag, time in force, side or mode that does not exist, or terms that exclude
    each other (the rule book lists them). DISPLAY_TOO_SMALL: the order would have more than
    PEAKS_MAX peaks. HALTED: the book takes cancels only. NOT_IN_AUCTION: FOK and budget orders, and
    IOC orders with a minimum, wait for no auction. CROSSED: the book opens only once its auction
    has uncrossed it. NO_AUCTION: only a book in auction is uncrossed.
    """

    UNKNOWN_ORDER = 1
    DUPLICATE_ORDER = 2
    PRICE_OUTSIDE_LIMITS = 3
    QUANTITY_OUTSIDE_LIMITS = 4
    TERMS_CONFLICT = 5
    DISPLAY_TOO_SMALL = 6
    TOO_MANY_STOPS = 7
    TOO_MANY_MINIMUMS = 8
    HALTED = 9
    NOT_IN_AUCTION = 10
    CROSSED = 11
    UNKNOWN_COMMAND = 12
    NO_AUCTION = 13


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
