"""S2, welfare: how much of what could be had the market gets, and what the alternatives get.

Welfare is the value of answers in time less the marginal cost of all work. It is divided by the
clairvoyant bound; ratios are of sums over all windows, with the jackknife's interval over windows.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable
from typing import Any, Final

import polars as pl

from exchange.core.limits import NS_PER_S
from sim import bound
from sim.demand import Demand
from sim.intervals import Interval, ratio
from sim.market import run_market
from sim.outcome import Outcome
from sim.rivals import run_rivals
from sim.scenario import Scenario
from sim.studies import figures
from sim.studies.study import Cell, Claim, Each, Plan, Plot, Row, Study

LEAST: Final = 0.96
LEAST_BURSTY: Final = 0.94
BURSTY_CV: Final = 4.0
"""Arrivals whose intervals' coefficient of variation is above this are called bursty."""
LOOSENESS_WINDOWS: Final = 2
"""Windows over which the bound is made again, tighter: as one programme, of steps half as long."""
DIGITS: Final = 4
SHOWN_FROM: Final = 0.6
"""Least ratio in the picture."""
RULES: Final = (
    "market", "density", "priority", "posted", "edf_drop", "fifo_drop", "reverse_auction",
    "cheapest_spill", "fifo", "least_loaded",
)  # fmt: skip


def cells(plan: Plan) -> list[Cell]:
    """Every trace at every load, the long ones first."""
    return sorted(plan.markets(), key=lambda cell: -float(cell["load"]))


def measure(plan: Plan, cell: Cell, each: Each) -> list[Row]:
    """By window: the welfare of every rule, and the bound."""
    demand, scenario = plan.demand(cell), plan.settings(cell)
    market = run_market(demand, scenario)
    outcomes = {"market": market, **run_rivals(demand, scenario)}
    best = bound.welfare_bound(demand, scenario, each=each)
    welfare = {name: one.welfare_nanos(demand, scenario) for name, one in outcomes.items()}
    whole = {
        "looseness": _looseness(demand, scenario, each),
        "cv": _burstiness(demand),
        "jobs": len(demand.jobs),
        "seconds": demand.window_starts_ns[-1] / NS_PER_S,
        "paid_of_value": _paid_of_value(demand, market),
        "events": market.events,
        "digest": _digest(outcomes),
        **{f"missed_{name}": one.missed(demand) for name, one in outcomes.items()},
    }
    return [
        {
            "window": window,
            "bound": best[window],
            **{name: float(nanos[window]) for name, nanos in welfare.items()},
            **whole,
        }
        for window in range(demand.windows)
    ]


def conclude(plan: Plan, frame: pl.DataFrame) -> list[Claim]:
    """At every load that was run, on every trace."""
    return [_claim(trace, load, part) for trace, load, part in _parts(plan, frame)]


def _claim(trace: str, load: float, part: pl.DataFrame) -> Claim:
    least = LEAST_BURSTY if part["cv"][0] > BURSTY_CV else LEAST
    figure = ratio(part["market"].to_list(), part["bound"].to_list())
    return Claim(
        f"{trace} at load {load:g}: welfare is at least {least} of the bound",
        figure,
        figure.mean >= least,
        ""
        if figure.mean >= least
        else f"the bound itself is loose by about {part['looseness'][0]:.3f}, and lets jobs be cut "
        "and moved at any moment, which neither the market nor any rule beside it does",
    )


def lines(plan: Plan, frame: pl.DataFrame) -> list[dict[str, Any]]:
    """One object for each trace and load, the highest load last."""
    parts = sorted(_parts(plan, frame), key=lambda part: part[1])
    return [_line(trace, load, part) for trace, load, part in parts]


def _line(trace: str, load: float, part: pl.DataFrame) -> dict[str, Any]:
    first, best = part.row(0, named=True), part["bound"].to_list()
    rules = [name for name in RULES if name in part.columns and name != "market"]
    mean, low, high = _rounded(ratio(part["market"].to_list(), best))
    gains = {name: _rounded(ratio((part["market"] - part[name]).to_list(), best)) for name in rules}
    return {
        "trace": trace,
        "load": load,
        "windows": part.height,
        "ratio_mean": mean,
        "ratio_low": low,
        "ratio_high": high,
        "bound_looseness": round(first["looseness"], DIGITS),
        "baselines": {
            name: round(ratio(part[name].to_list(), best).mean, DIGITS) for name in rules
        },
        "gains": gains,
        "missed": {name: round(first[f"missed_{name}"], DIGITS) for name in ("market", *rules)},
        "jobs": first["jobs"],
        "seconds": first["seconds"],
        "paid_of_value": round(first["paid_of_value"], DIGITS),
        "engine_events": first["events"],
        "seed": first["seed"],
        "digest": hashlib.sha256("".join(part["digest"].unique().sort()).encode()).hexdigest(),
    }


def draw(frame: pl.DataFrame) -> list[Plot]:
    """Welfare against load for every rule, and what each window of the market reached."""
    names = frame["trace"].unique(maintain_order=True).to_list()
    figure, axes = figures.panels(len(names), width=1.6 + 4.3 * len(names), height=4.4, sharey=True)
    for axis, trace in zip(axes, names, strict=True):
        here = frame.filter(pl.col("trace") == trace)
        loads = sorted(here["load"].unique())
        for place, rule in enumerate(RULES):
            if rule not in here.columns:
                continue  # it has nothing to do with jobs of workers that are lost
            points = [_of(here.filter(pl.col("load") == load), rule) for load in loads]
            ours = rule == "market"
            figures.line(
                axis, loads, points, "the market" if ours else rule.replace("_", " "),
                figures.COLOURS[place], linewidth=2.6 if ours else 1.2, zorder=9 if ours else 3,
            )  # fmt: skip
        y = "welfare / clairvoyant bound" if axis is axes[0] else ""
        figures.named(axis, "load (work over capacity)", y, trace.split(".")[0])
        axis.set_ylim(SHOWN_FROM, 1.01)
        axis.set_xticks(loads)
    figures.legend(axes[-1], loc="center left", bbox_to_anchor=(1.01, 0.5))
    caption = (
        "Welfare over the clairvoyant bound, by load; bars: 95 % over windows. Rules that fall "
    )
    caption += f"below {SHOWN_FROM:g} leave the picture: their figures are in the table."
    return [Plot(figure, caption), _gains(frame)]


