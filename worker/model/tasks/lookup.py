"""Key lookup: 2k entries of a table in prose, in any order; one step finds the value of a key."""

from __future__ import annotations

import random
from typing import Final

from worker.model.tasks import lexicon
from worker.model.tasks.lexicon import names
from worker.model.tasks.sample import NUMBERS, Sample, copied

_NUMBERED: Final = (
    ("code", "The code of {0} is {1}.", "What is the code of {0}?", "Who has the code {1}?"),
    (
        "position",
        "{0} is in position {1}.",
        "In which position is {0}?",
        "Who is in position {1}?",
    ),
    ("room", "{0} lives in room {1}.", "In which room does {0} live?", "Who lives in room {1}?"),
    (
        "box",
        "The key of {0} is in box {1}.",
        "In which box is the key of {0}?",
        "Whose key is in box {1}?",
    ),
    ("years", "{0} is {1} years old.", "How old is {0}?", "Who is {1} years old?"),
)
_NAMED: Final = (
    ("thing", "{0} has the {1}.", "What does {0} have?", "Who has the {1}?"),
    ("place", "{0} is at the {1}.", "Where is {0}?", "Who is at the {1}?"),
    ("list", "{0}: {1},", "What belongs to {0}?", "To whom does {1} belong?"),
)


def generate(rng: random.Random, difficulty: int) -> Sample:
    """Return a question about one of 2 * `difficulty` entries, asked from either side."""
    count = 2 * difficulty
    keys = names(rng, count)
    if rng.random() < 0.5:
        phrasing, entry, ask_value, ask_key = rng.choice(_NUMBERED)
        values = [str(number) for number in rng.sample(NUMBERS, count)]
    else:
        phrasing, entry, ask_value, ask_key = rng.choice(_NAMED)
        nouns = lexicon.PLACES if phrasing == "place" else lexicon.THINGS
        values = rng.sample(nouns, count)
    chosen = rng.randrange(count)
    key, value = keys[chosen], values[chosen]
    forward = rng.random() < 0.6
    question = (ask_value if forward else ask_key).format(key, value)
    entries = " ".join(entry.format(*pair) for pair in zip(keys, values, strict=True))
    text = f"{entries.removesuffix(',')}{'.' if phrasing == 'list' else ''} {question}"
    answer = value if forward else key
    return Sample("lookup", difficulty, phrasing, text, answer, copied([answer]))
