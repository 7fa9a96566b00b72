"""What a request may cost: from its `exchange` object and its X-Flopex-* headers.

Money, compute and prices are exact: text with a unit, or whole numbers of the smallest unit.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

from exchange.http.errors import ApiError
from exchange.http.openai.parameters import Only, Parameters
from exchange.units import parse_compute, parse_money, parse_price

HEADER_PREFIX: Final = "x-flopex-"
NUMBER_MAX: Final = 10**18
"""Largest amount of anything; what is too large for the exchange is its own to refuse."""
NS_PER_MS: Final = 1_000_000
REMEDIES: Final = (
    "say what the answer is worth or may cost: in the body "
    '"exchange": {"value": "$0.001"}, or as a header X-Flopex-Value: $0.001 '
    "(max_cost and limit do as well), or let the operator give your account a default budget"
)


class Budget(msgspec.Struct, frozen=True, kw_only=True):
    """What a job may cost; zeros and empty texts where nothing is said.

    Attributes:
        value: What the whole answer is worth, nano-dollars.
        max_cost: The most that it may cost, nano-dollars.
        limit: Limit price in place of a value, nano-dollars per CU.
        max_compute: Compute, MFLOP; 0: the worst case of prompt and answer.
        answer_value: What a right answer is worth, told to the worker, nano-dollars.
        deadline_ms: It must be finished after so many milliseconds.
        tier: Service tier.
        instrument: Only this one.
    """

    value: int = 0
    max_cost: int = 0
    limit: int = 0
    max_compute: int = 0
    answer_value: int = 0
    deadline_ms: int = 0
    tier: str = ""
    instrument: str = ""

    @property
    def is_stated(self) -> bool:
        """Whether it says what an answer may cost."""
        return bool(self.value or self.max_cost or self.limit)


FIELDS: Final = Parameters(
    used=frozenset(Budget.__struct_fields__),
    harmless=frozenset(),
    limited={
        "time_in_force": Only(
            ("GTD",),
            "a job waits until its deadline (GTD); for a shorter wait, shorten deadline_ms",
        ),
        "min_quality": Only(
            (0, "0"), "no model here states how good an answer will be; choose the model itself"
        ),
    },
)
_AMOUNTS: Final[Mapping[str, Callable[[int | str], int]]] = {
    "value": parse_money,
    "max_cost": parse_money,
    "limit": parse_price,
    "max_compute": parse_compute,
    "answer_value": parse_money,
}


def read_budget(body: object, headers: Mapping[str, str]) -> Budget:
    """The budget of a request; the body's fields go before the headers'.

    Args:
        body: The `exchange` object; None where there is none.
        headers: Of the request, with names in lower case.

    Raises:
        ApiError: 400: a field cannot be read.
    """
    if body is not None and not isinstance(body, dict):
        raise ApiError(400, "FIELD_INVALID", "exchange must be an object", "exchange")
    fields = _fields(_of_headers(headers), _header) | _fields(body or {}, "exchange.{}".format)
    return Budget(**fields)


def _of_headers(headers: Mapping[str, str]) -> dict[str, object]:
    """X-Flopex-Max-Cost is `max_cost`.

    Raises:
        ApiError: 400: one has an underscore. It would be the other spelling of a header that may be
            there, too, and say something else.
    """
    found: dict[str, object] = {}
    for name, text in headers.items():
        if not name.startswith(HEADER_PREFIX):
            continue
        rest = name.removeprefix(HEADER_PREFIX)
        if "_" in rest:
            told = f"X-Flopex-{rest.title()}"
            what = f"{told} is not a header that this exchange knows: its words are joined with -"
            raise ApiError(400, "FIELD_UNKNOWN", what, told)
        found[rest.replace("-", "_")] = text.strip()
    return found


def _header(name: str) -> str:
    return "X-Flopex-" + name.replace("_", "-").title()


def _fields(given: Mapping[str, object], spell: Callable[[str], str]) -> dict[str, Any]:
    read = FIELDS.read(given, spell)
    return {name: _field(name, value, spell(name)) for name, value in read.items()}


def _field(name: str, value: object, path: str) -> int | str:
    if name in _AMOUNTS:
        return _amount(_AMOUNTS[name], value, path)
    if name == "deadline_ms":
        if isinstance(value, str) and value.isascii() and value.isdigit():
            value = int(value[:20])
        if type(value) is not int or not 0 < value <= NUMBER_MAX // NS_PER_MS:
            raise ApiError(400, "FIELD_INVALID", f"{path} must be milliseconds, at least 1", path)
        return value
    if not isinstance(value, str) or not value.isascii():
        raise ApiError(400, "FIELD_INVALID", f"{path} must be ASCII text", path)
    return value


def _amount(parse: Callable[[int | str], int], value: object, path: str) -> int:
    try:
        if type(value) is not int and not isinstance(value, str):
            raise TypeError("must be text with its unit, or a whole number of the smallest one")
        amount = parse(value)
        if not 0 < amount <= NUMBER_MAX:
            raise ValueError("must be more than 0 and at most 10^18 of the smallest unit")
    except (TypeError, ValueError) as error:
        raise ApiError(400, "FIELD_INVALID", f"{path}: {error}", path) from error
    return amount
