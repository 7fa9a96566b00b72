"""Orders that work, as their owners see them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from exchange.core.accounts import Stake
from exchange.metering.costs import escrow_nanos
from matching.types import Side, TimeInForce

if TYPE_CHECKING:
    from exchange.core.accounts import Account
    from exchange.core.placements import Placement
    from matching.book_legs import BookLeg
    from matching.order import Order

_BID: Final = int(Side.BID)
_GTD: Final = int(TimeInForce.GTD)


class OpenOrder:
    """An order that works, as its owner sees it; `resting` is the book's part of it.

    Attributes:
        stake: Where its leaves count towards the account's position; a multi-leg bid's count
            with each leg's instrument.
        max_cost_nanos: Money cap; 0 for none.
        expire_time_ns: When it expires, nanoseconds since the epoch; 0 for never.
        stream_id: The order stream whose end cancels it; 0 for none.
        legs: The legs of a multi-leg bid; its own instrument, price and quantities are 0.
        waiting: Whether it is a stop order that nothing has triggered yet.
        transfer_id: The pending transfer that holds its money; 0 for an ask.
        notional: Exact sum of price x MFLOP bought so far.
        posted_nanos: What was paid for it.
    """

    __slots__ = (
        "account",
        "account_id",
        "client_order_id",
        "expire_time_ns",
        "instrument_id",
        "legs",
        "max_cost_nanos",
        "notional",
        "order_id",
        "order_type",
        "posted_nanos",
        "resting",
        "side",
        "stake",
        "stream_id",
        "time_in_force",
        "transfer_id",
        "waiting",
    )

    def __init__(
        self, account: Account, placed: Placement, resting: Order, transfer_id: int
    ) -> None:
        self.order_id = resting.order_id
        self.account = account
        self.account_id = account.account_id
        self.client_order_id = placed.client_order_id
        self.instrument_id = placed.instrument_id
        self.side = placed.side
        self.order_type = placed.order_type
        self.time_in_force = placed.time_in_force
        self.stake = account.stake(placed.instrument_id) if placed.instrument_id else Stake()
        self.max_cost_nanos = placed.max_cost_nanos
        self.expire_time_ns = placed.expire_time_ns if placed.time_in_force == _GTD else 0
        self.stream_id = placed.stream_id
        self.legs: tuple[BookLeg, ...] = ()
        self.waiting = False
        self.resting = resting
        self.transfer_id = transfer_id
        self.notional = 0
        self.posted_nanos = 0

    def is_on(self, instrument_id: int) -> bool:
        """Whether it, or a leg of it, is for an instrument; 0 for any."""
        if not instrument_id or instrument_id == self.instrument_id:
            return True
        return any(leg.instrument_id == instrument_id for leg in self.legs)

    @property
    def price_nanos(self) -> int:
        """Limit, nano-dollars per CU."""
        return self.resting.price

    @property
    def quantity_mflop(self) -> int:
        """Total quantity."""
        return self.resting.quantity

    @property
    def leaves_mflop(self) -> int:
        """Still open."""
        return self.resting.leaves

    def worst_nanos(self, leaves_mflop: int) -> int:
        """What a bid costs at most, with so much still open: what was paid, and its limit."""
        worst = self.posted_nanos + escrow_nanos(self.resting.price, leaves_mflop)
        return min(worst, self.max_cost_nanos) if self.max_cost_nanos else worst

    def state_tuple(self) -> tuple[object, ...]:
        """Canonical state beside the book's, for the digest. Notional may exceed 64 bits."""
        return (
            self.order_id,
            self.client_order_id,
            self.instrument_id,
            self.order_type,
            self.time_in_force,
            self.max_cost_nanos,
            self.expire_time_ns,
            self.stream_id,
            self.waiting,
            self.legs,
            self.transfer_id,
            str(self.notional),
            self.posted_nanos,
        )


def expose_legs(order: OpenOrder, sign: int, but_instrument_id: int = 0) -> None:
    """Count every leg of a multi-leg bid, or (-1) no more; one of them may be left out."""
    for leg in order.legs:
        if leg.instrument_id != but_instrument_id:
            order.account.stake(leg.instrument_id).expose(_BID, sign * leg.quantity)
