"""The uncross: a book in auction trades at one price.

The price is right for the orders from which it was found. So whatever would take orders away from
it comes before the trade: where an account stands on both sides of the price, its orders are only
separated, and the caller finds the price anew. Orders with a minimum, which may or may not trade,
have no part in either; they wait for the book to open.
"""

from __future__ import annotations

from collections import deque
from typing import Final

from matching.order import AT_LEAST, Order
from matching.sheet import CANCEL_NEWEST, CANCEL_OLDEST, DECREMENT, Sheet
from matching.types import CancelReason

_BID: Final = 1
_ASK: Final = 2
_IOC: Final = 3


def trade_at(sheet: Sheet, price: int) -> None:
    """Separate accounts that stand on both sides; where none does, trade and end IOC orders."""
    bids, asks = within(sheet, _BID, price), within(sheet, _ASK, price)
    if not _separate_accounts(sheet, bids, asks):
        _pair(sheet, bids, asks, price)
        cancel_immediate(sheet)


def cancel_immediate(sheet: Sheet) -> None:
    """Cancel all IOC orders, which wait for one uncross only."""
    waiting: list[Order] = []
    for side in (_BID, _ASK):
        for level in sheet.turns(side):
            order = level.oldest
            while order is not None:
                if order.time_in_force == _IOC:
                    waiting.append(order)
                order = order.newer
    for order in waiting:
        sheet.cancel(order, CancelReason.IOC_REST)


def interest(sheet: Sheet, side: int) -> list[tuple[int, int]]:
    """(price, quantity) of all orders of a side without a minimum, best price first."""
    totals: dict[int, int] = {}
    for level in sheet.turns(side):
        quantity = 0
        order = level.oldest
        while order is not None:
            conditions = order.conditions
            if conditions is None or not conditions.terms & AT_LEAST:
                quantity += order.leaves
            order = order.newer
        if quantity:
            totals[level.price] = totals.get(level.price, 0) + quantity
    return list(totals.items())


def is_crossed(sheet: Sheet) -> bool:
    """Whether orders without a minimum cross, shown or hidden."""
    bids, asks = interest(sheet, _BID), interest(sheet, _ASK)
    return bool(bids) and bool(asks) and bids[0][0] >= asks[0][0]


def within(sheet: Sheet, side: int, price: int) -> list[Order]:
    """The orders without a minimum that `price` satisfies, in the order of their turns."""
    found: list[Order] = []
    for level in sheet.turns(side):
        if level.price < price if side == _BID else level.price > price:
            break
        order = level.oldest
        while order is not None:
            conditions = order.conditions
            if conditions is None or not conditions.terms & AT_LEAST:
                found.append(order)
            order = order.newer
    return found


def _separate_accounts(sheet: Sheet, bids: list[Order], asks: list[Order]) -> bool:
    """Self-trade prevention: each bid meets the asks of its account until one of them is gone.

    The bid's mode decides, as if it were the newest. False if no account stands on both sides.
    """
    sellers = {ask.account_id for ask in asks}
    own_bids = [bid for bid in bids if bid.account_id in sellers]
    if not own_bids:
        return False
    own_asks: dict[int, deque[Order]] = {bid.account_id: deque() for bid in own_bids}
    for ask in asks:
        if ask.account_id in own_asks:
            own_asks[ask.account_id].append(ask)
    for bid in own_bids:
        own = own_asks[bid.account_id]
        while own and bid.level is not None:
            _prevent_self_trade(sheet, bid, own[0])
            if own[0].level is None:
                own.popleft()
    return True


def _pair(sheet: Sheet, bids: list[Order], asks: list[Order], price: int) -> None:
    """Trade the first bid with the first ask until one side is exhausted."""
    at = ask_at = 0
    while at < len(bids) and ask_at < len(asks):
        bid, ask = bids[at], asks[ask_at]
        _trade(sheet, bid, ask, price)
        if bid.leaves == 0:
            at += 1
        if ask.leaves == 0:
            ask_at += 1


def _trade(sheet: Sheet, bid: Order, ask: Order, price: int) -> None:
    """The ask is called the maker; what the bid showed of it is reduced."""
    quantity = min(bid.leaves, ask.leaves)
    sheet.last_price = price
    was_shown = ask.shown > 0
    sheet.shrink(ask, quantity)
    less = sheet.shrink(bid, quantity)
    sheet.tape.filled(ask, bid, price, quantity, ask.shown if was_shown else -1, bid.leaves)
    if less:
        sheet.tape.reduced(bid, less, 0)
    if ask.leaves == 0:
        sheet.emptied(ask)
    if bid.leaves == 0:
        sheet.emptied(bid)


def _prevent_self_trade(sheet: Sheet, bid: Order, ask: Order) -> None:
    mode = bid.self_trade
    if mode == DECREMENT:
        quantity = min(bid.leaves, ask.leaves)
        sheet.decrement(ask, quantity)
        sheet.decrement(bid, quantity)
        return
    if mode != CANCEL_NEWEST:
        sheet.cancel(ask, CancelReason.SELF_TRADE)
    if mode != CANCEL_OLDEST:
        sheet.cancel(bid, CancelReason.SELF_TRADE)
