"""When and how often the client tries again by itself."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Final

from exchange.client.errors import CallFailed, Overloaded, Unavailable


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How a client repeats what the exchange could not take.

    Only calls that are safe to repeat are repeated: reads, and those with a client id, whose same
    bytes are sent again. A call never takes longer than its timeout, whatever stands here.

    Attributes:
        attempts: Tries of one call, the first one counted; 1 never repeats.
        first_s: Seconds before the second try; each wait is cut short by chance to at least half.
        factor: Each further wait is longer by this factor,
        longest_s: up to this many seconds. A wait that the exchange asks for is kept, if longer.
        reconnect_s: Seconds for which a broken stream tries to come back before it gives up.
    """

    attempts: int = 10
    first_s: float = 0.1
    factor: float = 2.0
    longest_s: float = 2.0
    reconnect_s: float = 60.0

    def __post_init__(self) -> None:
        if self.attempts < 1 or self.first_s <= 0 or self.factor < 1 or self.longest_s <= 0:
            raise ValueError("attempts and factor must be at least 1, waits positive")

    def wait_s(self, failures: int, error: CallFailed) -> float:
        """Seconds to wait after so many failures in a row (from 1)."""
        # The exponent is bounded so that the power stays a number.
        longest = min(self.first_s * self.factor ** min(failures - 1, 50), self.longest_s)
        return max(longest * random.uniform(0.5, 1.0), error.retry_after_s or 0.0)


RETRY_DEFAULT: Final = RetryPolicy()


def may_repeat(error: CallFailed, repeatable: bool) -> bool:
    """Whether trying again may help and cannot do harm.

    Args:
        error: Why the last try failed.
        repeatable: Whether carrying the call out twice is the same as once.
    """
    if isinstance(error, Overloaded):
        return True  # It was refused before anything was done.
    return repeatable and isinstance(error, Unavailable)
