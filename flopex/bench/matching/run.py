"""Running all contestants over all workloads, in interleaved rounds, and summing up.

Rounds are interleaved: in each, every contestant takes every workload once, so that a busy minute
of a shared machine falls on all of them. A rate is the median over the rounds, with the lowest and
the highest beside it; a ratio is the median of the rounds' own ratios.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any, Final

from flopex.bench.machine import machine
from flopex.bench.matching import liquibook, oracle, workloads
from flopex.bench.matching.contestant import FLOPEX, MISSING_STATUS, SOURCE_VARIABLE
from flopex.bench.matching.peers import PEERS
from flopex.bench.matching.workloads import TRADE, Trade, Workload, trades_digest

ROOT: Final = Path(__file__).parents[3]
LIQUIBOOK: Final = "liquibook"
INTERPRETED: Final = "flopex, interpreted"
TIMED: Final = ("flow", "sweep", "books64")
ANSWER_S_MAX: Final = 900
"""Longest that one measurement may take."""

PREFIXES: Final = {
    # Its cost per order grows with the book; these take it seconds.
    "order-matching": {"small": 4_000, "flow": 2_000, "sweep": 2_000, "books64": 2_000},
}
"""Contestants that take only the first so many commands of a workload."""
DEPTHS_MAX: Final = {
    "order-matching": 1_000,
    # It looks through all prices for the best one at each order.
    "lightmatchingengine": 10_000,
    "pyorderbook": 100_000,
    "akhil4n-orderbook": 100_000,
    "cython-orderbook": 100_000,
}
"""The deepest book that a peer is asked to hold; all others go to the deepest."""


PARTS: Final = ("rates", "latency", "depth", "flopex")
"""What is measured: commands per second, time per command, deep books and memory, and what only
Flopex is asked."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What to run."""

    seed: int = 1
    rounds: int = 5
    mixed: int = 500_000
    sweeps: int = 200
    depths: tuple[int, ...] = (1_000, 10_000, 100_000, 1_000_000)
    auction_orders: int = 10_000
    managed_bids: int = 100_000
    peers: Path = Path(sys.executable)
    liquibook: Path | None = None
    parts: tuple[str, ...] = PARTS
    timed: tuple[str, ...] = TIMED


DEPTH_ROUNDS: Final = 3
"""Rounds of the deep books, most of whose time goes into filling them."""

QUICK: Final[dict[str, Any]] = {
    "rounds": 2,
    "mixed": 20_000,
    "sweeps": 5,
    "depths": (1_000, 10_000),
}
"""What `--quick` changes: enough to see that all is well, not to publish."""


@dataclass(slots=True)
class Contestant:
    """One engine and how it is started; what it did is collected here."""

    name: str
    command: list[str]
    environment: dict[str, str]
    right: bool = True
    remarks: list[str] = field(default_factory=list)
    rates: dict[str, list[float]] = field(default_factory=dict)
    latency: dict[str, float] = field(default_factory=dict)
    bytes_per_order: float | None = None
    depth_us: dict[int, list[float]] = field(default_factory=dict)
    deep_flow_us: dict[int, list[float]] = field(default_factory=dict)
    floor_us: dict[int, list[float]] = field(default_factory=dict)

    @property
    def is_peer(self) -> bool:
        """Whether it comes from PyPI."""
        return self.name in PEERS

    def prefix(self, workload: str) -> int | None:
        """How many commands of a workload it takes; None: all."""
        return PREFIXES.get(self.name, {}).get(workload)

    def row(self) -> dict[str, Any]:
        """For the JSON object."""
        return {
            "name": self.name,
            "right": self.right,
            "remarks": self.remarks,
            "prefix": PREFIXES.get(self.name),
            "per_s": {name: spread(rates) for name, rates in self.rates.items() if rates},
            "latency_us": {k: round(v, 3) for k, v in self.latency.items()},
            "bytes_per_order": self.bytes_per_order and round(self.bytes_per_order, 1),
            "depth_us": {n: round(median(us), 3) for n, us in self.depth_us.items()},
            "deep_flow_us": {n: round(median(us), 3) for n, us in self.deep_flow_us.items()},
            "depth_floor_us": {n: round(median(us), 3) for n, us in self.floor_us.items()},
        }


def spread(values: list[float]) -> dict[str, float]:
    """Median, lowest and highest."""
    return {"median": round(median(values)), "min": round(min(values)), "max": round(max(values))}


class BenchError(Exception):
    """The benchmark cannot go on. Says why."""


Report = Callable[[int, int, str], None]
"""Told of progress: measurements done, measurements in all, what comes next."""


