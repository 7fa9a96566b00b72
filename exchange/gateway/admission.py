"""How many calls are let in: one more is refused at once, and told when to come back.

Nothing waits here. What waits further in has bounds of its own; `docs/reference/limits.md` lists
them all.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator
from typing import Final

from exchange.rpc.errors import busy

CALLS_MAX: Final = 4_096
"""Calls and streams of all callers at the same time."""
OPEN_CALLS_MAX: Final = 128
"""Those of them that need no key: health checks, watches of it, reflection."""


class Admission:
    """Counts what is under way.

    Attributes:
        calls: Calls under way.
        open_calls: Those of them that need no key.
        refused: Calls that were turned away, by the bound that they met.
    """

    def __init__(self) -> None:
        self.calls = 0
        self.open_calls = 0
        self.refused: Counter[str] = Counter()

    @contextlib.contextmanager
    def admit(self) -> Iterator[None]:
        """Inside, one more call is under way.

        Raises:
            RpcError: RESOURCE_EXHAUSTED (OVERLOADED): there is the maximum of them.
        """
        if self.calls >= CALLS_MAX:
            self.refused["CALLS_MAX"] += 1
            raise busy(f"{CALLS_MAX} calls and streams are open")
        self.calls += 1
        try:
            yield
        finally:
            self.calls -= 1

    @contextlib.contextmanager
    def admit_without_key(self) -> Iterator[None]:
        """As `admit`, for a call that needs no key: these leave room for the others."""
        if self.open_calls >= OPEN_CALLS_MAX:
            self.refused["OPEN_CALLS_MAX"] += 1
            raise busy(f"{OPEN_CALLS_MAX} calls without a key are open")
        self.open_calls += 1
        try:
            with self.admit():
                yield
        finally:
            self.open_calls -= 1

    def check(self) -> None:
        """Assert that the counts are within their bounds."""
        assert 0 <= self.open_calls <= OPEN_CALLS_MAX
        assert self.open_calls <= self.calls <= CALLS_MAX
