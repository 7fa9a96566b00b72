"""Has imported all of the exchange, and becomes a server within milliseconds as often as asked.

Each line on its input asks for one: a JSON object with `directory`, `address`, `secret` and `log`.
It answers with the process id. The server is `exchange.server.serve` in a process of its own, as
`flopex serve` runs it; only the imports were done before.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from pathlib import Path

from exchange.server import ServerConfig, ServerFailed, serve

SEGMENT_BYTES = 1 << 20
"""Small, so that segments are full now and then."""


def main() -> None:
    """Fork until the input ends."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # children need nobody to ask for their end
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            become_server(json.loads(line))
        sys.stdout.write(f"{child}\n")
        sys.stdout.flush()


def become_server(asked: dict[str, str]) -> None:
    """Serve until the end of this process."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    log = os.open(asked["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(log, 1)
    os.dup2(log, 2)
    config = ServerConfig(
        Path(asked["directory"]),
        asked["address"],
        operator_secret=asked["secret"],
        segment_bytes=SEGMENT_BYTES,
        reflection=False,
    )
    try:
        asyncio.run(serve(config, grace_s=5))
    except ServerFailed:
        os._exit(3)
    finally:
        sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
