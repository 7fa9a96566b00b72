"""Fleets from offers of machines, and losses of workers from traces of preemptions.

The readers are those of `sim.traces.supply`.
"""

from __future__ import annotations

import bisect
import itertools
import math
import random
import re
import statistics
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final, NamedTuple

from exchange.core.limits import NS_PER_MS, NS_PER_S
from matching.types import CLASSES_MAX
from sim.scenario import HardwareClass, Scenario, ScenarioError
from sim.traces.supply import (
    Offer,
    Presence,
    SpotPrice,
    SupplyFileError,
    read_offers,
    read_presence,
    read_spot_prices,
)

__all__ = [
    "Change",
    "Offer",
    "Presence",
    "SpotPrice",
    "SupplyFileError",
    "changes_of",
    "cost_factors",
    "factor_at",
    "fleet",
    "losses",
    "read_offers",
    "read_presence",
    "read_spot_prices",
    "slots_present",
    "spot_offers",
]

_APART: Final = re.compile(r"[^a-z0-9]+")


class Change(NamedTuple):
    """A worker of a scenario is lost, or comes back; workers count from 0, class by class."""

    at_ns: int
    worker: int
    present: bool


def fleet(
    offers: Iterable[Offer],
    speeds: Mapping[str, float],
    *,
    slots: int = 8,
    workers: int = 0,
    bands: int = 3,
    cheapest: float = 0.10,
) -> tuple[HardwareClass, ...]:
    """Hardware classes of the offers of one list: what a scenario calls `classes`.

    Offers of a GPU are ranked by their price per GPU and cut into `bands` of equally many, each a
    class, whose cost is its median price over its speed. Costs are scaled so that the cheapest
    class has `cheapest`. Of several lists the last counts: all would count machines twice.

    Args:
        offers: As `read_offers` gives them.
        speeds: Speed of each GPU that takes part, relative to a slot of speed 1; no offer says it.
        slots: Of one GPU.
        workers: Most workers of all classes together, in proportion; 0 for one per GPU offered.
        bands: Classes of one GPU.
        cheapest: Cost of a unit of work on the cheapest class, as a scenario counts it.

    Raises:
        ScenarioError: no offer is of these GPUs, or there would be too many classes.
    """
    known = [offer for offer in offers if offer.gpu in speeds]
    last_ns = max((offer.at_ns for offer in known), default=0)
    by_gpu: dict[str, list[float]] = {}
    for offer in known:
        if offer.at_ns == last_ns:
            prices = by_gpu.setdefault(offer.gpu, [])
            prices += [offer.ask_usd_h / offer.gpus] * offer.gpus
    if not by_gpu:
        raise ScenarioError(f"no offer is of one of: {', '.join(speeds)}")
    classes = []
    for gpu, prices in sorted(by_gpu.items()):
        prices.sort()
        parts = min(bands, len(prices))
        for band in range(parts):
            part = prices[band * len(prices) // parts : (band + 1) * len(prices) // parts]
            cost = statistics.median(part) / speeds[gpu]
            classes.append((f"{_slug(gpu)}-{band + 1}", len(part), speeds[gpu], cost))
    if len(classes) > CLASSES_MAX:
        raise ScenarioError(f"{len(classes)} classes: at most {CLASSES_MAX} clear together")
    least = min(cost for *_, cost in classes)
    count = sum(n for _, n, *_ in classes)
    share = min(1.0, workers / count) if workers else 1.0
    return tuple(
        HardwareClass(name, max(1, round(n * share)), slots, speed, cost / least * cheapest)
        for name, n, speed, cost in classes
    )


def spot_offers(prices: Iterable[SpotPrice]) -> list[Offer]:
    """Spot machines as offers: of each type, one in each zone, at its last price there.

    A type of machine stands for a GPU, whatever is in it; how many can be had is in no price.
    """
    last = {(price.machine, price.zone): price for price in prices}
    at_ns = max((price.at_ns for price in last.values()), default=0)
    return [
        Offer(at_ns, machine, 1, price.usd_h, price.usd_h, 1.0)
        for (machine, _), price in sorted(last.items())
    ]


def losses(presence: Iterable[Presence], scenario: Scenario, seconds: float) -> list[Change]:
    """When a scenario's workers are lost and come back, as the nodes of a trace did.

    The trace is stretched or shortened to `seconds`. Each node takes the lowest free seat when it
    comes, and frees it when it goes; a worker is there while its seat is taken, the first worker
    having the first seat. A market opens with all workers: those whose seats are free then leave
    at once.
    """
    events = list(presence)
    workers = sum(kind.workers for kind in scenario.classes)
    span_ns = max((event.at_ns for event in events), default=0) or 1
    seats: dict[int, str] = {}
    seat_of: dict[str, int] = {}
    was = [True] * workers
    changes = []
    for at_ns, together in itertools.groupby(events, key=lambda event: event.at_ns):
        for event in together:
            if event.present:
                free = next(i for i in itertools.count() if i not in seats)
                seats[free], seat_of[event.node] = event.node, free
            else:
                del seats[seat_of.pop(event.node)]
        now_ns = round(at_ns * seconds * NS_PER_S / span_ns)
        for worker in range(workers):
            if was[worker] != (worker in seats):
                was[worker] = worker in seats
                changes.append(Change(now_ns, worker, was[worker]))
    return changes


def changes_of(scenario: Scenario, seconds: float) -> list[Change]:
    """When the workers of a scenario are lost and come back in a market of so many seconds.

    Chance goes by the scenario's seed, and each worker has its own: a longer market loses the same
    workers at the same times, and more.
    """
    told = scenario.losses
    if told is None:
        return []
    if told.nodes:
        presence = [Presence(ms * NS_PER_MS, node, there) for ms, node, there in told.nodes]
        span_s = presence[-1].at_ns / NS_PER_S
        length_s = span_s / told.times_faster if told.times_faster else seconds
        changes = losses(presence, scenario, length_s)
        return [change for change in changes if change.at_ns <= seconds * NS_PER_S]
    groups: list[Sequence[int]] = []
    first = 0
    for kind in scenario.classes:
        workers = range(first, first + kind.workers)
        groups += [workers] if told.whole_classes else [[worker] for worker in workers]
        first += kind.workers
    changes = []
    for group in groups:
        rng = random.Random(f"losses/{scenario.seed}/{group[0]}")
        for at_ns, present in _by_chance(rng, told.life_s, told.away_s, seconds):
            changes += [Change(at_ns, worker, present) for worker in group]
    return sorted(changes)


def _by_chance(
    rng: random.Random, life_s: float, away_s: float, seconds: float
) -> Iterator[tuple[int, bool]]:
    """When one is lost and comes back, in turn."""
    at_s = 0.0
    for present in itertools.cycle((False, True)):
        at_s += rng.expovariate(1 / (away_s if present else life_s))
        if at_s > seconds:
            return
        yield round(at_s * NS_PER_S), present


def slots_present(
    scenario: Scenario, changes: Iterable[Change]
) -> list[tuple[int, tuple[int, ...]]]:
    """From which time on, nanoseconds, how many slots of each class are there; rising."""
    owner = [index for index, kind in enumerate(scenario.classes) for _ in range(kind.workers)]
    there = [kind.workers * kind.slots for kind in scenario.classes]
    timeline = [(0, tuple(there))]
    for at_ns, worker, present in changes:
        slots = scenario.classes[owner[worker]].slots
        there[owner[worker]] += slots if present else -slots
        timeline.append((at_ns, tuple(there)))
    return timeline


def cost_factors(scenario: Scenario, seconds: float) -> list[tuple[int, float]]:
    """From which time on, nanoseconds, costs are so many times those of the classes; rising.

    Their mean over a market of so many seconds is 1. The first price holds before its time, too.
    """
    if scenario.spot is None:
        return [(0, 1.0)]
    end_ns, prices = round(seconds * NS_PER_S), scenario.spot.prices
    first_ms, last_ms = prices[0][0], prices[-1][0]
    span_ns = max(last_ms - first_ms, 1) * NS_PER_MS
    pace = scenario.spot.times_faster or span_ns / end_ns
    times = [round((at_ms - first_ms) * NS_PER_MS / pace) for at_ms, _ in prices]
    steps = [(at, price) for at, (_, price) in zip(times, prices, strict=True) if at < end_ns]
    ends = [at for at, _ in steps[1:]] + [end_ns]
    spent = [(end - at) * price for (at, price), end in zip(steps, ends, strict=True)]
    mean = math.fsum(spent) / end_ns
    return [(at, price / mean) for at, price in steps]


def factor_at(factors: Sequence[tuple[int, float]], now_ns: int) -> float:
    """Which of the factors holds at a time. O(log factors)."""
    place = bisect.bisect_right(factors, now_ns, key=lambda step: step[0]) - 1
    return factors[max(place, 0)][1]


def _slug(name: str) -> str:
    """A name as it may stand in an instrument's."""
    return _APART.sub("-", name.lower()).strip("-")
