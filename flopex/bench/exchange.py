"""`flopex bench exchange`: how many durable orders per second, and how soon they are acknowledged.

Method. Server and clients are separate processes on one machine and speak gRPC over loopback. The
load is an open loop: each order has an intended time, and its latency counts from there, batch
filling included. The rate of a mode is the highest offered one at which every order is acknowledged
with a p99 under 50 ms; it is found by raising the offered rate until a trial fails and then
narrowing. The same search runs against an empty core (`flopex.bench.empty`) in the same run, mode
by mode, so that the ratio holds on a noisy machine. CPU times are the processes' own. A search has
at most `TRIALS_MAX` trials, so that the whole has an end that is known from the start.
"""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final, NamedTuple

from exchange.core.limits import NS_PER_MS
from exchange.journal.writers import WRITE_MODE, WriteMode
from flopex.bench.beside import NOT_BESIDE, measure_beside
from flopex.bench.latencies import Latencies
from flopex.bench.machine import machine
from flopex.bench.messages import LINGER_NS
from matching import COMPILED

P99_MAX_MS: Final = 50.0
RISE: Final = 1.5
"""Factor between two offered rates while the search climbs."""
FALL: Final = 0.6
"""The same while no rate has held yet."""
NARROWINGS: Final = 3
"""Bisections after the first failed rate."""
TRIES: Final = 3
"""A rate has failed when this many trials in a row have: one stall of a shared machine is none."""
TRIALS_MAX: Final = 18
"""Of one search; then the best rate that held is the answer."""
HALF_TRIALS: Final = 3
BESIDE_S: Final = 4.0
"""What a trial takes at most beside its length: making messages, falling behind, draining."""
WARM_S: Final = 2.0
"""Length of the first trial of a mode at most."""
REAL_TIME_PRIORITY: Final = 1
"""Of SCHED_RR: above every other process, below the kernel's own."""
ANSWER_MAX_S: Final = 60.0
"""A child that does not answer for so long is ended, and with it the benchmark."""

PARTS: Final = (
    "gateway_cpu_s", "read_model_cpu_s", "read_model_commands", "decode_s", "apply_cpu_s",
    "append_s", "append_cpu_s", "publish_cpu_s", "groups",
)  # fmt: skip
"""What the server counts, and `Measured` has by the same name."""

MODES: Final = {
    # name: (orders per message, first offered rate of the exchange, and of the empty core)
    "unary": (1, 400.0, 600.0),
    "stream": (1, 1_000.0, 1_500.0),
    "batched": (256, 20_000.0, 80_000.0),
}


@dataclass(frozen=True, slots=True)
class Settings:
    """What to run.

    Attributes:
        modes: How orders travel.
        seconds: Length of a trial.
        clients: Client processes.
        seed: Of the orders.
        batch: Most orders per message.
        linger_ms: How long a batch waits for more orders, milliseconds.
        processes: 1, or 2 for engine and gateway apart.
        write_mode: How the journal's groups become durable.
        real_time: Whether all runs under SCHED_RR.
        rate: Offered once, orders per second; 0: the best is sought.
        beside: Where recovery and rivals are measured, too; None: they are not.
    """

    modes: tuple[str, ...] = tuple(MODES)
    seconds: float = 2.0
    clients: int = 2
    seed: int = 1
    batch: int = 256
    linger_ms: float = LINGER_NS / NS_PER_MS
    processes: int = 2
    write_mode: WriteMode = WRITE_MODE
    real_time: bool = False
    rate: float = 0.0
    beside: Path | None = None

    @property
    def most_seconds(self) -> float:
        """How long the benchmark takes at most, without what is measured beside it."""
        if self.rate:
            return 2 * len(self.modes) * (self.seconds + BESIDE_S)
        trials = len(self.modes) * 2 * (1 + TRIALS_MAX + HALF_TRIALS)
        return trials * (self.seconds + BESIDE_S)


