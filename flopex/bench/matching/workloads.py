"""Seeded streams of orders for a matching engine, and the file format in which they travel.

Prices are integer ticks and quantities integer lots. A cancel names an order that is live when it
arrives, so a generator has to know the book: it keeps a small one of its own (`_Market`), which
shares no code with the engine. That also gives the number and the digest of the trades that a
right engine makes, for the whole of a workload.

The same seed gives the same bytes on every machine and every Python from 3.11 on: the generators
draw with `Random.random` only, whose sequence is promised.
"""

from __future__ import annotations

import hashlib
import struct
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from heapq import heappop, heappush
from pathlib import Path
from random import Random
from typing import Final, NamedTuple

LIMIT: Final = 1
CANCEL: Final = 2
IOC: Final = 3
BID: Final = 1
ASK: Final = 2

COMMAND: Final = struct.Struct("<BBHIqq")
"""One command: what (1 limit, 2 cancel, 3 immediate-or-cancel), side (1 bid, 2 ask), book, order
id, price, quantity; 24 bytes, little-endian, aligned as a C struct is."""
TRADE: Final = struct.Struct("<IIqq")
"""One trade: the taker's and the maker's order id, price, quantity."""

SIZE_MAX: Final = 100
"""Largest quantity of an order that is not a sweep, in lots; the smallest is 1."""
MIDDLE: Final = 100_000
"""Where the middle of each book starts, in ticks; far enough from zero for the deepest book."""


class Command(NamedTuple):
    """One row of a workload. A cancel repeats side, price and book of the order it names."""

    what: int
    side: int
    book: int
    order_id: int
    price: int
    quantity: int


class Trade(NamedTuple):
    """What a right engine reports, in order."""

    taker_id: int
    maker_id: int
    price: int
    quantity: int


def trades_digest(trades: list[Trade]) -> str:
    """SHA-256 over the trades in order, as 64 hexadecimal digits."""
    digest = hashlib.sha256()
    for trade in trades:
        digest.update(TRADE.pack(*trade))
    return digest.hexdigest()


@dataclass(frozen=True, slots=True)
class Workload:
    """Commands, how many of them only fill the books, and the trades that they must make."""

    name: str
    seed: int
    preload: int
    commands: list[Command]
    trades: list[Trade]
    live: int

    def data(self) -> bytes:
        """The commands as they stand in a file."""
        return b"".join(COMMAND.pack(*command) for command in self.commands)

    def digest(self) -> str:
        """SHA-256 of the commands."""
        return hashlib.sha256(self.data()).hexdigest()

    def count(self, what: int) -> int:
        """How many commands are of a kind."""
        return sum(command.what == what for command in self.commands)


def write(workload: Workload, path: Path) -> None:
    """Write the commands to a file."""
    path.write_bytes(workload.data())


def read(path: Path, first: int | None = None) -> list[Command]:
    """The first commands of a file, or all."""
    data = path.read_bytes()
    if first is not None:
        data = data[: first * COMMAND.size]
    return [Command(*row) for row in COMMAND.iter_unpack(data)]


class _Resting:
    """An order in the generator's own book."""

    __slots__ = ("book", "order_id", "place", "price", "quantity", "side")

    def __init__(self, order_id: int, book: int, side: int, price: int, quantity: int) -> None:
        self.order_id = order_id
        self.book = book
        self.side = side
        self.price = price
        self.quantity = quantity
        self.place = 0


class _Half:
    """One side of one book: queues by price and a heap of prices; the dead are skipped lazily."""

    __slots__ = ("heap", "queues", "sign")

    def __init__(self, sign: int) -> None:
        self.sign = sign
        self.queues: dict[int, deque[_Resting]] = {}
        self.heap: list[int] = []

    def add(self, order: _Resting) -> None:
        """Put an order at the end of its queue."""
        queue = self.queues.get(order.price)
        if queue is None:
            queue = self.queues[order.price] = deque()
            heappush(self.heap, self.sign * order.price)
        queue.append(order)

    def best(self) -> _Resting | None:
        """The live order that trades next."""
        while self.heap:
            price = self.sign * self.heap[0]
            queue = self.queues[price]
            while queue and queue[0].quantity == 0:
                queue.popleft()
            if queue:
                return queue[0]
            del self.queues[price]
            heappop(self.heap)
        return None


