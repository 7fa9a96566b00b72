"""S11, message load: how many messages a job takes, by load and number of workers.

Counted is what the live protocol sends: a call and its answer, a watch and an update for each state
of a job, what a worker's session carries for each lease, and what it carries while nothing happens
(heartbeats in silence, quotes sent again before they expire). Output is not counted: it is the
same under every rule. Every worker has two slots; with more slots there is a session for more jobs,
and less is said in silence.

A quote states an ask for every slot, so that a fill changes no quote. Beside it the same market
runs with workers that state one ask for all their slots and send it anew after each change. Other
rules are counted on the same demand: what a queue must send at least, one auction for each job,
and quotes that follow the price or the clock.
"""

from __future__ import annotations

import bisect
import itertools
from collections.abc import Sequence
from typing import Final

import msgspec
import polars as pl

from exchange.core import commands as c
from exchange.core.events import (
    AnyEvent,
    Cleared,
    InstrumentAdded,
    JobEnded,
    JobQueued,
    LeaseOffered,
    LeaseStarted,
    ReceiptRefused,
    ReceiptSettled,
)
from exchange.core.limits import NS_PER_S
from exchange.core.rules import LIVE_RULES
from sim.demand import Demand, Job
from sim.intervals import Interval, jackknife, ratio
from sim.market import BEGIN_NS, number_of, run_market
from sim.outcome import UNSERVED, Outcome
from sim.rivals import AUCTION_NS, run_rivals
from sim.scenario import Scenario, ScenarioError
from sim.studies import figures
from sim.studies.study import Cell, Claim, Each, Plan, Plot, Row, Study

MOST: Final = 20.0
GROWTH: Final = 1.1
WORKERS: Final = (10, 100, 1_000)
SILENT_WORKER_NS: Final = 1 * NS_PER_S
"""A live worker says something at least this often."""
SILENT_EXCHANGE_NS: Final = 2 * NS_PER_S
"""So does the exchange to each worker."""
SILENT_WATCH_NS: Final = 10 * NS_PER_S
"""So does it to whoever watches a job."""
QUOTED_AGAIN_NS: Final = 20 * NS_PER_S
"""A third of a quote's usual time to live."""
SLOTS: Final = 2
"""Of every worker: enough for an ask that depends on how many are in use."""
QUEUE_MESSAGES: Final = 4
"""The job to the queue and on to a worker, and the answer back: no dispatcher does with fewer."""
OF_LEASE: Final = 5
"""Messages with the worker for a lease: offer, acceptance, start, receipt and its result."""
RULES: Final = {
    "market": "the market",
    "queue": "a queue, at least",
    "own_change": "quotes anew after each own change",
    "price_change": "quotes anew after each price change",
    "auction": "an auction for each job",
    "each_batch": "quotes anew for each batch",
}


