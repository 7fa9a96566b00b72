"""Demand: managed bids, and the queues of them that one hardware class sees.

Bids of equal density and cap never change their order: the earlier latest start is always the
higher price, whatever the time. So a class keeps one queue per (density, cap), sorted once, and an
uncross prices the heads of the queues, not the bids. A bid that names several classes stands in one
queue of each.

The latest time at which a bid can start differs per class, because run times do. A bid that is
too late for a class leaves that class's queue when it comes to its head, for good: time never goes
back.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from heapq import heapify, heappop, heappush
from itertools import pairwise
from typing import NamedTuple

from matching.ramp import ramp_price, reach_time_ns, round_down, round_up
from matching.types import CLASSES_MAX, PRICE_MAX

Member = tuple[int, ...]
"""(-latest_start, -sequence, -bid_id, latest start in this class): the next to trade is last."""

QueueKey = tuple[int, int, int]
"""(highest price, density, 1 if flat): the bids of one queue share all three."""


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

    def queue_key(self) -> QueueKey:
        """Equal for bids whose order never changes."""
        if self.flat:
            price = min(self.density, self.cap)
            return price, price, 1
        return round_down(min(self.density, self.cap)), self.density, 0


def pays_from_ns(key: QueueKey, latest_start_ns: int, ask: int, k_ns: int) -> int | None:
    """From when on a bid pays `ask`: 0 for a flat bid that does; None if it never does."""
    peak, density, flat = key
    if flat:
        return 0 if peak >= ask else None
    return reach_time_ns(density, peak, latest_start_ns, k_ns, ask)


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
    starts = [*(named.latest_start_ns for named in bid.classes), bid.latest_start_ns]
    if any(first > second for first, second in pairwise(starts)):
        msg = f"bid {bid.bid_id}: classes are not slowest first"
        raise ValueError(msg)


class BidQueue:
    """Bids of one (density, cap) in one class; the one with the highest price comes last."""

    __slots__ = ("density", "flat", "key", "members", "offset_min", "peak")

    def __init__(self, key: QueueKey) -> None:
        self.key = key
        self.peak, self.density, self.flat = key
        self.members: list[Member] = []
        self.offset_min = 0

    def add(self, bid: Bid, class_latest_start_ns: int) -> None:
        """Queue a bid. Costs a binary search."""
        offset = bid.latest_start_ns - class_latest_start_ns
        self.offset_min = min(self.offset_min, offset) if self.members else offset
        insort(self.members, (*_place(bid), class_latest_start_ns))

    def remove(self, bid: Bid) -> None:
        """Take a bid out, if it has not left already because it was too late here."""
        place = _place(bid)
        index = bisect_left(self.members, place)
        if index < len(self.members) and self.members[index][:3] == place:
            del self.members[index]

    def price(self, latest_start_ns: int, now_ns: int, k_ns: int) -> int:
        """What a bid of this queue with this latest start pays now."""
        if self.flat:
            return self.peak
        return ramp_price(self.density, self.peak, latest_start_ns, now_ns, k_ns)

    def reach(self, tick: int, now_ns: int, k_ns: int) -> tuple[int, int, int] | None:
        """The first member that will pay `tick` (at most the peak) while it can still start here.

        Returns (time, its latest start in this class, bid id); the time may lie in the past, and is
        0 for a flat bid. Costs O(1) where the head can still start when its price gets there.
        """
        slack_ns = self.offset_min if self.flat else self.density * k_ns // tick - k_ns
        if slack_ns < self.offset_min:
            return None
        for start, _, bid_id, class_start in reversed(self.members):
            reach_ns = 0 if self.flat else -start - slack_ns
            if max(reach_ns, now_ns) <= class_start:
                return reach_ns, class_start, -bid_id
        return None


class ClassBids:
    """All bids that name one class, as queues sorted by the most that they will ever pay."""

    __slots__ = ("_keys", "_queues")

    def __init__(self) -> None:
        self._keys: list[QueueKey] = []
        self._queues: dict[QueueKey, BidQueue] = {}

    def add(self, bid: Bid, key: QueueKey, class_latest_start_ns: int) -> None:
        """Queue a bid, whose queue key is `key`, in this class."""
        queue = self._queues.get(key)
        if queue is None:
            queue = self._queues[key] = BidQueue(key)
            insort(self._keys, key)
        queue.add(bid, class_latest_start_ns)

    def remove(self, bid: Bid, key: QueueKey) -> None:
        """Take a bid out."""
        queue = self._queues.get(key)
        if queue is not None:
            queue.remove(bid)
            self._drop_if_empty(queue)

    def above(self, ask: int) -> list[BidQueue]:
        """The queues that may ever pay `ask`."""
        first = bisect_left(self._keys, (ask, 0, 0))
        return [self._queues[key] for key in self._keys[first:]]

    def paying(self, ask: int, now_ns: int, k_ns: int) -> list[BidQueue]:
        """The queues that may hold a bid that pays `ask` now. Costs O(queues)."""
        tick = round_up(ask)
        since_ns = k_ns - now_ns
        found: list[BidQueue] = []
        for queue in self.above(ask):
            # The last member pays most, even if it is too late here: see `reach_time_ns`.
            span_ns = since_ns - queue.members[-1][0]
            if queue.flat or span_ns <= k_ns or queue.density * k_ns >= tick * span_ns:
                found.append(queue)
        return found

    def head(self, queue: BidQueue, now_ns: int) -> Member | None:
        """The member with the highest price that can still start here; those too late leave."""
        members = queue.members
        while members and members[-1][3] < now_ns:
            members.pop()
        self._drop_if_empty(queue)
        return members[-1] if members else None

    def depth(self, now_ns: int, k_ns: int, levels: int) -> list[tuple[int, int, int]]:
        """The best `levels` prices as (price, slots, orders), best first.

        Costs O(queues) and the bids shown.
        """
        heap: list[tuple[int, int, int]] = []  # (-price, queue, position in it)
        queues = [self._queues[key] for key in self._keys]
        for number, queue in enumerate(queues):
            _push_next(heap, number, queue, len(queue.members), now_ns, k_ns)
        heapify(heap)
        found: list[tuple[int, int, int]] = []
        while heap:
            negated_price, number, position = heappop(heap)
            count = found[-1][1] + 1 if found and found[-1][0] == -negated_price else 1
            if count > 1:
                found.pop()
            elif len(found) == levels:
                break
            found.append((-negated_price, count, count))
            _push_next(heap, number, queues[number], position, now_ns, k_ns)
        return found

    def check(self, expected: dict[int, Bid], instrument_id: int, now_ns: int) -> None:
        """Assert that the queues hold every bid that can still start, in order, and no other."""
        assert self._keys == sorted(self._queues)
        held: set[int] = set()
        for queue in self._queues.values():
            assert queue.members
            assert all(a < b for a, b in pairwise(queue.members))
            for member in queue.members:
                bid = expected[-member[2]]
                assert bid.queue_key() == queue.key
                assert ClassBid(instrument_id, member[3]) in bid.classes
                assert queue.offset_min <= bid.latest_start_ns - member[3]
                assert bid.bid_id not in held
                held.add(bid.bid_id)
        for bid in expected.values():
            for named in bid.classes:
                if named.instrument_id == instrument_id and named.latest_start_ns >= now_ns:
                    assert bid.bid_id in held

    def _drop_if_empty(self, queue: BidQueue) -> None:
        if not queue.members and self._queues.get(queue.key) is queue:
            del self._queues[queue.key]
            del self._keys[bisect_left(self._keys, queue.key)]


def _place(bid: Bid) -> tuple[int, int, int]:
    return -bid.latest_start_ns, -bid.sequence, -bid.bid_id


def _push_next(
    heap: list[tuple[int, int, int]],
    number: int,
    queue: BidQueue,
    position: int,
    now_ns: int,
    k_ns: int,
) -> None:
    """Push the member of a queue that comes after `position` and can still start."""
    for index in range(position - 1, -1, -1):
        member = queue.members[index]
        if member[3] >= now_ns:
            price = queue.price(-member[0], now_ns, k_ns)
            if price:
                heappush(heap, (-price, number, index))
            return
