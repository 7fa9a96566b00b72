"""What a thread takes of the processors, and what a process has had of them."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path


def give_way() -> None:
    """From here on the calling thread runs only where a processor would be idle.

    That is the class SCHED_IDLE of sched(7). Without privileges there is no way back. Where the
    system has no such class, or a sandbox forbids it, nothing changes.
    """
    if hasattr(os, "SCHED_IDLE"):
        with contextlib.suppress(OSError):
            os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))


def cpu_s(pid: int) -> float:
    """CPU seconds of another process so far, user and system (proc(5)).

    Raises:
        OSError: there is no such process, or no /proc.
    """
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
