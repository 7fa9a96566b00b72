"""What is wrong with a request or a file of weights is said at once, and nothing is computed."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import save_file

from exchange.metering.adaptive import (
    Decision,
    Policy,
    adaptive_flops,
    first_step_flops,
)
from tests.worker.model.weights_of_chance import TINY, random_tensors, random_weights
from worker.model.errors import WeightsError
from worker.model.forms import NumpyForm
from worker.model.thinking import Request, think
from worker.model.vocabulary import (
    PromptEmpty,
    PromptError,
    PromptForeign,
    PromptTooLong,
    TooManyAliases,
    read,
)
from worker.model.weights import WEIGHTS_BYTES_MAX, Weights, load_weights


@pytest.mark.parametrize(
    ("prompt", "error", "says"),
    [
        ("", PromptEmpty, "nothing"),
        (" \t\r ", PromptEmpty, "nothing"),
        ("x" * (1 << 20), PromptTooLong, "65536 bytes"),
        ("True or " * (1 << 17), PromptTooLong, "65536 bytes"),
        ("True or " * 200 + "True is", PromptTooLong, "402 tokens"),
        ("9" * 60_000, PromptTooLong, "tokens"),
        ("Wie viele Tage hat eine Woche?", PromptForeign, "English"),
        ("一週間は何日ですか", PromptForeign, "English"),
        (
            "is in " + " ".join(f"{a}{b}q" for a in "bcdfghjk" for b in "bcdfghjkl"),
            TooManyAliases,
            "unknown words",
        ),
    ],
)
def test_a_prompt_that_cannot_be_read(prompt: str, error: type[PromptError], says: str) -> None:
    with pytest.raises(error, match=says):
        read(prompt)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> NumpyForm:
    return NumpyForm(random_weights(tmp_path_factory.mktemp("weights")))


def test_a_budget_below_one_step_is_refused_before_any_work(model: NumpyForm) -> None:
    question = read("True or False is").tokens
    least = first_step_flops(TINY, len(question) + 1)
    refused, begun = think(model, [Request(question, least - 1), Request(question, least)])
    assert not refused.began
    assert refused.ended == Decision.BUDGET
    assert refused.trace().prompt_tokens == 0
    assert adaptive_flops(TINY, refused.trace()) == 0
    assert begun.began
    assert 0 < adaptive_flops(TINY, begun.trace()) <= least


@pytest.mark.parametrize("budget", [0, -1])
def test_no_budget_is_refused(model: NumpyForm, budget: int) -> None:
    (refused,) = think(model, [Request(read("True is").tokens, budget, Policy())])
    assert not refused.began


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("name", ["vectors.tokens", "core.router", "gate.outer_bias"])
def test_weights_that_are_not_finite(tmp_path: Path, name: str, bad: float) -> None:
    damaged = random_tensors()
    damaged[name].flat[-1] = bad
    with pytest.raises(WeightsError, match=f"{name}.*not finite"):
        load(tmp_path, damaged)


def test_a_file_with_another_digest(tmp_path: Path) -> None:
    path = whole_file(tmp_path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert load_weights(path, TINY, digest).sha256 == digest
    with pytest.raises(WeightsError, match=f"SHA-256 {digest}, not {'0' * 64}"):
        load_weights(path, TINY, "0" * 64)


@pytest.mark.parametrize("cut", [0, 7, 100, -1])
def test_a_file_that_was_cut(tmp_path: Path, cut: int) -> None:
    path = whole_file(tmp_path)
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(WeightsError, match="safetensors"):
        load_weights(path, TINY)


def test_a_file_that_is_missing_or_too_large(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="No such file"):
        load_weights(tmp_path / "none", TINY)
    with (tmp_path / "large").open("wb") as file:
        file.truncate(WEIGHTS_BYTES_MAX + 1)
    with pytest.raises(WeightsError, match="bytes"):
        load_weights(tmp_path / "large", TINY)


def test_tensors_that_are_missing_misshapen_or_of_another_type(tmp_path: Path) -> None:
    whole = random_tensors()
    without = {name: tensor for name, tensor in whole.items() if name != "core.up"}
    with pytest.raises(WeightsError, match=r"core\.up.*missing"):
        load(tmp_path, without)
    with pytest.raises(WeightsError, match=r"core\.up.*shape"):
        load(tmp_path, whole | {"core.up": whole["core.up"][:1].copy()})
    with pytest.raises(WeightsError, match="float16"):
        load(tmp_path, whole | {"core.up": whole["core.up"].astype(np.float16)})


def whole_file(folder: Path) -> Path:
    save_file(random_tensors(), folder / "whole.safetensors")
    return folder / "whole.safetensors"


def load(folder: Path, damaged: dict[str, NDArray[np.float32]]) -> Weights:
    save_file(damaged, folder / "damaged.safetensors")
    return load_weights(folder / "damaged.safetensors", TINY)
