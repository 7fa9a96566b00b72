"""One measurement of one contestant, in a process of its own: prints one JSON object.

    python -m flopex.bench.matching.contestant NAME TASK FILE FIRST [--limit COMMANDS]

Tasks: `rate` (CPU time of all commands, and the digest of the trades), `latency` (percentiles per
command after FIRST), `steady` (CPU time of what comes after FIRST), `memory` (growth of the
resident set by the first FIRST commands). Flopex alone is asked for more (`flopex_only`):
`market-data`, `rules`, and three that take a number of orders for FIRST and read no file: the
uncrosses `auction` and `managed`, and `floor`, the memory's part in what depth costs. Standard
library only, because a peer's interpreter runs it.

With FLOPEX_BENCH_SOURCE set, Flopex's engine runs from source where it is compiled, too.

CPU time is the process's own, user and system. The garbage collector runs as Python comes, for
every contestant: that is how the peers run at their users'.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from flopex.bench.matching.workloads import COMMAND, trades_digest

if TYPE_CHECKING:
    from flopex.bench.matching.engines import Engine

TASKS: Final = (
    "rate",
    "latency",
    "steady",
    "memory",
    "market-data",
    "rules",
    "auction",
    "managed",
    "floor",
)
SOURCE_VARIABLE: Final = "FLOPEX_BENCH_SOURCE"
FLOPEX: Final = "flopex"
MISSING_STATUS: Final = 3
"""Exit status when the contestant's package is not installed."""


def _engine(name: str) -> Engine:
    if name == FLOPEX:
        from flopex.bench.matching import engines

        if os.environ.get(SOURCE_VARIABLE):
            engines.interpret_matching()
        return engines.Flopex()
    from flopex.bench.matching.peers import PEERS

    return PEERS[name]()


def _cpu_of(engine: Engine, first: int, last: int) -> float:
    gc.collect()
    before = time.process_time()
    engine.run(first, last)
    return time.process_time() - before


def _facts(engine: Engine) -> dict[str, Any]:
    trades = engine.trades()
    return {"trades": len(trades), "digest": trades_digest(trades)}


def _latency(engine: Engine, first: int, last: int) -> dict[str, float]:
    """Nanoseconds of the wall clock per command; the timer's own cost is in them."""
    engine.run(0, first)
    gc.collect()
    clock, run = time.perf_counter_ns, engine.run
    taken: list[int] = []
    for number in range(first, last):
        before = clock()
        run(number, number + 1)
        taken.append(clock() - before)
    taken.sort()
    shares = {"p50": 0.5, "p99": 0.99, "p999": 0.999}
    return {f"{name}_us": taken[int(len(taken) * s)] / 1_000 for name, s in shares.items()}


def _resident_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


MEMORY_CHUNK: Final = 1_000
"""Commands that are prepared at a time, so that what is measured is the books' and not ours."""


def _memory(name: str, data: bytes) -> dict[str, float]:
    engine = _engine(name)
    engine.load(data[: COMMAND.size])
    engine.run(0, 1)
    gc.collect()
    before = _resident_bytes()
    count = 1
    rest = memoryview(data)[COMMAND.size :]
    for start in range(0, len(rest), MEMORY_CHUNK * COMMAND.size):
        chunk = bytes(rest[start : start + MEMORY_CHUNK * COMMAND.size])
        engine.forget()
        last = engine.load(chunk)
        engine.run(0, last)
        count += last
    engine.forget()
    gc.collect()
    return {"bytes_per_order": (_resident_bytes() - before) / (count - 1)}


def _market_data(data: bytes, first: int) -> dict[str, Any]:
    from flopex.bench.matching.flopex_only import market_data

    return {**market_data(data[: first * COMMAND.size] if first else data)}


def _rules(data: bytes, first: int) -> dict[str, Any]:
    from flopex.bench.matching.flopex_only import rules

    return {**rules(data[: first * COMMAND.size] if first else data)}


def _auction(_: bytes, first: int) -> dict[str, Any]:
    from flopex.bench.matching.flopex_only import auction

    return auction(first, seed=1)


def _managed(_: bytes, first: int) -> dict[str, Any]:
    from flopex.bench.matching.flopex_only import managed

    return managed(first, seed=1)


def _floor(_: bytes, first: int) -> dict[str, Any]:
    from flopex.bench.matching.flopex_only import depth_floor

    return depth_floor(first, seed=1)


_FLOPEX_ONLY: Final[dict[str, Callable[[bytes, int], dict[str, Any]]]] = {
    "market-data": _market_data,
    "rules": _rules,
    "auction": _auction,
    "managed": _managed,
    "floor": _floor,
}


def measure(name: str, task: str, data: bytes, first: int) -> dict[str, Any]:
    """Carry out one task; its figures."""
    if task == "memory":
        return _memory(name, data[: first * COMMAND.size])
    engine = _engine(name)
    if task in _FLOPEX_ONLY:
        return _FLOPEX_ONLY[task](data, first)
    count = engine.load(data)
    if task == "latency":
        return {"commands": count - first, **_latency(engine, first, count)}
    if task == "steady":
        engine.run(0, first)
        spent = _cpu_of(engine, first, count)
        return {"commands": count - first, "cpu_s": spent}
    spent = _cpu_of(engine, 0, count)
    return {"commands": count, "cpu_s": spent, **_facts(engine)}


def main() -> None:
    """Measure what the command line says."""
    parser = argparse.ArgumentParser()
    parser.add_argument("name")
    parser.add_argument("task", choices=TASKS)
    parser.add_argument("file", type=Path)
    parser.add_argument("first", type=int)
    parser.add_argument("--limit", type=int, default=None, help="Only so many commands.")
    asked = parser.parse_args()
    data = asked.file.read_bytes()
    if asked.limit is not None:
        data = data[: asked.limit * COMMAND.size]
    try:
        figures = measure(asked.name, asked.task, data, asked.first)
    except ImportError as error:
        print(error, file=sys.stderr)
        sys.exit(MISSING_STATUS)
    if asked.name == FLOPEX:
        from flopex.bench.matching.engines import is_compiled

        figures["compiled"] = is_compiled()
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
