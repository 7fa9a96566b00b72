"""The measured server, as a process of its own: the full exchange, or the empty core.

Prints one JSON line when it is ready, answers each line of standard input with its CPU time, and
ends when standard input does.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import sys
import time
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any, Final

from exchange.engine import SystemClock
from exchange.journal.writers import WriteMode
from exchange.processors import cpu_s
from exchange.readmodel.database import connect
from exchange.readmodel.errors import ReadModelMissing
from exchange.readmodel.progress import read_progress
from exchange.server.gateway_process import GatewayProcess
from exchange.server.read_model import ReadModelProcess, read_model_url
from exchange.server.server import GC_THRESHOLDS
from exchange.testing import InProcessExchange
from flopex.bench import empty
from flopex.bench.flow import TICK_NANOS
from flopex.logs import LogLevel, configure_logs

CLIENTS_MAX: Final = 8
SEGMENT_BYTES: Final = 64 << 20


@asynccontextmanager
async def _empty(_directory: Path) -> AsyncIterator[tuple[dict[str, Any], None]]:
    server, target = await empty.start()
    try:
        yield {"target": target, "keys": ["none"] * CLIENTS_MAX, "instrument_id": 1}, None
    finally:
        await server.stop(0)


@asynccontextmanager
async def _full(
    directory: Path, gateway: bool, write_mode: WriteMode
) -> AsyncIterator[tuple[dict[str, Any], InProcessExchange]]:
    async with InProcessExchange(
        directory,
        SystemClock(),
        segment_bytes=SEGMENT_BYTES,
        write_mode=write_mode,
        gateway=gateway,
        read_model_process=True,
    ) as exchange:
        # It would inherit --real-time, and its place is behind everybody.
        os.sched_setscheduler(_read_model_pid(exchange), os.SCHED_OTHER, os.sched_param(0))
        instrument_id = await exchange.paper_instrument("paper/bench", TICK_NANOS)
        keys = [await exchange.trader(f"client-{i}") for i in range(CLIENTS_MAX)]
        ready = {"target": exchange.address, "keys": keys, "instrument_id": instrument_id}
        yield ready, exchange


def _server(kind: str, directory: Path, mode: WriteMode) -> AbstractAsyncContextManager[Any]:
    if kind == "empty":
        return _empty(directory)
    return _full(directory, kind == "two", mode)


def _gateway_cpu_s(exchange: InProcessExchange) -> float:
    """CPU seconds of the gateway's process; 0 where it is in this one."""
    edges = exchange.server.edges
    if not isinstance(edges, GatewayProcess):
        return 0.0
    return cpu_s(edges.pid)


def _read_model_pid(exchange: InProcessExchange) -> int:
    feeder = exchange.server.read_model_feeder
    assert isinstance(feeder, ReadModelProcess)
    return feeder.pid


def _read_model_sequence(directory: Path) -> int:
    """The last command that the read model holds; 0 until its process has made it."""
    try:
        database = connect(read_model_url(directory, ""), read_only=True)
    except ReadModelMissing:
        return 0
    try:
        progress = read_progress(database)
    finally:
        database.close()
    return progress.sequence if progress is not None else 0


async def _serve(kind: str, directory: Path, mode: WriteMode) -> None:
    gc.set_threshold(*GC_THRESHOLDS)
    loop = asyncio.get_running_loop()
    lines = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    async with _server(kind, directory, mode) as (ready, exchange):
        gc.freeze()
        print(json.dumps(ready), flush=True)
        while await lines.readline():
            answer: dict[str, Any] = {"cpu_s": time.process_time()}
            if exchange is not None:
                stats = exchange.engine.stats
                gateway_cpu_s = _gateway_cpu_s(exchange)
                read_model_sequence = _read_model_sequence(directory)
                answer["cpu_s"] += gateway_cpu_s
                answer |= {
                    "gateway_cpu_s": gateway_cpu_s,
                    "read_model_cpu_s": cpu_s(_read_model_pid(exchange)),
                    "read_model_commands": read_model_sequence,
                    "read_model_lag": exchange.engine.core.sequence - read_model_sequence,
                    "groups": stats.groups,
                    "commands": stats.commands,
                    "decode_s": stats.decode_ns / 1e9,
                    "apply_cpu_s": stats.apply_cpu_ns / 1e9,
                    "append_s": stats.append_ns / 1e9,
                    "append_cpu_s": stats.append_cpu_ns / 1e9,
                    "publish_cpu_s": stats.publish_cpu_ns / 1e9,
                }
            print(json.dumps(answer), flush=True)


def main() -> None:
    """`python -m flopex.bench.server full|two|empty DIRECTORY WRITE_MODE`."""
    configure_logs(LogLevel.WARNING, as_json=False)
    kind, directory, mode = sys.argv[1:]
    asyncio.run(_serve(kind, Path(directory), WriteMode(mode)))


if __name__ == "__main__":
    main()
