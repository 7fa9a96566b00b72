"""Managed bids of one class that stand close together, and which of them pays most at any time.

A bid of density d and latest start s pays d x k / (k + s - t) at time t. Drawn as a point (d, s),
it pays a price p from the time on at which it lies on or below the line s = t - k + d x k / p. So
whatever the time and the price, the first bid to reach it is a corner of the lower right convex
hull of the points: of the shelf's *front*. The hull does not move with time; finding the bid that
pays most now, or the time at which the first one pays a price, is a binary search on it.

All bids of a shelf have the same *crest*, the highest tick that they pay before it is too late to
start them in this class: there their ramp ends, because of their cap, their density or the class's
run time. Below its crest a bid pays what its ramp says, so no bid of a shelf ever hides another.
"""

from __future__ import annotations

from bisect import bisect_right
from itertools import pairwise
from typing import Final

from matching.tick_table import TICKS

SHELF_MAX: Final = 512
"""Most bids of one shelf; a shelf with more is split in halves."""
NEVER: Final = 2**62
"""Later than any time."""


class Member:
    """A managed bid as one class sees it; `until_ns` is the latest time at which it can start."""

    __slots__ = ("bid_id", "density", "latest_start_ns", "sequence", "until_ns")

    def __init__(
        self, bid_id: int, density: int, latest_start_ns: int, sequence: int, until_ns: int
    ) -> None:
        self.bid_id = bid_id
        self.density = density
        self.latest_start_ns = latest_start_ns
        self.sequence = sequence
        self.until_ns = until_ns

    def comes_before(self, latest_start_ns: int, sequence: int, bid_id: int) -> bool:
        """Whether this bid has its turn before such a one at equal prices."""
        if self.latest_start_ns != latest_start_ns:
            return self.latest_start_ns < latest_start_ns
        if self.sequence != sequence:
            return self.sequence < sequence
        return self.bid_id < bid_id


