"""The demo from its first second to its closing statement."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Coroutine
from typing import Any, Final

from exchange.client import AsyncClient, FlopexError, Worker
from exchange.metering.cards import INSTANT, SMOLLM2_135M
from flopex.demo.buyers import AWAY_MAX_S, PATIENT, play_buyer
from flopex.demo.market import Keys, instrument_names, set_up, set_up_paper
from flopex.demo.processes import Cast, DemoFailed, Settings
from flopex.demo.scenario import BUYERS, WORKERS
from flopex.demo.stage import JobRow, Kind, Stage, WorkerRow
from flopex.demo.summary import Summary, summarize
from flopex.render.ladder import LadderView
from flopex.replay import Replay, replay_journal
from worker.model.shipped import shipped_card

LOOK_EVERY_S: Final = 0.25
"""How often ladders and workers are looked at."""
WORKERS_WITHIN_S: Final = 150.0
"""How long the workers get to load their model; the first run on a slow disk takes longest."""
QUIET_WITHIN_S: Final = 10.0
"""How long the exchange gets to settle down before its state is compared."""
LADDER_DEPTH: Final = 6


class Demo:
    """One demo; use it with `async with`, so that no process outlives it.

    Attributes:
        stage: What there is to see.
        keys: API keys, once the market is set up.
        cast: The processes.
    """

    def __init__(self, settings: Settings, stage: Stage) -> None:
        self.settings = settings
        self.stage = stage
        self.card = SMOLLM2_135M if settings.engine == "llama" else INSTANT
        self.thinking_card = shipped_card()
        self.keys = Keys({})
        self.cast = Cast(settings, stage)
        self._told: set[str] = set()
        stage.directory = str(settings.directory)
        stage.jobs = [JobRow(buyer.name, part) for buyer in BUYERS for part in buyer.jobs]

    async def __aenter__(self) -> Demo:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.stage.step = "stopping workers and exchange"
        await self.cast.stop()

    async def play(self) -> tuple[Summary, Replay]:
        """The whole play, up to the closing figures.

        Raises:
            DemoFailed: a process died that the demo cannot do without.
            FlopexError: the exchange refused what must not be refused.
        """
        return await self._unless_failed(self._play())

    async def keep_up(self) -> None:
        """Stay up until interrupted, with the ladders up to date.

        Raises:
            DemoFailed: the exchange died twice, or both workers did.
        """
        await self.cast.failed

    async def _unless_failed(
        self, work: Coroutine[Any, Any, tuple[Summary, Replay]]
    ) -> tuple[Summary, Replay]:
        task = asyncio.create_task(work)
        try:
            await asyncio.wait((task, self.cast.failed), return_when=asyncio.FIRST_COMPLETED)
            if not task.done():
                self.cast.failed.result()
            return task.result()
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _play(self) -> tuple[Summary, Replay]:
        stage, cast = self.stage, self.cast
        stage.step = "starting the exchange"
        stage.say(Kind.SETUP, f"data directory {self.settings.directory}")
        await cast.start_exchange()
        stage.say(
            Kind.SETUP,
            f"the exchange is open at {cast.address}, its page at http://{cast.http_address}/",
        )
        async with AsyncClient(
            cast.address, cast.operator_key, timeout_s=AWAY_MAX_S, retry=PATIENT
        ) as operator:
            stage.step = "setting up the market"
            cards = (self.card, self.thinking_card)
            self.keys = await set_up(operator, cards)
            for card in cards:
                stage.say(Kind.SETUP, f"model {card.name}: {', '.join(instrument_names(card))}")
            await cast.start_workers(self.keys, self.card.name, self.thinking_card.name)
            names = ", ".join(part.name for part in WORKERS)
            stage.say(Kind.SETUP, f"workers {names} load their models and dial in")
            await set_up_paper(operator, cast.address, self.keys)
            async with self._watching(operator):
                stage.step = "workers load their models and dial in"
                await self._first_worker(operator)
                stage.step = "the market is open"
                await self._buy()
            stage.step = "replaying the journal"
            await self._look_once(operator)
            return await self._close(operator)

    async def _first_worker(self, operator: AsyncClient) -> None:
        """Return once one worker of text sells; the others may still be loading."""
        loop = asyncio.get_running_loop()
        give_up = loop.time() + WORKERS_WITHIN_S
        thinkers = {part.name for part in WORKERS if part.thinks}
        while loop.time() < give_up:
            ready = {
                w.name for w in await _workers(operator) if w.state.name == "READY" and w.quotes
            }
            if ready - thinkers:
                return
            await asyncio.sleep(LOOK_EVERY_S)
        raise DemoFailed(
            f"no worker dialled in within {WORKERS_WITHIN_S:.0f} s; "
            f"logs: {self.settings.directory / 'logs'}"
        )

    async def _buy(self) -> None:
        for buyer in BUYERS:
            self.stage.say(Kind.SETUP, f"{buyer.name}: {buyer.about}")
        async with asyncio.TaskGroup() as tasks:
            for buyer in BUYERS:
                key = self.keys.of[buyer.name]
                card = self.thinking_card if buyer.jobs[0].right_answer else self.card
                tasks.create_task(play_buyer(self.stage, self.cast.address, key, card, buyer))

    @contextlib.asynccontextmanager
    async def _watching(self, operator: AsyncClient) -> AsyncIterator[None]:
        looking = asyncio.create_task(self._look(operator))
        try:
            yield
        finally:
            looking.cancel()
            await asyncio.gather(looking, return_exceptions=True)

    async def _look(self, operator: AsyncClient) -> None:
        """Keep ladders and workers on the stage up to date."""
        while True:
            with contextlib.suppress(FlopexError):  # it is away: whoever watches it says so
                await self._look_once(operator)
            await asyncio.sleep(LOOK_EVERY_S)

    async def _look_once(self, operator: AsyncClient) -> None:
        ladders = []
        for name in instrument_names(self.card):
            book = await operator.market.book(name, depth=LADDER_DEPTH)
            ladders.append(LadderView(name, book.bids, book.asks, book.last_price_nanos))
        self.stage.ladders = ladders
        rows = []
        for worker in await _workers(operator):
            prices = worker.quotes[0].prices_nanos if worker.quotes else (0,)
            state = worker.state.name.lower() if worker.connected else "away"
            if worker.quotes and worker.name not in self._told:
                self._told.add(worker.name)
                self.stage.say(Kind.SETUP, f"worker {worker.name} sells at {prices[0]:,} nano$/CU")
            rows.append(
                WorkerRow(
                    name=worker.name,
                    state=state,
                    slots=sum(worker.slots),
                    in_use=sum(worker.slots_in_use),
                    price_nanos=prices[0],
                    leases_settled=worker.leases_settled,
                    earned_nanos=worker.earned_nanos,
                )
            )
        self.stage.workers = rows

    async def _close(self, operator: AsyncClient) -> tuple[Summary, Replay]:
        """Ask the exchange for its state, replay its journal up to there, and compare."""
        invariants = await operator.admin.invariants(full=True)
        replay = await asyncio.to_thread(
            replay_journal, self.settings.directory / "journal", invariants.journal_records
        )
        return summarize(self.stage.jobs, invariants, replay), replay


async def _workers(operator: AsyncClient) -> list[Worker]:
    """The demo's own workers, in the order of the scenario; others may have joined."""
    found = {worker.name: worker for worker in await operator.workers.list()}
    return [found[part.name] for part in WORKERS if part.name in found]


__all__ = ["Demo", "DemoFailed", "Settings", "Stage"]
