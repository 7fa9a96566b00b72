"""The clairvoyant bound: no schedule of any rule can be worth more.

Where workers are lost, a class has the slots of those that are there; work is lost with nobody.

The relaxation: the future is known, jobs can be cut at any moment, moved between classes, and done
in part for a part of their value; a job runs on one slot at a time. Time is cut into steps, inside
which nothing is said about order. Each of these gives up what a real schedule must keep, so the
optimum bounds every rule from above; shorter steps make it tighter.

    x[j, c, t]   time that job j has on class c in step t
    per job      sum of speed x time <= its work
    per job, t   sum over the classes <= the step's overlap with the job's life
    per class, t sum over the jobs <= slots x the step's length, at the dual price p[c, t]
    maximise     sum of speed x time x (value per work - cost)

A whole market is too large for one programme, and need not be one. For *any* prices p >= 0

    optimum <= sum over c, t of p x capacity + sum over jobs of the best surplus at these prices

(weak duality). So each window is solved by itself, with a margin of time on both sides, for good
prices in its middle; then each job's surplus at the prices of all windows is found exactly. What
the cut between windows loses makes the bound looser, never wrong. The programmes are solved by
HiGHS (Huangfu and Hall 2018).

Where an answer's worth is a concave curve of its work and not in proportion to it (the elastic
bound), the curve is given as segments of falling slope that lie nowhere below it:

    y[j, k]      work of segment k, at most its length
    per job      sum of y <= sum of speed x time
    maximise     sum of slope x y - sum of speed x time x cost
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linprog
from scipy.sparse import coo_array

from exchange.core.limits import NS_PER_S
from sim.demand import Demand, Job
from sim.scenario import UNIT_NANOS, Scenario
from sim.supply import changes_of, cost_factors, factor_at, slots_present

Floats = NDArray[np.float64]
Curve = tuple[tuple[float, float], ...]
"""Segments of an answer's worth: (work in seconds of speed 1, units of value per such second)."""

STEP_S: Final = 2.0
"""Default length of a step, seconds."""
MARGIN_S: Final = 24.0
"""Time before and after a window that its prices look at, seconds."""


class BoundError(RuntimeError):
    """The solver gave no optimum."""


class Prices(NamedTuple):
    """What a second of a slot is worth, units of value: p[t - first_step, c]."""

    first_step: int
    p: Floats


def welfare_bound(
    demand: Demand,
    scenario: Scenario,
    step_s: float = STEP_S,
    each: Callable[[Callable[[int], Any], Iterable[int]], Iterable[Any]] = map,
    curves: Sequence[Curve] | None = None,
) -> list[float]:
    """By window, an upper bound on welfare, nano-dollars; only the sum bounds anything.

    Args:
        demand: The jobs.
        scenario: Its classes give capacity and cost.
        step_s: Length of a step, seconds.
        each: Applies a function to every window: `map`, or that of a pool of processes.
        curves: By job number, what an answer is worth for its work; None: in proportion to it.

    Raises:
        BoundError: the solver gave up.
    """
    windows = range(demand.windows)
    find = partial(window_prices, demand, scenario, step_s=step_s, curves=curves)
    prices = list(each(find, windows))
    value = partial(window_bound, demand, scenario, prices=prices, step_s=step_s, curves=curves)
    return list(each(value, windows))


def window_prices(
    demand: Demand,
    scenario: Scenario,
    window: int,
    *,
    step_s: float,
    curves: Sequence[Curve] | None = None,
) -> Prices:
    """Prices for the steps that begin in a window; for the last one up to the last deadline.

    Raises:
        BoundError: the solver gave up.
    """
    first, end = _steps(demand, window, step_s)
    margin = round(MARGIN_S / step_s)
    low, high = max(first - margin, 0), end + margin
    jobs = [
        job
        for job in demand.jobs
        if job.arrival_ns < high * step_s * NS_PER_S and job.deadline_ns > low * step_s * NS_PER_S
    ]
    pieces = [piece for piece in _pieces(jobs, step_s) if low <= piece[1] < high]
    kinds, count = len(scenario.classes), len(pieces)
    factors = _least_factors(demand, scenario, pieces, step_s)
    own, limits, gain = _constraints(jobs, pieces, scenario, curves, factors)
    steps = np.array([step for _, step, _ in pieces], int)
    shared = ((steps - low)[:, None] * kinds + np.arange(kinds)).ravel() + own.shape[0]
    columns = np.arange(count * kinds)
    size = own.shape[0] + (high - low) * kinds
    both = coo_array(
        (
            np.concatenate([own.data, np.ones(count * kinds)]),
            (np.concatenate([own.row, shared]), np.concatenate([own.col, columns])),
        ),
        shape=(size, own.shape[1]),
    )
    capacity = _capacity(demand, scenario, low, high, step_s)
    duals = _duals(gain, both, np.concatenate([limits, capacity.ravel()]))
    p = duals[own.shape[0] :].reshape(-1, kinds)
    return Prices(first, p[first - low : end - low])


