"""An exchange with one paper instrument and two funded traders, for tests of orders and books."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterable, Sequence
from pathlib import Path
from typing import Any, Self

import grpc

from exchange.client import packed_orders
from exchange.core.exchange import Exchange
from exchange.engine import Clock
from exchange.rpc.services import Services
from exchange.testing import InProcessExchange
from exchange.v1 import market_pb2 as market
from exchange.v1 import order_service_pb2 as pb
from exchange.v1.account_service_pb2_grpc import AccountServiceStub
from exchange.v1.admin_service_pb2_grpc import AdminServiceStub
from exchange.v1.market_data_service_pb2_grpc import MarketDataServiceStub
from exchange.v1.order_service_pb2_grpc import OrderServiceStub
from tests.exchange.rpc.rig import Calls
from tests.waiting import WITHIN_S

INSTRUMENT = "paper"
BID, ASK = market.SIDE_BID, market.SIDE_ASK


class Desk:
    """Stubs of two traders, `alice` and `bob`, and of the operator."""

    def __init__(self, exchange: InProcessExchange, instrument_id: int, keys: list[str]) -> None:
        self.exchange = exchange
        self.instrument_id = instrument_id
        self.keys = keys
        self.channel: Any = exchange.channel()
        self.alice, self.bob = self.trader(keys[0]), self.trader(keys[1])
        self.data: Any = Calls(MarketDataServiceStub(self.channel), keys[0])
        self.accounts: Any = Calls(AccountServiceStub(self.channel), keys[0])
        self.admin: Any = Calls(AdminServiceStub(self.channel), exchange.operator_key)

    @property
    def core(self) -> Exchange:
        return self.exchange.core

    @property
    def services(self) -> Services:
        return self.exchange.server.services

    def trader(self, key: str) -> Any:
        """The order service, for the account of a key."""
        return Calls(OrderServiceStub(self.channel), key)

    def order(self, side: int, price: int, quantity: int, **changes: Any) -> pb.NewOrder:
        fields: dict[str, Any] = {
            "client_order_id": self.exchange.id(),
            "instrument_id": self.instrument_id,
            "side": side,
            "price_nanos": price,
            "quantity_mflop": quantity,
        }
        return pb.NewOrder(**(fields | changes))

    async def place(self, trader: Any, side: int, price: int, quantity: int, **changes: Any) -> Any:
        """The reports of one order."""
        order = self.order(side, price, quantity, **changes)
        return (await trader.PlaceOrder(pb.PlaceOrderRequest(order=order))).reports


@contextlib.asynccontextmanager
async def open_desk(directory: Path, clock: Clock | None = None) -> AsyncIterator[Desk]:
    async with InProcessExchange(directory, clock) as exchange:
        core = exchange.core
        if INSTRUMENT in core.instrument_by_name:
            instrument_id = core.instrument_by_name[INSTRUMENT]
        else:
            instrument_id = await exchange.paper_instrument(INSTRUMENT)
        keys = [await exchange.trader(name) for name in ("alice", "bob")]
        desk = Desk(exchange, instrument_id, keys)
        async with desk.channel:
            yield desk


class TradeCall:
    """One Trade stream: send batches, receive responses; ends with the block."""

    def __init__(self, trader: Any) -> None:
        self._call = trader.Trade()
        self._request_id = 0

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: object) -> None:
        self._call.cancel()

    async def send(
        self, *instructions: pb.Instruction, request_id: int | None = None, guard: bool = False
    ) -> int:
        """Send a batch; `guard` asks that its orders are cancelled when the stream ends."""
        self._request_id += 1
        number = self._request_id if request_id is None else request_id
        request = pb.TradeRequest(
            request_id=number, instructions=instructions, cancel_on_disconnect=guard
        )
        await self._call.write(request)
        return number

    async def receive(self) -> pb.TradeResponse:
        async with asyncio.timeout(WITHIN_S):
            return await self._call.read()  # type: ignore[no-any-return]

    async def exchange(
        self, *instructions: pb.Instruction, guard: bool = False
    ) -> pb.TradeResponse:
        """Send a batch and receive its answer, which must come next."""
        number = await self.send(*instructions, guard=guard)
        response = await self.receive()
        assert response.request_id == number
        return response

    async def send_rows(self, instructions: Sequence[pb.Instruction]) -> int:
        """Send a batch in packed rows."""
        self._request_id += 1
        request = pb.TradeRequest(request_id=self._request_id)
        packed_orders.put(request, instructions)
        assert request.packed
        await self._call.write(request)
        return self._request_id

    async def finish(self) -> list[pb.TradeResponse]:
        """Say that nothing follows; what still comes."""
        await self._call.done_writing()
        return await self.rest()

    async def rest(self) -> list[pb.TradeResponse]:
        """What comes until the stream ends."""
        responses: list[Any] = []
        while not responses or responses[-1] is not grpc.aio.EOF:
            responses.append(await self.receive())
        return responses[:-1]


def places(orders: Iterable[pb.NewOrder]) -> list[pb.Instruction]:
    return [pb.Instruction(place=order) for order in orders]


def cancel(order_id: int = 0, client_order_id: bytes = b"") -> pb.Instruction:
    reference = pb.OrderReference(order_id=order_id, client_order_id=client_order_id)
    return pb.Instruction(cancel=reference)


def replace(order_id: int, price: int, quantity: int) -> pb.Instruction:
    terms = pb.OrderReplacement(order_id=order_id, price_nanos=price, quantity_mflop=quantity)
    return pb.Instruction(replace=terms)
