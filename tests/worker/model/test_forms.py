"""The torch form is the NumPy form, and torch counts what the meter counts."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from exchange.metering.adaptive import AdaptiveTrace, adaptive_flops
from tests.worker.model.weights_of_chance import TINY, random_weights, requests
from worker.model.forms import Form, NumpyForm, TorchForm
from worker.model.reading import read_rows
from worker.model.thinking import think
from worker.model.vocabulary import ASK
from worker.model.weights import Weights

torch = pytest.importorskip("torch")

PROBABILITY_BOUND_PPM = 20
"""How far fp32 products in another order may move a recorded probability."""


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Weights:
    torch.set_num_threads(1)
    return random_weights(tmp_path_factory.mktemp("weights"))


def decisions(trace: AdaptiveTrace) -> list[object]:
    return [([s.experts for s in t.steps], t.decision, t.token) for t in trace.thoughts]


def test_numpy_and_torch_decide_alike(weights: Weights) -> None:
    asked = requests(60)
    for one, other in zip(
        think(NumpyForm(weights), asked), think(TorchForm(weights), asked), strict=True
    ):
        assert decisions(one.trace()) == decisions(other.trace())
        for mine, yours in zip(one.trace().thoughts, other.trace().thoughts, strict=True):
            for a, b in zip(mine.steps, yours.steps, strict=True):
                assert abs(a.now_ppm - b.now_ppm) <= PROBABILITY_BOUND_PPM
                assert abs(a.ever_ppm - b.ever_ppm) <= PROBABILITY_BOUND_PPM


@pytest.mark.parametrize("kind", ["numpy", "torch", "batched"])
def test_what_was_read_stays_true_while_the_answer_grows(weights: Weights, kind: str) -> None:
    from worker.model.batched import BatchedForm

    forms: dict[str, Callable[[], Form]] = {
        "numpy": lambda: NumpyForm(weights),
        "torch": lambda: TorchForm(weights),
        "batched": lambda: BatchedForm(weights, "cpu"),
    }
    form = forms[kind]()
    rng = np.random.default_rng(5)
    for request in requests(20, seed=9):
        row = (*request.question, ASK)
        begun = form.read(row, 0)
        for written in range(1, 6):
            row = (*row, int(rng.integers(2, TINY.vocabulary)))
            begun = form.read(row, written, begun)
            for part, whole in zip(begun, form.read(row, written), strict=True):
                np.testing.assert_array_equal(part, whole)


def test_torch_counts_what_the_meter_counts(weights: Weights) -> None:
    """The torch form makes every product explicitly, or it would count 0.

    `flopex bench model` does the same for 1,000 requests.
    """
    from torch.utils.flop_counter import FlopCounterMode

    form = TorchForm(weights)
    mismatches = 0
    for request in requests(100, seed=4):
        with FlopCounterMode(display=False) as counter:
            done = think(form, [dataclasses.replace(request, tokens_max=2)])[0]
        mismatches += counter.get_total_flops() != adaptive_flops(TINY, done.trace())
    assert mismatches == 0


def test_the_training_form_is_the_numpy_form(weights: Weights, tmp_path: Path) -> None:
    """All steps of the model as it is trained, against steps made one by one."""
    from safetensors.torch import load_file

    from worker.model.model import AdaptiveModel

    model = AdaptiveModel(TINY)
    random_weights(tmp_path)
    model.load_state_dict(load_file(tmp_path / "weights.safetensors"))
    form = NumpyForm(weights)
    for request in requests(5):
        tokens = (*request.question, 1)
        rows = read_rows(np.array([tokens]), np.array([0]))
        with torch.no_grad():
            thoughts = model(*map(torch.from_numpy, rows), 6, 0.6)
        memory = form.read(tokens, 0)
        state = memory.state
        for step in range(6):
            stepped = form.step([state], [memory], [step], 0.6)
            state = stepped.states[0]
            np.testing.assert_allclose(stepped.gates, thoughts.gates[step].numpy(), atol=2e-4)
            written = form.write([state])
            np.testing.assert_allclose(written, thoughts.answers[step].numpy(), atol=2e-4)
