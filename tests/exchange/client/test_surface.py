"""What users see: one list of names, two clients that agree, every method of the API."""

from __future__ import annotations

import inspect
import re
from dataclasses import fields
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import exchange.client
from exchange.client import AsyncClient, AsyncOrderStream, Client, OrderStream, enums
from exchange.v1 import (
    account_service_pb2,
    admin_service_pb2,
    job_service_pb2,
    market_data_service_pb2,
    market_pb2,
    order_service_pb2,
    webhook_service_pb2,
    worker_service_pb2,
)

SERVICES: tuple[ModuleType, ...] = (
    account_service_pb2,
    admin_service_pb2,
    job_service_pb2,
    market_data_service_pb2,
    order_service_pb2,
    webhook_service_pb2,
    worker_service_pb2,
)
PARTS = ("jobs", "orders", "market", "account", "admin", "workers", "webhooks", "alerts")
# Spoken by the package `worker`, over a channel of this client.
NOT_OURS = {"Session"}
# Fields that have another name here, or that an answer's index replaces.
RENAMED = {"cause": "stop_cause", "index": None}


def public(thing: object) -> dict[str, Any]:
    return {n: getattr(thing, n) for n in dir(thing) if not n.startswith("_")}


def test_all_names_everything_that_is_visible() -> None:
    seen = {
        name
        for name, value in vars(exchange.client).items()
        if not name.startswith("_") and not isinstance(value, ModuleType)
    }
    assert set(exchange.client.__all__) == seen
    assert list(exchange.client.__all__) == sorted(exchange.client.__all__)


def test_every_visible_thing_is_documented() -> None:
    for name in exchange.client.__all__:
        value = getattr(exchange.client, name)
        if inspect.isclass(value) or inspect.isfunction(value):
            assert value.__doc__, name
            assert not value.__doc__.startswith(f"{name}("), f"{name} has dataclass's own docstring"


async def test_both_clients_have_the_same_parts_and_methods() -> None:
    asynchronous = AsyncClient("127.0.0.1:1", "k")
    with Client("127.0.0.1:1", "k") as blocking:
        pairs = [(getattr(asynchronous, p), getattr(blocking, p)) for p in PARTS]
    for ours, theirs in pairs:
        assert public(ours).keys() == public(theirs).keys()
        for name, method in public(ours).items():
            given = dict(inspect.signature(method).parameters)
            taken = dict(inspect.signature(getattr(theirs, name)).parameters)
            assert given == taken, name
            assert getattr(theirs, name).__doc__
    # A blocking client needs no channel of one's own loop.
    assert public(AsyncClient).keys() - public(Client).keys() == {"channel"}
    await asynchronous.close()


def test_both_order_streams_have_the_same_methods() -> None:
    # Opening is `orders.stream()`'s affair.
    assert public(AsyncOrderStream).keys() - {"start"} == public(OrderStream).keys()
    for name in ("place", "place_legs", "cancel", "cancel_all", "replace"):
        parameters = [
            inspect.signature(getattr(c, name)).parameters for c in (AsyncOrderStream, OrderStream)
        ]
        assert parameters[0] == parameters[1]


def test_every_method_of_the_api_is_called() -> None:
    folder = Path(exchange.client.__file__).parent
    text = "".join(path.read_text() for path in folder.glob("*.py"))
    methods = {
        m.name for s in SERVICES for d in s.DESCRIPTOR.services_by_name.values() for m in d.methods
    }
    called = set(re.findall(r"\.([A-Z]\w+)\b", text))
    assert methods - called == NOT_OURS


