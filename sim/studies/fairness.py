"""S8, fairness: what it costs that poor accounts are served too.

Accounts' budgets differ widely here (the log of their mean density has a deviation of 1). Two ways
to be fairer, both possible without a change of the engine. A public tranche: each worker gives some
of its slots to another tier, where every job bids the same density, so that only lateness counts,
and where an account may send so much work as an equal part of the tranche can do (a token bucket);
the rest goes to the market. Credits: the operator issues credits so that an account's bids are its
values times (mean density of all / its own) to the power theta.

Jain's index (1984) is over the accounts' shares of work served in time.
"""

from __future__ import annotations

from typing import Final

import msgspec
import polars as pl

from exchange.core.limits import NS_PER_S
from sim.agents.conduct import Conduct
from sim.demand import Demand, Job
from sim.intervals import Interval, jackknife, ratio
from sim.market import run_market
from sim.outcome import UNSERVED, Outcome
from sim.scenario import UNIT_NANOS, Scenario, ScenarioError
from sim.studies import figures
from sim.studies.study import Cell, Claim, Each, Plan, Plot, Row, Study

LEAST_JAIN: Final = 0.96
MOST_LOSS: Final = 0.015
ACCOUNT_SIGMA: Final = 1.0
TRANCHES: Final = (1, 2, 4)
"""Slots of each worker of eight."""
THETAS: Final = (0.25, 0.5, 0.6, 0.75, 1.0)
BURST_S: Final = 30.0
"""How many seconds of its part of the tranche an account can save up."""


class Credits(Conduct):
    """Bids are values times a factor of the account's."""

    def __init__(self, factors: list[float]) -> None:
        self._factors = factors

    def told(self, job: Job, now_ns: int) -> Job:
        """The job at the value that its credits give it."""
        del now_ns
        value_nanos = max(1, round(job.value_nanos * self._factors[job.account]))
        return job._replace(value_nanos=value_nanos)


class EqualDensity(Conduct):
    """All jobs bid alike, so that only their latest start counts."""

    def told(self, job: Job, now_ns: int) -> Job:
        """The job at a value of one unit per unit of work."""
        del now_ns
        return job._replace(value_nanos=max(1, round(job.work_ns * UNIT_NANOS / NS_PER_S)))


def cells(plan: Plan) -> list[Cell]:
    """Every mechanism in every market."""
    ways = [("none", 0.0), *(("tranche", float(n)) for n in TRANCHES)]
    ways += [("credits", theta) for theta in THETAS]
    return [{**market, "way": way, "size": size} for market in plan.markets() for way, size in ways]


def measure(plan: Plan, cell: Cell, each: Each) -> list[Row]:
    """By window and account: work asked for and served in time; the window's welfare."""
    del each
    unequal = msgspec.structs.replace(plan.scenario, account_sigma=ACCOUNT_SIGMA)
    plan = msgspec.structs.replace(plan, scenario=unequal)
    scenario = plan.settings(cell)
    demand, size = plan.demand(cell), float(cell["size"])
    if cell["way"] == "tranche":
        outcome = _with_tranche(demand, scenario, round(size))
    elif cell["way"] == "credits":
        outcome = run_market(demand, scenario, Credits(_factors(demand, scenario, size)))
    else:
        outcome = run_market(demand, scenario, Conduct())
    welfare = outcome.welfare_nanos(demand, scenario)
    asked = [[0] * scenario.accounts for _ in range(demand.windows)]
    served = [[0] * scenario.accounts for _ in range(demand.windows)]
    for job, place, done_ns in zip(demand.jobs, outcome.served_by, outcome.done_ns, strict=True):
        asked[job.window][job.account] += job.work_ns
        if place != UNSERVED and done_ns <= job.deadline_ns:
            served[job.window][job.account] += job.work_ns
    return [
        {
            "window": window,
            "account": account,
            "asked": asked[window][account],
            "served": served[window][account],
            "welfare": welfare[window] / scenario.accounts,
        }
        for window in range(demand.windows)
        for account in range(scenario.accounts)
    ]


