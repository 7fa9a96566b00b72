"""What keeps a book's price from running away: bands, the volatility halt, the re-opening auction.

Three small machines that know no order and not each other. Whoever owns the book feeds them prices
and times and does what they answer:

* `PriceBands` says which prices may trade now: near a *static* reference (the last auction's price)
  and near a *dynamic* one (the last trade's). An order that could trade beyond them is matched up
  to their edge, and then calls an auction.
* `VolatilityGuard` says when trades have moved the price too far within a window, so that an
  auction must take the place of trading.
* `CallPhase` says when that auction may uncross: after its call phase, which is extended, with a
  wider collar each time, while the price it would find is too far from the reference.

Distances are in basis points of the reference (1/10,000), rounded towards it; the price at the very
edge is inside. Times are nanoseconds, given by the caller, and never go back.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from enum import IntEnum
from typing import Any, Final, NamedTuple

from matching.limits import require_within
from matching.types import PRICE_MAX

BPS: Final = 10_000
"""One whole, in basis points."""
DISTANCE_MAX_BPS: Final = 1_000_000
"""Widest band, trigger or collar: a hundred times the reference."""
PHASE_MAX_NS: Final = 24 * 3_600 * 10**9
"""Longest call phase, extension, or window of a volatility guard."""
EXTENSIONS_MAX: Final = 100
"""Most extensions of one call phase."""
WINDOW_BUCKETS: Final = 16
"""A volatility guard remembers extremes per this share of its window, not single trades."""


class Range(NamedTuple):
    """The prices from `low` to `high`, both included."""

    low: int
    high: int

    def holds(self, price: int) -> bool:
        """Whether a price lies in the range."""
        return self.low <= price <= self.high


EVERY_PRICE: Final = Range(1, PRICE_MAX)


def around(reference: int, distance_bps: int) -> Range:
    """The prices within a distance of a reference; every price if either is 0 (not set)."""
    if reference == 0 or distance_bps == 0:
        return EVERY_PRICE
    reach = reference * distance_bps // BPS
    return Range(max(1, reference - reach), min(PRICE_MAX, reference + reach))


class PriceBands:
    """Which prices may trade: those near the last auction's price and near the last trade's.

    Near is within `static_bps` of the one and `dynamic_bps` of the other. A distance of 0 is no
    band; without a reference every price may trade.
    """

    __slots__ = ("dynamic_bps", "dynamic_reference", "static_bps", "static_reference")

    def __init__(self, static_bps: int, dynamic_bps: int, reference: int = 0) -> None:
        """`reference` starts both bands; 0 if the instrument has never traded.

        Raises:
            ValueError: an argument is outside its limits.
        """
        require_within("static_bps", static_bps, 0, DISTANCE_MAX_BPS)
        require_within("dynamic_bps", dynamic_bps, 0, DISTANCE_MAX_BPS)
        require_within("reference", reference, 0, PRICE_MAX)
        self.static_bps = static_bps
        self.dynamic_bps = dynamic_bps
        self.static_reference = reference
        self.dynamic_reference = reference

    def static_range(self) -> Range:
        """The prices that the static band allows: those at which a limit order may rest."""
        return around(self.static_reference, self.static_bps)

    def allowed(self) -> Range:
        """The prices at which a trade may happen now: those in both bands. Never empty."""
        static = self.static_range()
        dynamic = around(self.dynamic_reference, self.dynamic_bps)
        return Range(max(static.low, dynamic.low), min(static.high, dynamic.high))

    def traded(self, price: int) -> None:
        """The last trade of one command moves the dynamic reference.

        Raises:
            ValueError: the price was not allowed.
        """
        if not self.allowed().holds(price):
            msg = f"a trade at {price} outside {self.allowed()}"
            raise ValueError(msg)
        self.dynamic_reference = price

    def uncrossed(self, price: int) -> None:
        """An auction's price becomes the reference of both bands.

        Raises:
            ValueError: the price is outside its limits.
        """
        require_within("price", price, 1, PRICE_MAX)
        self.static_reference = price
        self.dynamic_reference = price

    def check(self) -> None:
        """Assert every invariant."""
        assert 0 <= self.static_bps <= DISTANCE_MAX_BPS
        assert 0 <= self.dynamic_bps <= DISTANCE_MAX_BPS
        assert 0 <= self.static_reference <= PRICE_MAX
        assert 0 <= self.dynamic_reference <= PRICE_MAX
        # The last trade was allowed, so the bands always have it in common.
        assert self.dynamic_reference == 0 or self.allowed().holds(self.dynamic_reference)

    def state(self) -> tuple[int, ...]:
        """Canonical state: the distances, then the references."""
        return (self.static_bps, self.dynamic_bps, self.static_reference, self.dynamic_reference)

    def restore(self, state: Sequence[Any]) -> None:
        """Become what `state` said of bands with the same distances."""
        _, _, self.static_reference, self.dynamic_reference = state


class VolatilityGuard:
    """Trips when a trade is too far from what else traded within the last `window_ns`.

    Too far is more than `move_bps` above the lowest price or below the highest; 0 never trips. It
    keeps the extremes of at most WINDOW_BUCKETS + 1 stretches of time instead of every trade, so
    its window is `window_ns` and up to a sixteenth more.
    """

    __slots__ = ("_buckets", "_now_ns", "bucket_ns", "move_bps", "window_ns")

    def __init__(self, move_bps: int, window_ns: int) -> None:
        """Remembers nothing yet.

        Raises:
            ValueError: an argument is outside its limits.
        """
        require_within("move_bps", move_bps, 0, DISTANCE_MAX_BPS)
        require_within("window_ns", window_ns, 1, PHASE_MAX_NS)
        self.move_bps = move_bps
        self.window_ns = window_ns
        self.bucket_ns = -(-window_ns // WINDOW_BUCKETS)
        self._now_ns = 0
        self._buckets: deque[tuple[int, int, int]] = deque()
        """(number of the bucket since time 0, lowest price, highest price), oldest first."""

    def traded(self, price: int, now_ns: int) -> bool:
        """Note a trade; True if it moved the price too far. Costs O(WINDOW_BUCKETS).

        Raises:
            ValueError: the price is outside its limits, or time went back.
        """
        require_within("price", price, 1, PRICE_MAX)
        if now_ns < self._now_ns:
            msg = f"time went back from {self._now_ns} to {now_ns}"
            raise ValueError(msg)
        self._now_ns = now_ns
        number = now_ns // self.bucket_ns
        buckets = self._buckets
        while buckets and buckets[0][0] < number - WINDOW_BUCKETS:
            buckets.popleft()
        low = high = price
        if buckets and buckets[-1][0] == number:
            _, low, high = buckets.pop()
        buckets.append((number, min(low, price), max(high, price)))
        if self.move_bps == 0:
            return False
        lowest = min(low for _, low, _ in buckets)
        highest = max(high for _, _, high in buckets)
        not_above = around(lowest, self.move_bps).high
        not_below = around(highest, self.move_bps).low
        return not not_below <= price <= not_above

    def restart(self) -> None:
        """Forget all trades: an auction has found a new price."""
        self._buckets.clear()

    def check(self) -> None:
        """Assert every invariant."""
        assert len(self._buckets) <= WINDOW_BUCKETS + 1
        numbers = [number for number, _, _ in self._buckets]
        assert numbers == sorted(set(numbers))
        if numbers:
            assert numbers[-1] - numbers[0] <= WINDOW_BUCKETS
            assert numbers[-1] <= self._now_ns // self.bucket_ns
        assert all(1 <= low <= high <= PRICE_MAX for _, low, high in self._buckets)

    def state(self) -> tuple[object, ...]:
        """Canonical state: the terms, the last time, then the buckets, oldest first."""
        return (self.move_bps, self.window_ns, self._now_ns, tuple(self._buckets))

    def restore(self, state: Sequence[Any]) -> None:
        """Become what `state` said of a guard with the same terms."""
        _, _, self._now_ns, buckets = state
        self._buckets = deque((number, low, high) for number, low, high in buckets)


class Decision(IntEnum):
    """What to do with an auction now."""

    WAIT = 1
    EXTENDED = 2
    UNCROSS = 3


class CallTerms(NamedTuple):
    """How an auction is called: its first phase, then extensions while the price is too far off.

    `collar_bps` is how far from the reference it may uncross; each extension widens that by as much
    again. 0 is no collar, so no extension.
    """

    call_ns: int
    extension_ns: int
    extensions: int
    collar_bps: int


class CallPhase:
    """One auction's time: orders are taken, nothing trades, until `decide` says UNCROSS.

    A price beyond the collar extends the phase, at most `terms.extensions` times. When they are
    used up it uncrosses at any price, so that every auction ends; each order is protected by its
    own limit.
    """

    __slots__ = ("ends_ns", "extended", "reference", "terms")

    def __init__(self, terms: CallTerms, reference: int, now_ns: int) -> None:
        """Begins now, and ends at `ends_ns` if it is not extended.

        Args:
            terms: how it is called.
            reference: the price that the collar is around; 0 if there is none, so no collar.
            now_ns: the present time.

        Raises:
            ValueError: an argument is outside its limits.
        """
        require_within("call_ns", terms.call_ns, 0, PHASE_MAX_NS)
        require_within("extension_ns", terms.extension_ns, 1, PHASE_MAX_NS)
        require_within("extensions", terms.extensions, 0, EXTENSIONS_MAX)
        require_within("collar_bps", terms.collar_bps, 0, DISTANCE_MAX_BPS)
        require_within("reference", reference, 0, PRICE_MAX)
        self.terms = terms
        self.reference = reference
        self.ends_ns = now_ns + terms.call_ns
        self.extended = 0

    def collar(self) -> Range:
        """The prices at which it may uncross at the end of the present phase."""
        if self.extended == self.terms.extensions:
            return EVERY_PRICE
        return around(self.reference, self.terms.collar_bps * (self.extended + 1))

    def decide(self, indicative: int | None, now_ns: int) -> Decision:
        """Whether to uncross now, given the price that it would find (None: nothing would trade).

        Before `ends_ns` the answer is WAIT. After EXTENDED, `ends_ns` is the new end.
        """
        if now_ns < self.ends_ns:
            return Decision.WAIT
        if indicative is None or self.collar().holds(indicative):
            return Decision.UNCROSS
        self.extended += 1
        self.ends_ns = now_ns + self.terms.extension_ns
        return Decision.EXTENDED

    def check(self) -> None:
        """Assert every invariant."""
        assert 0 <= self.extended <= self.terms.extensions <= EXTENSIONS_MAX
        assert 0 <= self.reference <= PRICE_MAX
        collar = self.collar()
        assert self.reference == 0 or collar.holds(self.reference)

    def state(self) -> tuple[int, ...]:
        """Canonical state: the terms, then reference, end and extensions so far."""
        return (*self.terms, self.reference, self.ends_ns, self.extended)

    @classmethod
    def restored(cls, state: Sequence[Any]) -> CallPhase:
        """The phase whose `state` it was."""
        *terms, reference, ends_ns, extended = state
        call = cls(CallTerms(*terms), reference, 0)
        call.ends_ns, call.extended = ends_ns, extended
        return call
