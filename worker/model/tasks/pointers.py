"""Pointer chasing: k hops from name to name, through entries in any order.

The state after step r is the name reached after r hops.
"""

from __future__ import annotations

import itertools
import random
from typing import Final

from worker.model.tasks.lexicon import names
from worker.model.tasks.sample import Sample

_TIMES: Final = ("", "once", "twice", *(f"{k} times" for k in range(3, 9)))
_PLACES: Final = ("", "next", "second", "third", *(f"number {k}" for k in range(4, 9)))
_COUNTED: Final = (
    (
        "arrows",
        "{0} points to {1}.",
        "Start at {0} and follow the arrows {1}. Where do you arrive?",
    ),
    ("friends", "{0}'s best friend is {1}.", "Start with {0} and go {1} to the best friend."),
    ("hops", "From {0} you hop to {1}.", "You are at {0} and hop {1}. Where are you then?"),
    ("row", "After {0} comes {1}.", "Who is {2} after {0}?"),
)
_FOLLOWED: Final = (
    ("parcel", "{0} gives it to {1}.", "{0} has the parcel first. Who has it in the end?"),
    ("chain", "{0} leads to {1}.", "A chain begins with {0}. What is the last name in it?"),
    ("letter", "{0} sends every letter on to {1}.", "{0} gets a letter. With whom does it end?"),
)
_OTHERS_MAX: Final = 3


def generate(rng: random.Random, difficulty: int) -> Sample:
    """Return a question whose answer is `difficulty` hops away.

    Either the hops are counted, and the chain goes on beyond the answer, or the chain is followed
    to its end. Up to three hops of other chains stand between.
    """
    chance = rng.random()
    more = rng.randint(0, _OTHERS_MAX)
    cast = names(rng, difficulty + 3 + more)
    chain = cast[: difficulty + 1]
    hops = list(itertools.pairwise(chain))
    if chance < 0.4:
        phrasing, entry, question = rng.choice(_FOLLOWED)
        question = question.format(chain[0])
    elif chance < 0.7:
        phrasing, entry, question = rng.choice(_COUNTED)
        question = question.format(chain[0], _TIMES[difficulty], _PLACES[difficulty])
        hops.append((chain[-1], cast[difficulty + 1]))
    else:
        phrasing, entry = "boss", "The boss of {0} is {1}."
        question = f"Who is {'the boss of ' * difficulty}{chain[0]}?"
        hops.append((chain[-1], cast[difficulty + 1]))
    others = cast[difficulty + 2 :]
    hops += itertools.pairwise(others)
    rng.shuffle(hops)
    text = f"{' '.join(entry.format(*hop) for hop in hops)} {question}"
    return Sample("pointers", difficulty, phrasing, text, chain[-1], (tuple(chain[1:]),))
