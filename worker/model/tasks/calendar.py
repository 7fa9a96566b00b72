"""Dates and units: k shifts of a weekday, a month, a clock or a date; k terms of a duration.

The state after step r is what the r-th shift leads to.
"""

from __future__ import annotations

import datetime as dt
import random
from collections.abc import Callable
from typing import Final

from worker.model.tasks.lexicon import names
from worker.model.tasks.sample import Sample, Steps, number_steps
from worker.model.vocabulary import DAYS, MONTHS

_DAYS: Final = tuple(day.capitalize() for day in DAYS)
_MONTHS: Final = tuple(month.capitalize() for month in MONTHS)
_YEAR: Final = 2023
"""Dates are told without a year: February has 28 days, and December is followed by January."""

_UNITS: Final = (
    ("days", ("weeks", 7)),
    ("months", ("years", 12)),
    ("hours", ("days", 24)),
    ("pieces", ("dozens", 12)),
)
_DURATION_MAX: Final = 60
"""Beyond this a duration grows by small terms only."""


def generate(rng: random.Random, difficulty: int) -> Sample:
    """Return a question with `difficulty` shifts or terms."""
    return rng.choice(_KINDS)(rng, difficulty)


def _shifts(rng: random.Random, count: int, most: int) -> list[int]:
    """Draw shifts, two thirds of them forward."""
    return [
        rng.randint(1, most) if rng.random() < 2 / 3 else -rng.randint(1, most)
        for _ in range(count)
    ]


def _told(unit: str, shifts: list[int], forms: tuple[str, str]) -> str:
    """Write each shift as a sentence; `forms` are for later and for earlier."""
    return " ".join(
        forms[shift < 0].format(abs(shift), unit if abs(shift) == 1 else f"{unit}s")
        for shift in shifts
    )


def _ring(
    rng: random.Random, places: tuple[str, ...], count: int, most: int
) -> tuple[str, list[int], Steps]:
    """Draw a start on a ring and shifts on it; return (start, shifts, states)."""
    place = rng.randrange(len(places))
    start, states = places[place], []
    shifts = _shifts(rng, count, most)
    for shift in shifts:
        place = (place + shift) % len(places)
        states.append(places[place])
    return start, shifts, (tuple(states),)


def _weekday(rng: random.Random, difficulty: int) -> Sample:
    start, shifts, steps = _ring(rng, _DAYS, difficulty, 10)
    opening, forms, question = rng.choice(
        (
            (
                "Today is {}.",
                ("Go {} {} forward.", "Go {} {} back."),
                "Which day of the week is it then?",
            ),
            (
                "{} is the first day of the game.",
                ("It is moved {} {} ahead.", "It is moved {} {} back."),
                "What weekday does it start on now?",
            ),
        )
    )
    text = f"{opening.format(start)} {_told('day', shifts, forms)} {question}"
    return Sample("dates", difficulty, "weekday", text, steps[0][-1], steps)


def _month(rng: random.Random, difficulty: int) -> Sample:
    start, shifts, steps = _ring(rng, _MONTHS, difficulty, 14)
    forms = ("Then go {} {} ahead.", "Then go {} {} back.")
    text = f"It is {start}. {_told('month', shifts, forms)} Which month is it?"
    return Sample("dates", difficulty, "month", text, steps[0][-1], steps)


def _clock(rng: random.Random, difficulty: int) -> Sample:
    hours = tuple(str(hour) for hour in range(1, 13))
    start, shifts, steps = _ring(rng, hours, difficulty, 11)
    forms = ("It is put {} {} forward.", "It is put {} {} back.")
    text = (
        f"The clock says {start} o'clock. {_told('hour', shifts, forms)} "
        "How many hours does the clock say now, on a face of twelve?"
    )
    return Sample("dates", difficulty, "clock", text, steps[0][-1], steps)


def _date(rng: random.Random, difficulty: int) -> Sample:
    date = dt.date(_YEAR, 1, 1) + dt.timedelta(rng.randrange(365))
    start, months, days = date, [], []
    shifts = _shifts(rng, difficulty, 20)
    for shift in shifts:
        date += dt.timedelta(shift)
        date = date.replace(year=_YEAR)
        months.append(_MONTHS[date.month - 1])
        days.append(str(date.day))
    name = names(rng, 1)[0]
    forms = (f"{name} puts it off by {{}} {{}}.", f"{name} moves it {{}} {{}} back.")
    text = (
        f"The game of {name} is on {_MONTHS[start.month - 1]} {start.day}. "
        f"{_told('day', shifts, forms)} On which date is it?"
    )
    answer = f"{months[-1]} {days[-1]}"
    return Sample("dates", difficulty, "date", text, answer, (tuple(months), tuple(days)))


def _duration(rng: random.Random, difficulty: int) -> Sample:
    small, (large, size) = rng.choice(_UNITS)
    total, terms, totals = 0, [], []
    for _ in range(difficulty):
        room = (_DURATION_MAX - total) // size
        if room > 0 and rng.random() < 0.5:
            number = rng.randint(1, min(room, 3))
            total += number * size
            terms.append(f"{number} {large if number > 1 else large[:-1]}")
        else:
            number = rng.randint(1, 6)
            total += number
            terms.append(f"{number} {small if number > 1 else small[:-1]}")
        totals.append(total)
    text = rng.choice(("How many {} are {} together?", "Count the {} in {}."))
    joined = " and ".join(terms)
    steps = number_steps(totals)
    return Sample("dates", difficulty, "duration", text.format(small, joined), str(total), steps)


_KINDS: Final[tuple[Callable[[random.Random, int], Sample], ...]] = (
    _weekday,
    _month,
    _clock,
    _date,
    _duration,
)
