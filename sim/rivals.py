"""What a user would run instead of a market, on the same jobs and the same slots.

Queues know arrival, work and (where they drop) deadlines, and nothing of values, but for
`priority` and `density`, to whom they are told truthfully. Work is known to all, as it is to the
market. Each rule starts a job at once where it may; none interrupts one.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Collection, Sequence
from typing import Final, NamedTuple

from exchange.core.limits import NS_PER_S
from sim.demand import Demand, Job
from sim.outcome import UNSERVED, Outcome
from sim.scenario import UNIT_NANOS, Scenario
from sim.supply import changes_of

POSTED_GRID: Final = (0.0, 0.3, 0.6, 0.9, 1.2)
"""Prices, in units of value per unit of work, of which `posted` keeps the best in hindsight."""
SPILL_AFTER_NS: Final = 2 * NS_PER_S
AUCTION_NS: Final = 1 * NS_PER_S
PRIORITIES: Final = 3

NAMES: Final = (
    "fifo", "fifo_drop", "edf_drop", "priority", "density", "reverse_auction", "least_loaded",
    "cheapest_spill", "posted",
)  # fmt: skip
"""Of all rules."""

Key = Callable[[Job], tuple[float, ...]]


class Rule(NamedTuple):
    """One queue for all slots.

    Attributes:
        key: Least first.
        drops: Whether jobs that can end in time nowhere leave, and a job only starts where it will.
        cheapest: Whether a job takes the cheapest free class, or else the fastest.
        auction_ns: What passes between arrival and start, and again after each try in vain.
    """

    key: Key
    drops: bool = True
    cheapest: bool = False
    auction_ns: int = 0


def run_rivals(
    demand: Demand, scenario: Scenario, names: Collection[str] = NAMES
) -> dict[str, Outcome]:
    """The outcomes of rules, by their names: of all, or of those named.

    Rules that give a job to a slot's own queue have nothing to do with it when the slot is lost:
    where the scenario loses workers, they are left out.
    """
    ranks = _priorities(demand)
    queues = {
        "fifo": Rule(_arrival, drops=False),
        "fifo_drop": Rule(_arrival),
        "edf_drop": Rule(lambda job: (job.deadline_ns,)),
        "priority": Rule(lambda job: (ranks[job.number], job.arrival_ns)),
        "density": Rule(_density, cheapest=True),
        "reverse_auction": Rule(_arrival, cheapest=True, auction_ns=AUCTION_NS),
    }
    choices = {"least_loaded": _least_loaded, "cheapest_spill": _cheapest_spill}
    outcomes = {}
    for name in names:
        if name in queues:
            outcomes[name] = _queue(name, demand, scenario, queues[name])
        elif name == "posted":
            outcomes[name] = _posted(demand, scenario)
        elif not scenario.losses:
            outcomes[name] = _assigned(name, demand, scenario, choices[name])
    return outcomes


def _arrival(job: Job) -> tuple[float, ...]:
    return (job.arrival_ns,)


def _density(job: Job) -> tuple[float, ...]:
    return (-job.value_nanos / job.work_ns, job.arrival_ns)


def _priorities(demand: Demand) -> list[int]:
    """Equally many jobs of each priority, by their true value density; 0 goes first."""
    order = sorted(demand.jobs, key=_density)
    ranks = [0] * len(order)
    for place, job in enumerate(order):
        ranks[job.number] = place * PRIORITIES // len(order)
    return ranks


def _posted(demand: Demand, scenario: Scenario) -> Outcome:
    """First come, first served at one price, the best of POSTED_GRID for this very demand."""
    best: tuple[int, Outcome] | None = None
    for price in POSTED_GRID:
        least = price * UNIT_NANOS / NS_PER_S
        buyers = [job for job in demand.jobs if job.value_nanos >= least * job.work_ns]
        outcome = _queue("posted", demand, scenario, Rule(_arrival), buyers)
        welfare = sum(outcome.welfare_nanos(demand, scenario))
        if best is None or welfare > best[0]:
            best = welfare, outcome
    assert best is not None
    return best[1]


class _Slots:
    """Free slots, by class and worker, and what runs on them.

    A lost worker's jobs are missed, and wait again, as late as the market misses them.
    """

    def __init__(self, scenario: Scenario) -> None:
        kinds = scenario.classes
        self.free = [kind.workers * kind.slots for kind in kinds]
        self._class_of = [place for place, kind in enumerate(kinds) for _ in range(kind.workers)]
        self._slots = [kinds[place].slots for place in self._class_of]
        self._open = [*self._slots]  # by worker; nothing where it is away
        self._first = [self._class_of.index(place) for place in range(len(kinds))]
        self._running: dict[int, tuple[int, int]] = {}  # job -> worker, end

    def start(self, number: int, place: int, done_ns: int) -> None:
        """A job takes a slot of a class that has one free."""
        self.free[place] -= 1
        worker = next(w for w in range(self._first[place], len(self._open)) if self._open[w])
        self._open[worker] -= 1
        self._running[number] = worker, done_ns

    def end(self, number: int, now_ns: int) -> None:
        """A job's time is over: its slot is free, unless the job was lost."""
        worker, done_ns = self._running.get(number, (0, 0))
        if done_ns == now_ns:
            del self._running[number]
            self._open[worker] += 1
            self.free[self._class_of[worker]] += 1

    def change(self, worker: int, present: bool) -> list[int]:
        """A worker is lost, or is back; returns the jobs that are lost with it."""
        place = self._class_of[worker]
        self.free[place] -= self._open[worker]
        self._open[worker] = self._slots[worker] if present else 0
        self.free[place] += self._open[worker]
        gone = [number for number, (by, _) in self._running.items() if by == worker]
        for number in gone:
            del self._running[number]
        return gone


