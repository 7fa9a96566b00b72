"""Who breaks the rules of the market for its own gain, or only to see what happens.

Nothing here is more than the live engine lets anybody send. Workers refuse what they quoted for,
vanish, deliver late, or claim more work than they did; buyers cancel at the last moment, to see
whether work that is nearly whole is free.
"""

from __future__ import annotations

import random

from sim.agents.conduct import HONEST, Claim, Conduct, Deed
from sim.demand import Job
from sim.scenario import Agent


class BadWorker(Conduct):
    """A worker that treats some of its leases badly, chosen by chance, the others honestly."""

    def __init__(self, agent: Agent, seed: int) -> None:
        self._chance = agent.chance
        self._rng = random.Random(f"cheats/{agent.kind}/{seed}")
        self._bad = {
            "decliner": Deed(takes=False),
            "vanisher": Deed(delivers=False),
            "late": Deed(slowness=agent.slowness),
            "overclaimer": Deed(claim=Claim(agent.claim)),
        }[agent.kind]

    def deed(self, worker: int, told: Job) -> Deed:
        """The bad deed, or an honest one."""
        del worker, told
        return self._bad if self._rng.random() < self._chance else HONEST


class Canceller(Conduct):
    """A buyer that cancels some of its jobs when so much of the work is done."""

    def __init__(self, agent: Agent, seed: int) -> None:
        self._chance, self._after = agent.chance, agent.after
        self._rng = random.Random(f"cheats/{agent.kind}/{seed}")

    def cancels_ns(self, told: Job, begin_ns: int, end_ns: int) -> int | None:
        """Near the end."""
        del told
        if self._rng.random() >= self._chance:
            return None
        return begin_ns + round((end_ns - begin_ns) * self._after)
