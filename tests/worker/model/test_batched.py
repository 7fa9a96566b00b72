"""The form for a GPU, run on the CPU: it decides as the specification does, in any batch."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from exchange.metering.adaptive import Thought, adaptive_flops, inconsistencies
from tests.worker.model.weights_of_chance import TINY, random_weights, requests
from worker.model.forms import NumpyForm
from worker.model.thinking import think
from worker.model.weights import Weights

pytest.importorskip("torch", reason="torch is not installed (extra: train)")
NOISE_PPM = 20
"""How far probabilities and margins of two forms may lie apart: fp32 sums in another order."""


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Weights:
    return random_weights(tmp_path_factory.mktemp("weights"))


@pytest.fixture(scope="module")
def batched(weights: Weights) -> Any:
    import torch

    from worker.model.batched import BatchedForm

    torch.set_num_threads(1)  # small products: threads would only wait for each other
    return BatchedForm(weights, "cpu")


def test_one_step_is_that_of_the_specification(weights: Weights, batched: Any) -> None:
    plain = NumpyForm(weights)
    asked = [r.question for r in requests(40)]
    here, there = [plain.read(q, 0) for q in asked], [batched.read(q, 0) for q in asked]
    steps = [number % 4 for number in range(40)]
    one = plain.step([m.state for m in here], here, steps, 0.6)
    two = batched.step([m.state for m in there], there, steps, 0.6)
    np.testing.assert_allclose(two.states.numpy(), one.states, atol=2e-4, rtol=1e-4)
    np.testing.assert_allclose(two.gates, one.gates, atol=2e-4, rtol=1e-4)
    clear = one.margins > 1e-5
    assert clear.sum() > 30
    np.testing.assert_array_equal(two.experts[clear], one.experts[clear])
    np.testing.assert_allclose(
        batched.write(list(two.states)), plain.write(list(one.states)), atol=1e-3, rtol=1e-3
    )


def close(one: tuple[Thought, ...], other: tuple[Thought, ...]) -> bool:
    """The same decisions, at probabilities that differ by no more than noise."""
    return len(one) == len(other) and all(
        (a.decision, a.token, len(a.steps)) == (b.decision, b.token, len(b.steps))
        and all(
            s.experts == t.experts
            and abs(s.now_ppm - t.now_ppm) <= NOISE_PPM
            and abs(s.ever_ppm - t.ever_ppm) <= NOISE_PPM
            for s, t in zip(a.steps, b.steps, strict=True)
        )
        for a, b in zip(one, other, strict=True)
    )


@pytest.mark.parametrize(("at_once", "count"), [(1, 10), (32, 60)])
def test_it_thinks_as_the_specification_does(
    weights: Weights, batched: Any, at_once: int, count: int
) -> None:
    asked = requests(count)
    alike = zip(think(NumpyForm(weights), asked), think(batched, asked, at_once), strict=True)
    for one, other in alike:
        trace = other.trace()
        assert inconsistencies(TINY, trace) == []
        assert adaptive_flops(TINY, trace) <= other.request.budget_flops
        if not close(one.trace().thoughts, trace.thoughts):
            # A decision fell otherwise: one of them was about as close as the noise.
            margins = [s.margin_ppm for t in one.trace().thoughts for s in t.steps]
            assert min(margins) <= NOISE_PPM, (one.trace(), trace)
