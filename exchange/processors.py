"""What a thread takes of the processors, and what a process has had of them."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final, TypeVar

PROCESSORS_GOOD: Final = 4
"""One for each busy process of an exchange: engine, gateway, the read model's, and now and then a
snapshot's. With fewer, what gives way also rests."""
REST: Final = 2
"""So many times as long as it worked, unless said (docs/adr/0048)."""
WORK_MIN_S: Final = 0.001
"""CPU time after which it rests; a shorter rest would be mostly system calls."""
REST_MAX_S: Final = 0.2
"""Longest rest, after a piece of work that could not be broken up."""
PACED_ROWS: Final = 64
"""Rows between two looks at the clock."""

_Row = TypeVar("_Row")
_rested = threading.local()
"""Its `cpu_s`, in a thread that rests: the CPU time at the end of the last rest."""


def count() -> int:
    """How many processors this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def give_way() -> None:
    """From here on the calling thread runs only where a processor would be idle.

    That is the class SCHED_IDLE of sched(7). Without privileges there is no way back. Where the
    system has no such class, or a sandbox forbids it, nothing changes. Where processors are few it
    also rests from now on, whenever it calls `pause`.
    """
    if hasattr(os, "SCHED_IDLE"):
        with contextlib.suppress(OSError):
            os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
            if count() < PROCESSORS_GOOD:
                _rested.cpu_s = time.thread_time()


def pause(times: float = REST) -> None:
    """Rest, if this thread gave way and has worked since it last did; to be called often.

    The class SCHED_IDLE gives up a processor at once, and nothing else of it: caches, the memory's
    rate, often a core of which the next processor is the other half, and the place in front of the
    kernel's own workers. Only a processor on which nothing runs gives those.

    Args:
        times: So many times as long as it worked.
    """
    before_s: float | None = getattr(_rested, "cpu_s", None)
    if before_s is None:
        return
    worked_s = time.thread_time() - before_s
    if worked_s >= WORK_MIN_S:
        time.sleep(min(times * worked_s, REST_MAX_S))
        _rested.cpu_s = time.thread_time()


def paced(rows: Iterable[_Row]) -> Iterator[_Row]:
    """The same rows, with a `pause` now and then, for who takes one after the other."""
    for number, row in enumerate(rows):
        if not number % PACED_ROWS:
            pause()
        yield row


def cpu_s(pid: int) -> float:
    """CPU seconds of another process so far, user and system (proc(5)).

    Raises:
        OSError: there is no such process, or no /proc.
    """
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