class Shelf:
    """Up to SHELF_MAX bids of one crest, in the order of their turns at equal prices.

    `top` is the highest price that one of them pays, until `stale_ns`. `head` is the first that
    pays it, if that has been looked up since anything changed. `until_ns` is never before the
    latest start of any of them. None pays `reach_tick` or more before `reach_ns`; 0 says nothing.
    """

    __slots__ = (
        "_densest",
        "_front",
        "_k_ns",
        "_soonest_ns",
        "crest",
        "head",
        "members",
        "reach_ns",
        "reach_tick",
        "stale_ns",
        "top",
        "until_ns",
    )

    def __init__(self, crest: int, k_ns: int, members: list[Member]) -> None:
        self.crest = crest
        self.members = members
        self._k_ns = k_ns
        self.until_ns = max((member.until_ns for member in members), default=0)
        self.top = 0
        self._set_front(_hull(members))
        self.reach_tick = 0
        self.reach_ns = 0
        self.head: Member | None = None

    def add(self, member: Member) -> None:
        """Put a bid in its place. Costs a binary search, more if it joins the front."""
        index = position(self.members, member.latest_start_ns, member.sequence, member.bid_id)
        self.members.insert(index, member)
        self.until_ns = max(self.until_ns, member.until_ns)
        self.head = None
        at = position(self._front, member.latest_start_ns, member.sequence, member.bid_id)
        if not _is_hidden(self._front, at, member):
            self._set_front(_hull([*self._front[:at], member, *self._front[at:]]))
            self.reach_tick = 0

    def remove(self, latest_start_ns: int, sequence: int, bid_id: int) -> bool:
        """Take a bid out; False if it is not here. Costs as `add` does."""
        index = position(self.members, latest_start_ns, sequence, bid_id)
        if index == len(self.members) or self.members[index].bid_id != bid_id:
            return False
        member = self.members.pop(index)
        self.head = None
        at = position(self._front, latest_start_ns, sequence, bid_id)
        if at < len(self._front) and self._front[at] is member:
            self._leave_front(at)
        return True

    def split(self) -> Shelf:
        """Leave the first half here; the other half on a shelf of its own."""
        middle = len(self.members) // 2
        other = Shelf(self.crest, self._k_ns, self.members[middle:])
        del self.members[middle:]
        self._set_front(_hull(self.members))
        self.head = None
        return other

    def clear(self) -> None:
        """Take out every bid."""
        self.members = []
        self._set_front([])
        self.refresh(0)

    def may_pay(self, tick: int, now_ns: int) -> bool:
        """False if certainly no bid pays `tick` now."""
        return self.not_before_ns(tick) <= now_ns

    def not_before_ns(self, tick: int) -> int:
        """A time before which no bid pays `tick`: when the densest would, were it also the first.

        Costs no look at any bid.
        """
        return self._soonest_ns + self._k_ns - self._densest * self._k_ns // tick

    def refresh(self, now_ns: int) -> None:
        """Bring `top` up to date. If a bid that is too late to start stands in the way, all leave.

        An empty shelf has a top of 0.
        """
        self.head = None
        if self._front and self._front[0].latest_start_ns < now_ns:
            self._purge(now_ns)
        while self._front and self._highest(now_ns).until_ns < now_ns:
            self._purge(now_ns)
        if not self._front:
            self.top = 0
            self.stale_ns = NEVER
            return
        best = self._highest(now_ns)
        price = best.density * self._k_ns // (self._k_ns + best.latest_start_ns - now_ns)
        self.stale_ns = best.until_ns + 1
        if price >= self.crest:
            self.top = self.crest
            return
        above = bisect_right(TICKS, price)
        self.top = TICKS[above - 1] if above else 0
        rises = self._first_to_reach(TICKS[above])
        self.stale_ns = min(self.stale_ns, self._reach_ns(rises, TICKS[above]))

    def first_paying(self, tick: int, now_ns: int) -> Member | None:
        """The first bid in turn that pays `tick` (at most the crest) now. Costs O(bids)."""
        k_ns = self._k_ns
        span_ns = k_ns - now_ns
        for member in self.members:
            if (
                member.density * k_ns >= tick * (span_ns + member.latest_start_ns)
                and member.until_ns >= now_ns
            ):
                return member
        return None

    def next_to_pay(self, tick: int, now_ns: int) -> tuple[int, Member] | None:
        """The earliest time at which a bid pays `tick` (at most the crest), and that bid.

        The time may lie in the past. None if all are too late to start, and have left.
        """
        while self._front:
            member = self._first_to_reach(tick)
            if member.until_ns >= now_ns:
                self.reach_tick, self.reach_ns = tick, self._reach_ns(member, tick)
                return self.reach_ns, member
            self._purge(now_ns)
        return None

    def prices(self, now_ns: int) -> list[int]:
        """What the bids that can still start pay now, unsorted; 0 is no bid."""
        k_ns = self._k_ns
        found: list[int] = []
        for member in self.members:
            if member.until_ns >= now_ns:
                price = member.density * k_ns // (k_ns + member.latest_start_ns - now_ns)
                above = bisect_right(TICKS, min(price, self.crest))
                found.append(TICKS[above - 1] if above else 0)
        return found

    def check(self) -> None:
        """Assert that the bids stand in order and the front is their hull. Costs O(bids)."""
        assert 0 < len(self.members) <= SHELF_MAX
        for first, second in pairwise(self.members):
            assert first.comes_before(second.latest_start_ns, second.sequence, second.bid_id)
        hull = [(m.density, m.latest_start_ns) for m in _hull(self.members)]
        assert [(m.density, m.latest_start_ns) for m in self._front] == hull
        assert all(any(corner is member for member in self.members) for corner in self._front)
        assert all(member.until_ns <= self.until_ns for member in self.members)

    def _set_front(self, front: list[Member]) -> None:
        """A new front: what it pays is not known."""
        self._front = front
        self.stale_ns = 0
        self._soonest_ns = front[0].latest_start_ns if front else NEVER
        self._densest = front[-1].density if front else 0

    def _purge(self, now_ns: int) -> None:
        """Take out all that are too late to start."""
        self.members = [member for member in self.members if member.until_ns >= now_ns]
        self._set_front(_hull(self.members))
        self.head = None

    def _highest(self, now_ns: int) -> Member:
        """The bid whose ramp is highest now; no latest start in the front may have passed."""
        front = self._front
        span_ns = self._k_ns - now_ns
        low, high = 0, len(front) - 1
        while low < high:
            middle = (low + high) // 2
            one, two = front[middle], front[middle + 1]
            if two.density * (span_ns + one.latest_start_ns) > one.density * (
                span_ns + two.latest_start_ns
            ):
                low = middle + 1
            else:
                high = middle
        return front[low]

    def _first_to_reach(self, tick: int) -> Member:
        """The bid that pays `tick` first, by its ramp alone."""
        front = self._front
        k_ns = self._k_ns
        low, high = 0, len(front) - 1
        while low < high:
            middle = (low + high) // 2
            one, two = front[middle], front[middle + 1]
            if (two.latest_start_ns - one.latest_start_ns) * tick < (
                two.density - one.density
            ) * k_ns:
                low = middle + 1
            else:
                high = middle
        return front[low]

    def _reach_ns(self, member: Member, tick: int) -> int:
        """When a bid pays `tick`, by its ramp alone: see `matching.ramp.reach_time_ns`."""
        return member.latest_start_ns + self._k_ns - member.density * self._k_ns // tick

    def _leave_front(self, at: int) -> None:
        """Mend the front where its corner `at` was.

        The corners that come in its place stand between the corners on either side of it.
        """
        front = self._front
        first, last = 0, len(self.members)
        if at > 0:
            before = front[at - 1]
            first = position(self.members, before.latest_start_ns, before.sequence, before.bid_id)
        if at + 1 < len(front):
            after = front[at + 1]
            last = 1 + position(self.members, after.latest_start_ns, after.sequence, after.bid_id)
        between = _hull(self.members[first:last])
        self._set_front([*front[: max(0, at - 1)], *between, *front[at + 2 :]])


