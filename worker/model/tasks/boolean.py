"""Boolean expressions: k literals joined by and/or, negated and bracketed at will.

The state after step r is the value of the expression read up to its r-th literal, with open
brackets closed there.
"""

from __future__ import annotations

import random
from typing import Final

from worker.model.tasks.sample import Sample, Steps

_PHRASINGS: Final = (
    ("published", "{} is"),
    ("published", "{} is"),
    ("value", "What is the value of {}?"),
    ("value", "What is the value of the expression {}?"),
    ("evaluate", "Evaluate {}."),
    ("evaluate", "Evaluate the following expression: {} ="),
    ("choice", "Is the following true or false? {}"),
    ("equal", "The expression {} is equal to"),
    ("equal", "{} equals"),
)


_WRAPS_MAX: Final = 3
"""So often a part of an expression may be negated or put in brackets again."""


def generate(rng: random.Random, difficulty: int) -> Sample:
    """Return a question about an expression with `difficulty` literals."""
    tokens = _expression(rng, difficulty)
    states = tuple(str(value) for value in values_read(tokens))
    phrasing, form = rng.choice(_PHRASINGS)
    steps: Steps = (states,)
    return Sample("boolean", difficulty, phrasing, form.format(" ".join(tokens)), states[-1], steps)


def _expression(rng: random.Random, literals: int) -> list[str]:
    if literals == 1:
        tokens = ["True" if rng.random() < 0.5 else "False"]
    else:
        left = rng.randint(1, literals - 1)
        joint = "and" if rng.random() < 0.5 else "or"
        tokens = [*_expression(rng, left), joint, *_expression(rng, literals - left)]
    for _ in range(_WRAPS_MAX):
        chance = rng.random()
        if chance < 0.15:
            tokens = ["(", *tokens, ")"]
        elif chance < 0.3:
            # Without brackets, not binds to the first literal only: still an expression.
            tokens = ["not", *tokens]
        elif chance < 0.4:
            tokens = ["not", "(", *tokens, ")"]
        else:
            break
    return tokens


def values_read(tokens: list[str]) -> list[bool]:
    """Return the value of what was read when each literal had been read, brackets closed there.

    One pass: a frame for each open bracket holds (value of the finished terms, value of the open
    term, whether the next operand is negated), for `not` binds before `and`, and `and` before
    `or`.
    """
    frames = [[False, True, False]]
    values = []
    for word in tokens:
        top = frames[-1]
        if word == "not":
            top[2] = not top[2]
        elif word == "and":
            continue
        elif word == "or":
            top[0], top[1] = top[0] or top[1], True
        elif word == "(":
            frames.append([False, True, False])
        else:
            value = frames.pop()[0] or top[1] if word == ")" else word == "True"
            top = frames[-1]
            top[1], top[2] = top[1] and value != top[2], False
            if word != ")":
                values.append(_closed(frames))
    return values


def _closed(frames: list[list[bool]]) -> bool:
    """Return the value that the frames have if every bracket is closed now."""
    value = frames[-1][0] or frames[-1][1]
    for finished, term, negated in reversed(frames[:-1]):
        value = finished or (term and value != negated)
    return value
