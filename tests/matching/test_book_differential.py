"""The book against its naive twin: random commands of every kind, event for event."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from matching import BookState, Side, Terms, TimeInForce
from matching.packed import Op
from tests.matching.commands import Command, Commands, flags
from tests.matching.sizes import (
    BOOK_COMMANDS,
    BOOK_SEEDS,
    LONG_BATCH,
    LONG_COMMANDS,
    LONG_SEEDS,
    MACHINE_EXAMPLES,
)
from tests.matching.twins import Twins


@pytest.mark.parametrize("seed", range(BOOK_SEEDS))
def test_random_commands_with_a_check_after_each(seed: int) -> None:
    commands = Commands(seed)
    twins = Twins(commands.tick, commands.lot)
    for _ in range(BOOK_COMMANDS):
        twins.do(commands.next(twins.real))
        twins.compare()
        twins.check()
    twins.compare_batch()
    assert twins.fills > BOOK_COMMANDS // 50
    twins.empty()


@pytest.mark.timeout(600)
@pytest.mark.parametrize("seed", range(1_000, 1_000 + LONG_SEEDS))
def test_a_million_random_commands(seed: int) -> None:
    """All seeds together are a million; the states are compared once per batch of rows."""
    run_long(seed, LONG_COMMANDS)


def run_long(seed: int, count: int) -> int:
    """Give both books `count` commands of a seed; returns the fills."""
    commands = Commands(seed)
    twins = Twins(commands.tick, commands.lot)
    for number in range(count):
        twins.do(commands.next(twins.real))
        if number % LONG_BATCH == LONG_BATCH - 1:
            twins.compare()
            twins.check()
            twins.compare_batch()
    twins.empty()
    return twins.fills


PRICES = st.integers(95, 105)
QUANTITIES = st.integers(1, 20)
ORDER_IDS = st.integers(1, 30)
MAYBE = st.integers(0, 8)


class BookMachine(RuleBasedStateMachine):
    """Hypothesis looks for the shortest way to make the twins differ."""

    def __init__(self) -> None:
        super().__init__()
        self.twins = Twins()
        self.last_id = 0

    @rule(
        account=st.integers(1, 3),
        side=st.sampled_from(Side),
        price=PRICES,
        quantity=QUANTITIES,
        tif=st.sampled_from(TimeInForce),
        stp=st.integers(1, 4),
        terms=st.sampled_from((0, 0, 0, *Terms)),
        minimum=st.sampled_from((0, 0, 0, 5, 12)),
        display=st.sampled_from((0, 0, 0, 2)),
        stop_price=st.sampled_from((0, 0, 0, 99, 101)),
    )
    def place(
        self,
        account: int,
        side: Side,
        price: int,
        quantity: int,
        tif: int,
        stp: int,
        terms: int,
        minimum: int,
        display: int,
        stop_price: int,
    ) -> None:
        self.last_id += 1
        budget = 1_500 if terms == Terms.BUDGET else 0
        self.twins.do(
            Command(
                Op.PLACE,
                side,
                tif,
                stp,
                flags(terms, minimum, display, stop_price, budget),
                self.last_id,
                account,
                price,
                quantity,
                minimum,
                display,
                stop_price,
                budget,
            )
        )

    @rule(order_id=ORDER_IDS)
    def cancel(self, order_id: int) -> None:
        self.twins.do(Command(Op.CANCEL, order_id=order_id))

    @rule(order_id=ORDER_IDS, price=PRICES, quantity=QUANTITIES)
    def replace(self, order_id: int, price: int, quantity: int) -> None:
        self.twins.do(Command(Op.REPLACE, order_id=order_id, price=price, quantity=quantity))

    @rule(state=st.sampled_from(BookState))
    def set_state(self, state: BookState) -> None:
        self.twins.do(Command(Op.SET_STATE, quantity=state))

    @rule(price=PRICES)
    def uncross(self, price: int) -> None:
        self.twins.do(Command(Op.UNCROSS, price=price))

    @rule(account=st.integers(1, 3), side=st.integers(0, 2))
    def mass_cancel(self, account: int, side: int) -> None:
        self.twins.do(Command(Op.MASS_CANCEL, side=side, account_id=account))

    @invariant()
    def twins_agree(self) -> None:
        self.twins.compare()
        self.twins.check()

    def teardown(self) -> None:
        self.twins.empty()


TestBookMachine = BookMachine.TestCase
TestBookMachine.settings = settings(max_examples=MACHINE_EXAMPLES, deadline=None)
