"""Packed rows: the fixed bytes of book commands and of what a book did.

Journal, replay, market data, simulator and tests share these bytes. All rows are little-endian
without padding. `COMMAND_DTYPE` and `EVENT_DTYPE` are written as numpy understands them
(`numpy.dtype(EVENT_DTYPE)`, `numpy.frombuffer(rows, EVENT_DTYPE)`), so that this package needs no
numpy; the `struct` formats describe the same bytes.

A command row is one call of `Book`:

===========  =======================================================================
op           fields that matter
===========  =======================================================================
PLACE        all; minimum, display, stop_price and budget only where `terms` says so
CANCEL       order_id
REPLACE      order_id, price, quantity (the new total), stop_price (0: unchanged)
MASS_CANCEL  account_id, side (0: both)
SET_STATE    quantity (a `BookState`)
UNCROSS      price
===========  =======================================================================

`budget` may need more than 64 bits: it is `budget_high * 2**BUDGET_LOW_BITS + budget_low`.

An event row is either public (sequence > 0: the per-order market data of the book, gap-free) or
private (sequence 0). From the public rows alone anyone rebuilds the displayed book:

=========  ================================================================================
kind       says (columns not named are 0)
=========  ================================================================================
ADD        order_id shows `quantity` at `price` on `side`, behind all others there
EXECUTE    `quantity` of the displayed order_id (on `side`) traded at `price` with taker_id;
           `shown` of it is still displayed, 0: it is gone from the display
TRADE      `quantity` traded at `price`, and the maker was hidden: nothing displayed changes
REDUCE     order_id shows `quantity` less, in the same place, and still shows `shown` (0: it is
           gone from the display); `reason` SELF_TRADE for a decrement, else 0
DELETE     order_id, which showed `quantity` at `price`, is gone; `reason`: a `CancelReason`, or 0
           where a replace moves it
STATE      the book is in the state `quantity` (a `BookState`)
RESTED     private: order_id rests hidden at `price` with `leaves`, or its hidden part changed
CANCELLED  private: what was left (`quantity`) of order_id is cancelled for `reason`
REDUCED    private: self-trade prevention took `quantity` off order_id
ARMED      private: the stop order_id waits for `price`
TRIGGERED  private: the stop order_id, which waited for `price`, enters the book
REJECTED   private: the command about order_id is refused for `reason` (a `RejectReason`)
=========  ================================================================================

`leaves` is all that is left of order_id, hidden parts included, and `taker_leaves` of taker_id: who
publishes rows blanks these two, and the order_id of TRADE. In EXECUTE `quantity` may be more than
the display loses only in an uncross, where an iceberg's reserve trades before its peak: `shown` is
what counts.
"""

from __future__ import annotations

from enum import IntEnum
from struct import Struct
from typing import Final

COMPILED: Final = not __file__.endswith(".py")
"""Whether this module, and with it the package, runs as a compiled extension."""

BUDGET_LOW_BITS: Final = 62


class Op(IntEnum):
    """What a command row asks."""

    PLACE = 1
    CANCEL = 2
    REPLACE = 3
    MASS_CANCEL = 4
    SET_STATE = 5
    UNCROSS = 6


class Kind(IntEnum):
    """What an event row says; up to STATE they are public."""

    ADD = 1
    EXECUTE = 2
    TRADE = 3
    REDUCE = 4
    DELETE = 5
    STATE = 6
    RESTED = 7
    CANCELLED = 8
    REDUCED = 9
    ARMED = 10
    TRIGGERED = 11
    REJECTED = 12


# The same as plain ints, which a compiled module holds as constants.
PLACE: Final = 1
CANCEL: Final = 2
REPLACE: Final = 3
MASS_CANCEL: Final = 4
SET_STATE: Final = 5
UNCROSS: Final = 6
ADD: Final = 1
ADD_BID: Final = 1 | 1 << 8  # with the side, as the head of a row
ADD_ASK: Final = 1 | 2 << 8
EXECUTE: Final = 2
TRADE: Final = 3
REDUCE: Final = 4
DELETE: Final = 5
STATE: Final = 6
RESTED: Final = 7
CANCELLED: Final = 8
REDUCED: Final = 9
ARMED: Final = 10
TRIGGERED: Final = 11
REJECTED: Final = 12

COMMAND: Final = Struct("<BBBBI9q")
"""One command row."""
COMMAND_BYTES: Final = 80
FIRST_COLUMNS: Final = Struct("<5q40x")
"""The head (the columns up to `terms`) as one number, order_id, account_id, price, quantity."""
PLAIN: Final = {
    PLACE | side << 8 | tif << 16 | mode << 24: (side, tif, mode)
    for side in (1, 2)
    for tif in (1, 2, 3, 4)
    for mode in (1, 2, 3, 4)
}
"""The heads of PLACE rows without conditions: (side, time in force, self-trade prevention)."""
COMMAND_DTYPE: Final = (
    ("op", "u1"),
    ("side", "u1"),
    ("time_in_force", "u1"),
    ("self_trade", "u1"),
    ("terms", "<u4"),
    ("order_id", "<i8"),
    ("account_id", "<i8"),
    ("price", "<i8"),
    ("quantity", "<i8"),
    ("minimum", "<i8"),
    ("display", "<i8"),
    ("stop_price", "<i8"),
    ("budget_high", "<i8"),
    ("budget_low", "<i8"),
)

EVENT: Final = Struct("<BBBBI8q")
"""One event row."""
EVENT_BYTES: Final = 72
EVENT_WORDS: Final = Struct("<9q")
"""The same, with the head (the columns up to `spare`) as one number."""
PLAIN_EVENT: Final = Struct("<6q24x")
"""`EVENT_WORDS` up to `leaves`; the columns after it are 0."""
EVENT_DTYPE: Final = (
    ("kind", "u1"),
    ("side", "u1"),
    ("reason", "u1"),
    ("unused", "u1"),
    ("spare", "<u4"),
    ("sequence", "<i8"),
    ("order_id", "<i8"),
    ("price", "<i8"),
    ("quantity", "<i8"),
    ("leaves", "<i8"),
    ("shown", "<i8"),
    ("taker_id", "<i8"),
    ("taker_leaves", "<i8"),
)