def window_bound(
    demand: Demand,
    scenario: Scenario,
    window: int,
    *,
    prices: Sequence[Prices],
    step_s: float,
    curves: Sequence[Curve] | None = None,
) -> float:
    """A window's part of the bound at the prices of all windows, nano-dollars.

    Raises:
        BoundError: the solver gave up.
    """
    by_step = {
        held.first_step + i: row for held in prices for i, row in enumerate(np.maximum(held.p, 0))
    }
    first, end = _steps(demand, window, step_s)
    capacity = _capacity(demand, scenario, first, end, step_s)
    rent = sum(float(by_step[step] @ capacity[step - first]) for step in range(first, end))
    jobs = [job for job in demand.jobs if job.window == window]
    pieces = _pieces(jobs, step_s)
    factors = _least_factors(demand, scenario, pieces, step_s)
    own, limits, gain = _constraints(jobs, pieces, scenario, curves, factors)
    free = np.zeros(len(scenario.classes))
    charged = gain.copy()
    rents = np.array([by_step.get(step, free) for _, step, _ in pieces])
    charged[: rents.size] -= rents.ravel()
    surplus = float(limits @ _duals(charged, own, limits))
    return (rent + surplus) * UNIT_NANOS


def _capacity(demand: Demand, scenario: Scenario, first: int, end: int, step_s: float) -> Floats:
    """Seconds of slots of each class in each step: those of workers that are there."""
    changes = changes_of(scenario, demand.window_starts_ns[-1] / NS_PER_S)
    timeline = slots_present(scenario, changes)
    edges = np.arange(first, end + 1) * step_s
    ends = [at_ns / NS_PER_S for at_ns, _ in timeline[1:]] + [math.inf]
    capacity = np.zeros((end - first, len(scenario.classes)))
    for (begin_ns, slots), until_s in zip(timeline, ends, strict=True):
        inside = np.minimum(edges[1:], until_s) - np.maximum(edges[:-1], begin_ns / NS_PER_S)
        capacity += np.maximum(inside, 0)[:, None] * np.array(slots, float)
    return capacity


def _least_factors(
    demand: Demand, scenario: Scenario, pieces: list[tuple[int, int, float]], step_s: float
) -> Floats:
    """By piece, the least that costs are multiplied by in its step."""
    timeline = cost_factors(scenario, demand.window_starts_ns[-1] / NS_PER_S)
    least: dict[int, float] = {}
    for step in {step for _, step, _ in pieces}:
        begin_ns, end_ns = (round((step + i) * step_s * NS_PER_S) for i in (0, 1))
        inside = [factor for at_ns, factor in timeline if begin_ns < at_ns < end_ns]
        least[step] = min([factor_at(timeline, begin_ns), *inside])
    return np.array([least[step] for _, step, _ in pieces], float)


