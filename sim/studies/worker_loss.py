"""S12, loss of workers: what it costs that workers vanish in the middle of their work.

Each class is eight workers of one slot. A worker is lost after an exponential time and back after
another, a quarter as long on average: a fifth of the capacity is away, in long pieces or in short
ones. A lost worker says nothing; the exchange gives it up after ten seconds, which is the live
default, and only then do its jobs go back into the book. What is left is judged by the clairvoyant
bound on the workers that are there, which knows when each will go, and whose work is never lost.
"""

from __future__ import annotations

import bisect
from collections.abc import Sequence
from typing import Any, Final

import msgspec
import polars as pl

from exchange.core import commands as c
from exchange.core.events import (
    AnyEvent,
    InstrumentAdded,
    JobEnded,
    JobQueued,
    LeaseEnded,
    LeaseOffered,
    LeaseState,
    ReceiptSettled,
)
from exchange.core.limits import FLOPS_PER_MFLOP, NS_PER_S
from sim.bound import welfare_bound
from sim.demand import Demand
from sim.intervals import Interval, jackknife, ratio
from sim.market import BEGIN_NS, MILLI, run_market
from sim.scenario import FLOPS_PER_TOKEN, UNIT_NANOS, Losses, Scenario
from sim.studies import figures
from sim.studies.study import Cell, Claim, Each, Plan, Plot, Row, Study
from sim.supply import changes_of, slots_present

MOST: Final = 0.03
STEP_S: Final = 4.0
"""Of the bound: twice the usual one, which takes off less than a tenth of the threshold (S1)."""
PARTS: Final = 8
"""Workers that each worker of the scenario is cut into, where it has so many slots."""
AWAY_OF_LIFE: Final = 0.25
LEAST_LOST: Final = 1e-9
"""Where a market is too short for a loss, nothing is divided by nothing."""
LIVES_S: Final = (300.0, 120.0, 30.0)
LIFE_S: Final = 120.0
"""Mean life of the losses that are found at once, and of those of whole classes."""
NONE: Final = "no losses"
BY_LIFE: Final = tuple(f"alone, every {life:g} s" for life in LIVES_S)
AT_ONCE: Final = f"alone, every {LIFE_S:g} s, found at once"
CLASSES: Final = f"whole classes, every {LIFE_S:g} s"
STATED: Final = "as the scenario says"
CLAIMED: Final = (BY_LIFE[0], BY_LIFE[1], CLASSES)
"""The losses that the threshold on welfare is about; 30 s is a stress."""


def cells(plan: Plan) -> list[Cell]:
    """Every kind of loss in every market, and the scenario's own where it has one."""
    kinds = [NONE, *BY_LIFE, AT_ONCE, CLASSES, *([STATED] if plan.scenario.losses else [])]
    return [{**market, "losses": kind} for market in plan.markets() for kind in kinds]


def _losses(kind: str, scenario: Scenario) -> Losses | None:
    usual = Losses(LIFE_S, LIFE_S * AWAY_OF_LIFE)
    others = {
        NONE: None,
        AT_ONCE: msgspec.structs.replace(usual, found_after_s=0.0),
        CLASSES: msgspec.structs.replace(usual, whole_classes=True),
        STATED: scenario.losses,
    }
    by_life = {
        name: Losses(life, life * AWAY_OF_LIFE) for name, life in zip(BY_LIFE, LIVES_S, strict=True)
    }
    return (others | by_life)[kind]


