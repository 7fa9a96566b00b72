"""S9, affinity: what it brings that a bid sees where its prompt's beginning is cached.

Workers keep the prompts that they have read. The engine knows of no caches, but bids can: a job
may bid for one worker alone, or have legs, one for each worker, that ask for the compute that is
left to do *there*; for the same value it then bids a higher density where it has less to do. So
each worker is an instrument of its own here, and the trace must tell which prompts begin alike
(Mooncake does).

Beside such bids, on the same demand: today's bid, which asks every worker for the whole; and bids
that see one cache which all workers share, as large as theirs together: there it makes no
difference where a job goes, so that no rule of placing jobs could cache more.
"""

from __future__ import annotations

import statistics
from typing import Any, Final

import msgspec
import polars as pl

from exchange.core.limits import NS_PER_S
from matching.types import CLASSES_MAX
from sim.agents.prefixes import Prefixes, Sight
from sim.demand import Demand
from sim.intervals import Interval, jackknife, ratio
from sim.market import run_market
from sim.outcome import UNSERVED, Outcome
from sim.scenario import UNIT_NANOS, Scenario, ScenarioError
from sim.studies import figures
from sim.studies.fairness import jain
from sim.studies.study import Cell, Claim, Each, Plan, Plot, Row, Study

LEAST: Final = 0.5
MOST_JAIN: Final = 0.01
MOST_LATER: Final = 1.05
PARTS: Final = 4
"""Workers that each worker of the scenario is cut into, where it has so many slots."""
CAPACITIES: Final = (100, 1_000, 10_000)
"""Blocks of a worker's cache; Mooncake's have 512 tokens."""
CAPACITY: Final = 1_000
"""That the claims are about: half a million tokens, some tens of gigabytes of a middling model."""
_TEXTS: Final = {
    Sight.NOTHING: "bids that see nothing",
    Sight.STICKY: "a bid for the worker that has half of it",
    Sight.LEGS: "a leg for each worker",
    Sight.SHARED: "one cache for all workers",
}
APART: Final = 1.08
"""Of neighbouring points in the picture, so that their bars do not hide each other."""
CLAIMED: Final = Sight.STICKY
"""The sight that the claims are about; it was chosen on seed 101."""
_GREAT: Final = 95
"""The percentile of answer times."""


def apart(scenario: Scenario) -> Scenario:
    """The scenario with each worker cut into smaller ones, each a class of its own.

    Raises:
        ScenarioError: there would be more classes than clear together.
    """
    classes = []
    for kind in scenario.classes:
        parts = next(n for n in range(min(PARTS, kind.slots), 0, -1) if kind.slots % n == 0)
        classes += [
            msgspec.structs.replace(
                kind, name=f"{kind.name}-{i}", workers=1, slots=kind.slots // parts
            )
            for i in range(kind.workers * parts)
        ]
    if len(classes) > CLASSES_MAX:
        raise ScenarioError(f"{len(classes)} workers: at most {CLASSES_MAX} are apart")
    return msgspec.structs.replace(scenario, classes=tuple(classes))


def cells(plan: Plan) -> list[Cell]:
    """Every size of cache in every market."""
    return [{**market, "blocks": blocks} for market in plan.markets() for blocks in CAPACITIES]


def measure(plan: Plan, cell: Cell, each: Each) -> list[Row]:
    """By way, window and account: welfare, work asked and served, and prompts that were cached.

    Raises:
        ScenarioError: the trace does not tell which prompts begin alike.
    """
    del each
    scenario = apart(plan.settings(cell))
    demand = plan.demand(cell, scenario)
    if not any(job.blocks for job in demand.jobs):
        raise ScenarioError(f"{cell['trace']} does not tell which prompts begin alike")
    rows: list[Row] = []
    for way in Sight:
        conduct = Prefixes(demand, len(scenario.classes), int(cell["blocks"]), way)
        outcome = run_market(demand, scenario, conduct)
        for cache in conduct.caches:
            cache.check()
        rows += [{"way": str(way), **row} for row in _rows(demand, scenario, outcome, conduct)]
    return rows


