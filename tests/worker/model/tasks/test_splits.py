from __future__ import annotations

import itertools
import json
import random
from collections import Counter
from pathlib import Path

import pytest

from worker.model.tasks import DIFFICULTIES, FAMILIES, draws, generate
from worker.model.tasks.draws import SplitEmpty, difficulty, draw, stream
from worker.model.tasks.splits import Exclusion, ExclusionError, Split, split_of
from worker.model.vocabulary import canonical, read

SPLITS: tuple[Split, ...] = ("train", "validation", "test")


def test_splits_have_their_shares() -> None:
    shares = Counter(split_of(f"question {n}") for n in range(20_000))
    assert shares["test"] == pytest.approx(2_000, rel=0.1)
    assert shares["validation"] == pytest.approx(2_000, rel=0.1)
    assert shares["train"] == pytest.approx(16_000, rel=0.02)


def test_a_split_never_changes() -> None:
    """These belong to committed weights: another hash would let test questions into training."""
    forms = ("true is", "do <1> tell the truth ?", "question 8")
    assert [split_of(form) for form in forms] == ["train", "test", "validation"]


def test_what_is_drawn_for_training_is_never_tested_on() -> None:
    """By the question itself: what is written around it does not make it another one."""
    drawn = {
        split: {
            canonical(d.sample.question) for d in itertools.islice(stream(1, split, "easy"), 600)
        }
        for split in SPLITS
    }
    assert not drawn["train"] & drawn["test"]
    assert not drawn["train"] & drawn["validation"]
    assert not drawn["validation"] & drawn["test"]


@pytest.mark.parametrize("family", FAMILIES)
def test_every_split_has_questions_of_every_family_and_difficulty(family: str) -> None:
    rng = random.Random(8)
    for k in (1, 2, 8):
        found = Counter(split_of(canonical(generate(rng, family, k).question)) for _ in range(400))
        assert set(found) == set(SPLITS)


def test_streams_are_the_same_for_a_seed_and_differ_between_seeds() -> None:
    def some(seed: int) -> list[str]:
        return [d.sample.question for d in itertools.islice(stream(seed, "train", "uniform"), 50)]

    assert some(1) == some(1)
    assert some(1) != some(2)


def test_what_is_drawn_is_what_is_read() -> None:
    for drawn in itertools.islice(stream(3, "validation", "easy"), 100):
        assert drawn.reading == read(drawn.sample.question)


def test_mixes() -> None:
    rng = random.Random(9)
    uniform = Counter(difficulty(rng, "uniform") for _ in range(8_000))
    assert sorted(uniform) == list(DIFFICULTIES)
    assert min(uniform.values()) > 850
    easy = Counter(difficulty(rng, "easy") for _ in range(8_000))
    assert sorted(easy) == list(DIFFICULTIES)
    for k in (1, 2, 3):
        assert easy[k] == pytest.approx(8_000 / 2**k, rel=0.15)


def test_families_can_be_chosen() -> None:
    drawn = itertools.islice(stream(4, "train", "easy", ("lies",)), 20)
    assert {d.sample.family for d in drawn} == {"lies"}


def folder_with(tmp_path: Path, questions: list[str]) -> Path:
    (tmp_path / "a.json").write_text(
        json.dumps({"canary": "x", "examples": [{"input": q, "target": "?"} for q in questions]})
    )
    return tmp_path


def test_excluded_questions_are_left_out_and_counted(tmp_path: Path) -> None:
    rng = random.Random("5 train easy")
    seen = [draw(rng, "train", "easy", ("boolean",)).sample.question for _ in range(30)]
    exclusion = Exclusion.from_folder(folder_with(tmp_path, [seen[0].upper(), seen[1]]))
    drawn = [
        canonical(d.sample.question)
        for d in itertools.islice(stream(5, "train", "easy", ("boolean",), exclusion), 300)
    ]
    assert not exclusion.forms & set(drawn)
    assert exclusion.left_out >= 2


def test_all_forms_of_files_are_read(tmp_path: Path) -> None:
    folder_with(tmp_path, ["Alpha lies.", "1 " * 10_000])
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "b.jsonl").write_text('{"question": "Beta is 3."}\n\n{"prompt": "4 + 4"}\n')
    (tmp_path / "c.txt").write_text("5 + 5\n\n6 + 6\n")
    (tmp_path / "d.csv").write_text("7 + 7\n")
    (tmp_path / "e.json").write_text('["8 + 8"]')
    forms = {"<1> lie .", "<1> is 3 .", "4 + 4", "5 + 5", "6 + 6", "8 + 8"}
    assert Exclusion.from_folder(tmp_path).forms == forms


@pytest.mark.parametrize("content", ["{", "\ud800"])
def test_damaged_files_are_named(tmp_path: Path, content: str) -> None:
    (tmp_path / "bad.json").write_bytes(content.encode("utf-8", "surrogatepass"))
    with pytest.raises(ExclusionError, match=r"bad\.json"):
        Exclusion.from_folder(tmp_path)


def test_a_folder_without_questions_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ExclusionError, match="no question"):
        Exclusion.from_folder(tmp_path)
    with pytest.raises(ExclusionError):
        Exclusion.from_folder(tmp_path / "missing")


def test_a_split_with_nothing_left_ends_in_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    class Everything(Exclusion):
        def excludes(self, canonical_form: str) -> bool:
            return bool(canonical_form)

    monkeypatch.setattr(draws, "DRAWS_MAX", 50)
    with pytest.raises(SplitEmpty, match="lies at difficulty"):
        draw(random.Random(0), "train", "uniform", ("lies",), Everything())