@pytest.mark.parametrize(
    "kind",
    [k for k in vars(enums).values() if inspect.isclass(k) and k.__module__ == enums.__name__],
)
def test_enums_are_those_of_the_api(kind: type[enums.OpenEnum]) -> None:
    if kind is enums.OpenEnum:
        return
    (theirs,) = [
        d
        for m in (*SERVICES, market_pb2)
        if (d := m.DESCRIPTOR.enum_types_by_name.get(kind.__name__))
    ]
    prefix = re.sub(r"(?<!^)(?=[A-Z])", "_", kind.__name__).upper() + "_"
    assert {m.name: m.value for m in kind} == {
        v.name.removeprefix(prefix): v.number for v in theirs.values
    }
    assert kind(10_000) is kind(0)
    with pytest.raises(ValueError, match="-1"):
        kind(-1)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ("Account", account_service_pb2.Account),
        ("AccountLimits", account_service_pb2.AccountLimits),
        ("Position", account_service_pb2.Position),
        ("LedgerEntry", account_service_pb2.LedgerEntry),
        ("Receipt", account_service_pb2.StoredReceipt),
        ("Key", account_service_pb2.Key),
        ("NewKey", admin_service_pb2.CreateKeyResponse),
        ("Model", admin_service_pb2.CreateModelResponse),
        ("Invariants", admin_service_pb2.GetInvariantsResponse),
        ("Job", job_service_pb2.Job),
        ("Output", job_service_pb2.OutputChunk),
        ("Message", job_service_pb2.ChatMessage),
        ("Instrument", market_pb2.Instrument),
        ("Protections", market_pb2.Protections),
        ("Book", market_pb2.Book),
        ("IndicativeAuction", market_pb2.IndicativeAuction),
        ("BestPrices", market_data_service_pb2.WatchBestPricesResponse),
        ("Level", market_pb2.Level),
        ("BookOrder", market_data_service_pb2.BookOrder),
        ("BookEvent", market_data_service_pb2.BookEvent),
        ("Trade", market_pb2.Trade),
        ("Candle", market_data_service_pb2.Candle),
        ("PastBestPrices", market_data_service_pb2.PastBestPrices),
        ("HourlyIndex", market_data_service_pb2.HourlyIndex),
        ("Order", order_service_pb2.Order),
        ("PastOrder", order_service_pb2.PastOrder),
        ("Conditions", order_service_pb2.OrderConditions),
        ("Leg", order_service_pb2.OrderLeg),
        ("Report", order_service_pb2.ExecutionReport),
        ("Webhook", webhook_service_pb2.Webhook),
        ("NewWebhook", webhook_service_pb2.AddWebhookResponse),
        ("Alert", webhook_service_pb2.Alert),
        ("Worker", worker_service_pb2.Worker),
        ("Quote", worker_service_pb2.Quote),
        ("OrderExplanation", market_data_service_pb2.ExplainOrderResponse),
        ("JobExplanation", job_service_pb2.ExplainJobResponse),
        ("JobOption", job_service_pb2.JobOption),
        ("JobAttempt", job_service_pb2.JobAttempt),
        ("PriceAlternative", job_service_pb2.PriceAlternative),
        ("WorkerExplanation", worker_service_pb2.ExplainWorkerResponse),
        ("QuoteStanding", worker_service_pb2.QuoteStanding),
    ],
)
def test_results_have_every_field_of_the_api(ours: str, theirs: Any) -> None:
    found = {f.name for f in fields(getattr(exchange.client, ours))}
    names = [f.name for f in theirs.DESCRIPTOR.fields]
    wanted = {n for n in (RENAMED.get(n, n) for n in names) if n}
    assert wanted <= found


def test_the_guide_names_what_exists() -> None:
    guide = Path(__file__).resolve().parents[3] / "docs" / "guides" / "python-sdk.md"
    text = guide.read_text()
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert len(blocks) >= 3
    for block in blocks:
        compile(block, str(guide), "exec")
        for names in re.findall(r"from exchange\.client import (.*)", block):
            assert set(names.split(", ")) <= set(exchange.client.__all__)
    with Client("127.0.0.1:1", "k") as client:
        for part, methods in re.findall(r"^\| `client\.(\w+)` \| (`.*`) \|$", text, re.MULTILINE):
            found = set(re.findall(r"`(\w+)`", methods))
            assert found == public(getattr(client, part)).keys()