class _Market:
    """The generator's own books: what is live, and which trades happen."""

    def __init__(self, books: int = 1) -> None:
        self._halves = [(_Half(-1), _Half(1)) for _ in range(books)]
        self.live: list[_Resting] = []
        self.commands: list[Command] = []
        self.trades: list[Trade] = []

    def place(self, what: int, book: int, side: int, price: int, quantity: int) -> int:
        """Enter a limit or an immediate-or-cancel order; what it left unfilled."""
        order_id = len(self.commands) + 1
        self.commands.append(Command(what, side, book, order_id, price, quantity))
        own, other = self._halves[book] if side == BID else self._halves[book][::-1]
        left = quantity
        while left:
            maker = other.best()
            if maker is None or (maker.price > price if side == BID else maker.price < price):
                break
            traded = min(left, maker.quantity)
            self.trades.append(Trade(order_id, maker.order_id, maker.price, traded))
            left -= traded
            maker.quantity -= traded
            if not maker.quantity:
                self._forget(maker)
        if left and what == LIMIT:
            order = _Resting(order_id, book, side, price, left)
            order.place = len(self.live)
            self.live.append(order)
            own.add(order)
        return left

    def cancel(self, order: _Resting) -> None:
        """Cancel a live order."""
        self.commands.append(
            Command(CANCEL, order.side, order.book, order.order_id, order.price, 0)
        )
        order.quantity = 0
        self._forget(order)

    def _forget(self, order: _Resting) -> None:
        last = self.live.pop()
        if last is not order:
            self.live[order.place] = last
            last.place = order.place

    def workload(self, name: str, seed: int, preload: int) -> Workload:
        """What has been entered so far."""
        return Workload(name, seed, preload, self.commands, self.trades, len(self.live))


class _Draw:
    """The few distributions that the generators need, from `random()` alone."""

    def __init__(self, seed: int) -> None:
        self._random = Random(seed).random

    def below(self, count: int) -> int:
        """Evenly from 0 to count - 1."""
        return int(self._random() * count)

    def size(self) -> int:
        """A quantity."""
        return 1 + self.below(SIZE_MAX)

    def side(self) -> int:
        """Bid or ask."""
        return BID if self._random() < 0.5 else ASK

    def share(self, share: float) -> bool:
        """True with this probability."""
        return self._random() < share

    def geometric(self, stop: float, most: int) -> int:
        """0 with probability `stop`, else one more, and so on, up to `most`."""
        steps = 0
        while steps < most and self._random() >= stop:
            steps += 1
        return steps


LIMIT_SHARE: Final = 0.52
CANCEL_SHARE: Final = 0.38
REACH: Final = 3
"""An immediate-or-cancel order is priced this many ticks beyond the middle."""
STEP_SHARE: Final = 0.005
"""How often the middle moves, by one tick either way."""
AWAY_STOP: Final = 0.1
AWAY_MAX: Final = 60
"""Distance of a limit order from the middle: geometric, at most this many ticks."""
UNIFORM_WIDTH: Final = 200
"""Distance in the books whose prices are spread evenly."""


def _mixed(
    seed: int, name: str, books: int, preload: int, mixed: int, even: Callable[[int], bool]
) -> Workload:
    draw, market = _Draw(seed), _Market(books)
    middles = [MIDDLE] * books

    def away(book: int) -> int:
        return draw.below(UNIFORM_WIDTH) if even(book) else draw.geometric(AWAY_STOP, AWAY_MAX)

    for number in range(preload):
        book, side = number % books, draw.side()
        distance = 1 + away(book)
        price = middles[book] - distance if side == BID else middles[book] + distance
        market.place(LIMIT, book, side, price, draw.size())
    for _ in range(mixed):
        book = draw.below(books)
        if draw.share(STEP_SHARE):
            middles[book] += 1 if draw.share(0.5) else -1
        cancels = draw.share(CANCEL_SHARE)
        if cancels and market.live:
            market.cancel(market.live[draw.below(len(market.live))])
            continue
        side = draw.side()
        limit = draw.share(LIMIT_SHARE / (1 - CANCEL_SHARE))
        distance = 1 + away(book) if limit else -REACH
        price = middles[book] - distance if side == BID else middles[book] + distance
        market.place(LIMIT if limit else IOC, book, side, price, draw.size())
    return market.workload(name, seed, preload)


def flow(seed: int, mixed: int = 500_000, preload: int = 5_000) -> Workload:
    """One book: 52 % limit orders, 38 % cancels of a random live order, 10 % that reach across."""
    return _mixed(seed, "flow", 1, preload, mixed, lambda _: False)


def books64(seed: int, mixed: int = 500_000, preload: int = 32_000) -> Workload:
    """The same mixture over 64 books; in every second one prices are spread evenly."""
    return _mixed(seed, "books64", 64, preload, mixed, lambda book: book % 2 == 1)


SWEEP_LEVELS: Final = 2_500
SWEEP_PER_LEVEL: Final = 10


