"""Processes for work that takes long, given up at once where it is broken off."""

from __future__ import annotations

import contextlib
import multiprocessing
import signal
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor


@contextlib.contextmanager
def processes(count: int) -> Iterator[ProcessPoolExecutor]:
    """A pool of processes; where the block fails, as by Ctrl-C, what they work at is not awaited.

    Args:
        count: How many.
    """
    others = set(multiprocessing.active_children())
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(count, mp_context=context, initializer=_leave_ctrl_c) as pool:
        try:
            yield pool
        except BaseException:
            for process in set(multiprocessing.active_children()) - others:
                process.terminate()
            raise


def _leave_ctrl_c() -> None:
    """A terminal signals all processes of a command; what follows from it is for the first one."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
