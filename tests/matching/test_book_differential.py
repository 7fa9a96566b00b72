"""The book against its naive twin: random commands of every kind, event for event."""

from __future__ import annotations

import random

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from matching import Book, Fill, SelfTradePrevention, Side, TimeInForce
from matching.reference import NaiveBook
from tests.matching.market import AnyBook, Market, make
from tests.matching.sizes import BOOK_COMMANDS, BOOK_SEEDS, MACHINE_EXAMPLES

IDS_BACK = 80
"""Cancels and replaces pick among this many last ids, live and dead ones."""


class Twins:
    """The same commands to both books; whatever they answer must be equal."""

    def __init__(self) -> None:
        self.real = Market(Book())
        self.naive = Market(NaiveBook())
        self.fills = 0

    def place(
        self, order_id: int, account: int, side: Side, price: int, quantity: int, tif: int, stp: int
    ) -> None:
        events = [
            market.place(make(order_id, side, quantity, price, account=account, tif=tif, stp=stp))
            for market in (self.real, self.naive)
        ]
        assert events[0] == events[1]
        self.fills += sum(isinstance(event, Fill) for event in events[0])

    def cancel(self, order_id: int) -> None:
        real, naive = self.real.cancel(order_id), self.naive.cancel(order_id)
        assert (real and real.row()) == (naive and naive.row())

    def replace(self, order_id: int, price: int, quantity: int) -> None:
        real = self.real.replace(order_id, price, quantity)
        assert real == self.naive.replace(order_id, price, quantity)

    def compare(self) -> None:
        assert _seen(self.real.book) == _seen(self.naive.book)

    def empty(self) -> None:
        self.real.empty()
        self.naive.empty()


def _seen(book: AnyBook) -> list[object]:
    seen: list[object] = [book.state(), len(book)]
    for side in Side:
        seen += [book.best(side), book.depth(side, 3)]
    return seen


@pytest.mark.parametrize("seed", range(BOOK_SEEDS))
def test_random_commands(seed: int) -> None:
    rng = random.Random(seed)
    # From a book that always crosses to one that is wide, with few and with many accounts.
    half_width = rng.choice((2, 6, 40))
    accounts = rng.choice((2, 5, 50))
    twins = Twins()
    for order_id in range(1, BOOK_COMMANDS + 1):
        old = rng.randint(max(1, order_id - IDS_BACK), order_id)
        side = rng.choice(tuple(Side))
        drift = half_width // 2 if side == Side.ASK else -half_width // 2
        price = 1_000 + drift + rng.randint(-half_width, half_width)
        kind = rng.random()
        if kind < 0.25:
            twins.cancel(old)
        elif kind < 0.4:
            twins.replace(old, price, rng.randint(1, 30))
        else:
            tif = rng.choices(tuple(TimeInForce), (6, 2, 1, 1))[0]
            stp = rng.choice(tuple(SelfTradePrevention))
            account = rng.randint(1, accounts)
            twins.place(order_id, account, side, price, rng.randint(1, 30), tif, stp)
        twins.compare()
    assert twins.fills > BOOK_COMMANDS // 50
    twins.empty()


PRICES = st.integers(95, 105)
QUANTITIES = st.integers(1, 20)
ORDER_IDS = st.integers(1, 30)


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
        stp=st.sampled_from(SelfTradePrevention),
    )
    def place(
        self, account: int, side: Side, price: int, quantity: int, tif: int, stp: int
    ) -> None:
        self.last_id += 1
        self.twins.place(self.last_id, account, side, price, quantity, tif, stp)

    @rule(order_id=ORDER_IDS)
    def cancel(self, order_id: int) -> None:
        self.twins.cancel(order_id)

    @rule(order_id=ORDER_IDS, price=PRICES, quantity=QUANTITIES)
    def replace(self, order_id: int, price: int, quantity: int) -> None:
        self.twins.replace(order_id, price, quantity)

    @invariant()
    def twins_agree(self) -> None:
        self.twins.compare()

    def teardown(self) -> None:
        self.twins.empty()


TestBookMachine = BookMachine.TestCase
TestBookMachine.settings = settings(max_examples=MACHINE_EXAMPLES, deadline=None)
