"""S4, incentives: what lying gains one account, and what withholding slots gains a seller.

One account at a time lies about all its jobs while the others are truthful; its profit (true value
of answers in time less what it paid) is compared with that of the truthful run, job for job the
same demand. The gain is a share of the true value that it was served in the truthful run. A seller
that has a whole class offers fewer slots; its profit is what it was paid less its marginal cost.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Final

import msgspec
import polars as pl

from exchange.core.limits import NS_PER_S
from sim.agents.conduct import Conduct, Misreport
from sim.demand import Demand
from sim.intervals import Interval, ratio
from sim.market import run_market
from sim.outcome import UNSERVED, Outcome
from sim.scenario import UNIT_NANOS, Scenario
from sim.studies import figures
from sim.studies.study import Cell, Claim, Each, Plan, Plot, Row, Study

MOST: Final = 0.02
"""Of served value, that shading may gain."""
SHADES: Final = (0.2, 0.4, 0.6)
DUE: Final = (0.4, 0.7, 1.3, 2.0)
WITHHELD: Final = (1, 2, 4)
"""Slots of a class of eight."""
LIARS: Final = 5
"""Accounts that lie in turn: every second one, so large and small ones."""


def cells(plan: Plan) -> list[Cell]:
    """Every lie, in every market."""
    lies = [("shade", x) for x in SHADES] + [("due", x) for x in DUE]
    lies += [("withhold", float(x)) for x in WITHHELD]
    return [{**market, "lie": lie, "size": size} for market in plan.markets() for lie, size in lies]


def measure(plan: Plan, cell: Cell, each: Each) -> list[Row]:
    """By liar and window: profit when truthful, profit when lying, and value when truthful."""
    del each
    demand, scenario = plan.demand(cell), plan.settings(cell)
    honest = _honest(plan, *(str(cell[name]) for name in ("trace", "load", "seed")))
    lie, size = str(cell["lie"]), float(cell["size"])
    if lie == "withhold":
        return _withheld(demand, scenario, honest, round(size))
    value, due = (1 - size, 1.0) if lie == "shade" else (1.0, size)
    rows = []
    for liar in range(0, scenario.accounts, max(scenario.accounts // LIARS, 1)):
        lying = run_market(demand, scenario, Misreport([liar], value, due))
        served, before, after = (
            _buyers(demand, honest, liar, paid=0),
            _buyers(demand, honest, liar),
            _buyers(demand, lying, liar),
        )
        rows += [
            {"window": w, "who": f"account {liar}", "base": served[w], "honest": before[w],
             "lying": after[w]}
            for w in range(demand.windows)
        ]  # fmt: skip
    return rows


@lru_cache(maxsize=2)
def _honest(plan: Plan, trace: str, load: str, seed: str) -> Outcome:
    cell: Cell = {"trace": trace, "load": float(load), "seed": int(seed)}
    return run_market(plan.demand(cell), plan.settings(cell), Conduct())


def _withheld(demand: Demand, scenario: Scenario, honest: Outcome, slots: int) -> list[Row]:
    rows = []
    for index, kind in enumerate(scenario.classes):
        if kind.slots <= slots:
            continue
        fewer = msgspec.structs.replace(kind, slots=kind.slots - slots)
        classes = (*scenario.classes[:index], fewer, *scenario.classes[index + 1 :])
        lying = run_market(demand, msgspec.structs.replace(scenario, classes=classes), Conduct())
        before, after = (_sellers(demand, one, index, kind.cost) for one in (honest, lying))
        rows += [
            {"window": w, "who": kind.name, "base": before[w], "honest": before[w],
             "lying": after[w]}
            for w in range(demand.windows)
        ]  # fmt: skip
    return rows


def _buyers(demand: Demand, outcome: Outcome, account: int, paid: int = 1) -> list[float]:
    """By window, an account's true value of answers in time, less what it paid."""
    profit = [0.0] * demand.windows
    for job in demand.jobs:
        if job.account == account and outcome.served_by[job.number] != UNSERVED:
            in_time = outcome.done_ns[job.number] <= job.deadline_ns
            profit[job.window] += in_time * job.value_nanos - paid * outcome.paid_nanos[job.number]
    return profit


def _sellers(demand: Demand, outcome: Outcome, index: int, cost: float) -> list[float]:
    """By window, what a class was paid less what its work cost."""
    profit = [0.0] * demand.windows
    for job in demand.jobs:
        if outcome.served_by[job.number] == index:
            spent = cost * job.work_ns * UNIT_NANOS / NS_PER_S
            profit[job.window] += outcome.paid_nanos[job.number] - spent
    return profit


