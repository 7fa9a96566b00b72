"""The adaptive engine: questions that think together, each inside its own budget."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from exchange.metering.adaptive import (
    ANSWER_TOKENS_MAX,
    AdaptiveTrace,
    Decision,
    Policy,
    first_step_flops,
    inconsistencies,
)
from exchange.metering.cards import ModelCard
from exchange.metering.traces import flops
from exchange.v1.job_service_pb2 import StopCause
from tests.worker.engines.runs import PLENTY, Outcome, run
from tests.worker.model.weights_of_chance import TINY, random_weights
from worker.engines.adaptive import AdaptiveEngine, ThinkingRoom
from worker.engines.base import NOTHING_DONE, EngineError, EngineJob
from worker.model.forms import NumpyForm
from worker.model.vocabulary import TOKENS_MAX, read

QUESTIONS = (
    "not ( True ) and ( True ) is",
    "Ann has the key. Ben has the cup. What does Ben have?",
    "Sort the following numbers in ascending order: 4, 2, 9.",
)
NEVER = Policy(halt_ppm=1_000_001)
CARD = ModelCard(name="adaptive-chance", family="adaptive", template_tokens=1, adaptive=TINY)


@pytest.fixture
def engine(tmp_path: Path) -> AdaptiveEngine:
    return AdaptiveEngine(ThinkingRoom(NumpyForm(random_weights(tmp_path)), NEVER), CARD)


def ask(text: str, tokens: int = 4) -> EngineJob:
    return EngineJob(messages=(("system", "Be brief."), ("user", text)), output_tokens_max=tokens)


async def test_it_answers_and_its_meter_follows_from_its_trace(engine: AdaptiveEngine) -> None:
    outcome = await run(engine, ask(QUESTIONS[0]))
    assert isinstance(outcome.trace, AdaptiveTrace)
    assert outcome.trace.prompt_tokens == len(read(QUESTIONS[0]).tokens) + 1
    assert outcome.tokens == outcome.trace.tokens_given == 4
    assert outcome.cause == StopCause.STOP_CAUSE_LENGTH
    assert inconsistencies(TINY, outcome.trace) == []
    assert 0 < flops(CARD, outcome.trace) <= PLENTY


async def test_a_prompt_is_read_as_a_message_is(engine: AdaptiveEngine) -> None:
    plain = await run(engine, EngineJob(prompt=QUESTIONS[1], output_tokens_max=4))
    assert plain[:4] == (await run(engine, ask(QUESTIONS[1])))[:4]


async def test_questions_in_one_room_are_answered_as_alone(tmp_path: Path) -> None:
    room = ThinkingRoom(NumpyForm(random_weights(tmp_path)), NEVER)
    engines = [AdaptiveEngine(room, CARD) for _ in QUESTIONS]

    def what(outcome: Outcome) -> tuple[object, ...]:
        return outcome[:4]

    together = await asyncio.gather(
        *(
            run(e, ask(q, tokens))
            for e, q, tokens in zip(engines, QUESTIONS, (2, 9, 5), strict=True)
        )
    )
    for question, tokens, outcome in zip(QUESTIONS, (2, 9, 5), together, strict=True):
        assert what(await run(engines[0], ask(question, tokens))) == what(outcome)


@pytest.mark.parametrize("budget", [0, 1, 200_000, 400_000, 1_000_000, 2_500_000])
async def test_no_budget_is_exceeded(engine: AdaptiveEngine, budget: int) -> None:
    outcome = await run(engine, ask(QUESTIONS[1], ANSWER_TOKENS_MAX), budget)
    assert flops(CARD, outcome.trace) <= budget
    assert outcome.cause == StopCause.STOP_CAUSE_BUDGET
    affordable = budget >= first_step_flops(TINY, len(read(QUESTIONS[1]).tokens) + 1)
    assert bool(outcome.trace.prompt_tokens) == affordable


async def test_a_stop_is_quick_and_pays_for_the_steps_made(engine: AdaptiveEngine) -> None:
    for _ in range(20):  # a busy machine may be slow, but not each time
        outcome = await run(engine, ask(QUESTIONS[2], ANSWER_TOKENS_MAX), stop_after_pieces=1)
        if outcome.seconds < 0.25 and outcome.cause == StopCause.STOP_CAUSE_CANCELLED:
            break
    assert outcome.cause == StopCause.STOP_CAUSE_CANCELLED
    assert outcome.seconds < 0.25
    assert flops(CARD, outcome.trace) > 0
    assert isinstance(outcome.trace, AdaptiveTrace)
    assert inconsistencies(TINY, outcome.trace) == []


async def test_giving_up_finishes_without_an_answer(tmp_path: Path) -> None:
    hopeless = Policy(halt_ppm=1_000_001, hopeless_ppm=1_000_001)
    room = ThinkingRoom(NumpyForm(random_weights(tmp_path)), hopeless)
    outcome = await run(AdaptiveEngine(room, CARD), ask(QUESTIONS[0]))
    assert isinstance(outcome.trace, AdaptiveTrace)
    assert (outcome.text, outcome.cause) == ("", StopCause.STOP_CAUSE_FINISHED)
    assert outcome.trace.gave_up
    assert (outcome.trace.steps, outcome.trace.tokens_given) == (1, 0)


async def test_a_buyer_who_says_what_a_right_answer_is_worth_buys_no_more_thinking(
    engine: AdaptiveEngine,
) -> None:
    steps = {}
    for value in (0, 1, 10**12):
        job = EngineJob(prompt=QUESTIONS[0], answer_value_nanos=value, price_nanos=400_000)
        outcome = await run(engine, job)
        assert isinstance(outcome.trace, AdaptiveTrace)
        assert outcome.trace.policy == NEVER._replace(value_nanos=value, price_nanos=400_000)
        assert inconsistencies(TINY, outcome.trace) == []
        first = outcome.trace.thoughts[0]
        steps[value] = len(first.steps)
        assert (first.decision == Decision.PRICE) == (steps[value] < TINY.steps_max)
    # One nano-dollar pays for no further step; a thousand dollars pay for all that may gain.
    assert steps[1] == 1 <= steps[10**12] <= steps[0] == TINY.steps_max


async def test_a_question_that_is_too_long_is_not_begun(engine: AdaptiveEngine) -> None:
    for text in ("yes " * (TOKENS_MAX + 1), "x" * (1 << 20)):
        outcome = await run(engine, ask(text))
        assert (outcome.cause, outcome.trace) == (StopCause.STOP_CAUSE_LENGTH, NOTHING_DONE)


@pytest.mark.parametrize(
    "text", ["   ", " ".join(f"{a}{b}q" for a in "abcdefgh" for b in "abcdefghi")]
)
async def test_a_question_that_cannot_be_read_is_an_error(
    engine: AdaptiveEngine, text: str
) -> None:
    with pytest.raises(EngineError):
        await run(engine, ask(text))


async def test_a_closed_engine_ends_its_run(engine: AdaptiveEngine) -> None:
    await engine.ready()
    await engine.close()
    with pytest.raises(EngineError, match="closed"):
        await run(engine, ask(QUESTIONS[0]))


async def test_a_broken_model_is_an_error_for_all_who_think(tmp_path: Path) -> None:
    weights = random_weights(tmp_path)
    weights.gate_outer_bias[:] = float("nan")
    room = ThinkingRoom(NumpyForm(weights), NEVER)
    engines = [AdaptiveEngine(room, CARD) for _ in range(2)]
    results = await asyncio.gather(
        *(run(e, ask(QUESTIONS[0])) for e in engines), return_exceptions=True
    )
    assert [type(result) for result in results] == [EngineError, EngineError]
