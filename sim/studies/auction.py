"""S14, the classic double auction: the live continuous book under Smith's experiments.

Traders with one unit a day meet on the live continuous book for some days. Efficiency is the
surplus that they made over the most that could be made; Smith's alpha is the root mean square
distance of the day's prices from the equilibrium, in per cent of it. The first schedule is that of
Smith's first test (1962); the others have shapes of his and Cliff's later ones, and numbers of our
own: a flat supply, a demand much steeper than the supply, more buyers than sellers at one price.
"""

from __future__ import annotations

import math
import random
from typing import Final, NamedTuple

import polars as pl

from sim.agents.floor import Deal, Floor
from sim.agents.traders import KINDS, PRICE_MAX, PRICE_MIN, Call, Quotes, Trader
from sim.intervals import Interval, ratio
from sim.studies import figures
from sim.studies.study import Cell, Claim, Each, Plan, Plot, Row, Study

LEAST: Final = 0.98
DAYS: Final = 10
CALLS: Final = 30
"""Of each trader on each day, on average."""


class Schedule(NamedTuple):
    """Limits of buyers and sellers, dollars, and the equilibrium price."""

    buyers: tuple[float, ...]
    sellers: tuple[float, ...]
    price: float

    def surplus(self) -> float:
        """The most that all together can make on a day."""
        pairs = zip(sorted(self.buyers, reverse=True), sorted(self.sellers), strict=False)
        return math.fsum(max(buyer - seller, 0) for buyer, seller in pairs)


_STEPS: Final = tuple(0.75 + 0.25 * i for i in range(11))
SCHEDULES: Final = {
    "symmetric": Schedule(_STEPS, _STEPS, 2.0),
    "flat supply": Schedule(_STEPS, (2.0,) * 11, 2.0),
    "steep demand": Schedule(
        tuple(1.1 + 0.27 * i for i in range(11)), tuple(1.9 + 0.05 * i for i in range(11)), 2.2
    ),
    "more buyers": Schedule((2.5,) * 11, (0.75,) * 6, 2.5),
}
"""Symmetric is Smith's first test: limits of 0.75 to 3.25 on both sides, six trades at 2.00."""


def cells(plan: Plan) -> list[Cell]:
    """Every kind of trader on every schedule, by seed."""
    return [
        {"schedule": schedule, "traders": kind, "seed": seed}
        for schedule in SCHEDULES
        for kind in KINDS
        for seed in plan.seeds
    ]


def measure(plan: Plan, cell: Cell, each: Each) -> list[Row]:
    """By day: surplus, the most surplus, alpha, and how many deals there were."""
    del plan, each
    schedule = SCHEDULES[str(cell["schedule"])]
    rng = random.Random(f"auction/{cell['schedule']}/{cell['traders']}/{cell['seed']}")
    make = KINDS[str(cell["traders"])]
    traders = [make(True, limit, rng) for limit in schedule.buyers]
    traders += [make(False, limit, rng) for limit in schedule.sellers]
    floor = Floor(len(traders), PRICE_MAX)
    rows = []
    for day in range(DAYS):
        deals = run_day(floor, traders, rng)
        made = math.fsum(traders[d.buyer].limit - traders[d.seller].limit for d in deals)
        squares = math.fsum((d.price - schedule.price) ** 2 for d in deals)
        alpha = 100 * math.sqrt(squares / len(deals)) / schedule.price if deals else math.nan
        rows.append(
            {"window": day, "surplus": made, "most": schedule.surplus(), "alpha": alpha,
             "deals": len(deals), "price": math.fsum(d.price for d in deals) / max(len(deals), 1)}
        )  # fmt: skip
    return rows


