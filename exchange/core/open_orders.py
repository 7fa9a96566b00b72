"""Orders that work, as their owners see them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from mypy_extensions import i64, mypyc_attr

from exchange.core.accounts import Stake
from exchange.core.id_table import CLIENT_ID_BYTES
from exchange.core.placements import Placement
from exchange.metering.costs import escrow_nanos
from matching.book_legs import BookLeg
from matching.columns import count_of, cut, halves, joined, numbers, pack
from matching.order import Order
from matching.types import Side, TimeInForce

if TYPE_CHECKING:
    from collections.abc import Sequence

    from exchange.core.accounts import Account
    from exchange.core.instruments import Instrument
    from exchange.core.ledger import Hold
    from exchange.core.order_table import OrderTable

_BID: Final = int(Side.BID)
_GTD: Final = int(TimeInForce.GTD)


# Its account's list is a cycle, which `State.__del__` takes apart. The memory of the last one that
# went, which a cache still has, is the next one's.
@mypyc_attr(acyclic=True, free_list_len=1)
class OpenOrder:
    """An order that works, as its owner sees it; `resting` is the book's part of it.

    Attributes:
        instrument: What it is for; None for a multi-leg bid.
        stake: Where its leaves count towards the account's position; a multi-leg bid's count
            with each leg's instrument.
        max_cost_nanos: Money cap; 0 for none.
        expire_time_ns: When it expires, nanoseconds since the epoch; 0 for never.
        stream_id: The order stream whose end cancels it; 0 for none.
        legs: The legs of a multi-leg bid; its own instrument, price and quantities are 0.
        waiting: Whether it is a stop order that nothing has triggered yet.
        hold: Its money; None for an ask.
        place: Where it stands in its account's list.
        chain: The next order of its slot in `exchange.core.order_table`.
        notional: Exact sum of price x MFLOP bought so far.
        posted_nanos: What was paid for it.
    """

    __slots__ = (
        "account",
        "account_id",
        "chain",
        "client_order_id",
        "expire_time_ns",
        "hold",
        "instrument",
        "instrument_id",
        "legs",
        "max_cost_nanos",
        "notional",
        "order_id",
        "order_type",
        "place",
        "posted_nanos",
        "resting",
        "side",
        "stake",
        "stream_id",
        "time_in_force",
        "waiting",
    )

    def __init__(
        self,
        account: Account,
        instrument: Instrument | None,
        stake: Stake,
        placed: Placement,
        resting: Order,
        hold: Hold | None,
    ) -> None:
        # Compiled, it lies in memory like this: first what its end looks at.
        self.order_id = resting.order_id
        self.chain: OpenOrder | None = None
        self.place = 0
        self.account = account
        self.account_id = account.account_id
        self.client_order_id = placed.client_order_id
        self.instrument = instrument
        self.instrument_id = placed.instrument_id
        self.hold = hold
        self.stake = stake
        self.side = placed.side
        self.legs: tuple[BookLeg, ...] = ()
        self.expire_time_ns = placed.expire_time_ns if placed.time_in_force == _GTD else 0
        self.resting = resting
        self.notional = 0
        self.posted_nanos = 0
        self.order_type = placed.order_type
        self.time_in_force = placed.time_in_force
        self.max_cost_nanos = placed.max_cost_nanos
        self.stream_id = placed.stream_id
        self.waiting = False

    def is_on(self, instrument_id: int) -> bool:
        """Whether it, or a leg of it, is for an instrument; 0 for any."""
        if not instrument_id or instrument_id == self.instrument_id:
            return True
        return any(leg.instrument_id == instrument_id for leg in self.legs)

    @property
    def transfer_id(self) -> int:
        """Of the pending transfer that holds its money; 0 for an ask."""
        return self.hold.transfer_id if self.hold is not None else 0

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


_COLUMNS: Final = (
    "order_id",
    "account_id",
    "instrument_id",
    "side",
    "order_type",
    "time_in_force",
    "max_cost_nanos",
    "expire_time_ns",
    "waiting",
    "transfer_id",
    "posted_nanos",
)
"""An order's state beside its book's, the id first."""
_WIDE_COLUMNS: Final = ("stream_id", "notional")
"""The same, of what may need 64 bits and more."""


def orders_state(orders: OrderTable) -> tuple[object, ...]:
    """Canonical state of all open orders: columns by id, and the legs of those that have any."""
    by_id = orders.values()
    return (
        b"".join([order.client_order_id for order in by_id]),
        *[pack([getattr(order, name) for order in by_id]) for name in _COLUMNS],
        *[halves([getattr(order, name) for order in by_id]) for name in _WIDE_COLUMNS],
        [(order.order_id, order.legs) for order in by_id if order.legs],
    )


def restore_orders(
    orders: OrderTable,
    state: Sequence[Any],
    accounts: dict[int, Account],
    instruments: dict[int, Instrument],
    holds: dict[int, Hold],
) -> None:
    """Put in the orders whose state it was; each stands with its account again.

    Raises:
        KeyError: an order's account, or what holds its money, is missing.
        ValueError: it is no such state.
    """
    joint, *columns, streams, notionals, legged = state
    count = count_of(columns[0])
    client_ids = cut(joint, CLIENT_ID_BYTES, count)
    read = [numbers(column, count) for column in columns]
    ids, owners, traded, sides, types, in_force, max_costs, expiries, waiting, transfers, paid = (
        read
    )
    stream_ids, notional = [joined(high, low, count) for high, low in (streams, notionals)]
    orders.reserve(count)
    # What an order's command said makes most of it again: one is filled in for all of them.
    placed = Placement()
    placed.self_trade = 1  # a multi-leg bid's, which no book looks at
    at: i64 = 0
    while at < count:
        placed.account_id = int(owners[at])
        placed.client_order_id = client_ids[at]
        placed.instrument_id = int(traded[at])
        placed.side = int(sides[at])
        placed.order_type = int(types[at])
        placed.time_in_force = int(in_force[at])
        placed.max_cost_nanos = int(max_costs[at])
        placed.expire_time_ns = int(expiries[at])
        account = accounts[placed.account_id]
        instrument = instruments.get(placed.instrument_id)
        stake = Stake() if instrument is None else account.stake(placed.instrument_id)
        order_id = int(ids[at])
        resting = _resting(instrument, order_id, placed)
        hold = holds[int(transfers[at])] if transfers[at] else None
        order = OpenOrder(account, instrument, stake, placed, resting, hold)
        order.stream_id = stream_ids[at]
        order.waiting = waiting[at] != 0
        order.notional = notional[at]
        order.posted_nanos = int(paid[at])
        orders.add(order)
        account.add_order(order)
        at += 1
    for order_id, legs in legged:
        orders[order_id].legs = tuple(BookLeg(*leg) for leg in legs)


def _resting(instrument: Instrument | None, order_id: int, placed: Placement) -> Order:
    """The book's part of an order; a multi-leg bid has none of its own."""
    if instrument is None:
        return no_book_order(order_id, placed)
    resting = instrument.book.order(order_id) if instrument.book is not None else None
    if resting is None:
        msg = f"order {order_id} is not in its book"
        raise ValueError(msg)
    return resting


def no_book_order(order_id: int, placed: Placement) -> Order:
    """What stands for a multi-leg bid, whose legs are in the books: an order for nothing."""
    return Order(order_id, placed.account_id, placed.side, 0, 0, placed.time_in_force, 1)


def expose_legs(order: OpenOrder, sign: int, but_instrument_id: int = 0) -> None:
    """Count every leg of a multi-leg bid, or (-1) no more; one of them may be left out."""
    for leg in order.legs:
        if leg.instrument_id != but_instrument_id:
            order.account.stake(leg.instrument_id).expose(_BID, sign * leg.quantity)
