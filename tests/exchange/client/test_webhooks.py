"""Webhooks and price alerts through the client: both forms, and what is refused."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import pytest
import pytest_asyncio

from exchange.client import (
    Alert,
    AlertCondition,
    AlertState,
    AsyncClient,
    Client,
    InvalidRequest,
    LimitReached,
    NotFound,
    NotImplementedYet,
    PermissionDenied,
    Side,
    Unauthenticated,
    Unavailable,
    WebhookState,
)
from exchange.core.commands import Role
from exchange.testing import InProcessExchange
from exchange.v1 import webhook_service_pb2 as pb
from exchange.webhooks import store
from tests.exchange.client.scripted import Context, connected, fail
from tests.waiting import WITHIN_S

PAPER = "paper"
# A name that leads to no public address: it is taken, and nothing is ever called.
URL = "https://localhost:1/hook"

T = TypeVar("T")

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def exchange(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[InProcessExchange]:
    async with InProcessExchange(tmp_path_factory.mktemp("exchange")) as running:
        await running.paper_instrument(PAPER)
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def alice(exchange: InProcessExchange) -> AsyncIterator[AsyncClient]:
    async with AsyncClient(exchange.address, await exchange.trader("alice")) as client:
        yield client


async def until(ask: Callable[[], Awaitable[T]], good: Callable[[T], bool]) -> None:
    """Ask until the answer is good."""
    async with asyncio.timeout(WITHIN_S):
        while True:
            if good(await ask()):
                return
            await asyncio.sleep(0.05)


async def test_a_webhook_is_added_listed_tested_and_removed(alice: AsyncClient) -> None:
    made = await alice.webhooks.add(URL)
    assert made.secret.startswith("whsec_")
    assert made.secret not in repr(made)
    assert (made.webhook.url, made.webhook.state) == (URL, WebhookState.OK)
    assert made.webhook.last_status == ""
    assert await alice.webhooks.list() == (made.webhook,)
    await alice.webhooks.test(made.webhook.webhook_id)
    await until(alice.webhooks.list, lambda found: found[0].state is not WebhookState.OK)
    (found,) = await alice.webhooks.list()
    assert found.state is WebhookState.FAILING
    assert "no public address" in found.last_status
    assert found.failures > 0
    assert found.last_time_ns > 0
    await alice.webhooks.remove(made.webhook.webhook_id)
    assert await alice.webhooks.list() == ()


async def test_an_alert_goes_off_at_the_first_trade_that_reaches_it(
    exchange: InProcessExchange, alice: AsyncClient
) -> None:
    above = await alice.alerts.add(PAPER, AlertCondition.ABOVE, "150 nanos/CU")
    below = await alice.alerts.add(PAPER, AlertCondition.BELOW, 50)
    assert (above.price_nanos, above.condition, above.state, above.webhook_id) == (
        150, AlertCondition.ABOVE, AlertState.ARMED, 0,
    )  # fmt: skip
    assert await alice.alerts.list() == (above, below)
    async with AsyncClient(exchange.address, await exchange.trader("bob")) as bob:
        await bob.orders.place(PAPER, Side.ASK, 160, 1)
        await alice.orders.place(PAPER, Side.BID, 160, 1)
    await until(alice.alerts.list, lambda found: found[0].state is not AlertState.ARMED)
    found = await alice.alerts.list()
    went_off: Alert = found[0]
    assert (went_off.state, went_off.trade_price_nanos) == (AlertState.TRIGGERED, 160)
    assert went_off.trade_sequence > 0
    assert went_off.trade_time_ns >= went_off.create_time_ns > 0
    assert found[1] == below
    for alert in found:
        await alice.alerts.remove(alert.alert_id)
    assert await alice.alerts.list() == ()


async def test_a_removed_webhook_takes_its_alerts_along(alice: AsyncClient) -> None:
    made = await alice.webhooks.add(URL)
    number = made.webhook.webhook_id
    alert = await alice.alerts.add(PAPER, AlertCondition.BELOW, 1, webhook_id=number)
    assert alert.webhook_id == number
    await alice.webhooks.remove(number)
    assert await alice.alerts.list() == ()


async def test_what_cannot_be_is_refused_by_its_kind(
    exchange: InProcessExchange, alice: AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    above = AlertCondition.ABOVE
    with pytest.raises(InvalidRequest, match="url must begin with https"):
        await alice.webhooks.add("http://example.org/")
    with pytest.raises(NotFound, match="UNKNOWN_WEBHOOK"):
        await alice.webhooks.remove(2**64 - 1)
    with pytest.raises(NotFound, match="UNKNOWN_WEBHOOK"):
        await alice.webhooks.test(99)
    with pytest.raises(NotFound, match="UNKNOWN_ALERT"):
        await alice.alerts.remove(2**63)
    with pytest.raises(NotFound, match="UNKNOWN_INSTRUMENT"):
        await alice.alerts.add("nowhere", above, 1)
    with pytest.raises(NotFound, match="UNKNOWN_WEBHOOK"):
        await alice.alerts.add(PAPER, above, 1, webhook_id=2**63)
    with pytest.raises(InvalidRequest, match="price_nanos"):
        await alice.alerts.add(PAPER, above, 10**9 + 1)
    with pytest.raises(InvalidRequest, match="condition must be one of ABOVE, BELOW"):
        await alice.alerts.add(PAPER, AlertCondition.UNSPECIFIED, 1)
    with pytest.raises(InvalidRequest, match="condition"):
        await alice.alerts.add(PAPER, 77, 1)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="finer than"):
        await alice.alerts.add(PAPER, above, "0.5 nanos")
    monkeypatch.setattr(store, "ALERTS_PER_ACCOUNT_MAX", 0)
    with pytest.raises(LimitReached, match="EXCHANGE_FULL"):
        await alice.alerts.add(PAPER, above, 1)
    assert await alice.alerts.list() == ()
    assert await alice.webhooks.list() == ()


async def test_who_may_ask(exchange: InProcessExchange) -> None:
    """No key and a key that may only read are refused; every other role is an account's own."""
    async with AsyncClient(exchange.address) as stranger:
        for asking in (stranger.webhooks.list(), stranger.alerts.list()):
            with pytest.raises(Unauthenticated, match="KEY_MISSING"):
                await asking
    async with AsyncClient(exchange.address, await exchange.key("eye", Role.READER)) as reader:
        for answer in (reader.webhooks.list(), reader.alerts.list()):
            with pytest.raises(PermissionDenied, match="ROLE_MISSING"):
                await answer
        removing = reader.webhooks.remove(1), reader.alerts.remove(1)
        for change in (reader.webhooks.test(1), *removing):
            with pytest.raises(PermissionDenied, match="ROLE_MISSING"):
                await change
        with pytest.raises(PermissionDenied, match="ROLE_MISSING"):
            await reader.webhooks.add(URL)
        with pytest.raises(PermissionDenied, match="ROLE_MISSING"):
            await reader.alerts.add(PAPER, AlertCondition.ABOVE, 1)
    for role in (Role.TRADER, Role.WORKER, Role.OPERATOR):
        key = await exchange.key(f"one-{role}", role)
        async with AsyncClient(exchange.address, key) as client:
            assert await client.webhooks.list() == ()


