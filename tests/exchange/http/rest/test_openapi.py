"""The OpenAPI document: fresh, valid, complete, and true of what is served."""

from __future__ import annotations

import asyncio
import copy
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from exchange.core.commands import Deposit, Role
from exchange.http.rest import openapi
from exchange.http.rest.comments import read_comments
from exchange.http.rest.requests import fresh_id
from exchange.http.rest.table import ROUTES
from tests.exchange.http.rest.desk import BATCH, Desk, open_desk
from tests.exchange.http.site import PAPER
from tests.waiting import WITHIN_S

ROOT = Path(__file__).parents[4]
COMMITTED = ROOT / "exchange/http/rest/openapi.json"
DOCUMENT: dict[str, Any] = json.loads(COMMITTED.read_text())
PAPER_TO_HALT = "paper/halt"


def operations() -> Iterator[tuple[str, str, Any]]:
    for path, verbs in DOCUMENT["paths"].items():
        for verb, operation in verbs.items():
            yield verb.upper(), path, operation


# ---- the document ----


def test_the_committed_document_is_what_make_openapi_writes() -> None:
    made = openapi.document(ROOT / "proto/exchange/v1")
    assert json.loads(json.dumps(made)) == DOCUMENT, "run make openapi"
    assert list(made["components"]["schemas"]) == list(DOCUMENT["components"]["schemas"])


def test_it_is_valid_openapi() -> None:
    OpenAPIV31SpecValidator(DOCUMENT).validate()


def test_every_route_is_in_it_once() -> None:
    found = [(verb, path) for verb, path, _ in operations()]
    assert {(route.verb, route.path) for route in ROUTES} <= set(found)
    names = [operation["operationId"] for _, _, operation in operations()]
    assert len(set(names)) == len(names)


def test_everything_is_described_in_words() -> None:
    def look(schema: Any, where: str) -> None:
        if isinstance(schema, dict):
            for name, part in schema.get("properties", {}).items():
                assert part.get("description") or where.startswith("Error"), f"{where}.{name}"
                look(part, f"{where}.{name}")

    for name, schema in DOCUMENT["components"]["schemas"].items():
        assert schema["description"], name
        look(schema, name)
    for verb, path, operation in operations():
        assert operation["summary"], (verb, path)
        assert all(
            p.get("description") or p["name"] == "model" for p in operation.get("parameters", ())
        )


def test_every_refusal_is_an_error_of_one_form() -> None:
    for response in DOCUMENT["components"]["responses"].values():
        content = response["content"]["application/json"]["schema"]
        assert content == {"$ref": "#/components/schemas/Error"}


def test_comments_are_read_whole_and_by_name() -> None:
    found = read_comments(
        [
            "// Its kind.\nenum Kind {\n  // None,\n  // or not given.\n  KIND_UNSPECIFIED = 0;\n}",
            "// Nothing.\nmessage Nothing {}\n",
            "// One.\nmessage One {\n  // Or.\n  oneof w {\n    // A.\n    uint32 a = 1;\n  }\n}",
            "// Two.\nmessage Two {\n  // B.\n  map<string, string> b = 2;\n}",
            "// Three.\nmessage Three {\n  // C.\n  repeated Kind c = 3;\n}",
            "// S.\nservice S {\n  // Does.\n  rpc Do(Nothing) returns (stream One);\n}\n",
        ]
    )
    assert found == {
        "exchange.v1.Kind": "Its kind.",
        "exchange.v1.Kind.KIND_UNSPECIFIED": "None, or not given.",
        "exchange.v1.Nothing": "Nothing.",
        "exchange.v1.One": "One.",
        "exchange.v1.One.w": "Or.",
        "exchange.v1.One.a": "A.",
        "exchange.v1.Two": "Two.",
        "exchange.v1.Two.b": "B.",
        "exchange.v1.Three": "Three.",
        "exchange.v1.Three.c": "C.",
        "exchange.v1.S": "S.",
        "exchange.v1.S.Do": "Does.",
    }


# ---- what is served, against it ----


