"""The AsyncAPI document: whole, true of what is said, its examples understood."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from exchange.http.market import outbox
from exchange.http.market.asyncapi import EXAMPLES, INSTRUMENT, PATH, document
from exchange.http.market.channels import CHANNELS
from matching.types import Side
from tests.exchange.http.market.watching import PATH as SOCKET_PATH
from tests.exchange.http.market.watching import Crowd
from tests.exchange.http.site import PAPER, Site, open_site
from tests.waiting import WITHIN_S

DOCUMENT = document()


def resolve(reference: str) -> Any:
    found: Any = DOCUMENT
    for step in reference.removeprefix("#/").split("/"):
        found = found[step]
    return found


def references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for name, inner in value.items():
            if name == "$ref":
                yield inner
            yield from references(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from references(inner)


def validator(message: str) -> Draft202012Validator:
    payload = DOCUMENT["components"]["messages"][message]["payload"]
    return Draft202012Validator({**payload, "components": DOCUMENT["components"]})


def message_of(said: dict[str, Any]) -> str:
    """The name that the document has for a message of the exchange."""
    if "id" in said:
        return "result" if "result" in said else "refusal"
    return "ending" if "error" in said else str(said["channel"])


def test_every_reference_leads_somewhere_and_every_schema_is_one() -> None:
    found = set(references(DOCUMENT))
    assert len(found) > 20
    for reference in found:
        resolve(reference)
    for schema in DOCUMENT["components"]["schemas"].values():
        Draft202012Validator.check_schema(schema)


def test_each_message_is_said_or_told() -> None:
    operations = DOCUMENT["operations"].values()
    used = [reference["$ref"] for found in operations for reference in found["messages"]]
    names = DOCUMENT["channels"]["market"]["messages"]
    assert sorted(used) == sorted(f"#/channels/market/messages/{name}" for name in names)
    assert DOCUMENT["channels"]["market"]["address"] == SOCKET_PATH


@pytest.mark.parametrize("name", EXAMPLES)
def test_examples_are_what_their_schema_says(name: str) -> None:
    for example in EXAMPLES[name][1]:
        validator(name).validate(example)
        assert not validator(name).is_valid(example | {"more": 1})


async def test_the_exchange_understands_the_examples_and_says_what_the_document_tells(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_site(tmp_path) as site:
        async with site.http.get(PATH) as response:
            served = await response.json()
        assert served["servers"]["exchange"]["host"] == site.exchange.http_address
        assert served | {"servers": DOCUMENT["servers"]} == DOCUMENT
        told = await replay(site, monkeypatch)
    assert {message_of(said) for said in told} == {
        "result", "refusal", "book", "best", "trades", "orders", "ending",
    }  # fmt: skip


async def replay(site: Site, patch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """All that is told where the examples are said, each message checked."""
    told: list[dict[str, Any]] = []
    crowd = Crowd(site, 1)
    await crowd.enter()
    async with site.http.ws_connect(SOCKET_PATH) as socket:

        async def read() -> dict[str, Any]:
            said: dict[str, Any] = await socket.receive_json(timeout=WITHIN_S)
            validator(message_of(said)).validate(said)
            told.append(said)
            return said

        (unsubscribe,) = EXAMPLES["unsubscribe"][1]
        for example in (*EXAMPLES["auth"][1], *EXAMPLES["ping"][1], unsubscribe):
            said = dict(example)
            if "key" in said:
                said["key"] = site.buyer
            await socket.send_json(said)
            assert (await read())["id"] == said["id"]
        for example in EXAMPLES["subscribe"][1]:
            assert example["instrument"] == INSTRUMENT
            await socket.send_json(example | {"instrument": PAPER})
            assert "result" in await read()
            assert "data" in await read()
        await site.order(Side.BID, 90, 7)
        await crowd.trade()
        while min(Counter(map(message_of, told))[channel] for channel in CHANNELS) < 2:
            await read()
        patch.setattr(outbox, "UNREAD_MAX", 0)
        await crowd.trade()
        while message_of(await read()) != "ending":
            pass
    return told
