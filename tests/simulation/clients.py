"""Buyers, traders, a banker and workers of a simulation: the real SDK and the real agent.

None of them gives up: what got no answer is sent again with the same id until it has one. What they
were told stands in `Told`, and is what the exchange must never forget.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from exchange.client import AsyncClient, Side
from exchange.client.channel import KeyedChannel
from exchange.client.enums import JobState, SelfTradePrevention
from exchange.client.errors import CallFailed, ClientClosed, JobNotSettled, Refused, ServerFailed
from exchange.client.order_stream import AsyncOrderStream
from exchange.client.order_types import OrderResult
from exchange.metering import signing
from exchange.metering.cards import INSTANT
from exchange.testing import uuid7
from exchange.testing.channel import VirtualChannel
from exchange.testing.network import VirtualNetwork
from exchange.testing.virtual import Process
from tests.simulation.site import ADDRESS, OPERATOR
from worker.agent import Agent
from worker.config import QuotePlan, WorkerConfig
from worker.engines.instant import PIECE_TEXT, InstantEngine
from worker.identity import Identity
from worker.quoting import parse_policy

INSTRUMENT = f"{INSTANT.name}/cpu/interactive"
PAPER = "paper"
KEYS = {name: "flx_" + name[0] * 43 for name in ("buyer", "player", "seller")}
T = TypeVar("T")


@dataclass
class Told:
    """What clients were told was done, and how often they had to ask again."""

    jobs: dict[bytes, int] = field(default_factory=dict)
    orders: dict[bytes, int] = field(default_factory=dict)
    deposits: dict[bytes, int] = field(default_factory=dict)
    ended: dict[int, tuple[JobState, int]] = field(default_factory=dict)
    repeats: int = 0


class Client:
    """One process with a client in it."""

    def __init__(self, network: VirtualNetwork, process: Process, told: Told, key: str) -> None:
        channel = KeyedChannel(VirtualChannel(network, process, ADDRESS), key)
        self.process = process
        self.told = told
        self.sdk = AsyncClient(channel=channel)

    def new_id(self) -> bytes:
        """A client id by the clock of this process."""
        return uuid7(self.process.now_ns())

    async def pause(self, longest_s: float) -> None:
        """Do nothing for a while."""
        await asyncio.sleep(self.process.random.uniform(0, longest_s))

    async def until_told(self, act: Callable[[], Awaitable[T]]) -> T:
        """Repeat a call, with the same id, until the exchange has answered it.

        Raises:
            Refused: that is an answer.
            ServerFailed: the exchange has a defect.
        """
        while True:
            try:
                return await act()
            except (Refused, ServerFailed):
                raise
            except (CallFailed, ClientClosed):
                self.told.repeats += 1
                await self.pause(1.0)


class Buyer(Client):
    """Buys answers, watches some, cancels some."""

    async def run(self, jobs: int) -> None:
        """Submit so many jobs, and see each to its end."""
        async with asyncio.TaskGroup() as following:
            for _ in range(jobs):
                await self.pause(4.0)
                job_id = await self.buy()
                following.create_task(self._follow(job_id))

    async def buy(self) -> int:
        """Submit one job; its id."""
        chance, ident = self.process.random, self.new_id()
        tokens, prompt = chance.randint(1, 12), "x" * chance.randint(1, 40)
        deadline_ns = chance.randint(10, 40) * 1_000_000_000
        job = await self.until_told(
            lambda: self.sdk.jobs.submit(
                prompt,
                client_job_id=ident,
                model=INSTANT.name,
                value=10**7,
                output_tokens_max=tokens,
                deadline=deadline_ns,
                raw=True,
            )
        )
        self.told.jobs[ident] = job.job_id
        return job.job_id

    async def _follow(self, job_id: int) -> None:
        if self.process.random.random() < 0.2:
            await self.pause(2.0)
            await self._cancel(job_id)
        try:
            answer = await self.until_told(lambda: self.sdk.jobs.follow(job_id))
        except JobNotSettled as error:
            job = error.job
        else:
            job = answer.job
            text = answer.text
            assert text == PIECE_TEXT * (len(text) // len(PIECE_TEXT)), "the output is garbled"
            assert len(text) // len(PIECE_TEXT) == job.output_tokens, "a part is missing or double"
        self.told.ended[job_id] = (job.state, job.paid_nanos)

    async def _cancel(self, job_id: int) -> None:
        try:
            await self.until_told(lambda: self.sdk.jobs.cancel(job_id))
        except Refused:
            return  # It has ended meanwhile.


class Trader(Client):
    """Places, replaces and cancels paper orders, by calls and over a stream that may break."""

    async def run(self, rounds: int) -> None:
        """Give so many rounds of instructions."""
        for _ in range(rounds):
            await self.pause(2.0)
            if self.process.random.random() < 0.4:
                await self._one()
            else:
                await self._some()

    async def _one(self) -> None:
        ident, terms = self.new_id(), self._terms()
        result = await self.until_told(
            lambda: self.sdk.orders.place(
                PAPER,
                *terms,
                client_order_id=ident,
                self_trade=SelfTradePrevention.DECREMENT,
            )
        )
        self._note(ident, result)

    async def _some(self) -> None:
        """A few placements at once; those without an answer go again over the next stream."""
        chance = self.process.random
        waiting = {self.new_id(): self._terms() for _ in range(chance.randint(1, 12))}
        guarded = chance.random() < 0.3
        while waiting:
            stream = await self.until_told(
                lambda: self.sdk.orders.stream(cancel_on_disconnect=guarded)
            )
            try:
                async with stream, asyncio.timeout(5.0):
                    await self._over(stream, waiting)
            except (CallFailed, ClientClosed, TimeoutError):
                self.told.repeats += 1
                await self.pause(1.0)

    async def _over(
        self, stream: AsyncOrderStream, waiting: dict[bytes, tuple[Side, int, int]]
    ) -> None:
        chance = self.process.random
        placed = {
            ident: stream.place(
                PAPER, *terms, client_order_id=ident, self_trade=SelfTradePrevention.DECREMENT
            )
            for ident, terms in waiting.items()
        }
        for ident, future in placed.items():
            self._note(ident, await future)
            del waiting[ident]
        known = list(self.told.orders.values())
        if known and chance.random() < 0.5:
            await stream.cancel(order_id=chance.choice(known))
        if known and chance.random() < 0.5:
            _, price, quantity = self._terms()
            await stream.replace(chance.choice(known), price, quantity)
        if chance.random() < 0.1:
            await stream.cancel_all(PAPER)

    def _terms(self) -> tuple[Side, int, int]:
        chance = self.process.random
        side = Side.BID if chance.random() < 0.5 else Side.ASK
        return side, chance.randint(95, 105), chance.randint(1, 50)

    def _note(self, ident: bytes, result: OrderResult) -> None:
        assert not result.rejected, f"an order was refused: {result.reason}"
        self.told.orders[ident] = result.order_id


class Banker(Client):
    """The operator, who puts credit in."""

    async def run(self, deposits: int) -> None:
        """Make so many deposits."""
        for _ in range(deposits):
            await self.pause(3.0)
            ident, amount = self.new_id(), self.process.random.randint(1, 1_000)
            await self.until_told(
                lambda ident=ident, amount=amount: self.sdk.admin.deposit(  # type: ignore[misc]
                    "buyer", amount, request_id=ident
                )
            )
            self.told.deposits[ident] = amount


def banker(network: VirtualNetwork, process: Process, told: Told) -> Banker:
    """The banker has the operator's key."""
    return Banker(network, process, told, OPERATOR)


def agent(process: Process, name: str, directory: Path, slots: int) -> Agent:
    """A worker with instant engines, which take their time; its key follows from its name."""
    key = hashlib.sha256(name.encode()).digest()
    directory.mkdir(exist_ok=True)
    config = WorkerConfig(
        ADDRESS,
        KEYS["seller"],
        name,
        directory,
        quotes=(QuotePlan(INSTRUMENT, parse_policy("static:1000,2000"), ttl_s=20.0),),
        engine="instant",
        slots=slots,
    )
    delay_s = process.random.uniform(0.01, 0.15)
    engines = [InstantEngine(delay_s=delay_s) for _ in range(slots)]
    return Agent(config, Identity(key, signing.public_key(key)), list(engines))
