"""Multi-leg bids: one order that rests in several clearing groups and fills in at most one place.

A leg is a bid of its own in a group, with the classes, price and latest start that it has there,
and the quantity that its model needs. Legs are all-or-none, as every bid on a slot is. When one
leaves its group with a slot, or because it met an ask of its own account, the others leave in the
same step.

Groups that are due at the same time uncross in the order of their ids. A leg whose turn has come
passes if another leg of its order, whose turn is still to come in this step, has a larger gain:

    gain = (price of the leg now - cheapest ask that it could take) x quantity

in nano-dollars per CU times MFLOP, by prices and asks as they stand at that moment. Between equal
gains the leg whose turn comes first stays. A leg that passed has lost its turn in this step,
even if the other then loses to higher bids; both still rest, and take part in the next.

Costs: what the groups cost, and for a turn of a leg the best asks of its order's other legs.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from matching.bids import Bid, validate_bid
from matching.clearing import ClearingGroup, Links, Uncross, WhyNot
from matching.types import LEGS_MAX, QUANTITY_MAX

__all__ = ["GroupUncross", "Leg", "LegDesk", "MultiLegBid"]


class Leg(NamedTuple):
    """One way to fill an order: a bid in a group, and the quantity in MFLOP that it is for."""

    group_id: int
    bid: Bid
    quantity: int


class MultiLegBid(NamedTuple):
    """An order of which at most one leg fills. The legs' bid ids are unique, also among orders."""

    order_id: int
    legs: tuple[Leg, ...]


class GroupUncross(NamedTuple):
    """What one group did in a step, and what became of multi-leg orders in it.

    `filled` has the number of the leg that got a slot, by order id; `self_traded` are orders that
    are cancelled whole because a leg met an ask of its own account. The fill itself, and the
    self-trade, are in `uncross` under the leg's bid id.
    """

    group_id: int
    uncross: Uncross
    filled: dict[int, int]
    self_traded: list[int]


class LegDesk:
    """The multi-leg orders over `groups`, which may hold plain bids of other ids as well.

    `groups` stays the caller's and may grow. Take a leg's bid out through the desk only.
    """

    def __init__(self, groups: dict[int, ClearingGroup]) -> None:
        self._groups = groups
        self._orders: dict[int, MultiLegBid] = {}
        self._order_of: dict[int, int] = {}  # leg's bid id -> order id

    def add(self, order: MultiLegBid) -> None:
        """Rest every leg of an order in its group.

        Raises:
            ValueError: it is no multi-leg order (see `validate_order`), names a group that is not
                here, or an id of it is here already. Nothing has changed.
        """
        validate_order(order)
        if order.order_id in self._orders:
            msg = f"order {order.order_id} is already here"
            raise ValueError(msg)
        for leg in order.legs:
            group = self._groups.get(leg.group_id)
            if group is None:
                msg = f"order {order.order_id}: there is no group {leg.group_id}"
                raise ValueError(msg)
            if leg.bid.bid_id in self._order_of or group.bid(leg.bid.bid_id) is not None:
                msg = f"order {order.order_id}: bid {leg.bid.bid_id} is already here"
                raise ValueError(msg)
        self._orders[order.order_id] = order
        for leg in order.legs:
            self._groups[leg.group_id].add_bid(leg.bid)
            self._order_of[leg.bid.bid_id] = order.order_id

    def remove(self, order_id: int) -> MultiLegBid | None:
        """Take every leg of an order out; None if it is not here."""
        order = self._orders.pop(order_id, None)
        if order is not None:
            for leg in order.legs:
                del self._order_of[leg.bid.bid_id]
                self._groups[leg.group_id].remove_bid(leg.bid.bid_id)
        return order

    def order(self, order_id: int) -> MultiLegBid | None:
        """The resting order of this id."""
        return self._orders.get(order_id)

    def order_of(self, bid_id: int) -> int | None:
        """The id of the order that a bid is a leg of; None if it is a plain bid or not here."""
        return self._order_of.get(bid_id)

    def uncross(self, group_ids: Iterable[int], now_ns: int) -> list[GroupUncross]:
        """Uncross these groups at one time, in the order of their ids.

        Orders of which a leg filled or traded with itself leave every group at once.

        Raises:
            ValueError: time went back for one of the groups.
            KeyError: there is no such group.
        Nothing has changed then.
        """
        due = sorted(set(group_ids))
        for group_id in due:
            if now_ns < self._groups[group_id].now_ns:
                msg = f"time went back from {self._groups[group_id].now_ns} to {now_ns}"
                raise ValueError(msg)
        step = _Step(self, due, now_ns)
        done: list[GroupUncross] = []
        for group_id in due:
            step.begin(group_id)
            uncross = self._groups[group_id].uncross(now_ns, step)
            traded = {fill.bid_id for fill in uncross.fills}
            filled = {i: leg for i, leg, bid_id in step.left if bid_id in traded}
            self_traded = [i for i, _, bid_id in step.left if bid_id not in traded]
            done.append(GroupUncross(group_id, uncross, filled, self_traded))
        return done

    def why_not(self, order_id: int, now_ns: int) -> tuple[WhyNot | None, ...]:
        """For each leg the true reason why it does not trade now; None for one that can.

        Raises:
            KeyError: there is no such order.
        """
        return tuple(
            self._groups[leg.group_id].why_not(leg.bid.bid_id, now_ns)
            for leg in self._orders[order_id].legs
        )

    def gain(self, leg: Leg, now_ns: int) -> int | None:
        """What a resting leg would gain now, nano-dollars per CU times MFLOP; None if nothing."""
        margin = self._groups[leg.group_id].margin(leg.bid.bid_id, now_ns)
        return None if margin is None else margin * leg.quantity

    def state(self) -> tuple[tuple[int, tuple[tuple[int, int, int], ...]], ...]:
        """(order id, (group id, bid id, quantity) of each leg), by order id.

        Equal for equal desks of any implementation; the bids are in the groups' state.
        """
        return tuple(
            (i, tuple((leg.group_id, leg.bid.bid_id, leg.quantity) for leg in order.legs))
            for i, order in sorted(self._orders.items())
        )

    def restore(self, state: Iterable[Any]) -> None:
        """Become what `state` said of a desk over the same groups, whose bids are there already.

        Raises:
            ValueError: a bid is not there.
        """
        for order_id, legs in state:
            found: list[Leg] = []
            for group_id, bid_id, quantity in legs:
                bid = self._groups[group_id].bid(bid_id)
                if bid is None:
                    msg = f"order {order_id}: bid {bid_id} is not in group {group_id}"
                    raise ValueError(msg)
                found.append(Leg(group_id, bid, quantity))
                self._order_of[bid_id] = order_id
            self._orders[order_id] = MultiLegBid(order_id, tuple(found))

    def check(self) -> None:
        """Assert that every leg of every order rests in its group, and is known by its bid id."""
        legs = [(i, leg) for i, order in self._orders.items() for leg in order.legs]
        assert {leg.bid.bid_id: i for i, leg in legs} == self._order_of
        assert len(legs) == len(self._order_of)
        for _, leg in legs:
            assert self._groups[leg.group_id].bid(leg.bid.bid_id) == leg.bid