def cut(scenario: Scenario) -> Scenario:
    """The scenario with its workers cut into smaller ones; no slot is lost or won."""
    classes = []
    for kind in scenario.classes:
        parts = next(n for n in range(min(PARTS, kind.slots), 0, -1) if kind.slots % n == 0)
        smaller = {"workers": kind.workers * parts, "slots": kind.slots // parts}
        classes.append(msgspec.structs.replace(kind, **smaller))
    return msgspec.structs.replace(scenario, classes=tuple(classes))


class Attempts:
    """What became of each attempt.

    Attributes:
        open_jobs: That have not ended.
        started: Jobs that had a lease.
        offered: Leases, and so attempts.
        failed: Attempts that ended without a settled receipt.
        billed_failed_nanos: Billed on those.
        unexplained_nanos: What receipts settled less what jobs paid.
        void: What failed attempts took: (when they began, class, seconds of speed 1), at most
            until the exchange gave the worker up, and at most the whole job.
    """

    def __init__(self, demand: Demand, scenario: Scenario) -> None:
        self.open_jobs = self.offered = self.failed = 0
        self.billed_failed_nanos = self.unexplained_nanos = 0
        self.started: set[int] = set()
        self.void: list[tuple[int, int, float]] = []
        self._speeds = [kind.speed for kind in scenario.classes]
        self._flops_per_s = FLOPS_PER_TOKEN * demand.millitokens_per_s / MILLI
        self._instruments: list[int] = []  # of the classes, in their order
        self._leases: dict[int, tuple[LeaseOffered, int]] = {}

    def see(self, now_ns: int, command: c.Command, events: Sequence[AnyEvent]) -> None:
        """What one command did."""
        del command
        for event in events:
            match event:
                case InstrumentAdded():
                    self._instruments.append(event.instrument_id)
                case JobQueued(attempt=1):
                    self.open_jobs += 1
                case LeaseOffered():
                    self.offered += 1
                    self.started.add(event.job_id)
                    self._leases[event.lease_id] = event, now_ns
                case ReceiptSettled():
                    self.unexplained_nanos += event.billed_nanos
                case LeaseEnded():
                    self._ended(now_ns, event)
                case JobEnded():
                    self.open_jobs -= 1
                    self.unexplained_nanos -= event.paid_nanos

    def _ended(self, now_ns: int, event: LeaseEnded) -> None:
        offer, since_ns = self._leases.pop(event.lease_id)
        if event.state == LeaseState.SETTLED:
            return
        self.failed += 1
        self.billed_failed_nanos += event.billed_nanos
        place = self._instruments.index(offer.instrument_id)
        whole_s = offer.quantity_mflop * FLOPS_PER_MFLOP / self._flops_per_s
        spent_s = min(whole_s, (now_ns - since_ns) / NS_PER_S * self._speeds[place])
        self.void.append((since_ns - BEGIN_NS, place, spent_s))


def measure(plan: Plan, cell: Cell, each: Each) -> list[Row]:
    """By window: welfare, less what void work cost, and the bound on the workers that are there."""
    demand = plan.demand(cell)
    fleet = cut(plan.settings(cell))
    scenario = msgspec.structs.replace(fleet, losses=_losses(str(cell["losses"]), fleet))
    seen = Attempts(demand, scenario)
    outcome = run_market(demand, scenario, observer=seen)
    welfare = [float(nanos) for nanos in outcome.welfare_nanos(demand, scenario)]
    for began_ns, place, work_s in seen.void:
        window = bisect.bisect_right(demand.window_starts_ns, began_ns, hi=demand.windows) - 1
        welfare[window] -= scenario.classes[place].cost * work_s * UNIT_NANOS
    best = welfare_bound(demand, scenario, STEP_S, each)
    seconds = demand.window_starts_ns[-1] / NS_PER_S
    whole = {
        "lost": lost_share(scenario, seconds),
        "seconds": seconds,
        "jobs": len(demand.jobs),
        "attempts": seen.offered / max(len(seen.started), 1),
        "failed": seen.failed / max(seen.offered, 1),
        "open_jobs": seen.open_jobs,
        "billed_wrongly": seen.billed_failed_nanos + abs(seen.unexplained_nanos),
        "missed": outcome.missed(demand),
    }
    return [
        {"window": w, "welfare": welfare[w], "bound": best[w], **whole}
        for w in range(demand.windows)
    ]


def lost_share(scenario: Scenario, seconds: float) -> float:
    """The share of all work that the fleet could do and that is away, in so many seconds."""
    timeline = slots_present(scenario, changes_of(scenario, seconds))
    ends = [at_ns for at_ns, _ in timeline[1:]] + [round(seconds * NS_PER_S)]
    speeds = [kind.speed for kind in scenario.classes]
    able = sum(
        (end_ns - begin_ns) * sum(n * speed for n, speed in zip(slots, speeds, strict=True))
        for (begin_ns, slots), end_ns in zip(timeline, ends, strict=True)
    )
    return float(1 - able / (scenario.capacity() * seconds * NS_PER_S))


class _Pair:
    """Windows of a market without losses and with them."""

    def __init__(self, market: pl.DataFrame, kind: str) -> None:
        none, self.rows = (market.filter(pl.col("losses") == k) for k in (NONE, kind))
        self._of = {
            name: (none[name].to_list(), self.rows[name].to_list()) for name in ("welfare", "bound")
        }
        self.windows = none.height

    def reached(self) -> Interval:
        """Welfare over the bound, with the losses."""
        return ratio(self._of["welfare"][1], self._of["bound"][1])

    def cost(self) -> Interval:
        """How much more of the bound is reached without losses."""

        def statistic(kept: list[int]) -> float:
            calm, lost = (
                sum(self._of["welfare"][i][w] for w in kept)
                / sum(self._of["bound"][i][w] for w in kept)
                for i in (0, 1)
            )
            return float(calm - lost)

        return jackknife(statistic, self.windows)

    def per_capacity(self, name: str = "welfare") -> Interval:
        """The share of welfare (or of the bound) that is lost, per share of capacity."""
        calm, lost = self._of[name]
        shares = [max(share, LEAST_LOST) for share in self.rows["lost"]]
        parts = zip(calm, lost, shares, strict=True)
        return ratio([(a - b) / share for a, b, share in parts], calm)


def conclude(plan: Plan, frame: pl.DataFrame) -> list[Claim]:
    """Money and ends over all losses; welfare by kind of loss."""
    del plan
    claims = []
    for (trace, load), market in frame.group_by("trace", "load", maintain_order=True):
        where = f"{trace} at load {load:g}"
        for name, says in (
            ("billed_wrongly", "nano-dollars billed for failed attempts are 0"),
            ("open_jobs", "jobs that never end are 0"),
        ):
            found = float(market.group_by("cell").agg(pl.col(name).first())[name].sum())
            claims.append(Claim(f"{where}: {says}", Interval(found, found, found), not found))
        for kind in market["losses"].unique(maintain_order=True):
            if kind != NONE:
                claims += _of_kind(where, str(kind), _Pair(market, kind))
    return claims


def _of_kind(where: str, kind: str, pair: _Pair) -> list[Claim]:
    row = pair.rows.row(0, named=True)
    figure, bound = pair.cost(), pair.per_capacity("bound").mean
    claimed, met = kind in CLAIMED, figure.mean <= MOST
    says = f"{where}, {kind}: losses cost "
    says += f"at most {MOST} of the bound on" if claimed else "so much, for comparison, beside"
    says += f" what is left ({row['lost']:.2f} of the capacity away, {row['failed']:.3f} of the "
    says += f"attempts failed, {row['attempts']:.3f} attempts per job)"
    why = "a lost job is missed after ten seconds and begun again from nothing; the bound loses no "
    why += "work, and knows before which workers will go"
    per = f"{where}, {kind}: welfare lost per capacity lost, for comparison (of the bound: "
    per += f"{bound:.2f})"
    return [
        Claim(says, figure, met if claimed else None, why if claimed and not met else ""),
        Claim(per, pair.per_capacity(), None),
    ]


def draw(frame: pl.DataFrame) -> list[Plot]:
    """Welfare over what was possible, and welfare lost per capacity, by kind of loss."""
    figure, (left, right) = figures.panels(2, width=10.0, height=4.2, sharey=True)
    kinds = frame["losses"].unique(maintain_order=True).to_list()
    markets = list(frame.group_by("trace", "load", maintain_order=True))
    for place, ((trace, load), market) in enumerate(markets):
        colour = figures.COLOURS[place]
        label = f"{str(trace).split('.')[0]}, load {load:g}"
        shift = 0.13 * (place - (len(markets) - 1) / 2)
        for axis, shown in ((left, kinds), (right, [kind for kind in kinds if kind != NONE])):
            pairs = [_Pair(market, kind) for kind in shown]
            points = [p.reached() if axis is left else p.per_capacity() for p in pairs]
            places = [-kinds.index(kind) + shift for kind in shown]
            _dots(axis, points, places, colour, label)
            if axis is right:
                best = [pair.per_capacity("bound").mean for pair in pairs]
                axis.plot(best, places, "|", color=colour, markersize=11, markeredgewidth=2)
    left.set_yticks([-i for i in range(len(kinds))], kinds)
    figures.named(left, "welfare / bound on the workers that are there", "")
    figures.named(right, "share of welfare lost / share of capacity lost", "")
    right.axvline(1, color=figures.GREY, linewidth=1, linestyle=(0, (4, 3)))
    figures.legend(left, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2, fontsize=9)
    caption = "What losing a fifth of the workers costs. Left: of what could be had with those "
    caption += "that are there; right: beside the capacity that is away (upright strokes: what the "
    caption += "bound itself loses). Bars: 95 % over windows."
    return [Plot(figure, caption)]


def _dots(axis: Any, points: list[Interval], places: list[float], colour: str, label: str) -> None:
    means = [point.mean for point in points]
    spans = [(p.mean - p.low, p.high - p.mean) for p in points]
    axis.errorbar(
        means, places, xerr=tuple(zip(*spans, strict=True)), fmt="o", color=colour, label=label,
        capsize=2.5,
    )  # fmt: skip


STUDY: Final = Study(
    name="worker_loss",
    number="S12",
    hypothesis="a market whose workers vanish bills nobody for it, finishes every job one way or "
    "another, and loses little beyond the capacity that is away",
    metric="nano-dollars billed for failed attempts; jobs that never end; welfare over the "
    "clairvoyant bound on the workers that are there, less than without losses; sums over windows",
    threshold=f"0; 0; at most {MOST} where workers live for two minutes or more, alone or class by "
    "class",
    loads=(1.3,),
    seeds=1,
    cells=cells,
    measure=measure,
    conclude=conclude,
    draw=draw,
)
