"""Runs a study's cells on all cores and keeps their rows, so that no cell is ever run twice."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from pathlib import Path
from typing import Final

import polars as pl

from sim.pool import processes as pool_of
from sim.scenario import checked
from sim.studies import catalog
from sim.studies.study import Cell, Plan, Row, Study, checked_plan, key

ROWS_FILE: Final = "rows.parquet"

Report = Callable[[int, int], None]
"""Told how many of how many cells are done."""


def run_cells(
    study: Study, plan: Plan, folder: Path, processes: int = 0, report: Report | None = None
) -> pl.DataFrame:
    """The rows of all cells, those that the folder already has among them.

    Args:
        study: What to run.
        plan: On what.
        folder: Of this study and scenario; made where it is missing.
        processes: At most so many at once; 0 for one per core.
        report: Hears of progress.

    Raises:
        TraceFileError: a trace cannot be read.
        ScenarioError: the plan makes no market.
        BoundError: the solver gave up.
    """
    checked(plan.scenario)
    cells = study.cells(checked_plan(study, plan))
    path = folder / ROWS_FILE
    frame = pl.read_parquet(path) if path.exists() else pl.DataFrame({"cell": []})
    known = set(frame["cell"])
    todo = [cell for cell in cells if key(cell) not in known]
    done = len(cells) - len(todo)
    report = report or (lambda *_: None)
    report(done, len(cells))
    folder.mkdir(parents=True, exist_ok=True)
    for cell, rows in _measured(study, plan, todo, processes or len(os.sched_getaffinity(0))):
        fresh = pl.DataFrame([{"cell": key(cell), **cell, **row} for row in rows])
        frame = pl.concat([frame, fresh], how="diagonal_relaxed") if known else fresh
        known.add(key(cell))
        done += 1
        _save(frame, path)
        report(done, len(cells))
    order = pl.DataFrame({"cell": [key(cell) for cell in cells]}).with_row_index("place")
    return frame.join(order, on="cell").sort("place", maintain_order=True).drop("place")


def _measured(
    study: Study, plan: Plan, todo: list[Cell], processes: int
) -> Iterator[tuple[Cell, list[Row]]]:
    """Each cell with its rows, as they are done.

    Few cells share all processes among their windows; many have one process each.
    """
    if processes == 1 or not todo:
        for cell in todo:
            yield cell, study.measure(plan, cell, map)
        return
    with pool_of(processes) as pool:
        if len(todo) < processes:
            for cell in todo:
                yield cell, study.measure(plan, cell, pool.map)
            return
        waiting: dict[Future[list[Row]], Cell] = {
            pool.submit(_measure, study.name, plan, cell): cell for cell in todo
        }
        while waiting:
            for future in wait(waiting, return_when=FIRST_COMPLETED).done:
                yield waiting.pop(future), future.result()


def _measure(name: str, plan: Plan, cell: Cell) -> list[Row]:
    """In a process of the pool, which finds the study by its name."""
    return catalog.find(name).measure(plan, cell, map)


def _save(frame: pl.DataFrame, path: Path) -> None:
    """Whole or not at all, so that a run that is ended can be taken up again."""
    fresh = path.with_suffix(".new")
    frame.write_parquet(fresh)
    fresh.replace(path)
