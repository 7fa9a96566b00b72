"""Shuffled objects: people hold things and swap them in pairs, k times; who or what is asked for.

Solved backwards: whoever holds the thing in the end got it from his partner in the last swap that
he took part in. The state after step r is the person reached through the last r swaps; after the
last one comes the answer: that person's thing at the start, or its option letter.
"""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Callable
from typing import Final

from worker.model.tasks import lexicon
from worker.model.tasks.lexicon import listing, names
from worker.model.tasks.sample import Sample, copied, grouped

PEOPLE: Final = range(3, 8)
LETTERS: Final = "ABCDEFG"


@dataclasses.dataclass(frozen=True, slots=True)
class _Story:
    """Words of a story in the published form."""

    things: Callable[[random.Random, int], list[str]]
    who: str
    opening: str
    has: str
    during: str
    swap: str
    closing: str


def _coloured(rng: random.Random, count: int) -> list[str]:
    thing = rng.choice(lexicon.THINGS)
    return [f"{colour} {thing}" for colour in rng.sample(lexicon.COLOURS, count)]


def _titles(rng: random.Random, count: int) -> list[str]:
    heads = rng.sample(lexicon.TITLE_HEADS, count)
    tails = rng.sample(lexicon.TITLE_TAILS, count)
    forms = ("{0} of {1}", "The {0} of the {1}", "{0}", "The {1}", "{0} and {1}")
    return [rng.choice(forms).format(head, tail) for head, tail in zip(heads, tails, strict=True)]


def _single(rng: random.Random, count: int) -> list[str]:
    return rng.sample(lexicon.THINGS, count)


def _roles(rng: random.Random, count: int) -> list[str]:
    sides = rng.sample(lexicon.SIDES, count)
    trades = rng.sample(lexicon.TRADES, count)
    return [
        trade if rng.random() < 0.5 else f"{side} {trade}"
        for side, trade in zip(sides, trades, strict=True)
    ]


_STORIES: Final = (
    _Story(
        _coloured,
        "neighbours at a street market",
        "At the start of the market, they each have a {thing}: ",
        "{0} has the {1}",
        "As the market proceeds, pairs of neighbours trade what they have.",
        "{0} and {1} swap their {thing}s",
        "At the end of the market, {0} has the",
    ),
    _Story(
        _titles,
        "members of a film club who lend each other films",
        "At the start of the season, they each buy one new film: ",
        "{0} gets {1}",
        "As the season proceeds, they start trading around the films.",
        "{0} and {1} swap films",
        "At the end of the season, {0} has",
    ),
    _Story(
        names,
        "skaters at a winter show",
        "At the start of the music, they each have a partner: ",
        "{0} is skating with {1}",
        "Throughout the music, the skaters often trade partners.",
        "{0} and {1} switch partners",
        "At the end of the show, {0} is skating with",
    ),
    _Story(
        _roles,
        "working in the crew of a ship",
        "At the start of the voyage, they are each given a duty: ",
        "{0} is working as {1}",
        "As the voyage progresses, pairs of sailors occasionally swap duties.",
        "{0} and {1} trade duties",
        "At the end of the voyage, {0} is working as",
    ),
    _Story(
        _single,
        "playing a game",
        "At the start of the game, each of them is holding one thing: ",
        "{0} has the {1}",
        "As the game progresses, pairs of players trade things.",
        "{0} and {1} exchange things",
        "At the end of the game, {0} has the",
    ),
)

_PLAIN: Final = (
    ("{0} has the {1}.", "{0} and {1} swap what they have.", "What does {0} have at the end?"),
    ("{0} holds the {1}.", "{0} exchanges with {1}.", "Which thing does {0} hold now?"),
    ("{0} owns the {1}.", "Then {0} and {1} trade.", "What does {0} own after that?"),
    ("{0} wears the {1}.", "After that, {0} and {1} switch.", "What does {0} wear last?"),
    ("{0} stands on the {1}.", "{0} and {1} change places.", "On what does {0} stand now?"),
    ("{0} keeps the {1}.", "Next, {0} exchanges with {1}.", "What is it that {0} keeps now?"),
    ("{0} drives the {1} car.", "{0} and {1} change cars.", "Which car does {0} drive now?"),
    ("{0} carries the {1}.", "{0} switches with {1}.", "Who carried it first: what {0} carries?"),
)
"""A fact, a swap, and the question of the short stories; the last one asks for a person."""


