"""What an auction will come to: its price after self-trade prevention, without touching the book.

An uncross at a price at which an account stands on both sides only separates that account's orders,
and the price is found anew (`matching.uncross`). Whoever announces a price, or compares it with a
collar, wants the one at which the book trades in the end. Here the same rounds are gone through on
what each order has left.
"""

from __future__ import annotations

from typing import Final

from matching.auction import Clearing, clear
from matching.sheet import BID, CANCEL_NEWEST, CANCEL_OLDEST, DECREMENT, Sheet
from matching.uncross import within

_ASK: Final = 2


class _Stake:
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
    bids, asks = _stakes(sheet, BID), _stakes(sheet, _ASK)
    while True:
        found = clear(_steps(bids), _steps(asks), reference, sheet.tick)
        if found is None or not _separate(bids, asks, found.price):
            return found


def _stakes(sheet: Sheet, side: int) -> list[_Stake]:
    turns = sheet.turns(side)
    orders = within(sheet, side, turns[-1].price) if turns else []
    return [_Stake(o.account_id, o.price, o.leaves, o.self_trade) for o in orders]


def _steps(stakes: list[_Stake]) -> list[tuple[int, int]]:
    return [(stake.price, stake.leaves) for stake in stakes if stake.leaves]


def _separate(bids: list[_Stake], asks: list[_Stake], price: int) -> bool:
    """`uncross._separate_accounts`, on stakes."""
    own_asks: dict[int, list[_Stake]] = {}
    for ask in asks:
        if ask.leaves and ask.price <= price:
            own_asks.setdefault(ask.account_id, []).append(ask)
    found = False
    for bid in bids:
        if bid.price < price:
            break
        for ask in own_asks.get(bid.account_id, ()):
            if bid.leaves and ask.leaves:
                found = True
                _prevent_self_trade(bid, ask)
    return found


def _prevent_self_trade(bid: _Stake, ask: _Stake) -> None:
    if bid.mode == DECREMENT:
        quantity = min(bid.leaves, ask.leaves)
        bid.leaves -= quantity
        ask.leaves -= quantity
        return
    if bid.mode != CANCEL_NEWEST:
        ask.leaves = 0
    if bid.mode != CANCEL_OLDEST:
        bid.leaves = 0
