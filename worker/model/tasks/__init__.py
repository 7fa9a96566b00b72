"""Questions made by program, with answers and the state after every step.

docs/reference/tasks.md shows each family.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Final

from worker.model.tasks import (
    arithmetic,
    boolean,
    calendar,
    counting,
    lies,
    lookup,
    navigation,
    pointers,
    sorting,
    tracking,
)
from worker.model.tasks.sample import DIFFICULTIES, PUBLISHED, THINKING_STEPS, Sample

_GENERATORS: Final[dict[str, Callable[[random.Random, int], Sample]]] = {
    "boolean": boolean.generate,
    "lies": lies.generate,
    "tracking": tracking.generate,
    "navigation": navigation.generate,
    "counting": counting.generate,
    "arithmetic": arithmetic.generate,
    "lookup": lookup.generate,
    "pointers": pointers.generate,
    "sorting": sorting.generate,
    "dates": calendar.generate,
    "words": sorting.generate_words,
}

FAMILIES: Final = tuple(family for family in _GENERATORS if family != "words")
"""The families to train on. Words are not sorted: the reader knows words, not their letters."""

__all__ = ["DIFFICULTIES", "FAMILIES", "PUBLISHED", "THINKING_STEPS", "Sample", "generate"]


def generate(rng: random.Random, family: str, difficulty: int) -> Sample:
    """Return a question of a family at a difficulty: the same for the same state of `rng`.

    Raises:
        KeyError: there is no such family.
        ValueError: the difficulty is not one of DIFFICULTIES.
    """
    if difficulty not in DIFFICULTIES:
        raise ValueError(f"difficulty {difficulty} is not from 1 to {DIFFICULTIES[-1]}")
    return _GENERATORS[family](rng, difficulty)
