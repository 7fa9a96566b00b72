"""Who takes part in a scenario's market: each account and each worker with a conduct of its own."""

from __future__ import annotations

from typing import Final

from sim.agents.cheaters import BadWorker, Canceller
from sim.agents.conduct import Conduct, Deed, Ending
from sim.agents.paced import Paced, Unpaced
from sim.demand import Demand, Job
from sim.scenario import DEALERS, Agent, Scenario

_HONEST: Final = Conduct()


class Cast(Conduct):
    """Conducts by account and by worker; who is not named is honest."""

    def __init__(self, buyers: dict[int, Conduct], workers: dict[int, Conduct]) -> None:
        self._buyers, self._workers = buyers, workers

    def told(self, job: Job, now_ns: int) -> Job | None:
        """What the account's own conduct says."""
        return self._buyers.get(job.account, _HONEST).told(job, now_ns)

    def credit_nanos(self, account: int) -> int | None:
        """What the account's own conduct says."""
        return self._buyers.get(account, _HONEST).credit_nanos(account)

    def cancels_ns(self, told: Job, begin_ns: int, end_ns: int) -> int | None:
        """What the account's own conduct says."""
        return self._buyers.get(told.account, _HONEST).cancels_ns(told, begin_ns, end_ns)

    def deed(self, worker: int, told: Job) -> Deed:
        """What the worker's own conduct says."""
        return self._workers.get(worker, _HONEST).deed(worker, told)

    def ended(self, told: Job, ending: Ending, now_ns: int) -> None:
        """The account's own conduct hears it."""
        self._buyers.get(told.account, _HONEST).ended(told, ending, now_ns)


def cast(demand: Demand, scenario: Scenario) -> Conduct:
    """The conduct of a scenario's agents. Of two that name the same one the later one counts."""
    agents = [agent for agent in scenario.agents if agent.kind not in DEALERS]
    if not agents:
        return _HONEST
    buyers: dict[int, Conduct] = {}
    workers: dict[int, Conduct] = {}
    for agent in agents:
        conduct = _made(agent, demand, scenario)
        buyers |= dict.fromkeys(agent.accounts, conduct)
        workers |= dict.fromkeys(agent.workers, conduct)
    return Cast(buyers, workers)


def _made(agent: Agent, demand: Demand, scenario: Scenario) -> Conduct:
    match agent.kind:
        case "unpaced":
            return Unpaced(agent)
        case "paced":
            return Paced(agent, demand)
        case "canceller":
            return Canceller(agent, scenario.seed)
        case _:
            return BadWorker(agent, scenario.seed)
