"""How long the random tests run. FLOPEX_SOAK multiplies every size, for a long run by hand."""

from __future__ import annotations

import os

SOAK = int(os.environ.get("FLOPEX_SOAK", "1"))
FIRST_SEED = int(os.environ.get("FLOPEX_FIRST_SEED", "1"))
"""So that a long run need not repeat the short one."""
TORTURE_SEEDS = 6 * SOAK
TORTURE_COMMANDS = 700
"""Per seed."""
TORTURE_ORDER_COMMANDS = 1_000
"""Per seed, of orders alone."""
TORTURE_JOB_COMMANDS = 600
"""Per seed, of jobs alone, each done by two exchanges."""
MACHINE_EXAMPLES = 150 * SOAK
MACHINE_STEPS = 40
RECORD_EXAMPLES = 150 * SOAK
