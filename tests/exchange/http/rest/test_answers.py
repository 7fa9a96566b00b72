"""REST against a real exchange: every kind of route, and what is refused."""

from __future__ import annotations

import base64
import io
import json
import re
from typing import Any

import pytest

from exchange.http.rest import streams
from exchange.http.rest.messages import ITEMS_MAX
from exchange.http.rest.requests import fresh_id
from exchange.http.rest.table import ROUTES
from exchange.testing.fake_worker import FakeWorker
from tests.exchange.http.rest.desk import BATCH, Desk
from tests.exchange.http.site import PAPER, eventually

pytestmark = pytest.mark.asyncio(loop_scope="module")

JOB = {
    "model": "instant",
    "input": {"prompt": "one two", "output_tokens_max": 16},
    "quantity_mflop": "1000",
    "value_nanos": 10_000,
    "deadline_ns": "60000000000",
}


def limit(desk: Desk, side: str, price: int, quantity: int = 5) -> dict[str, Any]:
    order = {"side": side, "price_nanos": price, "quantity_mflop": quantity}
    return {"order": order | {"instrument_id": desk.site.paper_id}}


async def place(desk: Desk, side: str, price: int, who: str = "paper") -> str:
    found = await desk.ask("POST", "/v1/orders", limit(desk, side, price), who=who)
    return str(found["reports"][0]["order_id"])


# ---- jobs ----


async def test_a_job_from_its_bid_to_its_receipt(desk: Desk, worker: FakeWorker) -> None:
    key = str(fresh_id())
    headers = {"Idempotency-Key": key}
    made = await desk.ask("POST", "/v1/jobs", JOB, headers=headers)
    job = made["job"]
    assert base64.b64decode(job["client_job_id"]).hex() == key.replace("-", "")
    assert (job["model"], job["value_nanos"], made["repeated_request"]) == (
        "instant",
        "10000",
        False,
    )
    again = await desk.ask("POST", "/v1/jobs", JOB, headers=headers)
    assert (again["job"]["job_id"], again["repeated_request"]) == (job["job_id"], True)
    await worker.run(await worker.offer(), "three", " four")
    path = f"/v1/jobs/{job['job_id']}"
    events = await events_of(desk, f"{path}/events")
    assert [next(iter(event)) for event in events] == ["job", "chunk", "chunk", "job"]
    assert events[1]["chunk"]["text"] == "three"
    assert events[-1]["job"]["state"] == "JOB_STATE_SETTLED"
    found = await desk.ask("GET", f"{path}?include_output=true")
    assert await desk.ask("GET", f"/v1/jobs/{key}?include_output=true") == found
    assert (found["output"], found["job"]["state"]) == ("three four", "JOB_STATE_SETTLED")
    receipt = (await desk.ask("GET", f"{path}/receipt"))["receipt"]
    assert (receipt["accepted"], receipt["billed_nanos"]) == (True, found["job"]["paid_nanos"])
    by_lease = await desk.ask("GET", f"/v1/receipts/{receipt['lease_id']}")
    assert by_lease["receipt"] == receipt
    listed = await desk.ask("GET", "/v1/jobs?page_size=1")
    assert listed["jobs"][0]["job_id"] == job["job_id"]


async def test_a_stream_has_no_head(desk: Desk) -> None:
    # Its body would follow where none may, and be taken for the next answer.
    streamed = [r.path for r in ROUTES if r.verb == "GET" and r.method.responses_stream]
    assert streamed
    for path in streamed:
        url = path.replace("{job_id}", "1")
        async with desk.http.head(url, headers=desk.headers("buyer")) as response:
            assert (response.status, response.headers["Allow"]) == (405, "GET")
    async with desk.http.head("/v1/instruments", headers=desk.headers("buyer")) as response:
        assert response.status == 200


