"""Every bound of the core, by name. A test reaches each one.

Units: quantities in MFLOP, money in nano-dollars, prices in nano-dollars per CU (10^12 FLOPs),
time in nanoseconds, sizes in bytes.
"""

from __future__ import annotations

from typing import Final

NS_PER_MS: Final = 1_000_000
NS_PER_S: Final = 1_000_000_000
MFLOP_PER_CU: Final = 1_000_000
FLOPS_PER_MFLOP: Final = 1_000_000
FLOPS_PER_CU: Final = 1_000_000_000_000

RULES_VERSION: Final = 5
"""Changes whenever the same journal would give other events, or another digest over them; start-up
refuses another."""
EVENTS_SINCE_RULES: Final = 3
"""The rules from which on events say the same. What was made of them stays good, though a command
may be answered otherwise since."""

QUANTITY_MAX_MFLOP: Final = 10**15
JOB_QUANTITY_MAX_MFLOP: Final = 10**13
"""Largest compute budget of a job, so that a receipt's exact FLOPs fit an unsigned 64-bit field."""
PRICE_MAX_NANOS: Final = 10**9
DENSITY_MAX_NANOS: Final = 10**18
"""Beyond this a managed bid pays any price at any time, so more would change nothing."""
COST_MAX_NANOS: Final = 10**18
BALANCE_MAX_NANOS: Final = 2**62 - 1
POSITION_MAX_MFLOP: Final = 10**16

NAME_BYTES_MAX: Final = 128
CARD_BYTES_MAX: Final = 64 * 1024
FACTS_BYTES_MAX: Final = 16 * 1024
TRACE_BYTES_MAX: Final = 512 * 1024
PAYLOAD_BYTES_MAX: Final = 1 << 20
OUTPUT_TOKENS_MAX: Final = 1 << 20

ACCOUNTS_MAX: Final = 1_000_000
MODELS_MAX: Final = 1_000
INSTRUMENTS_MAX: Final = 10_000
WORKERS_MAX: Final = 100_000
POOLS_PER_WORKER_MAX: Final = 64
SLOTS_PER_POOL_MAX: Final = 1_024
KEYS_PER_ACCOUNT_MAX: Final = 100

OPEN_ORDERS_PER_ACCOUNT_MAX: Final = 100_000
OPEN_JOBS_PER_ACCOUNT_MAX: Final = 10_000
QUEUED_BYTES_PER_ACCOUNT_MAX: Final = 256 << 20
CLIENT_IDS_PER_ACCOUNT_MAX: Final = 4_000_000

ATTEMPTS_MAX: Final = 5
"""A job that failed this often ends; the last fault is its reason."""

DEADLINE_MAX_NS: Final = 7 * 24 * 3_600 * NS_PER_S
QUOTE_TTL_MAX_NS: Final = 24 * 3_600 * NS_PER_S
CLIENT_ID_RETENTION_NS: Final = 24 * 3_600 * NS_PER_S
"""An unknown client id older than this is refused, so that a late retry never buys twice."""
ORDER_ID_RETENTION_NS: Final = 600 * NS_PER_S
"""The same for orders: they are far more, and nobody retries one for a day."""
CLIENT_ID_AHEAD_MAX_NS: Final = 60 * NS_PER_S

ACCEPT_WITHIN_NS: Final = 2 * NS_PER_S
"""A worker accepts or declines an offered lease within this time."""
SETTLE_AFTER_STOP_NS: Final = 2 * NS_PER_S
"""settle_by = stop_by + this; the escrow stays until then."""
OUTAGE_MAX_NS: Final = 366 * 24 * 3_600 * NS_PER_S
"""No timer is extended by more, so that times stay 64-bit however often the exchange restarts."""
RECOVERY_GRACE_NS: Final = 10 * NS_PER_S
"""Worker and lease timers are extended by the outage and this much after a restart."""
