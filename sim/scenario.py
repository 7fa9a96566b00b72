"""A scenario: what is simulated, as a TOML file states it, and the values and deadlines of jobs.

No trace has values or deadlines. They come from this model, which is stated here and swept by the
studies; every figure of a study holds for it, and for nothing else.

Work is counted in seconds of a slot of the fastest class, worth in units: a job of mean density
that fills such a slot for a second is worth `value_mean` units. Money is integers from there on.
"""

from __future__ import annotations

from typing import Final, Literal

import msgspec

UNIT_NANOS: Final = 100_000
"""Nano-dollars that stand for one unit of value. Only ratios matter."""
FLOPS_PER_TOKEN: Final = 1 << 24
"""Of the simulated model, prompt and output alike: so FLOPs are in proportion to time."""


class ScenarioError(ValueError):
    """The scenario's text is wrong; the message is for people."""


class HardwareClass(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Workers of one kind.

    `speed` is relative to a slot of speed 1, `cost` the marginal cost of a unit of work there.
    """

    name: str
    workers: int
    slots: int
    speed: float
    cost: float


class Urgency(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One kind of job by its hurry.

    The deadline lies 1.5 times the run time on the fastest class and a slack, uniform between the
    two bounds in seconds, behind the arrival. `work` multiplies the trace's tokens.
    """

    name: str
    share: float
    slack_min_s: float
    slack_max_s: float
    work: int = 1


BUYERS: Final = ("unpaced", "paced", "canceller")
WORKERS: Final = ("decliner", "vanisher", "late", "overclaimer")
DEALERS: Final = ("maker", "broker")
"""Kinds of agents; what each does: docs/guides/simulate.md."""


class Agent(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Some accounts, or some workers, that are not plainly honest (`sim.agents`).

    Or a dealer on a paper book, which has an account of its own (the study `dealers`). Workers
    count from 0, class by class. Only the numbers of its own kind matter.
    """

    kind: Literal[
        "unpaced",
        "paced",
        "canceller",
        "decliner",
        "vanisher",
        "late",
        "overclaimer",
        "maker",
        "broker",
    ]
    accounts: tuple[int, ...] = ()
    workers: tuple[int, ...] = ()
    budget: float = 10.0
    """Of `unpaced` and `paced`: units of value that each account has for the whole market."""
    horizon_s: float = 10.0
    """Of `paced`: so many seconds of budget ahead of the plan raise the multiplier by 1."""
    chance: float = 1.0
    """Of cheaters: share of the leases, or of the jobs, that it happens to."""
    after: float = 0.95
    """Of `canceller`: share of the work after which it cancels."""
    slowness: float = 2.0
    """Of `late`: times the run time that the class promises."""
    claim: Literal["flops", "trace", "filler"] = "filler"
    """Of `overclaimer`: more FLOPs than its trace has, a trace as long as the budget, or that and
    as many tokens."""
    bound: int = 8
    """Of dealers: the most lots that it is long; a maker is short by no more, either."""
    half_spread: float = 0.02
    """Of `maker`: between its quotes and their middle, as a share of the fair price."""
    skew: float = 0.005
    """Of `maker`: how far a lot that it holds moves both quotes, as a share of the fair price."""
    margin: float = 0.03
    """Of `broker`: below the fair price it buys, above what it paid it sells, by this share."""


class Losses(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Workers that are lost and come back: by chance, or as the nodes of a trace did.

    By chance: each worker, or where `whole_classes` all workers of a class together, is lost after
    an exponential time of mean `life_s`, and back after one of mean `away_s`. `nodes` are those of
    a trace: (milliseconds, node, whether it is there from then on), in the order of the times;
    `times_faster` than recorded, or where it is 0 so that the trace lasts as long as the market.
    """

    life_s: float = 0
    away_s: float = 60
    whole_classes: bool = False
    found_after_s: float = 10
    """Until the exchange gives a silent worker up; ten seconds are the live default."""
    nodes: tuple[tuple[int, str, bool], ...] = ()
    times_faster: float = 0


class Spot(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A price that the cost of work follows, in all classes alike, and with it what workers ask.

    `prices` are (milliseconds, price), in the order of the times; costs are multiplied by the price
    over its mean in the market. `times_faster` than recorded, or where it is 0 so that the prices
    last as long as the market.
    """

    prices: tuple[tuple[int, float], ...]
    times_faster: float = 0


class Scenario(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Everything but the trace. The defaults are those of the published studies."""

    seed: int = 1
    load: float = 1.3
    windows: int = 20
    window_requests: int = 0
    """Requests of a window; 0 shares the trace among the windows, up to 1,000 for each."""
    classes: tuple[HardwareClass, ...] = (
        HardwareClass("h100", 1, 8, 1.0, 0.10),
        HardwareClass("a100", 1, 8, 0.45, 0.16),
        HardwareClass("l4", 1, 8, 0.15, 0.12),
    )
    urgencies: tuple[Urgency, ...] = (
        Urgency("interactive", 0.6, 1, 4),
        Urgency("standard", 0.3, 4, 15),
        Urgency("batch", 0.1, 30, 90, 3),
    )
    work_mean_s: float = 1.2
    """Mean work of a job: tokens are scaled to it, so that all traces are alike."""
    value_mean: float = 1.3
    value_sigma: float = 0.8
    """Standard deviation of the logarithm of a job's value density."""
    accounts: int = 10
    account_sigma: float = 0.5
    """Standard deviation of the logarithm of an account's mean density."""
    ask_ceiling: float = 1.0
    """What the last free slot of a full worker asks, units per unit of work."""
    ask_exponent: float = 8
    """Of the inventory policy; 0 asks the plain cost for every slot."""
    losses: Losses | None = None
    """None: workers stay."""
    spot: Spot | None = None
    """None: costs stay."""
    agents: tuple[Agent, ...] = ()
    """Who is not plainly honest; a study whose buyers are of their own kind leaves them out."""

    def capacity(self) -> float:
        """Units of work that all slots do in a second."""
        return sum(c.workers * c.slots * c.speed for c in self.classes)


def checked(scenario: Scenario) -> Scenario:
    """The scenario, if a market can be made of it.

    Raises:
        ScenarioError: a number is out of its range.
    """
    wrong = [
        name
        for name, holds in (
            ("load must be above 0", scenario.load > 0),
            ("windows must be at least 1", scenario.windows >= 1),
            ("window_requests must not be negative", scenario.window_requests >= 0),
            ("a class is needed", bool(scenario.classes)),
            ("workers and slots must be at least 1", all(
                c.workers >= 1 and c.slots >= 1 for c in scenario.classes)),
            ("speeds and costs must be positive", all(
                c.speed > 0 and c.cost > 0 for c in scenario.classes)),
            ("the ceiling must not be below a cost", all(
                c.cost <= scenario.ask_ceiling or not scenario.ask_exponent
                for c in scenario.classes)),
            ("shares of urgencies must add up to 1", abs(
                sum(u.share for u in scenario.urgencies) - 1) < 1e-9),
            ("slack must not be negative or fall", all(
                0 <= u.slack_min_s <= u.slack_max_s and u.work >= 1 for u in scenario.urgencies)),
            ("work, values and accounts must be positive", min(
                scenario.work_mean_s, scenario.value_mean, scenario.accounts) > 0),
            ("an agent needs accounts or workers that exist, as its kind says", all(
                _exists(agent, scenario) for agent in scenario.agents)),
            ("an agent's numbers are out of range", all(
                a.budget > 0 and a.horizon_s > 0 and 0 <= a.chance <= 1 and 0 < a.after < 1
                and a.slowness >= 1 and a.bound >= 1 and 0 < a.half_spread < 1 and 0 <= a.skew < 1
                and 0 < a.margin < 1 for a in scenario.agents)),
            ("sigmas and times must not be negative", min(
                scenario.value_sigma, scenario.account_sigma, scenario.ask_exponent) >= 0),
            ("losses need a life_s or nodes, and times above 0",
                scenario.losses is None or _sane(scenario.losses)),
            ("spot needs prices above 0, in the order of their times",
                scenario.spot is None or _moves(scenario.spot)),
        )
        if not holds
    ]  # fmt: skip
    if wrong:
        raise ScenarioError("; ".join(wrong))
    return scenario


def _sane(losses: Losses) -> bool:
    """Whether such losses can happen."""
    times = losses.life_s, losses.found_after_s, losses.times_faster
    return min(times) >= 0 and losses.away_s > 0 and bool(losses.life_s or losses.nodes)


def _moves(spot: Spot) -> bool:
    """Whether a cost can follow such prices."""
    times = [at_ms for at_ms, _ in spot.prices]
    prices = [price for _, price in spot.prices]
    return bool(prices) and min(prices) > 0 and times == sorted(times) and spot.times_faster >= 0


def _exists(agent: Agent, scenario: Scenario) -> bool:
    """Whether an agent has accounts where it buys, workers where it sells, and they exist."""
    if agent.kind in DEALERS:
        return not agent.accounts and not agent.workers
    workers = sum(c.workers for c in scenario.classes)
    mine, others, count = (
        (agent.accounts, agent.workers, scenario.accounts)
        if agent.kind in BUYERS
        else (agent.workers, agent.accounts, workers)
    )
    return bool(mine) and not others and all(0 <= i < count for i in mine)
