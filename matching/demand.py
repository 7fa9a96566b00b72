"""Demand: the bids that one hardware class sees, and which of them trade next.

Managed bids stand on shelves (see `matching.shelf`), one row of shelves for each crest, in order of
their latest start. Limits stand in one sorted list. A bid that is too late for the class leaves
when it is met, for good: time never goes back.

Costs, with n bids of p different crests (at most one per tick of the table, some 950): adding and
removing one a few binary searches and at most SHELF_MAX steps; finding who can trade a look at each
shelf, of which there are about n / 350 + p / 2; each bid that then trades up to SHELF_MAX steps.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from itertools import chain
from typing import Final

from sortedcontainers import SortedList

from matching.bids import Bid, ClassBid
from matching.ramp import ramp_price, round_up
from matching.shelf import SHELF_MAX, Member, Shelf

Limit = tuple[int, int, int, int, int]
"""(-price, latest start, sequence, bid id, latest start in this class): best first."""

Turn = tuple[int, int, int, int, int, "Shelf | None"]
"""(-price, latest start, sequence, bid id, instrument id, shelf): the next turn sorts first.

A turn from a shelf is no later than that of any bid on it, a turn without a shelf is a limit's. One
whose latest start is LEVEL stands for all shelves of that price that have not been expanded yet.
"""

LEVEL: Final = -1
"""Before any time at which a bid can start."""

Wake = tuple[int, int, int]
"""(when a bid first pays, until when it can start, bid id)."""


class ClassBids:
    """The bids that may trade in one class."""

    __slots__ = ("_crests", "_instrument_id", "_k_ns", "_limits", "_paying", "_rows", "_tops")

    def __init__(self, instrument_id: int, k_ns: int) -> None:
        self._instrument_id = instrument_id
        self._k_ns = k_ns
        self._crests: list[int] = []  # those of the rows, lowest first
        self._rows: list[list[Shelf]] = []
        self._limits: SortedList[Limit] = SortedList()
        # During an uncross: the shelves that pay the ask, by what they pay, and those prices.
        self._paying: dict[int, list[Shelf]] = {}
        self._tops: list[int] = []

    def add(self, bid: Bid, until_ns: int) -> None:
        """Let a bid take part until `until_ns`, the latest time at which it can start here."""
        if bid.flat:
            self._limits.add(_limit(bid, until_ns))
            return
        crest = self._crest(bid, until_ns)
        if not crest:
            return  # it is too late here before it has bid anything
        member = Member(bid.bid_id, bid.density, bid.latest_start_ns, bid.sequence, until_ns)
        row = self._row(crest)
        if row is None:
            index = bisect_left(self._crests, crest)
            self._crests.insert(index, crest)
            self._rows.insert(index, [Shelf(crest, self._k_ns, [member])])
            return
        at = _shelf_position(row, bid)
        shelf = row[at]
        shelf.add(member)
        if len(shelf.members) > SHELF_MAX:
            row.insert(at + 1, shelf.split())

    def remove(self, bid: Bid, until_ns: int) -> None:
        """Take a bid out, if it has not left because it was too late here."""
        if bid.flat:
            self._limits.discard(_limit(bid, until_ns))
            return
        row = self._row(self._crest(bid, until_ns))
        if row is not None:
            shelf = row[_shelf_position(row, bid)]
            shelf.remove(bid.latest_start_ns, bid.sequence, bid.bid_id)
            if not shelf.members:
                self._drop(shelf)

    def next_to_pay(self, ask: int, now_ns: int) -> Wake | None:
        """The first bid to pay `ask`, maybe in the past; None if none ever does."""
        limit = self._best_limit(now_ns)
        if limit is not None and -limit[0] >= ask:
            return 0, limit[4], limit[3]
        tick = round_up(ask)
        first: Wake | None = None
        empty: list[Shelf] = []
        for shelf in self._shelves(tick):
            if shelf.top < tick and first is not None:
                # No bid of the shelf pays `tick` sooner than any of these.
                known = max(shelf.stale_ns, shelf.not_before_ns(tick))
                if 0 < shelf.reach_tick <= tick and shelf.reach_ns > known:
                    known = shelf.reach_ns
                if known >= first[0]:
                    continue
            found = shelf.next_to_pay(tick, now_ns)
            if found is None:
                empty.append(shelf)
            elif first is None or found[0] < first[0]:
                first = found[0], found[1].until_ns, found[1].bid_id
                if first[0] <= now_ns:
                    break
        for shelf in empty:
            self._drop(shelf)
        return first

    def turns(self, ask: int, now_ns: int) -> list[Turn]:
        """What stands for all bids that pay `ask` now: a level of shelves, and a limit."""
        tick = round_up(ask)
        self._paying = {}
        found: list[Turn] = []
        empty: list[Shelf] = []
        for shelf in self._shelves(tick):
            if shelf.stale_ns <= now_ns:
                if shelf.until_ns < now_ns:
                    shelf.clear()
                elif shelf.may_pay(tick, now_ns):
                    shelf.refresh(now_ns)
                else:
                    continue
                if not shelf.members:
                    empty.append(shelf)
            top = shelf.top
            if top >= tick:
                same = self._paying.get(top)
                if same is None:
                    self._paying[top] = [shelf]
                else:
                    same.append(shelf)
        for shelf in empty:
            self._drop(shelf)
        self._tops = sorted(self._paying)
        if self._tops:
            found.append(self._level_turn())
        limit = self._best_limit(now_ns)
        if limit is not None and -limit[0] >= ask:
            found.append(self._limit_turn(limit))
        return found

    def expand(self) -> list[Turn]:
        """The turns that the turn of the present level stands for."""
        found: list[Turn] = []
        for shelf in self._paying[self._tops.pop()]:
            shelf.head = None
            if shelf.members:
                found.append(self._first_turn(shelf))
        if self._tops:
            found.append(self._level_turn())
        return found

    def settle(self, turn: Turn, at_least: int, now_ns: int) -> Turn | None:
        """The turn that this one stands for: itself, if its bid is still the next of its shelf.

        None if what is left pays less than `at_least`.
        """
        shelf = turn[5]
        if shelf is None:
            return turn
        if not shelf.members:
            return None
        if shelf.stale_ns <= now_ns:
            shelf.refresh(now_ns)
            if not shelf.members:
                self._drop(shelf)
        if shelf.top < at_least:
            return None
        if shelf.top != -turn[0]:
            return self._first_turn(shelf)
        if shelf.head is None:
            shelf.head = shelf.first_paying(shelf.top, now_ns)
        head = shelf.head
        assert head is not None, "a shelf's top is what one of its bids pays"
        if head.bid_id == turn[3]:
            return turn
        return (
            turn[0],
            head.latest_start_ns,
            head.sequence,
            head.bid_id,
            self._instrument_id,
            shelf,
        )

    def after(self, turn: Turn, at_least: int, now_ns: int) -> Turn | None:
        """The turn that comes next where this one came from, its bid having left."""
        if turn[5] is not None:
            return turn if turn[5].members else None
        limit = self._best_limit(now_ns)
        if limit is None or -limit[0] < at_least:
            return None
        return self._limit_turn(limit)

    def depth(self, now_ns: int, levels: int) -> list[tuple[int, int, int]]:
        """The best `levels` prices as (price, slots, orders), best first.

        Costs a look at each shelf, and the bids of those that reach so high.
        """
        counts: dict[int, int] = {}
        for negated_price, _, _, _, until_ns in self._limits:
            if until_ns >= now_ns:
                if len(counts) == levels and -negated_price not in counts:
                    break
                counts[-negated_price] = counts.get(-negated_price, 0) + 1
        shelves = list(self._shelves(1))
        for shelf in shelves:
            if shelf.stale_ns <= now_ns:
                shelf.refresh(now_ns)
                if not shelf.members:
                    self._drop(shelf)
        shelves.sort(key=_top, reverse=True)
        for shelf in shelves:
            best = sorted(counts, reverse=True)[:levels]
            if len(best) == levels and shelf.top < best[-1]:
                break
            for price in shelf.prices(now_ns):
                if price:
                    counts[price] = counts.get(price, 0) + 1
        return [(p, counts[p], counts[p]) for p in sorted(counts, reverse=True)[:levels]]

    def check(self, expected: dict[int, Bid], now_ns: int) -> None:
        """Assert that every bid that can still start here stands in its place, and no other."""
        assert self._crests == sorted(set(self._crests))
        held: set[int] = set()
        for crest, row in zip(self._crests, self._rows, strict=True):
            assert row
            for shelf in row:
                assert shelf.crest == crest
                shelf.check()
            members = [member for shelf in row for member in shelf.members]
            places = [(m.latest_start_ns, m.sequence, m.bid_id) for m in members]
            assert places == sorted(places)
            for member in members:
                bid = expected[member.bid_id]
                assert (bid.density, bid.flat) == (member.density, False)
                assert ClassBid(self._instrument_id, member.until_ns) in bid.classes
                assert self._crest(bid, member.until_ns) == crest
                assert bid.bid_id not in held
                held.add(bid.bid_id)
        for limit in self._limits:
            bid = expected[limit[3]]
            assert _limit(bid, limit[4]) == limit
            held.add(bid.bid_id)
        for bid in expected.values():
            for named in bid.classes:
                if named.instrument_id == self._instrument_id and named.latest_start_ns >= now_ns:
                    assert bid.bid_id in held or not self._crest(bid, named.latest_start_ns)

    def _crest(self, bid: Bid, until_ns: int) -> int:
        """The highest tick that a managed bid pays before it is too late to start here."""
        return ramp_price(bid.density, bid.cap, bid.latest_start_ns, until_ns, self._k_ns)

    def _shelves(self, tick: int) -> Iterator[Shelf]:
        """The shelves whose bids all pay `tick` at some time; none may go meanwhile."""
        return chain.from_iterable(self._rows[bisect_left(self._crests, tick) :])

    def _row(self, crest: int) -> list[Shelf] | None:
        """The shelves of this crest; None where there are none."""
        index = bisect_left(self._crests, crest)
        if index == len(self._crests) or self._crests[index] != crest:
            return None
        return self._rows[index]

    def _drop(self, shelf: Shelf) -> None:
        index = bisect_left(self._crests, shelf.crest)
        row = self._rows[index]
        row.remove(shelf)
        if not row:
            del self._rows[index]
            del self._crests[index]

    def _best_limit(self, now_ns: int) -> Limit | None:
        """The best limit that can still start here; those too late leave."""
        while self._limits:
            limit: Limit = self._limits[0]
            if limit[4] >= now_ns:
                return limit
            del self._limits[0]
        return None

    def _first_turn(self, shelf: Shelf) -> Turn:
        """A turn that is no later than that of any bid on the shelf."""
        first = shelf.members[0]
        return (
            -shelf.top,
            first.latest_start_ns,
            first.sequence,
            first.bid_id,
            self._instrument_id,
            shelf,
        )

    def _level_turn(self) -> Turn:
        return -self._tops[-1], LEVEL, 0, 0, self._instrument_id, None

    def _limit_turn(self, limit: Limit) -> Turn:
        return limit[0], limit[1], limit[2], limit[3], self._instrument_id, None


def _limit(bid: Bid, until_ns: int) -> Limit:
    price = min(bid.density, bid.cap)
    return -price, bid.latest_start_ns, bid.sequence, bid.bid_id, until_ns


def _shelf_position(row: list[Shelf], bid: Bid) -> int:
    """The shelf of a row on which a bid stands or would stand."""
    low, high = 0, len(row) - 1
    while low < high:
        middle = (low + high + 1) // 2
        if row[middle].members[0].comes_before(bid.latest_start_ns, bid.sequence, bid.bid_id + 1):
            low = middle
        else:
            high = middle - 1
    return low


def _top(shelf: Shelf) -> int:
    return shelf.top