def position(members: list[Member], latest_start_ns: int, sequence: int, bid_id: int) -> int:
    """Where such a bid stands or would stand. Costs a binary search."""
    low, high = 0, len(members)
    while low < high:
        middle = (low + high) // 2
        if members[middle].comes_before(latest_start_ns, sequence, bid_id):
            low = middle + 1
        else:
            high = middle
    return low


def _hull(members: list[Member]) -> list[Member]:
    """The corners of the lower right convex hull of (density, latest start), in order of both."""
    front: list[Member] = []
    for member in members:
        if front and member.density <= front[-1].density:
            continue
        if front and member.latest_start_ns == front[-1].latest_start_ns:
            front.pop()
        while len(front) > 1 and not _turns(front[-2], front[-1], member):
            front.pop()
        front.append(member)
    return front


def _turns(one: Member, two: Member, three: Member) -> bool:
    """Whether the path through three points, density rising, turns towards later starts at two."""
    return (two.latest_start_ns - one.latest_start_ns) * (three.density - two.density) < (
        three.latest_start_ns - two.latest_start_ns
    ) * (two.density - one.density)


def _is_hidden(front: list[Member], at: int, member: Member) -> bool:
    """Whether a bid that would stand at `at` in the front is no corner of the hull."""
    if at > 0 and front[at - 1].density >= member.density:
        return True
    if at == len(front):
        return False
    after = front[at]
    if after.latest_start_ns == member.latest_start_ns and after.density >= member.density:
        return True
    return at > 0 and after.density > member.density and not _turns(front[at - 1], member, after)
