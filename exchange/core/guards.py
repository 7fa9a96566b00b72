"""One book's protections at work: what the operator set, and what they remember."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from exchange.core.commands import SetProtections, decode
from exchange.core.reasons import Reason
from exchange.core.throttle import OrderToTrade, RatioTerms
from matching.events import Fill
from matching.protection import CallPhase, CallTerms, PriceBands, Range, VolatilityGuard


class Guards:
    """Bands, volatility guard and order-to-trade limit of a book, made from the operator's terms.

    Attributes:
        terms: What the operator set.
        bands: Which prices may trade.
        ratio: Messages of each account per trade of it; None for no limit.
    """

    __slots__ = ("_volatility", "bands", "ratio", "terms")

    def __init__(self, terms: SetProtections, reference: int) -> None:
        """Begins to watch; nothing but the last price is remembered.

        Raises:
            ValueError: a term is outside its limits.
        """
        self.terms = terms
        self.bands = PriceBands(terms.static_band_bps, terms.dynamic_band_bps, reference)
        self._volatility: VolatilityGuard | None = None
        if terms.volatility_move_bps:
            self._volatility = VolatilityGuard(
                terms.volatility_move_bps, terms.volatility_window_ns
            )
        self.ratio: OrderToTrade | None = None
        if terms.order_to_trade_window_ns:
            self.ratio = OrderToTrade(RatioTerms.of(terms))

    def call_terms(self, call_ns: int) -> CallTerms:
        """How an auction is called whose first phase lasts so long."""
        terms = self.terms
        return CallTerms(
            call_ns,
            max(1, terms.reopening_extension_ns),
            terms.reopening_extensions,
            terms.reopening_collar_bps,
        )

    def allowed(self, tick: int) -> Range:
        """The prices on the tick grid at which a trade may happen now."""
        low, high = self.bands.allowed()
        return Range(-(-low // tick) * tick, high // tick * tick)

    def takes_bid(self, price: int) -> bool:
        """Whether a bid at this price lies in the static band, and does not reach beyond any."""
        return self.bands.static_range().holds(price) and price <= self.bands.allowed().high

    def traded(self, fills: list[Fill], instrument_id: int, now_ns: int) -> bool:
        """Note the trades of one command; True where trading must stop for an auction."""
        stop = False
        for fill in fills:
            if self._volatility is not None:
                stop |= self._volatility.traded(fill.price, now_ns)
            if self.ratio is not None:
                self.ratio.trade(fill.maker_account_id, instrument_id, now_ns)
                self.ratio.trade(fill.taker_account_id, instrument_id, now_ns)
        # Triggered stop orders alone can trade beyond the bands: their limits are older.
        last = fills[-1].price
        if not self.bands.allowed().holds(last):
            return True
        self.bands.traded(last)
        return stop

    def uncrossed(self, price: int) -> None:
        """An auction found a new price: what was before counts no more."""
        self.bands.uncrossed(price)
        if self._volatility is not None:
            self._volatility.restart()

    def check(self) -> None:
        """Assert every invariant."""
        self.bands.check()
        if self._volatility is not None:
            self._volatility.check()
        if self.ratio is not None:
            self.ratio.check()

    def state(self) -> tuple[object, ...]:
        """Canonical state, for the digest."""
        return (
            self.terms.encode(),
            self.bands.state(),
            self._volatility.state() if self._volatility else (),
            self.ratio.state() if self.ratio else (),
        )

    @classmethod
    def restored(cls, state: Sequence[Any]) -> Guards:
        """The guards whose `state` it was."""
        record, bands, volatility, ratio = state
        (terms,) = decode(record)
        assert isinstance(terms, SetProtections)
        guards = cls(terms, 0)
        guards.bands.restore(bands)
        if guards._volatility is not None:
            guards._volatility.restore(volatility)
        if guards.ratio is not None:
            guards.ratio.restore(ratio)
        return guards


def guards_for(terms: SetProtections, reference: int) -> Guards | Reason:
    """The guards that the operator's terms make, or why there are none."""
    moves = terms.static_band_bps or terms.dynamic_band_bps or terms.volatility_move_bps
    if moves and not terms.reopening_call_ns:
        return Reason.FIELD_INVALID  # trading that stops must know how to begin again
    if terms.reopening_extensions and not terms.reopening_extension_ns:
        return Reason.FIELD_INVALID
    try:
        guards = Guards(terms, reference)
        # A call of these terms must be possible, too.
        CallPhase(guards.call_terms(terms.reopening_call_ns), reference, 0)
    except ValueError:
        return Reason.FIELD_INVALID
    return guards
