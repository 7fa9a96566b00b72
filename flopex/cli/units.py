"""Options with a unit: money, prices, compute, durations; wrong ones say how to write them."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

import typer

from exchange.client.units import parse_compute, parse_duration, parse_money, parse_price

_BARE: Final = re.compile(r"[\d_.,]+")


def _option(parse: Callable[[int | str], int], unit: str = "") -> Callable[[object], int]:
    """A parser for Typer; `unit` is what a bare number gets."""

    def read(value: object) -> int:
        # Typer parses a default that is a number again, and a settings file may hold a number.
        text = str(value).strip()
        try:
            return parse(f"{text}{unit}" if unit and _BARE.fullmatch(text) else text)
        except ValueError as error:
            raise typer.BadParameter(str(error)) from error

    return read


money_option: Final = _option(parse_money)
"""Nano-dollars from dollars, or from text with the unit nanos."""
price_option: Final = _option(parse_price)
"""Nano-dollars per CU."""
compute_option: Final = _option(parse_compute, "MFLOP")
"""MFLOP."""
duration_option: Final = _option(parse_duration, "s")
"""Nanoseconds; a bare number is seconds."""
