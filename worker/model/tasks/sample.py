"""One question with its answer and the intermediate state after every step of thought."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Final

from worker.model.vocabulary import number_pieces

DIFFICULTIES: Final = range(1, 9)
"""The knob k: what it counts is said by each family; such a question needs about k steps."""

NUMBERS: Final = range(1, 41)
"""Numbers that stand for nothing (codes, what is sorted): few, so that each is met often."""

THINKING_STEPS: Final = 10
"""The most steps that an answer token's targets may have."""

PUBLISHED: Final = "published"
"""The phrasing that follows the published form of a BIG-Bench-Hard task, with our own content."""

Steps = tuple[tuple[str, ...], ...]


@dataclasses.dataclass(frozen=True, slots=True)
class Sample:
    """A question as people write it, and what a solver knows after each step.

    `steps[t]` belongs to token t of the answer: one text per step, each exactly one answer token
    of the vocabulary; the last one is that token. Steps of the first token are where the work is;
    later tokens mostly copy.
    """

    family: str
    difficulty: int
    phrasing: str
    question: str
    answer: str
    steps: Steps

    @property
    def depth(self) -> int:
        """How many steps the first answer token needs."""
        return len(self.steps[0])


def grouped(states: Sequence[str], most: int = THINKING_STEPS - 1) -> tuple[str, ...]:
    """Thin out states evenly to at most `most`, keeping the last: a step then covers several."""
    count = len(states)
    if count <= most:
        return tuple(states)
    return tuple(states[-(-count * step // most) - 1] for step in range(1, most + 1))


def number_tokens(value: int) -> tuple[str, ...]:
    """Return the answer tokens of a whole number: -123 is "-", "12", "##3"."""
    return (*(("-",) if value < 0 else ()), *number_pieces(str(abs(value))))


def number_steps(values: Sequence[int]) -> Steps:
    """Return the steps of an answer that is values[-1], reached through the values before it.

    A later token's target at a step is the token at its place in that step's value, where that
    value has the sign of the answer and such a token; else it is the final token.
    """
    final = values[-1]
    tokens = number_tokens(final)
    steps = []
    for place, token in enumerate(tokens):
        states = []
        for value in values:
            state = number_tokens(value)
            comparable = place == 0 or ((value < 0) == (final < 0) and place < len(state))
            states.append(state[place] if comparable else token)
        steps.append(grouped(states))
    return tuple(steps)


def copied(words: Sequence[str]) -> Steps:
    """Return the steps of answer tokens that need one step each."""
    return tuple((word,) for word in words)