def _rows(demand: Demand, scenario: Scenario, outcome: Outcome, conduct: Prefixes) -> list[Row]:
    by: dict[tuple[int, int], Row] = {
        (w, a): {"window": w, "account": a, "welfare": 0.0, "asked": 0, "served": 0, "jobs": 0,
                 "missed": 0, "begun": 0, "cut": 0, "tokens": 0, "cached": 0}
        for w in range(demand.windows)
        for a in range(scenario.accounts)
    }  # fmt: skip
    times_s = []
    for job, place, done_ns in zip(demand.jobs, outcome.served_by, outcome.done_ns, strict=True):
        row, spent = by[job.window, job.account], conduct.computed_tokens[job.number]
        row["jobs"] += 1
        row["asked"] += job.work_ns
        if place == UNSERVED:
            row["missed"] += 1
            continue
        whole = job.input_tokens + job.output_tokens
        row["begun"] += 1
        row["tokens"] += whole
        row["cached"] += whole - spent
        row["cut"] += job.number in conduct.cut
        spent_s = spent / demand.millitokens_per_s * 1_000
        row["welfare"] -= scenario.classes[place].cost * spent_s * UNIT_NANOS
        if job.number in conduct.cut or done_ns > job.deadline_ns:
            row["missed"] += 1
            continue
        row["welfare"] += job.value_nanos
        row["served"] += job.work_ns
        times_s.append((done_ns - job.arrival_ns) / NS_PER_S)
    centiles = statistics.quantiles(times_s, n=100)
    whole_market = {
        "median_s": centiles[49], "great_s": centiles[_GREAT - 1],
        "seconds": demand.window_starts_ns[-1] / NS_PER_S,
    }  # fmt: skip
    return [{**row, **whole_market} for row in by.values()]


class _Ways:
    """The ways of one market and size of cache; sums over accounts, by window."""

    def __init__(self, market: pl.DataFrame, blocks: int) -> None:
        here = market.filter(pl.col("blocks") == blocks)
        self.rows = {way: here.filter(pl.col("way") == way) for way in Sight}
        names = ("welfare", "jobs", "missed", "begun", "cut", "tokens", "cached")
        sums = {
            way: rows.group_by("seed", "window", maintain_order=True).agg(pl.col(names).sum())
            for way, rows in self.rows.items()
        }
        self._of: dict[str, dict[str, list[Any]]] = {
            way: {name: frame[name].to_list() for name in names} for way, frame in sums.items()
        }

    def gain(self, way: str) -> Interval:
        """Welfare that a way has more than bids that see nothing, as a share of theirs."""
        more, base = self._of[way]["welfare"], self._of[Sight.NOTHING]["welfare"]
        return ratio([a - b for a, b in zip(more, base, strict=True)], base)

    def recovered(self) -> Interval:
        """What sight of caches brings, of what a shared cache would."""
        blind, aware, shared = (
            self._of[way]["welfare"] for way in (Sight.NOTHING, CLAIMED, Sight.SHARED)
        )

        def share(kept: list[int]) -> float:
            base = sum(blind[w] for w in kept)
            best = sum(shared[w] for w in kept) - base
            return float((sum(aware[w] for w in kept) - base) / best) if best else float("nan")

        return jackknife(share, len(blind))

    def share(self, way: str, part: str, whole: str) -> Interval:
        """One sum over another."""
        return ratio(self._of[way][part], self._of[way][whole])

    def cached(self) -> str:
        """The shares of tokens that were cached, in words."""
        parts = [f"{way} {self.share(way, 'cached', 'tokens').mean:.2f}" for way in Sight]
        return f"(tokens cached: {', '.join(parts)})"

    def missed_more(self) -> Interval:
        """By how much more jobs are missed where bids see caches."""
        pairs = zip(self._of[CLAIMED]["missed"], self._of[Sight.NOTHING]["missed"], strict=True)
        return ratio([a - b for a, b in pairs], self._of[Sight.NOTHING]["jobs"])

    def later(self) -> float:
        """The great times to an answer, over those of blind bids."""
        return float(self.rows[CLAIMED]["great_s"][0] / self.rows[Sight.NOTHING]["great_s"][0])


def conclude(plan: Plan, frame: pl.DataFrame) -> list[Claim]:
    """By market, for the usual size of cache; the other sizes to compare with."""
    del plan
    claims = []
    for (trace, load), market in frame.group_by("trace", "load", maintain_order=True):
        where = f"{trace} at load {load:g}"
        claims += _claims(where, _Ways(market, CAPACITY))
        for blocks in CAPACITIES:
            if blocks != CAPACITY:
                ways = _Ways(market, blocks)
                says = f"{where}, {blocks} blocks: what sight of caches brings, for comparison "
                claims.append(Claim(says + ways.cached(), ways.gain(CLAIMED), None))
    return claims


