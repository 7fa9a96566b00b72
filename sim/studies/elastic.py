"""S5, elastic budgets: how well compute is divided where every answer gets better with more of it.

The clairvoyant bound knows every job's curve and the future, and may cut and move jobs. The market
is given budgets that follow one published price, when a job starts and while it runs; for
comparison, every job gets the same share of its work, the best such share in hindsight. The price's
pace, and how much of its size a job tells as usual, were chosen on seed 101, which no published
figure uses.
"""

from __future__ import annotations

from typing import Final

import polars as pl

from sim.agents.budgets import Elastic
from sim.bound import welfare_bound
from sim.demand import Job
from sim.intervals import Interval, ratio
from sim.market import run_market
from sim.studies import figures
from sim.studies.study import Cell, Claim, Each, Plan, Plot, Row, Study

LEAST: Final = 0.95
PACE_S: Final = 10.0
FIXED: Final = (0.6, 0.8, 1.0, 1.3)
"""Shares of which the best in hindsight is `fixed`."""
ERROR: Final = 0.6
WAYS: Final = {
    "priced": "budget by a published price",
    "uncertain": f"the same, difficulty known to a factor (sd of log {ERROR})",
    "fixed": "one share for all, the best in hindsight",
}


class Fixed(Elastic):
    """Every job gets the same share of its work."""

    share = 1.0
    revises = False

    def asked(self, job: Job, now_ns: int) -> float:
        """Most of the share, as with a price."""
        del job, now_ns
        return self.share * self.USUAL

    def most(self, job: Job) -> float:
        """The share."""
        del job
        return self.share

    def needed(self, job: Job, now_ns: int) -> float:
        """All of it."""
        del job, now_ns
        return self.share


def cells(plan: Plan) -> list[Cell]:
    """Every market."""
    return plan.markets()


def measure(plan: Plan, cell: Cell, each: Each) -> list[Row]:
    """By window: welfare of every way, and the elastic bound."""
    demand, scenario = plan.demand(cell), plan.settings(cell)
    conducts: dict[str, Elastic] = {
        "priced": Elastic(demand, scenario, PACE_S, 0.0),
        "uncertain": Elastic(demand, scenario, PACE_S, ERROR),
    }
    for share in FIXED:
        conducts[f"fixed_{share:g}"] = fixed = Fixed(demand, scenario, PACE_S, 0.0)
        fixed.share = share
    welfare = {
        name: conduct.welfare_nanos(run_market(demand, scenario, conduct), demand, scenario)
        for name, conduct in conducts.items()
    }
    best = welfare_bound(demand, scenario, each=each, curves=Elastic.curves(demand))
    return [
        {"window": w, "bound": best[w], **{name: values[w] for name, values in welfare.items()}}
        for w in range(demand.windows)
    ]


def conclude(plan: Plan, frame: pl.DataFrame) -> list[Claim]:
    """On each trace at each load."""
    del plan
    claims = []
    for (trace, load), part in frame.group_by("trace", "load", maintain_order=True):
        figure, fixed = _figure(part, "priced"), _figure(part, "fixed")
        met = figure.mean >= LEAST
        says = f"{trace} at load {load:g}: welfare is at least {LEAST} of the elastic bound"
        why = (
            f"the best fixed share reaches {fixed.mean:.3f}; the bound may cut and move jobs, so "
            "slow slots are never too slow for it, and it knows when bursts come"
        )
        claims.append(Claim(says, figure, met, "" if met else why))
        says = f"{trace} at load {load:g}: the same with uncertain difficulty, for comparison"
        claims.append(Claim(says, _figure(part, "uncertain"), None))
        says = f"{trace} at load {load:g}: the best fixed share, for comparison"
        claims.append(Claim(says, fixed, None))
    return claims


def _figure(part: pl.DataFrame, way: str) -> Interval:
    names = [f"fixed_{share:g}" for share in FIXED] if way == "fixed" else [way]
    return max(
        (ratio(part[name].to_list(), part["bound"].to_list()) for name in names),
        key=lambda figure: figure.mean,
    )


def draw(frame: pl.DataFrame) -> list[Plot]:
    """Welfare against load."""
    names = frame["trace"].unique(maintain_order=True).to_list()
    figure, axes = figures.panels(len(names), width=2.2 + 3.6 * len(names), sharey=True)
    for axis, trace in zip(axes, names, strict=True):
        here = frame.filter(pl.col("trace") == trace)
        loads = sorted(here["load"].unique())
        for colour, (way, text) in zip(figures.COLOURS, WAYS.items(), strict=False):
            points = [_figure(here.filter(pl.col("load") == load), way) for load in loads]
            figures.line(axis, loads, points, text, colour)
        figures.threshold(axis, LEAST, f"{LEAST}")
        figures.named(axis, "load", "welfare / elastic bound", str(trace).split(".")[0])
        axis.set_xticks(loads)
    figures.legend(axes[0], loc="lower left")
    return [Plot(figure, "Elastic budgets, by load; bars: 95 % over windows.")]


STUDY: Final = Study(
    name="elastic",
    number="S5",
    hypothesis="budgets that follow one published price divide compute nearly as well as could be",
    metric="welfare over the elastic clairvoyant bound: an answer after work c is worth "
    "1 - exp(-c / tau) of the best; sums over windows",
    threshold=f"at least {LEAST} where difficulty is known",
    loads=(0.8, 1.3),
    seeds=1,
    cells=cells,
    measure=measure,
    conclude=conclude,
    draw=draw,
    version=2,
)
