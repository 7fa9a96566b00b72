"""What a book says of a command: events for its caller, packed rows for everybody.

Events (`matching.events`) are made only where somebody listens, rows (`matching.packed`) always:
the public ones are the book's market data and carry its gap-free sequence.
"""

from __future__ import annotations

from typing import Final

from librt.strings import BytesWriter, write_i64_le

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
from matching.order import Order
from matching.packed import (
    ADD,
    ADD_ASK,
    ADD_BID,
    ARMED,
    CANCELLED,
    COMPILED,
    DELETE,
    EVENT_WORDS,
    EXECUTE,
    REDUCE,
    REDUCED,
    REJECTED,
    RESTED,
    STATE,
    TRADE,
    TRIGGERED,
)
from matching.types import BookState, CancelReason, RejectReason

_SELF_TRADE: Final = 3
_pack: Final = EVENT_WORDS.pack
KEPT_BYTES_MAX: Final = 1 << 16
"""Memory of a command's rows that the next one's may use again."""
_new: Final = tuple.__new__
"""Makes a named tuple of a tuple: calling its class runs Python code of its own, and takes four
times as long."""
# Classes that are not compiled stand here by themselves: a module's name is looked up each time.
_Cancelled: Final = Cancelled
_Fill: Final = Fill


class Tape:
    """The events and rows of the present command.

    Compiled code writes rows number by number, interpreted code is quicker to pack a row at once:
    the one has `written`, the other `packed`.

    Attributes:
        events: Of the last command to which somebody listened.
    """

    __slots__ = ("events", "listening", "packed", "sequence", "telling_rests", "written")

    def __init__(self) -> None:
        self.sequence = 0
        self.events: list[BookEvent] = []
        self.packed: list[bytes] = []
        self.written = BytesWriter()
        self.begin(True)

    def begin(self, listening: bool) -> None:
        """Forget the command before."""
        if listening:
            self.listen()
        else:
            self.listening = self.telling_rests = False
        if not COMPILED:
            self.packed = []
        elif len(self.written) <= KEPT_BYTES_MAX:
            self.written.truncate(0)
        else:
            self.written = BytesWriter()

    def listen(self) -> None:
        """Somebody listens from now on."""
        self.listening = self.telling_rests = True
        self.events = []  # those before may be in somebody's hands

    def rows(self) -> bytes:
        """The packed rows since `begin`."""
        return self.written.getvalue() if COMPILED else b"".join(self.packed)

    def rested(self, order: Order) -> None:
        """The order rests, behind all others of its price and visibility."""
        if self.telling_rests:
            self.events.append(Rested(order.order_id, order.price, order.leaves))
        if order.shown:
            self.added(order)
        else:
            self.unseen(order)

    def rested_plain(self, order: Order) -> None:
        """`rested` for an order without conditions."""
        leaves = order.leaves
        if self.telling_rests:
            self.events.append(Rested(order.order_id, order.price, leaves))
        head = ADD_BID if order.side == 1 else ADD_ASK
        sequence = self.sequence = self.sequence + 1
        self._row(head, sequence, order.order_id, order.price, leaves, leaves, 0, 0, 0)

    def added(self, order: Order) -> None:
        """The order shows at the back of its level, as new or with its next peak."""
        leaves = order.leaves
        conditions = order.conditions
        shown = leaves if conditions is None else leaves - conditions.reserve
        head = ADD | order.side << 8
        sequence = self.sequence = self.sequence + 1
        self._row(head, sequence, order.order_id, order.price, shown, leaves, 0, 0, 0)

    def unseen(self, order: Order) -> None:
        """The order rests with what the market does not see changed."""
        self._private(RESTED | order.side << 8, order.order_id, order.price, 0, order.leaves)

    def filled(
        self, maker: Order, taker: Order, price: int, quantity: int, shown: int, taker_leaves: int
    ) -> None:
        """A trade; the maker still shows `shown` (-1: it was hidden) of its `leaves`."""
        if self.listening:
            self.events.append(
                _new(_Fill, (
                    maker.order_id, maker.account_id, taker.order_id, taker.account_id,
                    price, quantity, maker.leaves, taker_leaves,
                ))
            )  # fmt: skip
        head = EXECUTE | maker.side << 8
        if shown < 0:
            head = TRADE | maker.side << 8
            shown = 0
        sequence = self.sequence = self.sequence + 1
        self._row(
            head,
            sequence,
            maker.order_id,
            price,
            quantity,
            maker.leaves,
            shown,
            taker.order_id,
            taker_leaves,
        )

    def deleted(self, order: Order, reason: int) -> None:
        """A shown order leaves the display."""
        leaves = order.leaves
        conditions = order.conditions
        shown = leaves if conditions is None else leaves - conditions.reserve
        head = DELETE | order.side << 8 | reason << 16
        sequence = self.sequence = self.sequence + 1
        self._row(head, sequence, order.order_id, order.price, shown, leaves, 0, 0, 0)

    def cancelled(self, order: Order, reason: CancelReason, was_shown: bool) -> None:
        """What was left of the order is cancelled."""
        if self.listening:
            fields = (order.order_id, order.account_id, order.leaves, reason)
            self.events.append(_new(_Cancelled, fields))
        if was_shown:
            self.deleted(order, reason)
        else:
            head = CANCELLED | order.side << 8 | reason << 16
            self._private(head, order.order_id, order.price, order.leaves, 0)

    def decremented(
        self, order: Order, quantity: int, less_shown: int, reason: int = _SELF_TRADE
    ) -> None:
        """`quantity` was taken off without a trade; `less_shown` of it was seen."""
        if self.listening:
            self.events.append(
                Decremented(order.order_id, order.account_id, quantity, order.leaves)
            )
        if less_shown:
            self.reduced(order, less_shown, reason)
        else:
            head = REDUCED | order.side << 8 | reason << 16
            self._private(head, order.order_id, order.price, quantity, order.leaves)

    def reduced(self, order: Order, quantity: int, reason: int) -> None:
        """A shown order shows `quantity` less in the same place."""
        head = REDUCE | order.side << 8 | reason << 16
        sequence = self.sequence = self.sequence + 1
        self._row(
            head, sequence, order.order_id, order.price, quantity, order.leaves, order.shown, 0, 0
        )

    def replaced(self, order: Order, less_shown: int) -> None:
        """The order keeps its place with new leaves."""
        if self.telling_rests:
            self.events.append(Rested(order.order_id, order.price, order.leaves))
        if less_shown:
            self.reduced(order, less_shown, 0)
        else:
            self.unseen(order)

    def armed(self, order: Order, stop_price: int) -> None:
        """The stop order waits."""
        if self.listening:
            self.events.append(Armed(order.order_id, stop_price, order.leaves))
        self._private(ARMED | order.side << 8, order.order_id, stop_price, 0, order.leaves)

    def triggered(self, order: Order, stop_price: int) -> None:
        """The stop order enters."""
        if self.listening:
            self.events.append(Triggered(order.order_id, stop_price))
        self._private(TRIGGERED | order.side << 8, order.order_id, stop_price, 0, order.leaves)

    def rejected(self, order_id: int, reason: RejectReason) -> None:
        """The command is refused."""
        if self.listening:
            self.events.append(Rejected(order_id, reason))
        self._private(REJECTED | reason << 16, order_id, 0, 0, 0)

    def state_changed(self, state: BookState) -> None:
        """The book goes to a state."""
        if self.listening:
            self.events.append(StateChanged(state))
        self.sequence += 1
        self._row(STATE, self.sequence, 0, 0, state, 0, 0, 0, 0)

    def _private(self, head: int, order_id: int, price: int, quantity: int, leaves: int) -> None:
        self._row(head, 0, order_id, price, quantity, leaves, 0, 0, 0)

    def _row(
        self,
        head: int,
        sequence: int,
        order_id: int,
        price: int,
        quantity: int,
        leaves: int,
        shown: int,
        taker_id: int,
        taker_leaves: int,
    ) -> None:
        if not COMPILED:
            self.packed.append(
                _pack(
                    head, sequence, order_id, price, quantity, leaves, shown, taker_id, taker_leaves
                )
            )
            return
        written = self.written
        write_i64_le(written, head)
        write_i64_le(written, sequence)
        write_i64_le(written, order_id)
        write_i64_le(written, price)
        write_i64_le(written, quantity)
        write_i64_le(written, leaves)
        write_i64_le(written, shown)
        write_i64_le(written, taker_id)
        write_i64_le(written, taker_leaves)
