"""A matching engine that is too simple to be wrong, for checking contestants on small workloads.

All live orders stand in one list in the order of arrival, and each step looks through all of it.
"""

from __future__ import annotations

from flopex.bench.matching.workloads import BID, CANCEL, LIMIT, Command, Trade


def trades(commands: list[Command]) -> list[Trade]:
    """The trades of a stream of commands by price-time priority, at the maker's price."""
    live: list[list[int]] = []
    made: list[Trade] = []
    for what, side, book, order_id, price, quantity in commands:
        if what == CANCEL:
            live = [order for order in live if order[0] != order_id]
            continue
        left = quantity
        while left:
            sign = 1 if side == BID else -1
            able = [o for o in live if o[1] == book and o[2] != side and sign * (price - o[3]) >= 0]
            if not able:
                break
            maker = min(able, key=lambda order: sign * order[3])
            traded = min(left, maker[4])
            made.append(Trade(order_id, maker[0], maker[3], traded))
            left -= traded
            maker[4] -= traded
            if not maker[4]:
                live.remove(maker)
        if left and what == LIMIT:
            live.append([order_id, book, side, price, left])
    return made
