"""A site with a worker that does what a test tells it, and the real `openai` package before it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any, Final

import openai
import pytest
from openai import AsyncOpenAI

from exchange.core.jobs import Job
from exchange.testing.fake_worker import FakeWorker
from exchange.v1.worker_service_pb2 import LeaseOffer
from tests.exchange.http.site import Site

MODEL: Final = "instant"
INSTRUMENT: Final = "instant/cpu/interactive"
BUDGET: Final = {"exchange": {"value": "$0.00001"}}
"""Ten micro-dollars, enough for any answer of these tests."""
QUESTION: Final[Any] = [{"role": "user", "content": "one two three"}]


def openai_client(site: Site, **changes: Any) -> AsyncOpenAI:
    """A client as people make it, but that it repeats nothing by itself."""
    values = {"api_key": site.buyer, "base_url": f"{site.url}/v1", "max_retries": 0}
    return AsyncOpenAI(**{**values, **changes})


async def chat(client: AsyncOpenAI, **changes: Any) -> Any:
    """One question."""
    values: dict[str, Any] = {"model": MODEL, "messages": QUESTION, "extra_body": BUDGET}
    return await client.chat.completions.create(**{**values, **changes})


def newest_job(site: Site) -> Job:
    """The job that was submitted last."""
    core = site.exchange.core
    return core.jobs[max(core.jobs)]


@contextlib.asynccontextmanager
async def serving(worker: FakeWorker, *texts: str) -> AsyncIterator[None]:
    """Inside, the worker gives this answer to every job."""
    task = asyncio.create_task(worker.serve(*texts))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def begun(worker: FakeWorker, *texts: str) -> LeaseOffer:
    """The next job, with these pieces of its output sent."""
    offer = await worker.offer()
    await worker.begin(offer)
    for index, text in enumerate(texts):
        await worker.chunk(offer, index, text)
    return offer


async def error_of(awaitable: Any, kind: type[openai.APIStatusError]) -> dict[str, Any]:
    """The error object of a request that must be refused so."""
    with pytest.raises(openai.APIStatusError) as caught:
        await awaitable
    assert type(caught.value) is kind, caught.value
    found: Any = caught.value.body
    return dict(found)
