"""What a busy order stream is made of, row by row: compiled with the core, free of protobuf.

The rows are those of `exchange.packed`. What no row says as it stands is the caller's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

import msgspec
from librt.strings import BytesWriter, write_i32_le, write_i64_le

from exchange.core.commands import CancelOrder, Command, PlaceOrder, ReplaceOrder
from exchange.core.events import (
    AnyEvent,
    OrderAccepted,
    OrderClosed,
    OrderFilled,
    OrderState,
    Posted,
    Refused,
)
from exchange.packed import CANCEL, INSTRUCTION, NO_ID, PLACE, REPLACE

TRADE: Final = 2
CANCELED: Final = 3
EXPIRED: Final = 6
REJECTED: Final = 5
"""Execution types of the rows that are made here (a test holds them equal to the API's)."""
_EXPIRED: Final = int(OrderState.EXPIRED)
_PARTIALLY_FILLED: Final = int(OrderState.PARTIALLY_FILLED)
_FILLED: Final = int(OrderState.FILLED)

_PLACE: Final = PlaceOrder.KIND
_PLACE_BYTES: Final = PlaceOrder.layout().fixed.size
_CANCEL: Final = CancelOrder.KIND
_CANCEL_BYTES: Final = CancelOrder.layout().fixed.size

_iter_rows: Final = INSTRUCTION.iter_unpack
_pack_place: Final = PlaceOrder.layout().whole.pack
_pack_cancel: Final = CancelOrder.layout().whole.pack
_fields_of: Final = msgspec.structs.astuple


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
    records: list[bytes] = []
    unknown: list[tuple[int, int, bytes]] = []
    fields: Any
    for index, fields in enumerate(_iter_rows(rows)):
        (
            action, side, order_type, time_in_force, self_trade, instrument_id,
            order_id, client_order_id, price, quantity, expire_time_ns, max_cost,
        ) = fields  # fmt: skip
        if action == PLACE:
            order_type, time_in_force = order_type or 1, time_in_force or 1
            self_trade = self_trade or 1
            commands.append(PlaceOrder(
                account_id, client_order_id, instrument_id, side, order_type, time_in_force,
                self_trade, price, quantity, expire_time_ns, max_cost,
            ))  # fmt: skip
            records.append(_pack_place(
                _PLACE, 0, _PLACE_BYTES, account_id, client_order_id, instrument_id, side,
                order_type, time_in_force, self_trade, price, quantity, expire_time_ns, max_cost,
            ))  # fmt: skip
            indexes.append(index)
        elif action == CANCEL:
            named_by = NO_ID if order_id else client_order_id
            commands.append(CancelOrder(account_id, order_id, named_by))
            records.append(_pack_cancel(_CANCEL, 0, _CANCEL_BYTES, account_id, order_id, named_by))
            indexes.append(index)
        elif action == REPLACE:
            replacement = ReplaceOrder(account_id, order_id, price, quantity, 0)
            commands.append(replacement)
            records.append(replacement.encode())
            indexes.append(index)
        else:
            unknown.append((index, order_id, client_order_id))
    return Instructions(commands, indexes, b"".join(records), unknown)


def acceptances(
    indexes: Sequence[int], events: Sequence[list[AnyEvent]]
) -> tuple[list[tuple[int, int, int]], list[int]]:
    """What plain acceptances a batch's events tell of, and which commands have more to tell.

    Args:
        indexes: Each command's place in the request.
        events: Each command's events.

    Returns:
        Ranges (first place, count, first order) of orders that were accepted one after the other,
        and the numbers of the commands of which a range does not tell all.
    """
    ranges: list[tuple[int, int, int]] = []
    untold: list[int] = []
    first_index = first_order_id = count = 0
    for at in range(len(indexes)):
        told = events[at]
        first = told[0]
        if type(first) is OrderAccepted:
            order_id, index = first.order_id, indexes[at]
            if count and order_id == first_order_id + count and index == first_index + count:
                count += 1
            else:
                if count:
                    ranges.append((first_index, count, first_order_id))
                first_index, first_order_id, count = index, order_id, 1
            if len(told) == 1:
                continue
        untold.append(at)
    if count:
        ranges.append((first_index, count, first_order_id))
    return ranges, untold


def reports(
    account_id: int,
    first_sequence: int,
    now_ns: int,
    made: Sequence[Command],
    indexes: Sequence[int],
    events: Sequence[list[AnyEvent]],
    untold: Sequence[int],
    unusual: Callable[[int, AnyEvent], bytes],
) -> bytes:
    """The rows of what `acceptances` left untold, for the account that gave the commands.

    Args:
        account_id: Whose commands they are.
        first_sequence: Of the first command.
        now_ns: Journal time of all of them.
        made: The commands.
        indexes: Each command's place in the request.
        events: Each command's events.
        untold: Numbers of the commands to tell of.
        unusual: Makes the rows of an event that no row says as it stands.
    """
    rows = BytesWriter()
    for at in untold:
        sequence, index = first_sequence + at, indexes[at]
        for event in events[at]:
            kind = type(event)
            if kind is OrderAccepted or kind is Posted:
                continue  # told by a range; and money is the ledger's to tell
            command = made[at]
            if type(event) is Refused and type(command) is CancelOrder:
                _refused(rows, sequence, now_ns, index, command, event)
            elif not _usual(rows, account_id, sequence, now_ns, index, event):
                rows.write(unusual(at, event))
    return rows.getvalue()


def report(account_id: int, sequence: int, now_ns: int, event: AnyEvent) -> bytes:
    """The row of a fill or an end that an account did not ask for; empty for any other event."""
    rows = BytesWriter()
    _usual(rows, account_id, sequence, now_ns, 0, event)
    return rows.getvalue()


def _usual(
    rows: BytesWriter, account_id: int, sequence: int, now_ns: int, index: int, event: AnyEvent
) -> bool:
    """Write the row of a fill or an end, which most reports are; False for any other event."""
    fields: Any
    if type(event) is OrderFilled:
        fields = _fields_of(event)
        (
            trade_id, instrument_id, price, quantity, maker_id, maker_account_id, maker_leaves,
            taker_id, taker_account_id, taker_leaves, taker_side,
        ) = fields  # fmt: skip
        order_id: int = taker_id
        leaves: int = taker_leaves
        side: int = taker_side
        if taker_account_id != account_id:
            if maker_account_id != account_id:
                return False
            order_id, leaves, side = maker_id, maker_leaves, 3 - side
        words = TRADE | (_PARTIALLY_FILLED if leaves else _FILLED) << 8 | side << 16
        _head(rows, sequence, now_ns, index, instrument_id, words << 16)
        _tail(rows, order_id, NO_ID, price, quantity, leaves, trade_id)
        return True
    if type(event) is OrderClosed:
        order_id, owner_id, instrument_id, state, reason, left = _numbers(_fields_of(event))
        if owner_id != account_id:
            return False
        words = (EXPIRED if state == _EXPIRED else CANCELED) | state << 8
        _head(rows, sequence, now_ns, index, instrument_id, words << 16 | reason)
        _tail(rows, order_id, NO_ID, 0, left, 0, 0)
        return True
    return False


def _refused(
    rows: BytesWriter, sequence: int, now_ns: int, index: int, cancel: CancelOrder, event: Refused
) -> None:
    """Write the row of a cancel that changed nothing: its order has traded meanwhile, often."""
    order_id = cancel.order_id
    named_by = NO_ID if order_id else cancel.client_order_id
    _head(rows, sequence, now_ns, index, 0, REJECTED << 16 | int(event.reason))
    _tail(rows, order_id, named_by, 0, 0, 0, 0)


def _numbers(fields: Any) -> tuple[int, int, int, int, int, int]:
    """Plain numbers, where some are members of enumerations."""
    order_id, owner_id, instrument_id, state, reason, left = fields
    return order_id, owner_id, instrument_id, int(state), int(reason), left


# A row of `REPORT`, written number by number: compiled, these are plain stores.


def _head(
    rows: BytesWriter, sequence: int, now_ns: int, index: int, instrument_id: int, words: int
) -> None:
    write_i64_le(rows, sequence)
    write_i64_le(rows, now_ns)
    write_i32_le(rows, index)
    write_i32_le(rows, instrument_id)
    write_i64_le(rows, words)  # reason, then execution type, state and side of 8 bits each


def _tail(
    rows: BytesWriter,
    order_id: int,
    client_order_id: bytes,
    price: int,
    quantity: int,
    leaves: int,
    trade_id: int,
) -> None:
    write_i64_le(rows, order_id)
    rows.write(client_order_id)
    write_i64_le(rows, price)
    write_i64_le(rows, quantity)
    write_i64_le(rows, leaves)
    write_i64_le(rows, trade_id)
    write_i64_le(rows, 0)
