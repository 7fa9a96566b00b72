"""`flopex bench clearing`: what an uncross costs with many managed bids, few of which trade.

Method. CPU time of this process around each call, garbage collector off; the median of the rounds
with the least and the most. All bids differ in density, cap and latest start, and name three
classes. Between two uncrosses 10 ms pass, the slots come back, as many new bids arrive as have
traded, and every ask moves, so that each class is armed afresh. Scenes:

    ramps     the ask follows the price of the tenth best bid: ten bids trade, the rest are below
    crowd     the ask is low and ten slots come free: every bid pays, ten get a slot
    one tick  every bid pays the same tick, at the ask; ten trade
    limits    no bid ramps: explicit limits at different prices; ten trade
    pause     one uncross after a pause in which half of the bids became too late to start
"""

from __future__ import annotations

import gc
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from typing import Any, Final

import matching.clearing
from flopex.bench.machine import machine
from matching import Bid, ClassBid, ClearingGroup, SlotPool, StandingQuote

NS_PER_S: Final = 10**9
STEP_NS: Final = 10_000_000
"""The time between two uncrosses."""
CLASSES: Final = (1, 2, 3)
POOLS: Final = 10
"""Each with one slot, so ten bids can trade in an uncross."""
SLACK_S: Final = (5, 600)
"""How far ahead latest starts lie when a bid arrives."""
CROWD_ASK: Final = 10


@dataclass(frozen=True, slots=True)
class Settings:
    """What to run."""

    bids: int = 100_000
    rounds: int = 200
    seed: int = 1


Draw = Callable[["Scene"], tuple[int, int, int]]
"""(density, cap, latest start from now on); a latest start of 0 makes it a limit."""


class Scene:
    """A group with resting bids, and the market around it."""

    def __init__(self, settings: Settings, draw: Draw) -> None:
        self.rng = random.Random(settings.seed)
        self.draw = draw
        self.now_ns = 10**6 * NS_PER_S
        self.next_id = 0
        self.group = ClearingGroup(1, NS_PER_S)
        self.pools = [SlotPool(n, 0, 1) for n in range(POOLS)]
        self.ask = CROWD_ASK
        bids = [self.make() for _ in range(settings.bids)]
        started = time.process_time()
        for bid in bids:
            self.group.add_bid(bid)
        self.add_s = (time.process_time() - started) / len(bids)

    def make(self) -> Bid:
        """A bid as the scene draws it."""
        self.next_id += 1
        density, cap, slack_ns = self.draw(self)
        flat = slack_ns == 0
        latest = self.now_ns + (slack_ns or SLACK_S[1] * NS_PER_S)
        slowest_first = ((1, 2), (2, 1), (3, 0))  # a second later each
        classes = tuple(ClassBid(i, latest - late * NS_PER_S) for i, late in slowest_first)
        return Bid(self.next_id, self.next_id, density, cap, latest, self.next_id, classes, flat)

    def requote(self, ask: int) -> None:
        """Every slot comes back, and every pool asks `ask` in one of the classes."""
        self.ask = ask
        for pool in self.pools:
            if pool.in_use:
                pool.give()
            instrument_id = CLASSES[pool.pool_id % len(CLASSES)]
            quote = StandingQuote(pool.pool_id, instrument_id, pool, (ask,), pool.pool_id)
            self.group.set_quote(quote)

    def tenth_best(self) -> int:
        """The price that ten bids reach or beat in the fastest class."""
        bids, _ = self.group.depth(CLASSES[-1], self.now_ns, POOLS)
        left = POOLS
        for price, count, _ in bids:
            left -= count
            if left <= 0:
                return price
        return CROWD_ASK


def _ramp(scene: Scene) -> tuple[int, int, int]:
    """Densities over two orders of magnitude, caps from a twentieth of them upwards."""
    density = int(10**6 * scene.rng.lognormvariate(0, 1)) + 1
    cap = max(1, int(density * scene.rng.uniform(0.05, 1.2)))
    return density, cap, scene.rng.randint(SLACK_S[0] * NS_PER_S, SLACK_S[1] * NS_PER_S)


