"""What Ctrl-C does while there is nothing to clean up: before a command begins and after its end.

It must be settled first of all, so this module imports next to nothing, `typing` not either.
"""

from __future__ import annotations

import os
import signal
from types import FrameType

STATUS_INTERRUPTED = 130
"""Exit status after Ctrl-C, as a shell has it: 128 and the signal's number."""


def leave_at_ctrl_c() -> None:
    """From now on, Ctrl-C ends the process at once and in silence."""
    # A shell starts what runs in its background with Ctrl-C ignored: so it stays.
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _leave)


def _leave(_number: int, _frame: FrameType | None) -> None:
    os._exit(STATUS_INTERRUPTED)
