"""Measure matching on seeded work: `python -m tests.matching.flow [commands]`. CPU time only.

The flow is 52 % limit orders, 38 % cancels of live orders and 10 % IOC around a mid price that
walks at random. `flopex bench clearing` measures batch clearing.
"""

from __future__ import annotations

import gc
import random
import sys
import time
from statistics import median

from matching import (
    Book,
    Cancelled,
    Decremented,
    Fill,
    Order,
    Rested,
    SelfTradePrevention,
    Side,
    TimeInForce,
)

COMMANDS = 500_000
ROUNDS = 5


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


if __name__ == "__main__":
    main()
