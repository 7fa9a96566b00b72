"""Numbers with their units, for people. Money in dollars, prices in nano-dollars per CU."""

from __future__ import annotations

import time
from typing import Final

PRICE_UNIT: Final = "nano$/CU"
FLOPS_PER_MFLOP: Final = 1_000_000
MFLOP_PER_CU: Final = 1_000_000
MFLOP_PER_GFLOP: Final = 1_000
NS_PER_S: Final = 1_000_000_000


def grouped(number: int) -> str:
    """A whole number with thousands separated.

    >>> grouped(1234567)
    '1,234,567'
    """
    return f"{number:,}"


def several(number: int, what: str) -> str:
    """How many of something whose plural ends with s.

    >>> several(1, "segment"), several(1200, "group")
    ('1 segment', '1,200 groups')
    """
    return f"{number:,} {what}" if number == 1 else f"{number:,} {what}s"


def money(nanos: int) -> str:
    """Dollars, exact, with at least two decimals.

    >>> money(1_500_000_000), money(9_812), money(-20)
    ('$1.50', '$0.000009812', '-$0.00000002')
    """
    # The whole client comes with it, which only commands that talk to an exchange need.
    from exchange.units import format_money

    return format_money(nanos)


def price(nanos: int) -> str:
    """Nano-dollars per CU: the unit of quotes and of `--json`.

    >>> price(412_000)
    '412,000'
    """
    return grouped(nanos)


def flops(count: int) -> str:
    """Compute that was done: kFLOP below a MFLOP, then as `compute`.

    >>> flops(243_100), flops(18_000_000_000)
    ('243 kFLOP', '18.0 GFLOP')
    """
    if count < FLOPS_PER_MFLOP:
        return f"{count // 1_000} kFLOP"
    return compute(count // FLOPS_PER_MFLOP)


def compute(mflop: int) -> str:
    """A quantity of compute: MFLOP below a GFLOP, then GFLOP, from a thousandth of a CU on CU.

    >>> compute(999), compute(18_000), compute(2_500_000)
    ('999 MFLOP', '18.0 GFLOP', '2.500 CU')
    """
    if mflop < MFLOP_PER_GFLOP:
        return f"{mflop} MFLOP"
    if mflop < MFLOP_PER_CU:
        return f"{mflop / MFLOP_PER_GFLOP:,.1f} GFLOP"
    return f"{mflop / MFLOP_PER_CU:,.3f} CU"


def seconds(duration_ns: int) -> str:
    """A duration.

    >>> seconds(1_250_000_000), seconds(90 * 10**9)
    ('1.2 s', '90 s')
    """
    value = duration_ns / NS_PER_S
    return f"{value:.1f} s" if value < 60 else f"{value:.0f} s"


def clock_time(time_ns: int) -> str:
    """Local time of day; a dash for none."""
    if not time_ns:
        return "-"
    return time.strftime("%H:%M:%S", time.localtime(time_ns / NS_PER_S))


def date_time(time_ns: int) -> str:
    """Local date and time, to the second; a dash for none."""
    if not time_ns:
        return "-"
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(time_ns / NS_PER_S))


def recent_time(time_ns: int) -> str:
    """Local time of day of what was today, else the date, which is as short."""
    told = date_time(time_ns)
    today, _, _ = date_time(time.time_ns()).partition(" ")
    date, _, clock = told.partition(" ")
    return clock if date == today else date


def words(name: str) -> str:
    """An enum's name as words.

    >>> words("PRICE_BELOW_ASK")
    'price below ask'
    """
    return name.replace("_", " ").lower()


def one_line(text: str, width: int) -> str:
    r"""Text on one line, cut with an ellipsis.

    >>> one_line("a\nlong text", 8)
    'a long …'
    """
    flat = " ".join(text.split())
    return flat if len(flat) <= width else flat[: max(width - 1, 0)] + "…"