async def events_of(desk: Desk, path: str, who: str = "buyer") -> list[Any]:
    """All events of a stream until it ends."""
    async with desk.http.get(path, headers=desk.headers(who)) as response:
        assert response.status == 200
        assert response.content_type == "text/event-stream"
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        text = await response.text()
    assert text.endswith("\n\n")
    return [json.loads(block.partition("data: ")[2]) for block in text[:-2].split("\n\n")]


async def test_a_job_is_cancelled_by_either_verb(desk: Desk) -> None:
    instrument = BATCH
    for verb, tail in (("DELETE", ""), ("POST", "/cancel")):
        body = JOB | {"instrument": instrument, "model": "instant", "limit_nanos": 1}
        body = {k: v for k, v in body.items() if k != "value_nanos"}
        job_id = (await desk.ask("POST", "/v1/jobs", body))["job"]["job_id"]
        ended = await desk.ask(verb, f"/v1/jobs/{job_id}{tail}")
        assert ended["job"]["state"] == "JOB_STATE_CANCELLED"


async def test_an_unknown_job_is_not_found_however_it_is_asked_for(desk: Desk) -> None:
    for tail in ("", "/events"):
        error = await desk.refused("GET", f"/v1/jobs/999999{tail}", status=404)
        assert (error["code"], error["type"]) == ("UNKNOWN_JOB", "invalid_request_error")


# ---- orders ----


async def test_an_order_from_its_entry_to_its_end(desk: Desk) -> None:
    key = str(fresh_id())
    body = limit(desk, "SIDE_BID", 10)
    made = await desk.ask("POST", "/v1/orders", body, who="paper", headers={"Idempotency-Key": key})
    order_id = made["reports"][0]["order_id"]
    assert made["reports"][0]["execution_type"] == "EXECUTION_TYPE_NEW"
    by_id = await desk.ask("GET", f"/v1/orders/{order_id}", who="paper")
    by_key = await desk.ask("GET", f"/v1/orders/{key}", who="paper")
    assert by_id == by_key
    assert (by_id["order"]["side"], by_id["order"]["price_nanos"]) == ("SIDE_BID", "10")
    terms = {"replacement": {"price_nanos": 11, "quantity_mflop": 7}}
    changed = await desk.ask("POST", f"/v1/orders/{order_id}/replace", terms, who="paper")
    assert changed["reports"][0]["price_nanos"] == "11"
    found = await desk.ask("GET", f"/v1/orders?instrument={PAPER}", who="paper")
    assert [order["order_id"] for order in found["orders"]] == [order_id]
    gone = await desk.ask("DELETE", f"/v1/orders/{key}", who="paper")
    assert gone["report"]["state"] == "ORDER_STATE_CANCELED"
    history = await desk.ask("GET", "/v1/orders/history?page_size=1", who="paper")
    assert history["orders"][0]["order_id"] == order_id


async def test_many_orders_are_cancelled_at_once(desk: Desk) -> None:
    for price in (3, 4):
        await place(desk, "SIDE_BID", price)
    await place(desk, "SIDE_ASK", 900)
    bids = {"orders": {"side": "SIDE_BID"}}
    assert (await desk.ask("POST", "/v1/orders/cancel", bids, who="paper"))["cancelled"] == 2
    assert (await desk.ask("POST", "/v1/orders/cancel", who="paper"))["cancelled"] == 1


async def test_a_refused_order_is_a_report(desk: Desk) -> None:
    made = await desk.ask("POST", "/v1/orders", limit(desk, "SIDE_BID", 0), who="paper")
    assert made["reports"][0]["reason"] == "REASON_PRICE_OUT_OF_BAND"


async def test_pages_follow_each_other_by_their_links(desk: Desk) -> None:
    made = [await place(desk, "SIDE_BID", price) for price in (1, 2, 3)]
    seen, path = [], f"/v1/orders?page_size=2&instrument={PAPER}"
    while path:
        async with desk.http.get(path, headers=desk.headers("paper")) as response:
            page = await response.json()
            link = response.headers.get("Link", "")
        seen.append([order["order_id"] for order in page["orders"]])
        matched = re.fullmatch(r'<([^>]+)>; rel="next"', link)
        assert bool(matched) == bool(page["next_page_token"])
        path = matched[1] if matched else ""
    assert seen == [made[:2], made[2:]]
    await desk.ask("POST", "/v1/orders/cancel", who="paper")


