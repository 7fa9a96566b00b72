"""Webhooks and price alerts of the caller's account."""

from __future__ import annotations

from exchange.client.connection import Connection
from exchange.client.enums import AlertCondition
from exchange.client.webhook_types import Alert, NewWebhook, Webhook, alert_from, webhook_from
from exchange.units import parse_price
from exchange.v1 import webhook_service_pb2 as pb
from exchange.v1.webhook_service_pb2_grpc import WebhookServiceStub


class AsyncWebhooks:
    """URLs that are called when the account's jobs end. Reached as `client.webhooks`.

    Every method raises NotImplementedYet where the exchange keeps no read model.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def add(self, url: str, *, timeout_s: float | None = None) -> NewWebhook:
        """Have events sent to a URL from now on. It is not repeated by itself.

        Args:
            url: https, with a host on the public internet.
            timeout_s: Seconds.

        Returns:
            The webhook, and the secret that its events are signed with: only here.

        Raises:
            InvalidRequest: the URL must not be called.
            LimitReached: the account or the exchange has as many as it may.
        """
        stub = self._connection.stub(WebhookServiceStub)
        request = pb.AddWebhookRequest(url=url)
        answer = await self._connection.call(
            stub.AddWebhook, request, timeout_s=timeout_s, repeatable=False
        )
        return NewWebhook(webhook_from(answer.webhook), answer.secret)

    async def list(self, *, timeout_s: float | None = None) -> tuple[Webhook, ...]:
        """The account's webhooks, the oldest first."""
        stub = self._connection.stub(WebhookServiceStub)
        request = pb.ListWebhooksRequest()
        answer = await self._connection.call(stub.ListWebhooks, request, timeout_s=timeout_s)
        return tuple(webhook_from(w) for w in answer.webhooks)

    async def remove(self, webhook_id: int, *, timeout_s: float | None = None) -> None:
        """End a webhook, and the alerts that are sent to it. It is not repeated by itself.

        Args:
            webhook_id: Its id.
            timeout_s: Seconds.

        Raises:
            NotFound: the account has no such webhook (UNKNOWN_WEBHOOK).
        """
        stub = self._connection.stub(WebhookServiceStub)
        request = pb.RemoveWebhookRequest(webhook_id=webhook_id)
        await self._connection.call(
            stub.RemoveWebhook, request, timeout_s=timeout_s, repeatable=False
        )

    async def test(self, webhook_id: int, *, timeout_s: float | None = None) -> None:
        """Have a test sent at once, whatever failed before; `list` says how it went.

        The arguments and errors are those of `remove`.
        """
        stub = self._connection.stub(WebhookServiceStub)
        request = pb.TestWebhookRequest(webhook_id=webhook_id)
        await self._connection.call(stub.TestWebhook, request, timeout_s=timeout_s)


class AsyncAlerts:
    """Prices that the account wants to be told of. Reached as `client.alerts`.

    Every method raises NotImplementedYet where the exchange keeps no read model.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def add(
        self,
        instrument: str,
        condition: AlertCondition,
        price: int | str,
        *,
        webhook_id: int = 0,
        timeout_s: float | None = None,
    ) -> Alert:
        """Be told once, of the first trade at a price or beyond. It is not repeated by itself.

        Args:
            instrument: Its name.
            condition: Whether the price or above is meant, or the price or below.
            price: "$0.0004/CU" or nano-dollars per CU.
            webhook_id: Who is told; 0: nobody, `list` says whether it has gone off.
            timeout_s: Seconds.

        Raises:
            NotFound: there is no such instrument, or the account has no such webhook.
            LimitReached: the account or the exchange has as many as it may.
            ValueError: the price cannot be read.
        """
        request = pb.AddAlertRequest(
            instrument=instrument,
            condition=condition,  # type: ignore[arg-type]
            price_nanos=parse_price(price),
            webhook_id=webhook_id,
        )
        stub = self._connection.stub(WebhookServiceStub)
        answer = await self._connection.call(
            stub.AddAlert, request, timeout_s=timeout_s, repeatable=False
        )
        return alert_from(answer.alert)

    async def list(self, *, timeout_s: float | None = None) -> tuple[Alert, ...]:
        """The account's alerts, the oldest first; those that have gone off stay until removed."""
        stub = self._connection.stub(WebhookServiceStub)
        request = pb.ListAlertsRequest()
        answer = await self._connection.call(stub.ListAlerts, request, timeout_s=timeout_s)
        return tuple(alert_from(a) for a in answer.alerts)

    async def remove(self, alert_id: int, *, timeout_s: float | None = None) -> None:
        """End an alert. It is not repeated by itself.

        Args:
            alert_id: Its id.
            timeout_s: Seconds.

        Raises:
            NotFound: the account has no such alert (UNKNOWN_ALERT).
        """
        stub = self._connection.stub(WebhookServiceStub)
        request = pb.RemoveAlertRequest(alert_id=alert_id)
        await self._connection.call(
            stub.RemoveAlert, request, timeout_s=timeout_s, repeatable=False
        )
