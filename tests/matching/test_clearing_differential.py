"""The clearing group against its naive twin, and its promises on what each uncross does.

Pools are shared by quotes on several classes of two groups; slots are taken and given back, workers
requote, resize and leave, classes halt and open, bids come, go, ramp and run out of time.
"""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from matching import Bid, ClassBid, ClearingGroup, SlotPool, StandingQuote
from matching.reference_clearing import NaiveClearingGroup
from tests.matching.floor import AnyGroup
from tests.matching.sizes import GROUP_COMMANDS, GROUP_SEEDS, MACHINE_EXAMPLES

K_NS = 1_000
POOLS = 4
POOL_SLOTS = 3
CLASSES = (1, 2, 3, 11, 12)
"""Instruments; those above 10 belong to the second group."""


class World:
    """Two groups of one implementation over the same pools."""

    def __init__(self, make: Callable[[int, int], AnyGroup]) -> None:
        self.groups = [make(1, K_NS), make(2, K_NS)]
        # The first pool's owner also bids.
        self.pools = [SlotPool(n, 100 + n if n else 1, POOL_SLOTS) for n in range(POOLS)]
        self.leases: list[int] = []

    def of(self, instrument_id: int) -> AnyGroup:
        return self.groups[instrument_id > 10]


class Twins:
    """The same commands to both worlds; whatever they answer must be equal."""

    def __init__(self) -> None:
        self.worlds = [World(ClearingGroup), World(NaiveClearingGroup)]
        self.now_ns = 0
        self.sequence = 0
        self.fills = 0
        self.waits = 0

    def both(self, action: Callable[[World], object]) -> object:
        real, naive = (action(world) for world in self.worlds)
        assert real == naive
        return real

    def add_bid(
        self,
        account: int,
        density: int,
        cap: int,
        starts: list[tuple[int, int]],
        second_group: bool,
        flat: bool,
    ) -> None:
        self.sequence += 1
        shift = 10 if second_group else 0
        named = sorted(((self.now_ns + at, c + shift) for at, c in starts))
        classes = tuple(ClassBid(c, at) for at, c in named)
        # The fastest class may be one that the bid does not name, such as one without quotes.
        latest = classes[-1].latest_start_ns + (density % 3) * 50
        bid = Bid(self.sequence, account, density, cap, latest, self.sequence, classes, flat)
        self.both(lambda world: world.of(classes[0].instrument_id).add_bid(bid))

    def remove_bid(self, bid_id: int) -> None:
        self.both(lambda world: [group.remove_bid(bid_id) for group in world.groups])

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

    def uncross(self, group: int) -> None:
        """Uncross one group in both worlds and check all that an uncross promises."""
        free = [max(0, pool.slots - pool.in_use) for pool in self.worlds[0].pools]
        done = [world.groups[group].uncross(self.now_ns) for world in self.worlds]
        assert done[0] == done[1]
        for fill in done[0].fills:
            assert fill.ask_price <= fill.price <= fill.bid_price
            assert fill.buyer_account_id != fill.seller_account_id
            free[fill.pool_id] -= 1
        # No slot is sold twice, whatever quotes and classes it was sold through.
        assert min(free) >= 0
        for world in self.worlds:
            world.leases += [fill.pool_id for fill in done[0].fills]
        self.fills += len(done[0].fills)
        # Nothing is left that could trade: an uncross does all of its work at once.
        again = self.worlds[0].groups[group].next_trade_ns(self.now_ns)
        assert again is None or again > self.now_ns

    def run_to_next_trade(self, group: int) -> None:
        """Just before the stated time nothing happens, at it something does."""
        at = self.both(lambda world: world.groups[group].next_trade_ns(self.now_ns))
        if at is None:
            return
        assert isinstance(at, int)
        if at > self.now_ns:
            self.waits += 1
            self.now_ns = at - 1
            before = self.worlds[0].groups[group].state()
            self.uncross(group)
            assert self.worlds[0].groups[group].state() == before
        self.now_ns = at
        before = self.worlds[0].groups[group].state()
        self.uncross(group)
        assert self.worlds[0].groups[group].state() != before

    def compare(self) -> None:
        now = self.now_ns
        for number in (0, 1):
            real, naive = (world.groups[number] for world in self.worlds)
            real.check()
            assert real.state() == naive.state()
            assert real.next_trade_ns(now) == naive.next_trade_ns(now)
            for bid in real.bids():
                assert real.why_not(bid.bid_id, now) == naive.why_not(bid.bid_id, now)
        for instrument_id in CLASSES:
            self.both(lambda world, i=instrument_id: world.of(i).depth(i, now, 4))  # type: ignore[misc]
        for world in self.worlds:
            for number, pool in enumerate(world.pools):
                assert pool.in_use == world.leases.count(number)

    def empty(self) -> None:
        """End every lease, take out every quote and bid: nothing is left, nothing was lost."""
        for pool in range(POOLS):
            self.lose_worker(pool)
        while self.worlds[0].leases:
            self.end_lease(0)
        for bid_id in range(1, self.sequence + 1):
            self.remove_bid(bid_id)
        self.compare()
        for world in self.worlds:
            assert all(pool.in_use == 0 and pool.quotes == [] for pool in world.pools)
            assert all(group.bids() == [] and group.quotes() == [] for group in world.groups)


