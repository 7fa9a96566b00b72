"""WebhookService: what accounts want to be told, and how telling them goes."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from exchange.core.commands import Role
from exchange.core.exchange import Exchange
from exchange.core.limits import PRICE_MAX_NANOS
from exchange.core.reasons import Reason
from exchange.rpc import auth
from exchange.rpc.calls import IncomingCall as Context
from exchange.rpc.errors import Code, RpcError, invalid, refusal
from exchange.v1 import webhook_service_pb2 as pb
from exchange.webhooks import messages, signing
from exchange.webhooks.errors import StoreUnavailable, TargetRefused, TooMany
from exchange.webhooks.store import Store
from exchange.webhooks.targets import check_url

T = TypeVar("T")

ID_MAX: Final = 2**63 - 1
"""The greatest id that the store can look for; it gives none so great."""


class WebhookServicer:
    """Webhooks and alerts of the caller's account.

    Args:
        core: The state machine, to read.
        store: Where they are kept; asked in a thread, one question at a time.
        allow_private: Whether any target may be called.
        ensure_told: Lets them be told from now on.
    """

    def __init__(
        self,
        core: Exchange,
        store: Store,
        *,
        allow_private: bool,
        ensure_told: Callable[[], Awaitable[None]],
    ) -> None:
        self._core = core
        self._store = store
        self._allow_private = allow_private
        self._ensure_told = ensure_told
        self._asking = asyncio.Lock()

    async def AddWebhook(
        self, request: pb.AddWebhookRequest, context: Context
    ) -> pb.AddWebhookResponse:
        """A new one, and once its secret."""
        account_id, core = _caller(context), self._core
        url = request.url
        try:
            check_url(url, allow_private=self._allow_private)
        except TargetRefused as error:
            raise invalid("url", str(error)) from error
        secret, now_ns, sequence = signing.new_secret(), core.now_ns, core.sequence
        added = await self._ask(
            lambda: self._store.add_webhook(account_id, url, secret, now_ns, sequence)
        )
        await self._ensure_told()
        return pb.AddWebhookResponse(webhook=messages.webhook(added), secret=secret)

    async def ListWebhooks(
        self, request: pb.ListWebhooksRequest, context: Context
    ) -> pb.ListWebhooksResponse:
        """All of the account's."""
        account_id = _caller(context)
        found = await self._ask(lambda: self._store.webhooks(account_id))
        return pb.ListWebhooksResponse(webhooks=map(messages.webhook, found))

    async def RemoveWebhook(
        self, request: pb.RemoveWebhookRequest, context: Context
    ) -> pb.RemoveWebhookResponse:
        """It and its alerts are gone."""
        account_id = _caller(context)
        await self._find("webhook", self._store.remove_webhook, account_id, request.webhook_id)
        return pb.RemoveWebhookResponse()

    async def TestWebhook(
        self, request: pb.TestWebhookRequest, context: Context
    ) -> pb.TestWebhookResponse:
        """It is told a test, whatever failed before; how it went is told by the list."""
        account_id = _caller(context)
        await self._find("webhook", self._store.ask_test, account_id, request.webhook_id)
        return pb.TestWebhookResponse()

    async def AddAlert(self, request: pb.AddAlertRequest, context: Context) -> pb.AddAlertResponse:
        """A new one, for trades from now on."""
        account_id, core = _caller(context), self._core
        instrument_id = core.instrument_by_name.get(request.instrument)
        if instrument_id is None:
            raise refusal(Reason.UNKNOWN_INSTRUMENT)
        above = messages.is_above(request.condition)
        price_nanos, webhook_id = request.price_nanos, request.webhook_id
        if not 1 <= price_nanos <= PRICE_MAX_NANOS:
            raise invalid("price_nanos", f"must lie between 1 and {PRICE_MAX_NANOS}")
        if webhook_id > ID_MAX:
            raise _unknown("webhook")
        instrument = instrument_id, request.instrument
        now_ns, sequence = core.now_ns, core.sequence
        added = await self._ask(
            lambda: self._store.add_alert(
                account_id, webhook_id, instrument, above, price_nanos, now_ns, sequence
            )
        )
        if added is None:
            raise _unknown("webhook")
        await self._ensure_told()
        return pb.AddAlertResponse(alert=messages.alert(added))

    async def ListAlerts(
        self, request: pb.ListAlertsRequest, context: Context
    ) -> pb.ListAlertsResponse:
        """All of the account's, those that have gone off included."""
        account_id = _caller(context)
        found = await self._ask(lambda: self._store.alerts(account_id))
        return pb.ListAlertsResponse(alerts=map(messages.alert, found))

    async def RemoveAlert(
        self, request: pb.RemoveAlertRequest, context: Context
    ) -> pb.RemoveAlertResponse:
        """It is gone."""
        account_id = _caller(context)
        await self._find("alert", self._store.remove_alert, account_id, request.alert_id)
        return pb.RemoveAlertResponse()

    async def _find(
        self, what: str, action: Callable[[int, int], bool], account_id: int, number: int
    ) -> None:
        """Do something with one that the account has.

        Raises:
            RpcError: It has none with this id, or as `_ask`.
        """
        if number > ID_MAX or not await self._ask(lambda: action(account_id, number)):
            raise _unknown(what)

    async def _ask(self, question: Callable[[], T]) -> T:
        """Ask the store.

        Raises:
            RpcError: There is no room, or it cannot be read or written.
        """
        async with self._asking:
            try:
                return await asyncio.to_thread(question)
            except TooMany as error:
                raise refusal(Reason.EXCHANGE_FULL, str(error)) from error
            except StoreUnavailable as error:
                raise RpcError(
                    Code.UNAVAILABLE, "WEBHOOKS_UNAVAILABLE", "webhooks cannot be changed now"
                ) from error


def _caller(context: Context) -> int:
    """The caller's account; his key must be one that trades, works or operates."""
    caller = auth.caller(context)
    caller.require(Role.TRADER, Role.WORKER, Role.OPERATOR)
    return caller.account_id


def _unknown(what: str) -> RpcError:
    return RpcError(Code.NOT_FOUND, f"UNKNOWN_{what.upper()}", f"the account has no such {what}")
