"""What a what-if may change, and how that is written: `NAME=VALUE`."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final, NamedTuple

from exchange.core.limits import NS_PER_MS, PRICE_MAX_NANOS, SLOTS_PER_POOL_MAX, WORKERS_MAX
from exchange.core.rules import LIVE_RULES, Rules

PERIOD_MAX_MS: Final = 3_600_000
"""Longest batch period and ramp: an hour."""


class SettingError(ValueError):
    """What was asked for cannot be set; the text says what can be."""


class Settings(NamedTuple):
    """Another market for the same demand; None leaves a thing as it was recorded.

    Attributes:
        rules: Of clearing.
        tick_nanos: Of every instrument that gives leases.
        tier: That every job asks for, where its model is sold in that tier.
        workers: How many: the first ones of the record, then copies of them in turn.
        slots: Of every pool.
    """

    rules: Rules = LIVE_RULES
    tick_nanos: int | None = None
    tier: str | None = None
    workers: int | None = None
    slots: int | None = None


AS_RECORDED: Final = Settings()
"""The live engine's own rules, and the record's fleet."""


def parse_settings(texts: Iterable[str]) -> Settings:
    """The settings that `NAME=VALUE` texts describe, the later one where two say the same.

    Raises:
        SettingError: a name is unknown or cannot be set, or a value is out of range.

    >>> parse_settings(["batch_period_ms=20"]).rules.batch_period_ns
    20000000
    """
    settings = AS_RECORDED
    for text in texts:
        name, equals, value = text.partition("=")
        if name not in _SET:
            why = _CANNOT.get(name, "there is no such setting")
            raise SettingError(f"{name} cannot be set: {why}; {_known()}")
        if not equals:
            raise SettingError(f"{text!r}: write {name}={_SET[name].form}")
        try:
            settings = _SET[name].apply(settings, value)
        except ValueError as error:
            raise SettingError(f"{text}: {error}; write {name}={_SET[name].form}") from error
    return settings


class _Setting(NamedTuple):
    form: str
    about: str
    apply: Callable[[Settings, str], Settings]


def _known() -> str:
    return "can be set: " + ", ".join(f"{name}={one.form}" for name, one in _SET.items())


def _whole(text: str, most: int) -> int:
    number = int(text)
    if not 1 <= number <= most:
        raise ValueError(f"{number} does not lie between 1 and {most}")
    return number


def _clearing(settings: Settings, value: str) -> Settings:
    periods = {"batch": LIVE_RULES.batch_period_ns, "continuous": 1}
    if value not in periods:
        raise ValueError(f"{value!r} is no way of clearing leases")
    return settings._replace(rules=settings.rules._replace(batch_period_ns=periods[value]))


def _batch_period(settings: Settings, value: str) -> Settings:
    period_ns = _whole(value, PERIOD_MAX_MS) * NS_PER_MS
    return settings._replace(rules=settings.rules._replace(batch_period_ns=period_ns))


def _ramp(settings: Settings, value: str) -> Settings:
    ramp_ns = _whole(value, PERIOD_MAX_MS) * NS_PER_MS
    return settings._replace(rules=settings.rules._replace(ramp_ns=ramp_ns))


def _tick(settings: Settings, value: str) -> Settings:
    return settings._replace(tick_nanos=_whole(value, PRICE_MAX_NANOS))


def _tier(settings: Settings, value: str) -> Settings:
    if not value:
        raise ValueError("a name is needed")
    return settings._replace(tier=value)


def _workers(settings: Settings, value: str) -> Settings:
    return settings._replace(workers=_whole(value, WORKERS_MAX))


def _slots(settings: Settings, value: str) -> Settings:
    return settings._replace(slots=_whole(value, SLOTS_PER_POOL_MAX))


_SET: Final = {
    "clearing": _Setting("batch|continuous", "continuous: after every command", _clearing),
    "batch_period_ms": _Setting("N", "time between two batches", _batch_period),
    "k_ms": _Setting("N", "the ramp of managed bids", _ramp),
    "tick": _Setting("NANOS", "tick of every instrument that gives leases", _tick),
    "tier": _Setting("NAME", "the tier that every job asks for", _tier),
    "workers": _Setting("N", "how many workers there are", _workers),
    "slots": _Setting("N", "slots of every pool", _slots),
}
_CANNOT: Final = {
    "fee": "the exchange takes no fee",
    "audit_rate": "there are no audits yet",
}
SETTINGS: Final = {name: f"{name}={one.form}: {one.about}" for name, one in _SET.items()}
"""For a help text."""
