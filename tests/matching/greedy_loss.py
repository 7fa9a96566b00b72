"""What the uncross gives away: `python -m tests.matching.greedy_loss --cases N --seed S [--json]`.

An uncross is greedy: bids from the highest, each the cheapest slot. The most that any assignment of
bids to slots could be worth is the optimum of an integer programme, solved here by HiGHS (through
scipy) for many small random markets. Welfare is the sum over fills of (bid - ask) x quantity, by
the prices that the bids have at that moment; the loss of a case is 1 - greedy / optimum.

Markets: 2 or 3 classes of 2 to 5 pools with 1 to 3 slots each, some of them busy; a pool is quoted
in one class or several; its asks rise with the slots in use, from a cost that differs by class; 2
to 14 bids, lognormal. A bid names the faster classes from some one on, as one with a near deadline
does. Families:

    equal    every bid is for the same quantity: what the rule itself gives away
    sized    quantities are lognormal (sigma 1): also what ranking by price, not by money, costs
    legs     two groups; orders have a leg in each, or several, with the models' own quantities
"""

from __future__ import annotations

import argparse
import json
import random
import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from statistics import mean, median
from typing import NamedTuple

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import csr_array

from matching import (
    Bid,
    ClassBid,
    ClearingGroup,
    Leg,
    LegDesk,
    MultiLegBid,
    SlotPool,
    StandingQuote,
)

FAMILIES = ("equal", "sized", "legs")
FAR = 10**18


class Option(NamedTuple):
    """One way to fill an order: this slot (the pool's `step`-th) for it, and what that is worth."""

    order_id: int
    pool_id: int
    step: int
    welfare: int


class Case(NamedTuple):
    """A market: its groups, its pools, and its orders, of one leg or more."""

    groups: dict[int, ClearingGroup]
    pools: list[SlotPool]
    orders: list[MultiLegBid]


def lognormal(rng: random.Random, middle: int, sigma: float) -> int:
    return max(1, int(middle * rng.lognormvariate(0, sigma)))


