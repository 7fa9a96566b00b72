"""Tables of webhooks and price alerts."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from rich.table import Table
from rich.text import Text

from flopex.render.format import PRICE_UNIT, date_time, grouped, price, words
from flopex.render.tables import cut, plain_table

if TYPE_CHECKING:
    from exchange.client import Alert, Webhook

_STYLES: Final = {"ok": "green", "failing": "bold red", "gone": "red", "triggered": "bold cyan"}


def webhooks_table(webhooks: Iterable[Webhook]) -> Table:
    """Webhooks, and how telling them goes."""
    table = plain_table(
        *("webhook", "state", "told", "failures", "given up", "last attempt", "answer", "URL"),
        right=("webhook", "told", "failures", "given up"),
        stretch=("answer", "URL"),
    )
    for webhook in webhooks:
        table.add_row(
            str(webhook.webhook_id),
            _state(webhook.state.name),
            grouped(webhook.told),
            str(webhook.failures or ""),
            grouped(webhook.given_up) if webhook.given_up else "",
            date_time(webhook.last_time_ns),
            cut(webhook.last_status),
            cut(webhook.url),
        )
    return table


def alerts_table(alerts: Iterable[Alert]) -> Table:
    """Alerts; those that have gone off with the trade that did it."""
    table = plain_table(
        *("alert", "instrument", "at", "state", f"traded at, {PRICE_UNIT}", "when", "webhook"),
        right=("alert", f"traded at, {PRICE_UNIT}", "webhook"),
    )
    for alert in alerts:
        table.add_row(
            str(alert.alert_id),
            alert.instrument,
            alert_terms(alert),
            _state(alert.state.name),
            price(alert.trade_price_nanos) if alert.trade_price_nanos else "",
            date_time(alert.trade_time_ns),
            str(alert.webhook_id or ""),
        )
    return table


def alert_terms(alert: Alert) -> str:
    """Which prices set an alert off, in words."""
    return f"{price(alert.price_nanos)} {PRICE_UNIT} or {words(alert.condition.name)}"


def _state(name: str) -> Text:
    text = words(name)
    return Text(text, style=_STYLES.get(text, ""))
