"""How a process of ours ends by what others do: its parent's end, and Ctrl-C."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from types import FrameType
from typing import Final

PARENT_VARIABLE: Final = "FLOPEX_PARENT_PID"
"""Set by a parent whose end must be the end of this process as well."""
STATUS_INTERRUPTED: Final = 130
"""Exit status after Ctrl-C, as a shell has it: 128 and the signal's number."""
_PR_SET_PDEATHSIG: Final = 1


def leave_at_ctrl_c() -> None:
    """From now on, Ctrl-C ends the process at once and in silence.

    For the time in which there is nothing to clean up: while modules are imported, and after a
    command's end.
    """
    # A shell starts what runs in its background with Ctrl-C ignored: so it stays.
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _leave)


def _leave(_number: int, _frame: FrameType | None) -> None:
    os._exit(STATUS_INTERRUPTED)


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
