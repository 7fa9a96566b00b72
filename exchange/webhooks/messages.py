"""Webhooks and alerts of the store as messages of the API."""

from __future__ import annotations

from exchange.rpc.errors import invalid
from exchange.v1 import webhook_service_pb2 as pb
from exchange.webhooks.store import Alert, Webhook


def webhook(found: Webhook) -> pb.Webhook:
    """A webhook, without its secret."""
    state = pb.WEBHOOK_STATE_FAILING if found.failures else pb.WEBHOOK_STATE_OK
    return pb.Webhook(
        webhook_id=found.webhook_id,
        url=found.url,
        state=pb.WEBHOOK_STATE_GONE if found.gone else state,
        create_time_ns=found.create_time_ns,
        sequence=found.sequence,
        told=found.told,
        failures=found.failures,
        given_up=found.given_up,
        last_status=found.last_status,
        last_time_ns=found.last_time_ns,
    )


def alert(found: Alert) -> pb.Alert:
    """An alert."""
    return pb.Alert(
        alert_id=found.alert_id,
        webhook_id=found.webhook_id,
        instrument=found.instrument,
        condition=condition(found),
        price_nanos=found.price_nanos,
        state=pb.ALERT_STATE_TRIGGERED if found.trade_sequence else pb.ALERT_STATE_ARMED,
        create_time_ns=found.create_time_ns,
        trade_price_nanos=found.trade_price_nanos,
        trade_time_ns=found.trade_time_ns,
        trade_sequence=found.trade_sequence,
    )


def condition(found: Alert) -> pb.AlertCondition.ValueType:
    """Which prices set an alert off."""
    return pb.ALERT_CONDITION_ABOVE if found.above else pb.ALERT_CONDITION_BELOW


def is_above(asked: pb.AlertCondition.ValueType) -> bool:
    """Whether a condition means the price or above, and not the price or below.

    Raises:
        RpcError: INVALID_ARGUMENT (FIELD_INVALID): it is neither.
    """
    if asked not in (pb.ALERT_CONDITION_ABOVE, pb.ALERT_CONDITION_BELOW):
        raise invalid("condition", "must be one of ABOVE, BELOW")
    return asked == pb.ALERT_CONDITION_ABOVE
