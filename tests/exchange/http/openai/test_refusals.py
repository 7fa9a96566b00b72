"""What is refused: by which status, by which exception of the `openai` package, in which words."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import openai
import pytest
from multidict import CIMultiDict
from openai import AsyncOpenAI

from exchange.core.commands import CancelJob
from exchange.core.limits import ATTEMPTS_MAX
from exchange.http.openai import endings, parameters
from exchange.http.openai.bodies import MESSAGES_MAX, TEMPERATURE_MAX
from exchange.rpc.convert import jobs as convert
from exchange.testing.fake_worker import FakeWorker
from tests.exchange.http.openai.clients import (
    BUDGET,
    INSTRUMENT,
    MODEL,
    QUESTION,
    begun,
    chat,
    error_of,
    newest_job,
    openai_client,
    serving,
)
from tests.exchange.http.site import Site, eventually

pytestmark = pytest.mark.asyncio(loop_scope="module")

CHAT = {"model": MODEL, "messages": QUESTION, **BUDGET}
COMPLETION = {"model": MODEL, "prompt": "Once", **BUDGET}
RESPONSE = {"model": MODEL, "input": "Hi", **BUDGET}
TABLES = {
    "/chat/completions": (CHAT, parameters.CHAT),
    "/completions": (COMPLETION, parameters.COMPLETIONS),
    "/responses": (RESPONSE, parameters.RESPONSES),
}


async def post(client: AsyncOpenAI, path: str, body: Any) -> Any:
    return await client.post(path, body=body, cast_to=object)


async def bad(client: AsyncOpenAI, path: str, body: Any) -> dict[str, Any]:
    return await error_of(post(client, path, body), openai.BadRequestError)


def is_final(error: openai.APIStatusError) -> bool:
    """Whether it keeps a client from repeating the request by itself."""
    headers = error.response.headers
    return headers.get("x-should-retry") == "false" and "retry-after" not in headers


# ---- parameters ----


@pytest.mark.parametrize(
    ("path", "name"), [(path, name) for path, (_, t) in TABLES.items() for name in t.limited]
)
async def test_what_is_not_supported_is_refused_by_name(
    client: AsyncOpenAI, path: str, name: str
) -> None:
    error = await bad(client, path, {**TABLES[path][0], name: "something else"})
    assert (error["param"], error["code"]) == (name, "FIELD_UNSUPPORTED")
    assert error["message"].startswith(f"{name} is not supported: ")
    assert error["type"] == "invalid_request_error"


@pytest.mark.parametrize("path", TABLES)
async def test_values_that_ask_for_nothing_special_are_taken(
    worker: FakeWorker, client: AsyncOpenAI, path: str
) -> None:
    body, table = TABLES[path]
    limited = {n: only.values[0] if only.values else None for n, only in table.limited.items()}
    harmless = dict.fromkeys(table.harmless - {"stream_options"}, "anything")
    async with serving(worker, "x"):
        answer = await post(client, path, {**body, **limited, **harmless, "seed": None})
    assert answer["exchange"]["worker"] == "hopper"


@pytest.mark.parametrize(
    ("field", "param"),
    [({"metadata": {"a": "\ud800"}}, "metadata"), ({"\ud800": 1}, "\\ud800")],
)
async def test_half_a_character_is_refused_before_anything_is_bought(
    site: Site, field: dict[str, Any], param: str
) -> None:
    before = max(site.exchange.core.jobs, default=0)
    data = json.dumps(RESPONSE | field)
    headers = {"Authorization": f"Bearer {site.buyer}", "Content-Type": "application/json"}
    async with site.http.post("/v1/responses", data=data, headers=headers) as response:
        assert response.status == 400
        assert (await response.json())["error"]["param"] == param
    assert max(site.exchange.core.jobs, default=0) == before


@pytest.mark.parametrize("many", ["messages", "parts"])
async def test_a_conversation_is_no_longer_than_over_grpc(client: AsyncOpenAI, many: str) -> None:
    assert MESSAGES_MAX == convert.MESSAGES_MAX
    part = {"type": "text", "text": "x"}
    if many == "messages":
        messages: Any = QUESTION * (MESSAGES_MAX + 1)
    else:
        messages = [{"role": "user", "content": [part]}] * MESSAGES_MAX
        messages[0] = {"role": "user", "content": [part, part]}
    error = await bad(client, "/chat/completions", CHAT | {"messages": messages})
    assert (error["param"], error["code"]) == ("messages", "FIELD_INVALID")
    assert f"at most {MESSAGES_MAX} messages" in error["message"]


@pytest.mark.parametrize("path", TABLES)
async def test_a_query_is_refused_by_name(client: AsyncOpenAI, path: str) -> None:
    error = await bad(client, f"{path}?max_cost=1", TABLES[path][0])
    assert (error["param"], error["code"]) == ("max_cost", "FIELD_UNKNOWN")


@pytest.mark.parametrize("name", ["X-Flopex-Max-Cost", "Idempotency-Key"])
async def test_a_header_that_says_two_things_is_refused(site: Site, name: str) -> None:
    headers = CIMultiDict([("Authorization", f"Bearer {site.buyer}"), (name, "1"), (name, "2")])
    async with site.http.post("/v1/chat/completions", json=CHAT, headers=headers) as response:
        assert response.status == 400
        assert (await response.json())["error"]["param"] == name


@pytest.mark.parametrize("path", TABLES)
async def test_what_is_not_known_is_refused_by_name(client: AsyncOpenAI, path: str) -> None:
    error = await bad(client, path, {**TABLES[path][0], "max_token": 3})
    assert (error["param"], error["code"]) == ("max_token", "FIELD_UNKNOWN")


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"messages": None}, "messages"),
        ({"messages": []}, "messages"),
        ({"messages": "hi"}, "messages"),
        ({"messages": ["hi"]}, "messages[0]"),
        ({"messages": [{"role": "user"}]}, "messages[0].content"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": "user", "content": "x", "name": "Ann"}]}, "messages[0].name"),
        ({"messages": [{"role": "user", "content": "x", "size": 1}]}, "messages[0].size"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url"}]}]},
            "messages[0].content[0].type",
        ),
        ({"model": None}, "model"),
        ({"model": 3}, "model"),
        ({"max_tokens": "many"}, "max_tokens"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": 1, "max_completion_tokens": 1}, "max_tokens"),
        ({"max_tokens": 2**33}, "max_tokens"),
        ({"temperature": -0.1}, "temperature"),
        ({"temperature": TEMPERATURE_MAX + 0.1}, "temperature"),
        ({"temperature": 0.0001}, "temperature"),
        ({"seed": -1}, "seed"),
        ({"seed": 2**64}, "seed"),
        ({"stream": "yes"}, "stream"),
        ({"stream_options": {"include": True}}, "stream_options.include"),
        ({"stream_options": {"include_usage": "yes"}}, "stream_options.include_usage"),
        ({"tools": [{"type": "function"}]}, "tools"),
        ({"n": 2}, "n"),
        ({"n": True}, "n"),
    ],
)
async def test_what_cannot_be_read_is_named(
    client: AsyncOpenAI, change: dict[str, Any], param: str
) -> None:
    error = await bad(client, "/chat/completions", {**CHAT, **change})
    assert error["param"] == param
    assert param.partition("[")[0] in error["message"]


async def test_several_prompts_are_refused(client: AsyncOpenAI) -> None:
    error = await bad(client, "/completions", {**COMPLETION, "prompt": ["a", "b"]})
    assert error["param"] == "prompt"


async def test_an_input_that_is_no_message_is_refused(client: AsyncOpenAI) -> None:
    body = {**RESPONSE, "input": [{"type": "function_call_output", "output": "x"}]}
    assert (await bad(client, "/responses", body))["param"] == "input[0].type"


@pytest.mark.parametrize("content", [b"{", b"[1]", b'"x"', b"\xff", b"[" * 100_000])
async def test_a_body_that_is_no_object_is_refused(site: Site, content: bytes) -> None:
    headers = {"Authorization": f"Bearer {site.buyer}", "Content-Type": "application/json"}
    async with site.http.post("/v1/completions", data=content, headers=headers) as response:
        assert response.status == 400
        assert (await response.json())["error"]["code"] == "BODY_MALFORMED"


async def test_text_that_utf8_cannot_hold_is_refused(site: Site) -> None:
    headers = {"Authorization": f"Bearer {site.buyer}", "Content-Type": "application/json"}
    for name, body in (("model", COMPLETION), ("prompt", COMPLETION), ("input", RESPONSE)):
        path = "/v1/responses" if name == "input" else "/v1/completions"
        data = json.dumps({**body, name: "\ud800"})
        async with site.http.post(path, data=data, headers=headers) as response:
            assert response.status == 400
            assert (await response.json())["error"]["param"] == name


# ---- who asks, and what for ----


async def test_a_key_that_is_not_known_is_an_authentication_error(site: Site) -> None:
    async with openai_client(site, api_key="flx_" + "A" * 43) as stranger:
        error = await error_of(chat(stranger), openai.AuthenticationError)
        assert error["code"] == "KEY_UNKNOWN"
        error = await error_of(stranger.models.retrieve(MODEL), openai.AuthenticationError)
    async with site.http.post("/v1/chat/completions", json=CHAT) as response:
        assert response.status == 401
        assert (await response.json())["error"]["code"] == "KEY_MISSING"


@pytest.mark.parametrize("sent", ["Basic dXNlcjpwYXNz", "Bearer", "flx_x"])
async def test_what_is_no_key_is_refused_before_the_body_is_read(site: Site, sent: str) -> None:
    headers = {"Authorization": sent, "Content-Type": "application/json"}
    async with site.http.post("/v1/chat/completions", data="{", headers=headers) as response:
        assert response.status == 401
        assert (await response.json())["error"]["code"] == "KEY_MISSING"


async def test_a_model_that_is_not_known_is_not_found(client: AsyncOpenAI) -> None:
    error = await error_of(chat(client, model="gpt-9"), openai.NotFoundError)
    assert error["code"] == "UNKNOWN_MODEL"
    error = await error_of(client.models.retrieve("gpt-9"), openai.NotFoundError)
    assert error["code"] == "UNKNOWN_MODEL"


async def test_who_has_no_money_gets_402(site: Site) -> None:
    key = await site.exchange.trader("poor", paper=False, funds=0)
    async with openai_client(site, api_key=key, max_retries=2) as poor:
        error = await error_of(chat(poor), openai.APIStatusError)
    assert error["code"] == "INSUFFICIENT_FUNDS"


# ---- capacity ----


async def test_a_deadline_that_nobody_can_keep_is_429(client: AsyncOpenAI) -> None:
    body = {"exchange": {"value": "$0.00001", "deadline_ms": 1}}
    with pytest.raises(openai.RateLimitError) as caught:
        await chat(client, extra_body=body)
    assert caught.value.code == "DEADLINE_INFEASIBLE"
    assert caught.value.response.headers["retry-after"] == "1"


@pytest.mark.parametrize("stream", [False, True])
async def test_no_worker_within_the_time_given_is_429(
    site: Site, client: AsyncOpenAI, stream: bool
) -> None:
    # One that asks for more than the answer is worth would do as well: none is asked here.
    body = {"exchange": {"limit": 1, "deadline_ms": 1_600}}
    before = max(site.exchange.core.jobs, default=0)
    # As people have it, the client repeats what it may: not this, which its deadline has ended.
    patient = client.with_options(max_retries=2)
    with pytest.raises(openai.RateLimitError) as caught:
        await chat(patient, stream=stream, extra_body=body)
    assert is_final(caught.value)
    assert "nothing was billed" in caught.value.message
    job = newest_job(site)
    assert (job.job_id, job.state.name, job.paid_nanos) == (before + 1, "EXPIRED", 0)


# ---- what happens on the way ----


async def test_a_job_that_failed_is_not_bought_again_by_itself(
    site: Site, worker: FakeWorker, client: AsyncOpenAI
) -> None:
    before = max(site.exchange.core.jobs, default=0)
    asking = asyncio.create_task(chat(client.with_options(max_retries=2)))
    for _ in range(ATTEMPTS_MAX):
        offer = await begun(worker, "wrong")
        await worker.settle(worker.receipt(offer, "something else"))
        await worker.quote(INSTRUMENT, *[1_000] * 4)
    with pytest.raises(openai.InternalServerError) as caught:
        await asking
    assert (caught.value.status_code, is_final(caught.value)) == (502, True)
    job = newest_job(site)
    assert (job.job_id, job.state.name, job.paid_nanos) == (before + 1, "FAILED", 0)


@pytest.mark.parametrize("key", ["", "mended"])
async def test_a_fault_of_ours_is_not_billed_twice(
    site: Site, worker: FakeWorker, client: AsyncOpenAI, monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    ending, faults = endings.ending, 1

    async def faulty(*arguments: Any) -> Any:
        nonlocal faults
        faults -= 1
        if faults >= 0:
            raise RuntimeError("a bug")
        return await ending(*arguments)

    monkeypatch.setattr(endings, "ending", faulty)
    before = max(site.exchange.core.jobs, default=0)
    headers = {"Idempotency-Key": key} if key else {}
    patient = client.with_options(max_retries=2)
    async with serving(worker, "x"):
        if key:
            # A retry comes to the same job.
            answer = await chat(patient, extra_headers=headers)
            assert answer.exchange["repeated"]
        else:
            with pytest.raises(openai.InternalServerError) as caught:
                await chat(patient)
            assert (caught.value.code, is_final(caught.value)) == ("INTERNAL", True)
    assert newest_job(site).job_id == before + 1


async def test_a_job_that_is_cancelled_meanwhile_is_a_conflict(
    site: Site, worker: FakeWorker, client: AsyncOpenAI
) -> None:
    asking = asyncio.create_task(
        chat(client, extra_body={"exchange": {"limit": 1, "deadline_ms": 60_000}})
    )
    before = set(site.exchange.core.jobs)
    await eventually(lambda: set(site.exchange.core.jobs) > before)
    job = newest_job(site)
    await site.exchange.submit(CancelJob(job.account_id, job.job_id))
    error = await error_of(asking, openai.ConflictError)
    assert error["code"] == "CANCELLED_BY_OWNER"


async def test_before_its_output_begins_a_failed_attempt_is_made_again(
    worker: FakeWorker, client: AsyncOpenAI
) -> None:
    async def ask() -> str:
        stream = await chat(client, stream=True)
        return "".join([chunk.choices[0].delta.content or "" async for chunk in stream])

    asking = asyncio.create_task(ask())
    await worker.decline(await worker.offer())
    await worker.quote(INSTRUMENT, *[1_000] * 4)
    await worker.run(await worker.offer(), "Hello")
    assert await asking == "Hello"


async def test_a_whole_answer_is_that_of_the_attempt_that_counts(
    worker: FakeWorker, client: AsyncOpenAI
) -> None:
    asking = asyncio.create_task(chat(client))
    first = await begun(worker, "wrong ")
    await worker.settle(worker.receipt(first, "something else"))
    await worker.run(await worker.offer(), "right")
    answer = await asking
    assert answer.choices[0].message.content == "right"
    assert answer.exchange["attempt"] == 2


@pytest.mark.parametrize("path", ["chat", "responses"])
async def test_once_output_has_begun_a_failed_attempt_ends_the_stream(
    site: Site, worker: FakeWorker, client: AsyncOpenAI, path: str
) -> None:
    heard: list[Any] = []

    async def ask() -> None:
        if path == "chat":
            stream: Any = await chat(client, stream=True)
        else:
            stream = await client.responses.create(
                model=MODEL, input="Hi", stream=True, extra_body=BUDGET
            )
        async for chunk in stream:
            heard.append(chunk)  # noqa: PERF401 - what came before an error counts

    asking = asyncio.create_task(ask())
    offer = await begun(worker, "Hello ")
    await eventually(lambda: bool(heard))
    await worker.quote(INSTRUMENT)
    await worker.settle(worker.receipt(offer, "something else"))
    if path == "chat":
        with pytest.raises(openai.APIError, match="what came is void"):
            await asking
    else:
        await asking
        assert heard[-1].type == "response.failed"
        assert heard[-1].response.error.code == "ATTEMPT_FAILED"
    # The next attempt would write for nobody.
    job = newest_job(site)
    await eventually(lambda: not job.is_open)
    assert (job.attempt, job.state.name, job.paid_nanos) == (2, "CANCELLED", 0)
    await worker.quote(INSTRUMENT, *[1_000] * 4)
