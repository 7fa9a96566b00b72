"""Packed rows where nothing is compiled: plain orders that rest, and their cancels, in one loop.

Calls of functions are much of what a plain order costs an interpreter, so this loop does by itself
what `entry.enter_plain` and `Sheet.cancel` do of the two commands that make up nearly all traffic:
a plain order that meets nobody and rests in a level that is there, and the cancel of a plain order
between two others. All else goes the way of the compiled book, which does not use this module. The
rows are the same, and so is what is left (`tests/matching` runs both ways).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from matching import commands
from matching.order import Order
from matching.packed import (
    ADD_ASK,
    ADD_BID,
    CANCEL,
    COMMAND_BYTES,
    DELETE,
    FIRST_COLUMNS,
    PLAIN,
    PLAIN_EVENT,
)
from matching.sheet import BID, Sheet
from matching.types import QUANTITY_MAX, CancelReason

_IOC: Final = 3
_DELETE: Final = DELETE | CancelReason.REQUESTED << 16

ApplyRow = Callable[[Sheet, bytes, int, int, int, int, int, int], None]


def apply_rows(sheet: Sheet, rows: bytes, apply_row: ApplyRow) -> None:
    """Carry out whole rows; `apply_row` does those that are not plain."""
    orders, tape, bids, asks = sheet.orders, sheet.tape, sheet.bids, sheet.asks
    find, find_plain, pack, write = orders.get, PLAIN.get, PLAIN_EVENT.pack, tape.packed.append
    new_order, is_simple = object.__new__, sheet.is_simple()
    at = -COMMAND_BYTES
    for head, order_id, account_id, price, quantity in FIRST_COLUMNS.iter_unpack(rows):
        at += COMMAND_BYTES
        plain = find_plain(head)
        if plain is not None and is_simple:
            side, time_in_force, self_trade = plain
            if side == BID:
                add, key, own, makers, hidden = ADD_BID, price, bids, asks, sheet.hidden_asks
            else:
                add, key, own, makers, hidden = ADD_ASK, -price, asks, bids, sheet.hidden_bids
            level = own.levels.get(key)
            best = makers.best
            if (
                level is None
                or time_in_force >= _IOC
                or hidden.best is not None
                or (best is not None and best.key >= -key)
                or not 0 < quantity <= QUANTITY_MAX
                or order_id in orders
            ):
                order = Order(
                    order_id, account_id, side, price, quantity, time_in_force, self_trade
                )
                commands.place_plain(sheet, order)
                continue
            # What __init__ does, without the call.
            order = new_order(Order)
            order.order_id = order_id
            order.account_id = account_id
            order.side = side
            order.price = level.price
            order.quantity = order.leaves = quantity
            order.time_in_force = time_in_force
            order.self_trade = self_trade
            order.newer = order.conditions = None
            order.level = level
            newest = order.older = level.newest
            assert newest is not None
            newest.newer = level.newest = orders[order_id] = order
            level.quantity += quantity
            level.count += 1
            sequence = tape.sequence = tape.sequence + 1
            write(pack(add, sequence, order_id, price, quantity, quantity))
        elif head & 255 == CANCEL:
            found = find(order_id) if is_simple else None
            if found is None or found.conditions is not None:
                commands.cancel(sheet, order_id)
                continue
            older, newer = found.older, found.newer
            if older is None or newer is None:
                commands.cancel(sheet, order_id)
                continue
            del orders[order_id]
            older.newer = newer
            newer.older = older
            level = found.level
            assert level is not None
            leaves = found.leaves
            found.level = found.older = found.newer = None
            level.quantity -= leaves
            level.count -= 1
            sequence = tape.sequence = tape.sequence + 1
            write(pack(_DELETE | found.side << 8, sequence, order_id, found.price, leaves, leaves))
        else:
            apply_row(sheet, rows, at, head, order_id, account_id, price, quantity)
            is_simple = sheet.is_simple()