@dataclass(slots=True)
class Measured:
    """One trial, all clients together."""

    offered_per_s: float
    sent: int = 0
    acked: int = 0
    complete: bool = True
    errors: list[str] = field(default_factory=list)
    client_cpu_s: float = 0.0
    server_cpu_s: float = 0.0
    gateway_cpu_s: float = 0.0
    decode_s: float = 0.0
    apply_cpu_s: float = 0.0
    append_s: float = 0.0
    append_cpu_s: float = 0.0
    publish_cpu_s: float = 0.0
    groups: int = 0
    read_model_cpu_s: float = 0.0
    read_model_commands: int = 0
    read_model_lag: int = 0
    latencies: Latencies = field(default_factory=Latencies)

    def percentile_ms(self, share: float) -> float:
        """A percentile of the latencies; infinity where no order was acknowledged."""
        return self.latencies.percentile_ms(share)

    @property
    def good(self) -> bool:
        """Whether the mode holds this rate."""
        return self.complete and self.acked == self.sent and self.percentile_ms(0.99) < P99_MAX_MS

    def row(self) -> dict[str, float | int | bool]:
        """Figures for the table and the JSON object."""
        orders, groups = max(1, self.acked), max(1, self.groups)
        parts_s = self.decode_s + self.apply_cpu_s + self.append_cpu_s + self.publish_cpu_s
        rest_s = self.server_cpu_s - self.gateway_cpu_s - parts_s if self.groups else 0.0
        return {
            "per_s": round(self.offered_per_s),
            "p50_ms": round(self.percentile_ms(0.50), 3),
            "p99_ms": round(self.percentile_ms(0.99), 3),
            "p999_ms": round(self.percentile_ms(0.999), 3),
            "max_ms": round(self.percentile_ms(1.0), 3),
            "server_cpu_us_per_order": round(self.server_cpu_s / orders * 1e6, 2),
            "gateway_cpu_us_per_order": round(self.gateway_cpu_s / orders * 1e6, 2),
            "read_model_cpu_us_per_order": round(self.read_model_cpu_s / orders * 1e6, 2),
            # Of the commands that it took in meanwhile: it may have fallen behind.
            "read_model_cpu_us_per_command": round(
                self.read_model_cpu_s / max(1, self.read_model_commands) * 1e6, 2
            ),
            "read_model_lag_commands": self.read_model_lag,
            "client_cpu_us_per_order": round(self.client_cpu_s / orders * 1e6, 2),
            # The server's CPU time by its parts. What is decoded is counted where gateway and
            # engine are two and the engine keeps up, and by the clock. The rest is the link to the
            # gateway and the event loop; of one process gRPC, too.
            "decode_us_per_order": round(self.decode_s / orders * 1e6, 2),
            "core_us_per_order": round(self.apply_cpu_s / orders * 1e6, 2),
            "journal_us_per_order": round(self.append_cpu_s / orders * 1e6, 2),
            "feeds_us_per_order": round(self.publish_cpu_s / orders * 1e6, 2),
            "rest_us_per_order": round(rest_s / orders * 1e6, 2),
            # How long a group's write and sync held up all others.
            "journal_ms_per_group": round(self.append_s / groups * 1e3, 3),
            "orders_per_group": round(orders / self.groups, 1) if self.groups else 0,
            "orders": self.acked,
        }


class Trial(NamedTuple):
    """What was tried."""

    mode: str
    kind: str
    measured: Measured


class Child:
    """A process that answers JSON lines with JSON lines."""

    def __init__(self, *arguments: str) -> None:
        environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
        self._name = " ".join(arguments)
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
            process_group=0,  # Ctrl-C at a terminal is for us, who end it
        )

    def read(self, busy_s: float = 0.0) -> dict[str, Any]:
        """The next answer, from a process that is busy for so long before.

        Raises:
            RuntimeError: the process has died, or was ended as it did not answer for ANSWER_MAX_S.
        """
        assert self._process.stdout is not None
        overdue = threading.Timer(busy_s + ANSWER_MAX_S, self._process.kill)
        overdue.start()
        try:
            line = self._process.stdout.readline()
        finally:
            overdue.cancel()
        if not line:
            raise RuntimeError(f"{self._name} ended with status {self._process.wait()}")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def write(self, message: dict[str, Any]) -> None:
        """Ask something."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(message) + "\n")
        self._process.stdin.flush()

    def ask(self, message: dict[str, Any]) -> dict[str, Any]:
        """Ask and wait for the answer."""
        self.write(message)
        return self.read()

    def kill(self) -> None:
        """End the process in the midst of its work."""
        self._process.kill()

    def close(self) -> None:
        """End the process: it stops when its standard input ends."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        try:
            self._process.wait(timeout=15)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()


@contextmanager
def _children(
    kind: str, settings: Settings, directory: Path
) -> Iterator[tuple[Child, list[Child]]]:
    server = Child("flopex.bench.server", kind, str(directory), settings.write_mode)
    loads = [Child("flopex.bench.client") for _ in range(settings.clients)]
    try:
        yield server, loads
    except BaseException:
        for child in (*loads, server):
            child.kill()
        raise
    finally:
        for child in (*loads, server):
            child.close()


def _trial(
    server: Child, loads: list[Child], ready: dict[str, Any], plan: dict[str, Any]
) -> Measured:
    clients = len(loads)
    measured = Measured(plan["rate"])
    before = server.ask({"ask": "cpu"})
    for number, load in enumerate(loads):
        load.write(
            {
                **plan,
                "rate": plan["rate"] / clients,
                "target": ready["target"],
                "key": ready["keys"][number],
                "instrument_id": ready["instrument_id"],
                "stream": number,
            }
        )
    for load in loads:
        load.read()  # its messages are made
    for load in loads:
        load.write({"go": True})
    for load in loads:
        answer = load.read(plan["seconds"])
        measured.sent += answer["sent"]
        measured.acked += answer["acked"]
        measured.complete &= not answer["gave_up"] and not answer["errors"]
        measured.errors += answer["errors"]
        measured.client_cpu_s += answer["cpu_s"]
        counts = {int(number): count for number, count in answer["latencies"].items()}
        measured.latencies.merge(Latencies(counts))
    after = server.ask({"ask": "cpu"})
    measured.server_cpu_s = after["cpu_s"] - before["cpu_s"]
    for name in PARTS:
        setattr(measured, name, after.get(name, 0) - before.get(name, 0))
    measured.read_model_lag = after.get("read_model_lag", 0)
    return measured


