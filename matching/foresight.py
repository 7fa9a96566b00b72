"""What an auction will come to: its price after self-trade prevention, without touching the book.

An uncross at a price at which an account stands on both sides only separates that account's orders,
and the price is found anew (`matching.uncross`). Whoever announces a price, or compares it with a
collar, wants the one at which the book trades in the end. Here the same rounds are gone through on
what each order has left.
"""

from __future__ import annotations

from collections import deque
from typing import Final

from matching.auction import Clearing, clear
from matching.sheet import BID, CANCEL_NEWEST, CANCEL_OLDEST, DECREMENT, Sheet
from matching.uncross import within

_ASK: Final = 2


class _Left:
    """What an order has left in the auction that is thought through."""

    __slots__ = ("account_id", "leaves", "mode", "price")

    def __init__(self, account_id: int, price: int, leaves: int, mode: int) -> None:
        self.account_id = account_id
        self.price = price
        self.leaves = leaves
        self.mode = mode


def foresee(sheet: Sheet, reference: int) -> Clearing | None:
    """The clearing of the uncross that trades, after those that separate accounts; None: none does.

    Costs O(n log n) for each price that is found, of which there are few.
    """
    bids, asks = _all_left(sheet, BID), _all_left(sheet, _ASK)
    while True:
        found = clear(_steps(bids), _steps(asks), reference, sheet.tick)
        if found is None or not _separate(bids, asks, found.price):
            return found


def _all_left(sheet: Sheet, side: int) -> list[_Left]:
    turns = sheet.turns(side)
    orders = within(sheet, side, turns[-1].price) if turns else []
    return [_Left(o.account_id, o.price, o.leaves, o.self_trade) for o in orders]


def _steps(orders: list[_Left]) -> list[tuple[int, int]]:
    return [(order.price, order.leaves) for order in orders if order.leaves]


def _separate(bids: list[_Left], asks: list[_Left], price: int) -> bool:
    """`uncross._separate_accounts`, on what each order has left."""
    own_asks: dict[int, deque[_Left]] = {}
    for ask in asks:
        if ask.leaves and ask.price <= price:
            own_asks.setdefault(ask.account_id, deque()).append(ask)
    found = False
    for bid in bids:
        if bid.price < price:
            break
        own = own_asks.get(bid.account_id)
        while own and bid.leaves:
            found = True
            _prevent_self_trade(bid, own[0])
            if not own[0].leaves:
                own.popleft()
    return found


def _prevent_self_trade(bid: _Left, ask: _Left) -> None:
    if bid.mode == DECREMENT:
        quantity = min(bid.leaves, ask.leaves)
        bid.leaves -= quantity
        ask.leaves -= quantity
        return
    if bid.mode != CANCEL_NEWEST:
        ask.leaves = 0
    if bid.mode != CANCEL_OLDEST:
        bid.leaves = 0