# ---- the market ----


async def test_market_data(desk: Desk) -> None:
    names = [i["name"] for i in (await desk.ask("GET", "/v1/instruments"))["instruments"]]
    assert {PAPER, BATCH} <= set(names)
    await place(desk, "SIDE_ASK", 50)
    await place(desk, "SIDE_BID", 50, "other")
    await place(desk, "SIDE_ASK", 60)
    book = (await desk.ask("GET", f"/v1/books?instrument={PAPER}&depth=1"))["book"]
    assert book["asks"] == [{"price_nanos": "60", "quantity": "5", "orders": 1}]
    assert isinstance(book["checksum"], int)
    trades = (await desk.ask("GET", f"/v1/trades?instrument={PAPER}"))["trades"]
    assert trades[0]["price_nanos"] == "50"
    candles = (await desk.ask("GET", f"/v1/candles?instrument={PAPER}&width_s=60"))["candles"]
    assert candles[-1]["close_nanos"] == "50"
    assert (await desk.ask("GET", f"/v1/index?instrument={PAPER}"))["hours"] == []


@pytest.mark.parametrize(
    ("path", "field"),
    [
        (f"/v1/books/events?instrument={PAPER}", "snapshot"),
        (f"/v1/books/orders/events?instrument={PAPER}", "snapshot_end"),
        (f"/v1/prices/events?instrument={PAPER}", "instrument_id"),
        ("/v1/trades/events?recent=1", "trades"),
    ],
)
async def test_streams_of_the_market_begin_with_what_is(desk: Desk, path: str, field: str) -> None:
    async with desk.http.get(path, headers=desk.headers("buyer")) as response:
        line = await response.content.readline()
    assert field in json.loads(line.removeprefix(b"data: "))


# ---- account, workers, operator ----


async def test_the_account(desk: Desk) -> None:
    account = (await desk.ask("GET", "/v1/account"))["account"]
    assert (account["name"], account["paper"]) == ("hidden-buyer", False)
    entries = (await desk.ask("GET", "/v1/ledger"))["entries"]
    assert entries[-1]["kind"] == "ENTRY_KIND_DEPOSIT"
    keys = (await desk.ask("GET", "/v1/keys"))["keys"]
    assert keys[0]["roles"] == ["trader"]
    path = f"/v1/account?account_id={account['account_id']}"
    assert (await desk.ask("GET", path, who="operator"))["account"] == account


async def test_workers(desk: Desk, worker: FakeWorker) -> None:
    (found,) = (await desk.ask("GET", "/v1/workers", who="seller"))["workers"]
    assert (found["name"], found["slots"], found["facts"]) == ("hopper", [2], {"kind": "fake"})
    path = f"/v1/workers/{found['worker_id']}"
    for action, state in (("PAUSE", "PAUSED"), ("RESUME", "READY")):
        body = {"action": f"WORKER_ACTION_{action}"}
        changed = await desk.ask("POST", path, body, who="seller")
        assert changed["worker"]["state"] == f"WORKER_STATE_{state}"
        changed = await desk.ask("POST", path.replace("v1", "v1/admin"), body, who="operator")
        assert changed["worker"]["state"] == f"WORKER_STATE_{state}"


