"""Order streams whose messages pass without a task: the same answers, in the same order."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path

import pytest

from exchange.client import packed_orders
from exchange.core.exchange import Exchange
from exchange.engine import EngineBusy
from exchange.rpc import bundles, order_feed, orders
from exchange.rpc.calls import PromptCall
from exchange.rpc.convert.orders import Batch
from exchange.rpc.errors import Code, RpcError
from exchange.v1 import order_service_pb2 as pb
from tests.exchange.rpc.desk import ASK, BID, Desk, cancel, open_desk, places
from tests.waiting import WITHIN_S


class Call:
    """A call of Trade between the link and the API.

    Attributes:
        room: Whether a message can be sent at once.
        may_write: Set where one can be sent at all.
        taken: Requests that passed without the task.
        prompt: Messages of responses that did.
        responses: What was told.
        bundles: How many responses each message told.
    """

    method = "/exchange.v1.OrderService/Trade"
    single = False
    left_s: float | None = None

    def __init__(self, key: str) -> None:
        self.metadata: Mapping[str, str] = {"authorization": f"Bearer {key}"}
        self.room = True
        self.taken = self.prompt = 0
        self.may_write = asyncio.Event()
        self.may_write.set()
        self.responses: list[pb.TradeResponse] = []
        self.bundles: list[int] = []
        self._inbox: deque[bytes | None] = deque()
        self._reader: asyncio.Future[None] | None = None
        self._take: Callable[[bytes], bool] | None = None

    async def read(self) -> bytes | None:
        while not self._inbox:
            self._reader = asyncio.get_running_loop().create_future()
            await self._reader
        return self._inbox.popleft()

    async def write(self, message: bytes) -> None:
        await self.may_write.wait()
        self._told(message)

    def on_end(self, callback: Callable[[], object]) -> None:
        raise NotImplementedError

    def offer(self, take: Callable[[bytes], bool]) -> None:
        self._take = take

    def write_now(self, message: bytes) -> bool:
        if self.room:
            self.prompt += 1
            self._told(message)
        return self.room

    def _told(self, message: bytes) -> None:
        found = told(message)
        self.bundles.append(len(found))
        self.responses += found

    def come(self, message: bytes | None) -> None:
        """A message has come, or the news that none follows."""
        waits = self._reader is not None and not self._reader.done()
        offered = message is not None and waits and not self._inbox
        if offered and self._take is not None and self._take(message or b""):
            self.taken += 1
            return
        self._inbox.append(message)
        if self._reader is not None and waits:
            self._reader.set_result(None)

    def send(
        self,
        request_id: int,
        *instructions: pb.Instruction,
        bundles: bool = False,
        in_rows: bool = False,
    ) -> None:
        request = pb.TradeRequest(request_id=request_id, bundle_responses=bundles)
        if in_rows:
            packed_orders.put(request, instructions)
        else:
            request.instructions.extend(instructions)
        self.come(request.SerializeToString())

    async def received(self, count: int) -> list[pb.TradeResponse]:
        """The responses, once there are so many."""
        async with asyncio.timeout(WITHIN_S):
            while len(self.responses) < count:  # noqa: ASYNC110 - nothing tells of it
                await asyncio.sleep(0.001)
        return self.responses


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    async with open_desk(tmp_path) as desk:
        yield desk


@contextlib.asynccontextmanager
async def trading(desk: Desk, trader: int = 0) -> AsyncIterator[tuple[Call, asyncio.Task[None]]]:
    """A stream that has begun: its first message always goes to the task."""
    call = Call(desk.keys[trader])
    assert isinstance(call, PromptCall)
    api = desk.exchange.server._api
    assert api is not None
    serving = asyncio.create_task(api.serve(call))
    call.send(1, *places([desk.order(BID, 1, 1)]))
    await call.received(1)
    assert not call.taken
    try:
        yield call, serving
    finally:
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)


def told(message: bytes) -> list[pb.TradeResponse]:
    """The responses in a message, in their order."""
    response = pb.TradeResponse.FromString(message)
    following = list(response.following)
    response.ClearField("following")
    assert not any(one.following for one in following)
    return [response, *following]


def answered(call: Call) -> list[int]:
    return [response.request_id for response in call.responses]


def _fills(maker: Call) -> list[pb.ExecutionReport]:
    """What it was told of what others did."""
    return [report for r in maker.responses if not r.request_id for report in r.reports]


async def test_messages_and_answers_pass_without_a_task(desk: Desk) -> None:
    async with trading(desk) as (call, serving):
        before, stats = call.prompt, desk.exchange.engine.stats
        decode_ns = stats.decode_ns
        for number in range(2, 12):
            call.send(number, *places([desk.order(BID, 1, number)]))
        await call.received(11)
        assert stats.decode_ns > decode_ns
        assert answered(call) == list(range(1, 12))
        assert (call.taken, call.prompt - before) == (10, 10)
        call.come(None)
        await serving


async def test_a_fill_is_told_to_its_maker_at_once_and_in_order(desk: Desk) -> None:
    async with trading(desk) as (maker, _), trading(desk, trader=1) as (taker, _):
        maker.send(2, *places([desk.order(ASK, 100, 10)]))
        await maker.received(2)
        before = maker.prompt
        for number in range(2, 5):
            taker.send(number, *places([desk.order(BID, 100, 2)]))
        maker.send(3, *places([desk.order(BID, 1, 1)]))
        await taker.received(4)
        await maker.received(4)
        assert [report.leaves_mflop for report in _fills(maker)] == [8, 6, 4]
        assert maker.prompt > before
        assert [response.sequence for response in maker.responses] == sorted(
            response.sequence for response in maker.responses
        )


@pytest.mark.parametrize("in_rows", [False, True], ids=["messages", "rows"])
async def test_a_group_is_told_in_one_message_to_who_takes_it_so(desk: Desk, in_rows: bool) -> None:
    async with trading(desk) as (maker, _), trading(desk, trader=1) as (taker, _):
        for bundles in (False, True):
            first, before = len(maker.responses), len(maker.bundles)
            ask, bid, low = places(
                [desk.order(ASK, 100, 2), desk.order(BID, 100, 2), desk.order(BID, 1, 2)]
            )
            # All in one turn of the loop, so in one group.
            maker.send(first + 2, ask, bundles=bundles, in_rows=in_rows)
            taker.send(first + 2, bid, bundles=bundles, in_rows=in_rows)
            maker.send(first + 3, low, bundles=bundles, in_rows=in_rows)
            await maker.received(first + 3)
            # The first order was taken after it was accepted, and before the second one was.
            assert [r.request_id for r in maker.responses[first:]] == [first + 2, 0, first + 3]
            assert maker.bundles[before:] == ([3] if bundles else [1, 1, 1])
            sequences = [response.sequence for response in maker.responses]
            assert sequences == sorted(sequences)


async def test_a_bundle_has_a_bound(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundles, "BUNDLE_BYTES_MAX", 40)
    async with trading(desk) as (call, _):
        for number in range(2, 30):
            call.send(number, *places([desk.order(BID, 1, 1)]), bundles=True)
        await call.received(29)
        assert answered(call) == list(range(1, 30))
        assert max(call.bundles) == 3


async def test_more_reports_than_one_turn_takes_are_all_told(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No later event may be needed for what is left of a large group."""
    monkeypatch.setattr(orders, "MESSAGE_REPORTS_MAX", 2)
    async with trading(desk) as (maker, _), trading(desk, trader=1) as (taker, _):
        maker.send(2, *places([desk.order(ASK, 100, 10)]))
        await maker.received(2)
        taker.send(2, *places([desk.order(BID, 100, 1) for _ in range(7)]))
        await taker.received(2)
        async with asyncio.timeout(WITHIN_S):
            while len(_fills(maker)) < 7:  # noqa: ASYNC110 - nothing tells of it
                await asyncio.sleep(0.001)
        assert [report.leaves_mflop for report in _fills(maker)] == list(range(9, 2, -1))


