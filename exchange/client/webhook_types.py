"""What an account is told, and how telling goes: webhooks and price alerts."""

from __future__ import annotations

from dataclasses import dataclass, field

from exchange.client.enums import AlertCondition, AlertState, WebhookState
from exchange.v1 import webhook_service_pb2 as pb


@dataclass(frozen=True, slots=True)
class Webhook:
    """A URL of the account's own that is called with events of interest to it.

    Attributes:
        webhook_id: Id given by the exchange.
        url: Where events go.
        state: How it does.
        create_time_ns: When it was added: journal time, nanoseconds since the epoch.
        sequence: Journal sequence up to which endings of jobs were told.
        told: Events that its endpoint took.
        failures: Attempts in a row that failed; 0 once one is taken.
        given_up: Events that were tried for about a day, and are not told any more.
        last_status: How the last attempt went: an HTTP status such as 200, or what was wrong; empty
            before the first.
        last_time_ns: When that was: wall clock, nanoseconds since the epoch; 0 before the first.
    """

    webhook_id: int
    url: str
    state: WebhookState
    create_time_ns: int
    sequence: int
    told: int
    failures: int
    given_up: int
    last_status: str
    last_time_ns: int


def webhook_from(message: pb.Webhook) -> Webhook:
    """A webhook of the wire."""
    return Webhook(
        webhook_id=message.webhook_id,
        url=message.url,
        state=WebhookState(message.state),
        create_time_ns=message.create_time_ns,
        sequence=message.sequence,
        told=message.told,
        failures=message.failures,
        given_up=message.given_up,
        last_status=message.last_status,
        last_time_ns=message.last_time_ns,
    )


@dataclass(frozen=True, slots=True)
class NewWebhook:
    """A webhook that was just added.

    Attributes:
        webhook: The webhook.
        secret: Signs what is sent to it: whsec_ and base64. It is shown once, and not in this
            object's repr.
    """

    webhook: Webhook
    secret: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Alert:
    """Tells its owner once, of the first trade at its price or beyond.

    Attributes:
        alert_id: Id given by the exchange.
        webhook_id: The webhook that is told; 0 where nobody is called.
        instrument: Instrument's name.
        condition: Which prices set it off.
        price_nanos: Its price, nano-dollars per CU.
        state: Whether it has gone off.
        create_time_ns: When it was added: journal time, nanoseconds since the epoch.
        trade_price_nanos: Price of the trade that set it off, nano-dollars per CU; 0 before.
        trade_time_ns: Journal time of that trade, nanoseconds since the epoch; 0 before.
        trade_sequence: Journal sequence of that trade; 0 before.
    """

    alert_id: int
    webhook_id: int
    instrument: str
    condition: AlertCondition
    price_nanos: int
    state: AlertState
    create_time_ns: int
    trade_price_nanos: int
    trade_time_ns: int
    trade_sequence: int


def alert_from(message: pb.Alert) -> Alert:
    """An alert of the wire."""
    return Alert(
        alert_id=message.alert_id,
        webhook_id=message.webhook_id,
        instrument=message.instrument,
        condition=AlertCondition(message.condition),
        price_nanos=message.price_nanos,
        state=AlertState(message.state),
        create_time_ns=message.create_time_ns,
        trade_price_nanos=message.trade_price_nanos,
        trade_time_ns=message.trade_time_ns,
        trade_sequence=message.trade_sequence,
    )
