"""/v1/responses with the real `openai` package: the object, and typed events in their order."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from openai import AsyncOpenAI

from exchange.testing.fake_worker import FakeWorker
from exchange.v1.job_service_pb2 import STOP_CAUSE_LENGTH, JobInput
from tests.exchange.http.openai.clients import BUDGET, MODEL, begun, serving

pytestmark = pytest.mark.asyncio(loop_scope="module")

TYPES = [
    "response.created",
    "response.in_progress",
    "response.output_item.added",
    "response.content_part.added",
    "response.output_text.delta",
    "response.output_text.delta",
    "response.output_text.done",
    "response.content_part.done",
    "response.output_item.done",
    "response.completed",
]


async def respond(client: AsyncOpenAI, **changes: Any) -> Any:
    values: dict[str, Any] = {"model": MODEL, "input": "Hi there", "extra_body": BUDGET}
    return await client.responses.create(**{**values, **changes})


async def test_a_response_has_its_text_and_its_bill(
    worker: FakeWorker, client: AsyncOpenAI
) -> None:
    async with serving(worker, "Hello ", "world"):
        answer = await respond(client, instructions="Be kind.", metadata={"a": "b"})
    assert (answer.object, answer.status) == ("response", "completed")
    assert answer.output_text == "Hello world"
    (item,) = answer.output
    assert (item.type, item.role, item.status) == ("message", "assistant", "completed")
    assert (answer.usage.input_tokens, answer.usage.output_tokens) == (4, 2)
    assert answer.usage.total_tokens == 6
    assert (answer.instructions, answer.metadata) == ("Be kind.", {"a": "b"})
    assert (answer.error, answer.incomplete_details) == (None, None)
    assert answer.exchange["worker"] == "hopper"


async def test_a_stream_has_typed_events_with_sequence_numbers(
    worker: FakeWorker, client: AsyncOpenAI
) -> None:
    async with serving(worker, "Hello ", "world"):
        events = [event async for event in await respond(client, stream=True)]
    assert [event.type for event in events] == TYPES
    assert [event.sequence_number for event in events] == list(range(len(TYPES)))
    assert [e.delta for e in events if e.type == "response.output_text.delta"] == [
        "Hello ",
        "world",
    ]
    assert events[6].text == events[7].part.text == "Hello world"
    assert events[8].item.content[0].text == "Hello world"
    response = events[-1].response
    assert (response.status, response.output_text) == ("completed", "Hello world")
    assert response.usage.output_tokens == 2
    assert response.exchange["paid_nanos"].isdigit()
    assert {getattr(e, "item_id", response.output[0].id) for e in events} == {response.output[0].id}


async def test_the_packages_own_stream_helper_understands_it(
    worker: FakeWorker, client: AsyncOpenAI
) -> None:
    async with (
        serving(worker, "Hello ", "world"),
        client.responses.stream(model=MODEL, input="Hi", extra_body=BUDGET) as stream,
    ):
        final = await stream.get_final_response()
    assert final.output_text == "Hello world"


async def test_a_cut_answer_is_incomplete(worker: FakeWorker, client: AsyncOpenAI) -> None:
    async def ask() -> Any:
        return [e async for e in await respond(client, stream=True, max_output_tokens=2)]

    asking = asyncio.create_task(ask())
    offer = await begun(worker, "one two")
    await worker.settle(worker.receipt(offer, "one two", cause=STOP_CAUSE_LENGTH))
    last = (await asking)[-1]
    assert last.type == "response.incomplete"
    assert last.response.status == "incomplete"
    assert last.response.incomplete_details.reason == "max_output_tokens"
    assert last.response.output[0].status == "incomplete"


async def test_an_answer_can_be_sent_back_as_input(worker: FakeWorker, client: AsyncOpenAI) -> None:
    async with serving(worker, "Hello"):
        first = await respond(client)
    items = [{"role": "user", "content": "Hi"}, *first.output, {"role": "user", "content": "So?"}]
    asking = asyncio.create_task(respond(client, input=items, instructions="Be kind."))
    offer = await worker.offer()
    found = JobInput.FromString(offer.payload)
    await worker.run(offer, "x")
    await asking
    assert [(m.role, m.content) for m in found.messages] == [
        ("system", "Be kind."),
        ("user", "Hi"),
        ("assistant", "Hello"),
        ("user", "So?"),
    ]
