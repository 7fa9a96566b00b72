"""Random commands for books: every order type, flag, state and mode, from quiet to wild."""

from __future__ import annotations

import random
from typing import NamedTuple

from matching import Book, BookState, Order, SelfTradePrevention, Side, Terms, TimeInForce
from matching.packed import BUDGET_LOW_BITS, COMMAND, Op
from matching.reference import NaiveBook

AnyBook = Book | NaiveBook

SIDES, WORDS, MODES, TERMS = (
    tuple(Side),
    tuple(TimeInForce),
    tuple(SelfTradePrevention),
    tuple(Terms),
)
IDS_BACK = 60
"""Cancels and replaces pick among this many last ids, live and dead ones."""
BOOK_ORDERS = 25
"""Above this many resting orders cancels become more frequent, to keep the naive twin fast."""


class Command(NamedTuple):
    """One command row, field by field."""

    op: int
    side: int = 0
    time_in_force: int = 0
    self_trade: int = 0
    terms: int = 0
    order_id: int = 0
    account_id: int = 0
    price: int = 0
    quantity: int = 0
    minimum: int = 0
    display: int = 0
    stop_price: int = 0
    budget: int = 0

    def packed(self) -> bytes:
        high, low = divmod(self.budget, 1 << BUDGET_LOW_BITS)
        return COMMAND.pack(*self[:-1], high, low)

    def order(self) -> Order:
        """A new order object for one book."""
        return Order(
            self.order_id,
            self.account_id,
            self.side,
            self.price,
            self.quantity,
            self.time_in_force,
            self.self_trade,
            self.terms,
            self.minimum,
            self.display,
            self.stop_price,
            self.budget,
        )


class Commands:
    """A stream of commands; how wild it is depends on the seed."""

    def __init__(self, seed: int) -> None:
        self.rng = rng = random.Random(seed)
        self.half_width = rng.choice((2, 5, 12, 40))
        self.accounts = rng.choice((2, 5, 50))
        self.tick = rng.choice((1, 1, 5))
        self.lot = rng.choice((1, 1, 3))
        # How often an order carries each condition: not at all, sometimes, mostly.
        self.wild = rng.choice((0.0, 0.1, 0.35, 0.8))
        self.auctions = rng.choice((0.0, 0.004, 0.02))
        self.last_id = 0

    def next(self, book: AnyBook) -> Command:
        """The next command, which suits what the book holds and does."""
        rng = self.rng
        if book.state_now != BookState.OPEN and rng.random() < 0.08:
            return self._towards_open(book)
        kind = rng.random()
        if kind < self.auctions:
            state = rng.choice((BookState.AUCTION, BookState.AUCTION, BookState.HALTED))
            return Command(Op.SET_STATE, quantity=state)
        kind = rng.random()
        if kind < (0.22 if len(book) < BOOK_ORDERS else 0.7):
            return Command(Op.CANCEL, order_id=self._old_id())
        if kind < 0.36:
            return self._replace()
        if kind < 0.365:
            side = rng.choice((0, 1, 2))
            return Command(Op.MASS_CANCEL, side=side, account_id=rng.randint(1, self.accounts))
        if kind < 0.367:
            return self._odd()
        return self._place()

    def _place(self) -> Command:
        rng = self.rng
        self.last_id += 1
        side = rng.choice(SIDES)
        tif = rng.choices(WORDS, (6, 2, 1, 1))[0]
        quantity = rng.randint(1, 30)
        price = self._price(side)
        terms = minimum = display = stop_price = budget = 0
        if rng.random() < self.wild:
            kind = rng.random()
            if kind < 0.2:
                minimum = rng.randint(1, quantity + 2)
            elif kind < 0.35:
                terms = Terms.ALL_OR_NONE
            elif kind < 0.5:
                display = rng.randint(1, quantity)
            elif kind < 0.6:
                terms = Terms.HIDDEN
            elif kind < 0.75:
                terms = Terms.POST_ONLY | rng.choice((0, Terms.REPRICE, Terms.HIDDEN))
            elif kind < 0.9:
                stop_price = self._price(side.opposite)
                terms = rng.choice((0, 0, Terms.HIDDEN))
            else:
                budget = rng.randint(1, 40 * 1_000)
                tif = rng.choice(tuple(TimeInForce))
                if tif in (TimeInForce.IOC, TimeInForce.FOK):
                    minimum = rng.choice((0, 0, rng.randint(1, quantity)))
                else:
                    terms = rng.choice((0, 0, Terms.HIDDEN, Terms.POST_ONLY | Terms.REPRICE))
                    display = rng.choice((0, quantity)) if not terms else 0
            if rng.random() < 0.05:  # often terms that exclude each other
                terms |= rng.choice(TERMS)
        return Command(
            Op.PLACE,
            side,
            tif,
            rng.choice(MODES),
            flags(terms, minimum, display, stop_price, budget),
            self.last_id,
            rng.randint(1, self.accounts),
            price,
            quantity,
            minimum,
            display,
            stop_price,
            budget,
        )

    def _replace(self) -> Command:
        rng = self.rng
        stop_price = self._price(Side.BID) if rng.random() < 0.2 * self.wild else 0
        price = self._price(rng.choice(SIDES))
        return Command(
            Op.REPLACE,
            order_id=self._old_id(),
            price=price,
            quantity=rng.randint(1, 40),
            stop_price=stop_price,
        )

    def _odd(self) -> Command:
        """Terms outside their limits, ids used twice, states that do not exist."""
        rng = self.rng
        good = self._place()
        wrong = rng.choice(
            (
                {"price": rng.choice((0, -1, 10**9 + 1))},
                {"quantity": rng.choice((0, -5, 10**15 + 1))},
                {"order_id": self._old_id()},
                {"side": 3},
                {"time_in_force": 0},
                {"self_trade": 9},
                {"op": Op.SET_STATE, "quantity": 7},
                {"op": Op.UNCROSS},
                {"op": Op.MASS_CANCEL, "side": 7},
            )
        )
        return good._replace(**wrong)

    def _towards_open(self, book: AnyBook) -> Command:
        rng = self.rng
        price = auction_price(book)
        if book.state_now == BookState.AUCTION and price is not None and rng.random() < 0.6:
            if rng.random() < 0.2:
                price = self._price(Side.BID)
            return Command(Op.UNCROSS, price=price)
        return Command(Op.SET_STATE, quantity=rng.choice((1, 1, 1, 2, 3)))

    def _old_id(self) -> int:
        return self.rng.randint(max(1, self.last_id - IDS_BACK), self.last_id + 1)

    def _price(self, side: Side) -> int:
        away = self.half_width // 2
        middle = 1_000 + (away if side == Side.ASK else -away)
        return middle // self.tick * self.tick + self.tick * self.rng.randint(
            -self.half_width, self.half_width
        )


def flags(terms: int, minimum: int, display: int, stop_price: int, budget: int) -> int:
    """The terms of an order with these fields, as `Order` derives them."""
    terms |= Terms.MINIMUM if minimum else 0
    terms |= Terms.ICEBERG if display else 0
    terms |= Terms.STOP if stop_price else 0
    return int(terms | (Terms.BUDGET if budget else 0))


def auction_price(book: AnyBook) -> int | None:
    """A price of largest volume, by trying them all."""
    bids, asks = book.interest(1), book.interest(2)
    volumes = {}
    for price in {p for p, _ in (*bids, *asks)}:
        bought = sum(q for p, q in bids if p >= price)
        sold = sum(q for p, q in asks if p <= price)
        volumes[price] = min(bought, sold)
    return max(volumes, key=lambda p: (volumes[p], -p)) if volumes else None
