"""Weights that cannot be used are refused with a reason; replay finds what a trace hides."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save

from exchange.metering.adaptive import AdaptiveTrace, Policy
from tests.worker.model.weights_of_chance import TINY, random_tensors, random_weights, requests
from worker.model import weights as module
from worker.model.errors import WeightsError
from worker.model.forms import NumpyForm
from worker.model.thinking import Request, think
from worker.model.verify import NOISE_PPM, replay
from worker.model.weights import load_weights


def written(path: Path, **changes: np.ndarray | None) -> Path:
    tensors = random_tensors()
    for name, tensor in changes.items():
        if tensor is None:
            del tensors[name]
        else:
            tensors[name] = tensor
    file = path / "weights.safetensors"
    file.write_bytes(save(tensors))
    return file


def test_good_weights_are_taken(tmp_path: Path) -> None:
    first = load_weights(written(tmp_path), TINY)
    assert load_weights(written(tmp_path), TINY, first.sha256).sha256 == first.sha256


def test_another_digest_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="SHA-256"):
        load_weights(written(tmp_path), TINY, "0" * 64)


def test_numbers_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    broken = random_tensors()["core.up"]
    broken[1, 2, 3] = np.nan
    with pytest.raises(WeightsError, match="not finite"):
        load_weights(written(tmp_path, **{"core.up": broken}), TINY)


@pytest.mark.parametrize(
    ("tensor", "why"),
    [
        (None, "missing"),
        (np.zeros((3, 3), np.float32), "of shape"),
        (np.zeros((64, 4), np.float64), "float64"),
    ],
)
def test_other_tensors_are_refused(tmp_path: Path, tensor: np.ndarray | None, why: str) -> None:
    with pytest.raises(WeightsError, match=why):
        load_weights(written(tmp_path, **{"core.router": tensor}), TINY)


def test_files_that_are_no_weights_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(WeightsError, match="cannot read"):
        load_weights(tmp_path / "none.safetensors", TINY)
    (tmp_path / "text").write_bytes(b"no tensors here")
    with pytest.raises(WeightsError, match="safetensors"):
        load_weights(tmp_path / "text", TINY)
    monkeypatch.setattr(module, "WEIGHTS_BYTES_MAX", 100)
    with pytest.raises(WeightsError, match="more than 100 bytes"):
        load_weights(written(tmp_path), TINY)


@pytest.fixture(scope="module")
def form(tmp_path_factory: pytest.TempPathFactory) -> NumpyForm:
    return NumpyForm(random_weights(tmp_path_factory.mktemp("weights")))


def traced(form: NumpyForm, count: int) -> list[tuple[Request, AdaptiveTrace]]:
    done = think(form, requests(count, seed=5))
    return [(t.request, t.trace()) for t in done if t.began]


def test_honest_traces_are_replayed(form: NumpyForm) -> None:
    for request, trace in traced(form, 60):
        assert replay(form, request.question, trace) == []


def test_a_trace_of_other_weights_is_found(form: NumpyForm, tmp_path: Path) -> None:
    other = NumpyForm(random_weights(tmp_path, seed=1))
    assert all(replay(other, request.question, trace) for request, trace in traced(form, 20))


def test_a_trace_of_another_question_is_found(form: NumpyForm) -> None:
    (request, trace), (other, _) = traced(form, 8)[:2]
    assert request.question != other.question
    assert replay(form, other.question, trace)
    assert replay(form, request.question[:-1], trace)


def test_changed_decisions_are_found(form: NumpyForm) -> None:
    request = Request(requests(1)[0].question, 10**9, Policy(halt_ppm=1_000_001), 3)
    trace = think(form, [request])[0].trace()
    first = trace.thoughts[0]
    step = first.steps[4]
    cases = [
        first._replace(token=first.token + 1),
        first._replace(steps=first.steps[:-1]),
        first._replace(steps=(*first.steps[:4], step._replace(experts=step.experts ^ 0b1111))),
        first._replace(steps=(*first.steps[:4], step._replace(now_ppm=step.now_ppm + NOISE_PPM))),
    ]
    for changed in cases:
        lie = trace._replace(thoughts=(changed, *trace.thoughts[1:]))
        assert replay(form, request.question, lie), changed
    assert replay(form, request.question, trace._replace(thoughts=trace.thoughts[:2])) == []
