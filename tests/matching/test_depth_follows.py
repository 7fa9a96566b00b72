"""L1 and L2 rebuilt from L3 are the book's own, whatever kinds of orders made the flow."""

from __future__ import annotations

from random import Random

import pytest

from matching.auction import clear
from matching.book import Book
from matching.depth import BestPrices, Depth, Level, VisibleOrder, levels_checksum
from matching.packed import COMMAND, EVENT_BYTES, Op
from matching.types import BookState, SelfTradePrevention, Side, Terms

STEPS = 1_500
PRICES = range(90, 111)
ACCOUNTS = 5
TERMS = (
    0,
    0,
    0,
    Terms.POST_ONLY,
    Terms.POST_ONLY | Terms.REPRICE,
    Terms.HIDDEN,
    Terms.ALL_OR_NONE,
    Terms.MINIMUM,
    Terms.MINIMUM | Terms.HIDDEN,
    Terms.ICEBERG,
    Terms.ICEBERG,
    Terms.STOP,
    Terms.STOP | Terms.ICEBERG,
    Terms.BUDGET,
)


class Flow:
    """Random packed commands: every op, time in force, mode and term, valid or not."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.ids = 0

    def row(self) -> bytes:
        draw = self.random
        op = draw.choices((Op.PLACE, Op.CANCEL, Op.REPLACE, Op.MASS_CANCEL), (70, 15, 14, 1))[0]
        if op is Op.PLACE:
            self.ids += 1
        order_id = self.ids if op is Op.PLACE else draw.randint(1, self.ids + 1)
        side = draw.choice((1, 2))
        quantity = draw.randint(1, 30)
        terms = draw.choice(TERMS)
        in_force = draw.choice((1, 1, 1, 1, 2, 3, 4))
        price = draw.choice(PRICES)
        return COMMAND.pack(
            op,
            side if op is Op.PLACE else 0,
            in_force,
            draw.choice(list(SelfTradePrevention)),
            terms if op is Op.PLACE else 0,
            order_id,
            draw.randint(1, ACCOUNTS),
            price,
            quantity,
            draw.randint(1, quantity) if terms & Terms.MINIMUM else 0,
            draw.randint(1, quantity) if terms & Terms.ICEBERG else 0,
            draw.choice(PRICES) if terms & Terms.STOP and op is Op.PLACE else 0,
            0,
            price * draw.randint(1, quantity) if terms & Terms.BUDGET else 0,
        )


def levels_of(book: Book, side: Side) -> list[Level]:
    """A side's displayed levels from its orders alone."""
    sums: dict[int, tuple[int, int]] = {}
    for order in book.orders():
        if order.side == side and order.shown:
            quantity, count = sums.get(order.price, (0, 0))
            sums[order.price] = (quantity + order.shown, count + 1)
    prices = sorted(sums, reverse=side is Side.BID)
    return [Level(price, *sums[price]) for price in prices]


def compare(book: Book, depth: Depth, known: dict[tuple[Side, int], Level]) -> None:
    depth.check()
    for change in depth.take_changes():
        known[change.side, change.level.price] = change.level
    tops = []
    for side in Side:
        levels = levels_of(book, side)
        assert depth.levels(side, 1_000) == levels
        assert list(book.depth(side, 1_000)) == levels
        # Who was told the changes alone has the same levels.
        live = [level for (of, _), level in known.items() if of is side and level.orders]
        assert sorted(live) == sorted(levels)
        tops.append(levels[:10])
    assert depth.best() == BestPrices(*(top[0] if top else None for top in tops))
    assert depth.checksum() == levels_checksum(*tops)
    assert depth.sequence == book.sequence


def queue(book: Book) -> list[VisibleOrder]:
    """All displayed orders in priority."""
    return [
        VisibleOrder(order.order_id, Side(order.side), order.price, order.shown)
        for order in book.orders()
        if order.shown
    ]


def hold_auction(book: Book) -> list[bytes]:
    """Let the call find its price, uncross and open; the rows of both."""
    rows = []
    while found := clear(book.interest(Side.BID), book.interest(Side.ASK), reference=100):
        rows.append(book.apply(command(Op.UNCROSS, price=found.price)))
    rows.append(book.apply(command(Op.SET_STATE, quantity=BookState.OPEN)))
    return rows


def command(op: Op, price: int = 0, quantity: int = 0) -> bytes:
    return COMMAND.pack(op, 0, 0, 0, 0, 0, 0, price, quantity, 0, 0, 0, 0, 0)


@pytest.mark.parametrize("seed", range(6))
def test_depth_follows_a_book_of_every_kind_of_order(seed: int) -> None:
    flow, book, depth = Flow(seed), Book(), Depth()
    known: dict[tuple[Side, int], Level] = {}
    icebergs = hidden = 0
    for step in range(STEPS):
        rows = [book.apply(flow.row())]
        if step % 200 == 100:
            rows.append(book.apply(command(Op.SET_STATE, quantity=BookState.AUCTION)))
        elif step % 200 == 120:
            rows += hold_auction(book)
        for row in rows:
            depth.apply(row)
        compare(book, depth, known)
        icebergs += any(0 < order.shown < order.leaves for order in book.orders())
        hidden += any(not order.shown for order in book.orders())
    # The flow did bring what is meant to be hard.
    assert icebergs > STEPS // 10
    assert hidden > STEPS // 10
    assert book.sequence > STEPS // 2


@pytest.mark.parametrize("seed", range(3))
def test_a_reader_who_joins_late_takes_a_snapshot_and_goes_on(seed: int) -> None:
    flow, book, first = Flow(seed), Book(), Depth()
    for _ in range(300):
        first.apply(book.apply(flow.row()))
    late = Depth.from_rows(book.sequence, book.snapshot())
    assert list(late.snapshot().orders) == queue(book)
    assert late.snapshot() == first.snapshot() == Depth(first.snapshot()).snapshot()
    for _ in range(300):
        rows = book.apply(flow.row())
        first.apply(rows)
        late.apply(rows)
    assert late.snapshot() == first.snapshot()
    assert list(late.snapshot().orders) == queue(book)
    assert len(book.snapshot()) == EVENT_BYTES * len(queue(book))