class MessageCounter:
    """Counts messages: those about a job in the window in which it came, the others evenly.

    Attributes:
        counts: By window and kind.
    """

    OF_JOBS: Final = ("buyer", "lease", "waiting")
    EVENLY: Final = ("quote", "silence", "price_change", "command", "event")

    def __init__(self, demand: Demand, scenario: Scenario) -> None:
        self.counts: list[dict[str, float]] = [
            dict.fromkeys((*self.OF_JOBS, *self.EVENLY), 0.0) for _ in range(demand.windows)
        ]
        self._all = dict.fromkeys(self.EVENLY, 0)
        self._demand = demand
        self._workers = [kind.workers for kind in scenario.classes]
        self._instruments: list[int] = []
        self._prices: dict[int, int] = {}
        self._heard: dict[int, int] = {}  # of each worker, when last
        self._told: dict[int, int] = {}
        self._of_job: dict[int, dict[str, float]] = {}
        self._of_lease: dict[int, dict[str, float]] = {}
        self._watched: dict[int, int] = {}  # of each job, when its buyer last heard

    def see(self, now_ns: int, command: c.Command, events: Sequence[AnyEvent]) -> None:
        """One command and its events."""
        market_ns = now_ns - BEGIN_NS
        self._all["command"] += not isinstance(command, c.Advance)
        self._all["event"] += len(events)
        match command:
            case c.SubmitJob():
                number = number_of(command.client_job_id)
                here = self.counts[self._demand.jobs[number].window]
                here["buyer"] += 3  # the call, its answer, and the watch
            case c.AcceptLease() | c.StartLease() | c.SettleLease():
                self._of_lease[command.lease_id]["lease"] += 1
                self._silent(self._heard, command.worker_id, market_ns, SILENT_WORKER_NS)
            case c.SetQuote():
                self._all["quote"] += 1
                self._silent(self._heard, command.worker_id, market_ns, SILENT_WORKER_NS)
        for event in events:
            match event:
                case InstrumentAdded():
                    self._instruments.append(event.instrument_id)
                case JobQueued() | LeaseStarted() | JobEnded():
                    if isinstance(event, JobQueued):
                        window = self._demand.jobs[number_of(event.client_job_id)].window
                        self._of_job[event.job_id] = self.counts[window]
                    self._state(event.job_id, market_ns)
                case LeaseOffered():
                    self._state(event.job_id, market_ns)
                    self._of_lease[event.lease_id] = self._of_job[event.job_id]
                    self._from_exchange(event, market_ns)
                case ReceiptSettled() | ReceiptRefused():
                    self._from_exchange(event, market_ns)
                case Cleared() if market_ns < self._demand.window_starts_ns[-1]:
                    self._cleared(event)

    def end(self) -> None:
        """The market is over: the last silences count, and the quotes that were sent again."""
        starts = self._demand.window_starts_ns
        for worker_id in list(self._heard):
            self._silent(self._heard, worker_id, starts[-1], SILENT_WORKER_NS)
            self._silent(self._told, worker_id, starts[-1], SILENT_EXCHANGE_NS)
        self._all["quote"] += sum(self._workers) * (starts[-1] // QUOTED_AGAIN_NS)
        for here, (begin_ns, end_ns) in zip(self.counts, itertools.pairwise(starts), strict=True):
            for kind, count in self._all.items():
                here[kind] = count * (end_ns - begin_ns) / starts[-1]

    def _state(self, job_id: int, now_ns: int) -> None:
        """Whoever watches a job is told its new state, and heard heartbeats before."""
        here = self._of_job[job_id]
        here["buyer"] += 1
        here["waiting"] += (now_ns - self._watched.get(job_id, now_ns)) // SILENT_WATCH_NS
        self._watched[job_id] = now_ns

    def _from_exchange(
        self, event: LeaseOffered | ReceiptSettled | ReceiptRefused, now_ns: int
    ) -> None:
        self._of_lease[event.lease_id]["lease"] += 1
        self._silent(self._told, event.worker_id, now_ns, SILENT_EXCHANGE_NS)

    def _silent(self, last: dict[int, int], worker_id: int, now_ns: int, most_ns: int) -> None:
        """Something is said: the heartbeats before it count, until the market's end."""
        now_ns = min(now_ns, self._demand.window_starts_ns[-1])
        self._all["silence"] += (now_ns - last.get(worker_id, 0)) // most_ns
        last[worker_id] = now_ns

    def _cleared(self, event: Cleared) -> None:
        """A worker that follows the price quotes anew, as do all of its class."""
        if self._prices.get(event.instrument_id) != event.price_nanos:
            self._prices[event.instrument_id] = event.price_nanos
            place = self._instruments.index(event.instrument_id)
            self._all["price_change"] += self._workers[place]


def sized(scenario: Scenario, workers: int) -> Scenario:
    """The scenario with so many workers in all, shared among the classes as their slots were.

    Raises:
        ScenarioError: there would be a class without one.
    """
    have = [kind.workers * kind.slots for kind in scenario.classes]
    sums = [workers * sum(have[:i]) // sum(have) for i in range(len(have) + 1)]
    counts = [high - low for low, high in itertools.pairwise(sums)]
    if not all(counts):
        raise ScenarioError(f"{workers} workers are too few for {len(counts)} classes")
    classes = tuple(
        msgspec.structs.replace(kind, workers=count, slots=SLOTS)
        for kind, count in zip(scenario.classes, counts, strict=True)
    )
    return msgspec.structs.replace(scenario, classes=classes)


def cells(plan: Plan) -> list[Cell]:
    """Every market with each number of workers, the large ones first."""
    return [
        {**market, "workers": workers} for workers in reversed(WORKERS) for market in plan.markets()
    ]


def measure(plan: Plan, cell: Cell, each: Each) -> list[Row]:
    """By window: jobs, messages of every kind and rule, and welfare with either way to quote."""
    del each
    workers = int(cell["workers"])
    scenario = sized(plan.settings(cell), workers)
    demand = plan.demand(cell, scenario)
    counter, anew = MessageCounter(demand, scenario), MessageCounter(demand, scenario)
    standing = run_market(demand, scenario, observer=counter)
    requoted = run_market(demand, scenario, standing=False, observer=anew)
    for one in (counter, anew):
        one.end()
    auction = run_rivals(demand, scenario, ("reverse_auction",))["reverse_auction"]
    calls = auction_messages(demand, scenario, auction)
    welfare = [outcome.welfare_nanos(demand, scenario) for outcome in (standing, requoted)]
    rows: list[Row] = []
    for w, (here, there) in enumerate(zip(counter.counts, anew.counts, strict=True)):
        span_ns = demand.window_starts_ns[w + 1] - demand.window_starts_ns[w]
        jobs = sum(job.window == w for job in demand.jobs)
        trading, market = here["buyer"] + here["lease"] + here["waiting"], _all(here)
        rows.append({
            "window": w,
            "jobs": jobs,
            "seconds": span_ns / NS_PER_S,
            **here,
            "market": market,
            "queue": jobs * QUEUE_MESSAGES + here["silence"],
            "own_change": _all(there),
            "price_change": market + here["price_change"],
            "auction": calls[w] + jobs * QUEUE_MESSAGES + here["silence"],
            "each_batch": trading + workers * (span_ns // LIVE_RULES.batch_period_ns),
            "welfare": float(welfare[0][w]),
            "own_welfare": float(welfare[1][w]),
        })  # fmt: skip
    return rows


def _all(counts: dict[str, float]) -> float:
    return sum(counts[kind] for kind in ("buyer", "lease", "waiting", "quote", "silence"))


def auction_messages(demand: Demand, scenario: Scenario, auction: Outcome) -> list[int]:
    """By window: calls to the workers that could do a job in time, and bids of those that are free.

    A job is called out a second after it came, and again each second until it begins or is too
    late. How a class's free slots lie on its workers is not known: on as few as possible.
    """
    kinds = scenario.classes
    begins: list[list[int]] = [[] for _ in kinds]
    ends: list[list[int]] = [[] for _ in kinds]
    for job, place, done_ns in zip(demand.jobs, auction.served_by, auction.done_ns, strict=True):
        if place != UNSERVED:
            begins[place].append(done_ns - round(job.work_ns / kinds[place].speed))
            ends[place].append(done_ns)
    for times in (*begins, *ends):
        times.sort()
    messages = [0] * demand.windows
    for job in demand.jobs:
        for now_ns in _rounds(job, scenario, auction):
            for place, kind in enumerate(kinds):
                if now_ns + round(job.work_ns / kind.speed) <= job.deadline_ns:
                    running = bisect.bisect_left(begins[place], now_ns)
                    running -= bisect.bisect_right(ends[place], now_ns)
                    free = kind.workers * kind.slots - running
                    messages[job.window] += kind.workers + -(-free // kind.slots)
    return messages


def _rounds(job: Job, scenario: Scenario, auction: Outcome) -> range:
    """When a job is called out."""
    place = auction.served_by[job.number]
    if place == UNSERVED:
        fastest = max(kind.speed for kind in scenario.classes)
        last_ns = job.deadline_ns - round(job.work_ns / fastest)
    else:
        speed = scenario.classes[place].speed
        last_ns = auction.done_ns[job.number] - round(job.work_ns / speed)
    return range(job.arrival_ns + AUCTION_NS, last_ns + 1, AUCTION_NS)


def _per_job(part: pl.DataFrame, rule: str) -> Interval:
    return ratio(part[rule].to_list(), part["jobs"].to_list())


def growth(few: pl.DataFrame, many: pl.DataFrame) -> Interval:
    """Messages per job with many workers over those with few."""

    def statistic(kept: list[int]) -> float:
        high, low = (
            sum(part["market"][w] for w in kept) / sum(part["jobs"][w] for w in kept)
            for part in (many, few)
        )
        return float(high / low)

    return jackknife(statistic, few.height)


def _why_grown(few: pl.DataFrame, many: pl.DataFrame) -> str:
    served = [ratio(part["lease"].to_list(), part["jobs"].to_list()).mean for part in (few, many)]
    seconds = [part["seconds"].sum() for part in (few, many)]
    return (
        f"a served job takes twelve messages and another five: {served[0] / OF_LEASE:.2f} of all "
        f"begin with {min(WORKERS)} workers in {seconds[0]:.0f} s, {served[1] / OF_LEASE:.2f} with "
        f"{max(WORKERS):,} in {seconds[1]:.0f} s, which are too few for an overload to be felt"
    )


def conclude(plan: Plan, frame: pl.DataFrame) -> list[Claim]:
    """By market: messages per job in the largest fleet, and their growth from the smallest."""
    del plan
    claims = []
    for (trace, load), market in frame.group_by("trace", "load", maintain_order=True):
        sizes = [market.filter(pl.col("workers") == n) for n in (min(WORKERS), max(WORKERS))]
        where = f"{trace} at load {load:g}"
        largest = f"{where}, {max(WORKERS)} workers"
        figure, more = _per_job(sizes[1], "market"), growth(*sizes)
        trading = ratio(
            (sizes[1]["buyer"] + sizes[1]["lease"]).to_list(), sizes[1]["jobs"].to_list()
        )
        lost = ratio(
            (sizes[1]["welfare"] - sizes[1]["own_welfare"]).to_list(), sizes[1]["welfare"].to_list()
        )
        idle = "" if figure.mean <= MOST else "workers that do nothing send heartbeats"
        grown = "" if more.mean <= GROWTH else _why_grown(*sizes)
        claims += [
            Claim(f"{largest}: at most {MOST:g} messages per job ({trading.mean:.1f} of its own, "
                  "the rest in silence and to renew quotes)", figure, not idle, idle),
            Claim(f"{where}: messages per job are at most {GROWTH} times those of {min(WORKERS)} "
                  "workers", more, not grown, grown),
            *(
                Claim(f"{largest}: {RULES[rule]}: so many per job, for comparison",
                      _per_job(sizes[1], rule), None)
                for rule in RULES if rule != "market"
            ),
            Claim(f"{largest}: welfare lost where one ask for all slots is quoted anew after each "
                  "change, for comparison", lost, None),
        ]  # fmt: skip
    return claims


def draw(frame: pl.DataFrame) -> list[Plot]:
    """Messages per job by number of workers, for every rule; and what the market's are."""
    markets = list(frame.group_by("trace", "load", maintain_order=True))
    figure, axes = figures.panels(
        len(markets), width=2.0 + 3.0 * len(markets), height=4.2, sharey=True
    )
    for axis, ((trace, load), market) in zip(axes, markets, strict=True):
        for place, (rule, text) in enumerate(RULES.items()):
            points = [_per_job(market.filter(pl.col("workers") == n), rule) for n in WORKERS]
            style = {"linewidth": 2.6, "zorder": 9} if rule == "market" else {"linewidth": 1.2}
            figures.line(axis, WORKERS, points, text, figures.COLOURS[place], **style)
        axis.set_xscale("log")
        axis.set_yscale("log")
        title = f"{str(trace).split('.')[0]}, load {load:g}"
        figures.named(axis, "workers", "messages per job" if axis is axes[0] else "", title)
    figures.threshold(axes[0], MOST, f"{MOST:g}")
    figures.shared_legend(figure, axes[0], min(3, len(markets) + 1))
    caption = "Messages per job against the number of workers, each of two slots, on log scales."
    return [Plot(figure, caption), _parts(frame)]


def _parts(frame: pl.DataFrame) -> Plot:
    """What the market's messages are, by load, in the largest fleet."""
    here = frame.filter(pl.col("workers") == max(WORKERS))
    markets = list(here.group_by("trace", "load", maintain_order=True))
    figure, (axis,) = figures.panels(1, width=6.6, height=1.7 + 0.45 * len(markets))
    names = {"buyer": "with the buyer", "lease": "with the worker, for leases",
             "waiting": "heartbeats while jobs wait", "silence": "heartbeats of workers",
             "quote": "quotes, to renew them"}  # fmt: skip
    for place, (_, part) in enumerate(markets):
        left = 0.0
        for colour, (kind, text) in zip(figures.COLOURS, names.items(), strict=False):
            width = _per_job(part, kind).mean
            axis.barh(-place, width, 0.62, left, color=colour, label="" if place else text)
            left += width
    labels = [f"{str(trace).split('.')[0]}, load {load:g}" for (trace, load), _ in markets]
    axis.set_yticks([-i for i in range(len(markets))], labels)
    axis.grid(False, axis="y")
    figures.named(axis, "messages per job", "")
    figures.legend(axis, loc="lower center", bbox_to_anchor=(0.4, 1.0), ncols=2)
    return Plot(figure, f"What the market's messages are, with {max(WORKERS):,} workers.")


STUDY: Final = Study(
    name="messages",
    number="S11",
    hypothesis="quotes that stand keep the number of messages per job small and independent of "
    "how many workers there are",
    metric="messages per submitted job, all that buyers' calls and workers' sessions carry but for "
    "output; sums over windows",
    threshold=f"at most {MOST:g} with {max(WORKERS):,} workers, and at most {GROWTH} times those "
    f"with {min(WORKERS)}",
    loads=(0.5, 0.8, 1.0, 1.3),
    seeds=1,
    cells=cells,
    measure=measure,
    conclude=conclude,
    draw=draw,
)
