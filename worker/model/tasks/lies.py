"""Webs of lies: k people, of whom each but the first says of another whether he tells the truth.

The state after step r is whether the r-th person of the chain tells the truth.
"""

from __future__ import annotations

import dataclasses
import random
from typing import Final

from worker.model.tasks.lexicon import names
from worker.model.tasks.sample import Sample


@dataclasses.dataclass(frozen=True, slots=True)
class _Phrasing:
    """How the first fact, a statement and the question are put; {0} speaks, {1} is spoken of."""

    name: str
    fact: tuple[str, str]
    statements: tuple[tuple[str, str], ...]
    question: str
    opening: str = ""


_PHRASINGS: Final = (
    _Phrasing(
        "published",
        ("{1} tells the truth.", "{1} lies."),
        (("{0} says {1} tells the truth.", "{0} says {1} lies."),),
        "Does {0} tell the truth?",
        "Question: ",
    ),
    _Phrasing(
        "claims",
        ("{1} is honest.", "{1} is a liar."),
        (
            ("{0} claims that {1} is honest.", "{0} claims that {1} is a liar."),
            ("According to {0}, {1} is honest.", "According to {0}, {1} is lying."),
        ),
        "Is {0} honest?",
    ),
    _Phrasing(
        "knights",
        ("{1} is a knight.", "{1} is a knave."),
        (
            ("{0} says that {1} is a knight.", "{0} says that {1} is a knave."),
            ("{0} tells us {1} is a knight.", "{0} tells us {1} is a knave."),
        ),
        "Is {0} a knight?",
        "Knights always tell the truth and knaves always lie. ",
    ),
    _Phrasing(
        "always",
        ("{1} always tells the truth.", "{1} always lies."),
        (("{0} says that {1} is telling the truth.", "{0} says that {1} is lying."),),
        "Can we say that {0} tells the truth?",
    ),
)
_BYSTANDERS_MAX: Final = 3


def generate(rng: random.Random, difficulty: int) -> Sample:
    """Return a question about the last of `difficulty` people in a chain of statements.

    Outside the published form, up to three more may speak after the person asked for; they do not
    matter.
    """
    phrasing = rng.choice(_PHRASINGS)
    more = 0 if phrasing.name == "published" else max(0, rng.randint(-3, _BYSTANDERS_MAX))
    people = names(rng, difficulty + more)
    truthful = rng.random() < 0.5
    sentences = [phrasing.fact[not truthful].format("", people[0])]
    states = [truthful]
    for number in range(1, len(people)):
        praises = rng.random() < 0.5
        statement = rng.choice(phrasing.statements)[not praises]
        sentences.append(statement.format(people[number], people[number - 1]))
        states.append(praises == states[-1])
    answers = tuple("Yes" if state else "No" for state in states[:difficulty])
    question = phrasing.question.format(people[difficulty - 1])
    text = f"{phrasing.opening}{' '.join(sentences)} {question}"
    return Sample("lies", difficulty, phrasing.name, text, answers[-1], (answers,))