def _steps(demand: Demand, window: int, step_s: float) -> tuple[int, int]:
    """[first, end) of the steps that belong to a window; the last one's go to the end."""
    starts = demand.window_starts_ns
    first = -(-starts[window] // round(step_s * NS_PER_S))
    end_ns = starts[window + 1]
    if window == demand.windows - 1:
        end_ns = max(job.deadline_ns for job in demand.jobs)
    return first, -(-end_ns // round(step_s * NS_PER_S))


def _pieces(jobs: list[Job], step_s: float) -> list[tuple[int, int, float]]:
    """(place of the job, step, overlap in seconds) for every step that overlaps a job's life."""
    pieces = []
    for place, job in enumerate(jobs):
        begin, end = job.arrival_ns / NS_PER_S, job.deadline_ns / NS_PER_S
        step = int(begin // step_s)
        while step * step_s < end:
            overlap_s = min(end, (step + 1) * step_s) - max(begin, step * step_s)
            if overlap_s > 0:
                pieces.append((place, step, overlap_s))
            step += 1
    return pieces


def _constraints(
    jobs: list[Job],
    pieces: list[tuple[int, int, float]],
    scenario: Scenario,
    curves: Sequence[Curve] | None,
    factors: Floats,
) -> tuple[coo_array, Floats, Floats]:
    """Constraints of the jobs alone, their limits, and the gain of every column.

    The first columns are those of the pieces, by class.
    """
    if curves is None:
        return _of_jobs(jobs, pieces, scenario, factors)
    return _of_elastic_jobs(jobs, pieces, scenario, curves, factors)


def _of_jobs(
    jobs: list[Job], pieces: list[tuple[int, int, float]], scenario: Scenario, factors: Floats
) -> tuple[coo_array, Floats, Floats]:
    """Each job has one constraint for its work and one for each piece."""
    classes = scenario.classes
    speeds = np.array([c.speed for c in classes])
    costs = np.array([c.cost for c in classes])
    places = np.array([place for place, _, _ in pieces], int)
    overlaps = np.array([overlap_s for _, _, overlap_s in pieces], float)
    work_s = np.array([job.work_ns for job in jobs], float) / NS_PER_S
    value = np.array([job.value_nanos for job in jobs], float) / UNIT_NANOS
    gain = speeds[None, :] * ((value / work_s)[places, None] - factors[:, None] * costs[None, :])
    count, kinds = len(pieces), len(classes)
    columns = np.arange(count * kinds)
    rows = np.concatenate([np.repeat(places, kinds), len(jobs) + columns // kinds])
    entries = np.concatenate([np.tile(speeds, count), np.ones(count * kinds)])
    own = coo_array(
        (entries, (rows, np.tile(columns, 2))), shape=(len(jobs) + count, count * kinds)
    )
    return own, np.concatenate([work_s, overlaps]), gain.ravel()


def _of_elastic_jobs(
    jobs: list[Job],
    pieces: list[tuple[int, int, float]],
    scenario: Scenario,
    curves: Sequence[Curve],
    factors: Floats,
) -> tuple[coo_array, Floats, Floats]:
    """As above, with a column and a constraint for each segment of a job's curve."""
    classes = scenario.classes
    speeds = np.array([c.speed for c in classes])
    costs = np.array([c.cost for c in classes])
    places = np.array([place for place, _, _ in pieces], int)
    overlaps = np.array([overlap_s for _, _, overlap_s in pieces], float)
    segments = [
        (place, *segment) for place, job in enumerate(jobs) for segment in curves[job.number]
    ]
    owners = np.array([place for place, _, _ in segments], int)
    lengths = np.array([length for _, length, _ in segments], float)
    slopes = np.array([slope for _, _, slope in segments], float)
    count, kinds, more = len(pieces), len(classes), len(segments)
    spans, extra = np.arange(count * kinds), count * kinds + np.arange(more)
    first_piece, first_segment = len(jobs), len(jobs) + count
    rows = np.concatenate([
        np.repeat(places, kinds), owners, first_piece + spans // kinds,
        first_segment + np.arange(more),
    ])  # fmt: skip
    columns = np.concatenate([spans, extra, spans, extra])
    entries = np.concatenate([
        -np.tile(speeds, count), np.ones(more), np.ones(count * kinds), np.ones(more)
    ])  # fmt: skip
    own = coo_array((entries, (rows, columns)), shape=(first_segment + more, count * kinds + more))
    limits = np.concatenate([np.zeros(len(jobs)), overlaps, lengths])
    gain = np.concatenate([(-factors[:, None] * (speeds * costs)[None, :]).ravel(), slopes])
    return own, limits, gain


def _duals(gain: Floats, matrix: coo_array, limits: Floats) -> Floats:
    """The duals, not negative, of maximising gain @ x where matrix @ x <= limits and x >= 0."""
    solved = linprog(-gain, A_ub=matrix.tocsr(), b_ub=limits, bounds=(0, None), method="highs-ipm")
    if solved.status != 0:
        raise BoundError(f"the solver gave up: {solved.message}")
    duals: Floats = np.maximum(-solved.ineqlin.marginals, 0)
    return duals
