"""Runs an engine to its end."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import NamedTuple

from exchange.metering.traces import Trace
from exchange.v1.job_service_pb2 import StopCause
from worker.engines.base import Engine, EngineJob, EngineResult, Piece, StopSignal

PLENTY = 10**15


class Outcome(NamedTuple):
    """What came of a run; `seconds` until the result."""

    text: str
    tokens: int
    cause: StopCause.ValueType
    trace: Trace
    seconds: float


async def run(
    engine: Engine,
    job: EngineJob,
    budget_flops: int = PLENTY,
    *,
    stop_after_s: float | None = None,
    stop_after_pieces: int | None = None,
) -> Outcome:
    stop = StopSignal()
    if stop_after_s is not None:
        loop = asyncio.get_running_loop()
        loop.call_later(stop_after_s, stop.stop, StopCause.STOP_CAUSE_CANCELLED)
    began = time.monotonic()
    pieces: list[Piece] = []
    result: EngineResult | None = None
    seconds = 0.0
    async for item in engine.run(job, budget_flops, stop):
        assert result is None, "the result must come last"
        if isinstance(item, Piece):
            pieces.append(item)
            if len(pieces) == stop_after_pieces:
                began = time.monotonic()
                stop.stop(StopCause.STOP_CAUSE_CANCELLED)
        else:
            result, seconds = item, time.monotonic() - began
    assert result is not None
    return Outcome(
        "".join(piece.text for piece in pieces),
        sum(piece.tokens for piece in pieces),
        result.cause,
        result.trace,
        seconds,
    )


def listening_tcp_sockets(pid: int) -> list[str]:
    """Addresses on which a process listens."""
    inodes = set()
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        try:
            target = str(entry.readlink())
        except FileNotFoundError:  # closed meanwhile
            continue
        if target.startswith("socket:["):
            inodes.add(target[8:-1])
    listening = []
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and fields[9] in inodes:
                listening.append(fields[1])
    return listening
