"""What a request may cost: where it is said, how it is written, and what becomes of it."""

from __future__ import annotations

import asyncio
from typing import Any

import openai
import pytest
from openai import AsyncOpenAI

from exchange.http.errors import ApiError
from exchange.http.openai.budget import NUMBER_MAX, Budget, read_budget
from exchange.testing.fake_worker import FakeWorker
from tests.exchange.http.openai.clients import (
    INSTRUMENT,
    chat,
    error_of,
    newest_job,
    openai_client,
    serving,
)
from tests.exchange.http.site import Site

WHOLE: dict[str, Any] = {
    "value": "$0.002",
    "max_cost": "1500 nanos",
    "limit": "$0.00044/CU",
    "max_compute": "3 GFLOP",
    "answer_value": "0.001",
    "deadline_ms": 2_500,
    "tier": "batch",
    "instrument": "instant/cpu/batch",
    "time_in_force": "GTD",
    "min_quality": 0,
}
READ = Budget(
    value=2_000_000,
    max_cost=1_500,
    limit=440_000,
    max_compute=3_000,
    answer_value=1_000_000,
    deadline_ms=2_500,
    tier="batch",
    instrument="instant/cpu/batch",
)


def test_every_field_is_read() -> None:
    assert read_budget(WHOLE, {}) == READ


def test_every_field_has_a_header() -> None:
    headers = {f"x-flopex-{name.replace('_', '-')}": str(value) for name, value in WHOLE.items()}
    assert read_budget(None, {**headers, "x-other": "1"}) == READ


def test_whole_numbers_are_of_the_smallest_unit() -> None:
    assert read_budget({"value": 5, "max_compute": 7}, {}) == Budget(value=5, max_compute=7)


def test_the_body_goes_before_the_headers() -> None:
    headers = {"x-flopex-value": "2 nanos", "x-flopex-deadline-ms": "30"}
    assert read_budget({"value": 1}, headers) == Budget(value=1, deadline_ms=30)


@pytest.mark.parametrize(
    ("given", "param"),
    [
        ([], "exchange"),
        ({"value": 0.001}, "exchange.value"),
        ({"value": True}, "exchange.value"),
        ({"value": "a dollar"}, "exchange.value"),
        ({"value": "$0.0000000001"}, "exchange.value"),
        ({"value": "$0"}, "exchange.value"),
        ({"max_cost": "-$1"}, "exchange.max_cost"),
        ({"value": NUMBER_MAX + 1}, "exchange.value"),
        ({"max_compute": "3"}, "exchange.max_compute"),
        ({"deadline_ms": 0}, "exchange.deadline_ms"),
        ({"deadline_ms": 1.5}, "exchange.deadline_ms"),
        ({"deadline_ms": "soon"}, "exchange.deadline_ms"),
        ({"deadline_ms": "9" * 5_000}, "exchange.deadline_ms"),
        ({"tier": 3}, "exchange.tier"),
        ({"tier": "\ud800"}, "exchange.tier"),
        ({"time_in_force": "IOC"}, "exchange.time_in_force"),
        ({"min_quality": 0.9}, "exchange.min_quality"),
        ({"walue": "$1"}, "exchange.walue"),
    ],
)
def test_what_cannot_be_read_is_refused_by_name(given: Any, param: str) -> None:
    with pytest.raises(ApiError) as caught:
        read_budget(given, {})
    assert (caught.value.status, caught.value.param) == (400, param)
    assert param in str(caught.value)


def test_a_header_that_cannot_be_read_is_refused_by_its_name() -> None:
    for name, spelt in (("max-cost", "X-Flopex-Max-Cost"), ("walue", "X-Flopex-Walue")):
        with pytest.raises(ApiError) as caught:
            read_budget(None, {f"x-flopex-{name}": "much"})
        assert caught.value.param == spelt


def test_a_header_has_one_spelling() -> None:
    # Two caps that differ, as two headers: neither may win in silence.
    headers = {"x-flopex-max-cost": "1 nanos", "x-flopex-max_cost": "$0.9"}
    for given in (headers, {"x-flopex-max_cost": "$0.9"}):
        with pytest.raises(ApiError) as caught:
            read_budget({"value": 1}, given)
        assert (caught.value.status, caught.value.code) == (400, "FIELD_UNKNOWN")
        assert caught.value.param == "X-Flopex-Max_Cost"


@pytest.mark.asyncio(loop_scope="module")
async def test_a_request_without_a_budget_is_told_both_remedies(client: AsyncOpenAI) -> None:
    error = await error_of(chat(client, extra_body=None), openai.BadRequestError)
    assert (error["code"], error["param"]) == ("VALUE_MISSING", "exchange")
    assert '"exchange": {"value": "$0.001"}' in error["message"]
    assert "X-Flopex-Value" in error["message"]


@pytest.mark.asyncio(loop_scope="module")
async def test_the_accounts_default_stands_in_where_nothing_is_said(
    site: Site, worker: FakeWorker, client: AsyncOpenAI, monkeypatch: pytest.MonkeyPatch
) -> None:
    edges: Any = site.exchange.server.edges
    monkeypatch.setattr(edges._http._openai, "_default_values", {"hidden-buyer": 7_000})
    async with serving(worker, "x"):
        await chat(client, extra_body={"exchange": {"deadline_ms": 30_000}})
        terms = newest_job(site).terms
        assert (terms.value_nanos, terms.deadline_within_ns) == (7_000, 30 * 10**9)
        await chat(client)
        assert newest_job(site).terms.value_nanos == 10_000
    key = await site.exchange.trader("other", paper=False)
    async with openai_client(site, api_key=key) as other:
        error = await error_of(chat(other, extra_body=None), openai.BadRequestError)
    assert error["code"] == "VALUE_MISSING"


@pytest.mark.asyncio(loop_scope="module")
async def test_a_budget_in_headers_is_what_the_job_has(
    site: Site, worker: FakeWorker, client: AsyncOpenAI
) -> None:
    headers = {
        "X-Flopex-Value": "$0.00002",
        "X-Flopex-Max-Cost": "15000 nanos",
        "X-Flopex-Max-Compute": "1000 MFLOP",
        "X-Flopex-Deadline-Ms": "30000",
        "X-Flopex-Instrument": INSTRUMENT,
    }
    async with serving(worker, "x"):
        answer = await client.with_options(default_headers=headers).chat.completions.create(
            model="instant", messages=[{"role": "user", "content": "Hi"}]
        )
    terms: Any = newest_job(site).terms
    assert (terms.value_nanos, terms.max_cost_nanos) == (20_000, 15_000)
    assert (terms.quantity_mflop, terms.deadline_within_ns) == (1_000, 30 * 10**9)
    assert terms.instrument_id == site.exchange.core.instrument_by_name[INSTRUMENT]
    found: Any = answer
    assert found.exchange["compute_budget"] == "1 GFLOP"


@pytest.mark.asyncio(loop_scope="module")
async def test_the_answers_value_goes_to_the_worker(
    worker: FakeWorker, client: AsyncOpenAI
) -> None:
    from exchange.v1.job_service_pb2 import JobInput

    body = {"exchange": {"value": "$0.00001", "answer_value": "$0.002"}}
    asking = asyncio.create_task(chat(client, extra_body=body))
    offer = await worker.offer()
    await worker.run(offer, "x")
    await asking
    assert JobInput.FromString(offer.payload).answer_value_nanos == 2_000_000
