"""Packed rows where nothing is compiled: plain orders and their cancels, in one loop.

Calls of functions are much of what a plain order costs an interpreter, so this loop does by itself
what `entry.enter_plain` and `Sheet.cancel` do of the two commands that make up nearly all traffic:
a plain order that meets nobody and rests in a level that is there, and the cancel of a plain order.
Plain orders that trade or open a level have a function of their own. All else goes the way of the
compiled book, which does not use this module. The rows are the same, and so is what is left
(`tests/matching` runs both ways).
"""

from __future__ import annotations

from collections.abc import Callable
from operator import length_hint
from typing import Final

from matching import commands, entry
from matching.levels import BookSide
from matching.order import Order
from matching.packed import (
    ADD_ASK,
    ADD_BID,
    CANCEL,
    CANCELLED,
    COMMAND_BYTES,
    DELETE,
    EVENT_WORDS,
    EXECUTE,
    FIRST_COLUMNS,
    PLAIN,
    PLAIN_EVENT,
)
from matching.sheet import BID, Sheet
from matching.types import PRICE_MAX, QUANTITY_MAX, CancelReason

_IOC: Final = 3
_FOK: Final = 4
_DELETE: Final = DELETE | CancelReason.REQUESTED << 16
_DELETES: Final = (0, _DELETE | 1 << 8, _DELETE | 2 << 8)
"""The heads of rows about a cancelled bid and ask, by side."""
_IOC_REST: Final = CANCELLED | CancelReason.IOC_REST << 16
_EXECUTE_BID: Final = EXECUTE | 1 << 8
_EXECUTE_ASK: Final = EXECUTE | 2 << 8
_SHORT_MAX: Final = 2**30 - 1
"""The largest number that the interpreter compares without a call."""

ApplyRow = Callable[[Sheet, bytes, int, int, int, int, int, int], None]


def apply_rows(sheet: Sheet, rows: bytes, apply_row: ApplyRow) -> None:
    """Carry out whole rows; `apply_row` does those that are not plain."""
    orders, tape, bids, asks = sheet.orders.by_id, sheet.tape, sheet.bids, sheet.asks
    take_out, find_plain, deletes = orders.pop, PLAIN.get, _DELETES
    find_bids, find_asks = bids.levels.get, asks.levels.get
    new_order, pack, write = object.__new__, PLAIN_EVENT.pack, tape.packed.append
    is_simple, is_plain = sheet.is_simple(), _is_plain(sheet)
    commands_left = FIRST_COLUMNS.iter_unpack(rows)
    for head, order_id, account_id, price, quantity in commands_left:
        plain = find_plain(head)
        if plain is not None and is_plain:
            side, time_in_force, self_trade = plain
            if side == BID:
                add, level, best = ADD_BID, find_bids(price), asks.best
                meets = best is not None and best.price <= price
            else:
                add, level, best = ADD_ASK, find_asks(-price), bids.best
                meets = best is not None and best.price >= price
            if (
                meets
                or level is None
                or time_in_force >= _IOC
                or quantity <= 0
                or quantity > _SHORT_MAX
                or order_id in orders
            ):
                _enter(sheet, order_id, account_id, price, quantity, plain)
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
            found = take_out(order_id, None) if is_simple else None
            if found is None:
                commands.cancel(sheet, order_id)
                continue
            if found.conditions is not None:
                orders[order_id] = found
                commands.cancel(sheet, order_id)
                continue
            level, older, newer, leaves = found.level, found.older, found.newer, found.leaves
            assert level is not None
            level.quantity -= leaves
            if older is None or newer is None:
                level.remove(found)
            else:
                older.newer = newer
                newer.older = older
                found.level = found.older = found.newer = None
                level.count -= 1
            sequence = tape.sequence = tape.sequence + 1
            write(pack(deletes[found.side], sequence, order_id, found.price, leaves, leaves))
        else:
            at = len(rows) - COMMAND_BYTES * (1 + length_hint(commands_left))
            apply_row(sheet, rows, at, head, order_id, account_id, price, quantity)
            is_simple, is_plain = sheet.is_simple(), _is_plain(sheet)


def _is_plain(sheet: Sheet) -> bool:
    """Whether a plain order can meet plain orders and icebergs only, and wakes nobody."""
    return sheet.is_simple() and sheet.hidden_bids.best is None and sheet.hidden_asks.best is None


def _enter(
    sheet: Sheet,
    order_id: int,
    account_id: int,
    price: int,
    quantity: int,
    plain: tuple[int, int, int],
) -> None:
    """A plain order where all is shown: trade it, then rest or cancel what is left."""
    side, time_in_force, self_trade = plain
    if (
        order_id in sheet.orders.by_id
        or not 0 < price <= PRICE_MAX
        or not 0 < quantity <= QUANTITY_MAX
        or time_in_force == _FOK
    ):
        order = Order(order_id, account_id, side, price, quantity, time_in_force, self_trade)
        commands.place_plain(sheet, order)
        return
    own, makers = (sheet.bids, sheet.asks) if side == BID else (sheet.asks, sheet.bids)
    limit = makers.sign * price
    leaves = _trade(sheet, makers, limit, order_id, account_id, quantity)
    if not leaves:
        return
    best = makers.best
    meets = best is not None and best.key >= limit
    if time_in_force == _IOC and not meets:
        row = PLAIN_EVENT.pack(_IOC_REST | side << 8, 0, order_id, price, leaves, 0)
        sheet.tape.packed.append(row)
        return
    order = Order(order_id, account_id, side, price, quantity, time_in_force, self_trade)
    order.leaves = leaves
    if meets:
        entry.enter_plain(sheet, order)
        return
    own.append(order, leaves)
    sheet.orders.add(order)
    sheet.tape.rested_plain(order)


def _trade(
    sheet: Sheet, makers: BookSide, limit: int, taker_id: int, account_id: int, leaves: int
) -> int:
    """Trade down to a limit key, or to an order of the same account or with conditions.

    Returns what is left.
    """
    orders, tape = sheet.orders.by_id, sheet.tape
    pack, write = EVENT_WORDS.pack, tape.packed.append
    level, sequence = makers.best, tape.sequence
    head = _EXECUTE_BID if makers.sign == 1 else _EXECUTE_ASK
    while leaves and level is not None and level.key >= limit:
        maker = level.oldest
        assert maker is not None
        if maker.account_id == account_id or maker.conditions is not None:
            break
        size, maker_id = maker.leaves, maker.order_id
        traded = size if size < leaves else leaves
        leaves -= traded
        rest = maker.leaves = size - traded
        level.quantity -= traded
        price = sheet.last_price = level.price
        sequence += 1
        write(pack(head, sequence, maker_id, price, traded, rest, rest, taker_id, leaves))
        if not rest:
            del orders[maker_id]
            newer = level.oldest = maker.newer
            level.count -= 1
            maker.level = maker.newer = None
            if newer is None:
                makers.drop(level)
                level = makers.best
            else:
                newer.older = None
    tape.sequence = sequence
    return leaves
