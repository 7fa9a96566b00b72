"""Measure matching on seeded work: `python -m tests.matching.flow [commands]`. CPU time only.

The flow is 52 % limit orders, 38 % cancels of live orders and 10 % IOC around a mid price that
walks at random. The uncross has managed bids of which few trade, over three classes.
"""

from __future__ import annotations

import gc
import random
import sys
import time
from statistics import median

from matching import (
    Bid,
    Book,
    Cancelled,
    ClassBid,
    ClearingGroup,
    Decremented,
    Fill,
    Order,
    Rested,
    SelfTradePrevention,
    Side,
    SlotPool,
    StandingQuote,
    TimeInForce,
    round_down,
)

COMMANDS = 500_000
ROUNDS = 5
RESTING_BIDS = 100_000
POOLS = 10
S = 10**9


class Live:
    """Ids of resting orders, with a random pick in constant time."""

    def __init__(self) -> None:
        self.ids: list[int] = []
        self.at: dict[int, int] = {}

    def add(self, order_id: int) -> None:
        self.at[order_id] = len(self.ids)
        self.ids.append(order_id)

    def drop(self, order_id: int) -> None:
        at, last = self.at.pop(order_id), self.ids.pop()
        if last != order_id:
            self.ids[at] = last
            self.at[last] = at


def flow(count: int, seed: int = 1) -> list[tuple[int, ...]]:
    """Rows (order id, 0) to cancel, or the terms of an order."""
    rng, book, live, mid = random.Random(seed), Book(), Live(), 10_000
    rows: list[tuple[int, ...]] = []
    for order_id in range(1, count + 1):
        mid += rng.choice((-1, 1)) if rng.random() < 0.02 else 0
        kind = rng.random()
        if kind < 0.38 and live.ids:
            cancelled = rng.choice(live.ids)
            rows.append((cancelled, 0))
            book.cancel(cancelled)
            live.drop(cancelled)
            continue
        side = rng.choice(tuple(Side))
        away = 1 if side == Side.BID else -1
        ioc = kind > 0.90
        price = mid + 3 * away if ioc else mid - away * int(rng.expovariate(0.08))
        tif = TimeInForce.IOC if ioc else TimeInForce.GTC
        rows.append((order_id, order_id % 1_000, side, price, rng.randint(1, 100), tif))
        for event in book.place(make(rows[-1])):
            if isinstance(event, Rested):
                live.add(event.order_id)
            elif isinstance(event, Fill) and event.maker_leaves == 0:
                live.drop(event.maker_order_id)
            elif isinstance(event, Cancelled | Decremented) and event.order_id in live.at:
                live.drop(event.order_id)
    return rows


def make(row: tuple[int, ...]) -> Order:
    order_id, account_id, side, price, quantity, tif = row
    return Order(
        order_id,
        account_id,
        side,
        price,
        quantity,
        tif,
        SelfTradePrevention.CANCEL_OLDEST,
    )


def run_flow(rows: list[tuple[int, ...]]) -> tuple[float, int, int]:
    """Commands per CPU second, events, and live orders at the end."""
    book, events = Book(), 0
    start = time.process_time()
    for row in rows:
        if row[1:] == (0,):
            book.cancel(row[0])
        else:
            events += len(book.place(make(row)))
    return len(rows) / (time.process_time() - start), events, len(book)


def managed_group(*, on_ticks: bool) -> tuple[ClearingGroup, float]:
    """A group with many managed bids that start low, and the CPU seconds per bid added."""
    rng, group = random.Random(2), ClearingGroup(1, S)
    for instrument_id in (1, 2, 3):
        for pool_id in range(POOLS):
            pool = SlotPool(100 * instrument_id + pool_id, 1, 4)
            quote_id = pool.pool_id
            group.set_quote(StandingQuote(quote_id, instrument_id, pool, (40_000,) * 4, quote_id))
    group.next_trade_ns(0)
    bids = []
    for bid_id in range(2, RESTING_BIDS + 2):
        density = int(1_000 * rng.lognormvariate(2, 1)) + 1
        density = round_down(density) if on_ticks else density
        latest = rng.randint(60, 600) * S + bid_id
        classes = tuple(ClassBid(i, latest - (3 - i) * S) for i in (1, 2, 3))
        bids.append(Bid(bid_id, bid_id, density, density, latest, bid_id, classes))
    start = time.process_time()
    for bid in bids:
        group.add_bid(bid)
    return group, (time.process_time() - start) / len(bids)


def run_uncross(*, on_ticks: bool) -> str:
    group, per_bid = managed_group(on_ticks=on_ticks)
    at = 0
    fills, spent, rearmed = 0, [], []
    while fills < 10:
        start = time.process_time()
        at = group.next_trade_ns(at) or 0
        rearmed.append(time.process_time() - start)
        start = time.process_time()
        fills += len(group.uncross(at).fills)
        spent.append(time.process_time() - start)
        # A worker asks less: its class must be armed afresh.
        old = group.quotes()[0]
        prices = (old.prices[0] - 1,) * 4
        quote = StandingQuote(old.quote_id, old.instrument_id, old.pool, prices, old.sequence)
        group.set_quote(quote)
    return (
        f"densities {'on ticks' if on_ticks else 'all different'}: add {per_bid * 1e6:.1f} us/bid, "
        f"arm {max(rearmed) * 1e3:.2f} ms, uncross {median(spent) * 1e3:.2f} ms"
    )


def main() -> None:
    rows = flow(int(sys.argv[1]) if len(sys.argv) > 1 else COMMANDS)
    gc.collect()
    gc.freeze()
    runs = [run_flow(rows) for _ in range(ROUNDS)]
    rates = sorted(rate for rate, _, _ in runs)
    _, events, live = runs[0]
    sys.stdout.write(
        f"flow of {len(rows)}: {events} events, {live} orders live at the end; commands per CPU "
        f"second {median(rates):,.0f} ({rates[0]:,.0f} to {rates[-1]:,.0f})\n"
    )
    for on_ticks in (True, False):
        sys.stdout.write(f"{RESTING_BIDS} managed bids, {run_uncross(on_ticks=on_ticks)}\n")


if __name__ == "__main__":
    main()
