"""How much an account may send: a rate of messages, and messages per trade.

Both are integers and take the time as an argument. Neither ever refuses a cancel, which only lowers
risk: the caller counts it, and asks before what adds orders.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from exchange.core.limits import NS_PER_S
from matching.limits import require_within

if TYPE_CHECKING:
    from exchange.core.commands import SetAccountLimits, SetProtections

RATE_MAX_PER_S: Final = 1_000_000
"""Fastest refill of a token bucket."""
BURST_MAX: Final = 1_000_000
"""Most tokens of a bucket, and most that one request takes."""
RATIO_WINDOW_MAX_NS: Final = 24 * 3_600 * NS_PER_S
"""Longest window of the order-to-trade ratio."""
RATIO_MAX: Final = 1_000_000
"""Largest ratio and largest allowance."""
_WHOLE: Final = NS_PER_S
"""One token, in the bucket's own units: what a rate of 1 per second adds in 1 s."""


class TokenBucket:
    """At most `burst` messages at once and `rate_per_s` for ever; it starts full.

    The level is kept in 10^-9 tokens, so that no time is ever lost to rounding.
    """

    __slots__ = ("_at_ns", "_level", "burst", "rate_per_s")

    def __init__(self, rate_per_s: int, burst: int, now_ns: int) -> None:
        """Full at `now_ns`.

        Raises:
            ValueError: the rate or the burst is outside its limits.
        """
        require_within("rate_per_s", rate_per_s, 1, RATE_MAX_PER_S)
        require_within("burst", burst, 1, BURST_MAX)
        self.rate_per_s = rate_per_s
        self.burst = burst
        self._level = burst * _WHOLE
        self._at_ns = now_ns

    def take(self, tokens: int, now_ns: int) -> bool:
        """Take tokens if there are so many; False, and nothing is taken, if there are not.

        Raises:
            ValueError: `tokens` is outside its limits, or time went back.
        """
        require_within("tokens", tokens, 1, BURST_MAX)
        self._fill(now_ns)
        if self._level < tokens * _WHOLE:
            return False
        self._level -= tokens * _WHOLE
        return True

    def drain(self, tokens: int, now_ns: int) -> None:
        """Count a message that is never refused: take what there is, up to `tokens`.

        Raises:
            ValueError: `tokens` is outside its limits, or time went back.
        """
        require_within("tokens", tokens, 1, BURST_MAX)
        self._fill(now_ns)
        self._level = max(0, self._level - tokens * _WHOLE)

    def ready_ns(self, tokens: int) -> int | None:
        """The first time at which `take` would succeed; None if the bucket never holds so many."""
        if tokens > self.burst:
            return None
        missing = max(0, tokens * _WHOLE - self._level)
        return self._at_ns - (-missing // self.rate_per_s)

    def _fill(self, now_ns: int) -> None:
        if now_ns < self._at_ns:
            msg = f"time went back from {self._at_ns} to {now_ns}"
            raise ValueError(msg)
        gained = (now_ns - self._at_ns) * self.rate_per_s
        self._level = min(self.burst * _WHOLE, self._level + gained)
        self._at_ns = now_ns

    def check(self) -> None:
        """Assert every invariant."""
        assert 1 <= self.rate_per_s <= RATE_MAX_PER_S
        assert 0 <= self._level <= self.burst * _WHOLE <= BURST_MAX * _WHOLE

    def state(self) -> tuple[int, ...]:
        """Canonical state: the terms, then the level (10^-9 tokens) and its time."""
        return (self.rate_per_s, self.burst, self._level, self._at_ns)

    @classmethod
    def restored(cls, state: Sequence[Any]) -> TokenBucket:
        """The bucket whose `state` it was."""
        rate_per_s, burst, level, at_ns = state
        bucket = cls(rate_per_s, burst, at_ns)
        bucket._level = level
        return bucket


class RatioTerms(NamedTuple):
    """At most `allowance` + `ratio` x trades messages of an account on an instrument per window.

    Windows follow each other without overlap from time 0; a `window_ns` of 0 is no limit. Where
    there is one, the allowance is positive, or nobody could ever send.
    """

    window_ns: int
    allowance: int
    ratio: int

    @classmethod
    def of(cls, terms: SetAccountLimits | SetProtections) -> RatioTerms:
        """Those that an operator's command states."""
        return cls(
            terms.order_to_trade_window_ns, terms.order_to_trade_free, terms.order_to_trade_ratio
        )


class OrderToTrade:
    """Messages (place, replace, cancel) and trades of each account on each instrument, per window.

    Everything is forgotten when a window ends, so what it holds is bounded by the messages of one.
    """

    __slots__ = ("_counts", "_window", "terms")

    def __init__(self, terms: RatioTerms) -> None:
        """Nothing counted yet.

        Raises:
            ValueError: a term is outside its limits.
        """
        require_within("window_ns", terms.window_ns, 0, RATIO_WINDOW_MAX_NS)
        require_within("allowance", terms.allowance, 1 if terms.window_ns else 0, RATIO_MAX)
        require_within("ratio", terms.ratio, 0, RATIO_MAX)
        self.terms = terms
        self._window = 0
        self._counts: dict[tuple[int, int], tuple[int, int]] = {}
        """(account id, instrument id) to (messages, trades) in the present window."""

    def allows(self, account_id: int, instrument_id: int, now_ns: int) -> bool:
        """Whether one more message is within the limit. Counts and forgets nothing."""
        if self.terms.window_ns == 0 or self._window_at(now_ns) > self._window:
            return True
        messages, trades = self._counts.get((account_id, instrument_id), (0, 0))
        return messages < self.terms.allowance + self.terms.ratio * trades

    def message(self, account_id: int, instrument_id: int, now_ns: int) -> None:
        """Count a message, a cancel too."""
        self._count(account_id, instrument_id, 1, 0, now_ns)

    def trade(self, account_id: int, instrument_id: int, now_ns: int) -> None:
        """Count a trade; each of its two accounts has one."""
        self._count(account_id, instrument_id, 0, 1, now_ns)

    def window_end_ns(self, now_ns: int) -> int:
        """When the present window ends and all is forgotten; nothing is refused where it is."""
        return (self._window_at(now_ns) + 1) * self.terms.window_ns

    def _count(
        self, account_id: int, instrument_id: int, messages: int, trades: int, now_ns: int
    ) -> None:
        if self.terms.window_ns == 0:
            return
        self._advance(now_ns)
        key = (account_id, instrument_id)
        before = self._counts.get(key, (0, 0))
        self._counts[key] = (before[0] + messages, before[1] + trades)

    def _window_at(self, now_ns: int) -> int:
        window = now_ns // self.terms.window_ns
        if window < self._window:
            msg = f"time went back from window {self._window} to {window}"
            raise ValueError(msg)
        return window

    def _advance(self, now_ns: int) -> None:
        window = self._window_at(now_ns)
        if window > self._window:
            self._window = window
            self._counts.clear()

    def check(self) -> None:
        """Assert every invariant."""
        assert all(m >= 0 and t >= 0 and m + t > 0 for m, t in self._counts.values())
        assert self.terms.window_ns > 0 or not self._counts

    def state(self) -> tuple[object, ...]:
        """Canonical state: the terms, the present window, then the counts by account."""
        return (*self.terms, self._window, tuple(sorted(self._counts.items())))

    def restore(self, state: Sequence[Any]) -> None:
        """Become what `state` said of a limit with the same terms."""
        *_, self._window, counts = state
        self._counts = {tuple(key): (messages, trades) for key, (messages, trades) in counts}