@pytest.mark.parametrize("bundled", [False, True], ids=["one by one", "bundled"])
async def test_without_room_the_task_writes_and_the_order_stays(desk: Desk, bundled: bool) -> None:
    async with trading(desk) as (call, serving):
        for number in range(2, 40):
            call.room = number % 3 != 0
            call.send(number, *places([desk.order(BID, 1, 1)]), bundles=bundled)
            if number % 4 == 0:
                await call.received(number)
        call.come(None)
        async with asyncio.timeout(WITHIN_S):
            await serving
        assert answered(call) == list(range(1, 40))
        assert 0 < call.prompt < len(call.bundles)
        assert (max(call.bundles) > 1) == bundled


@pytest.mark.parametrize(
    ("spoiled", "reason"),
    [
        (b"\xff", "MESSAGE_MALFORMED"),
        (pb.TradeRequest(request_id=3).SerializeToString(), "FIELD_INVALID"),
        (
            pb.TradeRequest(
                request_id=3, instructions=[cancel(1)], cancel_on_disconnect=True
            ).SerializeToString(),
            "FIELD_INVALID",
        ),
    ],
)
async def test_what_is_wrong_ends_the_stream_after_what_was_right(
    desk: Desk, spoiled: bytes, reason: str
) -> None:
    async with trading(desk) as (call, serving):
        call.send(2, *places([desk.order(BID, 1, 1)]))
        call.come(spoiled)
        call.send(4, *places([desk.order(BID, 1, 1)]))
        with pytest.raises(RpcError) as caught:
            async with asyncio.timeout(WITHIN_S):
                await serving
        assert (caught.value.code, caught.value.reason) == (Code.INVALID_ARGUMENT, reason)
        assert answered(call) == [1, 2]


