"""Batch clearing of one group: bids from the highest, whole slots, one price per hardware class.

An uncross takes the bids in turn: highest price, then earliest latest start, then sequence. Each
takes one slot: the cheapest ask whose class can still serve it in time, among equal asks the
slowest such class, then the older quote. If that cheapest ask is its own account's, the bid is
cancelled. A class then clears at one price,

    max(highest accepted ask, best bid that was refused for want of a slot there)

which always lies between ask and bid of every fill: asks only rise while slots are taken, and no
bid is accepted in a class after another was refused there. A bid for which a free slot was too dear
sets no price, and from that bid on the class is closed: lower bids could not have paid either,
whatever becomes of its slots through other quotes on the same pools.

Costs: an uncross looks at each shelf of bids that may ever pay a class's best ask (see
`matching.demand`), and then at what it trades. The next time at which anything can trade is kept
per class, and computed afresh only when its best ask has changed or that bid has gone.

Time never goes back from one call to the next.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from heapq import heapify, heappop, heappush
from typing import Any, NamedTuple

from matching.bids import Bid, ClassBid, validate_bid
from matching.demand import LEVEL, ClassBids, Turn
from matching.outcome import LeaseFill, Links, Round, Uncross
from matching.slots import AskLadder, SlotPool, StandingQuote
from matching.types import NoTradeReason

__all__ = ["Bid", "ClassBid", "ClearingGroup", "LeaseFill", "Links", "Uncross", "WhyNot"]


class WhyNot(NamedTuple):
    """Why a bid does not trade: what it pays now, and the best ask it could take, if any."""

    reason: NoTradeReason
    bid_price: int
    best_ask: int | None


class ClassBook:
    """One hardware class of a group: its asks, its bids, and when it may trade next."""

    __slots__ = (
        "asks",
        "bids",
        "instrument_id",
        "is_open",
        "wake_ask",
        "wake_bid_id",
        "wake_ns",
        "wake_until_ns",
    )

    def __init__(self, instrument_id: int, k_ns: int) -> None:
        self.instrument_id = instrument_id
        self.is_open = True
        self.asks = AskLadder()
        self.bids = ClassBids(instrument_id, k_ns)
        # The first bid to pay `wake_ask`, when, and until when it can start; ask 0 is not known.
        self.wake_ask = 0
        self.wake_ns: int | None = None
        self.wake_until_ns = 0
        self.wake_bid_id = 0

    def next_trade_ns(self, now_ns: int) -> int | None:
        """When a bid first pays the best ask; may lie in the past. None if none ever does."""
        ask = self.asks.best_ask()
        if ask is None:
            return None
        expired = self.wake_ns is not None and self.wake_until_ns < now_ns
        if ask != self.wake_ask or expired:
            self.wake_ask = ask
            self.wake_ns = None
            found = self.bids.next_to_pay(ask, now_ns)
            if found is not None:
                self.wake_ns, self.wake_until_ns, self.wake_bid_id = found
        return self.wake_ns

    def add_bid(self, bid: Bid, until_ns: int, k_ns: int) -> None:
        """Let a bid take part until `until_ns`; it may be the next to trade."""
        self.bids.add(bid, until_ns)
        at_ns = bid.pays_from_ns(self.wake_ask, k_ns) if self.wake_ask else None
        if at_ns is None or at_ns > until_ns:
            return
        if self.wake_ns is None or at_ns < self.wake_ns:
            self.wake_ns, self.wake_until_ns, self.wake_bid_id = at_ns, until_ns, bid.bid_id

    def remove_bid(self, bid: Bid, until_ns: int) -> None:
        """Take a bid out; if it was the next to trade, another is found when asked for."""
        self.bids.remove(bid, until_ns)
        if bid.bid_id == self.wake_bid_id:
            self.wake_ask = 0


class ClearingGroup:
    """The bids, quotes and classes that clear together: one model and tier on several hardware.

    `k_ns` is the ramp's time constant, `now_ns` the latest time that the group was told. Pools may
    carry quotes of other groups as well.
    """

    def __init__(self, group_id: int, k_ns: int) -> None:
        if k_ns < 1:
            msg = f"k is {k_ns} ns"
            raise ValueError(msg)
        self.group_id = group_id
        self.k_ns = k_ns
        self._bids: dict[int, Bid] = {}
        self._classes: dict[int, ClassBook] = {}
        self.now_ns = 0

    def add_bid(self, bid: Bid) -> None:
        """Rest a bid. Costs a binary search per class it names.

        Raises:
            ValueError: it is no bid (see `validate_bid`), or its id is here already.
        """
        validate_bid(bid)
        if bid.bid_id in self._bids:
            msg = f"bid {bid.bid_id} is already here"
            raise ValueError(msg)
        self._bids[bid.bid_id] = bid
        self._queue(bid)

    def remove_bid(self, bid_id: int) -> Bid | None:
        """Take a bid out; None if it is not here. Costs a binary search per class it names."""
        bid = self._bids.pop(bid_id, None)
        if bid is not None:
            self._unqueue(bid)
        return bid

    def set_quote(self, quote: StandingQuote) -> None:
        """List a quote in place of the one on the same instrument and pool, if there is one.

        With the same prices it keeps the time priority: its `sequence` becomes the old quote's.

        Raises:
            ValueError: the quote is listed already.
        """
        asks = self._class(quote.instrument_id).asks
        if quote.ladder is not None:
            msg = f"quote {quote.quote_id} is already listed"
            raise ValueError(msg)
        old = asks.by_pool.get(quote.pool.pool_id)
        if old is not None:
            asks.remove(old)
            if old.prices == quote.prices:
                quote.sequence = old.sequence
        asks.add(quote)

    def remove_quote(self, instrument_id: int, pool_id: int) -> StandingQuote | None:
        """Take a quote out; None if there is none."""
        book = self._classes.get(instrument_id)
        quote = book.asks.by_pool.get(pool_id) if book is not None else None
        if book is not None and quote is not None:
            book.asks.remove(quote)
        return quote

    def set_open(self, instrument_id: int, is_open: bool) -> None:
        """Halt a class (its bids and quotes stay and take no part), or open it again."""
        self._class(instrument_id).is_open = is_open

    def uncross(self, now_ns: int, links: Links | None = None) -> Uncross:
        """Trade all that can trade now; filled and self-trading bids leave, slots are taken.

        A bid of which `links` says that it passes keeps its place and takes no further part.

        Raises:
            ValueError: time went back.
        """
        self._advance(now_ns)
        run = Round(links)
        turns: list[Turn] = []
        for instrument_id in sorted(self._classes):
            book = self._classes[instrument_id]
            ask = book.asks.best_ask() if book.is_open else None
            if ask is not None:
                found = book.bids.turns(ask, now_ns)
                if found:
                    run.at_least[instrument_id] = ask
                    turns += found
        heapify(turns)
        while turns and run.at_least:
            turn = heappop(turns)
            at_least = run.at_least.get(turn[4])
            if at_least is None:
                continue
            bids = self._classes[turn[4]].bids
            if turn[1] == LEVEL:
                for one in bids.expand():
                    heappush(turns, one)
                continue
            settled = bids.settle(turn, at_least, now_ns)
            if settled is None:
                continue
            if settled[3] != turn[3] or settled[0] != turn[0]:
                heappush(turns, settled)
                continue
            bid = self._bids.get(turn[3])
            # A bid that is gone or passed had its turn through another of its classes.
            if bid is None or turn[3] in run.passed or self._take_turn(run, bid, -turn[0]):
                following = bids.after(turn, at_least, now_ns)
                if following is not None:
                    heappush(turns, following)
        for bid_id, bid in run.passed.items():
            if bid_id in self._bids:
                self._queue(bid)
        return run.result()

    def next_trade_ns(self, now_ns: int) -> int | None:
        """The earliest time from `now_ns` on at which an uncross does something.

        As bids, quotes and slots stand now. None if it takes another command first.

        Raises:
            ValueError: time went back.
        """
        self._advance(now_ns)
        first: int | None = None
        for book in self._classes.values():
            if book.is_open:
                at_ns = book.next_trade_ns(now_ns)
                if at_ns is not None and (first is None or at_ns < first):
                    first = at_ns
        return None if first is None else max(first, now_ns)

    def margin(self, bid_id: int, now_ns: int) -> int | None:
        """What a bid pays per CU now above the cheapest ask that it could take, maybe negative.

        None if it could take none: no slot is free, every class that could serve it is halted or
        too slow by now, or the cheapest ask is its own account's.

        Raises:
            KeyError: there is no such bid.
        """
        bid = self._bids[bid_id]
        best: StandingQuote | None = None
        for named in bid.classes:
            book = self._classes[named.instrument_id]
            quote = book.asks.best() if book.is_open and named.latest_start_ns >= now_ns else None
            if quote is not None and (best is None or quote.listed < best.listed):
                best = quote
        if best is None or best.pool.account_id == bid.account_id:
            return None
        return bid.price(now_ns, self.k_ns) - best.listed

    def why_not(self, bid_id: int, now_ns: int) -> WhyNot | None:
        """The true reason why a bid does not trade now; None if it can.

        It can trade, and may still not: higher bids have their turn first.

        Raises:
            KeyError: there is no such bid.
        """
        bid = self._bids[bid_id]
        price = bid.price(now_ns, self.k_ns)
        in_time = [
            self._classes[named.instrument_id]
            for named in bid.classes
            if named.latest_start_ns >= now_ns
        ]
        if not in_time:
            return WhyNot(NoTradeReason.TOO_LATE, price, None)
        books = [book for book in in_time if book.is_open]
        if not books:
            return WhyNot(NoTradeReason.HALTED, price, None)
        asks = [ask for book in books if (ask := book.asks.best_ask()) is not None]
        if asks:
            best = min(asks)
            below = WhyNot(NoTradeReason.PRICE_BELOW_ASK, price, best)
            return below if price < best else None
        if any(book.asks.by_pool for book in books):
            return WhyNot(NoTradeReason.NO_FREE_SLOT, price, None)
        return WhyNot(NoTradeReason.NO_ASKS, price, None)

    def depth(
        self, instrument_id: int, now_ns: int, levels: int
    ) -> tuple[list[tuple[int, int, int]], list[tuple[int, int, int]]]:
        """(bids, asks) of a class, each as the best `levels` of (price, slots, orders).

        A bid counts in every class that it names and can still start in. A quote counts with each
        of its free slots at the price that slot would have.
        """
        book = self._classes.get(instrument_id)
        if book is None:
            return [], []
        return book.bids.depth(now_ns, levels), book.asks.depth(levels)

    def bids(self) -> list[Bid]:
        """All resting bids by id."""
        return [self._bids[bid_id] for bid_id in sorted(self._bids)]

    def bid(self, bid_id: int) -> Bid | None:
        """The resting bid of this id. Costs O(1)."""
        return self._bids.get(bid_id)

    def quotes(self) -> list[StandingQuote]:
        """All quotes by instrument and pool, those without a free slot too."""
        return [
            self._classes[instrument_id].asks.by_pool[pool_id]
            for instrument_id in sorted(self._classes)
            for pool_id in sorted(self._classes[instrument_id].asks.by_pool)
        ]

    def state(self) -> tuple[tuple[object, ...], ...]:
        """(bids, quotes, halted instruments) as nested tuples of ints.

        Equal for equal groups of any implementation.
        """
        halted = sorted(book.instrument_id for book in self._classes.values() if not book.is_open)
        return (
            tuple(bid_row(bid) for bid in self.bids()),
            tuple(quote_row(quote) for quote in self.quotes()),
            tuple(halted),
        )

    def restore(self, state: Sequence[Any], pools: Mapping[int, SlotPool]) -> None:
        """Make an empty group what `state` said of one, over these pools. Costs O(bids + quotes).

        Raises:
            KeyError: a quote names no pool.
            ValueError: it is no state of a group.
        """
        bids, quotes, halted = state
        for bid_id, account_id, density, cap, latest_start_ns, sequence, classes, flat in bids:
            named = tuple(ClassBid(*one) for one in classes)
            self.add_bid(
                Bid(bid_id, account_id, density, cap, latest_start_ns, sequence, named, bool(flat))
            )
        for instrument_id, pool_id, quote_id, sequence, prices, *_ in quotes:
            pool = pools[pool_id]
            self.set_quote(StandingQuote(quote_id, instrument_id, pool, tuple(prices), sequence))
        for instrument_id in halted:
            self.set_open(instrument_id, False)

    def check(self) -> None:
        """Assert every invariant of the structure. Costs O(bids + quotes)."""
        for instrument_id, book in self._classes.items():
            assert book.instrument_id == instrument_id
            named = {
                bid.bid_id: bid
                for bid in self._bids.values()
                if any(entry.instrument_id == instrument_id for entry in bid.classes)
            }
            book.bids.check(named, self.now_ns)
            book.asks.check()
            assert all(q.instrument_id == instrument_id for q in book.asks.by_pool.values())

    def _class(self, instrument_id: int) -> ClassBook:
        book = self._classes.get(instrument_id)
        if book is None:
            book = self._classes[instrument_id] = ClassBook(instrument_id, self.k_ns)
        return book

    def _queue(self, bid: Bid) -> None:
        for instrument_id, until_ns in bid.classes:
            self._class(instrument_id).add_bid(bid, until_ns, self.k_ns)

    def _unqueue(self, bid: Bid) -> None:
        for instrument_id, until_ns in bid.classes:
            self._classes[instrument_id].remove_bid(bid, until_ns)

    def _advance(self, now_ns: int) -> None:
        if now_ns < self.now_ns:
            msg = f"time went back from {self.now_ns} to {now_ns}"
            raise ValueError(msg)
        self.now_ns = now_ns

    def _take_turn(self, run: Round, bid: Bid, price: int) -> bool:
        """Let a bid take its slot. False if it is refused, and so the next in its queue is too."""
        books = [
            book
            for named in bid.classes
            if named.latest_start_ns >= self.now_ns
            and (book := self._classes[named.instrument_id]).is_open
        ]
        cheapest = price + 1
        chosen: ClassBook | None = None
        for book in books:
            ask = book.asks.best_ask()
            if ask is not None and ask < cheapest:
                cheapest, chosen = ask, book
        if chosen is None:
            for book in books:
                is_sold_out = book.asks.best() is None
                run.refuse(book.instrument_id, price, is_sold_out=is_sold_out)
            return False
        quote = chosen.asks.best()
        assert quote is not None
        is_own = quote.pool.account_id == bid.account_id
        links = run.links
        if links is not None and not is_own and links.passes(bid, price - cheapest):
            run.passed[bid.bid_id] = bid
            self._unqueue(bid)
            return True
        self.remove_bid(bid.bid_id)
        if is_own:
            run.self_trades.append(bid.bid_id)
        else:
            quote.pool.take()
            run.accept(bid, quote, price, cheapest)
        if links is not None:
            links.leaves(bid)
        return True


def bid_row(bid: Bid) -> tuple[object, ...]:
    """A bid as nested tuples of plain ints."""
    classes = tuple(tuple(named) for named in bid.classes)
    return (*bid[:6], classes, int(bid.flat))


def quote_row(quote: StandingQuote) -> tuple[object, ...]:
    """A quote and its pool as nested tuples of plain ints."""
    pool = quote.pool
    return (
        quote.instrument_id,
        pool.pool_id,
        quote.quote_id,
        quote.sequence,
        quote.prices,
        pool.account_id,
        pool.slots,
        pool.in_use,
    )
