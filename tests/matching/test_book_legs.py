"""Multi-leg bids over continuous books: the rules on ladders, and the desk against its twin."""

from __future__ import annotations

import random

import pytest

from matching import LEGS_MAX, Book, BookState, Fill, Order, SelfTradePrevention, Side, TimeInForce
from matching.book_legs import BookLeg, BookLegDesk, LeggedOrder, Step
from matching.events import BookEvent, Cancelled, Rejected
from matching.reference_book_legs import NaiveBookLegDesk, NaiveLegBook
from matching.types import RejectReason, Terms
from tests.matching.market import ladder
from tests.matching.sizes import GROUP_COMMANDS, GROUP_SEEDS

GTC, GTD, IOC, FOK = TimeInForce
NEWEST, OLDEST, BOTH, DECREMENT = SelfTradePrevention
A, B, C = 1, 2, 3


class Desks:
    """The real desk and its twin over three books each; every answer is compared."""

    def __init__(self) -> None:
        self.real = {i: Book() for i in (A, B, C)}
        self.naive = {i: NaiveLegBook() for i in (A, B, C)}
        self.desk = BookLegDesk(self.real)
        self.twin = NaiveBookLegDesk(self.naive)
        self.filled: dict[int, int] = {}
        self.wanted: dict[int, LeggedOrder] = {}

    def order(
        self,
        order_id: int,
        *legs: tuple[int, int, int],
        account: int = 0,
        tif: TimeInForce = GTC,
        mode: SelfTradePrevention = NEWEST,
    ) -> list[Step]:
        """An order of legs (instrument, price, quantity)."""
        made = tuple(BookLeg(*leg) for leg in legs)
        order = LeggedOrder(order_id, account or order_id, tif, mode, made)
        steps = self.desk.place(order)
        assert steps == self.twin.place(order)
        self.wanted[order_id] = order
        self._saw(steps)
        return steps

    def place(self, instrument_id: int, make: Order, twin: Order) -> list[Step]:
        """A plain order in one book, and what it leads to."""
        events = self.real[instrument_id].place(make)
        assert events == self.naive[instrument_id].place(twin)
        return self._follow(instrument_id, events)

    def ask(
        self, order_id: int, instrument_id: int, price: int, quantity: int, **others: int
    ) -> list[Step]:
        """A plain ask; `others` are account, terms and mode."""
        account, terms = others.get("account", order_id), others.get("terms", 0)
        mode = others.get("mode", NEWEST)
        first, second = (
            Order(order_id, account, Side.ASK, price, quantity, GTC, mode, terms) for _ in range(2)
        )
        return self.place(instrument_id, first, second)

    def cancel(self, order_id: int) -> None:
        assert self.desk.cancel(order_id) == self.twin.cancel(order_id)
        self._compare()

    def cancel_all(self, order_ids: list[int], others: dict[int, list[int]]) -> list[Step]:
        """Multi-leg and plain orders in one step."""
        steps = self.desk.cancel_all(order_ids, others)
        assert steps == self.twin.cancel_all(order_ids, others)
        self._compare()
        return steps

    def cancel_plain(self, instrument_id: int, order_id: int) -> None:
        events = self.real[instrument_id].cancel(order_id)
        assert events == self.naive[instrument_id].cancel(order_id)
        self._follow(instrument_id, events)

    def set_state(self, instrument_id: int, state: BookState) -> None:
        events = self.real[instrument_id].set_state(state)
        assert events == self.naive[instrument_id].set_state(state)
        self._follow(instrument_id, events)

    def ladder(self, instrument_id: int) -> str:
        return ladder(self.real[instrument_id])

    def _follow(self, instrument_id: int, events: list[BookEvent]) -> list[Step]:
        steps = self.desk.follow(events)
        assert steps == self.twin.follow(events)
        all_steps = [Step(instrument_id, events), *steps]
        self._saw(all_steps)
        return all_steps

    def _saw(self, steps: list[Step]) -> None:
        """No order fills in two books, and none in part."""
        for instrument_id, events in steps:
            traded: dict[int, int] = {}
            for event in events:
                if isinstance(event, Fill):
                    for order_id in (event.maker_order_id, event.taker_order_id):
                        if order_id in self.wanted:
                            traded[order_id] = traded.get(order_id, 0) + event.quantity
            for order_id, quantity in traded.items():
                legs = {leg.instrument_id: leg.quantity for leg in self.wanted[order_id].legs}
                assert quantity == legs[instrument_id]
                assert order_id not in self.filled
                self.filled[order_id] = instrument_id
        self._compare()

    def _compare(self) -> None:
        self.desk.check()
        self.twin.check()
        assert self.desk.state() == self.twin.state()
        resting = {order.order_id for order in self.desk.state()}
        assert not resting & self.filled.keys()
        for instrument_id, book in self.real.items():
            book.check()
            assert book.state() == self.naive[instrument_id].state()
            legs = {order.order_id for order in book.orders() if order.order_id in self.wanted}
            assert legs <= resting


