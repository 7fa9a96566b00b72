"""Object counting: k entries of a list, some of them several of a thing; how many are of a kind?

The state after step r is the count after the r-th entry of the list.
"""

from __future__ import annotations

import dataclasses
import random
from typing import Final

from worker.model.tasks.lexicon import listing, names
from worker.model.tasks.sample import Sample, number_steps
from worker.model.vocabulary import NOUNS, plural

_NUMBERS: Final = ("", "", "two", "three", "four", "five", "six")
_MORE: Final = 7
"""At the highest difficulty the list may have this many entries more."""

_KINDS: Final = {
    "fruits": "fruits",
    "vegetables": "vegetables",
    "animals": "animals",
    "instruments": "musical instruments",
    "furniture": "pieces of furniture",
    "objects": "objects",
}
_MEASURES: Final = {
    "broccoli": "head",
    "cabbage": "head",
    "cauliflower": "head",
    "lettuce": "head",
    "celery": "stalk",
    "rhubarb": "stalk",
    "garlic": "clove",
    "spinach": "bunch",
    "kale": "bunch",
}
"""What is counted of a thing that has no plural of its own."""


@dataclasses.dataclass(frozen=True, slots=True)
class _Phrasing:
    name: str
    text: str
    articles: bool = True


_PHRASINGS: Final = (
    _Phrasing("published", "I have {items}. How many {kind} do I have?"),
    _Phrasing("published", "I have {items}. How many {kind} do I have?"),
    _Phrasing("there", "There are {items} in the room. How many {kind} are there in total?"),
    _Phrasing("bought", "{name} bought {items}. How many {kind} did {name} buy?"),
    _Phrasing("see", "On the table I see {items}. How many {kind} can you count?"),
    _Phrasing("keeps", "{name} keeps {items} at home. How many {kind} does {name} keep?"),
    _Phrasing("count", "Count all {kind} here: {items}.", articles=False),
    _Phrasing("count", "Count the {kind} in this list: {items}.", articles=False),
)


def generate(rng: random.Random, difficulty: int) -> Sample:
    """Return a question about a list of `difficulty` entries (at 8, up to seven more)."""
    entries = difficulty + (rng.randint(0, _MORE) if difficulty == 8 else 0)
    kind = rng.choice(tuple(_KINDS))
    phrasing = rng.choice(_PHRASINGS)
    others = tuple(other for other in NOUNS if other != kind)
    distractor = rng.choice(others)
    chosen: dict[str, tuple[str, int]] = {}
    while len(chosen) < entries:
        wanted = kind == "objects" or rng.random() < 0.7
        of = (rng.choice(others) if kind == "objects" else kind) if wanted else distractor
        several = rng.random() < 0.3 and phrasing.articles
        chosen[rng.choice(NOUNS[of])] = (of, rng.randint(2, 6) if several else 1)
    count, counts = 0, []
    for of, number in chosen.values():
        count += number if kind in {of, "objects"} else 0
        counts.append(count)
    written = [_entry(noun, number) for noun, (_, number) in chosen.items()]
    items = listing(written) if phrasing.articles else ", ".join(chosen)
    name = names(rng, 1)[0] if "{name}" in phrasing.text else ""
    text = phrasing.text.format(items=items, kind=_KINDS[kind], name=name)
    return Sample("counting", difficulty, phrasing.name, text, str(count), number_steps(counts))


def _entry(noun: str, number: int) -> str:
    """Write one entry: a pear, two pears, two heads of broccoli."""
    measure = _MEASURES.get(noun)
    if measure is not None:
        return (
            f"a {measure} of {noun}"
            if number == 1
            else f"{_NUMBERS[number]} {_many(measure)} of {noun}"
        )
    if number == 1:
        return f"an {noun}" if noun[0] in "aeio" else f"a {noun}"
    return f"{_NUMBERS[number]} {plural(noun)}"


def _many(measure: str) -> str:
    return "bunches" if measure == "bunch" else f"{measure}s"
