"""The demand curve: how accurate an answer is for a budget, and what one more CU is worth.

Points are measured under hard caps, made monotone by the pool-adjacent-violators fit, and carry
Wilson's 95 % interval. With a value for a right answer, the slope between two points is the most
that a buyer should pay for the compute between them.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Final, NamedTuple

from exchange.metering.adaptive import Policy
from exchange.metering.costs import FLOPS_PER_CU
from worker.model.evaluate import PLENTY_FLOPS, Question, outcomes
from worker.model.forms import Form

BUDGETS_FLOPS: Final = tuple(
    1_000 * kflop
    for kflop in (200, 250, 300, 350, 400, 500, 600, 800, 1_000, 1_500, 2_000, 3_000, 5_000)
)
Z_95: Final = 1.96


class Point(NamedTuple):
    """One budget. measured, fitted, low, high are shares of right answers; spent is a mean."""

    budget_flops: int
    measured: float
    fitted: float
    low: float
    high: float
    spent_flops: float


class Curve(NamedTuple):
    """A demand curve over `questions` questions."""

    questions: int
    points: tuple[Point, ...]

    def worth_nanos_per_cu(self, value_nanos: int) -> list[int]:
        """The most that a CU more is worth from each point to the next, in nano-dollars."""
        return [
            int(
                value_nanos
                * (after.fitted - before.fitted)
                * FLOPS_PER_CU
                / (after.budget_flops - before.budget_flops)
            )
            for before, after in itertools.pairwise(self.points)
        ]


def isotonic(values: Sequence[float]) -> list[float]:
    """The nearest rising sequence in the least-squares sense (pool adjacent violators).

    >>> isotonic([1.0, 3.0, 2.0, 4.0])
    [1.0, 2.5, 2.5, 4.0]
    """
    pools: list[tuple[float, int]] = []
    for value in values:
        mean, count = value, 1
        while pools and pools[-1][0] > mean:
            before, size = pools.pop()
            mean = (before * size + mean * count) / (size + count)
            count += size
        pools.append((mean, count))
    return [mean for mean, count in pools for _ in range(count)]


def wilson(share: float, count: int) -> tuple[float, float]:
    """Wilson's 95 % interval of a share of `count` trials.

    >>> [round(x, 3) for x in wilson(0.5, 100)]
    [0.404, 0.596]
    """
    square = Z_95 * Z_95
    middle = (share + square / (2 * count)) / (1 + square / count)
    spread = Z_95 * math.sqrt(share * (1 - share) / count + square / (4 * count * count))
    spread /= 1 + square / count
    return max(middle - spread, 0.0), min(middle + spread, 1.0)


def demand_curve(
    form: Form,
    policy: Policy,
    questions: list[Question],
    budgets_flops: Sequence[int] = BUDGETS_FLOPS,
) -> Curve:
    """Measure what each budget buys; a request that cannot pay its first step is not right."""
    measured, spent = [], []
    for budget in budgets_flops:
        found = outcomes(form, questions, policy, min(budget, PLENTY_FLOPS))
        measured.append(sum(outcome.right for outcome in found) / len(found))
        spent.append(sum(outcome.flops for outcome in found) / len(found))
    points = [
        Point(budget, raw, fitted, *wilson(fitted, len(questions)), cost)
        for budget, raw, fitted, cost in zip(
            budgets_flops, measured, isotonic(measured), spent, strict=True
        )
    ]
    return Curve(len(questions), tuple(points))