_ARRIVES: Final = -1
_CHANGES: Final = -2


def _queue(
    name: str, demand: Demand, scenario: Scenario, rule: Rule, buyers: Sequence[Job] | None = None
) -> Outcome:
    """All jobs of the demand through one queue, or those of `buyers` alone."""
    outcome = Outcome.empty(name, len(demand.jobs))
    classes, slots = scenario.classes, _Slots(scenario)
    measure = [c.cost if rule.cheapest else -c.speed for c in classes]
    order = sorted(range(len(classes)), key=lambda i: measure[i])
    fastest = max(c.speed for c in classes)
    jobs = demand.jobs if buyers is None else buyers
    changes = changes_of(scenario, demand.window_starts_ns[-1] / NS_PER_S)
    found_ns = round(scenario.losses.found_after_s * NS_PER_S) if scenario.losses else 0
    # By time: a slot gets free (its class), a job may start, or a worker is lost or back.
    events = [(job.arrival_ns + rule.auction_ns, job.number, _ARRIVES) for job in jobs]
    events += [(change.at_ns, number, _CHANGES) for number, change in enumerate(changes)]
    heapq.heapify(events)
    waiting: list[tuple[tuple[float, ...], int]] = []
    while events:
        now_ns = events[0][0]
        while events and events[0][0] == now_ns:
            _, number, what = heapq.heappop(events)
            if what == _ARRIVES:
                heapq.heappush(waiting, (rule.key(demand.jobs[number]), number))
            elif what == _CHANGES:
                for lost in slots.change(changes[number].worker, changes[number].present):
                    outcome.serve(lost, UNSERVED, 0)
                    heapq.heappush(events, (now_ns + found_ns + rule.auction_ns, lost, _ARRIVES))
            else:
                slots.end(number, now_ns)
        kept = []
        while waiting and (any(slots.free) or rule.auction_ns):
            entry = heapq.heappop(waiting)
            job = demand.jobs[entry[1]]
            if rule.drops and _ends(job, now_ns, fastest) > job.deadline_ns:
                continue
            open_to = (i for i in order if slots.free[i] and _fits(job, now_ns, i, scenario, rule))
            place = next(open_to, -1)
            if place >= 0:
                done_ns = _ends(job, now_ns, classes[place].speed)
                slots.start(job.number, place, done_ns)
                outcome.serve(job.number, place, done_ns)
                heapq.heappush(events, (done_ns, job.number, place))
            elif rule.auction_ns:
                heapq.heappush(events, (now_ns + rule.auction_ns, job.number, _ARRIVES))
            else:
                kept.append(entry)
        for entry in kept:
            heapq.heappush(waiting, entry)
    return outcome


def _fits(job: Job, now_ns: int, index: int, scenario: Scenario, rule: Rule) -> bool:
    done_ns = _ends(job, now_ns, scenario.classes[index].speed)
    return not rule.drops or done_ns <= job.deadline_ns


def _ends(job: Job, now_ns: int, speed: float) -> int:
    return now_ns + round(job.work_ns / speed)


Backlogs = list[list[int]]
"""For each class the times at which its slots will be free, a heap."""


def _assigned(
    name: str,
    demand: Demand,
    scenario: Scenario,
    choose: Callable[[Scenario, Backlogs, int], int],
) -> Outcome:
    """Each job is given to a slot's own queue when it arrives, and stays there."""
    outcome = Outcome.empty(name, len(demand.jobs))
    backlogs = [[0] * (c.workers * c.slots) for c in scenario.classes]
    for job in demand.jobs:
        index = choose(scenario, backlogs, job.arrival_ns)
        start_ns = max(job.arrival_ns, backlogs[index][0])
        done_ns = _ends(job, start_ns, scenario.classes[index].speed)
        heapq.heapreplace(backlogs[index], done_ns)
        outcome.serve(job.number, index, done_ns)
    return outcome


def _least_loaded(scenario: Scenario, backlogs: Backlogs, now_ns: int) -> int:
    """The slot that is free first; among those that are free now, the fastest."""
    return min(
        range(len(backlogs)),
        key=lambda i: (max(backlogs[i][0] - now_ns, 0), -scenario.classes[i].speed),
    )


def _cheapest_spill(scenario: Scenario, backlogs: Backlogs, now_ns: int) -> int:
    """The cheapest class whose wait is not above SPILL_AFTER_NS, or else the cheapest."""
    by_cost = sorted(range(len(backlogs)), key=lambda i: scenario.classes[i].cost)
    short = (i for i in by_cost if backlogs[i][0] - now_ns <= SPILL_AFTER_NS)
    return next(short, by_cost[0])
