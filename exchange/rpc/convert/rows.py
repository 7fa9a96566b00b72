"""What a busy order stream sends, row by row: compiled with the core, free of protobuf.

The rows are those of `exchange.packed`; `exchange.rpc.convert.answers` says what became of them.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from exchange.core.commands import CancelOrder, Command, PlaceOrder, ReplaceOrder
from exchange.packed import CANCEL, INSTRUCTION, NO_ID, PLACE, REPLACE

_PLACE: Final = PlaceOrder.KIND
_PLACE_BYTES: Final = PlaceOrder.layout().fixed.size
_CANCEL: Final = CancelOrder.KIND
_CANCEL_BYTES: Final = CancelOrder.layout().fixed.size

_iter_rows: Final = INSTRUCTION.iter_unpack
_pack_place: Final = PlaceOrder.layout().whole.pack
_pack_cancel: Final = CancelOrder.layout().whole.pack


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