def sweep(seed: int, sweeps: int = 200, quantity: int = 25_000) -> Workload:
    """A deep book, 2 x 2,500 levels of 10 orders, that large orders sweep and others refill."""
    draw, market = _Draw(seed), _Market()
    for _ in range(SWEEP_PER_LEVEL):
        for level in range(1, SWEEP_LEVELS + 1):
            market.place(LIMIT, 0, BID, MIDDLE - level, draw.size())
            market.place(LIMIT, 0, ASK, MIDDLE + level, draw.size())
    preload = len(market.commands)
    for _ in range(sweeps):
        side = draw.side()
        before = len(market.trades)
        reach = MIDDLE + SWEEP_LEVELS if side == BID else MIDDLE - SWEEP_LEVELS
        market.place(IOC, 0, side, reach, quantity)
        filled = market.trades[before:]
        for trade in filled:
            market.place(LIMIT, 0, ASK if side == BID else BID, trade.price, draw.size())
    return market.workload("sweep", seed, preload)


def small(seed: int, mixed: int = 20_000) -> Workload:
    """A short, busy book in which most orders trade: what the oracle checks contestants on."""
    draw, market = _Draw(seed), _Market()
    middle = MIDDLE
    for _ in range(mixed):
        if draw.share(0.05):
            middle += 1 if draw.share(0.5) else -1
        if market.live and draw.share(0.24):
            market.cancel(market.live[draw.below(len(market.live))])
            continue
        side = draw.side()
        limit = draw.share(2 / 3)
        distance = draw.geometric(0.25, 12) - 2 if limit else -REACH
        price = middle - distance if side == BID else middle + distance
        market.place(LIMIT if limit else IOC, 0, side, price, draw.size())
    return market.workload("small", seed, 0)


DEPTH_PER_LEVEL: Final = 10
RECENT: Final = 2_000
"""In `deep_flow`, how many of its latest orders a cancel chooses from."""


def _rest(draw: _Draw, market: _Market, resting: int) -> None:
    """Fill one book with so many orders, ten to a level, evenly on both sides of the middle."""
    levels = max(1, resting // (2 * DEPTH_PER_LEVEL))
    for number in range(resting):
        away = 1 + number // 2 % levels
        side = BID if number % 2 == 0 else ASK
        market.place(LIMIT, 0, side, MIDDLE - away if side == BID else MIDDLE + away, draw.size())


def depth(seed: int, resting: int, changes: int = 20_000) -> Workload:
    """`resting` orders, ten to a level; then random ones are cancelled and entered afresh.

    The book neither grows nor trades, so that only its size differs from one depth to the next.
    Every command touches a random place of it.
    """
    draw, market = _Draw(seed), _Market()
    _rest(draw, market, resting)
    preload = len(market.commands)
    for _ in range(changes):
        order = market.live[draw.below(len(market.live))]
        market.cancel(order)
        market.place(LIMIT, 0, order.side, order.price, draw.size())
    return market.workload(f"depth{resting}", seed, preload)


def deep_flow(seed: int, resting: int, mixed: int = 40_000) -> Workload:
    """`resting` orders, ten to a level; then the mixture of `flow`, whose cancels name its own.

    A deep book is like this where most orders wait far away and the trading is at the touch.
    """
    draw, market = _Draw(seed), _Market()
    _rest(draw, market, resting)
    preload = len(market.commands)
    recent: list[_Resting] = []
    for _ in range(mixed):
        if draw.share(CANCEL_SHARE) and recent:
            order = recent.pop(draw.below(len(recent)))
            if order.quantity:
                market.cancel(order)
            continue
        side = draw.side()
        limit = draw.share(LIMIT_SHARE / (1 - CANCEL_SHARE))
        away = 1 + draw.geometric(AWAY_STOP, AWAY_MAX) if limit else -REACH
        price = MIDDLE - away if side == BID else MIDDLE + away
        if market.place(LIMIT if limit else IOC, 0, side, price, draw.size()) and limit:
            recent.append(market.live[-1])
        del recent[:-RECENT]
    return market.workload(f"deep_flow{resting}", seed, preload)


def describe(workload: Workload) -> Iterator[tuple[str, int | str]]:
    """Facts about a workload for the record."""
    yield "name", workload.name
    yield "seed", workload.seed
    yield "commands", len(workload.commands)
    yield "preload", workload.preload
    yield "limit", workload.count(LIMIT)
    yield "cancel", workload.count(CANCEL)
    yield "ioc", workload.count(IOC)
    yield "trades", len(workload.trades)
    yield "live_at_end", workload.live
    yield "sha256", workload.digest()
