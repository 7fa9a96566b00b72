"""No slot is ever sold twice, whatever comes in between: a ledger of leases beside the pools.

Pools are shared by quotes on many instruments of several groups. The ledger knows only what was
sold (fills) and what has ended; it never looks at what a pool says is in use to decide anything.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

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
from tests.matching.sizes import GROUP_SEEDS, MACHINE_EXAMPLES

K_NS = 1_000
GROUPS = (1, 2, 3)
INSTRUMENTS = tuple(10 * group + c for group in GROUPS for c in (1, 2))
POOLS = 3
SLOTS_MAX = 4


class Exchange:
    """Groups and a desk over shared pools, driven as an exchange drives them, and the ledger."""

    def __init__(self) -> None:
        self.groups = {i: ClearingGroup(i, K_NS) for i in GROUPS}
        self.desk = LegDesk(self.groups)
        self.pools = [SlotPool(n, 100 + n, 2) for n in range(POOLS)]
        self.leases: list[int] = []  # the pool of each lease that runs
        self.now_ns = 0
        self.next_id = 0
        self.sold = 0

    def group(self, instrument_id: int) -> ClearingGroup:
        return self.groups[instrument_id // 10]

    def running(self, pool_id: int) -> int:
        return self.leases.count(pool_id)

    def bid(self, instruments: Sequence[int], price: int, ttl_ns: int) -> None:
        """An order with a leg for each group that the instruments belong to."""
        legs = []
        order_id = self.next_id + 1
        for group_id in dict.fromkeys(i // 10 for i in instruments):
            self.next_id += 1
            classes = tuple(
                ClassBid(i, self.now_ns + ttl_ns) for i in instruments if i // 10 == group_id
            )
            start = self.now_ns + ttl_ns
            bid = Bid(self.next_id, 1, price, price, start, self.next_id, classes)
            legs.append(Leg(group_id, bid, 1))
        self.desk.add(MultiLegBid(order_id, tuple(legs)))

    def cancel(self, pick: int) -> None:
        rows = self.desk.state()
        if rows:
            self.desk.remove(rows[pick % len(rows)][0])

    def quote(self, pool: int, instrument_id: int, prices: Sequence[int]) -> None:
        """A quote or a requote."""
        self.next_id += 1
        quote = StandingQuote(
            self.next_id, instrument_id, self.pools[pool], tuple(sorted(prices)), self.next_id
        )
        self.group(instrument_id).set_quote(quote)

    def expire_quote(self, pool: int, instrument_id: int) -> None:
        self.group(instrument_id).remove_quote(instrument_id, pool)

    def lose_worker(self, pool: int) -> None:
        """Its quotes go and its leases fail."""
        for instrument_id in INSTRUMENTS:
            self.expire_quote(pool, instrument_id)
        while self.running(pool):
            self.leases.remove(pool)
            self.pools[pool].give()

    def end_lease(self, pick: int) -> None:
        if self.leases:
            self.pools[self.leases.pop(pick % len(self.leases))].give()

    def resize(self, pool: int, slots: int) -> None:
        self.pools[pool].resize(slots)

    def halt(self, instrument_id: int, is_open: bool) -> None:
        self.group(instrument_id).set_open(instrument_id, is_open)

    def uncross(self, group_ids: Sequence[int], ns: int) -> None:
        """A step; every fill must find a slot that nobody has."""
        self.now_ns += ns
        for done in self.desk.uncross(group_ids, self.now_ns):
            for fill in done.uncross.fills:
                assert self.running(fill.pool_id) < self.pools[fill.pool_id].slots, "oversold"
                self.leases.append(fill.pool_id)
                self.sold += 1

    def check(self) -> None:
        for pool in self.pools:
            assert pool.in_use == self.running(pool.pool_id), "a slot is lost or sold twice"
            free = max(0, pool.slots - pool.in_use)
            for quote in pool.quotes:
                assert quote.free_slots() <= free
                assert (quote.ask() is not None) == (quote.free_slots() > 0)
        for group in self.groups.values():
            group.check()
        self.desk.check()

    def end(self) -> None:
        """All leases end: every slot is back."""
        while self.leases:
            self.end_lease(0)
        self.check()
        for pool in self.pools:
            assert pool.in_use == 0
            with pytest.raises(ValueError, match="no slot in use"):
                pool.give()


PRICES = st.lists(st.integers(1, 9), min_size=1, max_size=SLOTS_MAX + 1)
ANY_POOL = st.integers(0, POOLS - 1)
ANY_INSTRUMENT = st.sampled_from(INSTRUMENTS)


class SlotMachine(RuleBasedStateMachine):
    """Hypothesis looks for an interleaving that sells a slot twice, or loses one."""

    def __init__(self) -> None:
        super().__init__()
        self.exchange = Exchange()

    @rule(
        instruments=st.lists(ANY_INSTRUMENT, min_size=1, max_size=4, unique=True),
        price=st.integers(1, 40),
        ttl_ns=st.sampled_from((0, 500, 5_000)),
    )
    def bid(self, instruments: list[int], price: int, ttl_ns: int) -> None:
        self.exchange.bid(instruments, price, ttl_ns)

    @rule(pick=st.integers(0, 9))
    def cancel(self, pick: int) -> None:
        self.exchange.cancel(pick)

    @rule(pool=ANY_POOL, instrument_id=ANY_INSTRUMENT, prices=PRICES)
    def quote(self, pool: int, instrument_id: int, prices: list[int]) -> None:
        self.exchange.quote(pool, instrument_id, prices)

    @rule(pool=ANY_POOL, instrument_id=ANY_INSTRUMENT)
    def expire_quote(self, pool: int, instrument_id: int) -> None:
        self.exchange.expire_quote(pool, instrument_id)

    @rule(pool=ANY_POOL)
    def lose_worker(self, pool: int) -> None:
        self.exchange.lose_worker(pool)

    @precondition(lambda self: self.exchange.leases)
    @rule(pick=st.integers(0, 9))
    def end_lease(self, pick: int) -> None:
        self.exchange.end_lease(pick)

    @rule(pool=ANY_POOL, slots=st.integers(0, SLOTS_MAX))
    def resize(self, pool: int, slots: int) -> None:
        self.exchange.resize(pool, slots)

    @rule(instrument_id=ANY_INSTRUMENT, is_open=st.booleans())
    def halt(self, instrument_id: int, is_open: bool) -> None:
        self.exchange.halt(instrument_id, is_open)

    @rule(
        group_ids=st.lists(st.sampled_from(GROUPS), min_size=1, max_size=3, unique=True),
        ns=st.sampled_from((0, 1, 700)),
    )
    def uncross(self, group_ids: list[int], ns: int) -> None:
        self.exchange.uncross(group_ids, ns)

    @invariant()
    def every_slot_is_accounted_for(self) -> None:
        self.exchange.check()

    def teardown(self) -> None:
        self.exchange.end()


TestSlotMachine = SlotMachine.TestCase
TestSlotMachine.settings = settings(
    max_examples=2 * MACHINE_EXAMPLES, stateful_step_count=60, deadline=None
)


def random_step(exchange: Exchange, rng: random.Random) -> None:
    pool, instrument_id = rng.randrange(POOLS), rng.choice(INSTRUMENTS)
    kind = rng.random()
    if kind < 0.35:
        instruments = rng.sample(INSTRUMENTS, rng.randint(1, 4))
        exchange.bid(instruments, rng.randint(1, 40), rng.choice((0, 500, 5_000)))
    elif kind < 0.55:
        exchange.quote(pool, instrument_id, rng.choices(range(1, 10), k=rng.randint(1, 5)))
    elif kind < 0.60:
        exchange.cancel(rng.randrange(100))
    elif kind < 0.63:
        exchange.expire_quote(pool, instrument_id)
    elif kind < 0.65:
        exchange.lose_worker(pool)
    elif kind < 0.80:
        exchange.end_lease(rng.randrange(100))
    elif kind < 0.83:
        exchange.resize(pool, rng.randint(0, SLOTS_MAX))
    elif kind < 0.86:
        exchange.halt(instrument_id, rng.random() < 0.7)
    else:
        exchange.uncross(rng.sample(GROUPS, rng.randint(1, 3)), rng.choice((0, 1, 700)))


@pytest.mark.parametrize("seed", range(GROUP_SEEDS))
def test_random_interleavings(seed: int) -> None:
    rng, exchange = random.Random(seed), Exchange()
    for _ in range(400):
        random_step(exchange, rng)
        exchange.check()
    exchange.end()
    assert exchange.sold > 20