def _claims(where: str, ways: _Ways) -> list[Claim]:
    recovered, missed, later = ways.recovered(), ways.missed_more(), ways.later()
    fair = {way: jain(ways.rows[way]) for way in (Sight.NOTHING, CLAIMED)}
    least, met = fair[Sight.NOTHING].mean - MOST_JAIN, recovered.mean >= LEAST
    why = (
        "a bid for one worker waits for it, and while it does others are free; with one cache for "
    )
    why += "all no job has to choose"
    brings = f"{where}: of blind bids' welfare, for comparison, so much more brings"
    return [
        Claim(f"{where}: sight of caches brings at least {LEAST} of what one cache for all would "
              f"{ways.cached()}", recovered, met, "" if met else why),
        Claim(f"{where}: Jain's index is at least that of blind bids less {MOST_JAIN} "
              f"({least:.3f})", fair[CLAIMED], fair[CLAIMED].mean >= least,
              "" if fair[CLAIMED].mean >= least else why),
        Claim(f"{where}: no more jobs are missed than with blind bids", missed, missed.mean <= 0,
              "" if missed.mean <= 0 else why),
        Claim(f"{where}: the {_GREAT}th percentile of times to answers is at most {MOST_LATER} "
              "times that of blind bids", Interval(later, later, later), later <= MOST_LATER,
              "" if later <= MOST_LATER else why),
        *(
            Claim(f"{brings}: {_TEXTS[way]}", ways.gain(way), None)
            for way in (Sight.STICKY, Sight.LEGS, Sight.SHARED)
        ),
        Claim(f"{where}: answers cut short since a cache had lost what a bid saw, for comparison",
              ways.share(CLAIMED, "cut", "begun"), None),
    ]  # fmt: skip


def draw(frame: pl.DataFrame) -> list[Plot]:
    """Welfare gained and tokens cached, by size of the caches."""
    markets = list(frame.group_by("trace", "load", maintain_order=True))
    figure, axes = figures.panels(
        2 * len(markets), width=1.6 + 3.2 * len(markets), height=6.2, rows=2, sharex=True
    )
    for place, ((trace, load), market) in enumerate(markets):
        top, bottom = axes[place], axes[len(markets) + place]
        by_size = [_Ways(market, blocks) for blocks in CAPACITIES]
        for i, (way, text) in enumerate(_TEXTS.items()):
            colour, sizes = figures.COLOURS[i], [blocks * APART**i for blocks in CAPACITIES]
            cached = [ways.share(way, "cached", "tokens") for ways in by_size]
            figures.line(bottom, sizes, cached, text, colour)
            if way != Sight.NOTHING:
                gains = [ways.gain(way) for ways in by_size]
                figures.line(top, sizes, gains, text, colour)
        top.set_xscale("log")
        title = f"{str(trace).split('.')[0]}, load {load:g}"
        figures.named(top, "", "" if place else "welfare gained", title)
        figures.named(bottom, "blocks per worker", "" if place else "share of tokens cached")
    figures.shared_legend(figure, axes[-1], 2)
    caption = "What it brings that bids see where their prompts are cached. Above: welfare beyond "
    caption += "that of one bid for all workers, as a share of it; below: tokens that were cached, "
    caption += "of those of all jobs that began. Bars: 95 % over windows."
    return [Plot(figure, caption)]


STUDY: Final = Study(
    name="affinity",
    number="S9",
    hypothesis="bids that see where a prompt's beginning is cached bring most of what caches "
    "could, and make the market neither less fair nor slower",
    metric="welfare beyond that of bids that see nothing, over what one cache for all workers "
    "would bring; Jain's index of work served; jobs missed; times to answers; sums over windows",
    threshold=f"at least {LEAST} with {CAPACITY:,} blocks per worker; Jain's index at most "
    f"{MOST_JAIN} less; no more missed; {_GREAT}th percentile at most {MOST_LATER} times as long",
    loads=(0.8, 1.3),
    seeds=1,
    cells=cells,
    measure=measure,
    conclude=conclude,
    draw=draw,
)
