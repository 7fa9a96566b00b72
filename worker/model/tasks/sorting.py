"""Sorting: k + 1 numbers are put in order, or the largest of them is found; or words are sorted.

A sorted list has as many answer tokens as items, and each is one step: the next one in order. The
largest is found in k steps: the state after step r is the largest of the first r + 1.
"""

from __future__ import annotations

import random
from typing import Final

from worker.model.tasks.lexicon import made_up_words
from worker.model.tasks.sample import NUMBERS, Sample, copied

_MORE: Final = 6
"""At the highest difficulty a list of words may have this many words more."""

_WORDS: Final = (
    ("published", "Sort the following words alphabetically: List: {}"),
    ("published", "Sort the following words alphabetically: List: {}"),
    ("alphabet", "Put these words in alphabetical order: {}"),
    ("alphabet", "List these words in the order of the alphabet: {}"),
)
_NUMBERS: Final = (
    ("ascending", "Sort these numbers in ascending order: {}.", 1),
    ("ascending", "Arrange {} from the smallest to the largest.", 1),
    ("descending", "Sort these numbers in descending order: {}.", -1),
    ("descending", "Arrange {} from the largest to the smallest.", -1),
)
_EXTREMES: Final = (
    ("largest", "Which number is the largest: {}?", 1),
    ("smallest", "Which of these numbers is the smallest: {}?", -1),
)


def generate(rng: random.Random, difficulty: int) -> Sample:
    """Return a question about `difficulty` + 1 numbers."""
    numbers = rng.sample(NUMBERS, difficulty + 1)
    items = ", ".join(map(str, numbers))
    if rng.random() < 0.5:
        phrasing, form, direction = rng.choice(_NUMBERS)
        ordered = [str(n) for n in sorted(numbers, key=lambda number: number * direction)]
        return Sample(
            "sorting", difficulty, phrasing, form.format(items), " ".join(ordered), copied(ordered)
        )
    phrasing, form, direction = rng.choice(_EXTREMES)
    states = [
        str(max(numbers[:read], key=lambda number: number * direction))
        for read in range(2, len(numbers) + 1)
    ]
    return Sample("sorting", difficulty, phrasing, form.format(items), states[-1], (tuple(states),))


def generate_words(rng: random.Random, difficulty: int) -> Sample:
    """Return `difficulty` + 1 words to be sorted (at 8, up to six more)."""
    count = difficulty + 1 + (rng.randint(0, _MORE) if difficulty == 8 else 0)
    phrasing, form = rng.choice(_WORDS)
    words = made_up_words(rng, count)
    ordered = sorted(words)
    text = form.format(" ".join(words) if phrasing == "published" else ", ".join(words))
    return Sample("words", difficulty, phrasing, text, " ".join(ordered), copied(ordered))
