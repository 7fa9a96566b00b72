"""The process that feeds a read model: `python -m exchange.readmodel JOURNAL SNAPSHOTS`.

On stdin it is told the URL of the database, and on a second line where traces go (empty: nowhere).

`exchange.server` starts it beside the exchange and starts it again where it fails. It ends with its
parent, and at SIGTERM once it has caught up. The URL may hold a password, so it is no argument,
which everybody on the machine could read. Its log goes to stdout, one JSON object on a line.
"""

from __future__ import annotations

import gc
import os
import signal
import sys
from pathlib import Path
from threading import Event
from typing import Final

import structlog

from exchange.journal import JournalError
from exchange.readmodel.errors import ReadModelError
from exchange.readmodel.follow import follow
from exchange.readmodel.traces import closing_traces

NICE: Final = 10
"""The exchange's own processes go first, even where the read model has been behind for too long."""
GC_THRESHOLDS: Final = (50_000, 5, 1_000_000)
"""Of `gc.set_threshold`: it makes many short-lived objects and no cycles, and looking through all
that its core holds would cost more than anything else here."""
EXIT_FAILED: Final = 1

_log = structlog.get_logger("exchange.readmodel")


def main() -> int:
    """Feed until told to stop; the exit status."""
    parent = os.getppid()
    structlog.configure(
        processors=[structlog.processors.add_log_level, structlog.processors.JSONRenderer()]
    )
    os.nice(NICE)
    gc.set_threshold(*GC_THRESHOLDS)
    stop = Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    # Ctrl-C reaches the whole group; the exchange says when it has written its last command.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    url, target = (sys.stdin.readline().strip() for _ in range(2))
    try:
        with closing_traces(target) as traces:
            journal, snapshots = map(Path, sys.argv[1:])
            follow(
                journal, url, stop, lambda: os.getppid() == parent, traces, snapshots, yields=True
            )
    except (ReadModelError, JournalError) as error:
        _log.error("the read model's feed failed", error=type(error).__name__, reason=str(error))
        return EXIT_FAILED
    return 0


if __name__ == "__main__":
    sys.exit(main())