@dataclasses.dataclass(frozen=True, slots=True)
class _Plot:
    """What happens, whatever the words: person i starts with thing i."""

    people: list[str]
    swaps: list[tuple[int, int]]
    asked: int
    path: list[int]
    """Who is reached from the one asked for, back through each swap."""


def generate(rng: random.Random, difficulty: int) -> Sample:
    """Return a story with `difficulty` swaps among three to seven people.

    In the published form there are mostly as many swaps as people, where the difficulty allows it.
    """
    published = rng.random() < 0.5
    natural = published and difficulty in PEOPLE and rng.random() < 0.7
    count = difficulty if natural else rng.choice(PEOPLE)
    people = range(count)
    swaps = [
        (first, second) for first, second in (rng.sample(people, 2) for _ in range(difficulty))
    ]
    asked = rng.randrange(count)
    plot = _Plot(names(rng, count), swaps, asked, _traced(asked, swaps))
    return _published(rng, plot) if published else _plain(rng, plot)


def _traced(person: int, swaps: list[tuple[int, int]]) -> list[int]:
    path = []
    for first, second in reversed(swaps):
        if person in {first, second}:
            person = first + second - person
        path.append(person)
    return path


def _published(rng: random.Random, plot: _Plot) -> Sample:
    """Tell it at length, with options; the answer is a letter."""
    story = rng.choice(_STORIES)
    things = story.things(rng, len(plot.people))
    while set(things) & set(plot.people):  # Partners are people too, but others.
        things = story.things(rng, len(plot.people))
    thing = things[0].split()[-1]
    facts = [story.has.format(*pair) for pair in zip(plot.people, things, strict=True)]
    swaps = [
        f"{opening} {story.swap.format(plot.people[first], plot.people[second], thing=thing)}."
        for opening, (first, second) in zip(_openings(len(plot.swaps)), plot.swaps, strict=True)
    ]
    options = [f"({letter}) {thing}" for letter, thing in zip(LETTERS, things, strict=False)]
    text = (
        f"{listing(plot.people)} are {story.who}. {story.opening.format(thing=thing)}"
        f"{listing(facts)}.\n{story.during} {' '.join(swaps)} "
        f"{story.closing.format(plot.people[plot.asked])}\nOptions:\n" + "\n".join(options)
    )
    answer = f"({LETTERS[plot.path[-1]]})"
    path = grouped([plot.people[person] for person in plot.path])
    return Sample("tracking", len(plot.swaps), "published", text, answer, ((*path, answer),))


def _openings(count: int) -> list[str]:
    if count == 1:
        return ["Then,"]
    return ["First,", *["Then,"] * (count - 2), "Finally,"]


def _plain(rng: random.Random, plot: _Plot) -> Sample:
    """Tell it in short sentences; the answer is a thing or a person, in words."""
    fact, swap, question = rng.choice(_PLAIN)
    things = rng.choice((_single, _coloured))(rng, len(plot.people))
    sentences = [fact.format(*pair) for pair in zip(plot.people, things, strict=True)]
    sentences += [swap.format(plot.people[one], plot.people[two]) for one, two in plot.swaps]
    sentences.append(question.format(plot.people[plot.asked]))
    path = grouped([plot.people[person] for person in plot.path])
    if question.startswith("Who"):
        return Sample("tracking", len(plot.swaps), "plain", " ".join(sentences), path[-1], (path,))
    answer = things[plot.path[-1]]
    head, *others = answer.split()
    steps = ((*path, head), *copied(others))
    return Sample("tracking", len(plot.swaps), "plain", " ".join(sentences), answer, steps)
