"""Chat completions with the real `openai` package: shapes, streams, the bill."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from openai import AsyncOpenAI, OpenAI

from exchange.testing.fake_worker import FakeWorker
from tests.exchange.http.openai.clients import (
    BUDGET,
    INSTRUMENT,
    MODEL,
    QUESTION,
    begun,
    chat,
    newest_job,
    serving,
)
from tests.exchange.http.site import Site

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_an_answer_comes_with_its_bill(
    site: Site, worker: FakeWorker, client: AsyncOpenAI
) -> None:
    async with serving(worker, "Hello ", "world"):
        raw = await client.chat.completions.with_raw_response.create(
            model=MODEL, messages=QUESTION, extra_body=BUDGET
        )
    answer: Any = raw.parse()
    job = newest_job(site)
    assert answer.object == "chat.completion"
    assert answer.id == f"chatcmpl-{job.job_id}"
    assert answer.created == job.created_ns // 10**9
    assert answer.model == MODEL
    (choice,) = answer.choices
    assert (choice.index, choice.finish_reason, choice.logprobs) == (0, "stop", None)
    assert (choice.message.role, choice.message.content) == ("assistant", "Hello world")
    # Three words were asked, two answered, as this worker counts.
    assert answer.usage.model_dump(exclude_none=True) == {
        "prompt_tokens": 3,
        "completion_tokens": 2,
        "total_tokens": 5,
    }
    bill = answer.exchange
    assert bill["job_id"] == str(job.job_id)
    assert bill["receipt_id"] == str(job.lease_id)
    assert (bill["instrument"], bill["worker"]) == (INSTRUMENT, "hopper")
    assert "cheapest ask" in bill["why_worker"]
    async with site.http.get(
        bill["why"], headers={"Authorization": f"Bearer {site.buyer}"}
    ) as response:
        assert (await response.json())["job"]["worker"] == "hopper"
    assert (bill["price"], bill["price_nanos"]) == ("$0.000001/CU", "1000")
    assert bill["flops"] == str(job.flops)
    assert job.flops > 0
    assert bill["paid_nanos"] == str(job.paid_nanos)
    assert int(bill["paid_nanos"]) + int(bill["refunded_nanos"]) == 10_000
    assert (bill["stop_cause"], bill["steps"], bill["repeated"]) == ("finished", None, False)
    assert raw.headers["x-flopex-job-id"] == bill["job_id"]
    assert raw.headers["x-flopex-worker"] == "hopper"
    assert raw.request_id == f"job-{job.job_id}"


async def test_a_stream_gives_role_pieces_reason_and_bill(
    worker: FakeWorker, client: AsyncOpenAI
) -> None:
    async with serving(worker, "Hello ", "world"):
        chunks = [chunk async for chunk in await chat(client, stream=True)]
    assert {chunk.object for chunk in chunks} == {"chat.completion.chunk"}
    assert len({chunk.id for chunk in chunks}) == 1
    deltas = [chunk.choices[0].delta for chunk in chunks]
    assert [delta.role for delta in deltas] == ["assistant", None, None, None]
    assert [delta.content for delta in deltas] == ["", "Hello ", "world", None]
    assert [c.choices[0].finish_reason for c in chunks] == [None, None, None, "stop"]
    assert all(chunk.usage is None for chunk in chunks)
    assert int(chunks[-1].exchange["paid_nanos"]) >= 0
    assert not any(hasattr(chunk, "exchange") for chunk in chunks[:-1])


async def test_the_final_usage_chunk_comes_where_it_is_asked_for(
    worker: FakeWorker, client: AsyncOpenAI
) -> None:
    async with serving(worker, "Hello ", "world"):
        stream = await chat(client, stream=True, stream_options={"include_usage": True})
        chunks = [chunk async for chunk in stream]
    *before, last = chunks
    assert last.choices == []
    assert last.usage.total_tokens == 5
    assert last.exchange["worker"] == "hopper"
    assert before[-1].choices[0].finish_reason == "stop"
    assert all(chunk.usage is None for chunk in before)


async def test_a_stream_is_what_openai_sends(site: Site, worker: FakeWorker) -> None:
    body = {"model": MODEL, "messages": QUESTION, "stream": True, **BUDGET}
    headers = {"Authorization": f"Bearer {site.buyer}"}
    async with (
        serving(worker, "Hello"),
        site.http.post("/v1/chat/completions", json=body, headers=headers) as response,
    ):
        assert response.status == 200
        assert response.content_type == "text/event-stream"
        text = (await response.read()).decode()
    events = text.split("\n\n")
    assert events[-2:] == ["data: [DONE]", ""]
    assert all(event.startswith("data: {") for event in events[:-2])


async def test_the_synchronous_client_does_as_well(site: Site, worker: FakeWorker) -> None:
    def ask() -> tuple[str, str]:
        with OpenAI(api_key=site.buyer, base_url=f"{site.url}/v1") as client:
            whole = client.chat.completions.create(
                model=MODEL, messages=QUESTION, extra_body=BUDGET
            )
            stream = client.chat.completions.create(
                model=MODEL, messages=QUESTION, stream=True, extra_body=BUDGET
            )
            pieces = [chunk.choices[0].delta.content or "" for chunk in stream]
            return whole.choices[0].message.content or "", "".join(pieces)

    async with serving(worker, "Hello ", "world"):
        assert await asyncio.to_thread(ask) == ("Hello world", "Hello world")


async def test_the_conversation_reaches_the_worker_as_it_was_said(
    worker: FakeWorker, client: AsyncOpenAI
) -> None:
    from exchange.v1.job_service_pb2 import JobInput

    messages = [
        {"role": "developer", "content": "Be brief."},
        {
            "role": "user",
            "content": [{"type": "text", "text": "Hi, "}, {"type": "text", "text": "you"}],
        },
        {"role": "assistant", "content": "Hm?", "refusal": None, "tool_calls": None},
        {"role": "user", "content": "Bye"},
    ]
    asking = asyncio.create_task(
        chat(client, messages=messages, max_completion_tokens=7, temperature=0.7, seed=5)
    )
    offer = await worker.offer()
    found = JobInput.FromString(offer.payload)
    await worker.run(offer, "Bye")
    await asking
    assert [(m.role, m.content) for m in found.messages] == [
        ("system", "Be brief."),
        ("user", "Hi, you"),
        ("assistant", "Hm?"),
        ("user", "Bye"),
    ]
    assert (found.output_tokens_max, found.temperature_milli, found.seed) == (7, 700, 5)


async def test_an_answer_that_was_cut_short_says_so(
    worker: FakeWorker, client: AsyncOpenAI
) -> None:
    from exchange.v1.job_service_pb2 import STOP_CAUSE_LENGTH

    asking = asyncio.create_task(chat(client, max_tokens=2))
    offer = await begun(worker, "one two")
    await worker.settle(worker.receipt(offer, "one two", cause=STOP_CAUSE_LENGTH))
    answer = await asking
    assert answer.choices[0].finish_reason == "length"
    assert answer.exchange["stop_cause"] == "length"


async def test_an_answer_may_be_empty(worker: FakeWorker, client: AsyncOpenAI) -> None:
    async with serving(worker):
        answer = await chat(client)
        chunks = [chunk async for chunk in await chat(client, stream=True)]
    assert answer.choices[0].message.content == ""
    assert [chunk.choices[0].finish_reason for chunk in chunks] == [None, "stop"]


async def test_models_are_listed(client: AsyncOpenAI) -> None:
    found = [model async for model in client.models.list()]
    assert [model.id for model in found] == [MODEL]
    model: Any = await client.models.retrieve(MODEL)
    assert (model.object, model.owned_by) == ("model", "flopex")
    assert model.exchange == {"instruments": [INSTRUMENT]}