@pytest.fixture
def desks() -> Desks:
    return Desks()


def fills(steps: list[Step]) -> list[tuple[int, int, int]]:
    """(instrument, price, quantity) of each trade."""
    return [
        (step.instrument_id, event.price, event.quantity)
        for step in steps
        for event in step.events
        if isinstance(event, Fill)
    ]


def test_the_first_leg_to_fill_cancels_the_others_in_the_same_step(desks: Desks) -> None:
    desks.order(1, (A, 40, 10), (B, 60, 30))
    assert desks.ladder(A) == "(1:10) | 40 |"
    assert desks.ladder(B) == "(1:30) | 60 |"
    steps = desks.ask(2, A, 40, 12)
    assert fills(steps) == [(A, 40, 10)]
    assert [step.instrument_id for step in steps] == [A, B]
    assert desks.ladder(A) == "| 40 | 2:2"
    assert desks.ladder(B) == ""


def test_a_leg_trades_whole_or_not_at_all(desks: Desks) -> None:
    desks.order(1, (A, 40, 10), (B, 60, 30))
    desks.ask(2, A, 40, 9)
    assert desks.ladder(A) == "(1:10) | 40 | 2:9"
    steps = desks.ask(3, A, 39, 1)
    assert sum(quantity for _, _, quantity in fills(steps)) == 10
    assert desks.ladder(B) == ""


def test_an_incoming_order_takes_the_leg_with_the_largest_gain(desks: Desks) -> None:
    desks.ask(2, A, 30, 10)
    desks.ask(3, B, 50, 20)
    desks.ask(4, B, 58, 10)
    # (40 - 30) x 10 is less than (60 - 50) x 20 + (60 - 58) x 10.
    steps = desks.order(1, (A, 40, 10), (B, 60, 30))
    assert fills(steps) == [(B, 50, 20), (B, 58, 10)]
    assert desks.ladder(A) == "| 30 | 2:10"


def test_of_equal_gains_the_leg_named_first(desks: Desks) -> None:
    desks.ask(2, A, 30, 10)
    desks.ask(3, B, 50, 10)
    assert fills(desks.order(1, (B, 60, 10), (A, 40, 10))) == [(B, 50, 10)]


@pytest.mark.parametrize("tif", [IOC, FOK])
def test_an_order_that_may_not_rest_leaves_nothing(desks: Desks, tif: TimeInForce) -> None:
    desks.ask(2, A, 30, 5)
    assert desks.order(1, (A, 40, 10), (B, 60, 30), tif=tif) == []
    assert desks.ladder(A) == "| 30 | 2:5"
    assert fills(desks.order(3, (A, 40, 5), (B, 60, 30), tif=tif)) == [(A, 30, 5)]


def test_legs_that_must_go_leave_a_book_before_anything_there_can_trade(desks: Desks) -> None:
    desks.order(1, (A, 40, 4), (B, 60, 7))
    desks.order(2, (A, 40, 4), (B, 60, 10))
    desks.order(3, (B, 60, 10))
    # 7 and 10 leave too little of it for the third; 10 and 10 would be all of it.
    desks.ask(9, B, 60, 20, terms=Terms.ALL_OR_NONE)
    assert fills(desks.ask(10, A, 40, 8)) == [(A, 40, 4), (A, 40, 4)]
    # Orders 1 and 2 have filled in A. If only the leg for 7 left B, the ask would trade there.
    assert desks.filled == {1: A, 2: A}
    assert desks.ladder(B) == "(3:10) | 60 | (9:20)"


def test_what_a_cancelled_leg_makes_tradable_ends_other_orders_in_turn(desks: Desks) -> None:
    desks.order(1, (A, 40, 4), (B, 60, 7))
    desks.order(2, (B, 60, 10), (C, 5, 1))
    desks.order(3, (B, 60, 10))
    desks.ask(9, B, 60, 20, terms=Terms.ALL_OR_NONE)
    steps = desks.ask(10, A, 40, 4)
    assert fills(steps) == [(A, 40, 4), (B, 60, 10), (B, 60, 10)]
    assert [step.instrument_id for step in steps] == [A, B, C]
    assert desks.desk.state() == ()


def test_an_order_ends_if_a_leg_meets_its_own_account(desks: Desks) -> None:
    desks.order(1, (A, 40, 10), (B, 60, 30), account=7)
    desks.ask(2, A, 40, 10, account=7, mode=OLDEST)
    assert desks.ladder(B) == ""
    assert desks.desk.order(1) is None


