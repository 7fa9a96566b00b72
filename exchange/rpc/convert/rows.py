"""What a busy order stream sends, row by row: compiled with the core, free of protobuf.

The rows are those of `exchange.packed`; `exchange.rpc.convert.answers` says what became of them.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from librt.strings import BytesWriter, read_i32_le, read_i64_le, write_i32_le, write_i64_le
from mypy_extensions import i32, i64

from exchange.core.commands import CancelOrder, PlaceOrder, ReplaceOrder
from exchange.packed import CANCEL, INSTRUCTION, NO_ID, PLACE, REPLACE

_PLACE_HEAD: Final = PlaceOrder.head_word()
_CANCEL_HEAD: Final = CancelOrder.head_word()

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
        records: What became a command, as the journal has it, joined.
        indexes: Each one's place among the rows.
        unknown: (place, order, client order) of rows whose action there is not.
    """

    records: bytes
    indexes: list[int]
    unknown: list[tuple[int, int, bytes]]


def read(account_id: int, rows: bytes) -> Instructions:
    """The commands of an account's instructions.

    Args:
        account_id: Whose they are.
        rows: Whole rows.
    """
    indexes: list[int] = []
    records = BytesWriter()
    unknown: list[tuple[int, int, bytes]] = []
    account: i32 = _as_i32(account_id)
    index, at, end = 0, 0, len(rows)
    while at < end:
        action = rows[at]
        if action == PLACE:
            _place(records, account, rows, at)
            indexes.append(index)
        elif action == CANCEL:
            _cancel(records, account, rows, at)
            indexes.append(index)
        elif action == REPLACE:
            price, quantity = read_i64_le(rows, at + _PRICE), read_i64_le(rows, at + _QUANTITY)
            replacement = ReplaceOrder(account_id, _order_id(rows, at), price, quantity, 0)
            records.write(replacement.encode())
            indexes.append(index)
        else:
            client_order_id = rows[at + _CLIENT_ORDER : at + _PRICE]
            unknown.append((index, _order_id(rows, at), client_order_id))
        index += 1
        at += _ROW_BYTES
    return Instructions(records.getvalue(), indexes, unknown)


def _place(records: BytesWriter, account: i32, rows: bytes, at: i64) -> None:
    """A row as the record of a `PlaceOrder`: what both hold in one order is copied."""
    side: i64 = rows[at + 1]
    order_type: i64 = rows[at + 2] or 1
    time_in_force: i64 = rows[at + 3] or 1
    self_trade: i64 = rows[at + 4] or 1
    words = side | order_type << 8 | time_in_force << 16 | self_trade << 24
    write_i64_le(records, _PLACE_HEAD)
    write_i32_le(records, account)
    _copy(records, rows, at + _CLIENT_ORDER, 2)
    write_i32_le(records, read_i32_le(rows, at + _INSTRUMENT))
    write_i32_le(records, _as_i32(words))
    _copy(records, rows, at + _PRICE, 4)  # price, quantity, expiry and money cap


def _cancel(records: BytesWriter, account: i32, rows: bytes, at: i64) -> None:
    """The same for a cancel, which names its order by either id."""
    write_i64_le(records, _CANCEL_HEAD)
    write_i32_le(records, account)
    _copy(records, rows, at + _ORDER, 1)
    if read_i64_le(rows, at + _ORDER):
        records.write(NO_ID)
    else:
        _copy(records, rows, at + _CLIENT_ORDER, 2)


def _copy(records: BytesWriter, rows: bytes, at: i64, words: i64) -> None:
    """So many numbers as they are."""
    end: i64 = at + 8 * words
    while at < end:
        write_i64_le(records, read_i64_le(rows, at))
        at += 8


def _order_id(rows: bytes, at: i64) -> int:
    order_id: int = read_i64_le(rows, at + _ORDER)
    return order_id if order_id >= 0 else order_id + (1 << 64)  # an unsigned field


def _as_i32(unsigned: i64) -> i32:
    """What is written is the same four bytes."""
    return i32(unsigned if unsigned < 1 << 31 else unsigned - (1 << 32))
