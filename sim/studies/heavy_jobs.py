"""S10, heavy jobs: what happens to the others when a few jobs become ten times the mean.

A small share of the jobs, drawn by seed, is replaced by jobs of ten times the mean work at their
own density and with deadlines to match: a flood of heavy work, paid for as all work is. Measured
are the interactive jobs of everybody else: how many more of them are not answered in time.
"""

from __future__ import annotations

import random
from typing import Final

import polars as pl

from exchange.core.limits import NS_PER_S
from sim.demand import DEADLINE_WORK, Demand, Job
from sim.intervals import Interval, ratio
from sim.market import run_market
from sim.outcome import UNSERVED
from sim.rivals import run_rivals
from sim.scenario import Scenario
from sim.studies import figures
from sim.studies.study import Cell, Claim, Each, Plan, Plot, Row, Study

MOST: Final = 0.10
SHARES: Final = (0.01, 0.03, 0.06)
SHARE: Final = 0.03
"""Of the jobs, that the claim is about."""
TIMES: Final = 10
RULES: Final = ("market", "density", "edf_drop", "fifo_drop")
_TEXTS: Final = {"market": "the market", "density": "density", "edf_drop": "EDF, dropping",
                 "fifo_drop": "FIFO, dropping"}  # fmt: skip


def cells(plan: Plan) -> list[Cell]:
    """Every size of attack in every market; none among them."""
    return [{**market, "share": share} for market in plan.markets() for share in (0.0, *SHARES)]


def measure(plan: Plan, cell: Cell, each: Each) -> list[Row]:
    """By window: the others' interactive jobs, and how many each rule did not answer in time."""
    del each
    clean, scenario = plan.demand(cell), plan.settings(cell)
    heavy = attackers(clean, float(cell["share"]), scenario.seed)
    worst = attackers(clean, max(SHARES), scenario.seed)
    demand = attacked(clean, heavy, scenario)
    outcomes = {"market": run_market(demand, scenario), **run_rivals(demand, scenario)}
    load = sum(job.work_ns for job in demand.jobs) / scenario.capacity()
    true_load = load / demand.window_starts_ns[-1]
    rows: list[Row] = [
        {"window": w, "true_load": true_load, "others": 0, **dict.fromkeys(RULES, 0)}
        for w in range(demand.windows)
    ]
    for job in demand.jobs:
        # The same jobs are looked at under every attack.
        if job.number in worst or job.urgency != "interactive":
            continue
        rows[job.window]["others"] += 1
        for rule in RULES:
            outcome = outcomes[rule]
            late = outcome.done_ns[job.number] > job.deadline_ns
            rows[job.window][rule] += outcome.served_by[job.number] == UNSERVED or late
    return rows


def attackers(demand: Demand, share: float, seed: int) -> set[int]:
    """Numbers of the jobs that become heavy; those of a smaller share are among them."""
    order = list(range(len(demand.jobs)))
    random.Random(f"attack/{seed}").shuffle(order)
    return set(order[: round(share * len(order))])


def attacked(demand: Demand, heavy: set[int], scenario: Scenario) -> Demand:
    """The demand in which these jobs have ten times the mean work."""
    work_ns = round(TIMES * scenario.work_mean_s * NS_PER_S)
    jobs = tuple(_heavy(job, work_ns) if job.number in heavy else job for job in demand.jobs)
    return demand._replace(jobs=jobs)


def _heavy(job: Job, work_ns: int) -> Job:
    times = work_ns / job.work_ns
    slack_ns = job.deadline_ns - job.arrival_ns - round(DEADLINE_WORK * job.work_ns)
    return job._replace(
        input_tokens=max(1, round(job.input_tokens * times)),
        output_tokens=max(1, round(job.output_tokens * times)),
        work_ns=work_ns,
        value_nanos=max(1, round(job.value_nanos * times)),
        deadline_ns=job.arrival_ns + round(DEADLINE_WORK * work_ns) + slack_ns,
    )


def rise(none: pl.DataFrame, part: pl.DataFrame, rule: str) -> Interval:
    """By how much the share of others' interactive jobs that are missed rises."""
    more = (part[rule] - none[rule]).to_list()
    return ratio(more, none["others"].to_list())


def conclude(plan: Plan, frame: pl.DataFrame) -> list[Claim]:
    """The market at the claim's share; the queues to compare with."""
    del plan
    claims = []
    for (trace, load), market in frame.group_by("trace", "load", maintain_order=True):
        none, part = (market.filter(pl.col("share") == share) for share in (0.0, SHARE))
        base = ratio(none["market"].to_list(), none["others"].to_list()).mean
        for rule in RULES:
            figure, ours = rise(none, part, rule), rule == "market"
            met = figure.mean <= MOST
            says = f"{trace} at load {load:g}: {_TEXTS[rule]}: {SHARE:.0%} heavy jobs (load "
            says += f"{part['true_load'][0]:.2f}) make others miss"
            says += f" at most {MOST} more" if ours else " so many more, for comparison"
            why = f"{base:.2f} are missed without them; a running job is never interrupted"
            claims.append(
                Claim(says, figure, met if ours else None, "" if met or not ours else why)
            )
    return claims


def draw(frame: pl.DataFrame) -> list[Plot]:
    """Missed interactive jobs against the share of heavy ones."""
    markets = list(frame.group_by("trace", "load", maintain_order=True))
    rows = 2 if len(markets) > 2 else 1
    figure, axes = figures.panels(
        len(markets), width=8.6, height=3.2 * rows, rows=rows, sharey=True
    )
    shares = (0.0, *SHARES)
    for axis, ((trace, load), market) in zip(axes, markets, strict=True):
        for colour, rule in zip(figures.COLOURS, RULES, strict=False):
            parts = [market.filter(pl.col("share") == share) for share in shares]
            points = [ratio(part[rule].to_list(), part["others"].to_list()) for part in parts]
            figures.line(axis, shares, points, _TEXTS[rule], colour)
        title = f"{str(trace).split('.')[0]}, load {load:g} before"
        y = "interactive jobs of others missed" if axis is axes[0] else ""
        figures.named(axis, "share of heavy jobs", y, title)
    figures.legend(axes[0])
    return [Plot(figure, "Interactive jobs that are not answered in time while a few jobs are ten "
                 "times the mean; bars: 95 % over windows.")]  # fmt: skip


STUDY: Final = Study(
    name="heavy_jobs",
    number="S10",
    hypothesis="price protects small urgent jobs from a few heavy ones",
    metric="rise of the share of all other interactive jobs that are not answered in time",
    threshold=f"at most {MOST:.0%} points with {SHARE:.0%} of the jobs at {TIMES} times the mean",
    loads=(0.8, 1.3),
    seeds=1,
    cells=cells,
    measure=measure,
    conclude=conclude,
    draw=draw,
    costs_move=True,
)
