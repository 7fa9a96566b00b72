"""What a busy order stream sends, row by row: compiled with the core, free of protobuf.

The rows are those of `exchange.packed`; `exchange.rpc.convert.answers` says what became of them.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from librt.strings import BytesWriter, read_i32_le, read_i64_le, write_i32_le, write_i64_le
from mypy_extensions import i32, i64

from exchange.core.commands import CancelOrder, Command, PlaceOrder, ReplaceOrder
from exchange.packed import CANCEL, INSTRUCTION, NO_ID, PLACE, REPLACE

_PLACE_HEAD: Final = PlaceOrder.head_word()
_CANCEL_HEAD: Final = CancelOrder.head_word()
_U32: Final = (1 << 32) - 1

# Where the fields of an instruction's row lie (`exchange.packed`; a test holds them against it).
_ROW_BYTES: Final = INSTRUCTION.size
_INSTRUMENT: Final = 8
_ORDER: Final = 16
_CLIENT_ORDER: Final = 24
_PRICE: Final = 40
_QUANTITY: Final = 48
_EXPIRY: Final = 56
_MONEY_CAP: Final = 64


class Instructions(NamedTuple):
    """Rows as commands.

    Attributes:
        commands: What became a command.
        indexes: Each one's place among the rows.
        payload: The commands as the journal has them, joined.
        unknown: (place, order, client order) of rows whose action there is not.
    """

    commands: list[Command]
    indexes: list[int]
    payload: bytes
    unknown: list[tuple[int, int, bytes]]


def read(account_id: int, rows: bytes) -> Instructions:
    """The commands of an account's instructions.

    Args:
        account_id: Whose they are.
        rows: Whole rows.
    """
    commands: list[Command] = []
    indexes: list[int] = []
    records = BytesWriter()
    unknown: list[tuple[int, int, bytes]] = []
    index, at, end = 0, 0, len(rows)
    while at < end:
        action = rows[at]
        if action == PLACE:
            commands.append(_place(records, account_id, rows, at))
            indexes.append(index)
        elif action == CANCEL:
            commands.append(_cancel(records, account_id, rows, at))
            indexes.append(index)
        elif action == REPLACE:
            price, quantity = read_i64_le(rows, at + _PRICE), read_i64_le(rows, at + _QUANTITY)
            replacement = ReplaceOrder(account_id, _order_id(rows, at), price, quantity, 0)
            commands.append(replacement)
            records.write(replacement.encode())
            indexes.append(index)
        else:
            client_order_id = rows[at + _CLIENT_ORDER : at + _PRICE]
            unknown.append((index, _order_id(rows, at), client_order_id))
        index += 1
        at += _ROW_BYTES
    return Instructions(commands, indexes, records.getvalue(), unknown)


def _place(records: BytesWriter, account_id: int, rows: bytes, at: i64) -> PlaceOrder:
    """A row as a command, and as a record: where both hold the same in one order, it is copied."""
    side: i64 = rows[at + 1]
    order_type: i64 = rows[at + 2] or 1
    time_in_force: i64 = rows[at + 3] or 1
    self_trade: i64 = rows[at + 4] or 1
    instrument_id = read_i32_le(rows, at + _INSTRUMENT)
    client_order_id = rows[at + _CLIENT_ORDER : at + _PRICE]
    write_i64_le(records, _PLACE_HEAD)
    write_i32_le(records, _as_i32(account_id))
    records.write(client_order_id)
    write_i32_le(records, instrument_id)
    words = side | order_type << 8 | time_in_force << 16 | self_trade << 24
    write_i32_le(records, _as_i32(words))
    records.write(rows[at + _PRICE : at + _ROW_BYTES])
    return PlaceOrder(
        account_id, client_order_id, i64(instrument_id) & _U32,
        side, order_type, time_in_force, self_trade,
        read_i64_le(rows, at + _PRICE), read_i64_le(rows, at + _QUANTITY),
        read_i64_le(rows, at + _EXPIRY), read_i64_le(rows, at + _MONEY_CAP),
    )  # fmt: skip


def _cancel(records: BytesWriter, account_id: int, rows: bytes, at: i64) -> CancelOrder:
    """The same for a cancel, which names its order by either id."""
    order_id = _order_id(rows, at)
    named_by = NO_ID if order_id else rows[at + _CLIENT_ORDER : at + _PRICE]
    write_i64_le(records, _CANCEL_HEAD)
    write_i32_le(records, _as_i32(account_id))
    records.write(rows[at + _ORDER : at + _CLIENT_ORDER])
    records.write(named_by)
    return CancelOrder(account_id, order_id, named_by)


def _order_id(rows: bytes, at: i64) -> int:
    order_id: int = read_i64_le(rows, at + _ORDER)
    return order_id if order_id >= 0 else order_id + (1 << 64)  # an unsigned field


def _as_i32(unsigned: i64) -> i32:
    """What is written is the same four bytes."""
    return i32(unsigned if unsigned < 1 << 31 else unsigned - (1 << 32))
