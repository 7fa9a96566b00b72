"""Quoting policies: what a worker asks for a slot, given how many of the pool's slots are in use.

A quote is a list of integers, never falling: prices[i] is the ask, in nano-dollars per CU (10^12
FLOPs), with i slots of the pool in use. The exchange picks the right one by itself, so a quote is
not re-sent per fill.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterable
from typing import Final, Protocol

MFLOP_PER_CU: Final = 1_000_000
SECONDS_PER_HOUR: Final = 3_600
MILLI: Final = 1_000
PRICE_MAX_NANOS: Final = 10**9
"""The exchange refuses higher prices."""


class QuotePolicy(Protocol):
    """Computes the prices of a quote."""

    def prices_nanos(self, slots: int) -> tuple[int, ...]:
        """One price per slot, nano-dollars per CU, never falling."""
        ...


@dataclasses.dataclass(frozen=True, slots=True)
class Static:
    """The prices as given; the last one stands for all further slots."""

    prices: tuple[int, ...]

    def __post_init__(self) -> None:
        if not self.prices:
            raise ValueError("a static quote needs at least one price")
        _check(self.prices)

    def prices_nanos(self, slots: int) -> tuple[int, ...]:
        """One price per slot, nano-dollars per CU, never falling."""
        return tuple(self.prices[min(i, len(self.prices) - 1)] for i in range(slots))


@dataclasses.dataclass(frozen=True, slots=True)
class CostPlus:
    """What the machine costs, spread over what it computes, and a margin; the same for each slot.

    Args:
        cost_nanos_per_hour: What an hour of the machine costs, nano-dollars.
        mflop_per_second: What it sustains with all slots busy, MFLOP per second.
        margin_milli: Margin in thousandths of the cost.
    """

    cost_nanos_per_hour: int
    mflop_per_second: int
    margin_milli: int = 0

    def __post_init__(self) -> None:
        if self.cost_nanos_per_hour < 1 or self.mflop_per_second < 1 or self.margin_milli < 0:
            raise ValueError("cost and speed must be positive, the margin not negative")
        _check((self._price(),))

    def _price(self) -> int:
        cost = self.cost_nanos_per_hour * MFLOP_PER_CU * (MILLI + self.margin_milli)
        return -(-cost // (self.mflop_per_second * SECONDS_PER_HOUR * MILLI))

    def prices_nanos(self, slots: int) -> tuple[int, ...]:
        """One price per slot, nano-dollars per CU.

        >>> CostPlus(2_500_000_000, 400_000_000).prices_nanos(1)  # an H100 at $2.50 per hour
        (1737,)
        """
        return (self._price(),) * slots


@dataclasses.dataclass(frozen=True, slots=True)
class Inventory:
    """Dearer the fewer slots are left: c (U/c)^(u^g), with u the share of slots in use.

    Args:
        cost_nanos: c, the price of the first slot, nano-dollars per CU.
        ceiling_nanos: U, which a full pool would ask, nano-dollars per CU.
        exponent_milli: g in thousandths; above 1,000 prices stay low for longer.
    """

    cost_nanos: int
    ceiling_nanos: int
    exponent_milli: int = 1_000

    def __post_init__(self) -> None:
        if self.exponent_milli < 1:
            raise ValueError("the exponent must be positive")
        _check((self.cost_nanos, self.ceiling_nanos))

    def prices_nanos(self, slots: int) -> tuple[int, ...]:
        """One price per slot, nano-dollars per CU, never falling.

        >>> Inventory(100, 1_600).prices_nanos(4)
        (100, 200, 400, 800)
        """
        prices: list[int] = []
        for i in range(slots):
            share = (i / slots) ** (self.exponent_milli / MILLI)
            price = round(self.cost_nanos * (self.ceiling_nanos / self.cost_nanos) ** share)
            # Rounding must not make a price fall, nor leave the range.
            prices.append(min(max(price, prices[-1] if prices else 1), self.ceiling_nanos))
        return tuple(prices)


def on_tick(prices_nanos: Iterable[int], tick_nanos: int) -> tuple[int, ...]:
    """The prices rounded up to multiples of an instrument's tick.

    >>> on_tick((100, 101, 199), 100)
    (100, 200, 200)
    """
    return tuple(-(-price // tick_nanos) * tick_nanos for price in prices_nanos)


def parse_policy(text: str) -> QuotePolicy:
    """A policy from its short form, as given on a command line.

    `static:PRICE[,PRICE...]`, `cost-plus:NANOS_PER_HOUR,MFLOP_PER_SECOND[,MARGIN_MILLI]`,
    `inventory:COST,CEILING[,EXPONENT_MILLI]`; all whole numbers, `_` between digits is allowed.

    Raises:
        ValueError: the text is none of these, or a number is out of range.

    >>> parse_policy("inventory:400_000,900_000")
    Inventory(cost_nanos=400000, ceiling_nanos=900000, exponent_milli=1000)
    """
    kind, _, rest = text.partition(":")
    try:
        numbers = tuple(int(number) for number in rest.split(","))
    except ValueError as error:
        raise ValueError(f"{text!r}: whole numbers, separated by commas, must follow") from error
    match kind, len(numbers):
        case "static", _:
            return Static(numbers)
        case "cost-plus", 2 | 3:
            return CostPlus(*numbers)
        case "inventory", 2 | 3:
            return Inventory(*numbers)
    raise ValueError(
        f"{text!r} is no quoting policy: static:PRICE, cost-plus:NANOS_PER_HOUR,MFLOP_PER_SECOND "
        "or inventory:COST,CEILING"
    )


def _check(prices: tuple[int, ...]) -> None:
    if not all(0 < price <= PRICE_MAX_NANOS for price in prices):
        raise ValueError(f"prices must lie between 1 and {PRICE_MAX_NANOS} nano-dollars per CU")
    if any(low > high for low, high in itertools.pairwise(prices)):
        raise ValueError("prices must never fall from one slot to the next")
