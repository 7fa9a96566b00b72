"""Options with a unit: money, prices, compute, durations; wrong ones say how to write them.

The reading is the client's; it is imported where it is used, because help and completion are not to
wait for it.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from typing import Final

import typer

_BARE: Final = re.compile(r"[\d_.,]+")


def money_option(value: object) -> int:
    """Nano-dollars from dollars, or from text with the unit nanos."""
    from exchange.units import parse_money

    return _read(parse_money, value)


def price_option(value: object) -> int:
    """Nano-dollars per CU, written like money."""
    from exchange.units import parse_price

    return _read(parse_price, value)


def compute_option(value: object) -> int:
    """MFLOP; a bare number is MFLOP."""
    from exchange.units import parse_compute

    return _read(parse_compute, value, "MFLOP")


def duration_option(value: object) -> int:
    """Nanoseconds; a bare number is seconds."""
    from exchange.units import parse_duration

    return _read(parse_duration, value, "s")


def positive(read: Callable[[object], int]) -> Callable[[object], int]:
    """The same option, which takes no zero: the API would read it as an option left out."""

    @functools.wraps(read)
    def read_positive(value: object) -> int:
        amount = read(value)
        if amount <= 0:
            raise typer.BadParameter("it must be more than zero; leave it out to set none")
        return amount

    return read_positive


def _read(parse: Callable[[int | str], int], value: object, unit: str = "") -> int:
    # Typer parses a default that is a number again, and a settings file may hold a number.
    text = str(value).strip()
    try:
        return parse(f"{text}{unit}" if unit and _BARE.fullmatch(text) else text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
