"""Multi-step arithmetic: k operations on whole numbers.

The state after step r is the value of what was read up to the r-th operation's operand, with open
brackets closed there.
"""

from __future__ import annotations

import itertools
import random
from typing import Final

from worker.model.tasks.lexicon import names
from worker.model.tasks.sample import Sample, number_steps

RESULT_MAX: Final = 50
"""Stories and chains stay from 0 to this; published forms may leave it."""

CHANGE_MAX: Final = 12
"""The most that is added or taken away at once, and the largest start."""

_LARGE_REDRAWN: Final = 4
"""Expressions are drawn up to so many times for a small result, so that large ones are rare."""

_SUMS: Final = (("sum", "What is {}?"), ("sum", "{} ="), ("sum", "Compute {}."))
_CHAINS: Final = (
    ("Start with {0}.", ("Add {0}.", "Subtract {0}.", "Double it."), "What is the result?"),
    (
        "Begin with {0}.",
        ("Add {0} to it.", "Take {0} from it.", "Multiply it by 2."),
        "What do you get?",
    ),
    (
        "I think of the number {0}.",
        ("Then I add {0}.", "Then I take away {0}.", "Then I double it."),
        "Which number do I get?",
    ),
)
_STORIES: Final = (
    (
        "{name} has {0} coins.",
        ("{name} finds {0} more.", "{name} loses {0}.", "{name} doubles what is there."),
        "How many coins does {name} have now?",
    ),
    (
        "{name} owns {0} books.",
        ("{name} buys {0} books.", "{name} sells {0} books.", "Then {name} owns twice as many."),
        "How many books does {name} own in the end?",
    ),
    (
        "There are {0} people in a bus.",
        ("{0} get in.", "{0} get out.", "Then there are twice as many."),
        "How many people are in the bus?",
    ),
)


def generate(rng: random.Random, difficulty: int) -> Sample:
    """Return a question with `difficulty` operations (the published form has seven)."""
    chance = rng.random()
    if chance < 0.4:
        return _published(rng, difficulty)
    if chance < 0.65:
        return _sum(rng, difficulty)
    return _told(rng, difficulty)


def _published(rng: random.Random, difficulty: int) -> Sample:
    """Two brackets of one-digit numbers, joined: ((2 - 4) * (-1 + 3)) =."""
    left = (difficulty + 1) // 2
    for _ in range(_LARGE_REDRAWN):
        tokens = ["(", "(", *_operands(rng, left), ")", rng.choice("+-*"), "("]
        tokens += [*_operands(rng, difficulty + 1 - left), ")", ")"]
        values = values_read(tokens)[1:]
        if abs(values[-1]) <= RESULT_MAX:
            break
    text = " ".join(tokens).replace("( ", "(").replace(" )", ")") + " ="
    steps = number_steps(values)
    return Sample("arithmetic", difficulty, "published", text, str(values[-1]), steps)


def _operands(rng: random.Random, count: int) -> list[str]:
    tokens = [str(rng.randint(-9, 9))]
    for _ in range(count - 1):
        tokens += [rng.choice("+-*"), str(rng.randint(-9, 9))]
    return tokens


def values_read(tokens: list[str]) -> list[int]:
    """Return the value of what was read after each number, brackets closed there.

    One pass, like for boolean expressions: a frame for each open bracket holds (value of the
    finished terms, sign and value of the open term, whether its next factor multiplies).
    """
    frames = [[0, 1]]
    values = []
    for word in tokens:
        top = frames[-1]
        if word == "(":
            frames.append([0, 1])
        elif word == ")":
            value = sum(frames.pop())
            frames[-1][1] *= value
        elif word in {"+", "-"}:
            top[0], top[1] = top[0] + top[1], 1 if word == "+" else -1
        elif word != "*":
            top[1] *= int(word)
            values.append(_closed(frames))
    return values


def _closed(frames: list[list[int]]) -> int:
    value = sum(frames[-1])
    for finished, term in reversed(frames[:-1]):
        value = finished + term * value
    return value


def _sum(rng: random.Random, difficulty: int) -> Sample:
    """Additions and subtractions in a row, never below 0 nor above RESULT_MAX."""
    values = _bounded(rng, difficulty, doubling=False)
    tokens = [str(values[0])]
    for before, after in itertools.pairwise(values):
        tokens += ["+" if after >= before else "-", str(abs(after - before))]
    phrasing, form = rng.choice(_SUMS)
    text = form.format(" ".join(tokens))
    steps = number_steps(values[1:])
    return Sample("arithmetic", difficulty, phrasing, text, str(values[-1]), steps)


def _told(rng: random.Random, difficulty: int) -> Sample:
    """Tell the operations one by one, as orders or as a story."""
    phrasing = rng.choice(("chain", "story"))
    opening, (more, less, twice), question = rng.choice(
        _CHAINS if phrasing == "chain" else _STORIES
    )
    values = _bounded(rng, difficulty, doubling=True)
    sentences = [opening.format(values[0], name="{name}")]
    for before, after in itertools.pairwise(values):
        if after == 2 * before and before > 1:
            sentences.append(twice)
        else:
            form = more if after >= before else less
            sentences.append(form.format(abs(after - before), name="{name}"))
    text = f"{' '.join(sentences)} {question}".replace("{name}", names(rng, 1)[0])
    steps = number_steps(values[1:])
    return Sample("arithmetic", difficulty, phrasing, text, str(values[-1]), steps)


def _bounded(rng: random.Random, operations: int, doubling: bool) -> list[int]:
    """Draw a start and the value after each operation, all from 0 to RESULT_MAX."""
    values = [rng.randint(1, CHANGE_MAX)]
    for _ in range(operations):
        value = values[-1]
        if doubling and 1 < value <= RESULT_MAX // 2 and rng.random() < 0.2:
            values.append(2 * value)
        else:
            change = rng.randint(1, CHANGE_MAX)
            falls = value >= change and (rng.random() < 0.5 or value + change > RESULT_MAX)
            values.append(value - change if falls else value + change)
    return values
