"""Who may see which question: splits by the hash of the canonical form, and what is excluded.

A question belongs to exactly one split, whoever draws it: what is tested on is never trained on.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, Literal

from worker.model.vocabulary import PromptError, canonical

Split = Literal["train", "validation", "test"]

_PERCENT: Final[tuple[tuple[Split, int], ...]] = (
    ("test", 10),
    ("validation", 20),
    ("train", 100),
)
"""Upper ends of the splits, in hundredths of all canonical forms."""

_QUESTION_FIELDS: Final = ("input", "question", "prompt")


class ExclusionError(ValueError):
    """The folder to be excluded cannot be read, or holds no question."""


def split_of(canonical_form: str) -> Split:
    """Return the split to which a canonical form belongs."""
    digest = hashlib.sha256(canonical_form.encode()).digest()
    place = int.from_bytes(digest[:8], "big") % 100
    return next(split for split, end in _PERCENT if place < end)


class Exclusion:
    """Canonical forms that must not be drawn, and how many questions were left out for them.

    Attributes:
        forms: The canonical forms.
        left_out: How often `excludes` said yes.
    """

    def __init__(self, forms: frozenset[str] = frozenset()) -> None:
        self.forms = forms
        self.left_out = 0

    @classmethod
    def from_folder(cls, folder: Path) -> Exclusion:
        """Exclude the questions of the JSON, JSON Lines and text files of a folder.

        A JSON file is {"examples": [...]} or a list; a question is a text or the field input,
        question or prompt of an object. A text file has one question on each line. Questions that
        the model cannot read are passed over: they cannot be drawn either.

        Raises:
            ExclusionError: no file, a file that is damaged, or no question at all.
        """
        forms = set()
        for question in _questions(folder):
            try:
                forms.add(canonical(question))
            except PromptError:
                continue
        if not forms:
            raise ExclusionError(f"{folder} holds no question")
        return cls(frozenset(forms))

    def excludes(self, canonical_form: str) -> bool:
        """Whether this one must not be drawn; counts those that must not."""
        found = canonical_form in self.forms
        self.left_out += found
        return found


def _questions(folder: Path) -> Iterator[str]:
    paths = sorted(p for p in folder.rglob("*") if p.suffix in {".json", ".jsonl", ".txt"})
    for path in paths:
        try:
            text = path.read_text(encoding="utf-8")
            if path.suffix == ".txt":
                yield from text.splitlines()
                continue
            lines = text.splitlines() if path.suffix == ".jsonl" else [text]
            for line in lines:
                if line.strip():
                    yield from _texts(json.loads(line))
        except (OSError, ValueError) as error:
            raise ExclusionError(f"{path}: {error}") from error


def _texts(content: Any) -> Iterator[str]:
    """Find the questions in decoded JSON."""
    if isinstance(content, str):
        yield content
    elif isinstance(content, list):
        for part in content:
            yield from _texts(part)
    elif isinstance(content, dict):
        if "examples" in content:
            yield from _texts(content["examples"])
        for field in _QUESTION_FIELDS:
            if isinstance(content.get(field), str):
                yield content[field]
