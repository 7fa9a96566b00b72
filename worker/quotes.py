"""Standing quotes: which one is due to be sent."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

from exchange.v1 import worker_service_pb2 as pb
from exchange.v1.reason_pb2 import Reason
from worker.config import QuotePlan
from worker.quoting import on_tick

RESEND_SHARE: Final = 3
"""A quote is sent again after this part of its time to live."""
RETRY_S: Final = 5.0
"""A refused quote is tried again after this time: its instrument may come or open later."""
REQUOTE_S: Final = 1.0
"""After a decline the quotes are sent again after this time."""
NS_PER_S: Final = 1_000_000_000


class QuoteBoard:
    """Keeps a worker's standing quotes alive."""

    def __init__(self, plans: Sequence[QuotePlan], slots: int) -> None:
        self._plans = {plan.instrument: plan for plan in plans}
        self._prices = {
            plan.instrument: on_tick(plan.policy.prices_nanos(slots), plan.tick_nanos)
            for plan in plans
        }
        self._slots = slots
        self._due_at = dict.fromkeys(self._plans, 0.0)
        self._refused: dict[str, Reason.ValueType] = {}

    def restart(self) -> None:
        """Nothing stands at the exchange any more: every quote is due."""
        self._due_at = dict.fromkeys(self._plans, 0.0)

    def drop(self, instrument: str) -> None:
        """Never quote it again: the engine cannot serve it."""
        for kept in (self._plans, self._prices, self._due_at):
            kept.pop(instrument, None)

    def asks_at_most(self, instrument: str, price_nanos: int) -> bool:
        """Whether a slot may be sold at this price, nano-dollars per CU, by what is quoted."""
        prices = self._prices.get(instrument)
        return prices is not None and prices[0] <= price_nanos

    def declined(self, now_s: float) -> None:
        """An offer was declined, and the exchange ended the pool's quotes: quote again soon."""
        for instrument, due_at in self._due_at.items():
            self._due_at[instrument] = min(due_at, now_s + REQUOTE_S)

    def refused(self, instrument: str, reason: Reason.ValueType, now_s: float) -> bool:
        """A quote was refused; whether that is news."""
        if instrument not in self._plans or not self._slots:
            return False  # to withdraw what does not stand changes nothing
        self._due_at[instrument] = now_s + RETRY_S
        news = self._refused.get(instrument) != reason
        self._refused[instrument] = reason
        return news

    def due(self, now_s: float, slots: int) -> list[pb.Quote]:
        """The quotes to send now, for so many slots; asking for them counts as sending them.

        No slots: one quote without prices, which withdraws the one that stands.
        """
        if slots != self._slots:
            self._slots = slots
            self.restart()
        quotes = []
        for instrument, plan in self._plans.items():
            if self._due_at[instrument] > now_s:
                continue
            self._due_at[instrument] = now_s + plan.ttl_s / RESEND_SHARE if slots else math.inf
            quotes.append(
                pb.Quote(
                    instrument=instrument,
                    prices_nanos=self._prices[instrument][:slots],
                    ttl_ns=round(plan.ttl_s * NS_PER_S),
                )
            )
        return quotes

    def next_due_at(self) -> float | None:
        """When the next quote is due; None where there is none."""
        return min(self._due_at.values(), default=None)
