"""What is told, as CloudEvents 1.0 in structured JSON mode."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

import msgspec

from exchange.core.limits import NS_PER_S
from exchange.readmodel.queries import EndingRow
from exchange.v1 import job_service_pb2 as jobs_pb
from exchange.v1 import reason_pb2
from exchange.v1 import webhook_service_pb2 as pb
from exchange.webhooks import messages
from exchange.webhooks.store import Alert, Webhook

CONTENT_TYPE: Final = "application/cloudevents+json; charset=utf-8"
JOB_ENDED: Final = "flopex.job.ended"
ALERT: Final = "flopex.alert.triggered"
TEST: Final = "flopex.webhook.test"


class Event(NamedTuple):
    """Something to tell.

    Attributes:
        event_id: The same however often it is told: receivers drop what they have had.
        body: As it is sent.
    """

    event_id: str
    body: bytes


def job_ended(row: EndingRow) -> Event:
    """A job is over. Its fields are those of the API's job that are known then for good."""
    data = {
        "job_id": str(row.job_id),
        "client_job_id": row.client_job_id.hex(),
        "state": jobs_pb.JobState.Name(jobs_pb.JobState.ValueType(row.state)),
        "reason": reason_pb2.Reason.Name(reason_pb2.Reason.ValueType(row.reason)),
        "fault": jobs_pb.Fault.Name(jobs_pb.Fault.ValueType(row.fault)),
        "attempt": row.attempt,
        "lease_id": str(row.lease_id),
        "flops": str(row.flops),
        "paid_nanos": str(row.paid_nanos),
        "output_tokens": row.output_tokens,
        "create_time_ns": str(row.create_time_ns),
        "end_time_ns": str(row.end_time_ns),
        "sequence": str(row.sequence),
    }
    subject = f"jobs/{row.job_id}"
    event_id = f"job-{row.job_id}-ended"
    return _event(JOB_ENDED, event_id, row.account_id, subject, row.end_time_ns, data)


def alert_triggered(alert: Alert) -> Event:
    """A price was reached."""
    data = {
        "alert_id": str(alert.alert_id),
        "instrument": alert.instrument,
        "condition": pb.AlertCondition.Name(messages.condition(alert)),
        "price_nanos": str(alert.price_nanos),
        "trade_price_nanos": str(alert.trade_price_nanos),
        "trade_time_ns": str(alert.trade_time_ns),
        "sequence": str(alert.trade_sequence),
    }
    event_id, subject = f"alert-{alert.alert_id}", f"alerts/{alert.alert_id}"
    return _event(ALERT, event_id, alert.account_id, subject, alert.trade_time_ns, data)


def test(webhook: Webhook, now_ns: int) -> Event:
    """The owner asked for it."""
    number = webhook.tests_asked
    event_id = f"webhook-{webhook.webhook_id}-test-{number}"
    subject = f"webhooks/{webhook.webhook_id}"
    return _event(TEST, event_id, webhook.account_id, subject, now_ns, {"number": number})


def _event(
    kind: str, event_id: str, account_id: int, subject: str, time_ns: int, data: dict[str, Any]
) -> Event:
    time = datetime.fromtimestamp(time_ns // NS_PER_S, UTC).replace(tzinfo=None).isoformat()
    said = {
        "specversion": "1.0",
        "id": event_id,
        "source": f"/accounts/{account_id}",
        "type": kind,
        "subject": subject,
        "time": f"{time}.{time_ns % NS_PER_S:09d}Z",
        "datacontenttype": "application/json",
        "data": data,
    }
    return Event(event_id, msgspec.json.encode(said))
