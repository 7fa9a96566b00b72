"""One uncross under way, and what comes of it: slots taken, and one price for each class."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import NamedTuple

from matching.bids import Bid
from matching.slots import StandingQuote


class LeaseFill(NamedTuple):
    """A bid took one slot of a quote; it pays `price` per CU, ask_price <= price <= bid_price."""

    bid_id: int
    buyer_account_id: int
    quote_id: int
    instrument_id: int
    pool_id: int
    seller_account_id: int
    bid_price: int
    ask_price: int
    price: int


class Uncross(NamedTuple):
    """What one uncross did, in the order in which bids had their turn.

    `self_trades` are bids cancelled because their cheapest ask was their own account's. `prices`
    has one price for each class that traded, by instrument id.
    """

    fills: list[LeaseFill]
    self_trades: list[int]
    prices: dict[int, int]


class Links(ABC):
    """What a group asks and tells about bids that are legs of one order: see `matching.legs`."""

    @abstractmethod
    def passes(self, bid: Bid, margin: int) -> bool:
        """Whether a bid lets a turn pass, which would give it `margin` per CU, for another leg."""

    @abstractmethod
    def leaves(self, bid: Bid) -> None:
        """A bid has left its group: it has a slot, or was cancelled as a self-trade."""


class Round:
    """One uncross under way: what was taken, and what that makes of each class's price."""

    def __init__(self, links: Links | None) -> None:
        self.links = links
        self.passed: dict[int, Bid] = {}
        self.taken: list[tuple[Bid, StandingQuote, int, int]] = []
        self.self_trades: list[int] = []
        # The best ask at first of the classes in which no bid was refused, where more can trade.
        self.at_least: dict[int, int] = {}
        self.low: dict[int, int] = {}
        self.high: dict[int, int] = {}
        self.refused: dict[int, int] = {}

    def accept(self, bid: Bid, quote: StandingQuote, bid_price: int, ask_price: int) -> None:
        """Book one slot taken. The last ask of a class is its highest, the last bid its lowest."""
        self.taken.append((bid, quote, bid_price, ask_price))
        self.low[quote.instrument_id] = ask_price
        self.high[quote.instrument_id] = bid_price

    def refuse(self, instrument_id: int, price: int, *, is_sold_out: bool) -> None:
        """Close a class that a bid found too dear, or sold out; only the first one counts."""
        if self.at_least.pop(instrument_id, 0) and is_sold_out:
            self.refused[instrument_id] = price

    def result(self) -> Uncross:
        """Price the classes and the fills."""
        prices = {
            instrument_id: max(low, self.refused.get(instrument_id, 0))
            for instrument_id, low in sorted(self.low.items())
        }
        for instrument_id, price in prices.items():
            assert price <= self.high[instrument_id], (instrument_id, prices, self.high)
        fills: list[LeaseFill] = []
        for bid, quote, bid_price, ask_price in self.taken:
            price = prices[quote.instrument_id]
            assert ask_price <= price <= bid_price, (bid, quote.quote_id, price)
            fill = LeaseFill(
                bid_id=bid.bid_id,
                buyer_account_id=bid.account_id,
                quote_id=quote.quote_id,
                instrument_id=quote.instrument_id,
                pool_id=quote.pool.pool_id,
                seller_account_id=quote.pool.account_id,
                bid_price=bid_price,
                ask_price=ask_price,
                price=price,
            )
            fills.append(fill)
        return Uncross(fills, self.self_trades, prices)
