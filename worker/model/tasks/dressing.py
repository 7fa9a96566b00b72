"""What people write around a question: greetings, quotes, signs. It never changes the answer."""

from __future__ import annotations

import dataclasses
import random
from typing import Final

from worker.model.tasks.sample import PUBLISHED, Sample

CHANCE: Final = 0.2
"""How often a question outside the published forms is dressed."""

_FORMS: Final = (
    "Answer this: {}",
    "Please answer the next question. {}",
    "My question is: {}",
    "So tell me: {}",
    "I will ask you only once! {}",
    "Hello! {}",
    "Hi; {}",
    "She asks him this: {}",
    "{} Thanks!",
    "{} Answer with one word.",
    "{} Just give me the answer.",
    '"{}"',
    "'{}'",
    "[{}]",
    "# Question 1\n{}",
    "Q: {}\nA:",
    "({})",
    "{}\n",
    "This is not easy, but you can do it: {}",
    "{} Do not say more than you must.",
    "When you know it, write it here. {}",
    "{} $ % @",
)


def dressed(rng: random.Random, sample: Sample) -> Sample:
    """Return the sample, its question now and then in one of the forms."""
    if sample.phrasing == PUBLISHED or rng.random() >= CHANCE:
        return sample
    form = _FORMS[int(rng.random() * len(_FORMS))]
    return dataclasses.replace(sample, question=form.format(sample.question))
