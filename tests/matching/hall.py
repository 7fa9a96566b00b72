"""Several clearing groups and the desk of multi-leg orders over them, in short words.

Instruments 10 to 19 belong to group 1, 20 to 29 to group 2. Leg number i of order n is the bid
100 n + i. Times are seconds in the tests and nanoseconds in the groups.
"""

from __future__ import annotations

from collections.abc import Sequence

from matching import (
    Bid,
    ClassBid,
    ClearingGroup,
    GroupUncross,
    Leg,
    LegDesk,
    MultiLegBid,
    SlotPool,
    StandingQuote,
)
from matching.reference import NaiveClearingGroup, NaiveLegDesk
from tests.matching.floor import FAR_S, S

SECOND_GROUP_FROM = 20


class Hall:
    """The groups under test, one slot per pool, and a sequence of its own."""

    def __init__(
        self,
        groups: dict[int, ClearingGroup] | dict[int, NaiveClearingGroup],
        desk: LegDesk | NaiveLegDesk,
    ) -> None:
        self.groups = groups
        self.desk = desk
        self.pools: list[SlotPool] = []
        self.sequence = 0

    def slot(self, instrument_id: int, *, ask: int, account: int = 1_000) -> None:
        """One slot on a pool of its own, quoted at `ask`."""
        self.sequence += 1
        pool = SlotPool(self.sequence, account, 1)
        self.pools.append(pool)
        quote = StandingQuote(self.sequence, instrument_id, pool, (ask,), self.sequence)
        self.groups[_group(instrument_id)].set_quote(quote)

    def limit(self, bid_id: int, instrument_id: int, price: int) -> None:
        """A plain bid at a constant price."""
        bid = self._bid(bid_id, bid_id, instrument_id, price, FAR_S, flat=True)
        self.groups[_group(instrument_id)].add_bid(bid)

    def order(self, order_id: int, *legs: tuple[int, int, int], account: int | None = None) -> None:
        """An order of legs (instrument, limit, quantity)."""
        self.desk.add(self.make(order_id, legs, account=account))

    def managed_order(self, order_id: int, *legs: tuple[int, int, int, int]) -> None:
        """An order of legs (instrument, density, latest start in seconds, quantity)."""
        made = []
        for number, (instrument_id, density, second, quantity) in enumerate(legs):
            bid_id = 100 * order_id + number
            bid = self._bid(bid_id, order_id, instrument_id, density, second, flat=False)
            made.append(Leg(_group(instrument_id), bid, quantity))
        self.desk.add(MultiLegBid(order_id, tuple(made)))

    def make(
        self,
        order_id: int,
        legs: Sequence[tuple[int, int, int]],
        *,
        account: int | None = None,
        first_bid_id: int | None = None,
        second_group_from: int = SECOND_GROUP_FROM,
    ) -> MultiLegBid:
        """An order of legs (instrument, limit, quantity) that is not added."""
        made = []
        first = 100 * order_id if first_bid_id is None else first_bid_id
        account_id = order_id if account is None else account
        for number, (instrument_id, price, quantity) in enumerate(legs):
            bid = self._bid(first + number, account_id, instrument_id, price, FAR_S, flat=True)
            group_id = 2 if instrument_id >= second_group_from else 1
            made.append(Leg(group_id, bid, quantity))
        return MultiLegBid(order_id, tuple(made))

    def uncross(self, *group_ids: int, second: int = 0) -> list[GroupUncross]:
        """One step of these groups (all, if none is named), checked."""
        done = self.desk.uncross(group_ids or tuple(self.groups), second * S)
        for group in self.groups.values():
            group.check()
        self.desk.check()
        for one in done:
            for fill in one.uncross.fills:
                assert fill.ask_price <= fill.price <= fill.bid_price
        return done

    def fills(self, done: GroupUncross) -> list[tuple[int, int]]:
        """(instrument, price) of each fill."""
        return [(fill.instrument_id, fill.price) for fill in done.uncross.fills]

    def next_trade_s(self, second: int = 0) -> dict[int, int | None]:
        found = {i: group.next_trade_ns(second * S) for i, group in self.groups.items()}
        return {i: None if at is None else at // S for i, at in found.items()}

    def ladder(self, instrument_id: int, second: int = 0) -> str:
        """A class as a table: free slots and bids per price, best prices inside."""
        group = self.groups[_group(instrument_id)]
        bids, asks = group.depth(instrument_id, second * S, 100)
        rows = [f"| {price} | {slots}" for price, slots, _ in reversed(asks)]
        rows += [f"{slots} | {price} |" for price, slots, _ in bids]
        return "\n".join(rows)

    def state(self) -> tuple[object, ...]:
        return (self.desk.state(), *(group.state() for group in self.groups.values()))

    def empty(self) -> None:
        """Take out every order, bid and quote: nothing may be lost or left over."""
        for row in self.desk.state():
            assert self.desk.remove(row[0]) is not None
        assert self.desk.state() == ()
        for group in self.groups.values():
            for bid in group.bids():
                assert self.desk.order_of(bid.bid_id) is None
                group.remove_bid(bid.bid_id)
            for quote in group.quotes():
                group.remove_quote(quote.instrument_id, quote.pool.pool_id)
            group.check()
            assert group.bids() == []
        self.desk.check()

    def _bid(
        self,
        bid_id: int,
        account_id: int,
        instrument_id: int,
        price: int,
        second: int,
        *,
        flat: bool,
    ) -> Bid:
        self.sequence += 1
        classes = (ClassBid(instrument_id, second * S),)
        return Bid(bid_id, account_id, price, price, second * S, self.sequence, classes, flat)


def _group(instrument_id: int) -> int:
    return 2 if instrument_id >= SECOND_GROUP_FROM else 1
