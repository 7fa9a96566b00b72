"""The same commands to real clearing groups and to their naive twins; every answer is compared.

Two groups over the same pools, and a desk of multi-leg orders over both groups. Pools are shared by
quotes on several classes of both; slots are taken and given back, workers requote, resize and
leave, classes halt and open, bids and orders come, go, ramp and run out of time.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

from matching import (
    Bid,
    ClassBid,
    ClearingGroup,
    Leg,
    LegDesk,
    MultiLegBid,
    SlotPool,
    StandingQuote,
)
from matching.reference import NaiveClearingGroup, NaiveLegDesk
from tests.matching.floor import AnyGroup

K_NS = 1_000
POOLS = 4
POOL_SLOTS = 3
GROUPS = (1, 2)
CLASSES = (1, 2, 3, 11, 12)
"""Instruments; those above 10 belong to the second group."""


def group_of(instrument_id: int) -> int:
    return 2 if instrument_id > 10 else 1


class World:
    """Two groups of one implementation over the same pools, with a desk over both."""

    def __init__(self, *, naive: bool) -> None:
        self.groups: dict[int, AnyGroup] = {}
        self.desk: LegDesk | NaiveLegDesk
        if naive:
            slow = {i: NaiveClearingGroup(i, K_NS) for i in GROUPS}
            self.groups, self.desk = dict(slow), NaiveLegDesk(slow)
        else:
            fast = {i: ClearingGroup(i, K_NS) for i in GROUPS}
            self.groups, self.desk = dict(fast), LegDesk(fast)
        # The first pool's owner also bids.
        self.pools = [SlotPool(n, 100 + n if n else 1, POOL_SLOTS) for n in range(POOLS)]
        self.leases: list[int] = []

    def of(self, instrument_id: int) -> AnyGroup:
        return self.groups[group_of(instrument_id)]


class Terms:
    """A bid without its id: classes as (latest start from now on, instrument), in one group."""

    def __init__(
        self, density: int, cap: int, starts: Sequence[tuple[int, int]], *, flat: bool
    ) -> None:
        self.density = density
        self.cap = cap
        self.starts = sorted(starts)
        self.flat = flat


class Twins:
    """The same commands to both worlds; whatever they answer must be equal."""

    def __init__(self) -> None:
        self.worlds = [World(naive=False), World(naive=True)]
        self.now_ns = 0
        self.sequence = 0
        self.fills = 0
        self.waits = 0
        self.leg_fills = 0
        self.passes = 0

    def both(self, action: Callable[[World], object]) -> object:
        real, naive = (action(world) for world in self.worlds)
        assert real == naive
        return real

    def add_bid(self, account: int, terms: Terms) -> None:
        bid = self._bid(account, terms)
        self.both(lambda world: world.of(bid.classes[0].instrument_id).add_bid(bid))

    def add_order(self, account: int, legs: Sequence[tuple[int, Terms]]) -> None:
        """A multi-leg order of (quantity, terms)."""
        made = [
            Leg(group_of(terms.starts[0][1]), self._bid(account, terms), quantity)
            for quantity, terms in legs
        ]
        order = MultiLegBid(made[0].bid.bid_id, tuple(made))
        self.both(lambda world: world.desk.add(order))

    def remove(self, bid_id: int) -> None:
        """Take out a bid, with its order if it is a leg."""
        order_id = self.both(lambda world: world.desk.order_of(bid_id))
        if order_id is None:
            self.both(lambda world: [g.remove_bid(bid_id) for g in world.groups.values()])
        else:
            assert isinstance(order_id, int)
            self.both(lambda world: world.desk.remove(order_id))

    def quote(self, instrument_id: int, pool: int, prices: tuple[int, ...]) -> None:
        self.sequence += 1
        for world in self.worlds:
            quote = StandingQuote(
                self.sequence, instrument_id, world.pools[pool], prices, self.sequence
            )
            world.of(instrument_id).set_quote(quote)

    def remove_quote(self, instrument_id: int, pool: int) -> None:
        for world in self.worlds:
            world.of(instrument_id).remove_quote(instrument_id, pool)

    def lose_worker(self, pool: int) -> None:
        for instrument_id in CLASSES:
            self.remove_quote(instrument_id, pool)

    def end_lease(self, pick: int) -> None:
        for world in self.worlds:
            if world.leases:
                world.pools[world.leases.pop(pick % len(world.leases))].give()

    def resize(self, pool: int, slots: int) -> None:
        for world in self.worlds:
            world.pools[pool].resize(slots)

    def set_open(self, instrument_id: int, is_open: bool) -> None:
        self.both(lambda world: world.of(instrument_id).set_open(instrument_id, is_open))

    def wait(self, ns: int) -> None:
        self.now_ns += ns

    def uncross(self, *group_ids: int) -> None:
        """Uncross groups in both worlds and check all that an uncross promises."""
        free = [max(0, pool.slots - pool.in_use) for pool in self.worlds[0].pools]
        orders = {row[0] for row in self.worlds[0].desk.state()}
        real, naive = (world.desk.uncross(group_ids, self.now_ns) for world in self.worlds)
        assert real == naive
        fills = [fill for done in real for fill in done.uncross.fills]
        for fill in fills:
            assert fill.ask_price <= fill.price <= fill.bid_price
            assert fill.buyer_account_id != fill.seller_account_id
            free[fill.pool_id] -= 1
        # No slot is sold twice, whatever quotes and classes it was sold through.
        assert min(free) >= 0
        # No order fills twice, and one that ended is gone from every group.
        ended = [i for done in real for i in (*done.filled, *done.self_traded)]
        assert len(ended) == len(set(ended))
        assert {row[0] for row in self.worlds[0].desk.state()} == orders - set(ended)
        for world in self.worlds:
            world.leases += [fill.pool_id for fill in fills]
        self.fills += len(fills)
        self.leg_fills += sum(len(done.filled) for done in real)
        for group_id in group_ids:
            self._check_nothing_left(group_id)

    def run_to_next_trade(self, group_id: int) -> None:
        """Just before the stated time nothing happens, at it something does."""
        at = self.both(lambda world: world.groups[group_id].next_trade_ns(self.now_ns))
        if at is None:
            return
        assert isinstance(at, int)
        if at > self.now_ns:
            self.waits += 1
            self.now_ns = at - 1
            before = self.worlds[0].groups[group_id].state()
            self.uncross(group_id)
            assert self.worlds[0].groups[group_id].state() == before
        self.now_ns = at
        before = self.worlds[0].groups[group_id].state()
        self.uncross(group_id)
        assert self.worlds[0].groups[group_id].state() != before

    def compare(self) -> None:
        now = self.now_ns
        for group_id in GROUPS:
            real, naive = (world.groups[group_id] for world in self.worlds)
            real.check()
            assert real.state() == naive.state()
            assert real.next_trade_ns(now) == naive.next_trade_ns(now)
            for bid in real.bids():
                assert real.why_not(bid.bid_id, now) == naive.why_not(bid.bid_id, now)
                assert real.margin(bid.bid_id, now) == naive.margin(bid.bid_id, now)
        for instrument_id in CLASSES:
            self.both(lambda world, i=instrument_id: world.of(i).depth(i, now, 4))  # type: ignore[misc]
        self.both(lambda world: world.desk.state())
        for world in self.worlds:
            world.desk.check()
            for number, pool in enumerate(world.pools):
                assert pool.in_use == world.leases.count(number)

    def empty(self) -> None:
        """End every lease, take out every quote, order and bid: nothing is left or was lost."""
        for pool in range(POOLS):
            self.lose_worker(pool)
        while self.worlds[0].leases:
            self.end_lease(0)
        for bid_id in range(1, self.sequence + 1):
            self.remove(bid_id)
        self.compare()
        for world in self.worlds:
            assert world.desk.state() == ()
            assert all(pool.in_use == 0 and pool.quotes == [] for pool in world.pools)
            assert all(g.bids() == [] and g.quotes() == [] for g in world.groups.values())

    def _bid(self, account: int, terms: Terms) -> Bid:
        self.sequence += 1
        classes = tuple(ClassBid(c, self.now_ns + at) for at, c in terms.starts)
        # The fastest class may be one that the bid does not name, such as one without quotes.
        latest = classes[-1].latest_start_ns + (terms.density % 3) * 50
        return Bid(
            self.sequence,
            account,
            terms.density,
            terms.cap,
            latest,
            self.sequence,
            classes,
            terms.flat,
        )

    def _check_nothing_left(self, group_id: int) -> None:
        """An uncross does all of its work at once; only a leg that passed may still trade."""
        world = self.worlds[0]
        again = world.groups[group_id].next_trade_ns(self.now_ns)
        if again is not None and again <= self.now_ns:
            able = [
                bid.bid_id
                for bid in world.groups[group_id].bids()
                if world.groups[group_id].why_not(bid.bid_id, self.now_ns) is None
            ]
            assert able
            assert all(world.desk.order_of(bid_id) is not None for bid_id in able)
            self.passes += 1


def random_prices(rng: random.Random, top: int) -> tuple[int, ...]:
    return tuple(sorted(rng.randint(1, top) for _ in range(rng.randint(1, POOL_SLOTS + 1))))


def random_terms(rng: random.Random, top: int, classes: Sequence[int]) -> Terms:
    horizon = rng.choice((500, 20_000))
    starts = [(rng.randint(-200, horizon), c) for c in classes]
    density = rng.choice((rng.randint(1, 3 * top), top))
    cap = rng.choice((10**9, rng.randint(1, 2 * top)))
    return Terms(density, cap, starts, flat=rng.random() < 0.25)


def random_order(rng: random.Random, top: int) -> list[tuple[int, Terms]]:
    """Legs of one or two classes each, over one group or both."""
    classes = rng.sample(CLASSES, rng.randint(2, len(CLASSES)))
    legs = []
    while classes:
        group = group_of(classes[0])
        of_group = [c for c in classes if group_of(c) == group][: rng.randint(1, 2)]
        classes = [c for c in classes if c not in of_group]
        legs.append((rng.choice((1, 3, 1_000)), random_terms(rng, top, of_group)))
    return legs


def random_command(twins: Twins, rng: random.Random, top: int, orders: float) -> None:
    """One command; a share `orders` of the bids are multi-leg orders."""
    group_id, pool, instrument_id = rng.choice(GROUPS), rng.randrange(POOLS), rng.choice(CLASSES)
    kind = rng.random()
    if kind < 0.40:
        account = rng.randint(1, 6)
        if rng.random() < orders:
            twins.add_order(account, random_order(rng, top))
        else:
            named = [c for c in CLASSES if group_of(c) == group_id]
            twins.add_bid(account, random_terms(rng, top, rng.sample(named, rng.randint(1, 2))))
    elif kind < 0.52:
        twins.quote(instrument_id, pool, random_prices(rng, top))
    elif kind < 0.60:
        twins.end_lease(rng.randrange(100))
    elif kind < 0.64:
        twins.remove(rng.randint(1, max(1, twins.sequence)))
    elif kind < 0.66:
        twins.resize(pool, rng.randint(0, POOL_SLOTS + 1))
    elif kind < 0.68:
        twins.set_open(instrument_id, rng.random() < 0.8)
    elif kind < 0.69:
        twins.lose_worker(pool)
    elif kind < 0.71:
        twins.remove_quote(instrument_id, pool)
    elif kind < 0.80:
        twins.wait(rng.choice((1, 50, 1_000)))
    elif kind < 0.92:
        twins.uncross(*rng.choice(((group_id,), GROUPS)))
    else:
        twins.run_to_next_trade(group_id)
