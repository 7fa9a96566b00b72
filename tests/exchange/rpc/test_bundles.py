"""Responses that share a message: protobuf's bytes, and never another story than one by one."""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exchange.core.event_rows import NO_EVENTS
from exchange.core.reasons import Reason
from exchange.core.recorded import Recorded
from exchange.engine import Outcomes
from exchange.link.lane import WINDOW_BYTES
from exchange.rpc import bundles, orders
from exchange.rpc.calls import PromptCall
from exchange.rpc.convert.orders import Batch, Reject
from exchange.rpc.drain import Drain
from exchange.rpc.order_feed import Answer, TradeStream
from exchange.rpc.pushes import Push
from exchange.v1 import order_service_pb2 as pb
from tests.exchange.core.rows import rows_of
from tests.exchange.rpc.decoding import core
from tests.exchange.rpc.desk import BID, TradeCall, open_desk, places
from tests.exchange.rpc.test_prompt_streams import told
from tests.exchange.rpc.test_pushes import ALICE, BOB, closed, filled
from tests.waiting import WITHIN_S

SIZES = st.sampled_from([0, 1, 100, 127, 128, 16_383, 16_384, 40_000, 70_000])


@given(st.lists(st.tuples(st.integers(0, 2**64 - 1), SIZES), min_size=1, max_size=12))
def test_a_bundle_is_written_as_protobuf_writes_it(made: list[tuple[int, int]]) -> None:
    responses = [
        pb.TradeResponse(request_id=request_id, packed_reports=bytes(size))
        for request_id, size in made
    ]
    message, count = bundles.bundle(response.SerializeToString() for response in responses)
    first, *others = responses
    first.following.extend(others[: count - 1])
    assert message == first.SerializeToString()
    assert count == 1 or len(message) <= bundles.BUNDLE_BYTES_MAX
    if count < len(responses):
        first.following.append(responses[count])
        assert len(first.SerializeToString()) > bundles.BUNDLE_BYTES_MAX


def test_a_bundle_is_as_long_as_it_may_be_and_no_longer() -> None:
    most = bundles.BUNDLE_BYTES_MAX
    assert most < WINDOW_BYTES
    # The mark and the length of the second one take four bytes.
    one, two = bytes(20_000), bytes(most - 20_000 - 4)
    message, count = bundles.bundle([one, two, one])
    assert (len(message), count) == (most, 2)
    assert bundles.bundle([one, two + b"x", one]) == (one, 1)
    assert bundles.bundle([bytes(most + 1), b""]) == (bytes(most + 1), 1)


CORE = core()


class Step(NamedTuple):
    """What the engine tells a stream at once; then its client reads on.

    Attributes:
        items: What others did (0), or a batch with so many instructions that are no commands.
        room: Messages that pass without the task.
        reads: Messages that the task may write, before the next step.
    """

    items: list[int]
    room: int
    reads: int


STEPS = st.lists(
    st.builds(
        Step,
        st.lists(st.integers(0, 3), max_size=6),
        st.integers(0, 4),
        st.integers(0, 4),
    ),
    max_size=8,
)


class Client:
    """Reads a stream as a step lets it."""

    def __init__(self) -> None:
        self.messages: list[bytes] = []
        self.room = 0
        self.reads = asyncio.Semaphore(0)

    def write_now(self, message: bytes) -> bool:
        if not self.room:
            return False
        self.room -= 1
        self.messages.append(message)
        return True

    async def run(self, writer: orders._Writer) -> None:
        async for response in writer.responses():
            await self.reads.acquire()
            self.messages.append(response.message)


