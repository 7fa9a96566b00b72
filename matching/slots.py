"""Supply: slot pools, standing quotes on them, and the ladder of asks that the quotes make.

A pool is what one GPU can run at once. Any number of quotes, on any instruments of any group, name
it; a slot taken through one is gone for all. A quote's ask is its price at the number of slots in
use, so a fill moves the ask with no message from the worker, and a pool without a free slot is not
quoted at all.

The pool tells the ladders its quotes stand in whenever it changes, so a ladder's best ask is always
the present one.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from heapq import heapify, heappop, heapreplace
from itertools import pairwise

from matching.types import POOL_SLOTS_MAX, PRICE_MAX

LadderKey = tuple[int, int, int]
"""(-ask, -sequence, -pool_id): sorted ascending, the quote that trades next comes last."""


class SlotPool:
    """The slots of one GPU (or one CPU) of `account_id`.

    `in_use` may exceed `slots` after a resize; the pool is then full until enough leases end.
    """

    __slots__ = ("account_id", "in_use", "pool_id", "quotes", "slots")

    def __init__(self, pool_id: int, account_id: int, slots: int) -> None:
        _check_slots(slots)
        self.pool_id = pool_id
        self.account_id = account_id
        self.slots = slots
        self.in_use = 0
        self.quotes: list[StandingQuote] = []

    def take(self) -> None:
        """Put one slot in use.

        Raises:
            ValueError: no slot is free.
        """
        if self.in_use >= self.slots:
            msg = f"pool {self.pool_id} has no free slot"
            raise ValueError(msg)
        self.in_use += 1
        self._relist()

    def give(self) -> None:
        """Take one slot back when its lease ends.

        Raises:
            ValueError: no slot is in use.
        """
        if self.in_use == 0:
            msg = f"pool {self.pool_id} has no slot in use"
            raise ValueError(msg)
        self.in_use -= 1
        self._relist()

    def resize(self, slots: int) -> None:
        """Change the number of slots; leases on slots that are no more run to their end.

        Raises:
            ValueError: `slots` is outside 0..POOL_SLOTS_MAX.
        """
        _check_slots(slots)
        self.slots = slots
        self._relist()

    def _relist(self) -> None:
        for quote in self.quotes:
            ladder = quote.ladder
            assert ladder is not None
            ladder.relist(quote)


class StandingQuote:
    """A worker's asks on one instrument: `prices[i]` with i slots of the pool in use.

    Prices never fall with i. `sequence` is the time priority among equal asks.
    """

    __slots__ = ("instrument_id", "ladder", "listed", "pool", "prices", "quote_id", "sequence")

    def __init__(
        self,
        quote_id: int,
        instrument_id: int,
        pool: SlotPool,
        prices: tuple[int, ...],
        sequence: int,
    ) -> None:
        if not 0 < len(prices) <= POOL_SLOTS_MAX:
            msg = f"{len(prices)} prices, not 1..{POOL_SLOTS_MAX}"
            raise ValueError(msg)
        if not 0 < prices[0] <= prices[-1] <= PRICE_MAX:
            msg = f"prices are not in 1..{PRICE_MAX}"
            raise ValueError(msg)
        if any(low > high for low, high in pairwise(prices)):
            msg = "prices fall with slots in use"
            raise ValueError(msg)
        self.quote_id = quote_id
        self.instrument_id = instrument_id
        self.pool = pool
        self.prices = prices
        self.sequence = sequence
        self.ladder: AskLadder | None = None
        self.listed = 0

    def ask(self) -> int | None:
        """The price of the next slot; None if none is free or the quote has no price for it."""
        in_use = self.pool.in_use
        if in_use >= self.pool.slots or in_use >= len(self.prices):
            return None
        return self.prices[in_use]

    def free_slots(self) -> int:
        """How many more slots this quote would sell if nothing else took one."""
        return max(0, min(self.pool.slots, len(self.prices)) - self.pool.in_use)


class AskLadder:
    """The quotes of one instrument, sorted by present ask, then time priority, then pool."""

    __slots__ = ("_keys", "by_pool")

    def __init__(self) -> None:
        self._keys: list[LadderKey] = []
        self.by_pool: dict[int, StandingQuote] = {}

    def add(self, quote: StandingQuote) -> None:
        """List a quote and follow its pool.

        Raises:
            ValueError: the quote stands in a ladder, or this one has a quote on its pool.
        """
        if quote.ladder is not None or quote.pool.pool_id in self.by_pool:
            msg = f"quote {quote.quote_id} or its pool {quote.pool.pool_id} is already listed"
            raise ValueError(msg)
        self.by_pool[quote.pool.pool_id] = quote
        quote.ladder = self
        quote.pool.quotes.append(quote)
        self.relist(quote)

    def remove(self, quote: StandingQuote) -> None:
        """Take a quote out and stop following its pool."""
        self._unlist(quote)
        del self.by_pool[quote.pool.pool_id]
        quote.pool.quotes.remove(quote)
        quote.ladder = None

    def relist(self, quote: StandingQuote) -> None:
        """Put a quote where its present ask belongs. Costs two binary searches."""
        ask = quote.ask() or 0
        if ask != quote.listed:
            self._unlist(quote)
            if ask:
                insort(self._keys, (-ask, -quote.sequence, -quote.pool.pool_id))
                quote.listed = ask

    def best(self) -> StandingQuote | None:
        """The quote that sells the next slot; None if no slot is free. Costs O(1)."""
        return self.by_pool[-self._keys[-1][2]] if self._keys else None

    def best_ask(self) -> int | None:
        """The price of the next slot; None if no slot is free. Costs O(1)."""
        return -self._keys[-1][0] if self._keys else None

    def best_first(self) -> list[StandingQuote]:
        """The quotes with a free slot, in the order in which they would sell one."""
        return [self.by_pool[-pool] for _, _, pool in reversed(self._keys)]

    def depth(self, levels: int) -> list[tuple[int, int, int]]:
        """The best `levels` prices as (price, slots, quotes), best first.

        Each free slot counts at the price it would have. Costs O(quotes with a free slot) and the
        slots shown.
        """
        # (price, pool, slots in use when it sells): the cheapest slot of each quote, then its next.
        heap = [(q.prices[q.pool.in_use], q.pool.pool_id, q.pool.in_use) for q in self.best_first()]
        heapify(heap)
        found: list[tuple[int, int, int]] = []
        last_pool = -1
        while heap:
            price, pool_id, in_use = heap[0]
            quote = self.by_pool[pool_id]
            if found and found[-1][0] == price:
                _, slots, quotes = found.pop()
                found.append((price, slots + 1, quotes + (pool_id != last_pool)))
            elif len(found) == levels:
                break
            else:
                found.append((price, 1, 1))
            last_pool = pool_id
            in_use += 1
            if in_use < min(quote.pool.slots, len(quote.prices)):
                heapreplace(heap, (quote.prices[in_use], pool_id, in_use))
            else:
                heappop(heap)
        return found

    def check(self) -> None:
        """Assert that the ladder shows each quote at its present ask, once. Costs O(quotes)."""
        assert all(a < b for a, b in pairwise(self._keys))
        listed = 0
        for pool_id, quote in self.by_pool.items():
            assert quote.ladder is self
            assert quote.pool.pool_id == pool_id
            assert quote in quote.pool.quotes
            assert quote.listed == (quote.ask() or 0)
            listed += quote.listed > 0
        assert listed == len(self._keys)
        for negated_ask, negated_sequence, negated_pool in self._keys:
            quote = self.by_pool[-negated_pool]
            assert (quote.listed, quote.sequence) == (-negated_ask, -negated_sequence)

    def _unlist(self, quote: StandingQuote) -> None:
        if quote.listed:
            key = (-quote.listed, -quote.sequence, -quote.pool.pool_id)
            del self._keys[bisect_left(self._keys, key)]
            quote.listed = 0


def _check_slots(slots: int) -> None:
    if not 0 <= slots <= POOL_SLOTS_MAX:
        msg = f"{slots} slots, not 0..{POOL_SLOTS_MAX}"
        raise ValueError(msg)
