"""Training data: pools of generated samples, and batches drawn from them.

A pool is a pure function of (seed, number, samples, what is excluded). All contestants draw the
same batches in the same order, so they differ in nothing but themselves.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Final, NamedTuple

import numpy as np

from worker.model.reading import Ints, Rows, read_rows
from worker.model.tasks import FAMILIES
from worker.model.tasks.draws import Drawn, Mix, draw
from worker.model.tasks.sample import DIFFICULTIES
from worker.model.tasks.splits import Exclusion
from worker.model.vocabulary import ASK, END, PAD, PromptTooLong, encode_answer

CURRICULUM: Final = ((3, 2), (7, 4))
"""Pools before the first number hold no difficulty above the second."""
END_SHARE: Final = 0.12
"""Share of rows whose target is the end of the answer."""
EASY_SHARE: Final = 0.3
"""Share of samples whose difficulty is geometric; that of the others is uniform."""
SPARE_STEPS_MAX: Final = 3
"""Steps after the last one needed, in which the answer has to stay."""
PARTS: Final = 4
"""A batch has rows of all lengths, in so many parts of one width: its gradient then speaks for all
families, and little is computed in vain."""
BUCKET_BATCHES: Final = 32
"""Batches that are drawn together and cut by length and steps."""


class Item(NamedTuple):
    """A sample as tokens: the question with ASK, the answer with END, targets for each of them."""

    question: tuple[int, ...]
    answer: tuple[int, ...]
    targets: tuple[tuple[int, ...], ...]
    family: int
    difficulty: int


class Part(NamedTuple):
    """Rows of one width.

    targets: (steps, B) the token wanted after each step.  answer: (B,) the right one.
    """

    rows: Rows
    targets: Ints
    answer: Ints


def encode(drawn: Drawn) -> Item:
    """The tokens of a question that was drawn.

    Raises:
        ValueError: an answer or a step is no answer token.
    """
    sample, reading = drawn
    answer = encode_answer(sample.answer, reading.aliases)
    targets = []
    for token, steps in zip(answer, sample.steps, strict=True):
        wanted = [encode_answer(step, reading.aliases) for step in steps]
        if any(len(w) != 1 for w in wanted) or wanted[-1] != (token,):
            raise ValueError(f"steps {steps} of {sample.family} do not lead to one answer token")
        targets.append(tuple(w[0] for w in wanted))
    return Item(
        (*reading.tokens, ASK),
        (*answer, END),
        (*targets, (END,)),
        FAMILIES.index(sample.family),
        sample.difficulty,
    )


def make_pool(
    seed: int, number: int, samples: int, exclusion: Exclusion | None = None
) -> list[Item]:
    """A pool of the training split; what is excluded is left out, and counted, there.

    The first pools are easy (`CURRICULUM`): binding a name to what is said of it has to be learnt
    before following a chain of names.
    """
    rng = random.Random(f"pool {seed} {number}")
    hardest = next((k for first, k in CURRICULUM if number < first), DIFFICULTIES[-1])
    items: list[Item] = []
    while len(items) < samples:
        mix: Mix = "easy" if rng.random() < EASY_SHARE else "uniform"
        try:
            drawn = draw(rng, "train", mix, exclusion=exclusion)
        except PromptTooLong:
            continue  # a long question with a preamble: as good as not drawn
        if drawn.sample.difficulty <= hardest:
            items.append(encode(drawn))
    return items


def batches(items: list[Item], seed: int, size: int, steps_max: int) -> Iterator[list[Part]]:
    """Go once through a pool in random order, each item with one of its answer tokens.

    Rows are cut by length into PARTS bands, and a band by steps into parts; a batch has a part of
    each band.
    """
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(items))
    group = size * BUCKET_BATCHES
    for begin in range(0, len(order) - size + 1, group):
        rows = [_row(items[i], rng) for i in order[begin : begin + group]]
        rows.sort(key=lambda row: len(row.tokens))
        count = len(rows) // size
        bands = []
        for band in range(PARTS):
            part = rows[band * count * size // PARTS : (band + 1) * count * size // PARTS]
            part.sort(key=lambda row: len(row.targets))
            cuts = [part[i : i + size // PARTS] for i in range(0, len(part), size // PARTS)]
            bands.append([cuts[i] for i in rng.permutation(len(cuts))])
        for batch in zip(*bands, strict=True):
            yield [_part(part, steps_max, rng) for part in batch]


class _Row(NamedTuple):
    """A question with the answer so far, and the targets of the next token."""

    tokens: tuple[int, ...]
    answers: int
    targets: tuple[int, ...]


def _row(item: Item, rng: np.random.Generator) -> _Row:
    ends = rng.random() < END_SHARE
    place = len(item.answer) - 1 if ends else int(rng.integers(len(item.answer) - 1))
    return _Row((*item.question, *item.answer[:place]), place, item.targets[place])


def _part(rows: list[_Row], steps_max: int, rng: np.random.Generator) -> Part:
    deepest = max(len(row.targets) for row in rows)
    steps = min(deepest + int(rng.integers(1, SPARE_STEPS_MAX + 1)), steps_max)
    targets = np.array(
        [[row.targets[min(r, len(row.targets) - 1)] for row in rows] for r in range(steps)]
    )
    tokens = pad_rows([row.tokens for row in rows])
    answers = np.array([row.answers for row in rows])
    return Part(read_rows(tokens, answers), targets, targets[-1])


def pad_rows(rows: list[tuple[int, ...]]) -> Ints:
    """Rows of one width, `PAD` in front."""
    width = max(len(row) for row in rows)
    tokens = np.full((len(rows), width), PAD, np.int64)
    for i, row in enumerate(rows):
        tokens[i, width - len(row) :] = row
    return tokens
