"""What a release fixes of the market, and a simulation may ask to be otherwise."""

from __future__ import annotations

from typing import Final, NamedTuple

from exchange.core.limits import NS_PER_MS, NS_PER_S


class Rules(NamedTuple):
    """Constants of clearing.

    They are no part of the state: a journal and its snapshots are of `LIVE_RULES`, and a change of
    those is a new `RULES_VERSION`.

    Attributes:
        batch_period_ns: Batches clear on multiples of this, and only when something may trade; 1
            clears after every group of commands.
        ramp_ns: The k of managed bids (`matching.ramp`): with so much time left before its latest
            start a bid pays half of its density.
    """

    batch_period_ns: int
    ramp_ns: int


LIVE_RULES: Final = Rules(batch_period_ns=10 * NS_PER_MS, ramp_ns=NS_PER_S)
"""Those of every live exchange."""
