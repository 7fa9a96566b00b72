"""What stands beside the orders per second: recovery, and the same orders through other systems."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from flopex.bench import recovery, rivals

LIVE_ORDERS: Final = 1_000_000
RECORDS: Final = 1_500_000
"""Of the journal that is replayed."""
RIVAL_S: Final = 10.0
"""How long each row of a rival is measured."""

NOT_BESIDE: Final[dict[str, Any]] = dict.fromkeys(
    ("replay_per_s", "restart_1m_s", "postgres_per_s", "redis_per_s")
)


def measure_beside(directory: Path, report: Callable[[str], None]) -> dict[str, Any]:
    """Measure it; the headline figures under names of their own, and all of it.

    Args:
        directory: A folder on the disk to use.
        report: Told what is going on.

    Raises:
        RuntimeError: a process failed, or a server lost an order.
        OSError: the folder cannot be used.
    """
    settings = recovery.Settings(directory, live_orders=LIVE_ORDERS, records=RECORDS)
    recovered = recovery.run(settings, report)

    def on_row(name: str, row: dict[str, Any]) -> None:
        report(f"{name}: {row['per_s']:,} orders/s")

    others = rivals.run(rivals.Settings(directory, RIVAL_S, settings.seed), on_row)
    return {
        "replay_per_s": recovered["replay_per_s"],
        "restart_1m_s": recovered["restart_s"],
        "postgres_per_s": others["postgres_per_s"],
        "redis_per_s": others["redis_per_s"],
        "recovery": recovered,
        "rivals": others,
    }