def _factors(demand: Demand, scenario: Scenario, theta: float) -> list[float]:
    values, works = [0.0] * scenario.accounts, [1.0] * scenario.accounts
    for job in demand.jobs:
        values[job.account] += job.value_nanos
        works[job.account] += job.work_ns
    mean = sum(values) / sum(works)
    return [(mean * w / v) ** theta if v else 1.0 for v, w in zip(values, works, strict=True)]


def _with_tranche(demand: Demand, scenario: Scenario, slots: int) -> Outcome:
    """Two tiers: some slots of each worker for the public one, which is asked at plain cost."""
    if min(kind.slots for kind in scenario.classes) < 2:
        raise ScenarioError("a public tranche needs workers of two slots at least")
    given = [min(slots, kind.slots - 1) for kind in scenario.classes]
    kept = [kind.slots - less for kind, less in zip(scenario.classes, given, strict=True)]
    public = msgspec.structs.replace(_with_slots(scenario, given), ask_exponent=0)
    private = _with_slots(scenario, kept)
    admitted = _admitted(demand, public)
    whole = Outcome.empty("tranche", len(demand.jobs))
    for fleet, conduct, here in ((public, EqualDensity(), True), (private, Conduct(), False)):
        jobs = [job for job in demand.jobs if (job.number in admitted) == here]
        numbered = tuple(job._replace(number=place) for place, job in enumerate(jobs))
        if not jobs:
            continue
        outcome = run_market(demand._replace(jobs=numbered), fleet, conduct)
        for place, job in enumerate(jobs):
            if outcome.served_by[place] != UNSERVED:
                whole.serve(job.number, outcome.served_by[place], outcome.done_ns[place])
    return whole


def _with_slots(scenario: Scenario, slots: list[int]) -> Scenario:
    classes = tuple(
        msgspec.structs.replace(kind, slots=count)
        for kind, count in zip(scenario.classes, slots, strict=True)
    )
    return msgspec.structs.replace(scenario, classes=classes)


def _admitted(demand: Demand, public: Scenario) -> set[int]:
    """Jobs that their accounts' token buckets let into the public tier."""
    rate = public.capacity() / public.accounts
    tokens, at_s = [rate * BURST_S] * public.accounts, [0.0] * public.accounts
    admitted = set()
    for job in demand.jobs:
        now_s, work = job.arrival_ns / NS_PER_S, job.work_ns / NS_PER_S
        earned = rate * (now_s - at_s[job.account])
        tokens[job.account] = min(rate * BURST_S, tokens[job.account] + earned)
        at_s[job.account] = now_s
        if work <= tokens[job.account]:
            tokens[job.account] -= work
            admitted.add(job.number)
    return admitted


def jain(frame: pl.DataFrame) -> Interval:
    """Jain's index over the accounts' served shares, windows left out one at a time."""
    windows = sorted(frame["window"].unique())
    # An account of another seed is another account.
    order = [name for name in ("seed", "account") if name in frame.columns]
    parts = [frame.filter(pl.col("window") == window).sort(order) for window in windows]
    by = {kind: [part[kind].to_list() for part in parts] for kind in ("asked", "served")}

    def index(kept: list[int]) -> float:
        sums = [
            [sum(by[kind][w][a] for w in kept) for a in range(len(by[kind][0]))]
            for kind in ("asked", "served")
        ]
        shares = [float(done / max(asked, 1)) for asked, done in zip(*sums, strict=True)]
        return sum(shares) ** 2 / (len(shares) * sum(x * x for x in shares))

    return jackknife(index, len(windows))


def _loss(none: pl.DataFrame, part: pl.DataFrame) -> Interval:
    """Welfare given up, as a share of the welfare without the mechanism."""
    before, after = (
        f.group_by("seed", "window", maintain_order=True).agg(pl.col("welfare").sum())["welfare"]
        for f in (none, part)
    )
    return ratio((before - after).to_list(), before.to_list())


