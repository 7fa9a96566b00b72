"""A clearing group under test, in short words: pools, quotes, bids, and the ladder of a class.

Times are seconds in the tests and nanoseconds in the group; prices are small whole numbers.
"""

from __future__ import annotations

from matching import Bid, ClassBid, ClearingGroup, SlotPool, StandingQuote, Uncross
from matching.reference import NaiveClearingGroup

AnyGroup = ClearingGroup | NaiveClearingGroup
S = 10**9
FAR_S = 1_000
"""A latest start so far away that flat bids are always in time."""


class Floor:
    """One group, its pools, and a sequence of its own."""

    def __init__(self, group: AnyGroup) -> None:
        self.group = group
        self.pools: dict[int, SlotPool] = {}
        self.sequence = 0

    def pool(self, pool_id: int, slots: int, account: int | None = None) -> SlotPool:
        """A pool; its owner is account 1000 + pool_id unless stated."""
        account = 1_000 + pool_id if account is None else account
        self.pools[pool_id] = SlotPool(pool_id, account, slots)
        return self.pools[pool_id]

    def quote(self, instrument_id: int, pool_id: int, *prices: int) -> StandingQuote:
        self.sequence += 1
        pool = self.pools[pool_id]
        quote = StandingQuote(self.sequence, instrument_id, pool, prices, self.sequence)
        self.group.set_quote(quote)
        return quote

    def limit(self, bid_id: int, price: int, *classes: int, account: int | None = None) -> None:
        """A flat bid that every named class can serve in time."""
        self.add(bid_id, price, price, [(c, FAR_S) for c in classes or (1,)], account, flat=True)

    def managed(
        self,
        bid_id: int,
        density: int,
        *classes: tuple[int, int],
        cap: int = 10**9,
        account: int | None = None,
    ) -> None:
        """A managed bid; classes are (instrument, latest start in seconds), slowest first."""
        self.add(bid_id, density, cap, list(classes), account, flat=False)

    def add(
        self,
        bid_id: int,
        density: int,
        cap: int,
        classes: list[tuple[int, int]],
        account: int | None,
        *,
        flat: bool,
    ) -> None:
        self.sequence += 1
        named = tuple(ClassBid(instrument_id, start * S) for instrument_id, start in classes)
        account = bid_id if account is None else account
        start_ns = named[-1].latest_start_ns
        bid = Bid(bid_id, account, density, cap, start_ns, self.sequence, named, flat)
        self.group.add_bid(bid)

    def uncross(self, second: int = 0) -> Uncross:
        """Uncross, and check what must hold for every uncross."""
        in_use = {pool_id: pool.in_use for pool_id, pool in self.pools.items()}
        before = {bid.bid_id for bid in self.group.bids()}
        done = self.group.uncross(second * S)
        for fill in done.fills:
            assert fill.ask_price <= fill.price <= fill.bid_price
            assert fill.price == done.prices[fill.instrument_id]
            in_use[fill.pool_id] += 1
        assert {fill.instrument_id for fill in done.fills} == set(done.prices)
        for pool_id, pool in self.pools.items():
            assert pool.in_use == in_use[pool_id]
        gone = [fill.bid_id for fill in done.fills] + done.self_trades
        assert len(set(gone)) == len(gone)
        assert {bid.bid_id for bid in self.group.bids()} == before - set(gone)
        self.group.check()
        return done

    def fills(self, second: int = 0) -> list[tuple[int, int, int]]:
        """Uncross; the fills as (bid, pool, price)."""
        return [(f.bid_id, f.pool_id, f.price) for f in self.uncross(second).fills]

    def next_trade_s(self, second: int = 0) -> float | None:
        at = self.group.next_trade_ns(second * S)
        return None if at is None else at / S

    def ladder(self, instrument_id: int = 1, second: int = 0) -> str:
        """A class as a table: free slots and bids per price, best prices inside."""
        bids, asks = self.group.depth(instrument_id, second * S, 100)
        rows = [f"| {price} | {slots}" for price, slots, _ in reversed(asks)]
        rows += [f"{slots} | {price} |" for price, slots, _ in bids]
        return "\n".join(rows)

    def empty(self) -> None:
        """Take out every bid and quote and end every lease: nothing may be lost or left over."""
        bids = self.group.bids()
        for quote in self.group.quotes():
            assert self.group.remove_quote(quote.instrument_id, quote.pool.pool_id) is quote
        for bid in bids:
            assert self.group.remove_bid(bid.bid_id) == bid
        assert self.group.bids() == []
        assert self.group.quotes() == []
        for pool in self.pools.values():
            assert pool.quotes == []
            while pool.in_use:
                pool.give()
        self.group.check()
