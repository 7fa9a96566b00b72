"""The ceiling: the same transport, the same messages, and nothing behind them.

It parses each request and builds an answer of the same shape, without keys, core or journal. What
the full exchange reaches of its rate is what is left after the exchange's own work.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import grpc

from exchange.packed import INSTRUCTION
from exchange.v1 import order_service_pb2 as pb


class EmptyOrders:
    """Acknowledges everything."""

    def __init__(self) -> None:
        self._sequence = 0

    async def trade(
        self, requests: AsyncIterator[pb.TradeRequest], _context: object
    ) -> AsyncIterator[pb.TradeResponse]:
        """Acknowledges each batch as one range."""
        async for request in requests:
            count = len(request.packed) // INSTRUCTION.size or len(request.instructions)
            first = self._sequence + 1
            self._sequence += count
            yield pb.TradeResponse(
                request_id=request.request_id,
                sequence=self._sequence,
                accepted=[pb.AckRange(first_index=0, count=count, first_order_id=first)],
            )

    async def place(self, request: pb.PlaceOrderRequest, _context: object) -> pb.PlaceOrderResponse:
        """Acknowledges one order."""
        self._sequence += 1
        report = pb.ExecutionReport(
            sequence=self._sequence,
            execution_type=pb.EXECUTION_TYPE_NEW,
            state=pb.ORDER_STATE_NEW,
            order_id=self._sequence,
            client_order_id=request.order.client_order_id,
            instrument_id=request.order.instrument_id,
            side=request.order.side,
            price_nanos=request.order.price_nanos,
            quantity_mflop=request.order.quantity_mflop,
            leaves_mflop=request.order.quantity_mflop,
        )
        return pb.PlaceOrderResponse(reports=[report])


async def start() -> tuple[grpc.aio.Server, str]:
    """A server on a free loopback port, and its address."""
    orders = EmptyOrders()
    handlers: dict[str, grpc.RpcMethodHandler[Any, Any]] = {
        "Trade": grpc.stream_stream_rpc_method_handler(
            orders.trade,
            pb.TradeRequest.FromString,
            pb.TradeResponse.SerializeToString,
        ),
        "PlaceOrder": grpc.unary_unary_rpc_method_handler(
            orders.place,
            pb.PlaceOrderRequest.FromString,
            pb.PlaceOrderResponse.SerializeToString,
        ),
    }
    server = grpc.aio.server()
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler("exchange.v1.OrderService", handlers),)
    )
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    return server, f"127.0.0.1:{port}"
