"""Bids on one slot: managed bids, whose price rises as their latest start comes near, and limits.

The latest time at which a bid can start differs per class, because run times do.
"""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

from matching.ramp import ramp_price, reach_time_ns
from matching.types import CLASSES_MAX, PRICE_MAX


class ClassBid(NamedTuple):
    """A class that may serve the bid, and the latest time at which the job can start there."""

    instrument_id: int
    latest_start_ns: int


class Bid(NamedTuple):
    """One slot wanted, on the first of `classes` that sells it cheapest.

    A managed bid pays `matching.ramp.ramp_price` (density, cap, latest start, now). A flat bid
    is an explicit limit: it pays up to min(density, cap) at any time.
    `classes` stand slowest first (earliest latest start first); `latest_start_ns` is that of the
    fastest class and drives the ramp. Prices are nano-dollars per CU, times nanoseconds.
    """

    bid_id: int
    account_id: int
    density: int
    cap: int
    latest_start_ns: int
    sequence: int
    classes: tuple[ClassBid, ...]
    flat: bool = False

    def price(self, now_ns: int, k_ns: int) -> int:
        """The most that this bid pays per CU now; 0 is no bid yet."""
        if self.flat:
            return min(self.density, self.cap)
        return ramp_price(self.density, self.cap, self.latest_start_ns, now_ns, k_ns)

    def pays_from_ns(self, ask: int, k_ns: int) -> int | None:
        """From when on it pays `ask`, maybe in the past: 0 for a flat bid; None if never."""
        if self.flat:
            return 0 if min(self.density, self.cap) >= ask else None
        return reach_time_ns(self.density, self.cap, self.latest_start_ns, k_ns, ask)


def validate_bid(bid: Bid) -> None:
    """Refuse what is no bid.

    Raises:
        ValueError: a price or the classes are outside their limits, or the classes are not slowest
            first, or one of them is later than the bid's latest start.
    """
    if bid.density < 1 or bid.cap < 1 or (bid.flat and min(bid.density, bid.cap) > PRICE_MAX):
        msg = f"bid {bid.bid_id}: density {bid.density} or cap {bid.cap} is outside its limits"
        raise ValueError(msg)
    if not 0 < len(bid.classes) <= CLASSES_MAX:
        msg = f"bid {bid.bid_id} names {len(bid.classes)} classes, not 1..{CLASSES_MAX}"
        raise ValueError(msg)
    if len({named.instrument_id for named in bid.classes}) < len(bid.classes):
        msg = f"bid {bid.bid_id} names a class twice"
        raise ValueError(msg)
    starts = [named.latest_start_ns for named in bid.classes]
    starts.append(bid.latest_start_ns)
    if any(first > second for first, second in pairwise(starts)):
        msg = f"bid {bid.bid_id}: classes are not slowest first"
        raise ValueError(msg)
