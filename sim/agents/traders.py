"""Traders of the classic double auction, the literature's yardsticks: ZI-C, ZIP and AA.

Each trader has one unit to buy or to sell on each day, at a limit that only it knows, in dollars.
It is asked now and then for a price, and hears every price that is called and every trade.

    ZI-C  a random price that makes no loss                       (Gode and Sunder 1993)
    ZIP   a margin that follows the calls by Widrow and Hoff      (Cliff 1997)
    AA    aggressiveness about an estimate of the equilibrium     (Vytelingum, Cliff, Jennings 2008)
"""

from __future__ import annotations

import math
import random
from collections import deque
from typing import Final, NamedTuple

PRICE_MAX: Final = 4.0
"""No trader calls more, dollars; none calls less than PRICE_MIN."""
PRICE_MIN: Final = 0.01


class Quotes(NamedTuple):
    """The best prices of the book; the ends of the range where a side is empty."""

    bid: float
    ask: float


class Call(NamedTuple):
    """A price that somebody called; where it was taken at once, the price of the trade."""

    is_bid: bool
    price: float
    traded: bool


class Trader:
    """A zero-intelligence trader that makes no loss (ZI-C); the others refine it."""

    kind = "ZI-C"

    def __init__(self, buys: bool, limit: float, rng: random.Random) -> None:
        self.buys, self.limit, self.rng = buys, limit, rng
        self.active = True  # it still has its unit of today

    def price(self, quotes: Quotes) -> float | None:
        """What it calls now; None: nothing."""
        del quotes
        if self.buys:
            return self.rng.uniform(PRICE_MIN, self.limit)
        return self.rng.uniform(self.limit, PRICE_MAX)

    def hear(self, call: Call, quotes: Quotes) -> None:
        """Somebody called; `quotes` are those after it."""


class ZIP(Trader):
    """Zero intelligence plus: a profit margin that is learned from every call.

    A trader whose own price would have been good enough for what was traded asks for more; one
    that was outdone by a rejected call of its own side, or whose price would not have been taken
    while others trade, asks for less. The step and the inertia are those of Cliff's report.
    """

    kind = "ZIP"

    def __init__(self, buys: bool, limit: float, rng: random.Random) -> None:
        super().__init__(buys, limit, rng)
        margin = rng.uniform(0.05, 0.35)
        self._margin = -margin if buys else margin
        self._rate = rng.uniform(0.1, 0.5)
        self._inertia = rng.uniform(0.0, 0.1)
        self._momentum = 0.0

    def price(self, quotes: Quotes) -> float:
        """Its limit with its margin."""
        del quotes
        return min(max(self.limit * (1 + self._margin), PRICE_MIN), PRICE_MAX)

    def hear(self, call: Call, quotes: Quotes) -> None:
        """Adjust the margin."""
        own = self.price(quotes)
        ahead = own - call.price if self.buys else call.price - own
        if call.traded and ahead >= 0:
            self._towards(call.price, greedier=True)
        # Its own call that nobody took is as good as itself, and teaches as much.
        elif self.active and ahead <= 0 and call.is_bid == (self.buys != call.traded):
            # A rival's call that nobody took, or a deal that the other side's caller found.
            self._towards(call.price, greedier=False)

    def _towards(self, price: float, *, greedier: bool) -> None:
        """Move the price to just beyond the called one, on the greedier or the humbler side."""
        up = greedier != self.buys
        relative, absolute = self.rng.uniform(0, 0.05), self.rng.uniform(0, 0.05)
        target = price * (1 + relative) + absolute if up else price * (1 - relative) - absolute
        own = self.limit * (1 + self._margin)
        step = self._rate * (target - own)
        self._momentum = self._inertia * self._momentum + (1 - self._inertia) * step
        margin = (own + self._momentum) / self.limit - 1
        self._margin = min(margin, 0.0) if self.buys else max(margin, 0.0)


