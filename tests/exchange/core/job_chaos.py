"""Jobs at random, most of them with legs, over three clearing groups, and what befalls them."""

from __future__ import annotations

from typing import Final

from exchange.core import commands as c
from exchange.core.events import WorkerState
from exchange.core.limits import NS_PER_MS, NS_PER_S
from exchange.metering.cards import ModelCard
from tests.exchange.core.chaos import ASK_NEAR, Chaos
from tests.exchange.core.scenario import Market

LARGE: Final = ModelCard(name="large", family="instant", flops_per_token=3_000_000)
"""Another model, whose tokens cost three times as much."""


class JobChaos(Chaos):
    """Jobs, most of them with legs, over three clearing groups, and what befalls them."""

    def __init__(self, market: Market, seed: int) -> None:
        super().__init__(market, seed)
        market.do(c.AddModel(LARGE.encode()))
        large = market.exchange.model_by_name[LARGE.name]
        slow = {"decode_millitokens_per_s": 20_000}
        self.classes = [
            market.cpu,
            market.lease_class("instant/gpu/interactive"),
            market.lease_class("instant/cpu/batch", **slow),
            market.lease_class("large/cpu/interactive", model_id=large),
        ]
        self.workers = [
            market.worker,
            market.worker_of(market.other, name="two", slots=(1, 2)),
        ]
        self.makers = [
            *[self.advance] * 20,
            *[self.submit] * 4,
            *[self.submit_legs] * 12,
            *[self.step] * 20,
            *[self.cancel_job] * 2,
            *[self.quote] * 8,
            self.worker_goes,
            *[self.recover_worker] * 3,
            self.halt,
            *[self.resume] * 2,
            self.recovered,
        ]

    def quote(self) -> c.Command:
        rng = self.rng
        worker_id = rng.choice(self.workers)
        pool = rng.randint(0, len(self.market.exchange.workers[worker_id].pools) - 1)
        low = ASK_NEAR[rng.randrange(3)]
        prices = rng.choice(((low,), (low, 2 * low)))
        return c.SetQuote(
            worker_id,
            rng.choice(self.classes),
            pool,
            rng.choice((NS_PER_S, 3_600 * NS_PER_S)),
            prices[: self.market.exchange.workers[worker_id].slots[pool]],
        )

    def advance(self) -> c.Command:
        """Mostly one batch."""
        step = self.rng.choice((1, *[10] * 12, 300, 2_000))
        return c.Advance(self.market.now_ns + step * NS_PER_MS)

    def recover_worker(self) -> c.Command:
        worker = self.market.exchange.workers[self.rng.choice(self.workers)]
        if worker.state in (WorkerState.LOST, WorkerState.LEFT):
            return self.market.registration(
                worker.account_id, name=worker.name, slots=tuple(worker.slots)
            )
        return c.SetWorker(0, worker.worker_id, c.WorkerAction.RESUME)

    def halt(self) -> c.Command:
        """For a while; one class may close for good, late."""
        if self.market.exchange.sequence > 500 and self.rng.random() < 0.2:
            return c.SetInstrumentState(self.classes[1], c.TradingState.CLOSED)
        return c.SetInstrumentState(self.rng.choice(self.classes), c.TradingState.HALTED)

    def resume(self) -> c.Command:
        return c.SetInstrumentState(self.rng.choice(self.classes), c.TradingState.OPEN)

    def spoilt(self, command: c.Command) -> c.Command:
        """As for all, but nothing closes for good, and no time is lost."""
        made = super().spoilt(command)
        kept = c.SetInstrumentState | c.Advance | c.Recovered
        return command if isinstance(command, kept) else made
