"""One seed, one digest, on every machine that runs this: markets of integers, digests committed.

No number here comes of a mathematical library (no logarithm, no power), whose last digit may differ
between machines: the demand is made of integers, workers ask their plain costs, and what is left
of floats is sums, products and quotients, which IEEE 754 fixes to the last bit.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from typing import Final

import msgspec
import pytest

from exchange.core.limits import NS_PER_MS, NS_PER_S
from exchange.core.rules import LIVE_RULES, Rules
from sim.agents.conduct import Misreport
from sim.demand import Demand, Job
from sim.market import run_market
from sim.outcome import Outcome
from sim.rivals import NAMES, run_rivals
from sim.supply import Change
from tests.sim.demands import SMALL

SCENARIO: Final = msgspec.structs.replace(SMALL, ask_exponent=0)
JOBS: Final = 300
MILLITOKENS_PER_S: Final = 1_000_000
LOST: Final = [Change(NS_PER_S, 0, False), Change(20 * NS_PER_S, 0, True)]
"""The fast worker, for 19 seconds; the exchange finds out at once."""


def numbers(state: int) -> Iterator[int]:
    """Numbers of 32 bits: Knuth's linear congruential generator, so of no library either."""
    while True:
        state = (state * 6_364_136_223_846_793_005 + 1_442_695_040_888_963_407) % 2**64
        yield state >> 32


def whole_demand(seed: int) -> Demand:
    """Jobs at random times, of random lengths, values and deadlines."""
    draw = numbers(seed)
    jobs: list[Job] = []
    at_ns = 0
    for number in range(JOBS):
        at_ns += next(draw) % (300 * NS_PER_MS)
        prompt, answer = 20 + next(draw) % 2_000, 1 + next(draw) % 300
        work_ns = (prompt + answer) * 1_000 * NS_PER_S // MILLITOKENS_PER_S
        due_ns = at_ns + work_ns * 3 // 2 + next(draw) % (6 * NS_PER_S)
        value_nanos = 1 + work_ns * (20 + next(draw) % 400) // NS_PER_S * 10_000
        terms = next(draw) % SCENARIO.accounts, "standard", at_ns, due_ns, prompt, answer
        jobs.append(Job(number, 0, *terms, work_ns, value_nanos))
    return Demand(MILLITOKENS_PER_S, (0, at_ns + 1), tuple(jobs))


def digest(outcome: Outcome) -> str:
    """Of the engine's last state, where there is one, and of all that became of the jobs."""
    plain = [outcome.digest, outcome.served_by, outcome.done_ns, outcome.paid_nanos]
    return hashlib.sha256(json.dumps(plain).encode()).hexdigest()[:16]


def under(rules: Rules) -> Callable[[Demand], Outcome]:
    return lambda demand: run_market(demand, SCENARIO, rules=rules)


MARKETS: Final[dict[str, Callable[[Demand], Outcome]]] = {
    "live": under(LIVE_RULES),
    "cleared after each group": under(Rules(1, LIVE_RULES.ramp_ns)),
    "cleared each second": under(Rules(NS_PER_S, LIVE_RULES.ramp_ns)),
    "a steep ramp": under(Rules(LIVE_RULES.batch_period_ns, NS_PER_MS)),
    "lies": lambda demand: run_market(demand, SCENARIO, Misreport({0}, value=0.5, due=2.0)),
    "a worker lost": lambda demand: run_market(demand, SCENARIO, changes=LOST),
    "quoted anew": lambda demand: run_market(demand, SCENARIO, standing=False),
}
GOLDEN: Final = {
    "live": "5a9f88ec20e2beea",
    "cleared after each group": "b676ae1ac61e396f",
    "cleared each second": "b0c806541483dffd",
    "a steep ramp": "275c2fffa990bd44",
    "lies": "e7e442fa6955d691",
    "a worker lost": "5178ea521a0cb532",
    "quoted anew": "be50922f315d9de7",
    "fifo": "5dbeb9ca73e4c837",
    "fifo_drop": "a490859a7221fa68",
    "edf_drop": "d42ca89519657dec",
    "priority": "9a4dd7879c5e628d",
    "density": "43b0df60025158fa",
    "reverse_auction": "e4d24c7a01ca2093",
    "least_loaded": "5dbeb9ca73e4c837",
    "cheapest_spill": "570bf188a10a3ca5",
    "posted": "a490859a7221fa68",
}
"""By market and by rival. A change of the rules or of the state's form makes others of the markets'
(and a new `RULES_VERSION`); a change of how fast or of where something runs never does."""


@pytest.fixture(scope="module")
def demand() -> Demand:
    return whole_demand(seed=1)


@pytest.mark.parametrize("name", MARKETS)
def test_a_market_ends_as_on_every_machine(demand: Demand, name: str) -> None:
    outcome = MARKETS[name](demand)
    assert 0.2 < outcome.missed(demand) < 0.8  # there is something to decide
    assert digest(outcome) == GOLDEN[name]


def test_rivals_decide_as_on_every_machine(demand: Demand) -> None:
    found = {name: digest(outcome) for name, outcome in run_rivals(demand, SCENARIO).items()}
    assert found == {name: GOLDEN[name] for name in NAMES}


def test_all_of_these_are_different(demand: Demand) -> None:
    markets = {GOLDEN[name] for name in MARKETS}
    assert len(markets) == len(MARKETS)
    assert digest(run_market(whole_demand(seed=2), SCENARIO)) not in markets
