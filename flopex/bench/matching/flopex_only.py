"""What only Flopex's own engine is asked: market data, what rules cost, uncrosses.

Every function gives CPU times of this process; the caller repeats and takes medians.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from random import Random
from typing import Any, Final

from flopex.bench.matching.engines import BATCH, Flopex
from flopex.bench.matching.workloads import MIDDLE


@dataclass
class _Watch:
    """Seconds of CPU between `start` and `stop`, added up."""

    spent: float = 0.0
    _since: float = field(default=0.0, repr=False)

    def start(self) -> None:
        self._since = time.process_time()

    def stop(self) -> None:
        self.spent += time.process_time() - self._since


@contextmanager
def _quiet() -> Iterator[_Watch]:
    """A watch that runs while the garbage collector does not."""
    gc.collect()
    gc.freeze()
    gc.disable()
    watch = _Watch()
    watch.start()
    try:
        yield watch
    finally:
        watch.stop()
        gc.enable()
        gc.unfreeze()


def market_data(data: bytes) -> dict[str, float]:
    """What L2, L1 and the checksum cost per command, when taken after every batch.

    `l2_us` is following the L3 rows and collecting level changes, `l1_us` and `checksum_us` what
    the best prices and the checksum add; `checksum_each_us` is one checksum.
    """
    from matching.depth import Depth

    engine = Flopex()
    count = engine.load(data)
    engine.run(0, count)
    depth, changes = Depth(), 0
    batches = engine.events()
    with _quiet() as l2:
        for rows in batches:
            depth.apply(rows)
            changes += len(depth.take_changes())
    depth.check()
    with _quiet() as l1:
        for _ in batches:
            depth.best()
    with _quiet() as checksum:
        for _ in batches:
            depth.checksum()
    return {
        "l2_us": l2.spent / count * 1e6,
        "l1_us": l1.spent / count * 1e6,
        "checksum_us": checksum.spent / count * 1e6,
        "checksum_each_us": checksum.spent / len(batches) * 1e6,
        "level_changes": changes,
        "batch": BATCH,
    }


RULED_SHARE: Final = 10
"""One limit order in so many carries the rule whose cost is measured."""
STOP_DISTANCE: Final = 5


def _rules() -> dict[str, Callable[[list[int]], None]]:
    """By name: what makes a plain limit order's packed row carry the rule."""
    from matching.types import Side, Terms, TimeInForce

    terms, price, quantity, minimum, display, stop, low = 4, 7, 8, 9, 10, 11, 13
    time_in_force, account = 2, 6

    def add(row: list[int], flag: int, column: int = 0, value: int = 0) -> None:
        row[terms] |= flag
        if column:
            row[column] = value

    def stopped(row: list[int]) -> None:
        away = STOP_DISTANCE if row[1] == Side.BID else -STOP_DISTANCE
        add(row, Terms.STOP, stop, row[price] + away)

    def budget(row: list[int]) -> None:
        row[time_in_force] = TimeInForce.IOC
        add(row, Terms.BUDGET, low, row[price] * row[quantity] // 2)

    def same_account(row: list[int]) -> None:
        row[account] = 1

    return {
        "one account (self-trade prevention)": same_account,
        "post-only": lambda row: add(row, Terms.POST_ONLY),
        "hidden": lambda row: add(row, Terms.HIDDEN),
        "iceberg": lambda row: add(row, Terms.ICEBERG, display, 1 + row[quantity] // 10),
        "minimum": lambda row: add(row, Terms.MINIMUM, minimum, 1 + row[quantity] // 2),
        "all or none": lambda row: add(row, Terms.ALL_OR_NONE),
        "stop-limit": stopped,
        "budget": budget,
        "fill or kill": lambda row: row.__setitem__(time_in_force, TimeInForce.FOK),
    }


def rules(data: bytes) -> dict[str, float]:
    """Microseconds per command if one limit order in ten carries a rule; `plain`: if none does."""
    from matching.packed import COMMAND, Op
    from matching.types import TimeInForce

    spent: dict[str, float] = {}
    for name, change in {"plain": lambda _: None, **_rules()}.items():
        engine = Flopex()
        count = engine.load(data)
        pick = Random(1)
        for number, (book, packed) in enumerate(engine.rows()):
            row = list(COMMAND.unpack(packed))
            limit = row[0] == Op.PLACE and row[2] == TimeInForce.GTC
            if limit and pick.randrange(RULED_SHARE) == 0:
                change(row)
                engine.rows()[number] = (book, COMMAND.pack(*row))
        with _quiet() as watch:
            engine.run(0, count)
        spent[name] = watch.spent / count * 1e6
    return spent


def auction(orders: int, seed: int) -> dict[str, Any]:
    """Milliseconds to find the price of a call auction with so many orders, and to uncross it."""
    from matching.auction import clear
    from matching.book import Book
    from matching.order import Order
    from matching.types import BookState, SelfTradePrevention, Side, TimeInForce

    draw = Random(seed)
    book = Book()
    book.set_state(BookState.AUCTION)
    for order_id in range(1, orders + 1):
        side = Side.BID if order_id % 2 else Side.ASK
        price = MIDDLE + draw.randrange(-200, 201)
        quantity = draw.randrange(1, 101)
        mode = SelfTradePrevention.CANCEL_OLDEST
        book.place(Order(order_id, order_id, side, price, quantity, TimeInForce.GTC, mode))
    with _quiet() as watch:
        found = clear(book.interest(Side.BID), book.interest(Side.ASK), reference=MIDDLE)
        assert found is not None
        events = book.uncross(found.price)
    assert len(book) < orders
    return {"ms": watch.spent * 1e3, "volume": found.volume, "events": len(events)}


MANAGED_TRADING: Final = 10
MANAGED_SLOTS: Final = 1
K_NS: Final = 1_000_000_000
HOUR_NS: Final = 3_600 * 10**9
TICK_NS: Final = 10_000_000
"""The time between two uncrosses."""


def managed(bids: int, seed: int) -> dict[str, Any]:
    """Milliseconds of an uncross with so many resting managed bids, of which ten trade.

    The others have been through an uncross before; the ten have come since.
    """
    from matching.bids import Bid, ClassBid
    from matching.clearing import ClearingGroup
    from matching.slots import SlotPool, StandingQuote

    draw = Random(seed)
    group = ClearingGroup(1, K_NS)
    now_ns, ask = HOUR_NS, 1_000_000

    def enter(bid_id: int, density: int, latest_ns: int) -> None:
        classes = (ClassBid(1, latest_ns),)
        group.add_bid(Bid(bid_id, bid_id, density, density, latest_ns, bid_id, classes))

    for bid_id in range(1, bids - MANAGED_TRADING + 1):
        # Hours left: a bid of fifty times the ask is far below it yet.
        latest_ns = now_ns + draw.randrange(HOUR_NS, 8 * HOUR_NS)
        enter(bid_id, draw.randrange(ask // 100, 50 * ask), latest_ns)
    for pool_id in range(1, MANAGED_TRADING + 1):
        pool = SlotPool(pool_id, 0, MANAGED_SLOTS)
        group.set_quote(StandingQuote(pool_id, 1, pool, (ask,), pool_id))
    assert not group.uncross(now_ns).fills
    now_ns += TICK_NS
    for number in range(1, MANAGED_TRADING + 1):
        # No time left: they pay their whole density.
        enter(bids + number, 2 * ask + number, now_ns)
    with _quiet() as watch:
        done = group.uncross(now_ns)
    assert len(done.fills) == MANAGED_TRADING, done
    return {"ms": watch.spent * 1e3, "fills": len(done.fills)}
