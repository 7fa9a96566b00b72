"""/v1/completions with the real `openai` package."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from openai import AsyncOpenAI

from exchange.http.openai.bodies import COMPLETION_TOKENS_DEFAULT
from exchange.testing.fake_worker import FakeWorker
from exchange.v1.job_service_pb2 import JobInput
from tests.exchange.http.openai.clients import BUDGET, MODEL, serving

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def complete(client: AsyncOpenAI, prompt: Any = "Once", **changes: Any) -> Any:
    values: dict[str, Any] = {"model": MODEL, "prompt": prompt, "extra_body": BUDGET}
    return await client.completions.create(**{**values, **changes})


async def test_a_text_is_gone_on_with(worker: FakeWorker, client: AsyncOpenAI) -> None:
    async with serving(worker, " upon", " a time"):
        answer = await complete(client)
    assert (answer.object, answer.id.partition("-")[0]) == ("text_completion", "cmpl")
    (choice,) = answer.choices
    assert (choice.text, choice.finish_reason) == (" upon a time", "stop")
    assert answer.usage.prompt_tokens == 1
    assert answer.exchange["worker"] == "hopper"


async def test_a_stream_gives_pieces_then_the_reason(
    worker: FakeWorker, client: AsyncOpenAI
) -> None:
    async with serving(worker, " upon", " a time"):
        stream = await complete(client, stream=True, stream_options={"include_usage": True})
        chunks = [chunk async for chunk in stream]
    assert {chunk.object for chunk in chunks} == {"text_completion"}
    *before, last = chunks
    assert [chunk.choices[0].text for chunk in before] == [" upon", " a time", ""]
    assert [chunk.choices[0].finish_reason for chunk in before] == [None, None, "stop"]
    assert (last.choices, last.usage.completion_tokens) == ([], 3)
    assert int(last.exchange["refunded_nanos"]) > 0


@pytest.mark.parametrize("prompt", ["Once", ["Once"]])
async def test_the_prompt_goes_in_without_a_template(
    worker: FakeWorker, client: AsyncOpenAI, prompt: Any
) -> None:
    asking = asyncio.create_task(complete(client, prompt))
    offer = await worker.offer()
    found = JobInput.FromString(offer.payload)
    await worker.run(offer, "x")
    await asking
    assert (found.prompt, len(found.messages)) == ("Once", 0)
    assert found.output_tokens_max == COMPLETION_TOKENS_DEFAULT