async def test_the_operator_opens_an_account_and_funds_it(desk: Desk) -> None:
    async def do(path: str, body: Any, **more: Any) -> Any:
        return await desk.ask("POST", f"/v1/admin/{path}", body, who="operator", **more)

    made = await do("accounts", {"name": "zoe", "paper": True})
    assert made["account"]["balance_nanos"] == "0"
    amount = {"account": "zoe", "amount_nanos": "500"}
    headers = {"Idempotency-Key": str(fresh_id())}
    for _ in range(2):
        funded = await do("deposits", amount, headers=headers)
        assert funded["account"]["balance_nanos"] == "500"
    taken = await do("withdrawals", amount, headers={"Idempotency-Key": str(fresh_id())})
    assert taken["account"]["balance_nanos"] == "0"
    halted = await do("halts", {"account": "zoe", "halted": True})
    assert halted["account"]["halted"] is True
    messages = {"messages_per_s": 5, "message_burst": 5}
    limited = await do("limits", {"account": "zoe", "messages": messages})
    assert limited["account"]["limits"]["messages"]["messages_per_s"] == 5
    key = await do("keys", {"account": "zoe", "roles": ["trader"], "label": "x"})
    desk.keys["zoe"] = key["secret"]
    await desk.ask("GET", "/v1/account", who="zoe")
    await do("keys/revoke", {"key": key["key_id"]})
    assert (await desk.refused("GET", "/v1/account", who="zoe", status=401))["code"] == (
        "KEY_UNKNOWN"
    )
    names = [
        a["name"] for a in (await desk.ask("GET", "/v1/admin/accounts", who="operator"))["accounts"]
    ]
    assert "zoe" in names
    found = await desk.ask("GET", "/v1/admin/invariants?full=true", who="operator")
    assert (found["failure"], found["ledger_imbalance_nanos"]) == ("", "0")


async def test_the_operator_makes_and_guards_an_instrument(desk: Desk) -> None:
    terms = {
        "name": "paper/more",
        "settlement": "SETTLEMENT_PAPER",
        "clearing_mode": "CLEARING_MODE_CONTINUOUS",
        "tick_nanos": "1",
        "lot_mflop": 1,
        "price_min_nanos": 1,
        "price_max_nanos": 1000,
        "quantity_max_mflop": 1000,
    }
    path = "/v1/admin/instruments"
    made = await desk.ask("POST", path, {"instrument": terms}, who="operator")
    assert made["instrument"]["state"] == "TRADING_STATE_OPEN"
    body: dict[str, Any] = {"instrument": "paper/more", "state": "TRADING_STATE_HALTED"}
    halted = await desk.ask("POST", f"{path}/state", body, who="operator")
    assert halted["instrument"]["state"] == "TRADING_STATE_HALTED"
    body = {"instrument": "paper/more", "protections": {"book_orders_max": 100}}
    guarded = await desk.ask("POST", "/v1/admin/protections", body, who="operator")
    assert guarded["instrument"]["protections"]["book_orders_max"] == 100


async def test_the_ledger_is_exported_a_line_an_entry(desk: Desk) -> None:
    async with desk.http.get("/v1/admin/export", headers=desk.headers("operator")) as response:
        assert response.content_type == "application/x-ndjson"
        entries = [json.loads(line) for line in (await response.text()).splitlines()]
    assert {"sequence", "kind", "debit_account_id", "amount_nanos"} <= set(entries[0])
    assert len(entries) > 3
    error = await desk.refused("GET", "/v1/admin/export", status=403)
    assert error["code"] == "ROLE_MISSING"


# ---- what is refused ----