def random_case(rng: random.Random, family: str) -> Case:
    classes = range(1, rng.randint(2, 3) + 1)
    groups = {g: ClearingGroup(g, 1) for g in ((1, 2) if family == "legs" else (1,))}
    pools = [SlotPool(n, -1, rng.randint(1, 3)) for n in range(rng.randint(2, 5))]
    costs = {c: lognormal(rng, 40, 0.4) for c in classes}
    for pool in pools:
        pool.in_use = rng.randint(0, pool.slots - 1)
        for group_id, group in groups.items():
            for c in rng.sample(classes, rng.randint(1, len(classes))):
                base = lognormal(rng, costs[c], 0.2)
                steps = [base * (1 + i) ** 2 // 2 + base // 2 for i in range(pool.slots)]
                quote_id = 100 * pool.pool_id + 10 * group_id + c
                group.set_quote(
                    StandingQuote(quote_id, 10 * group_id + c, pool, tuple(steps), quote_id)
                )
    orders = []
    for order_id in range(1, rng.randint(2, 14) + 1):
        legs = []
        value = rng.lognormvariate(0, 0.7)
        size = lognormal(rng, 1_000, 1.0) if family == "sized" else 1_000
        for group_id in rng.sample(list(groups), rng.randint(1, len(groups))):
            # The second group's model needs three times the compute for the same answer.
            price = max(1, int(100 * value / (2 * group_id - 1)))
            named = classes[rng.randint(0, len(classes) - 1) :]
            bid_classes = tuple(ClassBid(10 * group_id + c, FAR) for c in named)
            bid_id = 10 * order_id + group_id
            bid = Bid(bid_id, order_id, price, price, FAR, bid_id, bid_classes, flat=True)
            legs.append(Leg(group_id, bid, size * (2 * group_id - 1)))
        orders.append(MultiLegBid(order_id, tuple(legs)))
    return Case(groups, pools, orders)


def options(case: Case) -> Iterator[Option]:
    """Every slot that every leg could take, by the asks as they would be at that step."""
    for order in case.orders:
        for leg in order.legs:
            named = {c.instrument_id for c in leg.bid.classes}
            for quote in case.groups[leg.group_id].quotes():
                if quote.instrument_id in named:
                    sold = min(quote.pool.slots, len(quote.prices))
                    for step in range(quote.pool.in_use, sold):
                        welfare = (leg.bid.density - quote.prices[step]) * leg.quantity
                        if welfare > 0:
                            yield Option(order.order_id, quote.pool.pool_id, step, welfare)


def optimum(case: Case) -> int:
    """The most that any assignment is worth.

    Each order fills at most once, each slot of a pool is sold once, and no slot before the one
    with fewer in use: its price would not be the quoted one.
    """
    ways = list(options(case))
    if not ways:
        return 0
    rows: list[dict[int, int]] = []
    limits: list[int] = []
    by_order: dict[int, list[int]] = defaultdict(list)
    by_step: dict[tuple[int, int], list[int]] = defaultdict(list)
    for number, way in enumerate(ways):
        by_order[way.order_id].append(number)
        by_step[way.pool_id, way.step].append(number)
    for numbers in (*by_order.values(), *by_step.values()):
        rows.append(dict.fromkeys(numbers, 1))
        limits.append(1)
    in_use = {pool.pool_id: pool.in_use for pool in case.pools}
    for (pool_id, step), numbers in by_step.items():
        if step > in_use[pool_id]:
            before = by_step.get((pool_id, step - 1), [])
            rows.append(dict.fromkeys(numbers, 1) | dict.fromkeys(before, -1))
            limits.append(0)
    matrix = csr_array(
        (
            [sign for row in rows for sign in row.values()],
            (
                [number for number, row in enumerate(rows) for _ in row],
                [column for row in rows for column in row],
            ),
        ),
        shape=(len(rows), len(ways)),
    )
    solved = milp(
        -np.array([way.welfare for way in ways], dtype=float),
        integrality=np.ones(len(ways)),
        bounds=Bounds(0, 1),
        constraints=LinearConstraint(matrix, ub=np.array(limits, dtype=float)),
        options={"mip_rel_gap": 0.0},
    )
    assert solved.success, solved.message
    return sum(way.welfare for way, share in zip(ways, solved.x, strict=True) if share > 0.5)


def greedy(case: Case) -> int:
    """What the uncross of the case's groups, at one time, is worth."""
    desk = LegDesk(case.groups)
    for order in case.orders:
        desk.add(order)
    quantity = {leg.bid.bid_id: leg.quantity for order in case.orders for leg in order.legs}
    return sum(
        (fill.bid_price - fill.ask_price) * quantity[fill.bid_id]
        for done in desk.uncross(case.groups, 0)
        for fill in done.uncross.fills
    )


def measure(family: str, cases: int, seed: int) -> dict[str, float]:
    """Losses over cases in which anything can trade at all."""
    rng = random.Random(f"{family} {seed}")
    losses: list[float] = []
    taken, possible = 0, 0
    while len(losses) < cases:
        case = random_case(rng, family)
        most = optimum(case)
        if not most:
            continue
        got = greedy(case)
        assert got <= most, "the optimum is none"
        taken, possible = taken + got, possible + most
        losses.append(1 - got / most)
    losses.sort()
    return {
        "mean": mean(losses),
        "median": median(losses),
        "p99": losses[min(len(losses) - 1, len(losses) * 99 // 100)],
        "worst": losses[-1],
        "of_all_welfare": 1 - taken / possible,
        "optimal_share": sum(loss == 0 for loss in losses) / len(losses),
    }


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="The loss of the greedy uncross.")
    parser.add_argument("--cases", type=int, default=1_000, help="markets per family")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true", help="print one object")
    args = parser.parse_args(arguments)
    found = {family: measure(family, args.cases, args.seed) for family in FAMILIES}
    if args.json:
        sys.stdout.write(json.dumps({"cases": args.cases, "seed": args.seed} | found) + "\n")
        return
    sys.stdout.write(f"{args.cases} markets per family, seed {args.seed}; loss of welfare in %\n")
    sys.stdout.write("family   mean  median    p99   worst  of all  none lost\n")
    for family, row in found.items():
        figures = [100 * row[k] for k in ("mean", "median", "p99", "worst", "of_all_welfare")]
        cells = "".join(f"{figure:8.2f}" for figure in figures)
        sys.stdout.write(f"{family:5}{cells}{100 * row['optimal_share']:9.0f} %\n")


if __name__ == "__main__":
    main()
