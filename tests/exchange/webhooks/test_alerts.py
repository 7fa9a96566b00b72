"""Price alerts: the first trade at a price or beyond, told once, across restarts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from exchange.readmodel.queries import TradeRow
from exchange.webhooks import store as store_module
from exchange.webhooks.alerts import is_reached
from exchange.webhooks.errors import TooMany
from exchange.webhooks.servicer import ID_MAX
from exchange.webhooks.store import Alert, Store
from tests.exchange.http.market.watching import Crowd
from tests.exchange.http.site import PAPER, Site
from tests.exchange.webhooks.endpoint import (
    Endpoint,
    ask,
    open_endpoint,
    open_exchange,
    register,
)
from tests.waiting import WITHIN_S

ABOVE, BELOW = "ALERT_CONDITION_ABOVE", "ALERT_CONDITION_BELOW"
ARMED, TRIGGERED = "ALERT_STATE_ARMED", "ALERT_STATE_TRIGGERED"


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    async with open_exchange(tmp_path) as found:
        yield found


@pytest.fixture
async def endpoint() -> AsyncIterator[Endpoint]:
    async with open_endpoint() as found:
        yield found


async def add(site: Site, condition: str, price: int, **more: Any) -> dict[str, Any]:
    said = {"instrument": PAPER, "condition": condition, "price_nanos": price, **more}
    made: dict[str, Any] = (await ask(site, "POST", "/v1/alerts", 200, **said))["alert"]
    return made


async def states(site: Site) -> dict[str, str]:
    found = (await ask(site, "GET", "/v1/alerts", 200))["alerts"]
    return {alert["alert_id"]: alert["state"] for alert in found}


async def until(site: Site, wanted: dict[str, str]) -> None:
    async with asyncio.timeout(WITHIN_S):
        while True:
            if await states(site) == wanted:
                return
            await asyncio.sleep(0.05)


async def test_an_alert_is_told_of_the_first_trade_at_its_price_or_beyond(
    site: Site, endpoint: Endpoint
) -> None:
    crowd = Crowd(site, 1)
    await crowd.enter()
    await crowd.trade(2_000)
    made = await register(site, endpoint)
    above = await add(site, ABOVE, 1_500, webhook_id=made["webhook_id"])
    below = await add(site, BELOW, 500, webhook_id=made["webhook_id"])
    # The trade before it sets nothing off, nor does one in between.
    await crowd.trade(1_000)
    await crowd.trade(1_500)
    (event,) = await endpoint.wait(1)
    assert (event["type"], event["id"]) == ("flopex.alert.triggered", f"alert-{above['alert_id']}")
    data = event["data"]
    assert (data["instrument"], data["condition"], data["trade_price_nanos"]) == (
        PAPER, ABOVE, "1500",
    )  # fmt: skip
    await until(site, {above["alert_id"]: TRIGGERED, below["alert_id"]: ARMED})
    # It goes off once.
    await crowd.trade(1_600)
    await crowd.trade(499)
    assert (await endpoint.wait(2))[1]["data"]["trade_price_nanos"] == "499"


async def test_an_alert_without_a_webhook_is_looked_at(site: Site) -> None:
    crowd = Crowd(site, 1)
    await crowd.enter()
    made = await add(site, BELOW, 1_000)
    await crowd.trade(1_000)
    await until(site, {made["alert_id"]: TRIGGERED})
    assert await ask(site, "DELETE", f"/v1/alerts/{made['alert_id']}", 200) == {}
    assert await states(site) == {}


async def test_trades_while_nobody_looks_are_compared_after_it(
    tmp_path: Path, endpoint: Endpoint
) -> None:
    async with open_exchange(tmp_path) as site:
        buyer = site.buyer
        crowd = Crowd(site, 1)
        await crowd.enter()
        made = await register(site, endpoint)
        await add(site, ABOVE, 1_500, webhook_id=made["webhook_id"])
        await site.exchange.server._webhooks._helper.stop()  # type: ignore[union-attr]
        await crowd.trade(1_600)
        await crowd.trade(1_000)
    async with open_exchange(tmp_path, buyer):
        (event,) = await endpoint.wait(1)
        assert event["data"]["trade_price_nanos"] == "1600"


async def test_what_cannot_be_is_refused_by_name(site: Site, endpoint: Endpoint) -> None:
    right: dict[str, Any] = {"instrument": PAPER, "condition": ABOVE, "price_nanos": 1}
    for wrong, status, code in (
        ({"instrument": "no/such/thing"}, 404, "UNKNOWN_INSTRUMENT"),
        ({"condition": "near"}, 400, "FIELD_INVALID"),
        ({"condition": "ALERT_CONDITION_UNSPECIFIED"}, 400, "FIELD_INVALID"),
        ({"price_nanos": 0}, 400, "FIELD_INVALID"),
        ({"price_nanos": "1.5"}, 400, "FIELD_INVALID"),
        ({"price_nanos": 10**10}, 400, "FIELD_INVALID"),
        ({"price_nanos": 10**30}, 400, "FIELD_INVALID"),
        ({"price_nanos": True}, 400, "FIELD_INVALID"),
        ({"webhook_id": "17"}, 404, "UNKNOWN_WEBHOOK"),
        ({"webhook_id": ID_MAX + 1}, 404, "UNKNOWN_WEBHOOK"),
        ({"more": 1}, 400, "FIELD_UNKNOWN"),
    ):
        found = await ask(site, "POST", "/v1/alerts", status, **(right | wrong))
        assert found["error"]["code"] == code, wrong
    made = await register(site, endpoint)
    other = await site.exchange.trader("other")
    said = right | {"webhook_id": made["webhook_id"]}
    assert (await ask(site, "POST", "/v1/alerts", 404, other, **said))["error"]["code"] == (
        "UNKNOWN_WEBHOOK"
    )
    await add(site, ABOVE, 1, webhook_id=made["webhook_id"])
    await ask(site, "DELETE", f"/v1/webhooks/{made['webhook_id']}", 200)
    assert await states(site) == {}


def test_alerts_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_module, "ALERTS_PER_ACCOUNT_MAX", 2)
    monkeypatch.setattr(store_module, "ALERTS_MAX", 3)
    store = Store(tmp_path / "webhooks.sqlite3")
    for account_id in (1, 1, 2):
        store.add_alert(account_id, 0, (1, "x"), True, 5, 1, 1)
    for account_id in (1, 3):
        with pytest.raises(TooMany):
            store.add_alert(account_id, 0, (1, "x"), True, 5, 1, 1)
    assert len(store.armed()) == 3
    store.close()


def test_two_processes_see_what_the_other_changed(tmp_path: Path) -> None:
    path = tmp_path / "webhooks.sqlite3"
    one, two = Store(path), Store(path)
    before = two.version
    made = one.add_webhook(1, "https://example.org/", "whsec_x", 5, 7)
    assert two.version != before
    assert two.webhooks() == [made]
    two.move(made.webhook_id, 9, 4)
    assert one.webhooks(1) == [made._replace(sequence=9, job_id=4)]
    assert path.stat().st_mode & 0o077 == 0
    one.close()
    two.close()


@pytest.mark.parametrize(
    ("above", "sequence", "price", "reached"),
    [
        (1, 11, 100, True),
        (1, 11, 101, True),
        (1, 11, 99, False),
        (0, 11, 100, True),
        (0, 11, 99, True),
        (0, 11, 101, False),
        (1, 10, 100, False),
        (1, 9, 100, False),
    ],
)
def test_when_an_alert_is_reached(above: int, sequence: int, price: int, reached: bool) -> None:
    alert = Alert(1, 1, 0, 1, "x", above, 100, 0, 10, 0, 0, 0, 0)
    trade = TradeRow(1, 1, 1, price, 1, 0, 1, sequence)
    assert is_reached(alert, trade) is reached
