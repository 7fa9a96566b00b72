"""Fast mode of the llama engine: the plain engine's output and bill, refused drafts on top."""

from __future__ import annotations

import importlib.util
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from exchange.metering.cards import SMOLLM2_135M
from exchange.metering.traces import DenseTrace, flops
from exchange.v1.job_service_pb2 import StopCause
from tests.worker.engines.runs import PLENTY, run
from worker.engines.base import EngineJob, EngineResult, StopSignal
from worker.engines.llama import LlamaEngine, surcharge_flops
from worker.engines.llama_child import DRAFT_TOKENS
from worker.engines.weights import PACKAGE

INSTALLED = all(importlib.util.find_spec(name) for name in (PACKAGE, "xllamacpp"))
needs_the_model = [
    pytest.mark.model,
    pytest.mark.skipif(not INSTALLED, reason="the weights or xllamacpp are not installed"),
    pytest.mark.asyncio(loop_scope="module"),
]
TEXT = "The mill stands by the river. The river turns the wheel of the mill, day and night."
PROMPTS = (f"Repeat this text: {TEXT}", f"Summarise: {TEXT}", "List three colours.")
Engines = tuple[LlamaEngine, LlamaEngine]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def engines() -> AsyncIterator[Engines]:
    plain, fast = LlamaEngine(threads=1), LlamaEngine(threads=1, fast=True)
    await plain.ready()
    await fast.ready()
    yield plain, fast
    await plain.close()
    await fast.close()


def ask(text: str, tokens: int) -> EngineJob:
    return EngineJob(messages=(("user", text),), output_tokens_max=tokens)


async def result_of(engine: LlamaEngine, job: EngineJob) -> EngineResult:
    items = [item async for item in engine.run(job, PLENTY, StopSignal())]
    assert isinstance(items[-1], EngineResult)
    return items[-1]


class TestRuns:
    pytestmark = needs_the_model

    @pytest.mark.parametrize("text", PROMPTS)
    async def test_output_and_bill_are_those_of_a_plain_run(
        self, engines: Engines, text: str
    ) -> None:
        plain, fast = [await run(engine, ask(text, 40)) for engine in engines]
        assert fast[:4] == plain[:4]

    async def test_any_limit_cuts_the_same_text(self, engines: Engines) -> None:
        """Also one that falls inside a draft that was accepted."""
        _, fast = engines
        whole = await run(fast, ask(PROMPTS[0], 30))
        for tokens in range(1, whole.tokens):
            cut = await run(fast, ask(PROMPTS[0], tokens))
            assert whole.text.startswith(cut.text)
            assert cut.trace.tokens_given == tokens
            assert cut.cause == StopCause.STOP_CAUSE_LENGTH

    async def test_refused_drafts_are_stated_and_not_billed(self, engines: Engines) -> None:
        plain, fast = [await result_of(engine, ask(PROMPTS[1], 40)) for engine in engines]
        assert fast.trace == plain.trace
        assert plain.surcharge_flops == 0
        assert isinstance(fast.trace, DenseTrace)
        one = surcharge_flops(SMOLLM2_135M, fast.trace, 1)
        assert fast.surcharge_flops > 0
        assert fast.surcharge_flops % one == 0


def test_a_refused_draft_costs_as_much_as_the_dearest_token() -> None:
    trace = DenseTrace(10, 5)
    dearest = DenseTrace(10, 5 + DRAFT_TOKENS)
    before = DenseTrace(10, 4 + DRAFT_TOKENS)
    cost = flops(SMOLLM2_135M, dearest) - flops(SMOLLM2_135M, before)
    assert surcharge_flops(SMOLLM2_135M, trace, 3) == 3 * cost
    assert surcharge_flops(SMOLLM2_135M, trace, 0) == 0
