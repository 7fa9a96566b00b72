"""Re-execution: honest traces pass on every form, and what was changed in one is found."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from exchange.metering.adaptive import AdaptiveTrace, Step, inconsistencies
from tests.worker.model.weights_of_chance import TINY, random_weights, requests
from worker.model.forms import NumpyForm
from worker.model.replay import NOISE_PPM, Replayed, replay
from worker.model.thinking import Request, Thinking, think
from worker.model.weights import Weights


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Weights:
    return random_weights(tmp_path_factory.mktemp("weights"))


@pytest.fixture(scope="module")
def thought(weights: Weights) -> list[Thinking]:
    return think(NumpyForm(weights), requests(40))


@pytest.fixture(scope="module")
def form(weights: Weights) -> NumpyForm:
    return NumpyForm(weights)


def test_what_one_machine_thought_is_thought_again(
    form: NumpyForm, thought: list[Thinking]
) -> None:
    for one in thought:
        trace = one.trace()
        assert replay(form, one.request.question, trace) == Replayed((), trace.steps, 0)


def test_what_a_gpu_form_thought_is_accepted(weights: Weights, form: NumpyForm) -> None:
    torch = pytest.importorskip("torch", reason="torch is not installed (extra: train)")
    from worker.model.batched import BatchedForm

    torch.set_num_threads(1)
    steps = 0
    for one in think(BatchedForm(weights, "cpu"), requests(40, seed=3)):
        found = replay(form, one.request.question, one.trace())
        assert found.differences == ()
        steps += found.steps
    assert steps > 200


def long_one(thought: list[Thinking]) -> Thinking:
    """One with several tokens and steps whose choices were not close."""

    def clear(trace: AdaptiveTrace) -> bool:
        margins = [step.margin_ppm for t in trace.thoughts[:2] for step in t.steps]
        return len(trace.thoughts) > 2 and min(*margins, trace.thoughts[0].margin_ppm) > 500

    return max((t for t in thought if clear(t.trace())), key=lambda t: t.trace().steps)


Change = Callable[[AdaptiveTrace], AdaptiveTrace]


def in_step(**changed: Any) -> Change:
    """The trace with the first step of its second token changed; numbers are added."""

    def change(trace: AdaptiveTrace) -> AdaptiveTrace:
        first, second, *rest = trace.thoughts
        step = second.steps[0]
        step = step._replace(**{name: getattr(step, name) + by for name, by in changed.items()})
        second = second._replace(steps=(step, *second.steps[1:]))
        return trace._replace(thoughts=(first, second, *rest))

    return change


def in_thought(**changed: int) -> Change:
    def change(trace: AdaptiveTrace) -> AdaptiveTrace:
        first, *rest = trace.thoughts
        first = first._replace(**{name: getattr(first, name) + by for name, by in changed.items()})
        return trace._replace(thoughts=(first, *rest))

    return change


def other_experts(trace: AdaptiveTrace) -> AdaptiveTrace:
    experts = trace.thoughts[1].steps[0].experts
    return in_step(experts=(0b0001 if experts != 0b0001 else 0b0010) - experts)(trace)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (in_step(now_ppm=-NOISE_PPM - 5), "token 1, step 1: now_ppm"),
        (in_step(ever_ppm=-NOISE_PPM - 5), "token 1, step 1: ever_ppm"),
        (in_step(margin_ppm=NOISE_PPM + 5), "token 1, step 1: margin"),
        (other_experts, "token 1, step 1: experts"),
        (in_thought(token=1), "token 0: "),
        (in_thought(margin_ppm=NOISE_PPM + 5), "token 0: margin"),
        (lambda trace: trace._replace(prompt_tokens=trace.prompt_tokens - 1), "tokens were read"),
    ],
)
def test_what_was_changed_is_found(
    form: NumpyForm, thought: list[Thinking], change: Change, message: str
) -> None:
    one = long_one(thought)
    changed = change(one.trace())
    found = replay(form, one.request.question, changed)
    assert any(message in difference for difference in found.differences), found


def test_noise_is_no_difference(form: NumpyForm, thought: list[Thinking]) -> None:
    one = long_one(thought)
    for change in (in_step(now_ppm=NOISE_PPM), in_step(ever_ppm=-NOISE_PPM)):
        assert replay(form, one.request.question, change(one.trace())).differences == ()


def test_another_question_is_found(form: NumpyForm, thought: list[Thinking]) -> None:
    one = long_one(thought)
    question = one.request.question
    other = (question[0] + 1 if question[0] < 700 else 5, *question[1:])
    assert replay(form, other, one.trace()).differences


def test_a_margin_made_small_excuses_nothing(form: NumpyForm, thought: list[Thinking]) -> None:
    trace = long_one(thought).trace()
    hidden = other_experts(in_step(margin_ppm=-trace.thoughts[1].steps[0].margin_ppm)(trace))
    found = replay(form, long_one(thought).request.question, hidden)
    assert any("margin 0 instead of" in difference for difference in found.differences)


def test_a_choice_between_equals_may_fall_otherwise(weights: Weights) -> None:
    """All experts tie, and the lowest are taken: a machine that took others is no liar."""
    router = np.ascontiguousarray(np.repeat(weights.router[:, :1], TINY.experts, 1))
    form = NumpyForm(dataclasses.replace(weights, router=router))
    question = requests(1)[0].question
    trace = think(form, [Request(question, 10**9, tokens_max=1)])[0].trace()
    (only,) = trace.thoughts
    assert (only.steps[0].experts, only.steps[0].margin_ppm) == (0b0011, 0)
    other = only._replace(steps=(only.steps[0]._replace(experts=0b1100), *only.steps[1:]))
    found = replay(form, question, trace._replace(thoughts=(other,)))
    assert (found.differences, found.excused) == ((), 1)


def test_numbers_beyond_the_model_are_refused(form: NumpyForm, thought: list[Thinking]) -> None:
    trace, question = long_one(thought).trace(), long_one(thought).request.question
    first = trace.thoughts[0]
    longer = first._replace(steps=(Step(1, 0, 0, 0),) * (TINY.steps_max + 1))
    beyond = first._replace(token=TINY.answers)
    for wrong, message in ((longer, "more steps"), (beyond, "cannot write")):
        found = replay(form, question, trace._replace(thoughts=(wrong,)))
        assert message in found.differences[0]


def test_depth_two_already_holds_for_honest_traces(thought: list[Thinking]) -> None:
    assert all(inconsistencies(TINY, one.trace()) == [] for one in thought)