async def story(steps: list[Step], in_rows: bool, bundled: bool) -> list[bytes]:
    """The messages that a stream's client has got once it has read all."""
    stream = TradeStream(ALICE)
    stream.packed, stream.bundles = in_rows, bundled
    reading: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    services: Any = SimpleNamespace(core=CORE, drain=Drain())
    nobody: Any = None
    reader = orders._Reader(nobody, nobody, stream, nobody)
    writer = orders._Writer(services, stream, reader, cast("Any", reading))
    client = Client()
    stream.tell_now = lambda: writer.write_now(cast("PromptCall", client))
    writing = asyncio.create_task(client.run(writer))
    await asyncio.sleep(0)
    sequence = 0
    for step in steps:
        for rejects in step.items:
            sequence += 1
            stream.tell(sequence, _item(stream, sequence, rejects, in_rows))
        client.room = step.room
        stream.deliver()
        for _ in range(step.reads):
            client.reads.release()
        for _ in range(4):
            await asyncio.sleep(0)
    reading.set_result(None)
    stream.wake()
    for _ in range(sequence):
        client.reads.release()
    async with asyncio.timeout(WITHIN_S):
        await writing
    assert stream.in_flight == stream.instructions_in_flight == 0
    return client.messages


def _item(stream: TradeStream, sequence: int, rejects: int, in_rows: bool) -> Answer | Push:
    if not rejects:
        push = Push(ALICE, sequence, 7, rows_of([[filled(ALICE, BOB, sequence)]]).rows)
        if sequence % 2:
            push.happened.append(rows_of([[closed(ALICE)]]).rows)
        return push
    none = [Reject(place, Reason.FIELD_INVALID, bytes(16), 0) for place in range(rejects)]
    batch = Batch(Recorded(b"") if in_rows else [], [], none, packed=in_rows)
    stream.in_flight += 1
    stream.instructions_in_flight += batch.size
    return Answer(sequence, batch, Outcomes(sequence, 7, NO_EVENTS))


def plain(messages: list[bytes]) -> list[pb.TradeResponse]:
    """What they tell, neighbouring reports of what others did as one: when it is told divides it
    into responses, and that differs."""
    found: list[pb.TradeResponse] = []
    for response in (response for message in messages for response in told(message)):
        if found and not (found[-1].request_id or response.request_id):
            found[-1].packed_reports += response.packed_reports
            found[-1].reports.extend(response.reports)
            found[-1].sequence = response.sequence
        else:
            found.append(response)
    return found


@given(steps=STEPS, in_rows=st.booleans(), most=st.sampled_from([60, 400, 64 << 10]))
def test_bundled_and_one_by_one_tell_the_same(steps: list[Step], in_rows: bool, most: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bundles, "BUNDLE_BYTES_MAX", most)
        bundled = asyncio.run(story(steps, in_rows, bundled=True))
        one_by_one = asyncio.run(story(steps, in_rows, bundled=False))
    assert plain(bundled) == plain(one_by_one)
    assert all(len(told(message)) == 1 for message in one_by_one)
    # Whatever shares a message keeps to its bound.
    assert all(len(message) <= most or len(told(message)) == 1 for message in bundled)


@pytest.mark.usefixtures("both_forms")
async def test_a_client_asks_for_it_and_may_stop_to(tmp_path: Path) -> None:
    """Over real connections: every answer once, in order, and no bundle unasked."""
    async with open_desk(tmp_path) as desk, TradeCall(desk.alice) as alice:
        for bundle_responses in (True, False):
            begun = alice._request_id
            for number in range(begun + 1, begun + 21):
                await alice._call.write(
                    pb.TradeRequest(
                        request_id=number,
                        instructions=places([desk.order(BID, 1, 1)]),
                        bundle_responses=bundle_responses,
                    )
                )
            alice._request_id = begun + 20
            found: list[pb.TradeResponse] = []
            while len(found) < 20:
                message = await alice.receive()
                assert bundle_responses or not message.following
                found += told(message.SerializeToString())
            assert [one.request_id for one in found] == list(range(begun + 1, begun + 21))
            assert [one.sequence for one in found] == sorted(one.sequence for one in found)
            assert all(len(one.accepted) == 1 for one in found)