def validate_order(order: MultiLegBid) -> None:
    """Refuse what is no multi-leg order.

    Raises:
        ValueError: the number of legs or a quantity is outside its limits, the legs are not all of
            one account, an instrument or a bid id is named twice, or a bid is none.
    """
    legs = order.legs
    if not 0 < len(legs) <= LEGS_MAX:
        msg = f"order {order.order_id} has {len(legs)} legs, not 1..{LEGS_MAX}"
        raise ValueError(msg)
    for leg in legs:
        validate_bid(leg.bid)
        if not 0 < leg.quantity <= QUANTITY_MAX:
            msg = f"order {order.order_id}: quantity {leg.quantity} is not in 1..{QUANTITY_MAX}"
            raise ValueError(msg)
    if len({leg.bid.account_id for leg in legs}) > 1:
        msg = f"order {order.order_id}: the legs are of several accounts"
        raise ValueError(msg)
    if len({leg.bid.bid_id for leg in legs}) < len(legs):
        msg = f"order {order.order_id}: two legs have the same bid id"
        raise ValueError(msg)
    instruments = [named.instrument_id for leg in legs for named in leg.bid.classes]
    if len(set(instruments)) < len(instruments):
        msg = f"order {order.order_id} names an instrument twice"
        raise ValueError(msg)


class _Step(Links):
    """The groups due at one time: which are still to come, which legs have lost their turn."""

    def __init__(self, desk: LegDesk, due: list[int], now_ns: int) -> None:
        self._desk = desk
        self._to_come = set(due)
        self._now_ns = now_ns
        self._group_id = 0
        self._passed: set[int] = set()
        self.left: list[tuple[int, int, int]] = []
        """(order id, leg, bid id) of the orders that ended in the present group."""

    def begin(self, group_id: int) -> None:
        """The turn of a group: the one before has had its own."""
        self._to_come.discard(self._group_id)
        self._group_id = group_id
        self.left = []

    def passes(self, bid: Bid, margin: int) -> bool:
        """Whether another leg, whose turn is still to come, has a larger gain."""
        order_id = self._desk.order_of(bid.bid_id)
        order = None if order_id is None else self._desk.order(order_id)
        if order is None:
            return False
        gain = 0
        best = 0
        for leg in order.legs:
            if leg.bid.bid_id == bid.bid_id:
                gain = margin * leg.quantity
            elif leg.group_id in self._to_come and leg.bid.bid_id not in self._passed:
                other = self._desk.gain(leg, self._now_ns)
                if other is not None and other > best:
                    best = other
        if best > gain:
            self._passed.add(bid.bid_id)
            return True
        return False

    def leaves(self, bid: Bid) -> None:
        """End the order of a leg that has left its group: the other legs leave theirs."""
        order_id = self._desk.order_of(bid.bid_id)
        order = None if order_id is None else self._desk.remove(order_id)
        if order is not None:
            numbers = [n for n, leg in enumerate(order.legs) if leg.bid.bid_id == bid.bid_id]
            self.left.append((order.order_id, numbers[0], bid.bid_id))
