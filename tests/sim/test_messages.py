"""Messages are counted as the protocol sends them."""

from __future__ import annotations

import msgspec
import pytest

from exchange.core.limits import NS_PER_S
from sim.demand import Demand
from sim.market import run_market
from sim.outcome import UNSERVED, Outcome
from sim.rivals import run_rivals
from sim.scenario import HardwareClass, Scenario, ScenarioError
from sim.studies.messages import MessageCounter, auction_messages, sized
from tests.sim.demands import SMALL, small_demand

ONE = msgspec.structs.replace(SMALL, classes=(HardwareClass("only", 1, 1, 1.0, 0.1),))


def counted(
    demand: Demand, scenario: Scenario, standing: bool = True
) -> tuple[MessageCounter, Outcome]:
    counter = MessageCounter(demand, scenario)
    outcome = run_market(demand, scenario, standing=standing, observer=counter)
    counter.end()
    return counter, outcome


def total(counter: MessageCounter, kind: str) -> float:
    return sum(here[kind] for here in counter.counts)


def test_a_served_job_takes_twelve_messages_and_another_five() -> None:
    demand = small_demand()
    counter, outcome = counted(demand, SMALL)
    served = sum(place != UNSERVED for place in outcome.served_by)
    jobs = len(demand.jobs)
    # Call, answer, watch, queued, ended; leased and running; and for the worker five.
    assert total(counter, "buyer") == 5 * jobs + 2 * served
    assert total(counter, "lease") == 5 * served
    renewed = demand.window_starts_ns[-1] // (20 * NS_PER_S)
    assert total(counter, "quote") == pytest.approx(3 + 3 * renewed)
    assert total(counter, "event") == pytest.approx(outcome.events)
    for window, here in enumerate(counter.counts):  # a job counts where it came
        own = [job for job in demand.jobs if job.window == window]
        done = sum(outcome.served_by[job.number] != UNSERVED for job in own)
        assert (here["buyer"], here["lease"]) == (5 * len(own) + 2 * done, 5 * done)


def test_silence_is_broken_by_heartbeats() -> None:
    demand = small_demand(ONE)
    nobody = demand._replace(jobs=demand.jobs[:1])
    late = nobody.jobs[0]._replace(arrival_ns=10 * NS_PER_S, deadline_ns=19 * NS_PER_S)
    market = Demand(demand.millitokens_per_s, (0, 60 * NS_PER_S), (late._replace(window=0),))
    counter, _ = counted(market, ONE)
    (here,) = counter.counts
    # About sixty from the worker and thirty from the exchange, but for what is said meanwhile.
    assert 60 + 30 - 5 <= here["silence"] <= 60 + 30
    assert here["quote"] == 1 + 3


def test_a_job_that_waits_is_watched() -> None:
    demand = small_demand(ONE)
    job = demand.jobs[0]._replace(arrival_ns=0, window=0, work_ns=NS_PER_S, value_nanos=1)
    # Worth less than its work, it never begins: it is told so at its latest start.
    worthless = job._replace(deadline_ns=45 * NS_PER_S)
    counter, _ = counted(Demand(demand.millitokens_per_s, (0, 60 * NS_PER_S), (worthless,)), ONE)
    (here,) = counter.counts
    assert here["buyer"] == 5
    assert here["waiting"] == 4


def test_quotes_sent_anew_are_counted_and_decide_alike_with_one_slot() -> None:
    demand = small_demand(ONE)
    standing, outcome = counted(demand, ONE)
    anew, same = counted(demand, ONE, standing=False)
    served = sum(place != UNSERVED for place in outcome.served_by)
    assert same.served_by == outcome.served_by
    renewed = demand.window_starts_ns[-1] // (20 * NS_PER_S)
    assert total(anew, "quote") == pytest.approx(1 + 2 * served + renewed)
    assert total(anew, "buyer") == total(standing, "buyer")


def test_a_flat_quote_sells_all_slots_at_one_ask() -> None:
    demand = small_demand()
    standing, flat = run_market(demand, SMALL), run_market(demand, SMALL, standing=False)
    assert flat.digest != standing.digest
    assert run_market(demand, SMALL, standing=False) == flat


def test_an_auction_calls_all_workers_that_could() -> None:
    demand = small_demand(ONE)
    job = demand.jobs[0]._replace(arrival_ns=0, work_ns=NS_PER_S, window=0)
    market = Demand(demand.millitokens_per_s, (0, 60 * NS_PER_S), (job,))
    fleet = msgspec.structs.replace(
        ONE, classes=(HardwareClass("fast", 3, 2, 1.0, 0.1), HardwareClass("slow", 2, 2, 0.1, 0.1))
    )
    begun = Outcome.empty("reverse_auction", 1)
    begun.serve(0, 0, 3 * NS_PER_S)
    soon = market._replace(jobs=(job._replace(deadline_ns=4 * NS_PER_S),))
    # Called after one second and two, when it begins: three workers could, with six slots free.
    assert auction_messages(soon, fleet, begun) == [(3 + 3) * 2]
    late = market._replace(jobs=(job._replace(deadline_ns=60 * NS_PER_S),))
    assert auction_messages(late, fleet, begun) == [(3 + 3 + 2 + 2) * 2]
    never = Outcome.empty("reverse_auction", 1)
    assert auction_messages(soon, fleet, never) == [(3 + 3) * 3]


def test_a_fleet_of_any_size_keeps_its_mix() -> None:
    assert [c.workers for c in sized(Scenario(), 10).classes] == [3, 3, 4]
    assert [c.slots for c in sized(Scenario(), 1_000).classes] == [2, 2, 2]
    assert sum(c.workers for c in sized(SMALL, 100).classes) == 100
    with pytest.raises(ScenarioError, match="too few"):
        sized(Scenario(), 2)


def test_rivals_are_run_by_name() -> None:
    demand = small_demand()
    assert list(run_rivals(demand, SMALL, ("posted", "fifo"))) == ["posted", "fifo"]
    assert run_rivals(demand, SMALL, ("fifo",))["fifo"] == run_rivals(demand, SMALL)["fifo"]
