"""The price of a managed bid as its deadline comes near, and when it will reach an ask.

The buyer says what the answer is worth per CU (`density`) and by when it must start; the exchange
bids density x k / (k + slack) for them, slack being the time left until the latest start. The bid
starts low while there is time to wait and reaches the full density when there is none. Prices move
on a logarithmic table of ticks, so that near-equal bids tie and the earlier latest start wins.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right

from matching.tick_table import TICKS
from matching.types import PRICE_MAX


def round_down(price: int) -> int:
    """The largest tick that is not above `price`; 0 if there is none. Costs a binary search."""
    index = bisect_right(TICKS, price)
    return TICKS[index - 1] if index else 0


def round_up(price: int) -> int:
    """The smallest tick that is not below `price`. Costs a binary search.

    Raises:
        ValueError: the price is above the table.
    """
    if price > PRICE_MAX:
        msg = f"price {price} is above {PRICE_MAX}"
        raise ValueError(msg)
    return TICKS[bisect_left(TICKS, price)]


def ramp_price(density: int, cap: int, latest_start_ns: int, now_ns: int, k_ns: int) -> int:
    """What a managed bid pays per CU now: a tick, never above `cap` or `density`; 0 is no bid.

    It never falls as time passes.
    """
    slack_ns = max(0, latest_start_ns - now_ns)
    return round_down(min(cap, density * k_ns // (k_ns + slack_ns)))


def reach_time_ns(density: int, cap: int, latest_start_ns: int, k_ns: int, ask: int) -> int | None:
    """The earliest time at which `ramp_price` is at least `ask`; None if it never is.

    The answer may lie in the past, and is never after the latest start.
    """
    # floor(density x k / (k + slack)) >= tick is density x k >= tick x (k + slack).
    tick = round_up(ask)
    if min(cap, density) < tick:
        return None
    return latest_start_ns - (density * k_ns // tick - k_ns)
