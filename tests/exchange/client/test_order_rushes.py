"""The order stream when much comes at once, and when the exchange cannot take it."""

from __future__ import annotations

import asyncio

import grpc

from exchange.client import Side
from exchange.v1 import order_service_pb2 as pb
from tests.exchange.client.scripted import Context, connected, fail
from tests.exchange.client.test_order_stream import Orders, accept, opened, place_many


async def test_an_overloaded_exchange_is_given_the_time_that_it_asks_for() -> None:
    times: list[float] = []

    async def overloaded(
        orders: Orders, request: pb.TradeRequest, context: Context
    ) -> list[pb.TradeResponse]:
        times.append(asyncio.get_running_loop().time())
        await fail(context, grpc.StatusCode.RESOURCE_EXHAUSTED, "OVERLOADED", 400_000_000)
        return []

    async def at_last(
        orders: Orders, request: pb.TradeRequest, context: Context
    ) -> list[pb.TradeResponse]:
        times.append(asyncio.get_running_loop().time())
        return await accept(orders, request, context)

    orders = Orders(overloaded, at_last)
    # By itself the client would come back after at most 50 ms.
    async with connected(orders) as client, await opened(client) as stream:
        results = await asyncio.gather(*place_many(stream, 3))
    assert [result.order_id for result in results] == [1, 2, 3]
    first, second = times
    assert second - first >= 0.4
    assert orders.batches[0].instructions == orders.batches[1].instructions


async def test_batches_shrink_again_when_the_rush_is_over() -> None:
    orders = Orders()
    async with connected(orders) as client, await opened(client) as stream:
        await asyncio.gather(*place_many(stream, 300))
        rush = list(orders.sizes)
        for _ in range(5):
            await stream.place("paper", Side.BID, 1, 1)
    assert max(rush) >= 128
    assert orders.sizes[len(rush) :] == [1] * 5
