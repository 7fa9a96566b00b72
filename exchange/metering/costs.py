"""Money from compute: the one rounding rule.

A lease's cost is kept exact as price x FLOPs; what is posted so far is its ceiling, so that a
later post is the ceiling of the new total minus what was posted before. Rounding can therefore
never add up to more than one nano-dollar per lease.
"""

from __future__ import annotations

from typing import Final

FLOPS_PER_CU: Final = 10**12
MFLOP_PER_CU: Final = 10**6
FLOPS_PER_MFLOP: Final = 10**6


def cost_nanos(price_nanos: int, flops: int) -> int:
    """What `flops` cost at `price_nanos` per CU (10^12 FLOPs), rounded up to a nano-dollar.

    >>> cost_nanos(1_700, 10**12), cost_nanos(1_700, 1), cost_nanos(1_700, 0)
    (1700, 1, 0)
    """
    return -(-price_nanos * flops // FLOPS_PER_CU)


def post_nanos(price_nanos: int, flops_total: int, posted_nanos: int) -> int:
    """What to post now, where `flops_total` were done in all and `posted_nanos` were posted."""
    return cost_nanos(price_nanos, flops_total) - posted_nanos


def escrow_nanos(price_nanos: int, quantity_mflop: int) -> int:
    """The worst case of a quantity at a price, rounded up to a nano-dollar.

    >>> escrow_nanos(440_000, 5_000)
    2200
    """
    return notional_nanos(price_nanos * quantity_mflop)


def notional_nanos(notional: int) -> int:
    """A sum of price x MFLOP in nano-dollars, rounded up.

    >>> notional_nanos(2_000_000), notional_nanos(2_000_001)
    (2, 3)
    """
    # Compiled, a product with a negative factor would be made of objects.
    return (notional + MFLOP_PER_CU - 1) // MFLOP_PER_CU


def density_nanos(value_nanos: int, quantity_mflop: int) -> int:
    """The price per CU at which `quantity_mflop` cost `value_nanos`, rounded down.

    >>> density_nanos(2_200, 5_000)
    440000
    """
    return value_nanos * MFLOP_PER_CU // quantity_mflop