class Bench:
    """One run: the workloads in files, the contestants, and the order of what is measured."""

    def __init__(self, settings: Settings, folder: Path, report: Report) -> None:
        self._settings = settings
        self._folder = folder
        self._report = report
        self._done = self._total = 0
        self._workloads: dict[str, Workload] = {}
        self.contestants: list[Contestant] = []
        self.absent: list[str] = []
        self.notes: dict[str, Any] = {}

    def run(self) -> dict[str, Any]:
        """Measure everything; the JSON object.

        Raises:
            BenchError: Flopex's own engine cannot be measured, or its trades are wrong.
        """
        settings = self._settings
        self._say("making the workloads")
        self._make_workloads()
        self._gather()
        parts = settings.parts
        each = {"rates": len(settings.timed) * settings.rounds, "latency": 1, "depth": 2}
        steps = 1 + sum(count for part, count in each.items() if part in parts)
        only = 2 * settings.rounds + 2 if "flopex" in parts else 0
        self._total = len(self.contestants) * steps + only + 2
        for contestant in self.contestants:
            self._check(contestant)
        racing = [c for c in self.contestants if c.right]
        for _ in range(settings.rounds if "rates" in parts else 0):
            for name in settings.timed:
                for contestant in racing:
                    self._time(contestant, name)
        for contestant in racing:
            if "latency" in parts:
                self._measure_latency(contestant)
            if "depth" in parts:
                self._measure_depth(contestant)
        only_flopex = self._flopex_only() if "flopex" in parts else {}
        self._say("done")
        return self._result(only_flopex)

    def _make_workloads(self) -> None:
        settings = self._settings
        self._keep(workloads.small(settings.seed))
        self._keep(workloads.flow(settings.seed, settings.mixed))
        self._keep(workloads.sweep(settings.seed, settings.sweeps))
        self._keep(workloads.books64(settings.seed, settings.mixed))
        small = self._workloads["small"]
        if oracle.trades(small.commands) != small.trades:
            msg = "the generator's own book and the oracle disagree"
            raise BenchError(msg)
        for resting in settings.depths:
            for deep in (workloads.depth, workloads.deep_flow):
                workload = deep(settings.seed, resting)
                self._keep(workload)
                # A million commands are not needed once they are written.
                workload.commands.clear()

    def _keep(self, workload: Workload) -> None:
        workloads.write(workload, self._file(workload.name))
        self._workloads[workload.name] = workload

    def _file(self, name: str) -> Path:
        return self._folder / f"{name}.bin"

    def _gather(self) -> None:
        """Find out who is there."""
        ours = [sys.executable, "-P", "-m", "flopex.bench.matching.contestant", FLOPEX]
        self.contestants = [Contestant(FLOPEX, ours, _environment())]
        answer = self._ask(self.contestants[0], "rate", "small")
        if answer is None:
            raise BenchError(self.contestants[0].remarks[-1])
        self.notes["compiled"] = bool(answer["compiled"])
        if answer["compiled"]:
            interpreted = Contestant(INTERPRETED, ours, _environment(**{SOURCE_VARIABLE: "1"}))
            self.contestants.append(interpreted)
        for name in PEERS:
            # The folder goes last on the path, so that the peer's own packages come first.
            start = (
                f"import sys, runpy; sys.path.append({str(ROOT)!r}); "
                "runpy.run_module('flopex.bench.matching.contestant', run_name='__main__', "
                "alter_sys=True)"
            )
            command = [str(self._settings.peers), "-c", start, name]
            self.contestants.append(Contestant(name, command, _environment()))
        checkout = self._settings.liquibook
        if checkout is not None:
            try:
                program = liquibook.build(checkout, self._folder)
            except liquibook.LiquibookError as error:
                raise BenchError(str(error)) from error
            trades = str(self._folder / "trades.bin")
            environment = _environment(FLOPEX_TRADES=trades)
            self.contestants.append(Contestant(LIQUIBOOK, [str(program)], environment))
            self.notes["liquibook_revision"] = liquibook.revision(checkout)

    def _check(self, contestant: Contestant) -> None:
        """Compare its trades on the small workload with the oracle's."""
        self._say(f"{contestant.name}: are its trades right?")
        answer = self._ask(contestant, "rate", "small")
        if answer is None:
            contestant.right = False
        if contestant.right or not contestant.is_peer:
            return
        if contestant.remarks[-1] == _ABSENT:
            self.contestants = [c for c in self.contestants if c is not contestant]
            self.absent.append(contestant.name)

    def _time(self, contestant: Contestant, name: str) -> None:
        self._say(f"{contestant.name}: {name}")
        answer = self._ask(contestant, "rate", name)
        if answer is not None:
            rate = answer["commands"] / answer["cpu_s"]
            contestant.rates.setdefault(name, []).append(rate)

    def _measure_latency(self, contestant: Contestant) -> None:
        self._say(f"{contestant.name}: latency")
        flow = self._workloads["flow"]
        prefix = contestant.prefix("flow")
        first = flow.preload if prefix is None else prefix // 2
        answer = self._ask(contestant, "latency", "flow", first)
        if answer is not None:
            contestant.latency = {k: v for k, v in answer.items() if k.endswith("_us")}

    def _measure_depth(self, contestant: Contestant) -> None:
        self._say(f"{contestant.name}: depth and memory")
        most = DEPTHS_MAX.get(contestant.name, max(self._settings.depths))
        depths = [n for n in self._settings.depths if n <= most]
        kinds = {"depth": contestant.depth_us, "deep_flow": contestant.deep_flow_us}
        for _ in range(1 if contestant.is_peer else min(DEPTH_ROUNDS, self._settings.rounds)):
            for resting in depths:
                for kind, found in kinds.items():
                    answer = self._ask(contestant, "steady", f"{kind}{resting}", resting)
                    if answer is not None:
                        each = answer["cpu_s"] / answer["commands"] * 1e6
                        found.setdefault(resting, []).append(each)
                if contestant.command[-1] == FLOPEX:
                    answer = self._ask(contestant, "floor", "small", resting)
                    if answer is not None:
                        contestant.floor_us.setdefault(resting, []).append(answer["us"])
        self._say(f"{contestant.name}: memory")
        answer = self._ask(contestant, "memory", f"depth{depths[-1]}", depths[-1])
        if answer is not None:
            contestant.bytes_per_order = answer["bytes_per_order"]

    def _flopex_only(self) -> dict[str, Any]:
        settings, flopex = self._settings, self.contestants[0]
        uncrosses: dict[str, list[float]] = {"auction": [], "managed": []}
        sizes = {"auction": settings.auction_orders, "managed": settings.managed_bids}
        for _ in range(settings.rounds):
            for task, taken in uncrosses.items():
                self._say(f"{FLOPEX}: {task}")
                answer = self._ask(flopex, task, "small", sizes[task])
                if answer is not None:
                    taken.append(answer["ms"])
        self._say(f"{FLOPEX}: market data")
        data = self._ask(flopex, "market-data", "flow", self._workloads["flow"].preload * 10)
        self._say(f"{FLOPEX}: rules")
        costs = self._ask(flopex, "rules", "flow", self._workloads["flow"].preload * 10)
        return {"uncrosses": uncrosses, "market_data": data, "rules_us": costs}

    def _ask(
        self, contestant: Contestant, task: str, name: str, first: int = 0
    ) -> dict[str, Any] | None:
        """One measurement; None, and a remark, if it failed or its trades are wrong."""
        command = [*contestant.command, task, str(self._file(name)), str(first)]
        limit = contestant.prefix(name)
        if limit is not None:
            command += [str(limit)] if contestant.name == LIQUIBOOK else ["--limit", str(limit)]
        try:
            done = subprocess.run(
                command,
                check=False,
                capture_output=True,
                text=True,
                env=contestant.environment,
                timeout=ANSWER_S_MAX,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            contestant.remarks.append(f"{task} {name}: {error}")
            return None
        if done.returncode == MISSING_STATUS and contestant.is_peer:
            contestant.remarks.append(_ABSENT)
            return None
        if done.returncode:
            last = (done.stderr.strip().splitlines() or [f"status {done.returncode}"])[-1]
            contestant.remarks.append(f"{task} {name}: {last}")
            return None
        answer: dict[str, Any] = json.loads(done.stdout)
        if task == "rate" and not self._is_right(contestant, name, answer):
            contestant.right = False
            contestant.remarks.append(f"{name}: its trades are wrong")
            return None
        return answer

    def _is_right(self, contestant: Contestant, name: str, answer: dict[str, Any]) -> bool:
        trades = self._workloads[name].trades
        limit = contestant.prefix(name)
        if limit is not None:
            # An order's id is the number of its command.
            trades = [trade for trade in trades if trade.taker_id <= limit]
        if contestant.name == LIQUIBOOK:
            data = Path(contestant.environment["FLOPEX_TRADES"]).read_bytes()
            return [Trade(*row) for row in TRADE.iter_unpack(data)] == trades
        return bool(answer["digest"] == trades_digest(trades))

    def _say(self, what: str) -> None:
        self._report(self._done, self._total, what)
        self._done += 1

    def _result(self, only: dict[str, Any]) -> dict[str, Any]:
        flopex = self.contestants[0]
        if not flopex.right:
            raise BenchError(f"flopex: {'; '.join(flopex.remarks)}")
        flow = flopex.rates.get("flow", [])
        peers = [c for c in self.contestants if c.is_peer and c.right and c.rates.get("flow")]
        best = max(peers, key=lambda c: median(c.rates["flow"]), default=None)
        cpp = next((c for c in self.contestants if c.name == LIQUIBOOK and c.right), None)
        compiled = self.notes["compiled"]
        source = next((c for c in self.contestants if c.name == INTERPRETED), None)
        from_source = source.rates.get("flow", []) if source else [] if compiled else flow
        uncrosses = only.get("uncrosses", {})
        return {
            "bench": "matching",
            "machine": machine(),
            "settings": _plain(self._settings),
            "workloads": [dict(self._facts(name)) for name in ("small", *TIMED)],
            "contestants": [contestant.row() for contestant in self.contestants],
            "absent": self.absent,
            "market_data": only.get("market_data"),
            "rules_us": only.get("rules_us"),
            "uncross_ms": {name: _spread_ms(ms) for name, ms in uncrosses.items() if ms},
            "liquibook_revision": self.notes.get("liquibook_revision"),
            "compiled": compiled,
            "flow_per_s": _rate(flopex, "flow"),
            "sweep_per_s": _rate(flopex, "sweep"),
            "books64_per_s": _rate(flopex, "books64"),
            "best_pypi_peer": best.name if best else None,
            "ratio_best_pypi": _ratio(flow, best),
            "ratio_best_pypi_interpreted": _ratio(from_source, best),
            "ratio_liquibook": _ratio(flow, cpp),
            "bytes_per_order": flopex.bytes_per_order and round(flopex.bytes_per_order, 1),
            "depth_cost_ratio": _deepening(flopex.deep_flow_us),
            "depth_cost_ratio_random": _deepening(flopex.depth_us),
            "depth_floor": _floor(flopex),
            "auction_10k_ms": _median_or_none(uncrosses.get("auction", [])),
            "managed_100k_ms": _median_or_none(uncrosses.get("managed", [])),
        }

    def _facts(self, name: str) -> Iterator[tuple[str, int | str]]:
        return workloads.describe(self._workloads[name])


_ABSENT: Final = "is not installed"


def _environment(**more: str) -> dict[str, str]:
    # Sets of texts are in the same order in every run.
    return {**os.environ, "PYTHONHASHSEED": "0", **more}


def _plain(settings: Settings) -> dict[str, Any]:
    return {
        "seed": settings.seed,
        "rounds": settings.rounds,
        "mixed": settings.mixed,
        "sweeps": settings.sweeps,
        "depths": list(settings.depths),
        "auction_orders": settings.auction_orders,
        "managed_bids": settings.managed_bids,
        "parts": list(settings.parts),
        "timed": list(settings.timed),
    }


def _ratio(ours: list[float], other: Contestant | None) -> float | None:
    """The median of the rounds' ratios."""
    if other is None or not other.rates.get("flow") or not ours:
        return None
    theirs = other.rates["flow"]
    if len(theirs) != len(ours):
        # A measurement failed, so that rounds do not pair up.
        return round(median(ours) / median(theirs), 2)
    return round(median(a / b for a, b in zip(ours, theirs, strict=True)), 2)


def _deepening(us: dict[int, list[float]]) -> float | None:
    """Cost per command in the deepest book, in those of the shallowest."""
    return round(median(us[max(us)]) / median(us[min(us)]), 2) if us else None


def _floor(contestant: Contestant) -> dict[str, float] | None:
    """The memory's part: what one step to a random order, and one command, cost more when deep.

    The command is one at a random place; `steps` is how many such steps come to the same.
    """
    command, step = contestant.depth_us, contestant.floor_us
    if not command or not step:
        return None
    added, of_a_step = _added(command), _added(step)
    steps = round(added / of_a_step, 1) if of_a_step > 0 else 0.0
    return {"step_us": round(of_a_step, 3), "command_us": round(added, 3), "steps": steps}


def _added(us: dict[int, list[float]]) -> float:
    return median(us[max(us)]) - median(us[min(us)])


def _rate(contestant: Contestant, workload: str) -> int | None:
    rates = contestant.rates.get(workload)
    return round(median(rates)) if rates else None


def _spread_ms(values: list[float]) -> dict[str, float]:
    return {
        "median": round(median(values), 3),
        "min": round(min(values), 3),
        "max": round(max(values), 3),
    }


def _median_or_none(values: list[float]) -> float | None:
    return round(median(values), 3) if values else None


def run(settings: Settings, report: Report) -> dict[str, Any]:
    """Measure everything; the JSON object.

    Raises:
        BenchError: Flopex's own engine cannot be measured, or liquibook's driver not built.
    """
    with tempfile.TemporaryDirectory(prefix="flopex-bench-") as folder:
        return Bench(settings, Path(folder), report).run()
