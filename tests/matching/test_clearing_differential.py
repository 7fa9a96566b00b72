"""Clearing groups and the desk of multi-leg orders against their naive twins.

See `tests.matching.clearing_twins` for what is compared after every command.
"""

from __future__ import annotations

import random

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from tests.matching.clearing_twins import CLASSES, GROUPS, Terms, Twins, group_of, random_command
from tests.matching.sizes import GROUP_COMMANDS, GROUP_SEEDS, MACHINE_EXAMPLES

ORDERS = {"bids": 0.0, "orders": 0.4}


@pytest.mark.parametrize("kind", ORDERS)
@pytest.mark.parametrize("seed", range(GROUP_SEEDS))
def test_random_commands(seed: int, kind: str) -> None:
    rng = random.Random(seed)
    top = rng.choice((8, 60, 100_000))
    twins = Twins()
    for _ in range(GROUP_COMMANDS):
        random_command(twins, rng, top, ORDERS[kind])
        twins.compare()
    twins.empty()
    assert twins.fills > GROUP_COMMANDS // 50


def test_the_random_commands_meet_ramps_and_legs_that_fill_and_that_pass_in_vain() -> None:
    waits, leg_fills, passes = 0, 0, 0
    for seed in range(200):
        rng, twins = random.Random(seed), Twins()
        for _ in range(200):
            random_command(twins, rng, (8, 60, 100_000)[seed % 3], 0.4)
        waits, leg_fills = waits + twins.waits, leg_fills + twins.leg_fills
        passes += twins.passes
        if waits > 20 and leg_fills > 100 and passes > 1:
            return
    pytest.fail(f"{waits} waits, {leg_fills} fills of legs, {passes} passed in vain")


PRICES = st.lists(st.integers(1, 30), min_size=1, max_size=3).map(sorted).map(tuple)
INSTRUMENTS = st.sampled_from(CLASSES)
POOLS = st.integers(0, 1)


@st.composite
def terms(draw: st.DrawFn, classes: list[int]) -> Terms:
    starts = [(draw(st.integers(-10, 5_000)), c) for c in classes]
    cap = draw(st.sampled_from((10, 10**9)))
    return Terms(draw(st.integers(1, 40)), cap, starts, flat=draw(st.booleans()))


@st.composite
def bids(draw: st.DrawFn) -> Terms:
    group_id = draw(st.sampled_from(GROUPS))
    named = [c for c in CLASSES if group_of(c) == group_id]
    return draw(terms(draw(st.lists(st.sampled_from(named), min_size=1, max_size=2, unique=True))))


@st.composite
def orders(draw: st.DrawFn) -> list[tuple[int, Terms]]:
    classes = draw(st.lists(INSTRUMENTS, min_size=2, max_size=4, unique=True))
    return [(draw(st.sampled_from((1, 5))), draw(terms([c]))) for c in classes]


class ClearingMachine(RuleBasedStateMachine):
    """Hypothesis looks for the shortest way to break a promise."""

    def __init__(self) -> None:
        super().__init__()
        self.twins = Twins()

    @rule(account=st.integers(1, 3), bid=bids())
    def add_bid(self, account: int, bid: Terms) -> None:
        self.twins.add_bid(account, bid)

    @rule(account=st.integers(1, 3), legs=orders())
    def add_order(self, account: int, legs: list[tuple[int, Terms]]) -> None:
        self.twins.add_order(account, legs)

    @rule(bid_id=st.integers(1, 20))
    def remove(self, bid_id: int) -> None:
        self.twins.remove(bid_id)

    @rule(instrument_id=INSTRUMENTS, pool=POOLS, prices=PRICES)
    def quote(self, instrument_id: int, pool: int, prices: tuple[int, ...]) -> None:
        self.twins.quote(instrument_id, pool, prices)

    @rule(pick=st.integers(0, 9))
    def end_lease(self, pick: int) -> None:
        self.twins.end_lease(pick)

    @rule(pool=POOLS, slots=st.integers(0, 3))
    def resize(self, pool: int, slots: int) -> None:
        self.twins.resize(pool, slots)

    @rule(instrument_id=INSTRUMENTS, is_open=st.booleans())
    def set_open(self, instrument_id: int, is_open: bool) -> None:
        self.twins.set_open(instrument_id, is_open)

    @rule(pool=POOLS)
    def lose_worker(self, pool: int) -> None:
        self.twins.lose_worker(pool)

    @rule(ns=st.integers(1, 3_000))
    def wait(self, ns: int) -> None:
        self.twins.wait(ns)

    @rule(group_ids=st.sampled_from(((1,), (2,), GROUPS)))
    def uncross(self, group_ids: tuple[int, ...]) -> None:
        self.twins.uncross(*group_ids)

    @rule(group_id=st.sampled_from(GROUPS))
    def run_to_next_trade(self, group_id: int) -> None:
        self.twins.run_to_next_trade(group_id)

    @invariant()
    def twins_agree(self) -> None:
        self.twins.compare()

    def teardown(self) -> None:
        self.twins.empty()


TestClearingMachine = ClearingMachine.TestCase
TestClearingMachine.settings = settings(max_examples=MACHINE_EXAMPLES, deadline=None)
