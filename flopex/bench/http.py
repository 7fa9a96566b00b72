"""`flopex bench http`: what a chat completion costs beside the same job over gRPC.

Method. This process is the exchange's engine; its gateway, a worker with the instant engine and
each load client are processes of their own.

Closed loops of a stated concurrency ask for short answers, by turns over gRPC
(SubmitJob, then WatchJob), as chat completions in one piece, and as streams; in each round each
kind has the same time. The figures are the median of the rounds with the least and the most:
answers per second, latency, and the CPU time of the exchange (engine and gateway) and of the
client, per request.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from exchange.core.commands import Role
from exchange.engine import SystemClock
from exchange.metering.cards import INSTANT
from exchange.server.gateway_process import GatewayProcess
from exchange.testing import InProcessExchange
from flopex.bench.http_client import MODEL, Load
from flopex.bench.latencies import Latencies
from flopex.bench.machine import machine

KINDS: Final = ("grpc", "http", "stream")
FIGURES: Final = ("per_s", "p50_ms", "p99_ms", "exchange_cpu_ms", "client_cpu_ms")
INSTRUMENT: Final = f"{MODEL}/cpu/interactive"
CHILD_WITHIN_S: Final = 120.0
SEGMENT_BYTES: Final = 64 << 20

Report = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Settings:
    """What to run.

    Attributes:
        rounds: Rounds of requests.
        seconds: Of one kind in one round.
        concurrency: Requests under way at a time; the worker has as many slots.
        tokens: Length of an answer.
    """

    rounds: int = 3
    seconds: float = 5.0
    concurrency: int = 8
    tokens: int = 8


async def run(settings: Settings, report: Report) -> dict[str, Any]:
    """Measure; the JSON object.

    Raises:
        RuntimeError: a client failed.
    """
    with tempfile.TemporaryDirectory(prefix="flopex-bench-") as folder:
        async with InProcessExchange(
            Path(folder) / "exchange",
            SystemClock(),
            segment_bytes=SEGMENT_BYTES,
            http=True,
            gateway=True,
            read_model_process=True,
        ) as exchange:
            rounds = await _requests(exchange, Path(folder) / "worker", settings, report)
    return {
        "bench": "http",
        "machine": machine(),
        "settings": asdict(settings),
        **{kind: _spread([one[kind] for one in rounds]) for kind in KINDS},
    }


# ---- requests ----


async def _requests(
    exchange: InProcessExchange, folder: Path, settings: Settings, report: Report
) -> list[dict[str, dict[str, float]]]:
    await exchange.batch_instrument(INSTANT)
    key = await exchange.trader("buyer", paper=False)
    rounds = []
    async with _worker(exchange, folder, settings.concurrency):
        for number in range(settings.rounds):
            rounds.append({kind: await _trial(exchange, key, kind, settings) for kind in KINDS})
            told = ", ".join(f"{kind} {rounds[-1][kind]['per_s']}" for kind in KINDS)
            report(f"round {number + 1}: answers per second: {told}")
    return rounds


async def _trial(
    exchange: InProcessExchange, key: str, kind: str, settings: Settings
) -> dict[str, float]:
    load = Load(
        kind,
        exchange.address,
        exchange.http_address,
        key,
        settings.concurrency,
        settings.seconds,
        settings.tokens,
    )
    async with _child("flopex.bench.http_client", asdict(load)) as client:
        cpu_s = _exchange_cpu_s(exchange)
        found = await _answer(client)
        cpu_s = _exchange_cpu_s(exchange) - cpu_s
    # What was warmed up with is in the exchange's time, so it counts as requests there.
    answers, asked = found["answers"], found["answers"] + settings.concurrency
    latencies = Latencies({int(k): v for k, v in found["latencies"].items()})
    return {
        "per_s": round(answers / found["elapsed_s"], 1),
        "p50_ms": round(latencies.percentile_ms(0.5), 2),
        "p99_ms": round(latencies.percentile_ms(0.99), 2),
        "exchange_cpu_ms": round(cpu_s * 1e3 / asked, 3),
        "client_cpu_ms": round(found["cpu_s"] * 1e3 / max(answers, 1), 3),
    }


def _exchange_cpu_s(exchange: InProcessExchange) -> float:
    """CPU seconds of the engine's process, which is this one, and of the gateway's."""
    edges = exchange.server.edges
    assert isinstance(edges, GatewayProcess)
    fields = Path(f"/proc/{edges.pid}/stat").read_text().rpartition(")")[2].split()
    gateway_s = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return time.process_time() + gateway_s


@contextlib.asynccontextmanager
async def _worker(exchange: InProcessExchange, folder: Path, slots: int) -> AsyncIterator[None]:
    """A worker with the instant engine, as a process."""
    key = await exchange.key("seller", Role.WORKER)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-m", "flopex", "worker", "run", "--name", "bench"),
        *("--engine", "instant", "--slots", str(slots), "--data", str(folder)),
        *("--target", exchange.address, f"--quote={INSTRUMENT}=static:1000"),
        env={**os.environ, "FLOPEX_KEY": key},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
        process_group=0,
    )
    try:
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        await process.wait()


def _spread(rounds: list[dict[str, float]]) -> dict[str, list[float]]:
    """[median, least, most] of each figure."""
    columns = {name: [one[name] for one in rounds] for name in FIGURES}
    return {name: [statistics.median(c), min(c), max(c)] for name, c in columns.items()}


# ---- children ----


@contextlib.asynccontextmanager
async def _child(
    module: str, settings: dict[str, Any]
) -> AsyncIterator[asyncio.subprocess.Process]:
    """A client as a process that has been told its settings; it is gone after the block."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-m", module),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=1 << 24,
        process_group=0,  # Ctrl-C at a terminal is for us, who end it
    )
    try:
        _write(process, settings)
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


def _write(process: asyncio.subprocess.Process, message: Any) -> None:
    assert process.stdin is not None
    process.stdin.write(json.dumps(message).encode() + b"\n")


async def _answer(process: asyncio.subprocess.Process) -> Any:
    """The next line of a child.

    Raises:
        RuntimeError: it ended, or said nothing for too long.
    """
    assert process.stdout is not None
    async with asyncio.timeout(CHILD_WITHIN_S):
        line = await process.stdout.readline()
    if not line:
        raise RuntimeError("a client of the benchmark failed; see above")
    return json.loads(line)
