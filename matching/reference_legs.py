"""The naive twin of multi-leg bids: the rules of `LegDesk` over the naive clearing groups.

A list of orders, scanned in full; whose turn is still to come is found from a list of turns had.
"""

from __future__ import annotations

from collections.abc import Iterable

from matching.bids import Bid
from matching.clearing import WhyNot
from matching.legs import GroupUncross, Leg, MultiLegBid, validate_order
from matching.reference_clearing import NaiveClearingGroup


class NaiveLegDesk:
    """`matching.legs.LegDesk` as a list of orders."""

    def __init__(self, groups: dict[int, NaiveClearingGroup]) -> None:
        self.groups = groups
        self.orders: list[MultiLegBid] = []

    def add(self, order: MultiLegBid) -> None:
        """See `LegDesk.add`."""
        validate_order(order)
        known = [leg.bid.bid_id for other in self.orders for leg in other.legs]
        for leg in order.legs:
            if leg.group_id not in self.groups or leg.bid.bid_id in known:
                raise ValueError(leg)
            if self.groups[leg.group_id].bid(leg.bid.bid_id) is not None:
                raise ValueError(leg)
        if self.order(order.order_id) is not None:
            raise ValueError(order.order_id)
        self.orders.append(order)
        for leg in order.legs:
            self.groups[leg.group_id].add_bid(leg.bid)

    def remove(self, order_id: int) -> MultiLegBid | None:
        """See `LegDesk.remove`."""
        order = self.order(order_id)
        if order is not None:
            self.orders.remove(order)
            for leg in order.legs:
                self.groups[leg.group_id].remove_bid(leg.bid.bid_id)
        return order

    def order(self, order_id: int) -> MultiLegBid | None:
        """See `LegDesk.order`."""
        return next((order for order in self.orders if order.order_id == order_id), None)

    def order_of(self, bid_id: int) -> int | None:
        """See `LegDesk.order_of`."""
        found = self.with_leg(bid_id)
        return None if found is None else found.order_id

    def with_leg(self, bid_id: int) -> MultiLegBid | None:
        """The order that has this bid as a leg."""
        for order in self.orders:
            if any(leg.bid.bid_id == bid_id for leg in order.legs):
                return order
        return None

    def uncross(self, group_ids: Iterable[int], now_ns: int) -> list[GroupUncross]:
        """See `LegDesk.uncross`."""
        waiting = sorted(set(group_ids))
        turns_had: list[int] = []
        done: list[GroupUncross] = []
        while waiting:
            before = {order.order_id: order for order in self.orders}
            links = _NaiveLinks(self, waiting, turns_had, now_ns)
            uncross = self.groups[waiting[0]].uncross(now_ns, links)
            gone = [before[i] for i in before if self.order(i) is None]
            fills = [fill.bid_id for fill in uncross.fills]
            filled = {
                order.order_id: number
                for bid_id in fills
                for order in gone
                for number, leg in enumerate(order.legs)
                if leg.bid.bid_id == bid_id
            }
            self_traded = [
                order.order_id
                for bid_id in uncross.self_trades
                for order in gone
                if bid_id in [leg.bid.bid_id for leg in order.legs]
            ]
            done.append(GroupUncross(waiting.pop(0), uncross, filled, self_traded))
        return done

    def why_not(self, order_id: int, now_ns: int) -> tuple[WhyNot | None, ...]:
        """See `LegDesk.why_not`."""
        order = next(order for order in self.orders if order.order_id == order_id)
        return tuple(
            self.groups[leg.group_id].why_not(leg.bid.bid_id, now_ns) for leg in order.legs
        )

    def gain(self, leg: Leg, now_ns: int) -> int | None:
        """See `LegDesk.gain`."""
        margin = self.groups[leg.group_id].margin(leg.bid.bid_id, now_ns)
        return None if margin is None else margin * leg.quantity

    def state(self) -> tuple[tuple[int, tuple[tuple[int, int, int], ...]], ...]:
        """See `LegDesk.state`."""
        rows = [
            (
                order.order_id,
                tuple((leg.group_id, leg.bid.bid_id, leg.quantity) for leg in order.legs),
            )
            for order in self.orders
        ]
        return tuple(sorted(rows))

    def check(self) -> None:
        """See `LegDesk.check`."""
        assert all(order.legs for order in self.orders)


class _NaiveLinks:
    """One group's part of a step; `groups` are that one and those after it."""

    def __init__(
        self, desk: NaiveLegDesk, groups: list[int], turns_had: list[int], now_ns: int
    ) -> None:
        self._desk = desk
        self._groups = groups
        self._turns_had = turns_had
        self._now_ns = now_ns

    def passes(self, bid: Bid, margin: int) -> bool:
        """See `Links.passes`."""
        order = self._desk.with_leg(bid.bid_id)
        if order is None:
            return False
        self._turns_had.append(bid.bid_id)
        own = next(leg for leg in order.legs if leg.bid.bid_id == bid.bid_id)
        others = [
            self._desk.gain(leg, self._now_ns)
            for leg in order.legs
            if leg.group_id in self._groups and leg.bid.bid_id not in self._turns_had
        ]
        return any(other is not None and other > margin * own.quantity for other in others)

    def leaves(self, bid: Bid) -> None:
        """See `Links.leaves`."""
        order = self._desk.with_leg(bid.bid_id)
        if order is not None:
            self._desk.remove(order.order_id)
