"""What people write around a question: greetings, quotes, signs. It never changes the answer."""

from __future__ import annotations

import random
from typing import Final

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
    "- {}",
    "* {} *",
    "{}\n",
    "This is not easy, but you can do it: {}",
    "{} Do not say more than you must.",
    "When you know it, write it here. {}",
    "{} $ % @",
)


def dressed(rng: random.Random, question: str) -> str:
    """Return the question in one of the forms."""
    return _FORMS[int(rng.random() * len(_FORMS))].format(question)