def conclude(plan: Plan, frame: pl.DataFrame) -> list[Claim]:
    """The smallest tranche, and the fairest way that costs no more than it may."""
    del plan
    claims = []
    for (trace, load), market in frame.group_by("trace", "load", maintain_order=True):
        none = market.filter(pl.col("way") == "none")
        where = f"{trace} at load {load:g}"
        ways = {
            (str(way), float(str(size))): (jain(part), _loss(none, part))
            for (way, size), part in market.group_by("way", "size", maintain_order=True)
        }
        index, loss = ways["tranche", float(TRANCHES[0])]
        cheap = [(found, named) for named, found in ways.items() if found[1].mean <= MOST_LOSS]
        best, (way, size) = max(cheap, key=lambda found: found[0][0].mean)
        says = f"{where}: Jain's index without any, for comparison"
        claims += [
            Claim(says, ways["none", 0.0][0], None),
            _claim(f"{where}: one slot of 8 public: Jain's index is at least {LEAST_JAIN}", index,
                   index.mean >= LEAST_JAIN, "an equal part of an eighth of the fleet lifts poor "
                   "accounts too little"),
            _claim(f"{where}: one slot of 8 public: at most {MOST_LOSS} of welfare is given up",
                   loss, loss.mean <= MOST_LOSS, "public slots serve work of little value while "
                   "work of more value goes unserved"),
            _claim(f"{where}: the fairest that costs so little ({way} {size:g}, {best[1].mean:.4f} "
                   f"of welfare): Jain's index is at least {LEAST_JAIN}", best[0],
                   best[0].mean >= LEAST_JAIN, "bursts leave little for the poorest, and levelling "
                   "bids further costs more than is allowed"),
        ]  # fmt: skip
    return claims


def _claim(says: str, figure: Interval, met: bool, why: str) -> Claim:
    return Claim(says, figure, met, "" if met else why)


def draw(frame: pl.DataFrame) -> list[Plot]:
    """The frontier: Jain's index against welfare given up."""
    markets = list(frame.group_by("trace", "load", maintain_order=True))
    figure, axes = figures.panels(len(markets), width=2.2 + 3.6 * len(markets), sharey=True)
    for axis, ((trace, load), market) in zip(axes, markets, strict=True):
        none = market.filter(pl.col("way") == "none")
        for colour, way in zip(figures.COLOURS, ("tranche", "credits"), strict=False):
            here = market.filter(pl.col("way") == way)
            sizes = sorted(here["size"].unique())
            points = [(0.0, jain(none).mean)]
            for size in sizes:
                part = here.filter(pl.col("size") == size)
                points.append((_loss(none, part).mean, jain(part).mean))
            axis.plot(*zip(*points, strict=True), marker="o", color=colour, label=way)
            for size, point in zip(sizes, points[1:], strict=True):
                figures.note(axis, f"{size:g}", point)
        axis.axvline(MOST_LOSS, color=figures.GREY, linestyle=(0, (4, 3)), linewidth=1)
        figures.threshold(axis, LEAST_JAIN, "")
        title = f"{str(trace).split('.')[0]}, load {load:g}"
        figures.named(axis, "share of welfare given up", "Jain's index of served shares", title)
    figures.legend(axes[0], loc="lower right")
    return [
        Plot(
            figure,
            "Fairness against welfare: a public tranche of so many of 8 slots; credits to the "
            "power theta. Dashed: what is to be reached, and what it may cost.",
        )
    ]


STUDY: Final = Study(
    name="fairness",
    number="S8",
    hypothesis="a small public tranche makes the market much fairer for little welfare",
    metric="Jain's index over accounts' shares of work served in time, and welfare given up over "
    "welfare without; account budgets with a log deviation of 1",
    threshold=f"index at least {LEAST_JAIN} for at most {MOST_LOSS:.1%} of welfare",
    loads=(1.3,),
    seeds=1,
    cells=cells,
    measure=measure,
    conclude=conclude,
    draw=draw,
)
