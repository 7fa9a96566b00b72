"""Fleets from offers and losses from preemptions, and a market that loses workers."""

from __future__ import annotations

import msgspec
import pytest

from exchange.core.limits import NS_PER_S
from sim.market import run_market
from sim.outcome import UNSERVED
from sim.scenario import ScenarioError, checked
from sim.supply import Change, Offer, Presence, fleet, losses
from tests.sim.demands import SMALL, small_demand

OLD, NEW = 0, 60 * NS_PER_S


def offer(gpu: str, gpus: int, usd_h: float, at_ns: int = NEW) -> Offer:
    return Offer(at_ns, gpu, gpus, usd_h, 0.0, 1.0)


def test_a_fleet_has_the_offers_of_the_last_list() -> None:
    offers = [
        offer("H100 SXM", 1, 0.01, OLD),
        offer("H100 SXM", 2, 4.0),
        offer("H100 SXM", 1, 1.0),
        offer("L40S", 1, 0.4),
        offer("RTX 9", 1, 0.1),  # of unknown speed: left out
    ]
    classes = fleet(offers, {"H100 SXM": 1.0, "L40S": 0.25}, slots=4, bands=3)
    told = [(c.name, c.workers, c.slots, c.speed, round(c.cost, 6)) for c in classes]
    # Per GPU and unit of work: 1.0, 2.0 and 2.0; and 0.4 at a quarter of the speed.
    assert told == [
        ("h100-sxm-1", 1, 4, 1.0, 0.1),
        ("h100-sxm-2", 1, 4, 1.0, 0.2),
        ("h100-sxm-3", 1, 4, 1.0, 0.2),
        ("l40s-1", 1, 4, 0.25, 0.16),
    ]
    scenario = checked(msgspec.structs.replace(SMALL, classes=classes))
    assert run_market(small_demand(scenario), scenario).missed(small_demand(scenario)) < 0.9


def test_a_fleet_is_as_large_as_it_is_asked_to_be() -> None:
    offers = [offer("H100", 8, 16.0), offer("H100", 8, 24.0), offer("L4", 4, 1.0)]
    classes = fleet(offers, {"H100": 1.0, "L4": 0.15}, workers=10, bands=2)
    assert [c.workers for c in classes] == [4, 4, 1, 1]
    with pytest.raises(ScenarioError, match="no offer is of one of: B200"):
        fleet(offers, {"B200": 2.0})
    with pytest.raises(ScenarioError, match="at most 16"):
        fleet([offer("H100", 8, 16.0 + i) for i in range(3)], {"H100": 1.0}, bands=17)


def test_nodes_sit_on_seats_and_workers_have_the_first_ones() -> None:
    presence = [
        Presence(0, "a", True),
        Presence(0, "b", True),
        Presence(10, "a", False),
        Presence(20, "c", True),  # on a's seat
        Presence(30, "d", True),
        Presence(100, "b", False),
    ]
    # Three workers, one second: the third's seat is free until d comes.
    assert losses(presence, SMALL, 1.0) == [
        Change(0, 2, False),
        Change(NS_PER_S // 10, 0, False),
        Change(NS_PER_S // 5, 0, True),
        Change(3 * NS_PER_S // 10, 2, True),
        Change(NS_PER_S, 1, False),
    ]


def test_a_lost_worker_does_nothing_until_it_is_back() -> None:
    demand = small_demand()
    calm = run_market(demand, SMALL)
    half_ns = demand.window_starts_ns[-1] // 2
    away = [Change(half_ns, worker, False) for worker in range(3)]
    lost = run_market(demand, SMALL, changes=away)
    assert all(done <= half_ns for done in lost.done_ns)
    back = [Change(half_ns + 5 * NS_PER_S, worker, True) for worker in range(3)]
    some = run_market(demand, SMALL, changes=away + back)
    assert not any(half_ns < done <= half_ns + 5 * NS_PER_S for done in some.done_ns)
    served = [sum(by != UNSERVED for by in o.served_by) for o in (lost, some, calm)]
    assert served[0] < served[1] < served[2]
    assert run_market(demand, SMALL, changes=away + back) == some


def test_a_job_of_a_lost_worker_is_done_by_another() -> None:
    demand = small_demand(msgspec.structs.replace(SMALL, load=0.2))
    calm = run_market(demand, SMALL)
    first = min(job.number for job in demand.jobs if calm.served_by[job.number] == 0)
    job = demand.jobs[first]
    lost = [Change(calm.done_ns[first] - 1, 0, False)]
    outcome = run_market(demand, SMALL, changes=lost)
    done_ns = outcome.done_ns[first]
    assert not done_ns or calm.done_ns[first] < done_ns <= job.deadline_ns
    assert 0 not in outcome.served_by[first + 10 :]
