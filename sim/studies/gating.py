"""S6, the gating frontier: what compute the adaptive model's halting and priced budgets save.

Reads the measured curves that `flopex quality --json` prints: by family of tasks, for each budget
the share of right answers and the FLOPs that were spent on average. A uniform engine spends the
whole budget on every question, and the same budget on all families. The gated one stops when it
knows enough, and divides compute among the families by one price: each family is given the budget
whose worth at that price is best. The gain G is the uniform engine's compute over the gated one's
at the same score, F the share of the best score that any budget reaches.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

import polars as pl

from sim.intervals import Interval, jackknife
from sim.scenario import ScenarioError
from sim.studies import figures
from sim.studies.study import Cell, Claim, Each, Plan, Plot, Row, Study

LEAST: Final = 2.3
SHARES: Final = (0.8, 0.9, 0.95)
SHARE: Final = 0.9
"""Of the best score: the point of the claim."""

Points = list[tuple[float, float, float]]
"""Of a family: (budget, share of right answers, FLOPs spent on average), by rising budget."""


def cells(plan: Plan) -> list[Cell]:
    """One: the curves are measured already."""
    return [{"curves": Path(plan.curves).name}]


def measure(plan: Plan, cell: Cell, each: Each) -> list[Row]:
    """By family and budget, as the file says."""
    del cell, each
    try:
        curves: dict[str, Any] = json.loads(Path(plan.curves).read_text())
        return [
            {
                "window": place,
                "family": family,
                "questions": curve["questions"],
                "budget": float(point["budget_flops"]),
                "right": float(point["fitted"]),
                "spent": float(point["spent_flops"]),
            }
            for place, (family, curve) in enumerate(sorted(curves.items()))
            for point in curve["points"]
        ]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ScenarioError(
            f"{plan.curves} is not what `flopex quality --json` prints: {error}"
        ) from error


def _families(frame: pl.DataFrame) -> list[Points]:
    return [
        list(part.sort("budget").select("budget", "right", "spent").iter_rows())
        for _, part in frame.group_by("family", maintain_order=True)
    ]


def uniform_cost(families: list[Points], score: float) -> float:
    """FLOPs per question of the least common budget that reaches a mean score; inf where none."""
    budgets = sorted({point[0] for points in families for point in points})
    for budget in budgets:
        right = [max((p[1] for p in points if p[0] <= budget), default=0.0) for points in families]
        if sum(right) / len(right) >= score - 1e-12:
            return budget
    return float("inf")


def halting_cost(families: list[Points], score: float) -> float:
    """The same budget for all, but only what is spent before the model stops."""
    budgets = sorted({point[0] for points in families for point in points})
    best = float("inf")
    for budget in budgets:
        chosen = [_last(points, budget) for points in families]
        if sum(p[1] for p in chosen) / len(chosen) >= score - 1e-12:
            best = min(best, sum(p[2] for p in chosen) / len(chosen))
    return best


def gated_cost(families: list[Points], score: float) -> float:
    """FLOPs per question where each family has the budget that one price gives it."""
    slopes = sorted(
        {
            (b[1] - a[1]) / (b[2] - a[2])
            for points in families
            for i, a in enumerate([(0.0, 0.0, 0.0), *points])
            for b in points[i:]
            if b[2] > a[2] and b[1] > a[1]
        },
        reverse=True,
    )
    best = float("inf")
    for price in slopes:
        chosen = [
            max([(0.0, 0.0, 0.0), *points], key=lambda p: p[1] - price * p[2] * (1 - 1e-9))
            for points in families
        ]
        if sum(p[1] for p in chosen) / len(chosen) >= score - 1e-12:
            best = min(best, sum(p[2] for p in chosen) / len(chosen))
    return best


def _last(points: Points, budget: float) -> tuple[float, float, float]:
    return max((p for p in points if p[0] <= budget), default=(0.0, 0.0, 0.0))


def gain(families: list[Points], share: float) -> float:
    """G at a share of the best score."""
    best = sum(points[-1][1] for points in families) / len(families)
    return uniform_cost(families, share * best) / gated_cost(families, share * best)


def conclude(plan: Plan, frame: pl.DataFrame) -> list[Claim]:
    """G at each share; the interval leaves out one family at a time."""
    del plan
    families = _families(frame)
    claims = []
    for share in SHARES:
        figure = _interval(families, share)
        best = sum(points[-1][1] for points in families) / len(families)
        halting = uniform_cost(families, share * best) / halting_cost(families, share * best)
        met = figure.mean >= LEAST
        says = f"at {share:g} of the best score {best:.3f}, uniform budgets cost at least {LEAST} "
        says += f"times the gated ones (halting alone: {halting:.2f})"
        why = "the curves are flat: most of what a family reaches it reaches with the least budget "
        why += "that was measured, so there is little compute left to save or to move"
        chosen = share >= SHARE
        claims.append(
            Claim(says, figure, met if chosen else None, "" if met or not chosen else why)
        )
    return claims


def _interval(families: list[Points], share: float) -> Interval:
    if len(families) < 2:
        only = gain(families, share)
        return Interval(only, only, only)
    return jackknife(lambda kept: gain([families[i] for i in kept], share), len(families))


def draw(frame: pl.DataFrame) -> list[Plot]:
    """Score against compute, and each family's curve."""
    families = _families(frame)
    best = sum(points[-1][1] for points in families) / len(families)
    figure, (left, right) = figures.panels(2, width=9.0)
    ways = (("uniform budgets", uniform_cost), ("halting, uniform budgets", halting_cost),
            ("halting, priced budgets", gated_cost))  # fmt: skip
    scores = [best * share / 100 for share in range(50, 101)]
    for colour, (text, cost) in zip(figures.COLOURS, ways, strict=False):
        spent = [cost(families, score) / 1e3 for score in scores]
        left.plot(spent, scores, color=colour, label=text)
    figures.threshold(left, SHARE * best, f"{SHARE:g} of the best score")
    left.set_xscale("log")
    figures.named(left, "kFLOP per question", "share of right answers")
    figures.legend(left, loc="lower right")
    names = frame["family"].unique(maintain_order=True)
    for place, (name, points) in enumerate(zip(names, families, strict=True)):
        colour = figures.COLOURS[place % len(figures.COLOURS)]
        style = "-" if place < len(figures.COLOURS) else "--"
        right.plot(
            [p[2] / 1e3 for p in points], [p[1] for p in points], style, color=colour, label=name
        )
    figures.named(right, "kFLOP spent per question", "share of right answers", "by family")
    figures.legend(right, loc="center left", bbox_to_anchor=(1.01, 0.5), fontsize=7.5)
    return [
        Plot(figure, "The gating frontier of the shipped adaptive model, from its measured curves.")
    ]


STUDY: Final = Study(
    name="gating",
    number="S6",
    hypothesis="halting and priced budgets give the same score for less than half the compute",
    metric="compute of the best uniform budget over that of the gated model at the same score, "
    "families weighing alike",
    threshold=f"at least {LEAST} at {SHARE:g} of the best score and above",
    loads=(),
    seeds=1,
    cells=cells,
    measure=measure,
    conclude=conclude,
    draw=draw,
    reads="curves",
)
