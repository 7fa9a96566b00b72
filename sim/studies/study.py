"""What a study is: a claim about the market, stated before it is measured.

A study is a grid of cells. Each cell gives rows of numbers, by window where there are windows; the
rows of all cells are one table, from which the claims are judged and the figures are drawn.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec
import polars as pl
from matplotlib.figure import Figure

from sim.demand import Demand, make_demand
from sim.intervals import Interval
from sim.scenario import Scenario, ScenarioError
from sim.traces import Request, read_trace

FILE_DIGITS: Final = 12
"""Of a file's digest, that a cell shows."""

Cell = dict[str, str | int | float]
"""The parameters of one run, by name."""
Row = dict[str, Any]
Each = Callable[[Callable[[int], Any], Iterable[int]], Iterable[Any]]
"""Applies a function to every window: `map`, or that of a pool of processes."""


class Plan(msgspec.Struct, frozen=True):
    """What a study is run on.

    Attributes:
        scenario: Fleet, values, quotes, windows; its load and seed are those of the cells.
        traces: Paths of demand traces.
        loads: Work over capacity, each.
        seeds: Of values and deadlines, each.
        curves: Path of what `flopex quality --json` printed; empty where there is none.
    """

    scenario: Scenario
    traces: tuple[str, ...] = ()
    loads: tuple[float, ...] = ()
    seeds: tuple[int, ...] = (1,)
    curves: str = ""

    def digest(self) -> str:
        """Of all that a cell's rows follow from beside the cell itself."""
        settings = msgspec.structs.replace(self.scenario, load=1.0, seed=1)
        content = file_digest(self.curves) if self.curves else ""
        text = json.dumps([msgspec.to_builtins(settings), content], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()

    def markets(self) -> list[Cell]:
        """A cell for every trace, load and seed; it knows the trace by its content, too."""
        return [
            {
                "trace": Path(trace).name,
                "file": file_digest(trace)[:FILE_DIGITS],
                "load": load,
                "seed": seed,
            }
            for trace in self.traces
            for load in self.loads
            for seed in self.seeds
        ]

    def settings(self, cell: Cell) -> Scenario:
        """The scenario of a cell."""
        return msgspec.structs.replace(
            self.scenario, load=float(cell["load"]), seed=int(cell["seed"])
        )

    def demand(self, cell: Cell, scenario: Scenario | None = None) -> Demand:
        """The jobs of a cell, for its own scenario or one of another fleet.

        Raises:
            TraceFileError: the trace cannot be read.
            ScenarioError: the trace is too short.
        """
        path = next(trace for trace in self.traces if Path(trace).name == cell["trace"])
        return _demand(path, file_digest(path), scenario or self.settings(cell))


class Claim(NamedTuple):
    """One measured statement.

    Attributes:
        says: What is claimed, with the threshold in it.
        figure: The measured figure with its 95 % interval; a figure without one repeats itself.
        met: Whether the figure (not the whole interval) keeps to the threshold; None: there is
            none, it stands there to be compared with.
        why: Where it does not: the reason, as far as it is known.
    """

    says: str
    figure: Interval
    met: bool | None
    why: str = ""


class Plot(NamedTuple):
    """A figure of the report and what it shows."""

    figure: Figure
    caption: str


@dataclasses.dataclass(frozen=True)
class Study:
    """One study.

    Attributes:
        name: As the command line knows it.
        number: Its place in the plan of studies, such as S2.
        hypothesis: What is expected, in one sentence.
        metric: What is measured, and over what.
        threshold: When the hypothesis counts as met.
        loads: Of the published figures.
        seeds: How many seeds those have.
        cells: The grid.
        measure: A cell's rows; gets `map` or a pool's for what can be done window by window.
        conclude: The claims, from all rows.
        draw: The figures, from all rows.
        lines: What is printed beside the verdict: more JSON objects, if any.
        reads: `traces`, `curves`, or nothing.
        costs_move: Whether it can be run where costs follow a spot price.
        version: Raised when the same plan would give other rows, so that old ones are not used.
    """

    name: str
    number: str
    hypothesis: str
    metric: str
    threshold: str
    loads: tuple[float, ...]
    seeds: int
    cells: Callable[[Plan], list[Cell]]
    measure: Callable[[Plan, Cell, Each], list[Row]]
    conclude: Callable[[Plan, pl.DataFrame], list[Claim]]
    draw: Callable[[pl.DataFrame], list[Plot]]
    lines: Callable[[Plan, pl.DataFrame], list[dict[str, Any]]] = lambda _plan, _frame: []
    reads: str = "traces"
    costs_move: bool = False
    version: int = 1


def checked_plan(study: Study, plan: Plan) -> Plan:
    """The plan, if the study can be run on it.

    Raises:
        ScenarioError: what it reads is missing, two traces have one name, or costs move that must
            not.
    """
    names = [Path(trace).name for trace in plan.traces]
    if study.reads == "traces" and not plan.traces:
        raise ScenarioError(f"{study.name} needs a demand trace: --trace FILE")
    if study.reads == "curves" and not plan.curves:
        raise ScenarioError(
            f"{study.name} needs the output of `flopex quality --json`: --curves FILE"
        )
    if plan.scenario.spot and not study.costs_move:
        raise ScenarioError(f"{study.name} knows no spot prices: its costs stay")
    if len(set(names)) < len(names):
        raise ScenarioError("two traces of the same name")
    return plan


@lru_cache(maxsize=2)
def _demand(path: str, digest: str, scenario: Scenario) -> Demand:
    return make_demand(_requests(path, digest, scenario.seed), scenario)


@lru_cache(maxsize=2)
def _requests(path: str, digest: str, seed: int) -> list[Request]:
    del digest  # a file that has changed is another file
    return read_trace(Path(path), seed=seed)


def file_digest(path: str) -> str:
    """SHA-256 of a file, or of the files of a folder by name.

    Raises:
        ScenarioError: it cannot be read.
    """
    digest = hashlib.sha256()
    try:
        root = Path(path)
        for file in sorted(root.iterdir()) if root.is_dir() else [root]:
            digest.update(file.read_bytes())
    except OSError as error:
        raise ScenarioError(f"{path}: {error}") from error
    return digest.hexdigest()


def rows_digest(frame: pl.DataFrame) -> str:
    """Of a table's numbers: the last digits of floats, which a solver may leave open, left out."""
    digest = hashlib.sha256()
    for row in frame.sort("cell", maintain_order=True).iter_rows():
        plain = [f"{x:.6g}" if isinstance(x, float) else x for x in row]
        digest.update(json.dumps(plain).encode())
    return digest.hexdigest()


def key(cell: Mapping[str, object]) -> str:
    """A cell's name in the table."""
    return json.dumps(dict(sorted(cell.items())), separators=(",", ":"))
