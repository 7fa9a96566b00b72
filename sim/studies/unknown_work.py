"""S7, unknown work: what it costs that nobody knows beforehand how much work an answer takes.

Buyers tell an estimate of the work, with a lognormal error, as what the job usually takes, and a
budget that is a multiple of it. The budget is hard, and at its end, or just before the deadline,
the adaptive engine answers with what it has; here such an answer is worth the share of the work
that was done, which is what the bound pays for parts of an answer. A calibrated buyer has learned
from its own past jobs how estimates and values go with work, and tells the posterior median.
For comparison: a rigid engine, whose answer is worth nothing before its end.

The multiples were chosen on seed 101, which no published figure uses.
"""

from __future__ import annotations

from typing import Final

import polars as pl

from sim.agents.budgets import Estimated, calibrated, drawn
from sim.bound import welfare_bound
from sim.demand import Demand
from sim.intervals import Interval, ratio
from sim.market import run_market
from sim.scenario import Scenario
from sim.studies import figures
from sim.studies.study import Cell, Claim, Each, Plan, Plot, Row, Study

LEAST: Final = 0.92
SIGMA: Final = 0.6
SIGMAS: Final = (0.0, 0.3, 0.6, 1.0)
MOST: Final = 3.0
"""Budget over estimate."""
RIGID: Final = 2.0
"""The same where nothing but the whole is worth anything, and of the usual size as well."""
WAYS: Final = {
    "calibrated": "hard budgets, calibrated estimates",
    "raw": "hard budgets, raw estimates",
    "rigid": "no answer before the end",
}


def cells(plan: Plan) -> list[Cell]:
    """Every market; the bound is the same for all errors."""
    return plan.markets()


def measure(plan: Plan, cell: Cell, each: Each) -> list[Row]:
    """By error, way and window: welfare and the bound of known work."""
    demand, scenario = plan.demand(cell), plan.settings(cell)
    best = welfare_bound(demand, scenario, each=each)
    rows = []
    for sigma in SIGMAS:
        for way in WAYS:
            conduct = _conduct(way, sigma, demand, scenario)
            outcome = run_market(demand, scenario, conduct)
            welfare = conduct.welfare_nanos(outcome, demand, scenario)
            rows += [
                {"sigma": sigma, "way": way, "window": w, "welfare": welfare[w], "bound": best[w]}
                for w in range(demand.windows)
            ]
    return rows


def _conduct(way: str, sigma: float, demand: Demand, scenario: Scenario) -> Estimated:
    estimates = drawn(demand, sigma, scenario.seed)
    if way == "calibrated":
        estimates = calibrated(demand, scenario, estimates, sigma)
    if not sigma:
        return Estimated(demand, estimates, partial=way != "rigid")
    if way == "rigid":
        return Estimated(demand, estimates, RIGID, RIGID, partial=False)
    return Estimated(demand, estimates, most=MOST)


def conclude(plan: Plan, frame: pl.DataFrame) -> list[Claim]:
    """Calibrated buyers at the error of the claim, on each trace."""
    del plan
    claims = []
    here = frame.filter((pl.col("sigma") == SIGMA) & (pl.col("way") == "calibrated"))
    for (trace, load), part in here.group_by("trace", "load", maintain_order=True):
        figure = _figure(part)
        known = frame.filter(
            (pl.col("sigma") == 0.0)
            & (pl.col("way") == "calibrated")
            & (pl.col("trace") == trace)
            & (pl.col("load") == load)
        )
        why = (
            f"with known work the market reaches {_figure(known).mean:.3f} here; the rest is lost "
            "because a wrong estimate ranks a job wrongly and stops some answers early"
        )
        says = (
            f"{trace} at load {load:g}: at error {SIGMA}, welfare is at least {LEAST} of the bound"
        )
        met = figure.mean >= LEAST
        claims.append(Claim(says, figure, met, "" if met else why))
    return claims


def _figure(part: pl.DataFrame) -> Interval:
    return ratio(part["welfare"].to_list(), part["bound"].to_list())


def draw(frame: pl.DataFrame) -> list[Plot]:
    """Welfare against the error of the estimates."""
    markets = list(frame.group_by("trace", "load", maintain_order=True))
    figure, axes = figures.panels(len(markets), width=2.2 + 3.6 * len(markets), sharey=True)
    for axis, ((trace, load), part) in zip(axes, markets, strict=True):
        for colour, (way, text) in zip(figures.COLOURS, WAYS.items(), strict=False):
            points = [
                _figure(part.filter((pl.col("way") == way) & (pl.col("sigma") == sigma)))
                for sigma in SIGMAS
            ]
            figures.line(axis, SIGMAS, points, text, colour)
        figures.threshold(axis, LEAST, f"{LEAST}, to be held at {SIGMA}")
        title = f"{str(trace).split('.')[0]}, load {load:g}"
        figures.named(axis, "sd of log(estimate / work)", "welfare / bound of known work", title)
    figures.legend(axes[0], loc="lower left")
    return [Plot(figure, "What the error of estimates costs; bars: 95 % over windows.")]


STUDY: Final = Study(
    name="unknown_work",
    number="S7",
    hypothesis="hard budgets with partial answers take most of the harm out of unknown work",
    metric="welfare over the clairvoyant bound of known work; sums over windows",
    threshold=f"at least {LEAST} where the estimate's log has an error of sd {SIGMA}",
    loads=(1.3,),
    seeds=1,
    cells=cells,
    measure=measure,
    conclude=conclude,
    draw=draw,
    version=2,
)
