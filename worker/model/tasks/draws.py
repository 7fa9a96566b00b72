"""Streams of questions: families and difficulties mixed, of one split, the same for a seed."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from typing import Final, Literal, NamedTuple

from worker.model.tasks import FAMILIES, dressing, generate
from worker.model.tasks.sample import DIFFICULTIES, Sample
from worker.model.tasks.splits import Exclusion, Split, split_of
from worker.model.vocabulary import Reading, canonical_form, read

Mix = Literal["uniform", "easy"]

DRAWS_MAX: Final = 10_000
"""So many questions of one family and difficulty are tried before a split counts as empty."""


class SplitEmpty(RuntimeError):
    """No question of this family and difficulty was found in the split."""


class Drawn(NamedTuple):
    """A question and how the model reads it."""

    sample: Sample
    reading: Reading


def difficulty(rng: random.Random, mix: Mix) -> int:
    """Draw k: uniform, or easy: half the weight on 1, a quarter on 2, and so on, cut at the top."""
    if mix == "uniform":
        return rng.randint(1, DIFFICULTIES[-1])
    k = 1
    while rng.random() < 0.5:
        k = k % DIFFICULTIES[-1] + 1
    return k


def draw(
    rng: random.Random,
    split: Split,
    mix: Mix,
    families: Sequence[str] = FAMILIES,
    exclusion: Exclusion | None = None,
) -> Drawn:
    """Draw one question: family, then difficulty, then questions until one is in the split.

    The split is that of the question as it was made; what is written around it comes after.

    Raises:
        SplitEmpty: DRAWS_MAX questions were drawn in vain.
    """
    family = rng.choice(families)
    k = difficulty(rng, mix)
    for _ in range(DRAWS_MAX):
        sample = generate(rng, family, k)
        reading = read(sample.question)
        form = canonical_form(reading)
        if split_of(form) == split and not (exclusion and exclusion.excludes(form)):
            dressed = dressing.dressed(rng, sample)
            return Drawn(dressed, reading if dressed is sample else read(dressed.question))
    raise SplitEmpty(f"{family} at difficulty {k} has no question in {split} that is not excluded")


def stream(
    seed: int,
    split: Split,
    mix: Mix,
    families: Sequence[str] = FAMILIES,
    exclusion: Exclusion | None = None,
) -> Iterator[Drawn]:
    """Yield questions without end."""
    rng = random.Random(f"{seed} {split} {mix}")
    while True:
        yield draw(rng, split, mix, families, exclusion)
