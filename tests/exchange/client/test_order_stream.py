"""The order stream: batches, answers, reports, broken connections."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc
import pytest

from exchange.client import (
    AsyncClient,
    AsyncOrderStream,
    Backpressure,
    ClientClosed,
    ExecutionType,
    NotFound,
    OrderState,
    PermissionDenied,
    Reconnected,
    Report,
    ServerFailed,
    Side,
    SlowReader,
    Unauthenticated,
    uuid7,
)
from exchange.client import order_stream as module
from exchange.packed import CANCEL, INSTRUCTION, PLACE
from exchange.v1 import market_data_service_pb2, market_pb2
from exchange.v1 import order_service_pb2 as pb
from tests.exchange.client.scripted import Context, connected, fail, until

Answer = Callable[["Orders", pb.TradeRequest, Context], Awaitable[list[pb.TradeResponse]]]


async def accept(
    orders: Orders, request: pb.TradeRequest, context: Context
) -> list[pb.TradeResponse]:
    """Accept every placement, in one range."""
    count = len(request.instructions)
    first, orders.order_id = orders.order_id + 1, orders.order_id + count
    span = pb.AckRange(first_index=0, count=count, first_order_id=first)
    return [pb.TradeResponse(request_id=request.request_id, sequence=9, accepted=[span])]


def as_messages(request: pb.TradeRequest) -> pb.TradeRequest:
    """A batch that came in rows, as messages: scripts need not know both forms."""
    for row in INSTRUCTION.iter_unpack(request.packed):
        action, side, _, _, _, instrument_id, order_id, client_order_id, price, quantity, _, _ = row
        if action == PLACE:
            request.instructions.add().place.MergeFrom(
                pb.NewOrder(
                    client_order_id=client_order_id,
                    instrument_id=instrument_id,
                    side=side,
                    price_nanos=price,
                    quantity_mflop=quantity,
                )
            )
        elif action == CANCEL:
            cancel = pb.OrderReference(order_id=order_id, client_order_id=client_order_id)
            request.instructions.add(cancel=cancel)
        else:
            terms = pb.OrderReplacement(
                order_id=order_id, price_nanos=price, quantity_mflop=quantity
            )
            request.instructions.add(replace=terms)
    request.packed = b""
    return request


class Orders:
    """Answers each batch by the next step; the last one stays."""

    def __init__(self, *steps: Answer) -> None:
        self.steps = list(steps) or [accept]
        self.batches: list[pb.TradeRequest] = []
        self.streams = 0
        self.order_id = 0
        self.writer: Any = None
        self.pause: asyncio.Event | None = None

    async def Trade(
        self, requests: AsyncIterator[pb.TradeRequest], context: Context
    ) -> AsyncIterator[pb.TradeResponse]:
        self.streams += 1
        async for message in requests:
            request = as_messages(message)
            self.batches.append(request)
            if self.pause is not None:
                await self.pause.wait()
            step = self.steps.pop(0) if len(self.steps) > 1 else self.steps[0]
            for response in await step(self, request, context):
                yield response

    async def ListInstruments(
        self, request: market_data_service_pb2.ListInstrumentsRequest, context: Context
    ) -> market_data_service_pb2.ListInstrumentsResponse:
        return market_data_service_pb2.ListInstrumentsResponse(
            instruments=[market_pb2.Instrument(instrument_id=3, name="paper")]
        )

    @property
    def sizes(self) -> list[int]:
        return [len(b.instructions) for b in self.batches]


def report_of(**values: Any) -> pb.ExecutionReport:
    """A report; enums as plain numbers."""
    return pb.ExecutionReport(**values)


def place_many(stream: AsyncOrderStream, count: int) -> list[asyncio.Future[Any]]:
    return [stream.place("paper", Side.BID, 100 + i, 10) for i in range(count)]


async def opened(client: AsyncClient) -> AsyncOrderStream:
    return await client.orders.stream()


async def test_what_is_given_together_leaves_together() -> None:
    orders = Orders()
    async with connected(orders) as client, await opened(client) as stream:
        results = await asyncio.gather(*place_many(stream, 100))
    assert orders.sizes == [100]
    assert [r.order_id for r in results] == list(range(1, 101))
    assert {r.state for r in results} == {OrderState.NEW}
    assert {r.sequence for r in results} == {9}
    first = orders.batches[0].instructions[0].place
    assert results[0].client_order_id == first.client_order_id
    assert (first.instrument_id, first.side, first.price_nanos, first.quantity_mflop) == (
        3,
        1,
        100,
        10,
    )


async def test_one_order_does_not_wait_for_others() -> None:
    orders = Orders()
    async with connected(orders) as client, await opened(client) as stream:
        for _ in range(3):
            await stream.place("paper", Side.ASK, "$0.000001/CU", "1 CU")
    assert orders.sizes == [1, 1, 1]


async def test_while_a_batch_is_under_way_others_gather(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LINGER_S", 30.0)
    orders = Orders()
    orders.pause = asyncio.Event()
    async with connected(orders) as client, await opened(client) as stream:
        placed = place_many(stream, 1)
        await until(lambda: orders.sizes == [1])
        for _ in range(5):
            placed += place_many(stream, 2)
            await asyncio.sleep(0.001)
        orders.pause.set()
        await asyncio.gather(*placed)
    assert orders.sizes == [1, 10]


async def test_a_batch_leaves_when_it_is_full_or_has_lingered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "LINGER_S", 30.0)
    orders = Orders()
    orders.pause = asyncio.Event()
    async with connected(orders) as client, await opened(client) as stream:
        placed = place_many(stream, 1)
        await until(lambda: bool(orders.sizes))
        placed += place_many(stream, module.FLUSH_AT)
        await until(lambda: len(stream._under_way) == 2)
        monkeypatch.setattr(module, "LINGER_S", 0.001)
        placed += place_many(stream, 2)
        await until(lambda: len(stream._under_way) == 3)
        orders.pause.set()
        await asyncio.gather(*placed)
    assert orders.sizes == [1, module.FLUSH_AT, 2]


async def test_a_batch_has_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BATCH_MAX", 64)
    orders = Orders()
    async with connected(orders) as client, await opened(client) as stream:
        placed = place_many(stream, 1_000)
        results = await asyncio.gather(*placed)
    assert max(orders.sizes) == 64
    assert [r.order_id for r in results] == list(range(1, 1_001))


async def test_only_so_many_batches_are_under_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BATCHES_MAX", 2)
    monkeypatch.setattr(module, "LINGER_S", 0.0)

    async def late(
        orders: Orders, request: pb.TradeRequest, context: Context
    ) -> list[pb.TradeResponse]:
        return []

    orders = Orders(late)
    async with connected(orders) as client:
        stream = await opened(client)
        for _ in range(5):
            place_many(stream, 1)
            await asyncio.sleep(0.05)
        await until(lambda: len(orders.sizes) == 2)
        await asyncio.sleep(0.05)
        assert orders.sizes == [1, 1]
        await stream.close(wait=False)


async def test_results_tell_rejects_fills_and_repeats() -> None:
    async def mixed(
        orders: Orders, request: pb.TradeRequest, context: Context
    ) -> list[pb.TradeResponse]:
        fill = report_of(
            index=1,
            execution_type=pb.EXECUTION_TYPE_TRADE,
            state=pb.ORDER_STATE_PARTIALLY_FILLED,
            order_id=41,
            quantity_mflop=4,
            leaves_mflop=6,
            trade_id=5,
        )
        reject = report_of(
            index=0,
            execution_type=pb.EXECUTION_TYPE_REJECTED,
            state=pb.ORDER_STATE_REJECTED,
            reason=301,
        )
        repeat = report_of(index=2, execution_type=pb.EXECUTION_TYPE_REPEATED, order_id=30, state=1)
        gone = report_of(
            index=3, execution_type=pb.EXECUTION_TYPE_CANCELED, state=4, order_id=7, reason=609
        )
        other = report_of(
            index=4, execution_type=pb.EXECUTION_TYPE_CANCELED, state=4, order_id=8, reason=605
        )
        spans = [
            pb.AckRange(first_index=1, count=1, first_order_id=41),
            pb.AckRange(first_index=4, count=1, first_order_id=42),
        ]
        reports = [reject, fill, repeat, gone, other]
        return [
            pb.TradeResponse(
                request_id=request.request_id, sequence=9, accepted=spans, reports=reports
            )
        ]

    orders = Orders(mixed)
    async with connected(orders) as client, await opened(client) as stream:
        placed = place_many(stream, 3)
        placed += [stream.cancel(order_id=7), *place_many(stream, 1), stream.replace(7, 1, 1)]
        results: list[Any] = await asyncio.gather(*placed, return_exceptions=True)
    rejected, filled, repeated, cancelled, beside, unanswered = results
    assert (rejected.rejected, rejected.reason, rejected.order_id) == (True, "PRICE_OFF_TICK", 0)
    assert (filled.order_id, filled.filled_mflop, filled.fills[0].trade_id) == (41, 4, 5)
    assert filled.state == OrderState.PARTIALLY_FILLED
    assert (repeated.repeated, repeated.order_id, repeated.rejected) == (True, 30, False)
    assert (cancelled.state, cancelled.reason) == (OrderState.CANCELED, "CANCELLED_BY_OWNER")
    # Another order of the account was cancelled by self-trade prevention; this one rests.
    assert (beside.order_id, beside.state, beside.reason) == (42, OrderState.NEW, "")
    assert isinstance(unanswered, ServerFailed)


async def test_what_has_no_answer_is_sent_again_with_its_own_ids() -> None:
    async def breaks(
        orders: Orders, request: pb.TradeRequest, context: Context
    ) -> list[pb.TradeResponse]:
        await fail(context)
        return []

    orders = Orders(breaks, accept)
    async with connected(orders) as client, await opened(client) as stream:
        results = await asyncio.gather(*place_many(stream, 5))
        events = stream.reports()
        assert isinstance(await anext(events), Reconnected)
        await events.aclose()
    assert orders.streams == 2
    first, second = orders.batches
    assert first.instructions == second.instructions
    assert first.request_id < second.request_id
    assert [r.order_id for r in results] == [1, 2, 3, 4, 5]


async def test_a_refused_stream_fails_everything_and_says_why() -> None:
    async def refuse(
        orders: Orders, request: pb.TradeRequest, context: Context
    ) -> list[pb.TradeResponse]:
        await fail(context, grpc.StatusCode.UNAUTHENTICATED, "KEY_UNKNOWN")
        return []

    orders = Orders(refuse)
    async with connected(orders) as client:
        stream = await opened(client)
        for future in place_many(stream, 3):
            with pytest.raises(Unauthenticated):
                await future
        with pytest.raises(Unauthenticated):
            stream.place("paper", Side.BID, 1, 1)
        with pytest.raises(Unauthenticated):
            await anext(stream.reports())
        with pytest.raises(Unauthenticated):
            await stream.close()
        await stream.close()
    assert orders.streams == 1


async def test_unasked_reports_come_as_they_happen() -> None:
    async def fill_later(
        orders: Orders, request: pb.TradeRequest, context: Context
    ) -> list[pb.TradeResponse]:
        (answer,) = await accept(orders, request, context)
        report = report_of(order_id=1, execution_type=pb.EXECUTION_TYPE_TRADE, trade_id=8)
        return [answer, pb.TradeResponse(sequence=10, reports=[report])]

    async with connected(Orders(fill_later)) as client, await opened(client) as stream:
        await stream.place("paper", Side.BID, 1, 1)
        events = stream.reports()
        report = await anext(events)
        assert isinstance(report, Report)
        assert (report.order_id, report.trade_id) == (1, 8)
        assert report.execution_type == ExecutionType.TRADE
        ending = asyncio.ensure_future(anext(events, None))
        await asyncio.sleep(0.01)
        await stream.close()
        assert await ending is None


async def test_several_responses_in_one_message_are_taken_in_order(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "FLUSH_AT", 2)
    waiting: list[pb.TradeResponse] = []

    async def together(
        orders: Orders, request: pb.TradeRequest, context: Context
    ) -> list[pb.TradeResponse]:
        assert request.bundle_responses
        waiting.extend(await accept(orders, request, context))
        report = report_of(order_id=orders.order_id, execution_type=pb.EXECUTION_TYPE_TRADE)
        waiting.append(pb.TradeResponse(sequence=10, reports=[report]))
        if len(waiting) < 6:
            return []
        first, *following = waiting
        first.following.extend(following)
        return [first]

    async with connected(Orders(together)) as client, await opened(client) as stream:
        futures = []
        for _ in range(3):
            futures += place_many(stream, 2)
            await asyncio.sleep(0.01)
        results = await asyncio.gather(*futures)
        assert [result.order_id for result in results] == list(range(1, 7))
        events = [event async for event in take(stream.reports(), 3)]
        assert [event.order_id for event in events] == [2, 4, 6]


async def test_reports_that_nobody_reads_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "REPORTS_MAX", 3)

    async def flood(
        orders: Orders, request: pb.TradeRequest, context: Context
    ) -> list[pb.TradeResponse]:
        reports = [report_of(order_id=i) for i in range(1, 6)]
        return [pb.TradeResponse(reports=reports), *await accept(orders, request, context)]

    async with connected(Orders(flood)) as client, await opened(client) as stream:
        await stream.place("paper", Side.BID, 1, 1)
        events = stream.reports()
        assert [r.order_id async for r in take(events, 3)] == [1, 2, 3]
        with pytest.raises(SlowReader):
            await anext(events)


async def take(events: Any, count: int) -> AsyncIterator[Any]:
    for _ in range(count):
        yield await anext(events)


async def test_waiting_instructions_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WAITING_MAX", 10)
    orders = Orders()
    orders.pause = asyncio.Event()
    async with connected(orders) as client, await opened(client) as stream:
        placed = place_many(stream, 10)
        with pytest.raises(Backpressure):
            stream.place("paper", Side.BID, 1, 1)
        room = asyncio.create_task(stream.room())
        await asyncio.sleep(0.05)
        assert not room.done()
        orders.pause.set()
        await room
        await asyncio.gather(*placed, stream.place("paper", Side.BID, 1, 1))


async def test_closing_takes_the_answers_first() -> None:
    orders = Orders()
    async with connected(orders) as client:
        async with await opened(client) as stream:
            placed = place_many(stream, 10)
        assert all(f.done() and not f.cancelled() for f in placed)
        with pytest.raises(ClientClosed):
            stream.place("paper", Side.BID, 1, 1)


async def test_closing_without_answers_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CLOSE_S", 0.1)
    orders = Orders()
    orders.pause = asyncio.Event()
    async with connected(orders) as client:
        stream = await opened(client)
        (placed,) = place_many(stream, 1)
        with pytest.raises(ClientClosed, match="1 instructions had no answer"):
            await stream.close()
        with pytest.raises(ClientClosed):
            await placed


async def test_closing_the_client_ends_the_stream() -> None:
    orders = Orders()
    orders.pause = asyncio.Event()
    async with connected(orders) as client:
        stream = await opened(client)
        (placed,) = place_many(stream, 1)
        await until(lambda: bool(orders.batches))
        await client.close()
        with pytest.raises(ClientClosed):
            await placed
        await stream.close(wait=False)


async def test_a_cancelled_future_does_not_disturb_the_others() -> None:
    orders = Orders()
    async with connected(orders) as client, await opened(client) as stream:
        placed = place_many(stream, 3)
        placed[1].cancel()
        assert (await placed[2]).order_id == 3


async def test_wrong_use_is_told_at_once() -> None:
    async with connected(Orders()) as client, await opened(client) as stream:
        with pytest.raises(NotFound):
            stream.place("no such", Side.BID, 1, 1)
        with pytest.raises(ValueError, match="either"):
            stream.cancel()
        with pytest.raises(ValueError, match="either"):
            stream.cancel(order_id=1, client_order_id=uuid7())
        with pytest.raises(TypeError):
            stream.place("paper", Side.BID, 1.5, 1)  # type: ignore[arg-type]


# ---- unary twins ----


class Unary(Orders):
    """One answer for each unary method."""

    async def PlaceOrder(
        self, request: pb.PlaceOrderRequest, context: Context
    ) -> pb.PlaceOrderResponse:
        if request.order.quantity_mflop == 13:
            await fail(context, grpc.StatusCode.PERMISSION_DENIED, "ROLE_MISSING")
        report = report_of(execution_type=1, state=1, order_id=4, leaves_mflop=10)
        return pb.PlaceOrderResponse(reports=[report])

    async def CancelOrder(
        self, request: pb.CancelOrderRequest, context: Context
    ) -> pb.CancelOrderResponse:
        report = report_of(execution_type=5, order_id=4, reason=204)
        return pb.CancelOrderResponse(report=report)

    async def ListOrders(
        self, request: pb.ListOrdersRequest, context: Context
    ) -> pb.ListOrdersResponse:
        first = int(request.page_token or 1)
        ids = range(first, first + request.page_size)
        token = str(first + request.page_size) if first < 2_000 else ""
        return pb.ListOrdersResponse(
            orders=[pb.Order(order_id=i) for i in ids], next_page_token=token
        )


async def test_unary_orders() -> None:
    async with connected(Unary()) as client:
        placed = await client.orders.place("paper", Side.BID, 1, 10)
        assert (placed.order_id, placed.state, placed.rejected) == (4, OrderState.NEW, False)
        refused = await client.orders.cancel(order_id=4)
        assert (refused.rejected, refused.reason) == (True, "UNKNOWN_ORDER")
        with pytest.raises(PermissionDenied, match="ROLE_MISSING"):
            await client.orders.place(3, Side.BID, 1, 13)


@pytest.mark.parametrize(("limit", "count"), [(None, 3_000), (1, 1), (1_500, 1_500), (0, 0)])
async def test_lists_are_walked_page_by_page(limit: int | None, count: int) -> None:
    async with connected(Unary()) as client:
        found = [o.order_id async for o in client.orders.list(limit=limit)]
    assert found == list(range(1, count + 1))
