"""A real exchange with its HTTP edge, a market, and a client that speaks plain HTTP to it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import aiohttp

from exchange.core.commands import (
    OrderType,
    PlaceOrder,
    Role,
)
from exchange.metering.cards import INSTANT
from exchange.testing import InProcessExchange, metadata
from exchange.testing.fake_worker import FakeWorker
from exchange.v1 import job_service_pb2 as pb
from exchange.v1.job_service_pb2_grpc import JobServiceStub
from matching.types import SelfTradePrevention, Side, TimeInForce
from tests.waiting import WITHIN_S

PAPER = "paper/compute"
SECRET_PROMPT = "my bank's password is swordfish"


class Site:
    """An exchange with a paper book and a batch instrument, and an HTTP session to it."""

    def __init__(self, exchange: InProcessExchange, http: aiohttp.ClientSession) -> None:
        self.exchange = exchange
        self.http = http
        self.paper_id = 0
        self.buyer = ""

    @property
    def url(self) -> str:
        return f"http://{self.exchange.http_address}"

    async def open_market(self) -> None:
        self.paper_id = await self.exchange.paper_instrument(PAPER)
        await self.exchange.batch_instrument(INSTANT)
        await self.exchange.trader("hidden-paper-account")
        self.buyer = await self.exchange.trader("hidden-buyer", paper=False)

    async def order(self, side: Side, price_nanos: int, quantity_mflop: int) -> None:
        account_id = self.exchange.core.account_by_name["hidden-paper-account"]
        await self.exchange.submit(
            PlaceOrder(
                account_id=account_id,
                client_order_id=self.exchange.id(),
                instrument_id=self.paper_id,
                side=side,
                order_type=OrderType.LIMIT,
                time_in_force=TimeInForce.GTC,
                self_trade=SelfTradePrevention.CANCEL_NEWEST,
                price_nanos=price_nanos,
                quantity_mflop=quantity_mflop,
                expire_time_ns=0,
                max_cost_nanos=0,
            )
        )

    @contextlib.asynccontextmanager
    async def worker(self, *slots: int) -> AsyncIterator[FakeWorker]:
        """A registered worker that sells at 1,000 nano-dollars per CU."""
        key = await self.exchange.key("hidden-seller", Role.WORKER)
        async with (
            self.exchange.channel() as channel,
            FakeWorker(channel, key, name="hopper", slots=slots) as worker,
        ):
            await worker.register()
            await worker.quote("instant/cpu/interactive", *[1_000] * slots[0])
            yield worker

    async def submit_job(self) -> None:
        async with self.exchange.channel() as channel:
            request = pb.SubmitJobRequest(
                client_job_id=self.exchange.id(),
                model="instant",
                tier="interactive",
                input=pb.JobInput(prompt=SECRET_PROMPT, output_tokens_max=16),
                quantity_mflop=1_000,
                value_nanos=10_000,
                deadline_ns=60 * 10**9,
            )
            await JobServiceStub(channel).SubmitJob(request, metadata=metadata(self.buyer))

    async def overview(self) -> dict[str, Any]:
        async with self.http.get("/v1/overview") as response:
            assert response.status == 200
            assert response.content_type == "application/json"
            found: dict[str, Any] = await response.json()
            return found

    async def text(self, path: str) -> str:
        async with self.http.get(path) as response:
            assert response.status == 200
            return await response.text()


async def eventually(condition: Callable[[], bool]) -> None:
    """Return once it holds."""
    async with asyncio.timeout(WITHIN_S):
        while True:
            if condition():
                return
            await asyncio.sleep(0.01)


@contextlib.asynccontextmanager
async def open_site(
    directory: Path, within_s: float | None = 4 * WITHIN_S, gateway: bool | None = None
) -> AsyncIterator[Site]:
    async with InProcessExchange(directory, http=True, gateway=gateway) as exchange:
        base = f"http://{exchange.http_address}"
        async with asyncio.timeout(within_s), aiohttp.ClientSession(base) as http:
            site = Site(exchange, http)
            await site.open_market()
            yield site
