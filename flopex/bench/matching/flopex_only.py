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
from statistics import median
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
    """A watch that runs while the garbage collector does not, as in a server between commits."""
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
    batches = engine.events
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


Row = dict[str, int]
"""A packed command by its columns."""


def _rules() -> dict[str, Callable[[Row], Row]]:
    """By name: the columns that make a plain limit order carry the rule."""
    from matching.types import Side, Terms, TimeInForce

    def stop(row: Row) -> Row:
        away = STOP_DISTANCE if row["side"] == Side.BID else -STOP_DISTANCE
        return {"terms": Terms.STOP, "stop_price": row["price"] + away}

    def budget(row: Row) -> Row:
        half = row["price"] * row["quantity"] // 2
        return {"terms": Terms.BUDGET, "budget_low": half, "time_in_force": TimeInForce.IOC}

    def iceberg(row: Row) -> Row:
        return {"terms": Terms.ICEBERG, "display": 1 + row["quantity"] // 10}

    def minimum(row: Row) -> Row:
        return {"terms": Terms.MINIMUM, "minimum": 1 + row["quantity"] // 2}

    return {
        "plain": lambda _: {},
        "one account (self-trade prevention)": lambda _: {"account_id": 1},
        "post-only": lambda _: {"terms": Terms.POST_ONLY},
        "hidden": lambda _: {"terms": Terms.HIDDEN},
        "iceberg": iceberg,
        "minimum": minimum,
        "all or none": lambda _: {"terms": Terms.ALL_OR_NONE},
        "stop-limit": stop,
        "budget": budget,
        "fill or kill": lambda _: {"time_in_force": TimeInForce.FOK},
    }


def rules(data: bytes) -> dict[str, float]:
    """Microseconds per command if one limit order in ten carries a rule; `plain`: if none does."""
    from matching.packed import COMMAND, COMMAND_DTYPE, Op
    from matching.types import TimeInForce

    columns = [name for name, _ in COMMAND_DTYPE]
    spent: dict[str, float] = {}
    for name, change in _rules().items():
        engine = Flopex()
        count = engine.load(data)
        pick = Random(1)
        for at in range(0, len(engine.rows), COMMAND.size):
            row = dict(zip(columns, COMMAND.unpack_from(engine.rows, at), strict=True))
            limit = row["op"] == Op.PLACE and row["time_in_force"] == TimeInForce.GTC
            if limit and pick.randrange(RULED_SHARE) == 0:
                row |= change(row)
                COMMAND.pack_into(engine.rows, at, *row.values())
        with _quiet() as watch:
            engine.run(0, count)
        spent[name] = watch.spent / count * 1e6
    return spent


FLOOR_STEPS: Final = 40_000
"""As many as a deep workload has commands."""


def depth_floor(orders: int, seed: int) -> dict[str, Any]:
    """Microseconds to go from one order to another of so many, by a reference to a random one.

    A command at a random place of a book has to take several such steps, each of which knows its
    address from the one before. How much dearer a step is among many orders than among few is the
    memory's doing: no engine that keeps orders as objects goes below it.
    """
    from matching.order import Order
    from matching.types import SelfTradePrevention, Side, TimeInForce

    terms = (Side.BID, MIDDLE, 1, TimeInForce.GTC, SelfTradePrevention.CANCEL_OLDEST)
    chain = [Order(order_id, order_id, *terms) for order_id in range(orders)]
    Random(seed).shuffle(chain)
    for order, newer in zip(chain, chain[1:] + chain[:1], strict=True):
        order.newer = newer
    at: Order | None = chain[0]
    with _quiet() as watch:
        for _ in range(FLOOR_STEPS):
            assert at is not None
            at = at.newer
    assert at is chain[FLOOR_STEPS % orders]
    for order in chain:
        order.newer = None
    return {"us": watch.spent / FLOOR_STEPS * 1e6}


AUCTIONS: Final = 5
AUCTION_WIDTH: Final = 200
"""Prices of a call auction lie this many ticks around the middle, evenly on both sides of it."""


def auction(orders: int, seed: int) -> dict[str, Any]:
    """Milliseconds to find the price of a call auction with so many orders, and to uncross it."""
    from matching.auction import clear
    from matching.book import Book
    from matching.order import Order
    from matching.packed import COMMAND, Op
    from matching.types import BookState, SelfTradePrevention, Side, TimeInForce

    draw = Random(seed)
    mode, gtc = SelfTradePrevention.CANCEL_OLDEST, TimeInForce.GTC
    taken: list[float] = []
    volume = 0
    for _ in range(AUCTIONS):
        book = Book()
        book.set_state(BookState.AUCTION)
        for order_id in range(1, orders + 1):
            side = Side.BID if order_id % 2 else Side.ASK
            price = MIDDLE + draw.randrange(-AUCTION_WIDTH, AUCTION_WIDTH + 1)
            book.place(Order(order_id, order_id, side, price, 1 + draw.randrange(100), gtc, mode))
        with _quiet() as watch:
            found = clear(book.interest(Side.BID), book.interest(Side.ASK), reference=MIDDLE)
            assert found is not None
            row = (Op.UNCROSS, 0, 0, 0, 0, 0, 0, found.price, 0, 0, 0, 0, 0, 0)
            book.apply(COMMAND.pack(*row))
        assert len(book) < orders
        taken.append(watch.spent * 1e3)
        volume = found.volume
    return {"ms": median(taken), "volume": volume}


MANAGED_TRADING: Final = 10
UNCROSSES: Final = 20
K_NS: Final = 1_000_000_000
HOUR_NS: Final = 3_600 * 10**9
STEP_NS: Final = 10_000_000
"""The time between two uncrosses."""


def managed(bids: int, seed: int) -> dict[str, Any]:
    """Milliseconds of an uncross with so many resting managed bids, of which ten trade.

    Before each, slots come back and ten bids arrive that must start at once; all others have hours
    left. `flopex bench clearing` has harder scenes.
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
    pools = [SlotPool(number, 0, 1) for number in range(1, MANAGED_TRADING + 1)]
    for pool in pools:
        group.set_quote(StandingQuote(pool.pool_id, 1, pool, (ask,), pool.pool_id))
    assert not group.uncross(now_ns).fills
    taken: list[float] = []
    for number in range(UNCROSSES):
        now_ns += STEP_NS
        for pool in pools:
            while pool.in_use:
                pool.give()
            bid_id = bids + number * MANAGED_TRADING + pool.pool_id
            enter(bid_id, 2 * ask + pool.pool_id, now_ns)
        with _quiet() as watch:
            done = group.uncross(now_ns)
        assert len(done.fills) == MANAGED_TRADING, done
        taken.append(watch.spent * 1e3)
    return {"ms": median(taken), "fills": MANAGED_TRADING}
