"""Names of training runs, and which sizes are shipped."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.worker.model.weights_of_chance import random_run
from worker.engines.adaptive import AdaptiveEngine, ThinkingRoom
from worker.engines.base import EngineError
from worker.model import shipped
from worker.model.errors import WeightsError
from worker.model.sizes import SIZES, Run

NAMES = {
    "adaptive-0": Run("adaptive", "tiny", 0),
    "adaptive-small-0": Run("adaptive", "small", 0),
    "dense3-final-2": Run("dense3-final", "tiny", 2),
    "dense3-final-base-12": Run("dense3-final", "base", 12),
}


@pytest.mark.parametrize("name", NAMES)
def test_a_run_and_its_name_belong_together(name: str) -> None:
    assert NAMES[name].name == name
    assert Run.named(name) == NAMES[name]


@pytest.mark.parametrize("name", ["", "adaptive", "0", "-0", "adaptive-x", "adaptive-small"])
def test_another_name_is_none_of_a_run(name: str) -> None:
    with pytest.raises(ValueError, match="no name of a run"):
        Run.named(name)


def test_a_folder_is_read_size_by_size(tmp_path: Path) -> None:
    for name in NAMES:
        (tmp_path / f"{name}.safetensors").touch()
    assert shipped.trained(tmp_path) == {"adaptive": [0], "dense3-final": [2]}
    assert shipped.trained(tmp_path, "small") == {"adaptive": [0]}
    assert shipped.trained(tmp_path, "base") == {"dense3-final": [12]}
    (tmp_path / "weights.safetensors").touch()
    with pytest.raises(WeightsError, match="weights is no name of a run"):
        shipped.trained(tmp_path)


def test_weights_are_found_by_seed_and_size(tmp_path: Path) -> None:
    for run in (Run("adaptive", "tiny", 0), Run("adaptive", "small", 0)):
        random_run(tmp_path, run)
        assert shipped.load_adaptive(0, tmp_path, run.size).shape == SIZES[run.size]
    with pytest.raises(WeightsError, match="no record of adaptive-small-1"):
        shipped.load_adaptive(1, tmp_path, "small")


def test_every_size_that_is_sold_has_weights_card_and_thresholds() -> None:
    sold = shipped.shipped_sizes()
    assert sold == ["tiny", "small"]
    cards = [shipped.shipped_card(size) for size in sold]
    assert [card.name for card in cards] == [f"adaptive-{size}" for size in sold]
    assert [card.adaptive for card in cards] == [SIZES[size] for size in sold]
    assert len({card.digest() for card in cards}) == len(sold)
    for size in sold:
        assert shipped.shipped_policy(size).steps_max <= SIZES[size].steps_max
    assert shipped.shipped_card() == cards[0]
    assert shipped.model_name() == "adaptive-tiny"


def test_the_records_belong_to_the_names() -> None:
    """A file that was named after another run than its own would be sold as that."""
    for path in shipped.TRAINED.glob("*-*.json"):
        recipe = shipped.record_of(path.stem)["recipe"]
        assert Run(recipe["contestant"], recipe["size"], recipe["seed"]).name == path.stem


async def test_a_size_without_weights_is_said() -> None:
    missing = "no weights of the size base are shipped; shipped: tiny, small"
    with pytest.raises(WeightsError, match=missing):
        shipped.shipped_card("base")
    with pytest.raises(WeightsError, match=missing):
        shipped.shipped_policy("base")
    with pytest.raises(WeightsError, match=missing):
        shipped.load_for("cpu", "base")
    room = ThinkingRoom(size="base")
    with pytest.raises(EngineError, match=missing):
        _ = AdaptiveEngine(room).card
    with pytest.raises(EngineError, match=missing):
        await room.load()


def test_thresholds_that_are_missing_are_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shipped, "TRAINED", tmp_path)
    monkeypatch.setattr(shipped, "shipped_sizes", lambda: ["tiny", "small"])
    policy = shipped.shipped_policy.__wrapped__
    with pytest.raises(WeightsError, match="no thresholds"):
        policy("small")
    (tmp_path / shipped.POLICY_FILE).write_text('{"tiny": {}}')
    for size in ("tiny", "small"):
        with pytest.raises(WeightsError, match=f"no thresholds for the size {size}"):
            policy(size)
