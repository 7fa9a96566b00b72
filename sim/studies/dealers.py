"""S16, dealers: what market makers and brokers do to the continuous book, and what it does to them.

Zero-intelligence traders (ZI-C) on Smith's first schedule come and go for one long day: whoever has
traded gets a new unit at once. The same traders with the same chances meet on the live continuous
book alone, and with one dealer among them. A side of the book that is empty counts as the end of
the range of prices.
"""

from __future__ import annotations

import random
from typing import Final, NamedTuple

import polars as pl

from sim.agents.floor import NANOS_PER_DOLLAR, TICK_NANOS, Floor
from sim.agents.makers import Dealer, dealer
from sim.agents.traders import PRICE_MAX, PRICE_MIN, Trader
from sim.intervals import Interval, ratio
from sim.scenario import DEALERS, Agent
from sim.studies import figures
from sim.studies.auction import SCHEDULES
from sim.studies.study import Cell, Claim, Each, Plan, Plot, Row, Study

MOST: Final = 0.5
"""Of the spread without a dealer, that a maker leaves."""
CALLS: Final = 1_200
TICKS_PER_DOLLAR: Final = NANOS_PER_DOLLAR // TICK_NANOS
SCHEDULE: Final = SCHEDULES["symmetric"]
USUAL: Final = (Agent("maker"), Agent("broker"))
"""Where the scenario names no dealers."""
NONE: Final = "none"


class Moment(NamedTuple):
    """After a call: the spread in dollars, what the dealer holds, and whether there was a deal."""

    spread: float
    position: int
    traded: bool


def cells(plan: Plan) -> list[Cell]:
    """Every session without a dealer, and with each."""
    names = [NONE, *(f"{i} {agent.kind}" for i, agent in enumerate(_dealers(plan)))]
    return [{"dealer": name, "seed": seed} for name in names for seed in plan.seeds]


def _dealers(plan: Plan) -> tuple[Agent, ...]:
    return tuple(a for a in plan.scenario.agents if a.kind in DEALERS) or USUAL


def measure(plan: Plan, cell: Cell, each: Each) -> list[Row]:
    """One row for a session."""
    del each
    name, found = str(cell["dealer"]), None
    fair = round(SCHEDULE.price * TICKS_PER_DOLLAR)
    if name != NONE:
        found = dealer(_dealers(plan)[int(name.split(maxsplit=1)[0])], fair)
    moments = run_session(found, random.Random(f"dealers/{cell['seed']}"))
    late = moments[len(moments) // 10 :]  # the book fills first
    return [
        {
            "window": 0,
            "spread": sum(m.spread for m in late) / len(late),
            "deals": sum(m.traded for m in moments),
            "position_most": max(abs(m.position) for m in moments),
            "profit": (found.cash + found.position * fair) / TICKS_PER_DOLLAR if found else 0.0,
        }
    ]


def run_session(found: Dealer | None, rng: random.Random) -> list[Moment]:
    """One day of calls; a dealer renews its quotes after each."""
    traders = [Trader(True, limit, rng) for limit in SCHEDULE.buyers]
    traders += [Trader(False, limit, rng) for limit in SCHEDULE.sellers]
    place = len(traders)  # of the dealer
    floor = Floor(len(traders) + 1, PRICE_MAX)
    moments = []
    for _ in range(CALLS):
        if found:
            floor.quote(place, *found.quotes())
        caller = rng.randrange(len(traders))
        buys, limit = traders[caller].buys, traders[caller].limit
        price = rng.uniform(PRICE_MIN, limit) if buys else rng.uniform(limit, PRICE_MAX)
        deal = floor.call(caller, buys, price)
        if deal and found:
            ticks = round(deal.price * TICKS_PER_DOLLAR)
            if place in (deal.buyer, deal.seller):
                found.fill(ticks, bought=deal.buyer == place)
            found.hear(ticks)
        bid, ask = floor.best()
        spread = (ask or PRICE_MAX) - (bid or PRICE_MIN)
        moments.append(Moment(spread, found.position if found else 0, deal is not None))
        assert not found or floor.position(place) == found.position
    floor.check()
    return moments


def conclude(plan: Plan, frame: pl.DataFrame) -> list[Claim]:
    """For each dealer: the spread, its inventory and its profit."""
    alone = frame.filter(pl.col("dealer") == NONE).sort("seed")
    claims = []
    for number, agent in enumerate(_dealers(plan)):
        part = frame.filter(pl.col("dealer") == f"{number} {agent.kind}").sort("seed")
        spread = ratio(part["spread"].to_list(), alone["spread"].to_list())
        held = max(part["position_most"])
        is_maker = agent.kind == "maker"
        met = spread.mean <= MOST
        says = f"{agent.kind}: the spread is "
        says += f"at most {MOST} of that without it" if is_maker else "this share of that without"
        claims.append(
            Claim(
                f"{says} (deals: {_mean(part, 'deals').mean:.0f} for "
                f"{_mean(alone, 'deals').mean:.0f})",
                spread,
                met if is_maker else None,
                "" if met or not is_maker else "its quotes are too far apart, or too often away",
            )
        )
        says = f"{agent.kind}: it never holds more than {agent.bound} lots"
        claims.append(Claim(says, Interval(held, held, held), held <= agent.bound))
        says = f"{agent.kind}: its profit in a session, dollars (a lot is worth 2)"
        claims.append(Claim(says, _mean(part, "profit"), None))
    return claims


def _mean(part: pl.DataFrame, name: str) -> Interval:
    return ratio(part[name].to_list(), [1.0] * part.height)


def draw(frame: pl.DataFrame) -> list[Plot]:
    """Spread and profit by dealer."""
    names = frame["dealer"].unique(maintain_order=True).to_list()
    figure, axes = figures.panels(2, width=7.2, height=3.2)
    for axis, (column, y) in zip(
        axes, (("spread", "spread, dollars"), ("profit", "profit, dollars")), strict=True
    ):
        for place, name in enumerate(names):
            point = _mean(frame.filter(pl.col("dealer") == name), column)
            figures.line(axis, [place], [point], "", figures.COLOURS[place], linestyle="none")
        axis.set_xticks(range(len(names)), [name.split()[-1] for name in names])
        axis.set_xlim(-0.5, len(names) - 0.5)
        axis.set_ylim(bottom=0)
        figures.named(axis, "dealer", y)
    return [
        Plot(figure, "The mean spread of the live continuous book and the dealer's profit in a "
             "session, by dealer; bars: 95 % over sessions.")
    ]  # fmt: skip


STUDY: Final = Study(
    name="dealers",
    number="S16",
    hypothesis="one market maker makes the continuous book much tighter, within its inventory",
    metric="mean spread after each call over that of the same traders without the dealer; "
    "sessions (seeds) are the sample",
    threshold=f"at most {MOST} with a maker; no dealer ever beyond its bound",
    loads=(),
    seeds=30,
    cells=cells,
    measure=measure,
    conclude=conclude,
    draw=draw,
    reads="",
)