class Running:
    """An exchange in a thread of its own, for a client that blocks."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        self._started = threading.Event()
        self._thread = threading.Thread(target=self._loop.run_until_complete, args=(self._run(),))
        self.url = self.key = ""
        self.job_id = self.order_id = self.paper_id = 0

    async def _run(self) -> None:
        async with open_desk(self._directory) as desk:
            exchange = desk.site.exchange
            self.url = desk.site.url
            self.key = desk.keys["all"] = await self._key_of_all_roles(desk)
            await exchange.paper_instrument(PAPER_TO_HALT)
            self.paper_id = desk.site.paper_id
            await self._fill(desk)
            self._core = exchange.core
            self._started.set()
            await self._stop.wait()

    async def _fill(self, desk: Desk) -> None:
        """A job that waits, and an order that rests."""
        job = {
            "model": "instant",
            "input": {"prompt": "one", "output_tokens_max": 1},
            "limit_nanos": 1,
            "deadline_ns": 3_600 * 10**9,
        }
        self.job_id = (await desk.ask("POST", "/v1/jobs", job, who="all"))["job"]["job_id"]
        order = {"side": "SIDE_BID", "price_nanos": 5, "quantity_mflop": 9}
        order |= {"instrument_id": self.paper_id}
        made = await desk.ask("POST", "/v1/orders", {"order": order}, who="paper")
        self.order_id = int(made["reports"][0]["order_id"])

    def healthy(self) -> bool:
        """Whether every invariant of the state holds."""
        checked = asyncio.run_coroutine_threadsafe(self._check(), self._loop)
        return checked.result(WITHIN_S) == 0

    async def _check(self) -> int:
        self._core.check()
        return self._core.imbalance_nanos()

    async def _key_of_all_roles(self, desk: Desk) -> str:
        exchange = desk.site.exchange
        roles = Role.TRADER | Role.WORKER | Role.OPERATOR | Role.READER
        key = await exchange.key("all-roles", roles)
        account_id = exchange.core.account_by_name["all-roles"]
        await exchange.submit(Deposit(account_id, exchange.id(), 10**12))
        return key

    def start(self) -> None:
        self._thread.start()
        assert self._started.wait(WITHIN_S), "the exchange did not start"

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(WITHIN_S)
        assert not self._thread.is_alive(), "the exchange did not stop"
        self._loop.close()


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    found = Running(tmp_path_factory.mktemp("exchange"))
    found.start()
    yield found
    found.stop()


SEED = 1
EXAMPLES = 6
"""Of each operation, with real names."""
ACCOUNT, OTHER_ACCOUNT = "all-roles", "hidden-buyer"


def with_real_names(running: Running) -> dict[str, Any]:
    """The document, narrowed to what exists here: else most requests would end at a wrong name."""
    known: dict[str, list[Any]] = {
        "instrument": [PAPER, BATCH],
        "instrument_id": [running.paper_id, 0, 77],
        "account": [OTHER_ACCOUNT],
        "model": ["instant"],
        "tier": ["interactive"],
        "job_id": [running.job_id, 77],
        "order_id": [running.order_id, 77],
        "worker_id": [1, 77],
        "lease_id": [1, 77],
        # A name that leads to no public address: nothing is ever called.
        "url": ["https://localhost:1/hook", "http://localhost:1/"],
        "webhook_id": [1, 77, 0],
        "alert_id": [1, 77],
        "price_nanos": [1, 500, 10**10, -1],
        "quantity_mflop": [1, 1000, 10**16, 0],
        "client_job_id": [str(fresh_id()), "AAAA"],
        "client_order_id": [str(fresh_id()), "AAAA"],
        "request_id": [str(fresh_id()), "AAAA"],
    }

    def narrow(name: str, schema: Any) -> None:
        if name in known and "$ref" not in schema:
            schema.pop("anyOf", None)
            schema["enum"] = known[name]

    found = copy.deepcopy(DOCUMENT)
    for verbs in found["paths"].values():
        for operation in verbs.values():
            for parameter in operation.get("parameters", ()):
                narrow(parameter["name"], parameter["schema"])
    for name, schema in found["components"]["schemas"].items():
        if schema.get("additionalProperties") is False:
            for field, part in schema["properties"].items():
                narrow(field, part)
            if name == "SetInstrumentStateRequest":
                # A halt would end what the others do there.
                schema["properties"]["instrument"]["enum"] = [PAPER_TO_HALT]
    return found


@pytest.mark.parametrize("narrowed", [False, True], ids=["as-described", "with-real-names"])
def test_what_is_served_is_what_is_described(
    running: Running, tmp_path: Path, narrowed: bool
) -> None:
    document = with_real_names(running) if narrowed else DOCUMENT
    (tmp_path / "openapi.json").write_text(json.dumps(document))
    done = subprocess.run(
        [
            *(sys.executable, "-m", "schemathesis.cli", "run", "openapi.json"),
            *("--url", running.url, "-H", f"Authorization: Bearer {running.key}"),
            # First what covers every keyword of every schema, then what gets further.
            *("--phases", "fuzzing" if narrowed else "coverage"),
            *("--max-examples", str(EXAMPLES)),
            *("--seed", str(SEED), "--no-color", "--warnings", "off"),
            # What fits its schema may still name nothing, or be refused by the exchange's rules.
            *("--exclude-checks", "positive_data_acceptance"),
            # Streams of events have no end, and what is told in outline has tests of its own.
            *("--exclude-path-regex", "/events$", "--exclude-tag", "OpenAI"),
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=4 * WITHIN_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert running.healthy(), "an invariant does not hold"
