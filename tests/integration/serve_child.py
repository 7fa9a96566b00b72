"""A server process for tests: prints its address and operator key as JSON, then serves.

Usage: python serve_child.py DIRECTORY [append-fails-after]
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path

from exchange.journal import GroupRecord, JournalWriteFailed, LocalLog
from exchange.server import GATEWAY_COMMAND, Server, ServerConfig, ServerFailed, serve
from exchange.testing.in_process import PROCESSES_VARIABLE


def started(server: Server) -> None:
    said = {
        "address": server.address,
        "key": server.config.operator_key_path.read_text().strip(),
    }
    sys.stdout.write(json.dumps(said) + "\n")
    sys.stdout.flush()


def fail_after(groups: int) -> None:
    """Let the journal's device fail after so many groups."""
    begin, done = LocalLog.begin, 0

    def failing(log: LocalLog, group: GroupRecord) -> None:
        nonlocal done
        done += 1
        if done > groups:
            raise JournalWriteFailed(log.directory, 0, "no space left on device")
        begin(log, group)

    setattr(LocalLog, "begin", failing)  # noqa: B010  # mypy forbids the plain form


if __name__ == "__main__":
    if len(sys.argv) > 2:
        fail_after(int(sys.argv[2]))
    try:
        command = GATEWAY_COMMAND if os.environ.get(PROCESSES_VARIABLE) == "2" else ()
        config = ServerConfig(Path(sys.argv[1]), "127.0.0.1:0", gateway_command=command)
        asyncio.run(serve(config, started, grace_s=5))
    except ServerFailed as error:
        sys.exit(f"failed: {error}")
