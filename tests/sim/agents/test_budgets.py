"""Buyers with hard budgets: what they tell, what is computed, and what the bound says of it."""

from __future__ import annotations

import itertools
import math
import statistics

import pytest

from sim.agents.budgets import _TANGENTS, Elastic, Estimated, calibrated, drawn
from sim.bound import welfare_bound
from sim.market import run_market
from sim.scenario import UNIT_NANOS
from tests.sim.demands import SMALL, small_demand


def test_certain_buyers_are_honest_buyers() -> None:
    demand = small_demand()
    certain = Estimated(demand, [1.0] * len(demand.jobs), 1.0)
    outcome = run_market(demand, SMALL, certain)
    honest = run_market(demand, SMALL)
    # Budgets that would not fit the deadline are cut, so a few jobs differ.
    same = sum(a == b for a, b in zip(outcome.served_by, honest.served_by, strict=True))
    assert same > 0.9 * len(demand.jobs)
    assert sum(certain.welfare_nanos(outcome, demand, SMALL)) == pytest.approx(
        sum(honest.welfare_nanos(demand, SMALL)), rel=0.03
    )


def test_a_budget_is_hard_and_fits_the_deadline() -> None:
    demand = small_demand()
    conduct = Estimated(demand, drawn(demand, 0.8, 1), 1.0, 2.0)
    for job in demand.jobs:
        told = conduct.told(job, job.arrival_ns)
        assert told is not None
        share = (told.input_tokens + told.output_tokens) / (job.input_tokens + job.output_tokens)
        # Tokens are whole.
        assert share * job.work_ns <= job.deadline_ns - job.arrival_ns + 2e-2 * job.work_ns
        whole = job.input_tokens + job.output_tokens
        for fits in (10**9, max(whole // 3, 2)):
            tokens = conduct.computed(told, job.arrival_ns, fits)
            assert tokens[0] <= conduct.allowed(told)
            assert tokens[1] <= told.output_tokens
            assert sum(tokens) <= fits
            assert sum(tokens) <= whole
            assert conduct.computed_share[job.number] * whole == pytest.approx(sum(tokens))
        # It bids what the estimate is worth per unit of compute, whatever its budget.
        budget = conduct.allowed(told) + told.output_tokens
        density = told.value_nanos / budget * whole / job.value_nanos
        assert density == pytest.approx(1 / conduct._estimates[job.number], rel=0.05)


def test_rigid_answers_are_worth_nothing_before_their_end() -> None:
    demand = small_demand()
    job = demand.jobs[0]
    soft, rigid = (Estimated(demand, [1.0], 1.0, partial=partial) for partial in (True, False))
    assert (soft.worth(job, 0.4), rigid.worth(job, 0.4)) == (0.4, 0.0)
    assert soft.worth(job, 1.7) == rigid.worth(job, 1.0) == 1.0


def test_calibration_makes_estimates_better() -> None:
    demand = small_demand()
    raw = drawn(demand, 0.8, 3)
    better = calibrated(demand, SMALL, raw, 0.8)
    assert calibrated(demand, SMALL, raw, 0.0) == raw
    spread = [statistics.pstdev(map(math.log, estimates)) for estimates in (raw, better)]
    assert spread[1] < 0.8 * spread[0]


def test_the_tangents_lie_nowhere_below_the_curve() -> None:
    assert all(a[1] > b[1] for a, b in itertools.pairwise(_TANGENTS))
    for c in (0.0, 0.1, 0.5, 1.0, 1.6, 3.0, 5.0):
        left, value = c, 0.0
        for length, slope in _TANGENTS:
            value += slope * min(left, length)
            left = max(left - length, 0)
        assert -1e-12 <= value - -math.expm1(-c) < 0.02


def test_the_elastic_bound_is_the_rigid_one_where_answers_are_in_proportion() -> None:
    demand = small_demand()
    lines = [
        ((job.work_ns / 1e9, job.value_nanos / UNIT_NANOS / (job.work_ns / 1e9)),)
        for job in demand.jobs
    ]
    rigid, elastic = (sum(welfare_bound(demand, SMALL, curves=c)) for c in (None, lines))
    assert elastic == pytest.approx(rigid, rel=1e-5)


def test_elastic_budgets_get_less_than_the_bound_and_more_than_honest_ones() -> None:
    demand = small_demand()
    best = sum(welfare_bound(demand, SMALL, curves=Elastic.curves(demand)))
    priced = Elastic(demand, SMALL, 10.0, 0.0)
    welfare = sum(priced.welfare_nanos(run_market(demand, SMALL, priced), demand, SMALL))
    assert 0.8 * best < welfare <= best
    shares = priced.computed_share.values()
    assert min(shares) < 0.7
    # Some were stopped, or went on, while they ran: others had come, or none had.
    plain = Elastic(demand, SMALL, 10.0, 0.0)
    plain.revises = False
    run_market(demand, SMALL, plain)
    assert plain.computed_share != priced.computed_share
    assert max(shares) > 1.2
    whole = Estimated(demand, [1.0] * len(demand.jobs), 1.0)
    outcome = run_market(demand, SMALL, whole)
    assert welfare > sum(whole.welfare_nanos(outcome, demand, SMALL))
