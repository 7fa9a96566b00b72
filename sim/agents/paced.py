"""Buyers with a budget for the day: a deposit that is all they can spend, paced or not.

Adaptive pacing (Balseiro and Gur 2019): a buyer bids its value over 1 + m. Its multiplier m rises
while it spends faster than its budget allows, and falls while it spends more slowly, never below 0:

    m <- max(0, m + (spent - budget x elapsed / day) / (budget x horizon / day))

So spending ahead of the plan by a horizon's worth of budget raises m by 1. Payments are known when
a job ends, so the multiplier learns late; the deposit in the live engine is what holds the budget,
to the last nano-dollar.
"""

from __future__ import annotations

from typing import Final

from exchange.core.limits import NS_PER_S
from sim.agents.conduct import Conduct, Ending
from sim.demand import Demand, Job
from sim.scenario import UNIT_NANOS, Agent

MULTIPLIER_MAX: Final = 50.0


class Unpaced(Conduct):
    """Truthful, with a budget: when it is spent the live engine refuses what comes.

    Each of the agent's accounts has the budget for itself. A job whose worst case does not fit the
    money that is left at that moment is refused and never comes again.
    """

    def __init__(self, agent: Agent) -> None:
        self._credit_nanos = max(1, round(agent.budget * UNIT_NANOS))

    def credit_nanos(self, account: int) -> int:
        """The budget."""
        del account
        return self._credit_nanos


class Paced(Unpaced):
    """The same with adaptive pacing."""

    def __init__(self, agent: Agent, demand: Demand) -> None:
        super().__init__(agent)
        self._per_ns = self._credit_nanos / demand.window_starts_ns[-1]
        self._step_nanos = self._per_ns * agent.horizon_s * NS_PER_S
        self._seen_ns: dict[int, int] = {}  # by account, of its last job
        self._spent_nanos: dict[int, int] = {}  # since then
        self.multipliers: dict[int, float] = {}

    def told(self, job: Job, now_ns: int) -> Job:
        """The job at its paced value."""
        multiplier = self._paced(job.account, now_ns)
        value_nanos = max(1, round(job.value_nanos / (1 + multiplier)))
        return job._replace(value_nanos=value_nanos)

    def ended(self, told: Job, ending: Ending, now_ns: int) -> None:
        """What was paid counts from now on."""
        del now_ns
        spent_nanos = self._spent_nanos.get(told.account, 0)
        self._spent_nanos[told.account] = spent_nanos + ending.paid_nanos

    def _paced(self, account: int, now_ns: int) -> float:
        """The multiplier after what was spent, and what might have been, since the last job."""
        elapsed_ns = now_ns - self._seen_ns.get(account, 0)
        self._seen_ns[account] = now_ns
        ahead_nanos = self._spent_nanos.pop(account, 0) - self._per_ns * elapsed_ns
        multiplier = self.multipliers.get(account, 0.0) + ahead_nanos / self._step_nanos
        self.multipliers[account] = min(max(multiplier, 0.0), MULTIPLIER_MAX)
        return self.multipliers[account]
