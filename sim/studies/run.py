"""From a study's name to its rows, its verdict and its report."""

from __future__ import annotations

import hashlib
import json
import math
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec
import polars as pl

from exchange.core.limits import RULES_VERSION
from sim.intervals import Interval
from sim.scenario import Scenario
from sim.studies import catalog
from sim.studies.grid import Report, run_cells
from sim.studies.report import write_report
from sim.studies.study import Claim, Plan, Study, checked_plan, rows_digest

FOLDER: Final = Path("studies")
"""Where results go unless somebody says otherwise."""
REPORT_FILE: Final = "report.html"
VERDICT_FILE: Final = "verdict.json"
DIGITS: Final = 4


class Result(NamedTuple):
    """What a study gave.

    Attributes:
        frame: The rows of all cells.
        verdict: As its last line says it.
        lines: The lines before it.
        folder: With the rows as Parquet, the verdict, and the report.
    """

    frame: pl.DataFrame
    verdict: dict[str, Any]
    lines: list[dict[str, Any]]
    folder: Path


def run_study(
    name: str,
    plan: Plan,
    out: Path = FOLDER,
    processes: int = 0,
    report: Report | None = None,
) -> Result:
    """Run what has not been run yet, judge all of it, and write the report.

    Args:
        name: Of the study.
        plan: On what; where it names no loads or seeds, those of the published figures.
        out: The folder with a folder for each study and plan.
        processes: At most so many at once; 0 for one per core.
        report: Hears how many of how many cells are done.

    Raises:
        TraceFileError: a trace cannot be read.
        ScenarioError: no such study, or the plan makes no market.
        BoundError: a linear programme has no solution.
    """
    study = catalog.find(name)
    plan = msgspec.structs.replace(
        plan,
        loads=tuple(sorted(set(plan.loads or study.loads))),
        seeds=plan.seeds or tuple(range(1, study.seeds + 1)),
    )
    versions = f"{study.version}/{RULES_VERSION}"  # rows of another market are other rows
    identity = hashlib.sha256(f"{versions}/{checked_plan(study, plan).digest()}".encode())
    folder = out / f"{name}-{identity.hexdigest()[:12]}"
    frame = run_cells(study, plan, folder, processes, report)
    claims = study.conclude(plan, frame)
    *lines, last = [*study.lines(plan, frame)] or [{}]
    verdict = _verdict(study, plan, frame, claims) | last
    (folder / VERDICT_FILE).write_text(json.dumps(verdict, indent=2) + "\n")
    write_report(study, plan, frame, claims, verdict, folder / REPORT_FILE)
    return Result(frame, verdict, lines, folder)


def run(
    trace: Path | None = None,
    scenario: Scenario | None = None,
    study: str = "welfare",
    **settings: Any,
) -> Result:
    """A study for notebooks: `run(path, Scenario(load=1.3)).frame` is a Polars frame.

    A script calls it under `if __name__ == "__main__":`, since it starts processes.

    Args:
        trace: A demand trace, where the study reads one.
        scenario: Its load and its seed are the only ones, unless `settings` name others.
        study: Its name.
        settings: `loads`, `seeds`, `curves`, `out`, `processes`, `report`.

    Raises:
        TraceFileError: the trace cannot be read.
        ScenarioError: no such study, or the scenario makes no market.
        BoundError: a linear programme has no solution.
    """
    own = scenario or Scenario()
    plan = Plan(
        scenario=own,
        traces=(str(trace),) if trace else (),
        loads=tuple(settings.pop("loads", (own.load,))),
        seeds=tuple(settings.pop("seeds", (own.seed,))),
        curves=str(settings.pop("curves", "")),
    )
    return run_study(study, plan, **settings)


def _verdict(study: Study, plan: Plan, frame: pl.DataFrame, claims: list[Claim]) -> dict[str, Any]:
    """The machine's summary; its figure is the first claim that is not met, or else the first."""
    first = next((claim for claim in claims if claim.met is False), claims[0])
    mean, low, high = _rounded(first.figure)
    return {
        "study": study.name,
        "number": study.number,
        "hypothesis": study.hypothesis,
        "metric": study.metric,
        "threshold": study.threshold,
        "traces": [Path(trace).name for trace in plan.traces],
        "loads": list(plan.loads),
        "seeds": list(plan.seeds),
        "windows": plan.scenario.windows,
        "figure": mean,
        "low": low,
        "high": high,
        "met": all(claim.met is not False for claim in claims),
        "claims": [
            {
                "says": claim.says,
                **dict(zip(("figure", "low", "high"), _rounded(claim.figure), strict=True)),
                "met": claim.met,
                **({"why": claim.why} if claim.why else {}),
            }
            for claim in claims
        ],
        "digest": rows_digest(frame),
    }


def _rounded(figure: Interval) -> list[float | None]:
    """What is no number, or no bound, is none in JSON either."""
    return [round(x, DIGITS) if math.isfinite(x) else None for x in figure]