def random_prices(rng: random.Random, top: int) -> tuple[int, ...]:
    return tuple(sorted(rng.randint(1, top) for _ in range(rng.randint(1, POOL_SLOTS + 1))))


def random_command(twins: Twins, rng: random.Random, top: int) -> None:
    group, pool, instrument_id = rng.randrange(2), rng.randrange(POOLS), rng.choice(CLASSES)
    kind = rng.random()
    if kind < 0.40:
        classes = rng.sample((1, 2) if group else (1, 2, 3), rng.randint(1, 2))
        horizon = rng.choice((500, 20_000))
        starts = [(rng.randint(-200, horizon), c) for c in classes]
        density = rng.choice((rng.randint(1, 3 * top), top))
        cap = rng.choice((10**9, rng.randint(1, 2 * top)))
        account = rng.randint(1, 6)
        twins.add_bid(account, density, cap, starts, group == 1, rng.random() < 0.25)
    elif kind < 0.52:
        twins.quote(instrument_id, pool, random_prices(rng, top))
    elif kind < 0.60:
        twins.end_lease(rng.randrange(100))
    elif kind < 0.64:
        twins.remove_bid(rng.randint(1, max(1, twins.sequence)))
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
        twins.uncross(group)
    else:
        twins.run_to_next_trade(group)


@pytest.mark.parametrize("seed", range(GROUP_SEEDS))
def test_random_commands(seed: int) -> None:
    rng = random.Random(seed)
    top = rng.choice((8, 60, 100_000))
    twins = Twins()
    for _ in range(GROUP_COMMANDS):
        random_command(twins, rng, top)
        twins.compare()
    twins.empty()
    assert twins.fills > GROUP_COMMANDS // 50


def test_the_random_commands_meet_ramps() -> None:
    rng = random.Random(1)
    twins = Twins()
    while twins.waits < 5:
        random_command(twins, rng, 100_000)


class ClearingMachine(RuleBasedStateMachine):
    """Hypothesis looks for the shortest way to break a promise."""

    def __init__(self) -> None:
        super().__init__()
        self.twins = Twins()

    @rule(
        account=st.integers(1, 3),
        density=st.integers(1, 40),
        cap=st.sampled_from((10, 10**9)),
        starts=st.lists(
            st.tuples(st.integers(-10, 5_000), st.integers(1, 2)),
            min_size=1,
            max_size=2,
            unique_by=lambda start: start[1],
        ),
        second_group=st.booleans(),
        flat=st.booleans(),
    )
    def add_bid(
        self,
        account: int,
        density: int,
        cap: int,
        starts: list[tuple[int, int]],
        second_group: bool,
        flat: bool,
    ) -> None:
        self.twins.add_bid(account, density, cap, starts, second_group, flat)

    @rule(bid_id=st.integers(1, 20))
    def remove_bid(self, bid_id: int) -> None:
        self.twins.remove_bid(bid_id)

    @rule(
        instrument_id=st.sampled_from(CLASSES),
        pool=st.integers(0, 1),
        prices=st.lists(st.integers(1, 30), min_size=1, max_size=3).map(sorted).map(tuple),
    )
    def quote(self, instrument_id: int, pool: int, prices: tuple[int, ...]) -> None:
        self.twins.quote(instrument_id, pool, prices)

    @rule(pick=st.integers(0, 9))
    def end_lease(self, pick: int) -> None:
        self.twins.end_lease(pick)

    @rule(pool=st.integers(0, 1), slots=st.integers(0, 3))
    def resize(self, pool: int, slots: int) -> None:
        self.twins.resize(pool, slots)

    @rule(instrument_id=st.sampled_from(CLASSES), is_open=st.booleans())
    def set_open(self, instrument_id: int, is_open: bool) -> None:
        self.twins.set_open(instrument_id, is_open)

    @rule(pool=st.integers(0, 1))
    def lose_worker(self, pool: int) -> None:
        self.twins.lose_worker(pool)

    @rule(ns=st.integers(1, 3_000))
    def wait(self, ns: int) -> None:
        self.twins.wait(ns)

    @rule(group=st.integers(0, 1))
    def uncross(self, group: int) -> None:
        self.twins.uncross(group)

    @rule(group=st.integers(0, 1))
    def run_to_next_trade(self, group: int) -> None:
        self.twins.run_to_next_trade(group)

    @invariant()
    def twins_agree(self) -> None:
        self.twins.compare()

    def teardown(self) -> None:
        self.twins.empty()


TestClearingMachine = ClearingMachine.TestCase
TestClearingMachine.settings = settings(max_examples=MACHINE_EXAMPLES, deadline=None)