def test_a_cancel_takes_every_leg_out(desks: Desks) -> None:
    desks.order(1, (A, 40, 10), (B, 60, 30), (C, 5, 1))
    desks.cancel(1)
    assert [desks.ladder(i) for i in (A, B, C)] == ["", "", ""]
    desks.cancel(1)


def test_what_is_no_order_is_refused_and_changes_nothing(desks: Desks) -> None:
    desks.order(1, (A, 40, 10))
    plain = LeggedOrder(2, 2, GTC, NEWEST, (BookLeg(A, 40, 10), BookLeg(B, 60, 30)))
    halted = desks.real[C].set_state(BookState.HALTED)
    assert halted == desks.naive[C].set_state(BookState.HALTED)
    for wrong in (
        plain._replace(legs=()),
        plain._replace(legs=tuple(BookLeg(i, 1, 1) for i in range(LEGS_MAX + 1))),
        plain._replace(legs=(BookLeg(A, 40, 10), BookLeg(A, 41, 10))),
        plain._replace(self_trade=DECREMENT),
        plain._replace(order_id=1),
        plain._replace(legs=(BookLeg(A, 40, 10), BookLeg(B, 0, 30))),
        plain._replace(legs=(BookLeg(A, 40, 10), BookLeg(C, 60, 30))),
    ):
        before = desks.desk.state(), [book.state() for book in desks.real.values()]
        with pytest.raises(ValueError, match=r"\d"):
            desks.desk.place(wrong)
        assert (desks.desk.state(), [book.state() for book in desks.real.values()]) == before


def test_as_many_legs_as_the_limit_says() -> None:
    books = {i: Book() for i in range(LEGS_MAX)}
    desk = BookLegDesk(books)
    legs = tuple(BookLeg(i, 40, 10) for i in books)
    assert len(desk.place(LeggedOrder(1, 1, GTC, NEWEST, legs))) == LEGS_MAX
    desk.check()
    assert len(desk.cancel(1)) == LEGS_MAX


def random_command(desks: Desks, rng: random.Random, order_id: int) -> None:
    instrument_id, kind = rng.choice((A, B, C)), rng.random()
    account = rng.randint(1, 6)
    if kind < 0.35:
        instruments = rng.sample((A, B, C), rng.randint(1, 3))
        legs = [(i, rng.randint(8, 14), rng.randint(1, 9)) for i in instruments]
        mode = rng.choice((NEWEST, OLDEST, BOTH))
        tif = rng.choice((GTC, GTC, GTD, IOC, FOK))
        if any(desks.real[i].state_now != BookState.OPEN for i in instruments):
            return
        desks.order(order_id, *legs, account=account, tif=tif, mode=mode)
    elif kind < 0.80:
        side = rng.choice((Side.BID, Side.ASK, Side.ASK))
        tif, mode = rng.choice((GTC, IOC)), rng.choice(tuple(SelfTradePrevention))
        terms = rng.choice((0, 0, Terms.ALL_OR_NONE, Terms.HIDDEN))
        price, quantity = rng.randint(8, 14), rng.randint(1, 12)
        one, two = (
            Order(order_id, account, side, price, quantity, tif, mode, terms) for _ in range(2)
        )
        desks.place(instrument_id, one, two)
    elif kind < 0.83:
        ours = [order.order_id for order in desks.desk.state() if order.account_id == account]
        plain_ids = {
            i: [o.order_id for o in desks.real[i].orders() if o.account_id == account]
            for i in (C, A, B)
        }
        wanted = desks.wanted
        others = {i: [o for o in ids if o not in wanted] for i, ids in plain_ids.items()}
        desks.cancel_all(ours, others)
    elif kind < 0.90 and desks.desk.state():
        desks.cancel(rng.choice(desks.desk.state()).order_id)
    else:
        plain = [o for o in desks.real[instrument_id].orders() if o.order_id not in desks.wanted]
        if plain:
            desks.cancel_plain(instrument_id, rng.choice(plain).order_id)


@pytest.mark.parametrize("seed", range(GROUP_SEEDS))
def test_random_commands(seed: int) -> None:
    rng, desks = random.Random(seed), Desks()
    for order_id in range(1, GROUP_COMMANDS):
        random_command(desks, rng, order_id)
    assert len(desks.filled) > 5


def test_events_of_others_end_nothing(desks: Desks) -> None:
    desks.order(1, (A, 40, 10), (B, 60, 30))
    assert desks.desk.follow([Rejected(1, RejectReason.HALTED)]) == []
    assert not any(isinstance(e, Cancelled) for s in desks.ask(2, C, 5, 5) for e in s.events)
    assert desks.desk.order(1) is not None
