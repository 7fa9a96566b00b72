"""A lively exchange for the page: the demo's processes, and people who trade and ask.

`python -m tests.web.scene` runs one until Ctrl-C and says where its page is.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

from exchange.client import AsyncClient, FlopexError, OrderType, Side
from exchange.metering.cards import INSTANT
from flopex.demo import scenario
from flopex.demo.market import PAPER_MAKER, Keys, set_up, set_up_paper
from flopex.demo.processes import Cast, Settings
from flopex.demo.scenario import PAPER_INSTRUMENT, WORKERS
from flopex.demo.stage import Stage
from tests.waiting import WITHIN_S
from worker.model.shipped import shipped_card

PAPER_TAKER = "paper-taker"
PRICE_NANOS = 1_740
ORDERS_MAX = 50
MFLOP_PER_CU = 1_000_000

QUESTIONS = [part.prompt for buyer in scenario.BUYERS for part in buyer.jobs if part.right_answer]
PROMPTS = [part.prompt for buyer in scenario.BUYERS for part in buyer.jobs if not part.right_answer]


class Scene:
    """An exchange, three workers, funded accounts, and a paper book.

    Attributes:
        cast: The processes.
        keys: API keys by account.
    """

    def __init__(self, directory: Path, http: str = "127.0.0.1:0") -> None:
        # Who looks for what has just happened finds it, however busy the machine is.
        serving = ("--fresh-within", str(WITHIN_S))
        self.cast = Cast(Settings(directory, "instant", http=http, serving=serving), Stage())
        self.keys = Keys({})
        self._playing: list[asyncio.Task[None]] = []
        self._trading = asyncio.Lock()

    @property
    def url(self) -> str:
        return f"http://{self.cast.http_address}/"

    async def open(self) -> None:
        """Start all of it; return once every worker sells."""
        await self.cast.start_exchange()
        thinking = shipped_card()
        async with self.operator() as operator:
            self.keys = await set_up(operator, (INSTANT, thinking))
            await self.cast.start_workers(self.keys, INSTANT.name, thinking.name)
            await set_up_paper(operator, self.cast.address, self.keys)
            await operator.admin.create_account(PAPER_TAKER, paper=True)
            secret = (await operator.admin.create_key(PAPER_TAKER, ["trader"])).secret
            self.keys.of[PAPER_TAKER] = secret
            await operator.admin.deposit(PAPER_TAKER, scenario.PAPER_MONEY_NANOS)

            async def all_sell() -> bool:
                workers = await operator.workers.list()
                return sum(bool(worker.quotes) for worker in workers) == len(WORKERS)

            await until(all_sell)

    def operator(self) -> AsyncClient:
        return AsyncClient(self.cast.address, self.cast.operator_key)

    def client(self, account: str) -> AsyncClient:
        return AsyncClient(self.cast.address, self.keys.of[account])

    def play(self, seed: int = 1, pause_s: float = 0.25) -> None:
        """Let people trade on the paper book and ask questions, until the end."""
        chance = random.Random(seed)
        for part in (self._trade(chance, pause_s), self._ask(chance, pause_s * 8)):
            self._playing.append(asyncio.create_task(part))

    @contextlib.asynccontextmanager
    async def still(self) -> AsyncIterator[None]:
        """Nobody else trades on the paper book meanwhile: what a test reads stays true."""
        async with self._trading:
            yield

    async def _trade(self, chance: random.Random, pause_s: float) -> None:
        price = PRICE_NANOS
        async with self.client(PAPER_MAKER) as maker, self.client(PAPER_TAKER) as taker:
            while True:
                price += chance.choice((-2, -1, 0, 0, 1, 2)) + (PRICE_NANOS - price) // 40
                async with self._trading:
                    with contextlib.suppress(FlopexError):  # the exchange is being restarted
                        await self._quote(chance, maker, price)
                        await self._take(chance, taker)
                await asyncio.sleep(pause_s * chance.expovariate(1))

    async def _quote(self, chance: random.Random, maker: AsyncClient, price: int) -> None:
        """A few orders near the price; the oldest go."""
        for side, sign in ((Side.BID, -1), (Side.ASK, 1)):
            away = 2 + int(chance.expovariate(1 / 9))
            quantity = chance.randint(1, 40) * MFLOP_PER_CU // 4
            await maker.orders.place(PAPER_INSTRUMENT, side, price + sign * away, quantity)
        orders = [order async for order in maker.orders.list()]
        for order in orders[: max(0, len(orders) - ORDERS_MAX)]:
            await maker.orders.cancel(order_id=order.order_id)

    async def _take(self, chance: random.Random, taker: AsyncClient) -> None:
        side = chance.choice((Side.BID, Side.ASK))
        quantity = chance.randint(1, 60) * MFLOP_PER_CU // 10
        await taker.orders.place(PAPER_INSTRUMENT, side, 0, quantity, order_type=OrderType.MARKET)

    async def _ask(self, chance: random.Random, pause_s: float) -> None:
        cards = ((INSTANT.name, PROMPTS), (shipped_card().name, QUESTIONS))
        async with self.client("ada") as ada, self.client("cleo") as cleo:
            while True:
                model, prompts = chance.choice(cards)
                value = chance.randint(2, 20) * scenario.QUESTION_VALUE_NANOS // 10
                with contextlib.suppress(FlopexError):
                    await chance.choice((ada, cleo)).jobs.submit(
                        chance.choice(prompts),
                        model=model,
                        tier=chance.choice(scenario.TIERS),
                        value=value,
                        deadline="30s",
                        output_tokens_max=scenario.ANSWER_TOKENS_MAX
                        if model != INSTANT.name
                        else 48,
                    )
                await asyncio.sleep(pause_s * chance.expovariate(1))

    async def close(self) -> None:
        for task in self._playing:
            task.cancel()
        await asyncio.gather(*self._playing, return_exceptions=True)
        await self.cast.stop()


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    """Return once it holds."""
    async with asyncio.timeout(WITHIN_S):
        while True:
            if await condition():
                return
            await asyncio.sleep(0.1)


@contextlib.asynccontextmanager
async def open_scene(directory: Path, http: str = "127.0.0.1:0") -> AsyncIterator[Scene]:
    scene = Scene(directory, http)
    try:
        await scene.open()
        yield scene
    finally:
        await scene.close()


async def main() -> None:
    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGINT, ended.set)
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    with tempfile.TemporaryDirectory() as directory:
        http = os.environ.get("FLOPEX_SCENE_HTTP", "127.0.0.1:0")
        async with open_scene(Path(directory), http) as scene:
            scene.play()
            print(f"{scene.url}#key={scene.keys.yours}", flush=True)
            print(f"{scene.url}#key={scene.keys.paper}", flush=True)
            print(f"{scene.url}#key={scene.cast.operator_key}", flush=True)
            await ended.wait()


if __name__ == "__main__":
    asyncio.run(main())
