"""Clients of the market's WebSocket, and a book as a reader keeps it, written from the document."""

from __future__ import annotations

import asyncio
import contextlib
import random
import zlib
from collections.abc import AsyncIterator
from typing import Any

import aiohttp

from exchange.core.commands import CancelOrder, OrderType, PlaceOrder
from exchange.core.events import OrderAccepted
from matching.types import SelfTradePrevention, Side, TimeInForce
from tests.exchange.http.site import Site
from tests.waiting import WITHIN_S

PATH = "/ws/v1/market"


class Watcher:
    """One WebSocket whose key is known."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.socket = socket

    async def read(self) -> dict[str, Any]:
        found: dict[str, Any] = await self.socket.receive_json(timeout=WITHIN_S)
        return found

    async def say(self, **message: Any) -> None:
        await self.socket.send_json(message)

    async def ask(self, **message: Any) -> dict[str, Any]:
        """Say something, and read up to the answer; what came before it is dropped."""
        await self.say(id="asked", **message)
        while (found := await self.read()).get("id") != "asked":
            pass
        return found

    async def subscribe(self, channel: str, instrument: str, **more: Any) -> None:
        answer = await self.ask(method="subscribe", channel=channel, instrument=instrument, **more)
        assert "result" in answer, answer

    async def close_code(self) -> int:
        """Read until the exchange closes; the code."""
        while True:
            message = await self.socket.receive(timeout=WITHIN_S)
            if message.type == aiohttp.WSMsgType.CLOSE:
                return int(message.data)
            assert message.type == aiohttp.WSMsgType.TEXT, message


@contextlib.asynccontextmanager
async def watch(site: Site, key: str = "") -> AsyncIterator[Watcher]:
    headers = {"Authorization": f"Bearer {key or site.buyer}"}
    async with site.http.ws_connect(PATH, headers=headers) as socket:
        yield Watcher(socket)


class Book:
    """What a reader holds; `take` raises where a message does not fit."""

    def __init__(self, depth: int) -> None:
        self.depth = depth
        self.sequence = -1
        self.sides: dict[str, dict[int, tuple[int, int]]] = {"bids": {}, "asks": {}}
        self.snapshots = 0
        self.deltas = 0

    def take(self, data: dict[str, Any]) -> None:
        if "snapshot" in data:
            found = data["snapshot"]
            self.sides = {"bids": {}, "asks": {}}
            self.snapshots += 1
        else:
            found = data["delta"]
            assert int(data["previous_sequence"]) == self.sequence, "a message is missing"
            self.deltas += 1
        assert int(found["sequence"]) > self.sequence or "snapshot" in data
        self.sequence = int(found["sequence"])
        for name, levels in self.sides.items():
            for level in found[name]:
                price, quantity = int(level["price_nanos"]), int(level["quantity"])
                if quantity:
                    levels[price] = (quantity, level["orders"])
                else:
                    del levels[price]
            assert len(levels) <= self.depth
        assert self.checksum() == found["checksum"], "the checksum differs"

    @property
    def bids(self) -> list[tuple[int, int]]:
        return [(price, self.sides["bids"][price][0]) for price in sorted(self.sides["bids"])][::-1]

    @property
    def asks(self) -> list[tuple[int, int]]:
        return [(price, self.sides["asks"][price][0]) for price in sorted(self.sides["asks"])]

    def checksum(self) -> int:
        halves = ("".join(f"{p}:{q}," for p, q in side[:10]) for side in (self.bids, self.asks))
        return zlib.crc32("|".join(halves).encode())


class Crowd:
    """Two accounts that place and cancel orders of a paper book at random."""

    def __init__(self, site: Site, seed: int) -> None:
        self._site = site
        self._random = random.Random(seed)
        self._orders: list[tuple[int, int]] = []
        self._accounts: list[int] = []

    async def enter(self) -> None:
        for name in ("crowd-1", "crowd-2"):
            await self._site.exchange.trader(name)
            self._accounts.append(self._site.exchange.core.account_by_name[name])

    async def act(self, count: int) -> None:
        """So many commands at once."""
        engine = self._site.exchange.engine
        outcomes = await asyncio.gather(*(engine.submit(self._command()) for _ in range(count)))
        for outcome in outcomes:
            self._orders += [
                (event.account_id, event.order_id)
                for event in outcome.events
                if isinstance(event, OrderAccepted)
            ]

    def _command(self) -> PlaceOrder | CancelOrder:
        chance = self._random
        if self._orders and chance.random() < 0.4:
            account_id, order_id = self._orders.pop(chance.randrange(len(self._orders)))
            return CancelOrder(account_id, order_id, bytes(16))
        bids = chance.random() < 0.5
        return self.order(
            chance.choice(self._accounts),
            Side.BID if bids else Side.ASK,
            chance.randint(1_000, 1_030) + (-12 if bids else 12),
            chance.randint(1, 9),
        )

    def order(self, account_id: int, side: Side, price_nanos: int, mflop: int) -> PlaceOrder:
        return PlaceOrder(
            account_id=account_id,
            client_order_id=self._site.exchange.id(),
            instrument_id=self._site.paper_id,
            side=side,
            order_type=OrderType.LIMIT,
            time_in_force=TimeInForce.GTC,
            self_trade=SelfTradePrevention.CANCEL_NEWEST,
            price_nanos=price_nanos,
            quantity_mflop=mflop,
            expire_time_ns=0,
            max_cost_nanos=0,
        )

    async def trade(self, price_nanos: int = 1_000, mflop: int = 1) -> None:
        """One trade of the two."""
        buyer, seller = self._accounts
        for command in (
            self.order(buyer, Side.BID, price_nanos, mflop),
            self.order(seller, Side.ASK, price_nanos, mflop),
        ):
            await self._site.exchange.submit(command)
