"""No slot is sold twice by the whole core: a count of leases kept from the events alone.

One worker with two pools; every pool is quoted in three classes of two tiers, so in two clearing
groups. Jobs, requotes, expiry of quotes and leases, halts, lost workers and restarts at random.
"""

from __future__ import annotations

import random

import pytest

from exchange.core import commands as c
from exchange.core.events import AnyEvent, LeaseEnded, LeaseOffered, Refused, WorkerRegistered
from exchange.core.limits import NS_PER_MS, NS_PER_S
from exchange.core.reasons import Reason
from tests.exchange.core.scenario import ASK, Market, Offer
from tests.exchange.core.sizes import SOAK

SLOTS_MAX = 3


class Floor:
    """A market, and which leases hold which pool by what was announced."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.market = Market()
        name = "instant"
        gpu = self.market.lease_class(f"{name}/gpu/interactive")
        batch = self.market.lease_class(f"{name}/cpu/batch")
        self.instruments = (self.market.cpu, gpu, batch)
        self.slots: list[int] = [2, 1]
        self.held: dict[int, Offer] = {}
        self.sold = 0
        self.market.do(c.WithdrawQuote(self.market.worker, self.market.cpu, 0))
        self.worker = self.market.worker_of(self.market.seller, name="second", slots=(2, 1))

    def apply(self, command: c.Command) -> list[AnyEvent]:
        """Apply a command; each lease offered must find a slot that no lease holds."""
        events = self.market.events(command)
        if isinstance(command, c.RegisterWorker) and isinstance(events[0], WorkerRegistered):
            self.slots = list(command.slots)
        for event in events:
            if isinstance(event, LeaseOffered) and event.worker_id == self.worker:
                pool = [o for o in self.held.values() if o.event.pool == event.pool]
                assert len(pool) < self.slots[event.pool], "oversold"
                self.held[event.lease_id] = Offer(self.market, event)
                self.sold += 1
            elif isinstance(event, LeaseEnded):
                self.held.pop(event.lease_id, None)
        return events

    def step(self) -> None:
        rng = self.rng
        kind = rng.random()
        if kind < 0.30:
            tier = rng.choice(("interactive", "interactive", "batch"))
            value = rng.choice((10**4, 10**6, 10**8))
            within = rng.randint(1, 10) * NS_PER_S
            self.apply(self.market.job(tier=tier, value_nanos=value, deadline_within_ns=within))
        elif kind < 0.55:
            wait = rng.choice((1, 10 * NS_PER_MS, 10 * NS_PER_MS, NS_PER_S, 20 * NS_PER_S))
            self.apply(c.Advance(self.market.now_ns + wait))
        elif kind < 0.70:
            self.quote()
        elif kind < 0.74:
            pool = rng.randrange(2)
            self.apply(c.WithdrawQuote(self.worker, rng.choice(self.instruments), pool))
        elif kind < 0.94:
            self.work()
        else:
            self.disturb()

    def quote(self) -> None:
        low = self.rng.choice((1, ASK // 2, ASK))
        prices = (low,) * self.rng.randint(1, SLOTS_MAX)
        ttl = self.rng.choice((50 * NS_PER_MS, 60 * NS_PER_S))
        instrument_id = self.rng.choice(self.instruments)
        self.apply(c.SetQuote(self.worker, instrument_id, self.rng.randrange(2), ttl, prices))

    def work(self) -> None:
        """The next step of a lease, or a refusal of it."""
        if not self.held:
            return
        offer = self.held[self.rng.choice(sorted(self.held))]
        state = self.market.exchange.leases[offer.lease_id].state
        if self.rng.random() < 0.2:
            self.apply(c.DeclineLease(*offer.token, Reason.WORKER_BUSY))
        elif state == 1:
            self.apply(c.AcceptLease(*offer.token))
        elif state == 2:
            self.apply(c.StartLease(*offer.token))
        else:
            self.apply(offer.receipt())

    def disturb(self) -> None:
        kind = self.rng.randrange(7)
        if kind == 0:
            instrument_id = self.rng.choice(self.instruments)
            state = self.rng.choice((c.TradingState.OPEN,) * 3 + (c.TradingState.HALTED,))
            self.apply(c.SetInstrumentState(instrument_id, state))
        elif kind == 1:
            self.apply(self.rng.choice((c.WorkerLost, c.LeaveWorker))(self.worker))
        elif kind == 2:
            epoch = self.market.exchange.epoch + 1
            self.apply(c.Recovered(epoch, self.rng.choice((NS_PER_MS, 30 * NS_PER_S))))
        else:
            slots = (self.rng.randint(1, SLOTS_MAX), self.rng.randint(1, SLOTS_MAX))
            self.apply(
                self.market.registration(
                    self.market.seller, name="second", slots=slots, resume=self.rng.randrange(2)
                )
            )


@pytest.mark.parametrize("seed", range(1, 1 + 5 * SOAK))
def test_no_interleaving_sells_a_slot_twice(seed: int) -> None:
    floor = Floor(seed)
    for _ in range(1_200):
        floor.step()
    floor.market.close()
    assert floor.sold > 20


def test_a_worker_that_resumes_keeps_the_slots_that_are_in_use() -> None:
    floor = Floor(1)
    floor.apply(c.SetQuote(floor.worker, floor.instruments[0], 0, 60 * NS_PER_S, (1, 1)))
    for _ in range(2):
        floor.apply(floor.market.job(value_nanos=10**8))
    floor.apply(c.Advance(floor.market.now_ns + 10 * NS_PER_MS))
    assert len(floor.held) == 2
    fewer = floor.market.registration(floor.market.seller, name="second", slots=(1, 1), resume=1)
    (answer, *_) = floor.apply(fewer)
    assert isinstance(answer, Refused)
    assert answer.reason == Reason.SLOTS_IN_USE
