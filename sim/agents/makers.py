"""Who stands on the continuous book with two-sided quotes: market makers and brokers.

Prices are whole ticks and inventories whole lots, so a bound on either is exact.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Final, NamedTuple

from sim.scenario import Agent

FAIR_WEIGHT: Final = 16
"""A trade moves what a dealer thinks fair by a sixteenth of the way."""


class Quotes(NamedTuple):
    """The prices, in ticks, at which a dealer buys and sells a lot; None: not now."""

    bid: int | None
    ask: int | None


class Dealer(ABC):
    """Trades on its own account. It hears the price of every trade, and its own fills.

    `position` is in lots, `cash` in ticks: what it was paid less what it paid.
    """

    def __init__(self, agent: Agent, fair: int) -> None:
        self.position = 0
        self.cash = 0
        self._bound = agent.bound
        self._scaled = fair * FAIR_WEIGHT  # keeps the fractions of ticks

    @property
    def fair(self) -> int:
        """What a lot is worth: a moving mean of the prices of trades."""
        return self._scaled // FAIR_WEIGHT

    def hear(self, price: int) -> None:
        """Somebody traded."""
        self._scaled += price - self.fair

    def fill(self, price: int, *, bought: bool) -> None:
        """One of its quotes traded."""
        self.position += 1 if bought else -1
        self.cash += -price if bought else price
        assert abs(self.position) <= self._bound, "a dealer holds more than it may"

    @abstractmethod
    def quotes(self) -> Quotes:
        """What it quotes now."""


class Maker(Dealer):
    """A market maker: both quotes move away from what it holds too much of.

    This is the linear form of Avellaneda and Stoikov (2008): the price at which it does not care to
    trade is the fair one less `skew` for each lot that it holds, and the quotes lie `half_spread`
    on either side of that.
    """

    def __init__(self, agent: Agent, fair: int, tick_of: int) -> None:
        super().__init__(agent, fair)
        self._half = max(1, round(agent.half_spread * tick_of))
        self._skew = round(agent.skew * tick_of)

    def quotes(self) -> Quotes:
        """Both sides; none that would lead beyond its bound."""
        middle = self.fair - self._skew * self.position
        bid, ask = max(middle - self._half, 1), max(middle + self._half, 2)
        return Quotes(
            bid if self.position < self._bound else None,
            ask if self.position > -self._bound else None,
        )


class Broker(Dealer):
    """A broker: buys below the fair price and sells what it holds, never below cost and margin.

    It never sells what it does not have. The lot that it bought first it sells first.
    """

    def __init__(self, agent: Agent, fair: int) -> None:
        super().__init__(agent, fair)
        self._margin = agent.margin
        self._held: list[int] = []  # what each lot cost, the oldest first

    def fill(self, price: int, *, bought: bool) -> None:
        """One of its quotes traded."""
        super().fill(price, bought=bought)
        if bought:
            self._held.append(price)
        else:
            cost = self._held.pop(0)
            assert price > cost, "a broker sold below cost"

    def quotes(self) -> Quotes:
        """A bid while it may hold more, an ask while it has something."""
        bid = max(round(self.fair * (1 - self._margin)), 1)
        dearest = self._held[0] if self._held else 0
        ask = max(round(dearest * (1 + self._margin)), dearest + 1, bid + 1)
        return Quotes(
            bid if self.position < self._bound else None,
            max(ask, self.fair) if self._held else None,
        )


def dealer(agent: Agent, fair: int) -> Dealer:
    """The dealer that an agent of a scenario is; distances are shares of the fair price."""
    return Maker(agent, fair, fair) if agent.kind == "maker" else Broker(agent, fair)
