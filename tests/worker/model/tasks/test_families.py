from __future__ import annotations

import random
import re
from collections import Counter, defaultdict
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.worker.model.tasks.solvers import solve
from worker.model.tasks import DIFFICULTIES, FAMILIES, THINKING_STEPS, Sample, generate, lexicon
from worker.model.tasks.dressing import CHANCE, dressed
from worker.model.tasks.sample import grouped, number_steps
from worker.model.vocabulary import END, encode_answer, is_known, read, write

ALL = (*FAMILIES, "words")
PHRASINGS = {
    "boolean": {"published", "value", "evaluate", "choice", "equal"},
    "lies": {"published", "claims", "knights", "always"},
    "tracking": {"published", "plain"},
    "navigation": {"published", "robot", "walk", "compass", "line"},
    "counting": {"published", "there", "bought", "see", "keeps", "count"},
    "arithmetic": {"published", "sum", "chain", "story"},
    "lookup": {"code", "position", "room", "box", "years", "thing", "place", "list"},
    "pointers": {"arrows", "friends", "hops", "row", "parcel", "chain", "letter", "boss"},
    "sorting": {"ascending", "descending", "largest", "smallest"},
    "dates": {"weekday", "month", "clock", "date", "duration"},
    "words": {"published", "alphabet"},
}


def samples(family: str, seed: int, each: int) -> list[Sample]:
    rng = random.Random(seed)
    return [generate(rng, family, k) for k in DIFFICULTIES for _ in range(each)]


def expected_steps(sample: Sample, states: list[str]) -> object:
    """The steps that a solver's states amount to."""
    if sample.family in {"lookup", "words"} or sample.phrasing in {"ascending", "descending"}:
        return tuple((word,) for word in sample.answer.split())
    if states[-1].lstrip("-").isdigit() and sample.phrasing != "date":
        return number_steps([int(state) for state in states])
    if sample.phrasing == "date":
        months, days = zip(*(state.split() for state in states), strict=True)
        return grouped(months), grouped(days)
    *path, answer = states
    first, *others = answer.split()
    return (grouped([*path, first]), *((word,) for word in others))


@pytest.mark.parametrize("family", ALL)
def test_a_solver_that_reads_the_text_finds_every_state(family: str) -> None:
    seen = set()
    for sample in samples(family, 1, 150):
        states = solve(family, sample.question)
        assert states[-1] == sample.answer, sample
        assert sample.steps == expected_steps(sample, states), sample
        seen.add(sample.phrasing)
    assert seen == PHRASINGS[family]


@pytest.mark.parametrize("family", FAMILIES)
def test_dressing_changes_no_answer(family: str) -> None:
    rng = random.Random(2)
    count = 0
    for sample in samples(family, 2, 60):
        question = dressed(rng, sample).question
        count += question != sample.question
        assert solve(family, question)[-1] == sample.answer, question
        assert sample.phrasing != "published" or question == sample.question
    assert 0 < count < 2 * CHANCE * 60 * len(DIFFICULTIES)


@pytest.mark.parametrize("family", ALL)
def test_steps_are_answer_tokens_and_end_with_the_answer(family: str) -> None:
    for sample in samples(family, 3, 60):
        reading = read(sample.question)
        answer = encode_answer(sample.answer, reading.aliases)
        assert len(answer) == len(sample.steps)
        for token, steps in zip(answer, sample.steps, strict=True):
            ids = [encode_answer(step, reading.aliases) for step in steps]
            assert all(len(step) == 1 for step in ids)
            assert ids[-1] == (token,)
            assert len(steps) <= THINKING_STEPS
        assert write((*answer, END), reading.aliases).lower() == sample.answer.lower()


@pytest.mark.parametrize("family", ALL)
@given(seed=st.integers(), k=st.sampled_from(DIFFICULTIES))
def test_same_seed_same_sample(family: str, seed: int, k: int) -> None:
    sample = generate(random.Random(seed), family, k)
    assert sample == generate(random.Random(seed), family, k)
    assert (sample.family, sample.difficulty) == (family, k)


