"""Names, things and made-up words for the questions: our own, none of them in the vocabulary.

What is said about a name matters, never which name it is; so half of the names and all words to
be sorted are made up.
"""

from __future__ import annotations

import random
from typing import Final

from worker.model.vocabulary import is_known


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


NAMES: Final = _words(
    "Abel Adela Agnes Alma Anton Arno Astrid Bastian Beata Bela Benno Britta Carla Casper Celia "
    "Conrad Cyril Dagmar Dario Delia Edda Edgar Elias Elke Emil Erika Esther Fabian Felix Flora "
    "Frieda Gerda Gilbert Greta Gustav Hanna Hector Hilda Hugo Ida Igor Ilse Irma Ivan Jasper "
    "Jonas Judith Kaspar Katja Klara Konrad Lars Lea Leon Liv Lorenz Lotte Lukas Magda Malte "
    "Marek Marta Milan Mira Moritz Nadia Nils Nora Olaf Olga Oskar Otto Paula Pavel Petra Ralf "
    "Renata Rita Roman Rosa Rupert Sabine Selma Silas Sonja Sven Tamara Theo Tilda Tobias Ulla "
    "Ulrich Uwe Vera Viktor Vladimir Walter Wanda Xaver Yannis Yvonne Zeno Zita"
)

COLOURS: Final = _words(
    "red blue green yellow white black brown pink purple grey violet silver golden beige"
)
THINGS: Final = _words(
    "hat scarf mug tent kite lantern umbrella basket helmet ribbon bottle candle bucket "
    "jacket wallet "
    "puzzle magnet whistle rope hammer pencil"
)
PLACES: Final = _words(
    "harbour station airport bank park library bakery museum cinema stadium chapel market bridge "
    "mill tower castle hospital school"
)
TRADES: Final = _words(
    "cook carpenter pilot gardener painter doctor surgeon translator tailor smith welder clerk"
)
SIDES: Final = _words("inner outer upper lower middle rear assistant chief")
TITLE_HEADS: Final = _words(
    "Winter Silence Shadow Garden River Letter Island Mountain Summer Voyage"
)
TITLE_TAILS: Final = _words("Salt Glass Ashes Feathers Copper Silk Thunder Amber Dust Willows")

_ONSETS: Final = _words(
    "b c d f g h j k l m n p r s t v w z br cl dr fl gr kr pl pr st tr sh th ch "
)
_VOWELS: Final = _words("a e i o u a e i o ai ea ou")
_ENDS: Final = (*_words("n r l s t m d k n r l s th nd rt st ck rm"), *[""] * 4)


def invented(rng: random.Random, syllables: int) -> str:
    """Return a made-up word that can be pronounced and is unknown, in lower case."""
    pick = rng.random
    while True:
        word = "".join(
            _ONSETS[int(pick() * len(_ONSETS))]
            + _VOWELS[int(pick() * len(_VOWELS))]
            + _ENDS[int(pick() * len(_ENDS))]
            for _ in range(syllables)
        )
        if not is_known(word):
            return word


def names(rng: random.Random, count: int) -> list[str]:
    """Return different names of people, about half of them made up."""
    chosen: dict[str, None] = {}
    while len(chosen) < count:
        if rng.random() < 0.5:
            chosen[NAMES[int(rng.random() * len(NAMES))]] = None
        else:
            chosen[invented(rng, 2).capitalize()] = None
    return list(chosen)


def made_up_words(rng: random.Random, count: int, syllables_max: int = 3) -> list[str]:
    """Return different made-up words."""
    chosen: dict[str, None] = {}
    while len(chosen) < count:
        chosen[invented(rng, 1 + int(rng.random() * syllables_max))] = None
    return list(chosen)


def listing(items: list[str], last: str = "and") -> str:
    """Join as people do: a, b, and c."""
    if len(items) < 3:
        return f" {last} ".join(items)
    return f"{', '.join(items[:-1])}, {last} {items[-1]}"
