"""Text to exact integers and back: money, prices, compute, durations. No float comes near it.

An `int` is already in the smallest unit (nano-dollars, nano-dollars per CU, MFLOP, nanoseconds),
and a `str` is read by the functions here. What does not fit the smallest unit exactly is an error,
never rounded.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

NANOS_PER_DOLLAR: Final = 1_000_000_000
MFLOP_PER_CU: Final = 1_000_000
FLOPS_PER_MFLOP: Final = 1_000_000
FLOPS_PER_CU: Final = 1_000_000_000_000
NS_PER_S: Final = 1_000_000_000

# A group of thousands begins with no 0: "0,002" is a decimal comma's 0.002, and never 2.
_NUMBER: Final = r"(?P<whole>[1-9]\d{0,2}(?:,\d{3})+|\d[\d_]*|)(?:\.(?P<decimals>\d+))?"
_MONEY: Final = re.compile(
    rf"(?P<sign>-?)\s*(?P<dollar>\$?)\s*{_NUMBER}\s*(?P<unit>[A-Za-z-]*)\s*", re.ASCII
)
_QUANTITY: Final = re.compile(rf"{_NUMBER}\s*(?P<unit>[A-Za-zµ]+)", re.ASCII)
_DURATION: Final = re.compile(rf"(?:{_NUMBER}\s*(?P<unit>[a-zµ]+)\s*)", re.ASCII)

_MONEY_UNITS: Final = {
    "": NANOS_PER_DOLLAR,
    "usd": NANOS_PER_DOLLAR,
    "dollar": NANOS_PER_DOLLAR,
    "dollars": NANOS_PER_DOLLAR,
    "nanos": 1,
    "nano-dollars": 1,
}
_FLOPS: Final = {
    "mflop": 10**6,
    "gflop": 10**9,
    "tflop": 10**12,
    "pflop": 10**15,
    "eflop": 10**18,
    "cu": FLOPS_PER_CU,
}
_DURATIONS: Final = {
    "ns": 1,
    "us": 1_000,
    "µs": 1_000,
    "ms": 1_000_000,
    "s": NS_PER_S,
    "m": 60 * NS_PER_S,
    "min": 60 * NS_PER_S,
    "h": 3_600 * NS_PER_S,
    "d": 24 * 3_600 * NS_PER_S,
}


def parse_money(value: int | str) -> int:
    """An amount in nano-dollars.

    Args:
        value: Nano-dollars, or text: dollars with up to nine decimals, or with the unit `nanos`.

    Raises:
        ValueError: the text is no amount, or is finer than a nano-dollar.
        TypeError: neither an int nor a str (a float would not be exact).

    >>> parse_money("$0.002"), parse_money("1,500.25 USD"), parse_money("54321 nanos")
    (2000000, 1500250000000, 54321)
    """
    if type(value) is int:
        return value
    _refuse_all_but_text(value, "an amount")
    found = _MONEY.fullmatch(str(value).strip())
    scale = _MONEY_UNITS.get(found["unit"].lower()) if found else None
    if found is None or scale is None or (found["dollar"] and scale == 1):
        raise _unreadable("an amount of money", value, "'$0.002'")
    nanos = _exact(found, scale, str(value), "nano-dollar")
    return -nanos if found["sign"] else nanos


def above_zero(name: str, parse: Callable[[int | str], int], amount: int | str | None) -> int:
    """An amount that the API reads as left out where it is 0, which only None may stand for.

    So a cap that has run down does not become none.

    Args:
        name: What to call it in an error.
        parse: Reads it.
        amount: A number, text, or None for 0.

    Raises:
        ValueError: it cannot be read, or is not above zero.
        TypeError: as `parse` does.
    """
    if amount is None:
        return 0
    parsed = parse(amount)
    if parsed <= 0:
        raise ValueError(f"{name} must be more than zero, not {amount!r}; leave it out to set none")
    return parsed


def format_money(nanos: int) -> str:
    """Dollars, exact, with at least two decimals.

    >>> format_money(1_500_000_000), format_money(54_321), format_money(-20)
    ('$1.50', '$0.000054321', '-$0.00000002')
    """
    whole, rest = divmod(abs(nanos), NANOS_PER_DOLLAR)
    decimals = f"{rest:09d}".rstrip("0").ljust(2, "0")
    return f"{'-' if nanos < 0 else ''}${whole:,}.{decimals}"


def parse_price(value: int | str) -> int:
    """A price in nano-dollars per CU.

    Args:
        value: Nano-dollars per CU, or text like an amount of money, with or without `/CU`.

    Raises:
        ValueError: the text is no price, or is finer than a nano-dollar per CU.
        TypeError: neither an int nor a str.

    >>> parse_price("$0.00044 / CU"), parse_price("1700 nanos/CU"), parse_price(1_700)
    (440000, 1700, 1700)
    """
    if type(value) is int:
        return value
    _refuse_all_but_text(value, "a price")
    money = re.sub(r"\s*(?:/|per)\s*CU\s*$", "", str(value), flags=re.IGNORECASE)
    return parse_money(money)


def format_price(nanos: int) -> str:
    """A price, exact.

    >>> format_price(440_000)
    '$0.00044/CU'
    """
    return f"{format_money(nanos)}/CU"


def parse_compute(value: int | str) -> int:
    """A quantity of compute in MFLOP (10^6 floating-point operations).

    Args:
        value: MFLOP, or text with a unit: MFLOP, GFLOP, TFLOP, PFLOP, EFLOP or CU (a TFLOP).

    Raises:
        ValueError: the text is no quantity, or is finer than an MFLOP.
        TypeError: neither an int nor a str.

    >>> parse_compute("250 CU"), parse_compute("3 GFLOP"), parse_compute("1.5CU")
    (250000000, 3000, 1500000)
    """
    if type(value) is int:
        return value
    _refuse_all_but_text(value, "a quantity of compute")
    found = _QUANTITY.fullmatch(str(value).strip())
    unit = found["unit"].lower().removesuffix("s") if found else ""
    if found is None or unit not in _FLOPS:
        raise _unreadable("a quantity of compute", value, "'250 CU'")
    return _exact(found, _FLOPS[unit] // FLOPS_PER_MFLOP, str(value), "MFLOP")


def format_compute(mflop: int) -> str:
    """A quantity of compute, exact, in the largest unit that gives at least 1.

    >>> format_compute(250_000_000), format_compute(1_234), format_compute(7)
    ('250 CU', '1.234 GFLOP', '7 MFLOP')
    """
    return format_flops(mflop * FLOPS_PER_MFLOP)


def format_flops(flops: int) -> str:
    """Floating-point operations, exact, in CU, GFLOP or MFLOP.

    >>> format_flops(1_234_567_890_123), format_flops(999)
    ('1.234567890123 CU', '0.000999 MFLOP')
    """
    for unit, scale, digits in (("CU", FLOPS_PER_CU, 12), ("GFLOP", 10**9, 9)):
        if abs(flops) >= scale:
            return f"{_decimal(flops, digits)} {unit}"
    return f"{_decimal(flops, 6)} MFLOP"


def parse_duration(value: int | str) -> int:
    """A duration in nanoseconds.

    Args:
        value: Nanoseconds, or text with units: ns, us, ms, s, m (or min), h, d; parts add up.

    Raises:
        ValueError: the text is no duration, or is finer than a nanosecond.
        TypeError: neither an int nor a str.

    >>> parse_duration("30s"), parse_duration("1h 30m"), parse_duration("2.5 ms")
    (30000000000, 5400000000000, 2500000)
    """
    if type(value) is int:
        return value
    _refuse_all_but_text(value, "a duration")
    text = str(value).strip()
    total = at = 0
    while found := _DURATION.match(text, at):
        scale = _DURATIONS.get(found["unit"])
        if scale is None:
            break
        total += _exact(found, scale, text, "nanosecond")
        at = found.end()
    if not text or at < len(text):
        raise _unreadable("a duration", value, "'30s' or '1h 30m'")
    return total


def format_duration(duration_ns: int) -> str:
    """A duration, exact, in seconds, milliseconds or smaller.

    >>> format_duration(30 * NS_PER_S), format_duration(2_500_000), format_duration(0)
    ('30 s', '2.5 ms', '0 s')
    """
    for unit, digits in (("s", 9), ("ms", 6), ("us", 3)):
        if abs(duration_ns) >= 10**digits or not duration_ns:
            return f"{_decimal(duration_ns, digits)} {unit}"
    return f"{duration_ns} ns"


def _refuse_all_but_text(value: object, what: str) -> None:
    if not isinstance(value, str):
        raise TypeError(f"{what} must be an int or a str, not {type(value).__name__}")


def _unreadable(what: str, value: object, example: str) -> ValueError:
    """The error of text that is not what it should be, with a word on commas where it has one."""
    commas = "; a comma only groups thousands, the decimal sign is a point"
    said = commas if "," in str(value) else ""
    return ValueError(f"not {what}: {value!r} (write it like {example}{said})")


def _exact(found: re.Match[str], scale: int, text: str, smallest: str) -> int:
    """The number times the scale, if that is whole."""
    digits = found["whole"].replace(",", "").replace("_", "")
    decimals = found["decimals"] or ""
    if not digits and not decimals:
        raise ValueError(f"there is no number in {text!r}")
    steps: int = 10 ** len(decimals)
    number, rest = divmod(int(digits + decimals) * scale, steps)
    if rest:
        raise ValueError(f"finer than a {smallest}: {text!r}")
    return number


def _decimal(number: int, digits: int) -> str:
    """A number of 10^-digits without trailing zeros."""
    whole, rest = divmod(abs(number), 10**digits)
    decimals = f"{rest:0{digits}d}".rstrip("0")
    point = f".{decimals}" if decimals else ""
    return f"{'-' if number < 0 else ''}{whole:,}{point}"