class _Search:
    """Looks for the highest rate that holds, with a bounded number of trials."""

    def __init__(self, attempt: Callable[[float], Measured]) -> None:
        self._attempt = attempt
        self._left = TRIALS_MAX

    def run(self, start: float) -> Measured | None:
        """The best trial that held: climb until one fails, or fall until one holds; then narrow."""
        best, failed, rate = None, 0.0, start
        while self._left and (best is None or not failed):
            found = self._tries(rate)
            if found is None:
                failed = rate
                rate *= FALL
            else:
                best = found
                rate *= RISE
        for _ in range(NARROWINGS):
            if best is None or not failed or not self._left:
                break
            middle = (best.offered_per_s + failed) / 2
            found = self._tries(middle)
            if found is None:
                failed = middle
            else:
                best = found
        return best

    def _tries(self, rate: float) -> Measured | None:
        for _ in range(min(TRIES, self._left)):
            self._left -= 1
            measured = self._attempt(rate)
            if measured.good:
                return measured
        return None


@dataclass(frozen=True, slots=True)
class Figures:
    """A mode against one server: at the highest rate that held, and at half of it.

    Where one rate was asked for, it is `limit`, whether it held or not.
    """

    limit: Measured
    half: Measured | None

    def row(self) -> dict[str, Any]:
        """For the JSON object."""
        found = {"limit": self.limit.row()}
        return found | ({"half": self.half.row()} if self.half else {})


Report = Callable[[Trial | str], None]
"""Told of every trial, and what is going on beside them."""


def run(settings: Settings, report: Report) -> dict[str, Any]:
    """Measure every mode, against the full exchange and the empty core; the JSON object."""
    result: dict[str, Any] = {
        "bench": "exchange",
        "machine": machine(),
        "compiled": bool(COMPILED),
        "settings": {
            **asdict(settings),
            "beside": str(settings.beside) if settings.beside else None,
            "p99_max_ms": P99_MAX_MS,
        },
    }
    if settings.real_time:  # children inherit it
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(REAL_TIME_PRIORITY))
    for mode in settings.modes:
        empty = _measure(settings, mode, "empty", report)
        full = _measure(settings, mode, "two" if settings.processes == 2 else "full", report)
        ratio = None
        if full is not None and empty is not None and not settings.rate:
            ratio = round(full.limit.offered_per_s / empty.limit.offered_per_s, 3)
        result[mode] = {
            "full": full.row() if full else None,
            "empty": empty.row() if empty else None,
            "ratio_of_ceiling": ratio,
        }
        result |= _headline(mode, full)
    return result | (measure_beside(settings.beside, report) if settings.beside else NOT_BESIDE)


def _headline(mode: str, full: Figures | None) -> dict[str, float | int | None]:
    """The mode's figures that are compared from run to run, under names of their own."""
    row = full.limit.row() if full else {}
    found: dict[str, float | int | None] = {
        f"{mode}_per_s": row.get("per_s", 0),
        f"{mode}_p50_ms": row.get("p50_ms"),
        f"{mode}_p99_ms": row.get("p99_ms"),
    }
    if mode == "batched":
        found["cpu_us_per_order"] = row.get("server_cpu_us_per_order")
    return found


def _measure(settings: Settings, mode: str, kind: str, report: Report) -> Figures | None:
    batch, full_start, empty_start = MODES[mode]
    start = empty_start if kind == "empty" else full_start
    seeds = itertools.count(settings.seed)
    with (
        tempfile.TemporaryDirectory(prefix="flopex-bench-") as folder,
        _children(kind, settings, Path(folder)) as (server, loads),
    ):
        ready = server.read()

        def attempt(rate: float, most_s: float = settings.seconds) -> Measured:
            plan = {
                "mode": mode,
                "rate": rate,
                "seconds": min(most_s, settings.seconds),
                "batch": settings.batch if batch > 1 else 1,
                "linger_ns": int(settings.linger_ms * NS_PER_MS),
                "seed": next(seeds),
            }
            measured = _trial(server, loads, ready, plan)
            report(Trial(mode, kind, measured))
            return measured

        attempt(start / 2, WARM_S)  # warms code, connection and journal; not counted
        if settings.rate:
            return Figures(attempt(settings.rate), None)
        limit = _Search(attempt).run(start)
        if limit is None:
            return None
        # Half the rate shows what a client sees that does not push the exchange to its edge.
        halves = [attempt(limit.offered_per_s / 2) for _ in range(HALF_TRIALS)]
        halves.sort(key=lambda measured: measured.percentile_ms(0.5))
        return Figures(limit, halves[HALF_TRIALS // 2])