@pytest.mark.parametrize(
    ("verb", "path", "body", "param", "says"),
    [
        ("POST", "/v1/jobs", JOB | {"temperature": 1}, "temperature", "no field 'temperature'"),
        ("POST", "/v1/jobs", JOB | {"input": {"seeds": 1}}, "input.seeds", "no field"),
        ("POST", "/v1/jobs", JOB | {"legs": [{"limit": 1}]}, "legs[0].limit", "no field"),
        ("POST", "/v1/jobs", JOB | {"legs": {}}, "legs", "must be a list"),
        ("POST", "/v1/jobs", JOB | {"legs": [{}] * (ITEMS_MAX + 1)}, "legs", "at most 10000"),
        ("POST", "/v1/jobs", JOB | {"input": "hello"}, "input", "must be a JSON object"),
        ("POST", "/v1/jobs", JOB | {"model": None}, "model", "must be a string"),
        ("POST", "/v1/jobs", JOB | {"deadline_ns": "1.5"}, "deadline_ns", "an integer"),
        ("POST", "/v1/jobs", JOB | {"deadline_ns": True}, "deadline_ns", "an integer"),
        ("POST", "/v1/jobs", JOB | {"deadline_ns": 2**63}, "deadline_ns", "between"),
        ("POST", "/v1/jobs", JOB | {"client_job_id": "?"}, "client_job_id", "base64"),
        ("POST", "/v1/jobs", JOB | {"model": "\ud800"}, "model", "surrogate"),
        ("POST", "/v1/jobs", JOB | {"\ud800": 1}, "\\ud800", "no field"),
        ("POST", "/v1/orders", {"order": {"side": "\ud800"}}, "order.side", "one of"),
        ("POST", "/v1/jobs", JOB | {"input": {"seed": -1}}, "input.seed", "between 0"),
        ("POST", "/v1/jobs", [], "body", "must be a JSON object"),
        ("POST", "/v1/jobs?tier=x", JOB, "tier", "belongs into the body"),
        ("POST", "/v1/orders", {"order": {"side": "BUY"}}, "order.side", "SIDE_BID"),
        ("POST", "/v1/orders", {"order": {"side": 1}}, "order.side", "SIDE_BID"),
        ("POST", "/v1/jobs/7/cancel", {"job_id": 8}, "job_id", "the path names already"),
        ("POST", "/v1/jobs/7/cancel", {"job_id": 0}, "job_id", "the path names already"),
        ("GET", "/v1/jobs/7/receipt?lease_id=3", None, "lease_id", "the path names already"),
        ("GET", "/v1/workers/7/why?name=x", None, "name", "the path names already"),
        ("POST", "/v1/workers/7", {"name": "x"}, "name", "the path names already"),
        (
            *("GET", "/v1/orders/7?order.client_order_id=AAAA", None),
            *("order.client_order_id", "the path names already"),
        ),
        (
            *("POST", "/v1/orders/7/replace", {"replacement": {"order_id": 1}}),
            *("replacement.order_id", "the path names already"),
        ),
        ("POST", "/v1/jobs/seven/cancel", {}, "job_id", "must be an integer"),
        ("GET", "/v1/jobs/-1", None, "job_id", "between 0"),
        ("GET", "/v1/jobs?pagesize=3", None, "pagesize", "no field 'pagesize'"),
        ("GET", "/v1/jobs?page_size=x", None, "page_size", "an integer"),
        ("GET", "/v1/jobs?page_size=1&page_size=2", None, "page_size", "more than once"),
        ("GET", "/v1/jobs?open_only=yes", None, "open_only", "true or false"),
        ("GET", "/v1/jobs?page_token=x", None, "page_token", "next_page_token"),
        ("GET", "/v1/orders/1?order=3", None, "order", "order.NAME"),
        ("GET", "/v1/jobs?page_size.x=3", None, "page_size.x", "no field"),
    ],
)
async def test_what_is_wrong_is_refused_by_name(
    desk: Desk, verb: str, path: str, body: Any, param: str, says: str
) -> None:
    error = await desk.refused(verb, path, body)
    assert error["param"] == param
    assert says in error["message"]


