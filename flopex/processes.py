"""A child process that must not outlive the one that started it."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from typing import Final

PARENT_VARIABLE: Final = "FLOPEX_PARENT_PID"
"""Set by a parent whose end must be the end of this process as well."""
_PR_SET_PDEATHSIG: Final = 1


def die_with_parent() -> None:
    """If the parent asked for it, ask the kernel to end this process when the parent ends.

    Linux only; elsewhere a killed parent leaves its children behind. The signal is SIGKILL: it
    cannot be drained away, and every process of ours is safe to kill.
    """
    parent = os.environ.pop(PARENT_VARIABLE, "")
    if not parent or not sys.platform.startswith("linux"):
        return
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != int(parent):
        sys.exit(1)  # it ended before we asked
