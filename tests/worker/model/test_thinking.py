"""Thinking in NumPy: budgets, decisions, batches."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from exchange.metering.adaptive import (
    Decision,
    Policy,
    adaptive_flops,
    answer_flops,
    decide,
    first_step_flops,
    inconsistencies,
    step_flops_worst,
)
from tests.worker.model.weights_of_chance import TINY, random_weights, requests
from worker.model.forms import NumpyForm
from worker.model.sizes import BATCH_MAX
from worker.model.thinking import Batch, Request, Thinking, think


@pytest.fixture(scope="module")
def form(tmp_path_factory: pytest.TempPathFactory) -> NumpyForm:
    # Of the first seeds the one whose gate makes every decision, as the tests below assert.
    return NumpyForm(random_weights(tmp_path_factory.mktemp("weights"), seed=3))


def same(one: Thinking, other: Thinking) -> bool:
    """Bit for bit: decisions, recorded numbers, and the last state."""
    return (
        one.trace() == other.trace()
        and one.answer == other.answer
        and np.array_equal(one.state, other.state)
    )


def test_alone_and_batched_are_the_same_to_the_bit(form: NumpyForm) -> None:
    asked = requests(300)
    alone = think(form, asked, at_once=1)
    for at_once in (7, BATCH_MAX):
        batched = think(form, asked, at_once)
        assert [same(a, b) for a, b in zip(alone, batched, strict=True)] == [True] * len(asked)
    assert {d for t in alone for d in (h.decision for h in t.thoughts)} >= {
        Decision.ANSWER,
        Decision.HOPELESS,
        Decision.STEPS,
        Decision.BUDGET,
    }


def test_the_number_of_threads_changes_no_decision(tmp_path: Path) -> None:
    program = (
        "import sys, pathlib, hashlib\n"
        "from tests.worker.model.weights_of_chance import random_weights, requests\n"
        "from worker.model.forms import NumpyForm\n"
        "from worker.model.thinking import think\n"
        "form = NumpyForm(random_weights(pathlib.Path(sys.argv[1])))\n"
        "done = think(form, requests(300))\n"
        "print(hashlib.sha256(b''.join(t.trace().encode() + t.state.tobytes() if t.began\n"
        "    else b'' for t in done)).hexdigest())\n"
    )
    found = set()
    for threads in ("1", "2"):
        environment = {
            **os.environ,
            "OPENBLAS_NUM_THREADS": threads,
            "OMP_NUM_THREADS": threads,
            "PYTHONPATH": str(Path(__file__).parents[3]),
        }
        command = [sys.executable, "-c", program, str(tmp_path)]
        found.add(subprocess.run(command, env=environment, check=True, capture_output=True).stdout)
    assert len(found) == 1


def test_no_request_exceeds_its_budget_and_every_decision_follows(form: NumpyForm) -> None:
    for thinking in think(form, requests(300)):
        trace = thinking.trace()
        assert adaptive_flops(TINY, trace) <= thinking.request.budget_flops
        assert inconsistencies(TINY, trace) == []
        reserved = 0 if trace.thoughts and trace.thoughts[-1].token >= 0 else answer_flops(TINY)
        if thinking.began:
            spent = thinking.request.budget_flops - adaptive_flops(TINY, trace)
            assert thinking.left_flops == spent - reserved


def test_a_request_that_cannot_pay_one_step_is_refused_before_any_work(form: NumpyForm) -> None:
    question = requests(1)[0].question
    least = first_step_flops(TINY, len(question) + 1)
    refused, taken = think(form, [Request(question, least - 1), Request(question, least)])
    assert (refused.began, refused.ended, refused.trace().prompt_tokens) == (
        False,
        Decision.BUDGET,
        0,
    )
    assert taken.began
    assert adaptive_flops(TINY, taken.trace()) <= least


def test_the_gate_decides_as_the_integer_rule_does(form: NumpyForm) -> None:
    """`worker.model.gating.halt` and `exchange.metering.adaptive.decide` are the same rule."""
    for thinking in think(form, requests(100, seed=3)):
        left = thinking.request.budget_flops
        for place, thought in enumerate(thinking.thoughts):
            context = len(thinking.request.question) + 1 + place
            worst = step_flops_worst(TINY, context)
            left -= answer_flops(TINY)
            for number, step in enumerate(thought.steps, 1):
                left -= (
                    step_flops_worst(TINY, context)
                    - (2 - step.experts.bit_count()) * 4 * TINY.width * TINY.ff_width
                )
                steps_left = min(10, thinking.request.policy.steps_max) - number
                due = decide(
                    thinking.request.policy, step.now_ppm, step.ever_ppm, steps_left, worst, left
                )
                said = thought.decision if number == len(thought.steps) else Decision.GO_ON
                assert due == said


def test_price_buys_fewer_steps(form: NumpyForm) -> None:
    questions = [request.question for request in requests(60, seed=3)]

    def steps(price: int) -> int:
        policy = Policy(990_000, 0, value_nanos=100, price_nanos=price, steps_max=10)
        asked = [Request(question, 10**9, policy) for question in questions]
        return sum(thinking.trace().steps for thinking in think(form, asked))

    assert steps(0) > steps(10**7) > steps(10**12) > 0


def test_a_request_can_be_stopped_between_steps(form: NumpyForm) -> None:
    batch = Batch(form)
    policy = Policy(halt_ppm=1_000_001, steps_max=10)
    thinking = batch.admit(Request(requests(1)[0].question, 10**9, policy))
    for _ in range(3):
        batch.advance()
    batch.stop(thinking)
    assert batch.live == []
    trace = thinking.trace()
    assert (trace.steps, trace.tokens_given, thinking.ended) == (3, 0, Decision.GO_ON)
    assert adaptive_flops(TINY, trace) > 0
    assert inconsistencies(TINY, trace) == []


def test_a_batch_has_a_bound(form: NumpyForm) -> None:
    batch = Batch(form)
    question = requests(1)[0].question
    for _ in range(BATCH_MAX):
        batch.admit(Request(question, 10**9))
    with pytest.raises(OverflowError):
        batch.admit(Request(question, 10**9))
