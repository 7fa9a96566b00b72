"""Takes down what the commands of a group do, as they do it (`exchange.core.event_rows`)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from librt.strings import BytesWriter, write_i32_le, write_i64_le
from mypy_extensions import i32, i64

from exchange.core.event_rows import (
    ACCEPTED,
    ADVANCED,
    CLOSED,
    FILLED,
    OTHER,
    POSTED,
    REFUSED,
    EventRows,
    encode,
    filled_up,
)
from exchange.core.events import (
    OrderAccepted,
    OrderClosed,
    OrderFilled,
    Posted,
    Refused,
    TimeAdvanced,
)

if TYPE_CHECKING:
    from exchange.core.events import AnyEvent

KEPT_BYTES_MAX: Final = 1 << 20
"""Memory of a group's rows that the next one's may use again."""
ROWS_BYTES_END: Final = 1 << 31
"""Places of rows are numbered in 31 bits. The bounds of orders and of a group's commands keep a
group far from it, so this is an assertion."""
_ZEROS: Final = bytes(8)


class EventTape:
    """The events of the group under way, command by command.

    Attributes:
        count: Events of the present command so far.
        digesting: Whether somebody wants a digest of the groups from now on, and so all of every
            event in its rows.
    """

    __slots__ = ("_head", "_index", "_others", "_rows", "count", "digesting")

    def __init__(self) -> None:
        self.digesting = False
        self._rows = BytesWriter()
        self.begin()

    def begin(self) -> None:
        """A group begins: written from the beginning, into the same memory unless it is much."""
        if len(self._rows) <= KEPT_BYTES_MAX:
            self._rows.truncate(0)
        else:
            self._rows = BytesWriter()
        self._index = BytesWriter()
        self._others: list[AnyEvent] = []
        self._head: i64 = -1 << 32  # of a row: the present command's place in the group
        self.count = 0

    def begin_command(self) -> None:
        """The next command's turn."""
        self.count = 0
        self._head += 1 << 32
        write_i32_le(self._index, i32(len(self._rows)))

    def end(self) -> EventRows:
        """The group is over: the events of each command."""
        assert len(self._rows) < ROWS_BYTES_END, "no group tells so much"
        write_i32_le(self._index, i32(len(self._rows)))
        others, self._others = self._others, []
        return EventRows(self._rows.getvalue(), self._index.getvalue(), others)

    def tell(self, event: AnyEvent) -> None:
        """Any event that is at hand as one."""
        if type(event) is Posted:
            self.posted(
                event.kind, event.debit_account_id, event.credit_account_id, event.amount_nanos,
                event.reference_id,
            )  # fmt: skip
        elif type(event) is OrderClosed:
            self.closed(
                event.order_id, event.account_id, event.instrument_id, event.state, event.reason,
                event.leaves_mflop,
            )  # fmt: skip
        elif type(event) is OrderAccepted:
            self.accepted(
                event.order_id, event.account_id, event.client_order_id, event.instrument_id,
                event.side, event.price_nanos, event.quantity_mflop,
            )  # fmt: skip
        elif type(event) is OrderFilled:
            self.filled(
                event.trade_id, event.instrument_id, event.price_nanos, event.quantity_mflop,
                event.maker_order_id, event.maker_account_id, event.maker_leaves_mflop,
                event.taker_order_id, event.taker_account_id, event.taker_leaves_mflop,
                event.taker_side,
            )  # fmt: skip
        elif type(event) is Refused:
            self.refused(event.reason, event.account_id, event.retry_at_ns)
        elif type(event) is TimeAdvanced:
            self.advanced(event.now_ns)
        else:
            self._other(event)

    def _other(self, event: AnyEvent) -> None:
        self.count += 1
        said = encode(event) if self.digesting else b""
        size: i64 = len(said)
        write_i64_le(self._rows, self._head | OTHER)
        write_i64_le(self._rows, i64(len(self._others)) | size << 32)
        self._rows.write(said)
        self._rows.write(_ZEROS[: filled_up(size) - size])
        self._others.append(event)

    def accepted(
        self,
        order_id: i64,
        account_id: i64,
        client_order_id: bytes,
        instrument_id: i64,
        side: i64,
        price: i64,
        quantity: i64,
    ) -> None:
        """See `OrderAccepted`."""
        self.count += 1
        rows = self._rows
        write_i64_le(rows, self._head | side << 8 | ACCEPTED)
        write_i64_le(rows, order_id)
        write_i64_le(rows, account_id | instrument_id << 32)
        rows.write(client_order_id)
        write_i64_le(rows, price)
        write_i64_le(rows, quantity)

    def filled(
        self,
        trade_id: i64,
        instrument_id: i64,
        price: i64,
        quantity: i64,
        maker_id: i64,
        maker_account_id: i64,
        maker_leaves: i64,
        taker_id: i64,
        taker_account_id: i64,
        taker_leaves: i64,
        taker_side: i64,
    ) -> None:
        """See `OrderFilled`."""
        self.count += 1
        rows = self._rows
        write_i64_le(rows, self._head | taker_side << 8 | FILLED)
        write_i64_le(rows, trade_id)
        write_i64_le(rows, maker_account_id | taker_account_id << 32)
        write_i64_le(rows, maker_id)
        write_i64_le(rows, taker_id)
        write_i64_le(rows, maker_leaves)
        write_i64_le(rows, taker_leaves)
        write_i64_le(rows, price)
        write_i64_le(rows, quantity)
        write_i64_le(rows, instrument_id)

    def closed(
        self,
        order_id: i64,
        account_id: i64,
        instrument_id: i64,
        state: i64,
        reason: i64,
        leaves: i64,
    ) -> None:
        """See `OrderClosed`."""
        self.count += 1
        rows = self._rows
        write_i64_le(rows, self._head | reason << 16 | state << 8 | CLOSED)
        write_i64_le(rows, order_id)
        write_i64_le(rows, account_id | instrument_id << 32)
        write_i64_le(rows, leaves)

    def posted(
        self,
        kind: i64,
        debit_account_id: i64,
        credit_account_id: i64,
        amount: i64,
        reference_id: i64,
    ) -> None:
        """See `Posted`."""
        self.count += 1
        rows = self._rows
        write_i64_le(rows, self._head | kind << 8 | POSTED)
        write_i64_le(rows, debit_account_id | credit_account_id << 32)
        write_i64_le(rows, amount)
        write_i64_le(rows, reference_id)

    def refused(self, reason: i64, account_id: i64, retry_at_ns: i64) -> None:
        """See `Refused`."""
        self.count += 1
        rows = self._rows
        write_i64_le(rows, self._head | reason << 8 | REFUSED)
        write_i64_le(rows, account_id)
        write_i64_le(rows, retry_at_ns)

    def advanced(self, now_ns: i64) -> None:
        """See `TimeAdvanced`."""
        self.count += 1
        write_i64_le(self._rows, self._head | ADVANCED)
        write_i64_le(self._rows, now_ns)