@pytest.mark.parametrize(
    ("family", "extra"),
    [("boolean", 0), ("lies", 0), ("navigation", 0), ("arithmetic", 0), ("pointers", 0)],
)
def test_difficulty_is_the_number_of_steps(family: str, extra: int) -> None:
    for sample in samples(family, 4, 40):
        assert sample.depth in {sample.difficulty + extra, min(9, sample.difficulty + 1)}
        if sample.difficulty < DIFFICULTIES[-1]:
            assert sample.depth == sample.difficulty + extra


def test_harder_questions_are_longer() -> None:
    for family in FAMILIES:
        lengths = defaultdict(list)
        for sample in samples(family, 5, 40):
            lengths[sample.difficulty].append(len(read(sample.question).tokens))
        assert sum(lengths[8]) > sum(lengths[1])


@pytest.mark.parametrize("family", ["boolean", "lies", "navigation"])
def test_no_constant_answer_does_well(family: str) -> None:
    """Per difficulty above the first, no answer is given to more than three in four questions."""
    for k in DIFFICULTIES[1:]:
        rng = random.Random(k)
        answers = Counter(generate(rng, family, k).answer for _ in range(400))
        assert max(answers.values()) < 300, (k, answers)


def test_letters_of_options_are_spread() -> None:
    rng = random.Random(6)
    drawn = [generate(rng, "tracking", 7) for _ in range(800)]
    letters = Counter(s.answer for s in drawn if s.phrasing == "published")
    assert len(letters) == 7
    assert max(letters.values()) < 0.3 * sum(letters.values())


def test_published_tracking_has_as_many_swaps_as_people_in_most_stories() -> None:
    for k in (3, 5, 7):
        rng = random.Random(k)
        drawn = [generate(rng, "tracking", k) for _ in range(300)]
        published = [s.question.count("\n(") for s in drawn if s.phrasing == "published"]
        assert published.count(k) > len(published) / 2


def test_names_and_things_are_unknown_to_the_vocabulary() -> None:
    lists: tuple[tuple[str, ...], ...] = (
        lexicon.NAMES,
        lexicon.COLOURS,
        lexicon.THINGS,
        lexicon.PLACES,
        lexicon.TRADES,
    )
    lists += (lexicon.SIDES, lexicon.TITLE_HEADS, lexicon.TITLE_TAILS)
    assert [word for words in lists for word in words if is_known(word)] == []
    rng = random.Random(7)
    assert not any(is_known(lexicon.invented(rng, 1)) for _ in range(2000))


def test_states_that_are_too_many_are_thinned_out_evenly() -> None:
    assert grouped(["a", "b"]) == ("a", "b")
    assert grouped([str(n) for n in range(1, 13)], 4) == ("3", "6", "9", "12")
    assert grouped([str(n) for n in range(1, 16)])[-1] == "15"
    assert len(grouped([str(n) for n in range(1, 16)])) == THINKING_STEPS - 1


def test_steps_of_a_number_of_several_tokens() -> None:
    assert number_steps([5, -7]) == (("5", "-"), ("7", "7"))
    assert number_steps([-3, -120]) == (("-", "-"), ("3", "12"), ("##0", "##0"))


def test_the_examples_in_the_document_are_right() -> None:
    page = Path(__file__).parents[4] / "docs" / "reference" / "tasks.md"
    table = page.read_text().split("## Phrasings")[1].split("\n## ")[0]
    family, checked = "", 0
    for row in re.findall(r"^\|(.+)\|(.+)\|(.+)\|(.+)\|$", table, re.MULTILINE)[2:]:
        first, _, example, answer = (cell.strip() for cell in row)
        family = first.strip("`") or family
        if "…" not in example:
            assert solve(family, example.replace(" / ", "\n"))[-1] == answer, example
            checked += 1
    assert checked >= 15


def test_unknown_family_and_difficulty_are_refused() -> None:
    with pytest.raises(KeyError):
        generate(random.Random(0), "riddles", 1)
    for k in (0, 9):
        with pytest.raises(ValueError, match="difficulty"):
            generate(random.Random(0), "lies", k)