def _gains(frame: pl.DataFrame) -> Plot:
    """What the market reaches more than each rule, at the highest load."""
    names = frame["trace"].unique(maintain_order=True).to_list()
    top = frame.filter(pl.col("load") == frame["load"].max())
    rivals = [rule for rule in reversed(RULES) if rule != "market" and rule in frame.columns]
    figure, (axis,) = figures.panels(1, width=6.6, height=3.8)
    for place, trace in enumerate(names):
        part = top.filter(pl.col("trace") == trace)
        gains = [
            ratio((part["market"] - part[rule]).to_list(), part["bound"].to_list())
            for rule in rivals
        ]
        ys = [y + 0.16 * (place - (len(names) - 1) / 2) for y in range(len(rivals))]
        axis.errorbar(
            [gain.mean for gain in gains], ys,
            xerr=([g.mean - g.low for g in gains], [g.high - g.mean for g in gains]),
            fmt="o", color=figures.COLOURS[place], label=trace.split(".")[0], capsize=2.5,
        )  # fmt: skip
    axis.set_yticks(range(len(rivals)), [rule.replace("_", " ") for rule in rivals])
    axis.axvline(0, color=figures.GREY, linewidth=1)
    axis.set_xscale("symlog", linthresh=0.05, linscale=1.5)
    axis.set_xticks([0, 0.02, 0.05, 0.1, 0.2, 0.5, 1], ["0", ".02", ".05", ".1", ".2", ".5", "1"])
    figures.named(axis, f"what the market has more, of the bound, at load {top['load'][0]:g}", "")
    axis.set_xlim(-0.02, 1.4)
    figures.legend(axis, loc="lower left", fontsize=9)
    return Plot(figure, "The market against each rule, paired by window; bars: 95 %.")


def _of(part: pl.DataFrame, rule: str) -> Interval:
    return ratio(part[rule].to_list(), part["bound"].to_list())


def _parts(plan: Plan, frame: pl.DataFrame) -> Iterable[tuple[str, float, pl.DataFrame]]:
    for trace in frame["trace"].unique(maintain_order=True):
        for load in plan.loads:
            yield trace, load, frame.filter((pl.col("trace") == trace) & (pl.col("load") == load))


def _rounded(figure: Interval) -> list[float]:
    return [round(x, DIGITS) for x in figure]


def _burstiness(demand: Demand) -> float:
    """Coefficient of variation of the times between arrivals."""
    gaps = [b.arrival_ns - a.arrival_ns for a, b in zip(demand.jobs, demand.jobs[1:], strict=False)]
    mean = math.fsum(gaps) / len(gaps)
    return math.sqrt(math.fsum((gap - mean) ** 2 for gap in gaps) / len(gaps)) / mean


def _looseness(demand: Demand, scenario: Scenario, each: Each) -> float:
    """By how much a tighter form lowers the bound of the first windows, as a share of it."""
    windows = min(LOOSENESS_WINDOWS, demand.windows)
    starts = demand.window_starts_ns[: windows + 1]
    jobs = tuple(job for job in demand.jobs if job.window < windows)
    apart = Demand(demand.millitokens_per_s, starts, jobs)
    merged = tuple(job._replace(window=0) for job in jobs)
    together = Demand(demand.millitokens_per_s, (starts[0], starts[-1]), merged)
    coarse = sum(bound.welfare_bound(apart, scenario, each=each))
    fine = sum(bound.welfare_bound(together, scenario, bound.STEP_S / 2, each=each))
    return 1 - fine / coarse


def _paid_of_value(demand: Demand, market: Outcome) -> float:
    """What buyers paid, as a share of what their answers were worth to them."""
    value = sum(
        job.value_nanos for job, done_ns in zip(demand.jobs, market.done_ns, strict=True) if done_ns
    )
    return sum(market.paid_nanos) / max(value, 1)


def _digest(outcomes: dict[str, Outcome]) -> str:
    """Of all decisions, and of the engine's state at the end."""
    decisions = [[one.rule, one.served_by, one.done_ns] for one in outcomes.values()]
    text = json.dumps([outcomes["market"].digest, decisions])
    return hashlib.sha256(text.encode()).hexdigest()


STUDY: Final = Study(
    name="welfare",
    number="S2",
    hypothesis="managed bids in 10 ms batches with inventory-aware quotes get nearly all the "
    "welfare that a clairvoyant planner could, where work is known",
    metric="value of answers in time less the marginal cost of all work, over the clairvoyant "
    "bound; sums over windows",
    threshold=f"mean at least {LEAST}, and {LEAST_BURSTY} where arrivals are bursty (coefficient "
    f"of variation above {BURSTY_CV:g})",
    loads=(0.5, 0.8, 1.0, 1.3),
    seeds=1,
    cells=cells,
    measure=measure,
    conclude=conclude,
    draw=draw,
    costs_move=True,
    lines=lines,
)
