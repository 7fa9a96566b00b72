"""Packed command rows, carried out one after the other: the fast way into a book."""

from __future__ import annotations

from typing import TYPE_CHECKING

from librt.strings import read_i64_le

from matching import commands, interpreted, packed
from matching.order import BUDGET, ICEBERG, MINIMUM, STOP, Conditions, Order
from matching.packed import BUDGET_LOW_BITS, COMMAND_BYTES, COMPILED, PLAIN
from matching.sheet import Sheet
from matching.types import RejectReason

if TYPE_CHECKING:
    from mypy_extensions import i64


def apply_rows(sheet: Sheet, rows: bytes) -> None:
    """Carry out whole rows; what they do is on the sheet's tape."""
    if not COMPILED:
        interpreted.apply_rows(sheet, rows, _apply_row)
        return
    at: i64 = 0
    end: i64 = len(rows)
    while at < end:
        _apply_row(
            sheet,
            rows,
            at,
            read_i64_le(rows, at),
            read_i64_le(rows, at + 8),
            read_i64_le(rows, at + 16),
            read_i64_le(rows, at + 24),
            read_i64_le(rows, at + 32),
        )
        at += COMMAND_BYTES


def _apply_row(
    sheet: Sheet,
    rows: bytes,
    at: int,
    head: int,
    order_id: int,
    account_id: int,
    price: int,
    quantity: int,
) -> None:
    """One command row, with its first columns already read."""
    plain = PLAIN.get(head)
    if plain is not None:
        side, tif, self_trade = plain
        commands.place_plain(
            sheet, Order(order_id, account_id, side, price, quantity, tif, self_trade)
        )
    elif head & 255 == packed.CANCEL:
        commands.cancel(sheet, order_id)
    else:
        _apply_rare(sheet, rows, at, head, order_id, account_id, price, quantity)


def _apply_rare(
    sheet: Sheet,
    rows: bytes,
    at: int,
    head: int,
    order_id: int,
    account_id: int,
    price: int,
    quantity: int,
) -> None:
    """All commands but a plain PLACE and CANCEL."""
    op = head & 255
    if op == packed.PLACE:
        side, tif, self_trade = head >> 8 & 255, head >> 16 & 255, head >> 24 & 255
        order = Order(order_id, account_id, side, price, quantity, tif, self_trade)
        terms = head >> 32 & 0xFFFFFFFF
        if terms:
            _read_conditions(order, rows, at, terms)
        commands.place_checked(sheet, order)
    elif op == packed.REPLACE:
        commands.replace(sheet, order_id, price, quantity, read_i64_le(rows, at + 56))
    elif op == packed.MASS_CANCEL:
        commands.mass_cancel(sheet, account_id, head >> 8 & 255)
    elif op == packed.SET_STATE:
        commands.set_state(sheet, quantity)
    elif op == packed.UNCROSS:
        commands.uncross(sheet, price)
    else:
        sheet.tape.rejected(order_id, RejectReason.UNKNOWN_COMMAND)


def _read_conditions(order: Order, rows: bytes, at: int, terms: int) -> None:
    """Give an order the conditions of its command row."""
    # As `int` first: compiled, the product of two numbers as they are read would wrap at 64 bits.
    high: int = read_i64_le(rows, at + 64)
    low: int = read_i64_le(rows, at + 72)
    budget = high * (1 << BUDGET_LOW_BITS) + low
    order.conditions = Conditions(
        terms,
        read_i64_le(rows, at + 40) if terms & MINIMUM else 0,
        read_i64_le(rows, at + 48) if terms & ICEBERG else 0,
        read_i64_le(rows, at + 56) if terms & STOP else 0,
        budget if terms & BUDGET else 0,
    )