def run_day(floor: Floor, traders: list[Trader], rng: random.Random) -> list[Deal]:
    """One day: traders call in random order until the day ends or nobody has a unit left."""
    for trader in traders:
        trader.active = True
    deals = []
    for _ in range(CALLS * len(traders)):
        place = rng.randrange(len(traders))
        caller = traders[place]
        price = caller.price(_quotes(floor)) if caller.active else None
        if price is None:
            continue
        deal = floor.call(place, caller.buys, price)
        if deal:
            deals.append(deal)
            traders[deal.buyer].active = traders[deal.seller].active = False
        call = Call(caller.buys, deal.price if deal else price, deal is not None)
        quotes = _quotes(floor)
        for trader in traders:
            trader.hear(call, quotes)
    floor.clear()
    return deals


def _quotes(floor: Floor) -> Quotes:
    bid, ask = floor.best()
    return Quotes(bid or PRICE_MIN, ask or PRICE_MAX)


def conclude(plan: Plan, frame: pl.DataFrame) -> list[Claim]:
    """ZIP on every schedule; the others are there to compare with."""
    del plan
    claims = []
    for schedule in SCHEDULES:
        for kind in ("ZIP", "AA", "ZI-C"):
            part = frame.filter((pl.col("schedule") == schedule) & (pl.col("traders") == kind))
            figure = _efficiency(part)
            least = LEAST if kind == "ZIP" else 0.0
            says = f"{schedule}: {kind} traders' efficiency"
            says += f" is at least {LEAST}" if least else ", for comparison"
            alphas = part.filter(pl.col("window") >= DAYS // 2)["alpha"].drop_nans().to_list()
            says += f" (alpha in the second half {_mean(alphas).mean:.1f} %)"
            claims.append(Claim(says, figure, figure.mean >= least if least else None))
    return claims


def _efficiency(part: pl.DataFrame) -> Interval:
    """Over all days, the first among them; sessions are the sample."""
    sums = part.group_by("seed", maintain_order=True).agg(pl.col("surplus", "most").sum())
    return ratio(sums["surplus"].to_list(), sums["most"].to_list())


def draw(frame: pl.DataFrame) -> list[Plot]:
    """Alpha and efficiency by day."""
    names = list(SCHEDULES)
    figure, axes = figures.panels(4, width=9.5, height=2.9, sharey=True)
    shares, below = figures.panels(4, width=9.5, height=2.9, sharey=True)
    for axis, low, schedule in zip(axes, below, names, strict=True):
        for colour, kind in zip(figures.COLOURS, KINDS, strict=False):
            part = frame.filter((pl.col("schedule") == schedule) & (pl.col("traders") == kind))
            days = sorted(part["window"].unique())
            by_day = [part.filter(pl.col("window") == day) for day in days]
            alphas = [_mean(day["alpha"].drop_nans().to_list()) for day in by_day]
            figures.line(axis, [d + 1 for d in days], alphas, kind, colour)
            figures.line(low, [d + 1 for d in days], [_efficiency(d) for d in by_day], kind, colour)
        figures.named(axis, "day", "Smith's alpha, %" if schedule == names[0] else "", schedule)
        figures.named(low, "day", "efficiency" if schedule == names[0] else "", schedule)
        figures.threshold(low, LEAST, "")
    figures.legend(axes[-1])
    figures.legend(below[-1], loc="lower right")
    return [
        Plot(figure, "Smith's alpha by day on the live continuous book; bars: 95 % over sessions."),
        Plot(shares, "Efficiency by day; the dashed line is the least that ZIP must reach."),
    ]


def _mean(numbers: list[float]) -> Interval:
    return ratio(numbers, [1.0] * len(numbers)) if numbers else Interval(0.0, 0.0, 0.0)


STUDY: Final = Study(
    name="auction",
    number="S14",
    hypothesis="the live continuous book is the double auction of the experiments: simple traders "
    "find the equilibrium on it",
    metric=f"surplus made over the most that could be made, over {DAYS} days, the first among "
    "them; Smith's alpha beside it; windows are days, sessions (seeds) are the sample",
    threshold=f"efficiency of at least {LEAST} with ZIP on every schedule",
    loads=(),
    seeds=30,
    cells=cells,
    measure=measure,
    conclude=conclude,
    draw=draw,
    reads="",
)
