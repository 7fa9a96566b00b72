"""Work that takes only what nobody else wants of a processor."""

from __future__ import annotations

import contextlib
import os


def give_way() -> None:
    """From here on the calling thread runs only where a processor would be idle.

    That is the class SCHED_IDLE of sched(7). Without privileges there is no way back. Where the
    system has no such class, or a sandbox forbids it, nothing changes.
    """
    if hasattr(os, "SCHED_IDLE"):
        with contextlib.suppress(OSError):
            os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
