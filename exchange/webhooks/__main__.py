"""The process that tells webhooks: `python -m exchange.webhooks STORE public|private`.

On stdin it is told the URL of the read model, which may hold a password. `exchange.server` starts
it, and starts it again where it fails. It ends with its parent, and at SIGTERM. Its log goes to
stdout, one JSON object on a line.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path
from threading import Event
from typing import Final

import structlog

from exchange.webhooks.errors import WebhookError
from exchange.webhooks.telling import tell

NICE: Final = 10
"""The exchange's own processes go first."""
EXIT_FAILED: Final = 1
PRIVATE: Final = "private"

_log = structlog.get_logger("exchange.webhooks")


def main() -> int:
    """Tell until told to stop; the exit status."""
    parent = os.getppid()
    structlog.configure(
        processors=[structlog.processors.add_log_level, structlog.processors.JSONRenderer()]
    )
    os.nice(NICE)
    stop = Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    # Ctrl-C reaches the whole group; the exchange says when it ends.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    url = sys.stdin.readline().strip()
    path, targets = Path(sys.argv[1]), sys.argv[2]

    def stopped() -> bool:
        return stop.is_set() or os.getppid() != parent

    try:
        asyncio.run(tell(path, url, stopped, allow_private=targets == PRIVATE))
    except WebhookError as error:
        _log.error("webhooks cannot be told", error=type(error).__name__, reason=str(error))
        return EXIT_FAILED
    return 0


if __name__ == "__main__":
    sys.exit(main())
