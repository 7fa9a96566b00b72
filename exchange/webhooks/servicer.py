"""How accounts say what they want to be told: JSON objects, for the server's own HTTP door.

These are no methods of the API (`exchange.rpc.inside`), but guarded as if: the key was checked.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final, Literal, TypeVar

import msgspec
from google.protobuf.wrappers_pb2 import BytesValue

from exchange.core.commands import Role
from exchange.core.exchange import Exchange
from exchange.core.limits import PRICE_MAX_NANOS
from exchange.core.reasons import Reason
from exchange.rpc import auth
from exchange.rpc.calls import IncomingCall as Context
from exchange.rpc.errors import Code, RpcError, invalid, refusal
from exchange.webhooks import signing
from exchange.webhooks.errors import StoreUnavailable, TargetRefused, TooMany
from exchange.webhooks.store import Alert, Store, Webhook
from exchange.webhooks.targets import check_url

T = TypeVar("T")
Json = dict[str, Any]


class _NewWebhook(msgspec.Struct, forbid_unknown_fields=True):
    url: str


class _NewAlert(msgspec.Struct, forbid_unknown_fields=True):
    instrument: str
    condition: Literal["above", "below"]
    price_nanos: int | str
    webhook_id: int | str = 0


class _Named(msgspec.Struct, forbid_unknown_fields=True):
    id: int


_ENCODER: Final = msgspec.json.Encoder()


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

    async def AddWebhook(self, request: BytesValue, context: Context) -> BytesValue:
        """{url}: the new webhook, and once its secret."""
        account_id = _caller(context)
        asked = _read(request, _NewWebhook)
        try:
            check_url(asked.url, allow_private=self._allow_private)
        except TargetRefused as error:
            raise invalid("url", str(error)) from error
        secret, core = signing.new_secret(), self._core
        now_ns, sequence = core.now_ns, core.sequence
        added = await self._ask(
            lambda: self._store.add_webhook(account_id, asked.url, secret, now_ns, sequence)
        )
        await self._ensure_told()
        return _answer({**_webhook(added), "secret": secret})

    async def ListWebhooks(self, request: BytesValue, context: Context) -> BytesValue:
        """All of the account's."""
        account_id = _caller(context)
        found = await self._ask(lambda: self._store.webhooks(account_id))
        return _answer({"webhooks": [_webhook(one) for one in found]})

    async def RemoveWebhook(self, request: BytesValue, context: Context) -> BytesValue:
        """{id}: it and its alerts are gone."""
        account_id = _caller(context)
        asked = _read(request, _Named)
        await self._found("webhook", self._store.remove_webhook, account_id, asked.id)
        return _answer({})

    async def TestWebhook(self, request: BytesValue, context: Context) -> BytesValue:
        """{id}: it is told a test, whatever failed before; how it went is told by the list."""
        account_id = _caller(context)
        asked = _read(request, _Named)
        await self._found("webhook", self._store.ask_test, account_id, asked.id)
        return _answer({})

    async def AddAlert(self, request: BytesValue, context: Context) -> BytesValue:
        """{instrument, condition, price_nanos, webhook_id}: the new alert."""
        account_id, core = _caller(context), self._core
        asked = _read(request, _NewAlert)
        instrument_id = core.instrument_by_name.get(asked.instrument)
        if instrument_id is None:
            raise refusal(Reason.UNKNOWN_INSTRUMENT)
        price = _number("price_nanos", asked.price_nanos, 1, PRICE_MAX_NANOS)
        webhook_id = _number("webhook_id", asked.webhook_id, 0, 2**63 - 1)
        instrument = instrument_id, asked.instrument
        above, now_ns, sequence = asked.condition == "above", core.now_ns, core.sequence
        added = await self._ask(
            lambda: self._store.add_alert(
                account_id, webhook_id, instrument, above, price, now_ns, sequence
            )
        )
        if added is None:
            raise _unknown("webhook")
        await self._ensure_told()
        return _answer(_alert(added))

    async def ListAlerts(self, request: BytesValue, context: Context) -> BytesValue:
        """All of the account's, those that have gone off included."""
        account_id = _caller(context)
        found = await self._ask(lambda: self._store.alerts(account_id))
        return _answer({"alerts": [_alert(one) for one in found]})

    async def RemoveAlert(self, request: BytesValue, context: Context) -> BytesValue:
        """{id}: it is gone."""
        account_id = _caller(context)
        asked = _read(request, _Named)
        await self._found("alert", self._store.remove_alert, account_id, asked.id)
        return _answer({})

    async def _found(
        self, what: str, action: Callable[[int, int], bool], account_id: int, number: int
    ) -> None:
        if not await self._ask(lambda: action(account_id, number)):
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
    """The caller's account; his key must be one that trades or works."""
    caller = auth.caller(context)
    caller.require(Role.TRADER, Role.WORKER, Role.OPERATOR)
    return caller.account_id


def _read(request: BytesValue, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(request.value, type=kind)
    except msgspec.DecodeError as error:
        raise refusal(Reason.FIELD_INVALID, str(error)) from error


def _number(field: str, value: int | str, least: int, most: int) -> int:
    """An integer, written as a number or in digits."""
    if isinstance(value, str):
        if not (value.isascii() and value.isdecimal() and len(value) <= 20):
            raise invalid(field, "must be an integer, as a number or a string")
        value = int(value)
    if not least <= value <= most:
        raise invalid(field, f"must lie between {least} and {most}")
    return value


def _unknown(what: str) -> RpcError:
    return RpcError(Code.NOT_FOUND, f"UNKNOWN_{what.upper()}", f"the account has no such {what}")


def _answer(found: Json) -> BytesValue:
    return BytesValue(value=_ENCODER.encode(found))


def _webhook(found: Webhook) -> Json:
    state = "gone" if found.gone else "failing" if found.failures else "ok"
    return {
        "webhook_id": str(found.webhook_id),
        "url": found.url,
        "state": state,
        "create_time_ns": str(found.create_time_ns),
        "sequence": str(found.sequence),
        "told": str(found.told),
        "failures": found.failures,
        "given_up": str(found.given_up),
        "last_status": found.last_status,
        "last_time_ns": str(found.last_time_ns),
    }


def _alert(found: Alert) -> Json:
    return {
        "alert_id": str(found.alert_id),
        "webhook_id": str(found.webhook_id),
        "instrument": found.instrument,
        "condition": "above" if found.above else "below",
        "price_nanos": str(found.price_nanos),
        "state": "triggered" if found.trade_sequence else "armed",
        "create_time_ns": str(found.create_time_ns),
        "trade_price_nanos": str(found.trade_price_nanos),
        "trade_time_ns": str(found.trade_time_ns),
    }
