"""Price alerts: each new trade is compared with those that wait, once, in the order of trades."""

from __future__ import annotations

import time
from typing import Final

from exchange.readmodel import queries
from exchange.readmodel.database import Database
from exchange.readmodel.queries import TradeRow
from exchange.webhooks.store import Alert, Store

PAGE_MAX: Final = 1_000
"""Trades compared at a time."""
KEEP_EVERY_S: Final = 5.0
"""How often the place is kept while no alert goes off; after a crash, so much is compared again."""


class Alerts:
    """Sets alerts off.

    Args:
        store: Holds them, and the number of the last trade that they were compared with.
        database: The read model, to read.
    """

    def __init__(self, store: Store, database: Database) -> None:
        self._store = store
        self._database = database
        self._seen = store.trades_seen()
        self._kept_at_s = 0.0
        self._version: tuple[int, int] | None = None
        self._armed: dict[int, list[Alert]] = {}

    def look(self) -> None:
        """Compare what was traded since. O(new trades * alerts of their instruments)."""
        self._read_armed()
        if not self._armed:
            # Nobody waits: an alert of later on is for trades of later on.
            self._seen = queries.last_trade(self._database)
            return
        while trades := queries.trades_after(self._database, self._seen, PAGE_MAX):
            set_off = [alert for trade in trades for alert in self._reached(trade)]
            self._seen = trades[-1].number
            now_s = time.monotonic()
            if set_off or now_s - self._kept_at_s > KEEP_EVERY_S:
                self._store.see_trades(self._seen, set_off)
                self._kept_at_s = now_s
            if len(trades) < PAGE_MAX:
                return

    def _read_armed(self) -> None:
        version = self._store.version
        if version != self._version:
            self._version = version
            self._armed = {}
            for alert in self._store.armed():
                self._armed.setdefault(alert.instrument_id, []).append(alert)

    def _reached(self, trade: TradeRow) -> list[Alert]:
        """Alerts that this trade sets off; they wait no more."""
        waiting = self._armed.get(trade.instrument_id, [])
        reached = [alert for alert in waiting if is_reached(alert, trade)]
        if reached:
            self._armed[trade.instrument_id] = [found for found in waiting if found not in reached]
        return [
            alert._replace(
                trade_price_nanos=trade.price_nanos,
                trade_time_ns=trade.event_time_ns,
                trade_sequence=trade.sequence,
            )
            for alert in reached
        ]


def is_reached(alert: Alert, trade: TradeRow) -> bool:
    """Whether a trade of its instrument sets an alert off."""
    if trade.sequence <= alert.sequence:
        return False
    if alert.above:
        return trade.price_nanos >= alert.price_nanos
    return trade.price_nanos <= alert.price_nanos