_CLAIMS: Final = {
    "shade": ("shading by {size:.0%} gains at most 2 % of served value", MOST),
    "due": ("stating {size:g} times the time to the deadline gains nothing", 0.0),
    "withhold": (
        "a seller alone in its class that withholds {size:g} of 8 slots gains nothing",
        0.0,
    ),
}
_WHY: Final = {
    "shade": "a patient job that bids less is still served when the market has a free moment, so "
    "part of what a buyer pays is under its own control; the ramp bounds this and does not end it",
    "due": "a buyer that seems more patient bids less for longer, and one that seems more urgent "
    "is served first",
    "withhold": "inventory quotes rise with the share of slots in use: fewer slots are a smaller "
    "inventory, and the class's price rises for all that is left",
}


def conclude(plan: Plan, frame: pl.DataFrame) -> list[Claim]:
    """For each lie the market in which it gains most, all liars of that market together."""
    del plan
    claims = []
    for (lie, size), part in frame.group_by("lie", "size", maintain_order=True):
        says, most = _CLAIMS[str(lie)]
        worst = max(
            (
                (_gain(market), f"{keys[0]}, load {keys[1]:g}")
                for keys, market in part.group_by("trace", "load", maintain_order=True)
            ),
            key=lambda found: _or_least(found[0].mean),
        )
        figure, where = worst
        met = figure.mean <= most
        alone = part.group_by("trace", "load", "who", maintain_order=True)
        one = max(_or_least(_gain(rows).mean) for _, rows in alone)
        says = f"{says.format(size=size)} (most on {where}; for one alone up to {one:+.3f})"
        claims.append(Claim(says, figure, met, "" if met else _WHY[str(lie)]))
    return claims


def _or_least(gain: float) -> float:
    """Who was served nothing when truthful has no gain that could be compared."""
    return -math.inf if math.isnan(gain) else gain


def _gain(part: pl.DataFrame) -> Interval:
    """Of all liars together: windows of all of them, and of all seeds, are the sample."""
    sums = part.group_by("seed", "window", maintain_order=True).agg(
        pl.col("base", "honest", "lying").sum()
    )
    return ratio((sums["lying"] - sums["honest"]).to_list(), sums["base"].to_list())


def draw(frame: pl.DataFrame) -> list[Plot]:
    """Gain against the size of the lie, by load."""
    names = {
        "shade": ("share by which the value is shaded", "gain / served value"),
        "due": ("stated time to the deadline / true time", "gain / served value"),
        "withhold": ("slots withheld of 8", "gain / profit"),
    }
    figure, axes = figures.panels(3, width=10.5, height=3.6)
    for axis, (lie, (x, y)) in zip(axes, names.items(), strict=True):
        here = frame.filter(pl.col("lie") == lie)
        sizes = sorted(here["size"].unique())
        markets = list(here.group_by("trace", "load", maintain_order=True))
        for place, ((trace, load), part) in enumerate(markets):
            gains = [_gain(part.filter(pl.col("size") == size)) for size in sizes]
            label = f"{str(trace).split('.')[0]}, load {load:g}"
            figures.line(axis, sizes, gains, label, figures.COLOURS[place])
        figures.threshold(axis, MOST if lie == "shade" else 0.0, "most allowed")
        figures.named(axis, x, y)
    figures.legend(axes[1], loc="lower center", fontsize=8)
    return [
        Plot(
            figure,
            "What lying gains: one account that shades its values (left) or misstates its "
            "deadlines (middle), all others truthful; a seller alone in its class that offers "
            "fewer slots (right). Bars: 95 % over windows.",
        )
    ]


STUDY: Final = Study(
    name="incentives",
    number="S4",
    hypothesis="telling the truth is nearly the best that a buyer can do alone, and offering all "
    "slots the best that a seller can do alone",
    metric="profit of the one that lies less its profit when truthful, over the value that it "
    "was served when truthful (sellers: over its profit); sums over windows",
    threshold="shading by 20 to 60 % gains at most 2 %; a wrong deadline or a withheld slot gains "
    "nothing",
    loads=(0.8, 1.3),
    seeds=1,
    cells=cells,
    measure=measure,
    conclude=conclude,
    draw=draw,
)
