"""One measurement of one contestant, in a process of its own: prints one JSON object.

    python -m flopex.bench.matching.contestant NAME TASK FILE FIRST [--interpreted]

Tasks: `check` (the digest of the trades), `rate` (CPU time of all commands, and that digest),
`latency` (percentiles per command after FIRST), `steady` (CPU time of what comes after FIRST),
`memory` (growth of the resident set by the first FIRST commands). Standard library only, because a
peer's interpreter runs it too.

CPU time is the process's own, user and system. The garbage collector is off and its objects are
frozen while the clock runs, for every contestant.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from flopex.bench.matching.workloads import COMMAND, trades_digest

if TYPE_CHECKING:
    from flopex.bench.matching.engines import Engine

FLOPEX: Final = "flopex"
MISSING_STATUS: Final = 3
"""Exit status when the contestant's package is not installed."""


def _engine(name: str, interpreted: bool) -> Engine:
    if name == FLOPEX:
        from flopex.bench.matching import engines

        if interpreted:
            engines.interpret_matching()
        return engines.Flopex()
    from flopex.bench.matching.peers import PEERS

    return PEERS[name]()


def _cpu_of(engine: Engine, first: int, last: int) -> float:
    gc.collect()
    gc.freeze()
    gc.disable()
    before = time.process_time()
    engine.run(first, last)
    spent = time.process_time() - before
    gc.enable()
    gc.unfreeze()
    return spent


def _facts(engine: Engine) -> dict[str, Any]:
    trades = engine.trades()
    return {"trades": len(trades), "digest": trades_digest(trades)}


def _latency(engine: Engine, first: int, last: int) -> dict[str, float]:
    """Nanoseconds of the wall clock per command; the timer's own cost is in them."""
    engine.run(0, first)
    gc.collect()
    gc.freeze()
    gc.disable()
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


def _memory(name: str, interpreted: bool, data: bytes) -> dict[str, float]:
    engine = _engine(name, interpreted)
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


def measure(name: str, task: str, data: bytes, first: int, interpreted: bool) -> dict[str, Any]:
    """Carry out one task; its figures."""
    if task == "memory":
        return _memory(name, interpreted, data[: first * COMMAND.size])
    engine = _engine(name, interpreted)
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
    parser.add_argument("task", choices=["check", "rate", "latency", "steady", "memory"])
    parser.add_argument("file", type=Path)
    parser.add_argument("first", type=int)
    parser.add_argument("--limit", type=int, default=None, help="Only so many commands.")
    parser.add_argument("--interpreted", action="store_true")
    asked = parser.parse_args()
    data = asked.file.read_bytes()
    if asked.limit is not None:
        data = data[: asked.limit * COMMAND.size]
    try:
        figures = measure(asked.name, asked.task, data, asked.first, asked.interpreted)
    except ImportError as error:
        print(error, file=sys.stderr)
        sys.exit(MISSING_STATUS)
    if asked.name == FLOPEX:
        from flopex.bench.matching.engines import is_compiled

        figures["compiled"] = is_compiled()
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
