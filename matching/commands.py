"""The commands of a book, as they change its sheet and tell its tape.

`matching.book` gives them as methods that answer with events, `matching.batch` as packed rows.
"""

from __future__ import annotations

from typing import Final

from matching import entry
from matching.order import Order
from matching.sheet import Sheet
from matching.types import PRICE_MAX, QUANTITY_MAX, BookState, CancelReason, RejectReason
from matching.uncross import cancel_immediate, is_crossed, trade_at

_SIDES: Final = (1, 2)
_WORDS: Final = (1, 2, 3, 4)
_REQUESTED: Final = CancelReason.REQUESTED


def place(sheet: Sheet, order: Order) -> None:
    """See `Book.place`."""
    if (
        order.conditions is None
        and order.side in _SIDES
        and order.time_in_force in _WORDS
        and order.self_trade in _WORDS
        and order.leaves <= order.quantity <= QUANTITY_MAX
    ):
        place_plain(sheet, order)
    else:
        place_checked(sheet, order)


def place_checked(sheet: Sheet, order: Order) -> None:
    """Any order: checked, entered, and what follows from it."""
    reason = entry.refusal(sheet, order)
    if reason is not None:
        sheet.tape.rejected(order.order_id, reason)
        return
    entry.enter(sheet, order)
    _settle(sheet)


def place_plain(sheet: Sheet, order: Order) -> None:
    """`place` for an order without conditions whose words are known to exist."""
    if (
        0 < order.price <= PRICE_MAX
        and 0 < order.leaves <= QUANTITY_MAX
        and sheet.orders.get(order.order_id) is None
        and sheet.is_simple()
    ):
        entry.enter_plain(sheet, order)
    else:
        place_checked(sheet, order)


def _settle(sheet: Sheet) -> None:
    if sheet.minimums or sheet.stops.high or sheet.stops.queue:
        entry.settle(sheet)


def cancel(sheet: Sheet, order_id: int) -> None:
    """See `Book.cancel`."""
    order = sheet.orders.get(order_id)
    if order is None:
        order = sheet.stops.get(order_id)
        if order is None:
            sheet.tape.rejected(order_id, RejectReason.UNKNOWN_ORDER)
            return
    sheet.cancel(order, _REQUESTED)
    if sheet.minimums:
        entry.settle(sheet)


def take_out(sheet: Sheet, order: Order) -> None:
    """See `Book.take_out`."""
    sheet.cancel(order, _REQUESTED)
    if sheet.minimums:
        sheet.tape.listen()
        entry.settle(sheet)


def replace(sheet: Sheet, order_id: int, price: int, quantity: int, stop_price: int) -> None:
    """See `Book.replace`."""
    order = sheet.find(order_id)
    reason = entry.replace_refusal(sheet, order, price, quantity, stop_price)
    if reason is not None:
        sheet.tape.rejected(order_id, reason)
        return
    assert order is not None
    filled = order.quantity - order.leaves
    if quantity <= filled:
        sheet.cancel(order, CancelReason.REPLACED_BELOW_FILLED)
    elif order.level is None:
        entry.replace_stop(sheet, order, price, quantity, stop_price)
    elif price == order.price and quantity <= order.quantity:
        less = sheet.shrink(order, order.quantity - quantity)
        order.quantity = quantity
        sheet.tape.replaced(order, less)
    else:
        if sheet.take_out(order):
            sheet.tape.deleted(order, 0)
        order.price = price
        order.quantity = quantity
        order.leaves = quantity - filled
        entry.enter(sheet, order)
    _settle(sheet)


def mass_cancel(sheet: Sheet, account_id: int, side: int) -> None:
    """See `Book.mass_cancel`."""
    if not 0 <= side <= 2:
        sheet.tape.rejected(0, RejectReason.TERMS_CONFLICT)
        return
    for order in sheet.queue(1) + sheet.queue(2) + sheet.stops.orders():
        if order.account_id == account_id and side in (0, order.side):
            sheet.cancel(order, CancelReason.MASS_CANCEL)
    _settle(sheet)


def set_state(sheet: Sheet, state: int) -> None:
    """See `Book.set_state`."""
    if state not in (1, 2, 3):
        sheet.tape.rejected(0, RejectReason.UNKNOWN_COMMAND)
        return
    if state == BookState.OPEN and not sheet.open and is_crossed(sheet):
        sheet.tape.rejected(0, RejectReason.CROSSED)
        return
    if sheet.state == BookState.AUCTION and state != BookState.AUCTION:
        cancel_immediate(sheet)
    sheet.state = BookState(state)
    sheet.open = state == BookState.OPEN
    sheet.tape.state_changed(sheet.state)
    if sheet.open:
        sheet.stops.low = sheet.stops.high = sheet.last_price
        entry.settle(sheet)


def uncross(sheet: Sheet, price: int) -> None:
    """See `Book.uncross`."""
    if sheet.state != BookState.AUCTION:
        sheet.tape.rejected(0, RejectReason.NO_AUCTION)
    elif not 0 < price <= PRICE_MAX:
        sheet.tape.rejected(0, RejectReason.PRICE_OUTSIDE_LIMITS)
    else:
        trade_at(sheet, price)
