"""S3, the batch period: what waiting for a batch costs, and what it does to prices.

The same demand goes through the live engine with other periods of clearing; a period of one
nanosecond clears after every group of commands, as a continuous market does.
"""

from __future__ import annotations

import math
from typing import Final

import polars as pl

from exchange.core.limits import NS_PER_MS, NS_PER_S
from exchange.core.rules import LIVE_RULES
from sim.agents.conduct import Conduct
from sim.intervals import Interval, ratio
from sim.market import run_market
from sim.studies import figures
from sim.studies.study import Cell, Claim, Each, Plan, Plot, Row, Study

MOST: Final = 0.003
LIVE_MS: Final = LIVE_RULES.batch_period_ns / NS_PER_MS
PERIODS_MS: Final = (0.0, 1.0, LIVE_MS, 100.0, 1_000.0)
"""0 stands for clearing after every group of commands."""


class Listener(Conduct):
    """Keeps the last price of the first class in every second."""

    def __init__(self) -> None:
        self.by_second: dict[int, int] = {}

    def cleared(self, class_index: int, price_nanos: int, now_ns: int) -> None:
        """Keep it."""
        if not class_index:
            self.by_second[now_ns // NS_PER_S] = price_nanos

    def volatility(self) -> float:
        """Standard deviation of the logarithm of a price over that of the second before."""
        prices = self.by_second
        moves = [math.log(prices[s] / prices[s - 1]) for s in prices if s - 1 in prices]
        mean = math.fsum(moves) / max(len(moves), 1)
        return math.sqrt(math.fsum((x - mean) ** 2 for x in moves) / max(len(moves), 1))


def cells(plan: Plan) -> list[Cell]:
    """Every period in every market."""
    return [{**market, "period_ms": ms} for market in plan.markets() for ms in PERIODS_MS]


def measure(plan: Plan, cell: Cell, each: Each) -> list[Row]:
    """By window: welfare; of the whole market the volatility of the first class's price."""
    del each
    demand, scenario = plan.demand(cell), plan.settings(cell)
    period_ns = max(round(float(cell["period_ms"]) * NS_PER_MS), 1)
    prices = Listener()
    rules = LIVE_RULES._replace(batch_period_ns=period_ns)
    outcome = run_market(demand, scenario, prices, rules)
    welfare = outcome.welfare_nanos(demand, scenario)
    volatility = prices.volatility()
    return [
        {"window": w, "welfare": float(welfare[w]), "volatility": volatility}
        for w in range(demand.windows)
    ]


def _loss(market: pl.DataFrame, period_ms: float) -> Interval:
    """Welfare lost against clearing at once, as a share of that."""
    at_once, batched = (
        market.filter(pl.col("period_ms") == ms)["welfare"] for ms in (0.0, period_ms)
    )
    return ratio((at_once - batched).to_list(), at_once.to_list())


def conclude(plan: Plan, frame: pl.DataFrame) -> list[Claim]:
    """The live period; longer ones to compare with."""
    del plan
    claims = []
    for (trace, load), market in frame.group_by("trace", "load", maintain_order=True):
        for ms in PERIODS_MS[1:]:
            loss, live = _loss(market, ms), ms == LIVE_MS
            says = f"{trace} at load {load:g}: batches of {ms:g} ms lose "
            says += f"at most {MOST} of welfare" if live else "so much welfare, for comparison"
            met = loss.mean <= MOST
            why = "a slot waits on average half a period, and a job with it"
            claims.append(Claim(says, loss, met if live else None, "" if met or not live else why))
    return claims


def draw(frame: pl.DataFrame) -> list[Plot]:
    """Welfare lost and volatility against the period."""
    figure, (left, right) = figures.panels(2, width=9.0)
    places = range(len(PERIODS_MS))
    names = ["at once", *(f"{ms:g} ms" for ms in PERIODS_MS[1:])]
    markets = frame.group_by("trace", "load", maintain_order=True)
    for place, ((trace, load), market) in enumerate(markets):
        text, colour = f"{str(trace).split('.')[0]}, load {load:g}", figures.COLOURS[place]
        figures.line(left, places, [_loss(market, ms) for ms in PERIODS_MS], text, colour)
        moves = [
            float(market.filter(pl.col("period_ms") == ms)["volatility"][0]) for ms in PERIODS_MS
        ]
        right.plot(places, moves, marker="o", color=colour)
    for axis in (left, right):
        axis.set_xticks(places, names)
    figures.threshold(left, MOST, "")
    figures.named(left, "batch period", "share of welfare lost")
    figures.named(right, "batch period", "sd of log price, second on second")
    figures.legend(left, loc="upper left", fontsize=8)
    caption = "What the batch period costs, and how much the price of the fastest class moves. "
    caption += f"Dashed: {MOST}, to be held at {LIVE_MS:g} ms; bars: 95 % over windows."
    return [Plot(figure, caption)]


STUDY: Final = Study(
    name="period",
    number="S3",
    hypothesis=f"batches of {LIVE_MS:g} ms cost next to nothing",
    metric="welfare lost against clearing at once, as a share of it; sums over windows",
    threshold=f"at most {MOST}",
    loads=(0.8, 1.3),
    seeds=1,
    cells=cells,
    measure=measure,
    conclude=conclude,
    draw=draw,
    costs_move=True,
)
