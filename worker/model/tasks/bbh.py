"""Readers of BIG-Bench-Hard's files, as its authors publish them: raw text in, raw text out.

A task that has a family here is scored; the others are only listed. No item is rewritten: its
question goes through the same reader as any prompt.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final, NamedTuple

FAMILY_OF: Final = {
    "boolean_expressions": "boolean",
    "web_of_lies": "lies",
    "tracking_shuffled_objects_three_objects": "tracking",
    "tracking_shuffled_objects_five_objects": "tracking",
    "tracking_shuffled_objects_seven_objects": "tracking",
    "navigate": "navigation",
    "object_counting": "counting",
    "multistep_arithmetic_two": "arithmetic",
}
"""The tasks that are scored, with the family that follows their published form."""


class BbhError(ValueError):
    """The folder has no BIG-Bench-Hard file, or one is damaged."""


class Item(NamedTuple):
    """One question with its published target."""

    question: str
    answer: str


def read_bbh(folder: Path) -> dict[str, tuple[Item, ...]]:
    """Return the items of every task in a folder: NAME.json is {"examples": [{input, target}]}.

    Raises:
        BbhError: there is no such file, or one has another form.
    """
    tasks = {}
    for path in sorted(folder.glob("*.json")):
        try:
            examples = json.loads(path.read_text(encoding="utf-8"))["examples"]
            items = tuple(Item(example["input"], example["target"]) for example in examples)
            if not all(isinstance(text, str) for item in items for text in item):
                raise TypeError("an input or target is not a text")
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise BbhError(f"{path} is not a BIG-Bench-Hard file: {error!r}") from error
        tasks[path.stem] = items
    if not tasks:
        raise BbhError(f"{folder} holds no JSON file")
    return tasks


def unscored(tasks: dict[str, tuple[Item, ...]]) -> list[str]:
    """Return the tasks that have no family."""
    return sorted(tasks.keys() - FAMILY_OF.keys())


def is_right(answer: str, target: str) -> bool:
    """Whether an answer is the target.

    Case, outer space, a final full stop and the brackets of an option letter do not matter. Where a
    question has lettered options its target is a letter, and only that letter is right.
    """
    return _plain(answer) == _plain(target)


def _plain(text: str) -> str:
    words = text.casefold().strip().removesuffix(".").split()
    return " ".join(words).removeprefix("(").removesuffix(")")
