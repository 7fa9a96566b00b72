"""One way to refuse a number that is outside its named limits."""

from __future__ import annotations


def require_within(name: str, value: int, least: int, most: int) -> None:
    """Raise ValueError, with the name and the limits, unless least <= value <= most."""
    if not least <= value <= most:
        msg = f"{name} {value} is not in {least}..{most}"
        raise ValueError(msg)