@pytest.mark.parametrize(
    ("data", "kind", "status", "code"),
    [
        (b"{", "application/json", 400, "BODY_MALFORMED"),
        (b'{"model": "a", "model": "b"}', "application/json", 400, "BODY_MALFORMED"),
        (b'{"deadline_ns": NaN}', "application/json", 400, "BODY_MALFORMED"),
        (b"[" * 100_000, "application/json", 400, "BODY_MALFORMED"),
        (b'{"deadline_ns": ' + b"9" * 5_000 + b"}", "application/json", 400, "BODY_MALFORMED"),
        (b"\xff", "application/json", 400, "BODY_MALFORMED"),
        (b"model=a", "application/x-www-form-urlencoded", 415, "MEDIA_TYPE"),
        (b" " * (5 << 20), "application/json", 413, "BODY_TOO_LARGE"),
    ],
)
async def test_a_body_that_is_no_json(
    desk: Desk, data: bytes, kind: str, status: int, code: str
) -> None:
    headers = desk.headers("buyer") | {"Content-Type": kind}
    async with desk.http.post("/v1/jobs", data=io.BytesIO(data), headers=headers) as response:
        assert response.status == status
        assert (await response.json())["error"]["code"] == code


async def test_an_idempotency_key_is_one_uuid7_where_it_has_a_meaning(desk: Desk) -> None:
    async def refused(path: str, body: Any, *keys: str) -> dict[str, Any]:
        headers = [*desk.headers("operator").items(), *(("Idempotency-Key", k) for k in keys)]
        async with desk.http.post(path, json=body, headers=headers) as response:
            assert response.status == 400
            error: dict[str, Any] = (await response.json())["error"]
            return error

    fresh = str(fresh_id())
    error = await refused("/v1/jobs", JOB, "b0a0f1f2-0000-4000-8000-000000000000")
    assert (error["code"], error["param"]) == ("CLIENT_ID_INVALID", "Idempotency-Key")
    assert "UUIDv7, such as" in error["message"]
    assert "more than once" in (await refused("/v1/jobs", JOB, fresh, fresh))["message"]
    both = JOB | {"client_job_id": fresh}
    assert "send one of them" in (await refused("/v1/jobs", both, fresh))["message"]
    no_meaning = await refused("/v1/admin/accounts", {"name": "x"}, fresh)
    assert "no meaning" in no_meaning["message"]
    error = await refused("/v1/admin/deposits", {"account": "x", "amount_nanos": 1})
    assert "makes a repeat harmless" in error["message"]


async def test_an_id_may_be_written_as_a_uuid_in_a_body(desk: Desk) -> None:
    ident = str(fresh_id())
    body: dict[str, Any] = limit(desk, "SIDE_BID", 5)
    body["order"]["client_order_id"] = ident
    made = await desk.ask("POST", "/v1/orders", body, who="paper")
    assert base64.b64decode(made["reports"][0]["client_order_id"]).hex() == ident.replace("-", "")
    await desk.ask("DELETE", f"/v1/orders/{ident}", who="paper")


async def test_without_a_key_nothing_is_told(desk: Desk) -> None:
    for route in ROUTES:
        path = route.path.replace("{", "").replace("}", "")
        path = re.sub(r"(job|order|lease|worker)_id", "1", path)
        headers = {"Idempotency-Key": str(fresh_id())} if route.key else {}
        body: dict[str, Any] | None = {} if route.verb == "POST" else None
        error = await desk.refused(route.verb, path, body, who="", headers=headers, status=401)
        assert error["code"] == "KEY_MISSING"


# ---- streams ----


async def test_silence_is_told(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "KEEP_ALIVE_S", 0.05)
    monkeypatch.setattr(streams, "FIRST_WITHIN_S", 0.05)
    async with desk.http.get("/v1/trades/events", headers=desk.headers("buyer")) as response:
        assert await response.content.readline() == b": keep-alive\n"


async def test_who_goes_away_ends_the_call(desk: Desk, worker: FakeWorker) -> None:
    edges: Any = desk.site.exchange.server.edges
    admission = edges._grpc.admission
    sessions = 1
    await eventually(lambda: admission.calls == sessions)
    path = f"/v1/books/events?instrument={PAPER}"
    async with desk.http.get(path, headers=desk.headers("buyer")) as response:
        await response.content.readline()
        assert admission.calls == sessions + 1
        response.close()
    await eventually(lambda: admission.calls == sessions)
