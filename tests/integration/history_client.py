"""One client of a history check: trades as fast as it may, and writes down what it sent and heard.

Usage: python -m tests.integration.history_client ADDRESS KEY SEED COMMANDS FILE

It has several batches under way on one stream, and now and then makes a call of its own beside it.
Each exchange of messages becomes one record of the file, in the order of the answers:

    head = kind, sent and answered (nanoseconds of the machine's monotonic clock), bytes of both
    head | request as sent | response as received
"""

from __future__ import annotations

import asyncio
import random
import struct
import sys
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import grpc

from exchange.packed import CANCEL, INSTRUCTION, NO_ID, PLACE, REPLACE
from exchange.testing import metadata, uuid7
from exchange.v1 import market_pb2
from exchange.v1 import order_service_pb2 as pb
from exchange.v1.order_service_pb2_grpc import OrderServiceStub

HEAD = struct.Struct("<BQQII")
STREAM, UNARY = 0, 1
WINDOW = 8
"""Batches of one client that are under way at a time."""
BATCH_MAX = 256
UNARY_EVERY = 40
"""Batches between two calls beside the stream."""
INSTRUMENT_ID = 2
DECREMENT = 4


class Exchanged(NamedTuple):
    """A request, its answer, and when both were seen."""

    kind: int
    sent_ns: int
    answered_ns: int
    request: bytes
    response: bytes


def read_records(path: Path) -> Iterator[Exchanged]:
    """What a client wrote."""
    with path.open("rb") as file:
        while head := file.read(HEAD.size):
            kind, sent_ns, answered_ns, request, response = HEAD.unpack(head)
            yield Exchanged(kind, sent_ns, answered_ns, file.read(request), file.read(response))


class HistoryClient:
    """Sends random instructions and keeps what came back."""

    def __init__(self, address: str, key: str, seed: int, file: BinaryIO) -> None:
        self._stub = OrderServiceStub(grpc.aio.insecure_channel(address))
        self._metadata = metadata(key)
        self._chance = random.Random(seed)
        self._file = file
        self._used: list[bytes] = []
        self._sent: dict[int, tuple[int, bytes]] = {}
        self._room = asyncio.Semaphore(WINDOW)

    async def run(self, commands: int) -> None:
        """Send so many commands, and wait for all answers."""
        call: Any = self._stub.Trade(self._requests(commands), metadata=self._metadata)
        async for message in call:
            now_ns = time.monotonic_ns()
            following = tuple(message.following)
            message.ClearField("following")
            for response in (message, *following):
                if not response.request_id:
                    continue  # what others did to its orders
                sent_ns, request = self._sent.pop(response.request_id)
                self._keep(STREAM, sent_ns, now_ns, request, response.SerializeToString())
                self._room.release()

    async def _requests(self, commands: int) -> AsyncIterator[pb.TradeRequest]:
        number = 0
        beside: set[asyncio.Task[None]] = set()
        while commands > 0:
            await self._room.acquire()
            number += 1
            size = min(commands, self._chance.randint(1, BATCH_MAX))
            commands -= size
            packed = self._chance.random() < 0.5
            made = self._packed(number, size) if packed else self._plain(number, size)
            made.bundle_responses = self._chance.random() < 0.8
            self._sent[number] = (time.monotonic_ns(), made.SerializeToString())
            yield made
            if number % UNARY_EVERY == 0 and commands:
                commands -= 1
                beside.add(asyncio.create_task(self._one()))
        await asyncio.gather(*beside)
        for _ in range(WINDOW):
            await self._room.acquire()

    async def _one(self) -> None:
        request = pb.PlaceOrderRequest(order=self._order())
        sent_ns = time.monotonic_ns()
        response = await self._stub.PlaceOrder(request, metadata=self._metadata, timeout=60)
        answered_ns = time.monotonic_ns()
        data = request.SerializeToString(), response.SerializeToString()
        self._keep(UNARY, sent_ns, answered_ns, *data)

    def _packed(self, number: int, size: int) -> pb.TradeRequest:
        return pb.TradeRequest(
            request_id=number, packed=b"".join([self._row() for _ in range(size)])
        )

    def _row(self) -> bytes:
        chance = self._chance
        kind = chance.random()
        if kind < 0.35 and self._used:
            return INSTRUCTION.pack(CANCEL, 0, 0, 0, 0, 0, 0, chance.choice(self._used), 0, 0, 0, 0)
        if kind < 0.4:
            known = chance.randint(1, 1 + 2 * len(self._used))
            terms = (chance.randint(90, 110), chance.randint(1, 50))
            return INSTRUCTION.pack(REPLACE, 0, 0, 0, 0, 0, known, NO_ID, *terms, 0, 0)
        return INSTRUCTION.pack(
            *(PLACE, chance.randint(1, 2), 1, chance.choice((1, 1, 3)), DECREMENT, INSTRUMENT_ID),
            *(0, self._new_id(), chance.randint(90, 110), chance.randint(1, 50), 0, 0),
        )

    def _plain(self, number: int, size: int) -> pb.TradeRequest:
        request = pb.TradeRequest(request_id=number)
        for _ in range(size):
            if self._chance.random() < 0.35 and self._used:
                named = pb.OrderReference(client_order_id=self._chance.choice(self._used))
                request.instructions.add(cancel=named)
            else:
                request.instructions.add(place=self._order())
        return request

    def _order(self) -> pb.NewOrder:
        chance = self._chance
        return pb.NewOrder(
            client_order_id=self._new_id(),
            instrument_id=INSTRUMENT_ID,
            side=chance.choice((market_pb2.SIDE_BID, market_pb2.SIDE_ASK)),
            self_trade_prevention=market_pb2.SELF_TRADE_PREVENTION_DECREMENT,
            price_nanos=chance.randint(90, 110),
            quantity_mflop=chance.randint(1, 50),
        )

    def _new_id(self) -> bytes:
        ident = uuid7()
        self._used.append(ident)
        if len(self._used) > 2_000:
            self._used = self._used[-1_000:]
        return ident

    def _keep(
        self, kind: int, sent_ns: int, answered_ns: int, request: bytes, response: bytes
    ) -> None:
        head = HEAD.pack(kind, sent_ns, answered_ns, len(request), len(response))
        self._file.write(head + request + response)


def main() -> None:
    """Say that it is ready, begin when told, end when all is answered."""
    address, key, seed, commands, path = sys.argv[1:]

    async def run(file: BinaryIO) -> None:
        await HistoryClient(address, key, int(seed), file).run(int(commands))

    with Path(path).open("wb") as file:
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        sys.stdin.readline()
        asyncio.run(run(file))


if __name__ == "__main__":
    main()
