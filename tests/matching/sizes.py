"""How long the random tests run. FLOPEX_SOAK multiplies every size, for a long run by hand."""

from __future__ import annotations

import os

SOAK = int(os.environ.get("FLOPEX_SOAK", "1"))
BOOK_SEEDS = 12 * SOAK
BOOK_COMMANDS = 700
"""Per seed, with a comparison and a check after each."""
LONG_SEEDS = 40 * SOAK
LONG_COMMANDS = 25_000
"""Per seed: a million in all; `python -m tests.matching.soak` runs more."""
LONG_BATCH = 500
"""Rows in one batch of the long runs."""
GROUP_SEEDS = 30 * SOAK
GROUP_COMMANDS = 250
"""Per seed."""
CLASS_CLEARS = 3_000 * SOAK
"""Classes that clear at a price whose interval is looked at; a hundredfold soak makes 300,000."""
REASONS = 3_000 * SOAK
"""Bids whose reason for not trading is checked by brute force."""
MACHINE_EXAMPLES = 25 * SOAK
"""Examples of each Hypothesis state machine."""
AUCTION_SEEDS = 4 * SOAK
AUCTIONS = 500
"""Per seed."""
AUCTION_BOOKS = 60 * SOAK
