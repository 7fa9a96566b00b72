"""Training: its data, that it learns, that it goes on where it was, that it can be repeated."""

from __future__ import annotations

import json
import random
from pathlib import Path

import numpy as np
import pytest

from worker.model.tasks.draws import draw
from worker.model.tasks.splits import Exclusion
from worker.model.vocabulary import canonical

torch = pytest.importorskip("torch")

from worker.model import train  # noqa: E402
from worker.model.contestants import CONTESTANTS  # noqa: E402
from worker.model.pool import CURRICULUM, PARTS, batches, encode, make_pool  # noqa: E402
from worker.model.shipped import load_adaptive  # noqa: E402
from worker.model.train import Recipe, Training, TrainingError  # noqa: E402


@pytest.fixture(autouse=True)
def small_pools(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.set_num_threads(1)
    monkeypatch.setattr(train, "POOL_SAMPLES", 512)
    monkeypatch.setattr(train, "REPORT_EVERY", 4)


def test_pools_hold_training_questions_of_rising_difficulty() -> None:
    first, later = make_pool(0, 0, 200), make_pool(0, CURRICULUM[-1][0], 200)
    assert max(item.difficulty for item in first) == CURRICULUM[0][1]
    assert max(item.difficulty for item in later) == 8
    assert first == make_pool(0, 0, 200)
    assert first != make_pool(0, 1, 200)


def test_easy_pools_never_come_again() -> None:
    easy = CURRICULUM[-1][0]
    rounds = [train.pool_number(r) for r in range(3 * train.POOLS)]
    assert rounds[: train.POOLS] == list(range(train.POOLS))
    assert set(rounds[train.POOLS :]) == set(range(easy, train.POOLS))


def test_what_is_excluded_is_not_in_a_pool() -> None:
    rng = random.Random(3)
    shut_out = {
        canonical(draw(rng, "train", "easy", ("boolean",)).sample.question) for _ in range(200)
    }
    exclusion = Exclusion(frozenset(shut_out))
    make_pool(0, 0, 300, exclusion)
    assert exclusion.left_out > 0


def test_batches_give_every_row_its_targets() -> None:
    items = make_pool(0, CURRICULUM[-1][0], 256)
    for batch in batches(items, 1, 32, 10):
        assert len(batch) == PARTS
        for part in batch:
            steps, rows = part.targets.shape
            assert rows == 32 // PARTS
            assert 1 < steps <= 10
            assert np.array_equal(part.targets[-1], part.answer)


def test_encoding_follows_the_sample() -> None:
    drawn = draw(random.Random(1), "train", "uniform", ("lies",))
    item = encode(drawn)
    assert item.question[:-1] == drawn.reading.tokens
    assert len(item.targets) == len(item.answer) == 2
    assert len(item.targets[0]) == drawn.sample.depth


@pytest.mark.parametrize("name", sorted(CONTESTANTS))
def test_every_contestant_learns(name: str, tmp_path: Path) -> None:
    record = Training(Recipe(name, steps=40, batch=32), tmp_path, Exclusion()).run(lambda _: None)
    losses = [point["loss"] for point in record["curve"]]
    assert losses[-1] < losses[0] - 0.5
    assert not record["converged"]


def test_a_run_goes_on_where_it_was_and_can_be_repeated(tmp_path: Path) -> None:
    recipe = Recipe(steps=24, batch=32)
    shut_out = frozenset(
        canonical(draw(random.Random(n), "train", "easy", ("boolean",)).sample.question)
        for n in range(100)
    )
    whole = Training(recipe, tmp_path / "whole", Exclusion(shut_out)).run(lambda _: None)

    class Killed(Exception):
        pass

    def die(point: dict[str, float]) -> None:
        if point["step"] == 20:  # in the second pool
            raise Killed

    broken = Training(recipe, tmp_path / "broken", Exclusion(shut_out))
    with pytest.raises(Killed):
        broken.run(die)
    broken._keep()
    resumed = Training(recipe, tmp_path / "broken", Exclusion(shut_out)).run(lambda _: None)
    assert resumed["sha256"] == whole["sha256"]
    assert resumed["left_out"] == whole["left_out"] > 0
    assert json.loads((tmp_path / "broken" / "adaptive-0.json").read_text()) == resumed
    assert load_adaptive(0, tmp_path / "broken").shape.width == whole["shape"]["width"]


def test_another_recipe_does_not_go_on(tmp_path: Path) -> None:
    Training(Recipe(steps=2, batch=32), tmp_path, Exclusion()).run(lambda _: None)
    with pytest.raises(TrainingError, match="another recipe"):
        Training(Recipe(steps=3, batch=32), tmp_path, Exclusion()).run(lambda _: None)


def test_training_ends_in_time(tmp_path: Path) -> None:
    recipe = Recipe(steps=10_000, seconds=1.0, batch=32)
    record = Training(recipe, tmp_path, Exclusion()).run(lambda _: None)
    assert 0 < record["steps"] < 1_000


@pytest.mark.timeout(600)
def test_smoke_training_learns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One minute of CPU at most: easy questions are answered far better than at first."""
    monkeypatch.setattr(train, "POOL_SAMPLES", 4_096)
    recipe = Recipe(steps=90, seconds=50)
    record = Training(recipe, tmp_path, Exclusion()).run(lambda _: None)
    shares = [point["right"] for point in record["curve"]]
    assert shares[0] < 0.2
    assert sum(shares[-5:]) / 5 > 0.25
