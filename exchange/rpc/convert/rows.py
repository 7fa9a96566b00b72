"""What a busy order stream is made of, row by row: compiled with the core, free of protobuf.

The rows are those of `exchange.packed`. What no row says as it stands is the caller's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

import msgspec

from exchange.core.commands import CancelOrder, Command, PlaceOrder, ReplaceOrder
from exchange.core.events import (
    AnyEvent,
    OrderAccepted,
    OrderClosed,
    OrderFilled,
    OrderState,
    Posted,
)
from exchange.packed import CANCEL, INSTRUCTION, NO_ID, PLACE, REPLACE, REPORT

TRADE: Final = 2
CANCELED: Final = 3
EXPIRED: Final = 6
"""Execution types of the rows that are made here (a test holds them equal to the API's)."""
_PARTIALLY_FILLED: Final = int(OrderState.PARTIALLY_FILLED)
_FILLED: Final = int(OrderState.FILLED)

_PLACE: Final = PlaceOrder.KIND
_PLACE_BYTES: Final = PlaceOrder.layout().fixed.size
_CANCEL: Final = CancelOrder.KIND
_CANCEL_BYTES: Final = CancelOrder.layout().fixed.size

_iter_rows: Final = INSTRUCTION.iter_unpack
_pack_report: Final = REPORT.pack
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
        indexes: Each command's place in the request.
        events: Each command's events.
        untold: Numbers of the commands to tell of.
        unusual: Makes the rows of an event that no row says as it stands.
    """
    made: list[bytes] = []
    for at in untold:
        for event in events[at]:
            kind = type(event)
            if kind is OrderAccepted or kind is Posted:
                continue  # told by a range; and money is the ledger's to tell
            row = report(account_id, first_sequence + at, now_ns, indexes[at], event)
            made.append(unusual(at, event) if row is None else row)
    return b"".join(made)


def report(
    account_id: int, sequence: int, now_ns: int, index: int, event: AnyEvent
) -> bytes | None:
    """The row of a fill or an end, which most reports are; None for any other event."""
    fields: Any
    if type(event) is OrderFilled:
        fields = _fields_of(event)
        (
            trade_id, instrument_id, price, quantity, maker_id, maker_account_id, maker_leaves,
            taker_id, taker_account_id, taker_leaves, taker_side,
        ) = fields  # fmt: skip
        side: int = taker_side
        if taker_account_id == account_id:
            order_id, leaves = taker_id, taker_leaves
        elif maker_account_id == account_id:
            order_id, leaves, side = maker_id, maker_leaves, 3 - side
        else:
            return None
        state = _PARTIALLY_FILLED if leaves else _FILLED
        row: bytes = _pack_report(
            sequence, now_ns, index, instrument_id, 0, TRADE, state, side, order_id, NO_ID,
            price, quantity, leaves, trade_id, 0,
        )  # fmt: skip
        return row
    if type(event) is OrderClosed:
        fields = _fields_of(event)
        order_id, owner_id, instrument_id, state, reason, leaves = fields
        if owner_id != account_id:
            return None
        kind = EXPIRED if state == OrderState.EXPIRED else CANCELED
        closed: bytes = _pack_report(
            sequence, now_ns, index, instrument_id, reason, kind, state, 0, order_id, NO_ID,
            0, leaves, 0, 0, 0,
        )  # fmt: skip
        return closed
    return None
