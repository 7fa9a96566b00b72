"""S13, sellers: what selling slots brings in, beside what the work costs and what GPUs cost.

A class's coverage is what its sellers are paid per slot and second, over the marginal cost of a
slot that works all the time. What a GPU costs altogether is of the order of RENT times its energy:
the median ask for an H100 SXM was 1.54 dollars per hour on Vast.ai in early 2026, and 0.7 kW
at 0.12 dollars per kWh, overhead included, are 0.084 dollars.
"""

from __future__ import annotations

from typing import Final

import msgspec
import polars as pl

from exchange.core.limits import NS_PER_S
from sim.intervals import Interval, ratio
from sim.market import run_market
from sim.outcome import UNSERVED
from sim.scenario import UNIT_NANOS
from sim.studies import figures
from sim.studies.study import Cell, Claim, Each, Plan, Plot, Row, Study

RENT: Final = 18.0
QUOTES: Final = {"inventory": 8.0, "plain cost": 0.0}
"""Exponents of the quoting policy; 0 asks the plain cost for every slot."""


def cells(plan: Plan) -> list[Cell]:
    """Every market with either policy."""
    return [{**market, "quotes": quotes} for market in plan.markets() for quotes in QUOTES]


def measure(plan: Plan, cell: Cell, each: Each) -> list[Row]:
    """By window and class: what sellers were paid, units; full cost; and the value served."""
    del each

    demand = plan.demand(cell)
    scenario = msgspec.structs.replace(
        plan.settings(cell), ask_exponent=QUOTES[str(cell["quotes"])]
    )
    outcome = run_market(demand, scenario)
    kinds = scenario.classes
    paid = [[0.0] * len(kinds) for _ in range(demand.windows)]
    busy = [[0.0] * len(kinds) for _ in range(demand.windows)]
    value = [[0.0] * len(kinds) for _ in range(demand.windows)]
    for job, place in zip(demand.jobs, outcome.served_by, strict=True):
        if place != UNSERVED:
            paid[job.window][place] += outcome.paid_nanos[job.number] / UNIT_NANOS
            busy[job.window][place] += job.work_ns / NS_PER_S
            value[job.window][place] += job.value_nanos / UNIT_NANOS
    rows = []
    for window in range(demand.windows):
        starts = demand.window_starts_ns
        seconds = (starts[window + 1] - starts[window]) / NS_PER_S
        for place, kind in enumerate(kinds):
            work = kind.workers * kind.slots * kind.speed * seconds
            rows.append(
                {"window": window, "class": kind.name, "paid": paid[window][place],
                 "full_cost": kind.cost * work, "busy": busy[window][place], "able": work,
                 "value": value[window][place]}
            )  # fmt: skip
    return rows


def _coverage(part: pl.DataFrame) -> Interval:
    sums = part.group_by("seed", "window", maintain_order=True).agg(
        pl.col("paid", "full_cost").sum()
    )
    return ratio(sums["paid"].to_list(), sums["full_cost"].to_list())


def conclude(plan: Plan, frame: pl.DataFrame) -> list[Claim]:
    """All classes together, by market and policy."""
    del plan
    claims = []
    for (trace, load, quotes), part in frame.group_by(
        "trace", "load", "quotes", maintain_order=True
    ):
        figure = _coverage(part)
        paid, value, cost = (sum(part[name]) for name in ("paid", "value", "full_cost"))
        share, could = paid / max(value, 1e-9), value / cost
        met = figure.mean >= RENT
        says = f"{trace} at load {load:g}, {quotes}: sellers are paid at least {RENT:g} times the "
        says += f"marginal cost of slots that are always busy (they get {share:.0%} of the value)"
        why = f"all the value that was served is {could:.1f} times that cost: the model of values "
        why += "does not pay for GPUs at these rents, however it is shared"
        claims.append(Claim(says, figure, met, "" if met else why))
    return claims


def draw(frame: pl.DataFrame) -> list[Plot]:
    """Coverage by load and class."""
    names = frame["trace"].unique(maintain_order=True).to_list()
    figure, axes = figures.panels(len(names), width=2.2 + 3.6 * len(names), sharey=True)
    for axis, trace in zip(axes, names, strict=True):
        here = frame.filter(pl.col("trace") == trace)
        loads = sorted(here["load"].unique())
        for colour, kind in zip(
            figures.COLOURS, here["class"].unique(maintain_order=True), strict=False
        ):
            for quotes, style in (("inventory", "-"), ("plain cost", ":")):
                part = here.filter((pl.col("class") == kind) & (pl.col("quotes") == quotes))
                points = [_coverage(part.filter(pl.col("load") == load)) for load in loads]
                figures.line(axis, loads, points, f"{kind}, {quotes}", colour, linestyle=style)
        figures.threshold(axis, 1.0, "marginal cost, always busy")
        figures.named(axis, "load", "paid / cost of being always busy", str(trace).split(".")[0])
        axis.set_xticks(loads)
    figures.legend(axes[0], loc="upper left")
    return [Plot(figure, "What sellers earn, by load; bars: 95 % over windows.")]


STUDY: Final = Study(
    name="sellers",
    number="S13",
    hypothesis="selling slots pays for the machines",
    metric="what sellers are paid over the marginal cost of slots that are always busy; sums over "
    "windows",
    threshold=f"at least {RENT:g}: about what a GPU costs altogether over its energy",
    loads=(0.5, 0.8, 1.0, 1.3),
    seeds=1,
    cells=cells,
    measure=measure,
    conclude=conclude,
    draw=draw,
)
