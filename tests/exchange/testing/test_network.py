"""Real stubs over a network of virtual time, and each thing that may go wrong in it."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from typing import Any, TypeVar

import grpc
import pytest

from exchange.testing.channel import VirtualChannel
from exchange.testing.network import KEEPALIVE_S, Faults, ServedCall, Status, VirtualNetwork
from exchange.testing.virtual import VirtualLoop
from exchange.v1 import job_service_pb2 as jobs_pb
from exchange.v1 import order_service_pb2 as orders_pb
from exchange.v1.job_service_pb2_grpc import JobServiceStub
from exchange.v1.order_service_pb2_grpc import OrderServiceStub

T = TypeVar("T")
OK = Status(grpc.StatusCode.OK)
Serve = Callable[[ServedCall], Awaitable[Status]]


class Net:
    """A loop, a network, a server and a client."""

    def __init__(self, loop: VirtualLoop) -> None:
        self.loop = loop
        self.network = VirtualNetwork(loop)
        self.server = loop.process("server")
        self.client = loop.process("client")
        self.calls: list[ServedCall] = []
        self.ended: Counter[str] = Counter()
        channel = VirtualChannel(self.network, self.client, "there")
        self.jobs = JobServiceStub(channel)
        self.orders = OrderServiceStub(channel)

    def serve(self, answer: Serve) -> None:
        async def serve(call: ServedCall) -> Status:
            self.calls.append(call)
            call.on_end(lambda: self.ended.update([call.method]))
            return await answer(call)

        self.network.listen(self.server, "there", serve)

    def run(self, play: Coroutine[Any, Any, T]) -> T:
        return self.loop.run_until_complete(self.client.spawn(play))

    async def get(self, job_id: int = 1, **options: Any) -> jobs_pb.GetJobResponse:
        request = jobs_pb.GetJobRequest(job_id=job_id)
        answer: jobs_pb.GetJobResponse = await self.jobs.GetJob(request, **options)
        return answer


@pytest.fixture
def net() -> Iterator[Net]:
    loop = VirtualLoop(seed=1)
    with loop.installed():
        yield Net(loop)
        loop.close()


async def echo(call: ServedCall) -> Status:
    """Answers each job request with its job id, in the output."""
    while (data := await call.read()) is not None:
        job_id = jobs_pb.GetJobRequest.FromString(data).job_id
        await call.write(jobs_pb.GetJobResponse(output=str(job_id)).SerializeToString())
    return OK


async def hang(call: ServedCall) -> Status:
    await asyncio.sleep(10**6)
    return OK


def fails(play: Coroutine[Any, Any, object], net: Net) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        net.run(play)
    return caught.value


def test_a_call_is_answered(net: Net) -> None:
    net.serve(echo)
    assert net.run(net.get(7)).output == "7"
    assert net.calls[0].method == "/exchange.v1.JobService/GetJob"
    assert net.ended == {"/exchange.v1.JobService/GetJob": 1}


def test_metadata_and_deadlines_arrive(net: Net) -> None:
    net.serve(echo)
    net.run(net.get(metadata=(("authorization", "Bearer x"),), timeout=5))
    (call,) = net.calls
    assert call.metadata == {"authorization": "Bearer x"}
    assert call.left_s is not None
    assert 4.9 < call.left_s < 5


def test_an_error_arrives_with_its_details(net: Net) -> None:
    async def refuse(call: ServedCall) -> Status:
        return Status(grpc.StatusCode.NOT_FOUND, "no such job", (("details", b"more"),))

    net.serve(refuse)
    error = fails(net.get(), net)
    assert error.code() is grpc.StatusCode.NOT_FOUND
    assert error.details() == "no such job"
    assert list(error.trailing_metadata() or ()) == [("details", b"more")]


def test_a_stream_keeps_its_order(net: Net) -> None:
    async def numbered(call: ServedCall) -> Status:
        while (data := await call.read()) is not None:
            request = orders_pb.TradeRequest.FromString(data)
            answer = orders_pb.TradeResponse(request_id=request.request_id)
            await call.write(answer.SerializeToString())
        return OK

    async def play() -> list[int]:
        call: Any = net.orders.Trade()
        for number in range(1, 51):
            await call.write(orders_pb.TradeRequest(request_id=number))
        await call.done_writing()
        return [response.request_id async for response in call]

    net.network.faults = Faults(delay_s=(0.0, 1.0))
    net.serve(numbered)
    assert net.run(play()) == list(range(1, 51))


def test_nobody_there(net: Net) -> None:
    assert fails(net.get(), net).code() is grpc.StatusCode.UNAVAILABLE
    assert net.network.counts["refused"] == 1


def test_a_deadline_ends_the_call_on_both_sides(net: Net) -> None:
    net.serve(hang)
    assert fails(net.get(timeout=3), net).code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert 3 <= net.loop.time() < 3.1
    net.run(asyncio.sleep(1))
    assert net.ended.total() == 1


def test_a_server_that_dies_is_noticed(net: Net) -> None:
    net.serve(hang)
    net.loop.call_later(2, net.server.kill)
    assert fails(net.get(), net).code() is grpc.StatusCode.UNAVAILABLE
    assert net.network.find("there") is None


def test_a_client_that_dies_is_noticed(net: Net) -> None:
    net.serve(hang)
    net.client.spawn(net.get())
    net.loop.call_later(2, net.client.kill)
    net.loop.run_until_complete(asyncio.sleep(3))
    assert net.ended.total() == 1


def test_broken_connections_lose_requests_and_answers(net: Net) -> None:
    """Of both kinds: what was carried out, and what never arrived."""
    net.serve(echo)
    net.network.faults = Faults(break_share=0.3)

    async def play() -> int:
        failed = 0
        for number in range(200):
            try:
                assert (await net.get(number)).output == str(number)
            except grpc.aio.AioRpcError as error:
                assert error.code() is grpc.StatusCode.UNAVAILABLE  # noqa: PT017 - some calls fail
                failed += 1
        return failed

    failed = net.run(play())
    assert 0 < 200 - len(net.calls) < failed < 200
    assert net.network.counts["broken"] >= failed


def test_calls_may_arrive_twice_and_are_answered_once(net: Net) -> None:
    net.serve(echo)
    net.network.faults = Faults(twice_share=1.0)
    assert net.run(net.get(4)).output == "4"
    net.run(asyncio.sleep(1))
    assert len(net.calls) == 2


def test_slow_messages_let_others_overtake(net: Net) -> None:
    net.serve(echo)
    net.network.faults = Faults(slow_share=0.5, slow_s=5.0)

    async def play() -> list[int]:
        came: list[int] = []

        async def one(number: int) -> None:
            came.append(int((await net.get(number)).output))

        await asyncio.gather(*map(one, range(20)))
        return came

    came = net.run(play())
    assert sorted(came) == list(range(20)) != came


def test_a_dark_link_delays_and_then_breaks(net: Net) -> None:
    net.serve(echo)
    net.network.darken("server")
    net.loop.call_later(10, net.network.lighten)
    assert net.run(net.get(3)).output == "3"
    assert 10 < net.loop.time() < 11
    net.network.darken("client")
    began = net.loop.time()
    assert fails(net.get(), net).code() is grpc.StatusCode.UNAVAILABLE
    assert net.loop.time() - began > KEEPALIVE_S


def test_a_call_that_is_given_up_is_cancelled(net: Net) -> None:
    net.serve(hang)

    async def play() -> None:
        call: Any = net.orders.Trade()
        await asyncio.sleep(1)
        assert call.cancel()
        assert not call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call.read()
        with pytest.raises(asyncio.InvalidStateError):
            await call.write(orders_pb.TradeRequest())
        await asyncio.sleep(1)

    net.run(play())
    assert net.ended.total() == 1