async def test_the_blocking_client_can_do_it_too(exchange: InProcessExchange) -> None:
    key = await exchange.trader("carol")

    def do_it() -> tuple[int, int]:
        with Client(exchange.address, key) as client:
            made = client.webhooks.add(URL)
            number = made.webhook.webhook_id
            alert = client.alerts.add(PAPER, AlertCondition.ABOVE, "5 nanos", webhook_id=number)
            counts = len(client.webhooks.list()), len(client.alerts.list())
            client.webhooks.test(number)
            client.alerts.remove(alert.alert_id)
            client.webhooks.remove(number)
            return counts

    assert await asyncio.to_thread(do_it) == (1, 1)


async def test_an_exchange_without_a_read_model_has_neither(tmp_path: Path) -> None:
    async with InProcessExchange(tmp_path, read_model=False) as exchange:
        key = await exchange.trader("alice")
        async with AsyncClient(exchange.address, key) as client:
            with pytest.raises(NotImplementedYet, match="keeps no read model"):
                await client.webhooks.list()
            with pytest.raises(NotImplementedYet, match="keeps no read model"):
                await client.alerts.list()


async def test_what_would_add_twice_is_not_repeated() -> None:
    class Script:
        def __init__(self) -> None:
            self.calls: list[str] = []

        async def AddWebhook(self, _: pb.AddWebhookRequest, context: Context) -> None:
            self.calls.append("AddWebhook")
            await fail(context)

        async def AddAlert(self, _: pb.AddAlertRequest, context: Context) -> None:
            self.calls.append("AddAlert")
            await fail(context)

        async def TestWebhook(
            self, _: pb.TestWebhookRequest, context: Context
        ) -> pb.TestWebhookResponse:
            self.calls.append("TestWebhook")
            if len(self.calls) < 5:
                await fail(context)
            return pb.TestWebhookResponse()

    script = Script()
    async with connected(script) as client:
        with pytest.raises(Unavailable):
            await client.webhooks.add(URL)
        with pytest.raises(Unavailable):
            await client.alerts.add(PAPER, AlertCondition.ABOVE, 1)
        await client.webhooks.test(1)
    assert script.calls == ["AddWebhook", "AddAlert", *["TestWebhook"] * 3]
