"""The call auction again, deliberately naive: try every price on the grid, apply the rules in turn.

It shares no code with `matching.auction`. The crossing interval it finds by another definition: the
prices at which the gains that all bids and asks would wish for, added up, are smallest.
"""

from __future__ import annotations

from collections.abc import Sequence

from matching.auction import Clearing, Step


def naive_clear(
    demand: Sequence[Step], supply: Sequence[Step], reference: int, tick: int = 1
) -> Clearing | None:
    """What `matching.auction.clear` must answer. Costs O(prices x steps)."""
    at_steps = [price for price, _ in (*demand, *supply)]
    if not at_steps:
        return None
    prices = range(min(at_steps), max(at_steps) + 1, tick)
    volume = {p: min(_demand(demand, p), _supply(supply, p)) for p in prices}
    surplus = {p: _demand(demand, p) - _supply(supply, p) for p in prices}
    wished = {p: _wished_gain(demand, supply, p) for p in prices}

    most = max(volume.values())
    if most == 0:
        return None
    chosen = [p for p in prices if volume[p] == most]
    least = min(abs(surplus[p]) for p in chosen)
    chosen = [p for p in chosen if abs(surplus[p]) == least]
    bids_left = [p for p in chosen if surplus[p] > 0]
    asks_left = [p for p in chosen if surplus[p] < 0]
    if bids_left or asks_left:
        chosen = bids_left[-1:] + asks_left[:1]
    price = min(chosen, key=lambda p: (abs(p - reference), p))

    crossing = [p for p in prices if wished[p] == min(wished.values())]
    return Clearing(price, most, surplus[price], crossing[0], crossing[-1])


def _demand(demand: Sequence[Step], price: int) -> int:
    return sum(quantity for bid, quantity in demand if bid >= price)


def _supply(supply: Sequence[Step], price: int) -> int:
    return sum(quantity for ask, quantity in supply if ask <= price)


def _wished_gain(demand: Sequence[Step], supply: Sequence[Step], price: int) -> int:
    buyers = sum(quantity * max(0, bid - price) for bid, quantity in demand)
    return buyers + sum(quantity * max(0, price - ask) for ask, quantity in supply)
