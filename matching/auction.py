"""The call auction for divisible orders: many bids and asks, one price, as much as can trade.

Demand and supply are steps (price, quantity). At a price p, demand is what bids at p or above want,
supply what asks at p or below offer, the volume the smaller of the two, the surplus demand less
supply, and the imbalance its size. The clearing price is, of all prices on the tick grid, the one
with

1. the largest volume;
2. of those, the smallest imbalance;
3. of those, by pressure: the highest where bids are left over, the lowest where asks are (where
   some have bids and some asks left over, the two prices at which that changes);
4. of those, the one nearest to the reference price, the lower of two that are equally near.

`clear` does not try prices. It trades the dearest bids with the cheapest asks until they no longer
cross. The last steps that traded and the first that did not bound the *crossing interval*: the
prices at which nobody would rather have traded more or less. The four rules always choose a price
in it, and inside it only the two ends can have an imbalance (docs/adr/0014 says why).
`matching.reference_auction` tries every price and finds the same.

    >>> clear([(105, 30), (102, 20), (100, 40)], [(98, 25), (101, 15), (103, 50)], reference=101)
    Clearing(price=102, volume=40, surplus=10, low=102, high=102)

At 101 and at 102 the volume is 40 and the imbalance 10; bids are left over, so their pressure takes
the price to 102.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from matching.types import Side

Step = tuple[int, int]
"""(price, quantity) of one order, or of all at one price. Prices may be any integer, also zero or
less; quantities are positive."""


class Clearing(NamedTuple):
    """What an auction decides: everything trades at `price`.

    `volume` is positive. `surplus` is demand less supply at the price: bids left over if positive,
    asks if negative. `low` and `high` are the ends of the crossing interval, low <= price <= high.
    """

    price: int
    volume: int
    surplus: int
    low: int
    high: int

    @property
    def imbalance_side(self) -> Side | None:
        """The side of which something is left over at the price; None if neither."""
        if self.surplus == 0:
            return None
        return Side.BID if self.surplus > 0 else Side.ASK


def clear(
    demand: Iterable[Step], supply: Iterable[Step], reference: int, tick: int = 1
) -> Clearing | None:
    """Find the one clearing price; None if no bid meets an ask. Costs O(n log n).

    Steps may come in any order, several at one price too.

    Raises:
        ValueError: a quantity is not positive, a price is not a multiple of `tick`, or `tick` is
            not positive.
    """
    bid_prices, wanted = _levels(demand, tick)
    ask_prices, offered = _levels(supply, tick)
    bid_prices.reverse()
    wanted.reverse()
    volume = bid = ask = 0
    low = high = 0
    while bid < len(bid_prices) and ask < len(ask_prices) and bid_prices[bid] >= ask_prices[ask]:
        high, low = bid_prices[bid], ask_prices[ask]
        traded = min(wanted[bid], offered[ask])
        volume += traded
        wanted[bid] -= traded
        offered[ask] -= traded
        if wanted[bid] == 0:
            bid += 1
        if offered[ask] == 0:
            ask += 1
    if volume == 0:
        return None
    # Any bid left over pays at most `high`, any ask left over asks at least `low`.
    bids_left = asks_left = 0
    if bid < len(bid_prices) and bid_prices[bid] >= low:
        low, bids_left = bid_prices[bid], wanted[bid]
    if ask < len(ask_prices) and ask_prices[ask] <= high:
        high, asks_left = ask_prices[ask], offered[ask]
    price = _choose(low, high, bids_left, asks_left, reference, tick)
    surplus = (bids_left if price == low else 0) - (asks_left if price == high else 0)
    return Clearing(price, volume, surplus, low, high)


def _choose(low: int, high: int, bids_left: int, asks_left: int, reference: int, tick: int) -> int:
    """The price in the crossing interval, of which only the ends can have a surplus."""
    first = low + tick if bids_left else low
    last = high - tick if asks_left else high
    if low < high and first > last and bids_left != asks_left:
        return low if bids_left < asks_left else high
    if first > last:
        first, last = low, high
    nearest = (2 * reference + tick - 1) // (2 * tick) * tick
    return max(first, min(nearest, last))


def _levels(steps: Iterable[Step], tick: int) -> tuple[list[int], list[int]]:
    """Prices in ascending order and the total quantity at each."""
    if tick <= 0:
        msg = f"tick {tick} is not positive"
        raise ValueError(msg)
    totals: dict[int, int] = {}
    for price, quantity in steps:
        if quantity <= 0 or price % tick:
            msg = f"step ({price}, {quantity}): no quantity, or off the tick of {tick}"
            raise ValueError(msg)
        totals[price] = totals.get(price, 0) + quantity
    prices = sorted(totals)
    return prices, [totals[price] for price in prices]
