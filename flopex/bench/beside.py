"""What stands beside the orders per second: recovery, and the same orders through other systems."""

from __future__ import annotations

import subprocess
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

    What fails is named in `beside_errors`, and loses nothing that was measured before.

    Args:
        directory: A folder on the disk to use.
        report: Told what is going on.
    """
    settings = recovery.Settings(directory, live_orders=LIVE_ORDERS, records=RECORDS)

    def on_row(name: str, row: dict[str, Any]) -> None:
        report(f"{name}: {row['per_s']:,} orders/s")

    errors: list[str] = []
    recovered = _attempt(errors, lambda: recovery.run(settings, report))
    others = _attempt(
        errors, lambda: rivals.run(rivals.Settings(directory, RIVAL_S, settings.seed), on_row)
    )
    for rival in ("postgres", "redis"):
        if others and others[rival] is None:
            report(f"{rival} or its Python client is not installed")
    return {
        "replay_per_s": recovered.get("replay_per_s"),
        "restart_1m_s": recovered.get("restart_s"),
        "postgres_per_s": others.get("postgres_per_s"),
        "redis_per_s": others.get("redis_per_s"),
        "recovery": recovered or None,
        "rivals": others or None,
        "beside_errors": errors,
    }


def _attempt(errors: list[str], measure: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What is measured, or nothing and an error more."""
    try:
        return measure()
    except (RuntimeError, OSError, subprocess.SubprocessError) as error:
        errors.append(str(error))
        return {}
