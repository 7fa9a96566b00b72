"""What keeps price levels sorted: a plain list with the best last, or SortedDict.

    python -m tests.matching.containers [LEVELS...]

For each number of levels: the CPU time of opening a level that is not there and dropping it again,
near the touch (the place is exponentially distributed, ten levels away on average) and anywhere in
the book. Seeded; medians of 5 rounds, fewest and most in brackets. docs/adr/0012 has the reading.
"""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Callable
from statistics import median

from sortedcontainers import SortedDict

from matching import Order
from matching.levels import BookSide

WIDTHS = (100, 1_000, 10_000, 100_000, 1_000_000)
OPERATIONS = 20_000
ROUNDS = 5


class ListSide:
    """The side as it is shipped."""

    def __init__(self, prices: list[int]) -> None:
        self.side = BookSide(1, 1)
        for price in sorted(prices):
            self.side.append(_order(price), 1)

    def open_and_drop(self, price: int) -> None:
        order = _order(price)
        self.side.append(order, 1)
        level = order.level
        assert level is not None
        level.remove(order)


class SortedDictSide:
    """The same work with levels in a SortedDict, the best price looked up after each change."""

    def __init__(self, prices: list[int]) -> None:
        self.levels = SortedDict((price, [_order(price)]) for price in prices)

    def open_and_drop(self, price: int) -> None:
        order = _order(price)
        level = self.levels.get(price)
        if level is None:
            level = self.levels[price] = []
        level.append(order)
        self.levels.peekitem(-1)
        level.remove(order)
        if not level:
            del self.levels[price]
        self.levels.peekitem(-1)


def _order(price: int) -> Order:
    return Order(price, 1, 1, price, 1, 1, 1)


def measure(kind: Callable[[list[int]], ListSide | SortedDictSide], places: list[int]) -> str:
    """Microseconds per operation on a side whose levels are the even prices."""
    times = []
    levels, *prices = places
    for _ in range(ROUNDS):
        side = kind([2 * place for place in range(1, levels + 1)])
        start = time.process_time()
        for price in prices:
            side.open_and_drop(price)
        times.append((time.process_time() - start) / len(prices) * 1e6)
    return f"{median(times):7.2f} ({min(times):.2f} to {max(times):.2f})"


def main(widths: list[int]) -> None:
    """Print a table."""
    for levels in widths:
        rng = random.Random(levels)
        count = OPERATIONS if levels < 100_000 else OPERATIONS // 10
        near = [2 * max(1, levels - int(rng.expovariate(0.1))) + 1 for _ in range(count)]
        anywhere = [2 * rng.randint(1, levels) + 1 for _ in range(count)]
        for name, prices in (("near the touch", near), ("anywhere", anywhere)):
            sys.stdout.write(
                f"{levels:9,} levels, {name:14}: list {measure(ListSide, [levels, *prices])}, "
                f"SortedDict {measure(SortedDictSide, [levels, *prices])} us\n"
            )
            sys.stdout.flush()


if __name__ == "__main__":
    main([int(word) for word in sys.argv[1:]] or list(WIDTHS))