def _one_tick(scene: Scene) -> tuple[int, int, int]:
    """Bids that pay a million and a little now, however far ahead their latest start lies."""
    slack_ns = scene.rng.randint(SLACK_S[0] * NS_PER_S, SLACK_S[1] * NS_PER_S)
    density = 10**6 * (NS_PER_S + slack_ns) // NS_PER_S + scene.rng.randint(1, 100)
    return density, int(density * scene.rng.uniform(0.3, 1.2)), slack_ns


def _limit(scene: Scene) -> tuple[int, int, int]:
    price = scene.rng.randint(10**5, 10**7)
    return price, price, 0


def _low(scene: Scene) -> int:
    return CROWD_ASK + scene.next_id % 3


def _at_the_tick(scene: Scene) -> int:
    return 980_000 - scene.next_id % 3


SCENES: Final[dict[str, tuple[Draw, Callable[[Scene], int]]]] = {
    "ramps": (_ramp, Scene.tenth_best),
    "crowd": (_ramp, _low),
    "one_tick": (_one_tick, _at_the_tick),
    "limits": (_limit, _low),
}
"""How a scene draws its bids, and what its asks are."""


def run(settings: Settings, report: Callable[[str, dict[str, Any]], None]) -> dict[str, Any]:
    """Measure every scene; `report` gets each as it ends."""
    compiled = not matching.clearing.__file__.endswith(".py")
    result: dict[str, Any] = {
        "machine": machine(),
        "compiled": compiled,
        "bids": settings.bids,
        "rounds": settings.rounds,
        "seed": settings.seed,
    }
    gc.collect()
    gc.disable()
    try:
        for name, (draw, ask) in SCENES.items():
            result[name] = _rounds(Scene(settings, draw), settings, ask)
            report(name, result[name])
            gc.collect()
        result["pause"] = _pause(Scene(settings, _ramp))
        report("pause", result["pause"])
    finally:
        gc.enable()
    return result


def _rounds(
    scene: Scene, settings: Settings, ask: Callable[[Scene], int]
) -> dict[str, float | int]:
    armed: list[float] = []
    spent: list[float] = []
    fills = 0
    scene.requote(ask(scene))
    scene.group.uncross(scene.now_ns)
    for _ in range(settings.rounds):
        scene.now_ns += STEP_NS
        scene.requote(ask(scene))
        started = time.process_time()
        scene.group.next_trade_ns(scene.now_ns)
        between = time.process_time()
        done = scene.group.uncross(scene.now_ns)
        spent.append(time.process_time() - between)
        armed.append(between - started)
        fills += len(done.fills)
        for _ in done.fills:
            scene.group.add_bid(scene.make())
    return {
        "fills_per_uncross": fills / settings.rounds,
        "uncross_ms": round(median(spent) * 1e3, 4),
        "uncross_ms_min": round(min(spent) * 1e3, 4),
        "uncross_ms_max": round(max(spent) * 1e3, 4),
        "arm_ms": round(median(armed) * 1e3, 4),
        "arm_ms_max": round(max(armed) * 1e3, 4),
        "add_us": round(scene.add_s * 1e6, 2),
        "remove_us": round(_remove_s(scene) * 1e6, 2),
    }


def _pause(scene: Scene) -> dict[str, float | int]:
    scene.requote(CROWD_ASK)
    scene.now_ns += (SLACK_S[0] + SLACK_S[1]) * NS_PER_S // 2
    started = time.process_time()
    done = scene.group.uncross(scene.now_ns)
    spent = time.process_time() - started
    return {"fills_per_uncross": len(done.fills), "uncross_ms": round(spent * 1e3, 4)}


def _remove_s(scene: Scene) -> float:
    """Seconds to take a bid out, over a thousand of them at random."""
    ids = [bid.bid_id for bid in scene.group.bids()]
    chosen = scene.rng.sample(ids, min(1_000, len(ids)))
    started = time.process_time()
    for bid_id in chosen:
        scene.group.remove_bid(bid_id)
    return (time.process_time() - started) / len(chosen)
