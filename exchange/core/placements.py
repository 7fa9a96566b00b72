"""Commands of orders, read from records where few of their fields are wanted."""

from __future__ import annotations

from typing import Final, cast

import msgspec
from librt.strings import BytesWriter, read_i32_be, read_i32_le, read_i64_le, write_i32_le
from mypy_extensions import i32, i64

from exchange.core.client_ids import content_digest, placement_digest
from exchange.core.commands import (
    CancelOrder,
    PlaceConditionalOrder,
    PlaceMultiLegOrder,
    PlaceOrder,
)
from exchange.core.records import HEAD

_Fields = tuple[int, bytes, int, int, int, int, int, int, int, int, int]
_FIELDS: Final = len(PlaceOrder.__struct_fields__)
_PLAIN: Final = PlaceOrder.KIND
_NO_ID: Final = bytes(16)
_U32: Final = 0xFFFFFFFF
_KIND: Final = 0xFFFF
_FIRST_ANSWERED: Final = PlaceOrder.KIND
_LAST_ANSWERED: Final = PlaceMultiLegOrder.KIND
"""Kinds of the commands about one order: to place, cancel and replace it."""
_LENGTH_AT: Final = 4
_CANCEL_HEAD: Final = CancelOrder.head_word()

HEAD_BYTES: Final = HEAD.size
BEGIN_BYTES: Final = 4
"""Of an entry in `record_begins`."""


class Placement:
    """The fields of a `PlaceOrder` of any kind as slots.

    An order's entry looks at each of them several times, and a slot costs compiled code a tenth of
    what a record's attribute does. One placement is read into again and again.

    Attributes:
        command: What it was read from, with what only some kinds have; None for a plain order.
        kind: With `digest` what a repeat must have, too: all but the stream, as a repeat may come
            over another one. Conditions that ask nothing make a plain order.
        digest: See `Known`.
    """

    __slots__ = (
        "account_id",
        "client_order_id",
        "command",
        "digest",
        "expire_time_ns",
        "instrument_id",
        "is_plain",
        "kind",
        "max_cost_nanos",
        "order_type",
        "price_nanos",
        "quantity_mflop",
        "self_trade",
        "side",
        "stream_id",
        "time_in_force",
    )

    def __init__(self) -> None:
        self.command: PlaceOrder | None = None
        self.is_plain = True
        self.kind = _PLAIN
        self.digest: i64 = 0
        self.account_id = 0
        self.client_order_id = _NO_ID
        self.instrument_id = 0
        self.side = 0
        self.order_type = 0
        self.time_in_force = 0
        self.self_trade = 0
        self.price_nanos = 0
        self.quantity_mflop = 0
        self.expire_time_ns = 0
        self.max_cost_nanos = 0
        self.stream_id = 0

    def read(self, command: PlaceOrder) -> None:
        """Become what a command says."""
        (
            self.account_id, self.client_order_id, self.instrument_id, self.side, self.order_type,
            self.time_in_force, self.self_trade, self.price_nanos, self.quantity_mflop,
            self.expire_time_ns, self.max_cost_nanos,
        ) = cast("_Fields", msgspec.structs.astuple(command)[:_FIELDS])  # fmt: skip
        if type(command) is PlaceOrder:
            self.command, self.is_plain, self.stream_id = None, True, 0
            self._digest_plain()
        else:
            self._read_more(command)

    def read_record(self, record: bytes, at: i64) -> None:
        """Become the plain order whose fields lie there, as `PlaceOrder` has them in bytes."""
        account_id: i64 = i64(read_i32_le(record, at)) & _U32
        instrument_id: i64 = i64(read_i32_le(record, at + 20)) & _U32
        words: i64 = i64(read_i32_be(record, at + 24)) & _U32  # as the digest wants them
        price: i64 = read_i64_le(record, at + 28)
        quantity: i64 = read_i64_le(record, at + 36)
        expire_time_ns: i64 = read_i64_le(record, at + 44)
        max_cost: i64 = read_i64_le(record, at + 52)
        self.command, self.is_plain, self.stream_id = None, True, 0
        self.account_id = account_id
        self.client_order_id = record[at + 4 : at + 20]
        self.instrument_id = instrument_id
        self.side = words >> 24
        self.order_type = words >> 16 & 0xFF
        self.time_in_force = words >> 8 & 0xFF
        self.self_trade = words & 0xFF
        self.price_nanos = price
        self.quantity_mflop = quantity
        self.expire_time_ns = expire_time_ns
        self.max_cost_nanos = max_cost
        self.kind = _PLAIN
        self.digest = placement_digest(
            instrument_id, words, price, quantity, expire_time_ns, max_cost
        )

    def _read_more(self, command: PlaceOrder) -> None:
        assert isinstance(command, PlaceConditionalOrder | PlaceMultiLegOrder)
        self.command, self.is_plain, self.stream_id = command, False, command.stream_id
        if type(command) is PlaceConditionalOrder and not any(
            msgspec.structs.astuple(command)[_FIELDS:-1]
        ):
            self._digest_plain()
        else:
            self.kind = command.KIND
            self.digest = content_digest(msgspec.structs.replace(command, stream_id=0))

    def _digest_plain(self) -> None:
        words = (self.side << 8 | self.order_type) << 8 | self.time_in_force
        self.kind = _PLAIN
        self.digest = placement_digest(
            self.instrument_id,
            words << 8 | self.self_trade,
            self.price_nanos,
            self.quantity_mflop,
            self.expire_time_ns,
            self.max_cost_nanos,
        )


def read_cancel(record: bytes, at: i64) -> tuple[int, int, bytes]:
    """Account, order and client order of the `CancelOrder` whose fields lie there."""
    account_id: i64 = i64(read_i32_le(record, at)) & _U32
    order_id: int = read_i64_le(record, at + 4)
    if order_id < 0:
        order_id += 1 << 64  # an unsigned field
    return account_id, order_id, record[at + 12 : at + 28]


def record_begins(records: bytes) -> bytes:
    """Where each of joined records begins, as numbers of `BEGIN_BYTES`, little-endian."""
    begins = BytesWriter()
    at: i64 = 0
    end: i64 = len(records)
    while at < end:
        write_i32_le(begins, i32(at))
        length = i64(read_i32_le(records, at + _LENGTH_AT))
        assert length >= 0, "no record is so long"
        at += HEAD_BYTES + length
    return begins.getvalue()


def asker(records: bytes, begins: bytes, number: i64) -> int:
    """The account that the answer to a command tells what became of its order.

    0 where there is none: time, the operator and mass cancels answer nobody so.
    """
    at = i64(read_i32_le(begins, number * BEGIN_BYTES))
    kind = read_i32_le(records, at) & _KIND
    if _FIRST_ANSWERED <= kind <= _LAST_ANSWERED:
        return i64(read_i32_le(records, at + HEAD_BYTES)) & _U32
    return 0


def cancel_in(records: bytes, begins: bytes, number: i64) -> tuple[int, bytes] | None:
    """Order and client order of a command that is a `CancelOrder`; None for any other."""
    at = i64(read_i32_le(begins, number * BEGIN_BYTES))
    if read_i64_le(records, at) != _CANCEL_HEAD:
        return None
    _, order_id, client_order_id = read_cancel(records, at + HEAD_BYTES)
    return order_id, client_order_id
