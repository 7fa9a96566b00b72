"""How long to wait before dialling again."""

from __future__ import annotations

import random
from typing import Final

FIRST_S: Final = 0.2
FACTOR: Final = 1.6
LONGEST_S: Final = 3.0
"""Below the ten seconds for which the exchange keeps a lost worker's leases."""


class Backoff:
    """Waits that grow to LONGEST_S, each shortened by chance to at least half.

    Chance keeps a thousand workers from dialling at the same moment after a restart.
    """

    def __init__(self) -> None:
        self._next_s = FIRST_S

    def reset(self) -> None:
        """The last connection was good: begin with short waits again."""
        self._next_s = FIRST_S

    def wait_s(self) -> float:
        """The next wait, seconds."""
        longest = self._next_s
        self._next_s = min(longest * FACTOR, LONGEST_S)
        return longest * random.uniform(0.5, 1.0)
