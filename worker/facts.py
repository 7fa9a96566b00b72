"""Hardware facts, for people who look at a worker; nothing depends on them."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import Final

FACT_CHARS_MAX: Final = 200
GIB: Final = 1 << 30


def hardware_facts() -> dict[str, str]:
    """Processor, cores, memory, system and Python of this machine."""
    facts = {
        "processor": _processor(),
        "cores": str(os.cpu_count() or 1),
        "memory_gib": str(_memory_bytes() // GIB),
        "system": f"{platform.system()} {platform.release()}",
        "machine": platform.machine(),
        "python": platform.python_version(),
    }
    return {name: value[:FACT_CHARS_MAX] for name, value in facts.items() if value}


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor())


def _memory_bytes() -> int:
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError):
        return 0
