"""One call's messages: a window each way, credit as it is read, one end."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from exchange.link.frames import PAYLOAD_BYTES_MAX, Kind, LinkError, read_count
from exchange.link.lane import MESSAGE_COST, WINDOW_BYTES, Lane
from exchange.rpc.errors import Code, RpcError
from tests.waiting import WITHIN_S


class Wire:
    """Carries the frames of two lanes, one of each end, at once."""

    def __init__(self) -> None:
        self.sent: list[tuple[Kind, int]] = []
        self.other: Lane | None = None
        self.full = False

    def write(self, kind: Kind, call: int, payload: bytes = b"") -> None:
        self.sent.append((kind, len(payload)))
        assert self.other is not None
        if kind == Kind.MESSAGE:
            self.other.take(payload)
        else:
            assert kind == Kind.CREDIT
            self.other.more_room(read_count(payload))

    async def writable(self) -> None:
        pass


def pair() -> tuple[Lane, Lane, Wire]:
    there, back = Wire(), Wire()
    sender, receiver = Lane(1, there), Lane(1, back)
    there.other, back.other = receiver, sender
    return sender, receiver, there


async def test_messages_come_in_order_and_end() -> None:
    sender, receiver, _ = pair()
    for number in range(3):
        await sender.send(b"%d" % number)
    receiver.no_more()
    found = [await receiver.receive() for _ in range(4)]
    assert found == [b"0", b"1", b"2", None]
    sender.check()
    receiver.check()


async def test_a_message_that_no_frame_holds_ends_its_call_alone() -> None:
    sender, receiver, wire = pair()
    with pytest.raises(RpcError, match="MESSAGE_TOO_LARGE"):
        await sender.send(bytes(PAYLOAD_BYTES_MAX + 1))
    assert not wire.sent
    await sender.send(bytes(PAYLOAD_BYTES_MAX))
    assert len(await receiver.receive() or b"") == PAYLOAD_BYTES_MAX


async def test_a_sender_waits_at_the_window() -> None:
    sender, receiver, wire = pair()
    sent = 0

    async def send() -> None:
        nonlocal sent
        while True:
            await sender.send(bytes(1_000))
            sent += 1

    sending = asyncio.create_task(send())
    await asyncio.sleep(0.01)
    least = WINDOW_BYTES // (1_000 + MESSAGE_COST)
    assert least <= sent <= least + 1
    receiver.check()
    for _ in range(least):
        await receiver.receive()
    await asyncio.sleep(0.01)
    assert sent > least + 1, "credit did not let it go on"
    # In few frames: one for each half of the window.
    assert sum(kind == Kind.CREDIT for kind, _ in wire.sent) == 0
    sending.cancel()
    sender.check()
    receiver.check()


async def test_many_small_messages_count_too() -> None:
    sender, _, _ = pair()
    sent = 0
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(0.05):
            while True:
                await sender.send(b"")
                sent += 1
    assert sent == WINDOW_BYTES // MESSAGE_COST


async def test_who_does_not_keep_within_the_window_is_refused() -> None:
    _, receiver, _ = pair()
    receiver.take(bytes(WINDOW_BYTES))  # one message may pass the end
    with pytest.raises(LinkError, match="window"):
        receiver.take(b"")
    sender, receiver, _ = pair()
    with pytest.raises(LinkError, match="credit"):
        sender.more_room(1)
    receiver.no_more()
    with pytest.raises(LinkError, match="last"):
        receiver.take(b"")


async def test_what_came_before_the_end_is_read() -> None:
    _, receiver, _ = pair()
    receiver.take(b"last words")
    error = RpcError(Code.NOT_FOUND, "NOTHING", "there is nothing")
    receiver.end(error)
    receiver.end(None)
    assert await receiver.receive() == b"last words"
    with pytest.raises(RpcError) as caught:
        await receiver.receive()
    assert caught.value is error


async def test_an_end_wakes_both_sides() -> None:
    sender, _, _ = pair()
    while True:
        try:
            async with asyncio.timeout(0.02):
                await sender.send(bytes(100_000))
        except TimeoutError:
            break
    blocked = asyncio.create_task(sender.send(b"x"))
    waiting = asyncio.create_task(sender.receive())
    await asyncio.sleep(0.01)
    sender.end()
    assert await waiting is None
    with pytest.raises(RpcError, match="CALL_OVER"):
        await blocked


async def test_a_message_is_offered_first_where_a_task_waits_for_it() -> None:
    sender, receiver, _ = pair()
    offered: list[bytes] = []

    def take(message: bytes) -> bool:
        offered.append(message)
        return message != b"no"

    receiver.offer(take)
    await sender.send(b"nobody waits yet")
    assert await receiver.receive() == b"nobody waits yet"
    reading = asyncio.create_task(receiver.receive())
    await asyncio.sleep(0)
    for message in (b"taken", b"no", b"behind it"):
        await sender.send(message)
    assert [await reading, await receiver.receive()] == [b"no", b"behind it"]
    assert offered == [b"taken", b"no"]
    reading = asyncio.create_task(receiver.receive())
    await asyncio.sleep(0)
    receiver.end()
    receiver.take(b"too late")
    assert await reading == b"too late"
    assert offered == [b"taken", b"no"]
    receiver.check()


async def test_what_was_taken_gives_credit_as_what_was_received() -> None:
    sender, receiver, wire = pair()
    receiver.offer(lambda _: True)
    reading = asyncio.create_task(receiver.receive())
    await asyncio.sleep(0)
    async with asyncio.timeout(WITHIN_S):
        for _ in range(3 * WINDOW_BYTES // MESSAGE_COST):
            await sender.send(b"")
    assert not reading.done()
    sender.check()
    receiver.check()
    reading.cancel()
    assert len(wire.sent) == 3 * WINDOW_BYTES // MESSAGE_COST


async def test_what_would_have_to_wait_is_not_sent_now() -> None:
    sender, receiver, wire = pair()
    assert sender.send_now(b"a")
    wire.full = True
    assert not sender.send_now(b"b")
    wire.full = False
    assert not sender.send_now(bytes(PAYLOAD_BYTES_MAX + 1))
    assert sender.send_now(bytes(WINDOW_BYTES))
    assert not sender.send_now(b"no room")
    assert [len(await receiver.receive() or b"") for _ in range(2)] == [1, WINDOW_BYTES]
    assert sender.send_now(b"room")
    sender.end()
    assert not sender.send_now(b"it is over")
    assert len(wire.sent) == 3