class AA(Trader):
    """Adaptive aggressiveness: how near to its limit a trader goes to get a deal.

    At aggressiveness 0 it aims at its estimate of the equilibrium price, at 1 at its limit, at -1
    at the best price there could be. It learns aggressiveness from every call, and from the
    volatility of trades how sharply aggressiveness acts (`_bend`).
    """

    kind = "AA"
    MEMORY: Final = 30
    FADE: Final = 0.9
    SHORT_RATE: Final = 0.5
    LONG_RATE: Final = 0.5
    STEPS: Final = 3.0
    STEP_LEAST: Final = 0.01
    """Dollars; so near to its target a trader calls it, and so learns if that is too far."""
    NUDGE: Final = 0.05
    BEND_MIN: Final = -8.0
    BEND_MAX: Final = 2.0
    BEND_GAMMA: Final = 2.0

    def __init__(self, buys: bool, limit: float, rng: random.Random) -> None:
        super().__init__(buys, limit, rng)
        self._aggression = -0.3 * rng.random()
        self._bend = self.BEND_MIN / 2
        self._trades: deque[float] = deque(maxlen=self.MEMORY)
        self._alpha_least, self._alpha_most = math.inf, -math.inf

    def price(self, quotes: Quotes) -> float | None:
        """A third of the way from the best price to its target; all of it where that is near."""
        best, other = (quotes.bid, quotes.ask) if self.buys else (quotes.ask, quotes.bid)
        if self._worse(self.limit, best):
            return None
        if not self._trades:
            reach = other * (1 + self.NUDGE) if self.buys else other * (1 - self.NUDGE)
            aim = min(self.limit, reach) if self.buys else max(self.limit, reach)
        else:
            aim = self._target(self._aggression)
            if not self._worse(aim, other):
                return other
        step = (aim - best) / self.STEPS
        return best + step if abs(step) > self.STEP_LEAST else aim

    def hear(self, call: Call, quotes: Quotes) -> None:
        """Adjust aggressiveness, and after a trade the estimate and the bend."""
        del quotes
        if call.traded:
            self._trades.append(call.price)
            self._learn_bend()
        elif call.is_bid != self.buys:
            return
        if not self._trades:
            return
        target = self._target(self._aggression)
        if call.traded:
            more = self._worse(target, call.price)
        elif self._worse(call.price, target):
            return  # a call of its own side that it outdoes anyway
        else:
            more = True
        shown = self._aggression_of(call.price)
        wanted = shown + (1 if more else -1) * self.NUDGE * (1 + abs(shown))
        self._aggression += self.SHORT_RATE * (max(-1.0, min(1.0, wanted)) - self._aggression)

    def _worse(self, one: float, other: float) -> bool:
        """Whether a price is less attractive to the other side than another."""
        return one < other if self.buys else one > other

    def _estimate(self) -> float:
        """The equilibrium price: recent trades, the last ones weigh most."""
        weights = [self.FADE**age for age in range(len(self._trades))]
        pairs = zip(weights, reversed(self._trades), strict=True)
        return math.fsum(w * p for w, p in pairs) / math.fsum(weights)

    def _reach(self) -> tuple[float, float]:
        """What aggressiveness 0 aims at, and what -1."""
        estimate = self._estimate()
        middle = min(estimate, self.limit) if self.buys else max(estimate, self.limit)
        return middle, (PRICE_MIN if self.buys else PRICE_MAX)

    def _target(self, aggression: float) -> float:
        middle, best = self._reach()
        share = math.expm1(abs(aggression) * self._bend) / math.expm1(self._bend)
        end = self.limit if aggression > 0 else best
        return middle + (end - middle) * share

    def _aggression_of(self, price: float) -> float:
        """Which aggressiveness would have aimed at a price: `_target` the other way round."""
        middle, best = self._reach()
        towards_limit = price > middle if self.buys else price < middle
        end = self.limit if towards_limit else best
        if end == middle:
            return 0.0
        share = max(0.0, min(1.0, (price - middle) / (end - middle)))
        size = math.log1p(share * math.expm1(self._bend)) / self._bend
        return size if towards_limit else -size

    def _learn_bend(self) -> None:
        estimate = self._estimate()
        spread = math.fsum((p - estimate) ** 2 for p in self._trades) / len(self._trades)
        alpha = math.sqrt(spread) / estimate
        self._alpha_least = min(self._alpha_least, alpha)
        self._alpha_most = max(self._alpha_most, alpha)
        width = self._alpha_most - self._alpha_least
        if not width:
            return
        share = (alpha - self._alpha_least) / width
        wanted = self.BEND_MIN + (self.BEND_MAX - self.BEND_MIN) * (
            1 - share * math.exp(self.BEND_GAMMA * (share - 1))
        )
        self._bend += self.LONG_RATE * (wanted - self._bend)
        if abs(self._bend) < 1e-3:
            self._bend = math.copysign(1e-3, self._bend)


KINDS: Final = {kind.kind: kind for kind in (Trader, ZIP, AA)}
