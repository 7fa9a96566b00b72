"""Caches of prompts by hand and against a naive twin, and bids that see them."""

from __future__ import annotations

import random

import msgspec
import polars as pl
import pytest

from sim.agents.prefixes import PrefixCache, Prefixes, Sight
from sim.demand import Demand
from sim.market import run_market
from sim.outcome import UNSERVED
from sim.scenario import Scenario, ScenarioError
from sim.studies import affinity
from sim.studies.affinity import apart
from tests.sim.demands import SMALL, small_demand

FLEET = apart(SMALL)


def test_a_cache_by_hand() -> None:
    cache = PrefixCache(4)
    cache.use([1, 2, 3])
    assert [cache.prefix(blocks) for blocks in ([1, 2, 9], [1, 2, 3, 4], [2, 3], [9])] == [
        2,
        3,
        2,
        0,
    ]
    cache.use([1, 8])  # 5 blocks used, one too many: the last of the older prompt goes
    assert len(cache) == 4
    cache.use([7])
    assert cache.prefix([1, 2, 3]) == 2
    assert cache.prefix([1, 8]) == 2
    # Used last: 2 as the second, 8 as the fourth, 1 as the fifth, 7 as the sixth.
    assert cache.prefix([1, 8], spare=1) == 2
    assert cache.prefix([1, 8], spare=2) == 1
    assert cache.prefix([1, 8], spare=3) == 0
    cache.check()


@pytest.mark.parametrize("seed", range(20))
def test_a_cache_is_its_naive_twin(seed: int) -> None:
    rng = random.Random(seed)
    capacity = rng.randint(1, 12)
    cache, held = PrefixCache(capacity), list[int]()
    for _ in range(200):
        blocks = rng.sample(range(20), rng.randint(1, 6))
        promised = cache.prefix(blocks, spare=3)
        expected = next((i for i, b in enumerate(blocks) if b not in held), len(blocks))
        assert cache.prefix(blocks) == expected >= promised
        used = rng.sample(range(20), rng.randint(1, 6))
        cache.use(used)
        held = [b for b in held if b not in used] + used[::-1]
        held = held[-capacity:]
        cache.check()
        assert cache.prefix(used) == min(len(used), capacity)
        if len(used) <= 3:  # what was promised has been kept
            assert cache.prefix(blocks) >= promised


def alike(demand: Demand, prompts: int = 3) -> Demand:
    """The demand with prompts that begin alike: of each kind all are the same."""
    jobs = tuple(
        job._replace(
            blocks=tuple(range(10 * (job.number % prompts), 10 * (job.number % prompts) + 10))
        )
        for job in demand.jobs
    )
    return demand._replace(jobs=jobs)


def tokens(demand: Demand, scenario: Scenario, sight: Sight) -> tuple[int, Prefixes]:
    conduct = Prefixes(demand, len(scenario.classes), 1_000, sight)
    outcome = run_market(demand, scenario, conduct)
    assert all(
        spent or place == UNSERVED
        for place, spent in zip(outcome.served_by, conduct.computed_tokens, strict=True)
    )
    return sum(conduct.computed_tokens), conduct


def test_what_was_read_is_not_read_again() -> None:
    demand = alike(small_demand(FLEET))
    whole = sum(job.input_tokens + job.output_tokens for job in demand.jobs)
    for sight in Sight:
        spent, conduct = tokens(demand, FLEET, sight)
        assert spent < whole / 2
        assert not conduct.cut
        assert len(conduct.caches[0]) <= 30


def test_without_blocks_nothing_is_cached_and_all_bid_alike() -> None:
    demand = small_demand(FLEET)
    plain = run_market(demand, FLEET)
    for sight in (Sight.NOTHING, Sight.STICKY, Sight.SHARED):
        assert run_market(demand, FLEET, Prefixes(demand, 7, 1_000, sight)) == plain


def test_a_bid_goes_where_its_prompt_is() -> None:
    demand = alike(small_demand(msgspec.structs.replace(FLEET, load=0.3)), prompts=2)
    scenario = msgspec.structs.replace(FLEET, load=0.3)
    conduct = Prefixes(demand, len(scenario.classes), 1_000, Sight.STICKY)
    outcome = run_market(demand, scenario, conduct)
    for kind in range(2):
        places = {
            place
            for number, place in enumerate(outcome.served_by)
            if number % 2 == kind and place != UNSERVED
        }
        assert len(places) < len(scenario.classes)
    blind, _ = tokens(demand, scenario, Sight.NOTHING)
    assert sum(conduct.computed_tokens) < blind


def test_a_budget_for_what_is_cached_no_more_ends_before_the_answer() -> None:
    demand = alike(small_demand(FLEET), prompts=1)
    conduct = Prefixes(demand, 1, 1_000, Sight.LEGS)
    first, second = demand.jobs[:2]
    conduct.caches[0].use(first.blocks)
    (left,) = conduct.legs(second) or ()
    assert left == 1
    conduct.caches[0] = PrefixCache(1_000)  # all is lost
    conduct.taken(second, 0, 0)
    assert conduct.computed(second, 0, 10**9) == (1, second.output_tokens)
    assert conduct.cut == {second.number}


def test_workers_are_apart() -> None:
    assert [c.slots for c in FLEET.classes] == [1] * 7
    assert FLEET.capacity() == pytest.approx(SMALL.capacity())
    assert len(apart(Scenario()).classes) == 12
    many = msgspec.structs.replace(SMALL.classes[0], workers=9)
    with pytest.raises(ScenarioError, match="at most 16 are apart"):
        apart(msgspec.structs.replace(SMALL, classes=(many,)))


def test_recovered_is_of_what_one_cache_would_bring() -> None:
    welfare = {Sight.NOTHING: 100, Sight.STICKY: 103, Sight.LEGS: 101, Sight.SHARED: 104}
    rows = [
        {"trace": "t", "load": 1.0, "seed": 1, "blocks": 5, "way": str(way), "window": w,
         "account": a, "welfare": worth / 2, "jobs": 10, "missed": 4 - way.startswith("s"),
         "begun": 8, "cut": 1, "tokens": 100, "cached": worth - 100, "asked": 10, "served": 5,
         "great_s": 50.0 - (worth - 100)}
        for way, worth in welfare.items()
        for w in range(3)
        for a in range(2)
    ]  # fmt: skip
    ways = affinity._Ways(pl.DataFrame(rows), 5)
    assert ways.recovered().mean == pytest.approx(3 / 4)
    assert ways.gain(Sight.LEGS).mean == pytest.approx(0.01)
    assert ways.missed_more().mean == pytest.approx(-0.1)
    assert ways.later() == pytest.approx(47 / 50)
    assert "shared 0.04" in ways.cached()
