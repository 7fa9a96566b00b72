"""What the exchange says of its commands: events for who reads them, bytes for the digest.

Events are made where somebody listens, bytes where somebody wants a digest: the live engine wants
both, a replay only bytes, the read model only events. The bytes are the MessagePack of the group's
events, one array for each command, whoever wrote them: `exchange.core.event_bytes` the ordinary
ones, compiled; msgspec all others.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from librt.strings import BytesWriter
from mypy_extensions import i64, u8

from exchange.core.event_bytes import (
    encode,
    write_accepted,
    write_closed,
    write_filled,
    write_posted,
    write_refused,
    write_time,
)
from exchange.core.events import (
    EntryKind,
    OrderAccepted,
    OrderClosed,
    OrderFilled,
    OrderState,
    Posted,
    Refused,
    TimeAdvanced,
)
from matching.packed import COMPILED

if TYPE_CHECKING:
    from exchange.core.events import AnyEvent
    from exchange.core.reasons import Reason

KEPT_BYTES_MAX: Final = 1 << 20
"""Memory of a group's bytes that the next one's may use again."""
_SHORT_ARRAY_MAX: Final = 15
"""Elements of an array whose head is one byte."""


def array_head(count: int) -> bytes:
    """How MessagePack begins an array."""
    if count <= _SHORT_ARRAY_MAX:
        return bytes([0x90 | count])
    if count < 1 << 16:
        return b"\xdc" + count.to_bytes(2, "big")
    return b"\xdd" + count.to_bytes(4, "big")


class EventTape:
    """The events of the group under way, command by command.

    Attributes:
        count: Events of the present command so far.
        digesting: Whether somebody wants the bytes of the groups from now on.
        told: The last group's events as MessagePack, in pieces, where somebody does.
    """

    __slots__ = (
        "_commands",
        "_events",
        "_listening",
        "_long",
        "_results",
        "_start",
        "_writing",
        "_written",
        "count",
        "digesting",
        "told",
    )

    def __init__(self) -> None:
        self.digesting = False
        self.told: list[bytes] = []
        self._written = BytesWriter()
        self.begin(True)

    def begin(self, listening: bool) -> None:
        """A group begins. Interpreted, its bytes are made of its events, in any case."""
        self._writing = self.digesting and COMPILED
        self._listening = listening or not COMPILED
        self._results: list[list[AnyEvent]] = []
        self.count = 0
        self._commands = 0
        self._start: i64 = 0
        self._events: list[AnyEvent] = []
        self._long: list[tuple[int, int]] = []  # where an array of many begins, and of how many
        self._clear()

    def _clear(self) -> None:
        """Write from the beginning, into the same memory unless it is much."""
        if len(self._written) <= KEPT_BYTES_MAX:
            self._written.truncate(0)
        else:
            self._written = BytesWriter()

    def begin_command(self) -> None:
        """The next command's turn."""
        self.count = 0
        if self._listening:
            self._events = []
            self._results.append(self._events)
        if self._writing:
            self._commands += 1
            self._start = len(self._written)
            self._written.append(0)  # the array's head, once it is known

    def end_command(self) -> None:
        """All is said of the command."""
        if self._writing:
            if self.count <= _SHORT_ARRAY_MAX:
                self._written[self._start] = u8(0x90 | self.count)
            else:
                self._long.append((self._start, self.count))

    def end(self) -> list[list[AnyEvent]]:
        """The group is over: the events of each command, where anybody listened."""
        results, self._results, self._events = self._results, [], []
        if self._writing:
            self.told = [array_head(self._commands), *self._pieces(self._written.getvalue())]
        elif self.digesting:
            self.told = [encode(results)]
        return results

    def _pieces(self, written: bytes) -> list[bytes]:
        """What is written, with the longer heads of the arrays of many in their places."""
        pieces: list[bytes] = []
        begin = 0
        for start, count in self._long:
            pieces += [written[begin:start], array_head(count)]
            begin = start + 1
        return [*pieces, written[begin:]]

    def tell(self, event: AnyEvent) -> None:
        """Any event, one without a method of its own here."""
        self.count += 1
        if self._listening:
            self._events.append(event)
        if self._writing:
            self._written.write(encode(event))

    def accepted(
        self,
        order_id: int,
        account_id: int,
        client_order_id: bytes,
        instrument_id: int,
        side: int,
        price: int,
        quantity: int,
    ) -> None:
        """See `OrderAccepted`."""
        self.count += 1
        if self._listening:
            self._events.append(
                OrderAccepted(
                    order_id, account_id, client_order_id, instrument_id, side, price, quantity
                )
            )
        if self._writing:
            write_accepted(
                self._written,
                order_id, account_id, client_order_id, instrument_id, side, price, quantity,
            )  # fmt: skip

    def filled(
        self,
        trade_id: int,
        instrument_id: int,
        price: int,
        quantity: int,
        maker_id: int,
        maker_account_id: int,
        maker_leaves: int,
        taker_id: int,
        taker_account_id: int,
        taker_leaves: int,
        taker_side: int,
    ) -> None:
        """See `OrderFilled`."""
        self.count += 1
        if self._listening:
            self._events.append(
                OrderFilled(
                    trade_id, instrument_id, price, quantity,
                    maker_id, maker_account_id, maker_leaves,
                    taker_id, taker_account_id, taker_leaves, taker_side,
                )
            )  # fmt: skip
        if self._writing:
            write_filled(
                self._written, trade_id, instrument_id, price, quantity,
                maker_id, maker_account_id, maker_leaves,
                taker_id, taker_account_id, taker_leaves, taker_side,
            )  # fmt: skip

    def closed(
        self,
        order_id: int,
        account_id: int,
        instrument_id: int,
        state: OrderState,
        reason: Reason,
        leaves: int,
    ) -> None:
        """See `OrderClosed`."""
        self.count += 1
        if self._listening:
            event = OrderClosed(order_id, account_id, instrument_id, state, reason, leaves)
            self._events.append(event)
        if self._writing:
            write_closed(self._written, order_id, account_id, instrument_id, state, reason, leaves)

    def posted(
        self,
        kind: EntryKind,
        debit_account_id: int,
        credit_account_id: int,
        amount: int,
        reference_id: int,
    ) -> None:
        """See `Posted`."""
        self.count += 1
        if self._listening:
            self._events.append(
                Posted(kind, debit_account_id, credit_account_id, amount, reference_id)
            )
        if self._writing:
            write_posted(
                self._written, kind, debit_account_id, credit_account_id, amount, reference_id
            )

    def refused(self, reason: Reason, account_id: int, retry_at_ns: int) -> None:
        """See `Refused`."""
        self.count += 1
        if self._listening:
            self._events.append(Refused(reason, account_id, retry_at_ns))
        if self._writing:
            write_refused(self._written, reason, account_id, retry_at_ns)

    def advanced(self, now_ns: int) -> None:
        """See `TimeAdvanced`."""
        self.count += 1
        if self._listening:
            self._events.append(TimeAdvanced(now_ns))
        if self._writing:
            write_time(self._written, now_ns)
