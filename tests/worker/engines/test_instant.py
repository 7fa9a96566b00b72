from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exchange.metering.cards import INSTANT
from exchange.metering.traces import DenseTrace, flops
from exchange.v1.job_service_pb2 import StopCause
from tests.waiting import WITHIN_S
from tests.worker.engines.runs import run
from worker.engines.base import EngineError, EngineJob, parse_job
from worker.engines.instant import PIECE_TEXT, InstantEngine

JOB = EngineJob(messages=(("user", "hello"),), output_tokens_max=200)


async def test_it_gives_as_much_as_the_job_allows() -> None:
    outcome = await run(InstantEngine(), JOB)
    assert outcome.text == PIECE_TEXT * 200
    assert outcome.tokens == outcome.trace.tokens_given == 200
    assert outcome.trace.prompt_tokens == 5
    assert outcome.cause == StopCause.STOP_CAUSE_LENGTH


async def test_its_own_length_ends_the_answer() -> None:
    outcome = await run(InstantEngine(tokens=4), JOB)
    assert (outcome.tokens, outcome.cause) == (4, StopCause.STOP_CAUSE_FINISHED)


@given(budget_flops=st.integers(0, 300 * INSTANT.flops_per_token))
async def test_it_never_exceeds_its_budget_and_uses_all_it_can(budget_flops: int) -> None:
    outcome = await run(InstantEngine(), JOB, budget_flops)
    done = flops(INSTANT, outcome.trace)
    assert done <= budget_flops
    assert outcome.tokens == outcome.trace.tokens_given
    if outcome.cause == StopCause.STOP_CAUSE_BUDGET:
        one_more = DenseTrace(5, outcome.trace.tokens_given)
        assert flops(INSTANT, one_more) > budget_flops


@pytest.mark.parametrize(
    "engine", [InstantEngine(delay_s=0.05), InstantEngine(prompt_delay_s=60.0)]
)
async def test_a_stop_is_quick_and_counts_what_was_given(engine: InstantEngine) -> None:
    for _ in range(20):  # a busy machine may be slow, but not each time
        outcome = await run(engine, JOB, stop_after_s=0.12)
        assert outcome.cause == StopCause.STOP_CAUSE_CANCELLED
        assert outcome.tokens == outcome.trace.tokens_given < 200
        if outcome.seconds < 0.12 + 0.25:
            break
    assert outcome.seconds < 0.12 + 0.25


async def test_without_a_pause_it_still_lets_others_run() -> None:
    job = EngineJob(prompt="x", output_tokens_max=10**12)
    outcome = await run(InstantEngine(), job, 10**15, stop_after_s=0.05)
    assert outcome.cause == StopCause.STOP_CAUSE_CANCELLED


@pytest.mark.parametrize("payload", [b"", b"\xff\xff", b"\x08\x01"])
def test_a_payload_without_work_is_refused(payload: bytes) -> None:
    with pytest.raises(EngineError):
        parse_job(payload)


async def test_a_prompt_takes_its_time_and_a_head_start_shortens_it() -> None:
    loop = asyncio.get_running_loop()
    began = loop.time()
    await run(InstantEngine(prompt_tokens_per_s=50), JOB)  # five tokens
    assert loop.time() - began >= 0.1
    began = loop.time()
    await run(InstantEngine(prompt_tokens_per_s=0.005, prompt_delay_s=-1_000), JOB)
    assert loop.time() - began < WITHIN_S