@pytest.mark.parametrize("bundled", [False, True], ids=["one by one", "bundled"])
async def test_no_more_batches_wait_than_may(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, bundled: bool
) -> None:
    monkeypatch.setattr(orders, "IN_FLIGHT_MAX", 2)
    most = 0
    submit = order_feed.OrderFeed.submit

    def counting(
        feed: order_feed.OrderFeed, stream: order_feed.TradeStream, number: int, batch: Batch
    ) -> None:
        nonlocal most
        submit(feed, stream, number, batch)
        most = max(most, feed.most_in_flight())
        assert feed.most_instructions_in_flight() == feed.most_in_flight()  # one in each

    monkeypatch.setattr(order_feed.OrderFeed, "submit", counting)
    async with trading(desk) as (call, _):
        call.room = False
        call.may_write.clear()
        for number in range(2, 30):
            call.send(number, *places([desk.order(BID, 1, 1)]), bundles=bundled)
            await asyncio.sleep(0)
        await desk.place(desk.bob, BID, 1, 1)
        call.may_write.set()
        await call.received(29)
        assert answered(call) == list(range(1, 30))
        assert call.taken >= 2
        assert most == 2


async def test_a_busy_engine_is_waited_for(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    async with trading(desk) as (call, _):
        submit = order_feed.OrderFeed.submit
        refusals = 3

        def busy(
            feed: order_feed.OrderFeed,
            stream: order_feed.TradeStream,
            number: int,
            batch: Batch,
        ) -> None:
            nonlocal refusals
            if refusals:
                refusals -= 1
                raise EngineBusy("for now")
            submit(feed, stream, number, batch)

        monkeypatch.setattr(order_feed.OrderFeed, "submit", busy)
        for number in range(2, 6):
            call.send(number, *places([desk.order(BID, 1, 1)]))
        await call.received(5)
        assert answered(call) == [1, 2, 3, 4, 5]
        assert not call.taken


@pytest.mark.parametrize("room", [True, False], ids=["at once", "by the task"])
@pytest.mark.parametrize("bundled", [False, True], ids=["one by one", "bundled"])
async def test_an_answer_that_cannot_be_made_ends_its_stream_alone(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, bundled: bool, room: bool
) -> None:
    async with trading(desk) as (call, serving), trading(desk, trader=1) as (other, _):
        answer = orders._answer

        def failing(
            core: Exchange, stream: order_feed.TradeStream, item: order_feed.Answer
        ) -> pb.TradeResponse | orders.Encoded:
            if item.request_id == 3:
                raise ZeroDivisionError
            return answer(core, stream, item)

        monkeypatch.setattr(orders, "_answer", failing)
        call.room = room
        for number in range(2, 5):
            call.send(number, *places([desk.order(BID, 1, 1)]), bundles=bundled)
        other.send(2, *places([desk.order(BID, 1, 1)]))
        with pytest.raises(RpcError) as caught:
            async with asyncio.timeout(WITHIN_S):
                await serving
        assert caught.value.reason == "INTERNAL"
        assert answered(call) == [1, 2]
        await other.received(2)
        assert not desk.exchange.engine.stats.subscriber_errors


async def test_once_the_exchange_drains_nothing_is_taken(desk: Desk) -> None:
    async with trading(desk) as (call, serving):
        call.send(2, *places([desk.order(BID, 1, 1)]))
        await desk.exchange.server.begin_drain()
        call.send(3, *places([desk.order(BID, 1, 1)]))
        with pytest.raises(RpcError) as caught:
            async with asyncio.timeout(WITHIN_S):
                await serving
        assert caught.value.reason == "DRAINING"
        assert answered(call) == [1, 2]
        assert call.taken == 1
