"""S1, the bound: how far the clairvoyant bound can be from what could really be done.

The bound is made with steps of 4, 2 and 1 s. Shorter steps tighten each programme; where the cut
between windows falls on them differs a little, so the sum need not fall. From below the optimum is
bracketed by the best schedule that any rule here reached, the market's among them, by window.
"""

from __future__ import annotations

from typing import Final

import polars as pl

from sim.bound import STEP_S, welfare_bound
from sim.intervals import ratio
from sim.market import run_market
from sim.rivals import run_rivals
from sim.studies import figures
from sim.studies.study import Cell, Claim, Each, Plan, Plot, Row, Study

MOST: Final = 0.003
STEPS: Final = (2 * STEP_S, STEP_S, STEP_S / 2)


def cells(plan: Plan) -> list[Cell]:
    """Every market."""
    return plan.markets()


def measure(plan: Plan, cell: Cell, each: Each) -> list[Row]:
    """By window: the bound by length of step, the market's welfare, and the best rule's."""
    demand, scenario = plan.demand(cell), plan.settings(cell)
    bounds = {f"step_{step:g}": welfare_bound(demand, scenario, step, each) for step in STEPS}
    market = run_market(demand, scenario)
    rules = [market, *run_rivals(demand, scenario).values()]
    welfare = [rule.welfare_nanos(demand, scenario) for rule in rules]
    return [
        {
            "window": window,
            **{name: values[window] for name, values in bounds.items()},
            "market": float(welfare[0][window]),
            "reached": float(max(values[window] for values in welfare)),
        }
        for window in range(demand.windows)
    ]


def conclude(plan: Plan, frame: pl.DataFrame) -> list[Claim]:
    """What the shorter step takes off the bound of all published figures, and the bracket."""
    del plan
    claims = []
    for (trace, load), part in frame.group_by("trace", "load", maintain_order=True):
        used, fine = (part[f"step_{step:g}"].to_list() for step in (STEP_S, STEP_S / 2))
        figure = ratio([a - b for a, b in zip(used, fine, strict=True)], used)
        met = figure.mean <= MOST
        where = f"{trace} at load {load:g}"
        says = f"{where}: steps of {STEP_S / 2:g} s lower the bound by at most {MOST}"
        why = "inside a step nothing is said about order, which lets urgent jobs share it"
        claims.append(Claim(says, figure, met, "" if met else why))
        says = f"{where}: the best rule of each window over the finer bound, for comparison"
        claims.append(Claim(says, ratio(part["reached"].to_list(), fine), None))
        says = f"{where}: the market over the finer bound, for comparison"
        claims.append(Claim(says, ratio(part["market"].to_list(), fine), None))
    return claims


def draw(frame: pl.DataFrame) -> list[Plot]:
    """The bracket by load."""
    names = frame["trace"].unique(maintain_order=True).to_list()
    figure, axes = figures.panels(len(names), width=2.2 + 3.6 * len(names), sharey=True)
    finest = f"step_{STEPS[-1]:g}"
    texts = {**{f"step_{step:g}": f"bound, steps of {step:g} s" for step in STEPS[:-1]},
             "reached": "best rule of each window", "market": "the market"}  # fmt: skip
    for axis, trace in zip(axes, names, strict=True):
        here = frame.filter(pl.col("trace") == trace)
        loads = sorted(here["load"].unique())
        for colour, (column, text) in zip(figures.COLOURS, texts.items(), strict=False):
            parts = [here.filter(pl.col("load") == load) for load in loads]
            points = [ratio(part[column].to_list(), part[finest].to_list()) for part in parts]
            figures.line(axis, loads, points, text, colour)
        figures.threshold(axis, 1.0, f"bound, steps of {STEPS[-1]:g} s")
        figures.named(axis, "load", "over the finest bound", str(trace).split(".")[0])
        axis.set_xticks(loads)
    figures.legend(axes[0], loc="lower left")
    return [
        Plot(figure, "The bracket of the optimum, over its finest bound; bars: 95 % over windows.")
    ]


STUDY: Final = Study(
    name="bound",
    number="S1",
    hypothesis="the bound is tight enough to judge rules by",
    metric="what halving its steps takes off the bound, as a share of it; sums over windows",
    threshold=f"at most {MOST}",
    loads=(0.8, 1.3),
    seeds=1,
    cells=cells,
    measure=measure,
    conclude=conclude,
    draw=draw,
    costs_move=True,
)
