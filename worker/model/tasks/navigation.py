"""Navigation: k instructions; does the walk return to its start, or where on a line does it end?

The state after step r is the distance from the start (steps along the two axes) after the r-th
instruction, at the last one the answer itself.
"""

from __future__ import annotations

import dataclasses
import random
from typing import Final

from worker.model.tasks.lexicon import names
from worker.model.tasks.sample import Sample, grouped, number_steps

STEPS_MAX: Final = 10
"""The most steps in one instruction."""

_MORE: Final = 3
"""At the highest difficulty there may be this many instructions more."""

_CLOSINGS: Final = 12
"""How often a walk that returns is tried before one that need not is taken."""


@dataclasses.dataclass(frozen=True, slots=True)
class _Phrasing:
    """Question before or after the instructions, and how each of these is put."""

    name: str
    before: str
    after: str
    faces: str
    go: str
    turns: tuple[str, str, str]
    directions: tuple[str, ...] = (" forward", " right", " backward", " left")


_PUBLISHED: Final = "If you follow these instructions, do you return to the starting point?"
_PHRASINGS: Final = (
    _Phrasing(
        "published",
        f"{_PUBLISHED} ",
        "\nOptions:\n- Yes\n- No",
        "Always face forward. ",
        "Take {0} {1}{2}.",
        ("Turn right.", "Turn around.", "Turn left."),
    ),
    _Phrasing(
        "robot",
        "A robot starts at a point. ",
        " Is the robot back at its starting point?",
        "It always faces north. ",
        "It moves {0} {1}{2}.",
        ("It turns right.", "It turns back.", "It turns left."),
    ),
    _Phrasing(
        "walk",
        "{name} goes for a walk. ",
        " Does {name} end where the walk began?",
        "{name} never turns. ",
        "{name} walks {0} {1}{2}.",
        ("{name} turns right.", "{name} turns around.", "{name} turns left."),
    ),
    _Phrasing(
        "compass",
        "",
        " Do these moves lead back to the start?",
        "",
        "Go {0} {1}{2}.",
        ("Turn right.", "Turn around.", "Turn left."),
        (" north", " east", " south", " west"),
    ),
)

_LINES: Final = (
    ("{0} stands on a line at point 0.", "At which point is {0} now?", True),
    ("{0} starts at 0, and left is minus.", "Where does {0} end?", True),
    ("{0} stands on a line.", "What is the distance from {0} to the start?", False),
    ("{0} follows a line from its start.", "How far from the start is {0}?", False),
)
"""Opening, question, and whether the left has a minus sign."""

_Instruction = tuple[str, int]
"""("go", steps), ("turn", quarters to the right), or ("0".."3", steps): a way without a turn."""


def generate(rng: random.Random, difficulty: int) -> Sample:
    """Return a question about `difficulty` instructions (at 8, up to three more)."""
    count = difficulty + (rng.randint(0, _MORE) if difficulty == 8 else 0)
    if rng.random() < 0.25:
        return _on_a_line(rng, difficulty, count)
    phrasing = rng.choice(_PHRASINGS)
    turning = phrasing.name != "compass" and rng.random() < 0.5
    instructions = _instructions(rng, count, turning, returns=rng.random() < 0.5)
    distances = distances_walked(instructions)
    answer = "No" if distances[-1] else "Yes"
    name = names(rng, 1)[0] if phrasing.name == "walk" else ""
    sentences = [_sentence(phrasing, instruction, name) for instruction in instructions]
    text = (
        phrasing.before.format(name=name)
        + ("" if turning else phrasing.faces.format(name=name))
        + " ".join(sentences)
        + phrasing.after.format(name=name)
    )
    states = grouped([*(str(distance) for distance in distances[:-1]), answer])
    return Sample("navigation", difficulty, phrasing.name, text, answer, (states,))


def _sentence(phrasing: _Phrasing, instruction: _Instruction, name: str) -> str:
    kind, amount = instruction
    if kind == "turn":
        return phrasing.turns[amount - 1].format(name=name)
    way = "" if kind == "go" else phrasing.directions[int(kind)]
    unit = "step" if amount == 1 else "steps"
    return phrasing.go.format(amount, unit, way, name=name)


def distances_walked(instructions: list[_Instruction]) -> list[int]:
    """Return the distance from the start after each instruction, beginning at it, facing north."""
    x = y = facing = 0
    distances = []
    for kind, amount in instructions:
        if kind == "turn":
            facing = (facing + amount) % 4
        else:
            x, y = _moved(x, y, facing if kind == "go" else int(kind), amount)
        distances.append(abs(x) + abs(y))
    return distances


def _moved(x: int, y: int, way: int, steps: int) -> tuple[int, int]:
    """Go some steps: way 0 is north, 1 east, 2 south, 3 west."""
    return x + (0, steps, 0, -steps)[way], y + (steps, 0, -steps, 0)[way]


def _instructions(
    rng: random.Random, count: int, turning: bool, returns: bool
) -> list[_Instruction]:
    """Draw a walk; one that returns is a random beginning with a way home, if one fits."""
    draw = _turning_walk if turning else _facing_walk
    instructions = draw(rng, count)
    for _ in range(_CLOSINGS if returns else 0):
        start = draw(rng, rng.randint(0, count))
        home = _way_home(start, turning)
        if len(start) + len(home) == count and all(0 < n <= STEPS_MAX for _, n in home):
            return [*start, *home]
    return instructions


def _facing_walk(rng: random.Random, count: int) -> list[_Instruction]:
    return [(str(rng.randrange(4)), rng.randint(1, STEPS_MAX)) for _ in range(count)]


def _turning_walk(rng: random.Random, count: int) -> list[_Instruction]:
    return [
        ("turn", rng.randint(1, 3)) if rng.random() < 0.4 else ("go", rng.randint(1, STEPS_MAX))
        for _ in range(count)
    ]


def _way_home(start: list[_Instruction], turning: bool) -> list[_Instruction]:
    """Return the instructions that lead back from where a beginning ends, along one axis each."""
    x = y = facing = 0
    for kind, amount in start:
        if kind == "turn":
            facing = (facing + amount) % 4
        else:
            x, y = _moved(x, y, facing if kind == "go" else int(kind), amount)
    home: list[_Instruction] = []
    for way, steps in ((2 if y > 0 else 0, abs(y)), (3 if x > 0 else 1, abs(x))):
        if steps and turning:
            if way != facing:
                home.append(("turn", (way - facing) % 4))
            home.append(("go", steps))
            facing = way
        elif steps:
            home.append((str(way), steps))
    return home


def _on_a_line(rng: random.Random, difficulty: int, count: int) -> Sample:
    """Ask for a position on a line: a whole number, below zero on the left."""
    name = names(rng, 1)[0]
    position = 0
    sentences, positions = [], []
    for _ in range(count):
        steps = rng.randint(1, STEPS_MAX)
        right = rng.random() < 0.5
        position += steps if right else -steps
        positions.append(position)
        unit = "step" if steps == 1 else "steps"
        sentences.append(f"{name} walks {steps} {unit} {'right' if right else 'left'}.")
    opening, question, signed = rng.choice(_LINES)
    if not signed:
        positions = [abs(position) for position in positions]
    text = f"{opening.format(name)} {' '.join(sentences)} {question.format(name)}"
    answer = str(positions[-1])
    return Sample("navigation", difficulty, "line", text, answer, number_steps(positions))
