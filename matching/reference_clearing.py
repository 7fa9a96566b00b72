"""The naive twin of batch clearing: the rules of `ClearingGroup`, to be read, not to be fast.

A flat list of bids and one of quotes, scanned in full for every decision. It shares the words
(bids, quotes, pools, the ramp) with the real one and none of its structure, gives the same answers,
and has the same `state()`. Tests compare the two.
"""

from __future__ import annotations

from bisect import bisect_left
from functools import partial
from typing import Protocol

from matching.bids import Bid, validate_bid
from matching.clearing import LeaseFill, Uncross, WhyNot, bid_row, quote_row
from matching.slots import StandingQuote
from matching.types import NoTradeReason

_Depth = list[tuple[int, int, int]]


class NaiveLinks(Protocol):
    """See `matching.outcome.Links`."""

    def passes(self, bid: Bid, margin: int) -> bool:
        """See `Links.passes`."""

    def leaves(self, bid: Bid) -> None:
        """See `Links.leaves`."""


class NaiveClearingGroup:
    """`matching.clearing.ClearingGroup` as a list of bids and a list of quotes."""

    def __init__(self, group_id: int, k_ns: int) -> None:
        self.group_id = group_id
        self.k_ns = k_ns
        self._bids: list[Bid] = []
        self._quotes: list[StandingQuote] = []
        self._halted: set[int] = set()

    def add_bid(self, bid: Bid) -> None:
        """See `ClearingGroup.add_bid`."""
        validate_bid(bid)
        if self.bid(bid.bid_id) is not None:
            raise ValueError(bid.bid_id)
        self._bids.append(bid)

    def remove_bid(self, bid_id: int) -> Bid | None:
        """See `ClearingGroup.remove_bid`."""
        bid = self.bid(bid_id)
        if bid is not None:
            self._bids.remove(bid)
        return bid

    def set_quote(self, quote: StandingQuote) -> None:
        """See `ClearingGroup.set_quote`."""
        old = self.remove_quote(quote.instrument_id, quote.pool.pool_id)
        if old is not None and old.prices == quote.prices:
            quote.sequence = old.sequence
        self._quotes.append(quote)

    def remove_quote(self, instrument_id: int, pool_id: int) -> StandingQuote | None:
        """See `ClearingGroup.remove_quote`."""
        for quote in self._quotes:
            if (quote.instrument_id, quote.pool.pool_id) == (instrument_id, pool_id):
                self._quotes.remove(quote)
                return quote
        return None

    def set_open(self, instrument_id: int, is_open: bool) -> None:
        """See `ClearingGroup.set_open`."""
        if is_open:
            self._halted.discard(instrument_id)
        else:
            self._halted.add(instrument_id)

    def uncross(self, now_ns: int, links: NaiveLinks | None = None) -> Uncross:
        """See `ClearingGroup.uncross`."""
        taken: list[tuple[Bid, StandingQuote, int, int]] = []
        self_trades: list[int] = []
        accepted: dict[int, list[int]] = {}
        # The first refusal decides a class: too dear (0), or the price of a bid that found no slot.
        refused: dict[int, int] = {}
        for price, bid in self._by_rank(now_ns):
            if bid not in self._bids:
                continue  # another leg of its order has just filled
            quote = self._cheapest(bid, now_ns)
            ask = quote.ask() if quote is not None else None
            if quote is None or ask is None or ask > price:
                for instrument_id in self._usable(bid, now_ns):
                    no_slot = self._best_quote(instrument_id) is None
                    refused.setdefault(instrument_id, price if no_slot else 0)
                continue
            own = quote.pool.account_id == bid.account_id
            if links is not None and not own and links.passes(bid, price - ask):
                continue
            self._bids.remove(bid)
            if own:
                self_trades.append(bid.bid_id)
            else:
                quote.pool.take()
                taken.append((bid, quote, price, ask))
                accepted.setdefault(quote.instrument_id, []).append(ask)
            if links is not None:
                links.leaves(bid)
        prices = {i: max(*accepted[i], refused.get(i, 0)) for i in sorted(accepted)}
        fills = [
            LeaseFill(
                bid.bid_id,
                bid.account_id,
                quote.quote_id,
                quote.instrument_id,
                quote.pool.pool_id,
                quote.pool.account_id,
                bid_price,
                ask_price,
                prices[quote.instrument_id],
            )
            for bid, quote, bid_price, ask_price in taken
        ]
        return Uncross(fills, self_trades, prices)

    def next_trade_ns(self, now_ns: int) -> int | None:
        """See `ClearingGroup.next_trade_ns`; found by bisection over time, bid by bid."""
        found: list[int] = []
        for bid in self._bids:
            for named in bid.classes:
                quote = self._best_quote(named.instrument_id)
                ask = quote.ask() if quote is not None else None
                times = range(now_ns, named.latest_start_ns + 1)
                if ask is None or named.instrument_id in self._halted:
                    continue
                first = bisect_left(times, ask, key=partial(bid.price, k_ns=self.k_ns))
                if first < len(times):
                    found.append(times[first])
        return min(found, default=None)

    def margin(self, bid_id: int, now_ns: int) -> int | None:
        """See `ClearingGroup.margin`."""
        bid = next(bid for bid in self._bids if bid.bid_id == bid_id)
        quote = self._cheapest(bid, now_ns)
        ask = quote.ask() if quote is not None else None
        if quote is None or ask is None or quote.pool.account_id == bid.account_id:
            return None
        return bid.price(now_ns, self.k_ns) - ask

    def why_not(self, bid_id: int, now_ns: int) -> WhyNot | None:
        """See `ClearingGroup.why_not`."""
        bid = next(bid for bid in self._bids if bid.bid_id == bid_id)
        price = bid.price(now_ns, self.k_ns)
        if all(named.latest_start_ns < now_ns for named in bid.classes):
            return WhyNot(NoTradeReason.TOO_LATE, price, None)
        usable = self._usable(bid, now_ns)
        if not usable:
            return WhyNot(NoTradeReason.HALTED, price, None)
        quotes = [quote for quote in self._quotes if quote.instrument_id in usable]
        asks = [ask for ask in (quote.ask() for quote in quotes) if ask is not None]
        if not quotes:
            return WhyNot(NoTradeReason.NO_ASKS, price, None)
        if not asks:
            return WhyNot(NoTradeReason.NO_FREE_SLOT, price, None)
        if price < min(asks):
            return WhyNot(NoTradeReason.PRICE_BELOW_ASK, price, min(asks))
        return None

    def depth(self, instrument_id: int, now_ns: int, levels: int) -> tuple[_Depth, _Depth]:
        """See `ClearingGroup.depth`."""
        bids = [
            (price, 1)
            for price, bid in self._by_rank(now_ns)
            if any(n.instrument_id == instrument_id for n in bid.classes if n[1] >= now_ns)
        ]
        asks: dict[int, list[int]] = {}
        for quote in self._quotes:
            if quote.instrument_id == instrument_id:
                sold = quote.prices[quote.pool.in_use : quote.pool.slots]
                for price in set(sold):
                    asks.setdefault(price, []).append(sold.count(price))
        ask_levels = [(price, sum(asks[price]), len(asks[price])) for price in sorted(asks)]
        return _levels(bids, levels), ask_levels[:levels]

    def bids(self) -> list[Bid]:
        """See `ClearingGroup.bids`."""
        return sorted(self._bids)

    def bid(self, bid_id: int) -> Bid | None:
        """See `ClearingGroup.bid`."""
        return next((bid for bid in self._bids if bid.bid_id == bid_id), None)

    def quotes(self) -> list[StandingQuote]:
        """See `ClearingGroup.quotes`."""
        return sorted(self._quotes, key=lambda quote: (quote.instrument_id, quote.pool.pool_id))

    def state(self) -> tuple[tuple[object, ...], ...]:
        """See `ClearingGroup.state`."""
        return (
            tuple(bid_row(bid) for bid in self.bids()),
            tuple(quote_row(quote) for quote in self.quotes()),
            tuple(sorted(self._halted)),
        )

    def check(self) -> None:
        """See `ClearingGroup.check`."""
        assert len({bid.bid_id for bid in self._bids}) == len(self._bids)

    def _by_rank(self, now_ns: int) -> list[tuple[int, Bid]]:
        """The bids that pay anything now, in the order of their turns."""
        priced = [(bid.price(now_ns, self.k_ns), bid) for bid in self._bids]
        priced.sort(key=lambda p: (-p[0], p[1].latest_start_ns, p[1].sequence, p[1].bid_id))
        return [(price, bid) for price, bid in priced if price > 0]

    def _usable(self, bid: Bid, now_ns: int) -> list[int]:
        """The open classes that can still serve a bid, slowest first."""
        return [
            named.instrument_id
            for named in bid.classes
            if named.latest_start_ns >= now_ns and named.instrument_id not in self._halted
        ]

    def _best_quote(self, instrument_id: int) -> StandingQuote | None:
        """The quote of a class that sells the next slot."""
        listed = [
            (ask, quote.sequence, quote.pool.pool_id, quote)
            for quote in self._quotes
            if quote.instrument_id == instrument_id and (ask := quote.ask()) is not None
        ]
        return min(listed, key=lambda row: row[:3])[3] if listed else None

    def _cheapest(self, bid: Bid, now_ns: int) -> StandingQuote | None:
        """The quote that a bid takes: `min` keeps the first of equals, which is the slowest."""
        quotes = [self._best_quote(i) for i in self._usable(bid, now_ns)]
        priced = [(ask, q) for q in quotes if q is not None and (ask := q.ask()) is not None]
        return min(priced, key=lambda row: row[0])[1] if priced else None


def _levels(rows: list[tuple[int, int]], levels: int) -> _Depth:
    """Sum (price, quantity) rows into (price, quantity, orders), keeping their order."""
    prices = list(dict.fromkeys(price for price, _ in rows))[:levels]
    quantities = [[quantity for p, quantity in rows if p == price] for price in prices]
    return [(p, sum(q), len(q)) for p, q in zip(prices, quantities, strict=True)]
