"""Means over windows with intervals that account for how few the windows are."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from scipy.stats import t as student

CONFIDENCE: Final = 0.95


class Interval(NamedTuple):
    """An estimate and its 95 % interval."""

    mean: float
    low: float
    high: float


def ratio(parts: Sequence[float], wholes: Sequence[float]) -> Interval:
    """Sum of the parts over sum of the wholes, with the interval of the jackknife over windows.

    A window's part and its whole move together, and so are left out together (Tukey 1958; the
    variance of a ratio of sums by deleting one window at a time, Student's t with windows - 1
    degrees of freedom). With one window the interval is the whole line. Where the wholes are
    nothing, or nothing without one window, there is no number (NaN).
    """
    part, whole, count = math.fsum(parts), math.fsum(wholes), len(parts)
    mean = _over(part, whole)
    if count < 2:
        return Interval(mean, -math.inf, math.inf)
    without = [_over(part - p, whole - w) for p, w in zip(parts, wholes, strict=True)]
    return _interval(mean, without)


def _over(part: float, whole: float) -> float:
    """A ratio; of nothing it is not a number."""
    return part / whole if whole else math.nan


def jackknife(statistic: Callable[[list[int]], float], count: int) -> Interval:
    """A statistic of the windows 0 to count - 1, with the interval of leaving out one at a time."""
    windows = list(range(count))
    mean = statistic(windows)
    if count < 2:
        return Interval(mean, -math.inf, math.inf)
    return _interval(mean, [statistic(windows[:i] + windows[i + 1 :]) for i in windows])


def _interval(mean: float, without: list[float]) -> Interval:
    """From the estimates that leave out one window each."""
    count = len(without)
    centre = math.fsum(without) / count
    variance = (count - 1) / count * math.fsum((x - centre) ** 2 for x in without)
    half = float(student.ppf((1 + CONFIDENCE) / 2, count - 1)) * math.sqrt(variance)
    return Interval(mean, mean - half, mean + half)
