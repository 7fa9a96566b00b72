"""What waits for one client: in order, conflated or cut off at its bounds."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncGenerator
from typing import Any

import pytest

from exchange.http.market import outbox as module
from exchange.http.market.channels import Topic, data
from exchange.http.market.images import BookImage, TradesImage
from exchange.http.market.outbox import Outbox, Subscription
from exchange.rpc.errors import RpcError
from exchange.v1 import market_data_service_pb2 as pb
from exchange.v1 import market_pb2
from tests.waiting import WITHIN_S

BOOK = Topic("book", "paper", 10)
TRADES = Topic("trades", "paper", 0)


class Stream:
    """As much of an upstream as an outbox looks at."""

    def __init__(self, topic: Topic) -> None:
        self.topic = topic
        self.image: Any = BookImage() if topic is BOOK else TradesImage()
        self.sequence_before = 0

    def state(self) -> bytes:
        (message,) = self.image.begin(0)
        return data(self.topic, message)

    def take(self, number: int) -> bytes:
        """The stream's next message."""
        self.sequence_before = self.image.sequence
        message: Any
        if self.topic is TRADES:
            message = pb.WatchTradesResponse(trades=[market_pb2.Trade(trade_id=number)])
        else:
            level = market_pb2.Level(price_nanos=number, quantity=1, orders=1)
            book = market_pb2.Book(sequence=number, bids=[level])
            message = pb.WatchBookResponse(delta=book, previous_sequence=self.sequence_before)
        self.image.take(message)
        return data(self.topic, message)


class Client:
    """One client with a stream each of both kinds."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.outbox = Outbox(self.counts)
        self.ended: list[RpcError] = []
        self.book, self.trades = Stream(BOOK), Stream(TRADES)
        self.of_book = self.subscribe(self.book)
        self.of_trades = self.subscribe(self.trades)
        self.texts: AsyncGenerator[bytes, None] = self.outbox.texts()

    def subscribe(self, stream: Any) -> Subscription:
        def end(found: Subscription, error: RpcError) -> None:
            self.ended.append(error)
            self.outbox.forget(found)

        return Subscription(stream.topic, stream, self.outbox, end)

    async def read(self, count: int) -> list[dict[str, Any]]:
        found = []
        for _ in range(count):
            async with asyncio.timeout(WITHIN_S):
                found.append(json.loads(await anext(self.texts)))
            self.outbox.check()
        return found


async def test_messages_come_in_order_and_a_beginning_before_what_follows() -> None:
    client = Client()
    client.book.take(1)
    client.outbox.answer(b'{"id": 1}')
    client.outbox.begin(client.of_book, 0)
    client.of_book.publish(client.book.take(2))
    client.outbox.check()
    answer, snapshot, delta = await client.read(3)
    assert answer == {"id": 1}
    assert snapshot["data"]["snapshot"]["sequence"] == "1"
    assert delta["data"]["previous_sequence"] == "1"


async def test_a_beginning_stays_as_it_was_when_it_was_asked_for() -> None:
    client = Client()
    client.trades.take(1)
    client.outbox.begin(client.of_trades, 10)
    client.of_trades.publish(client.trades.take(2))
    found = await client.read(2)
    assert [len(message["data"]["trades"]) for message in found] == [1, 1]


async def test_a_book_that_is_behind_is_conflated() -> None:
    client = Client()
    for number in range(1, module.BEHIND_MAX + 20):
        client.of_book.publish(client.book.take(number))
    client.outbox.check()
    assert len(client.outbox) == module.BEHIND_MAX
    assert client.counts == {"conflated": 1}
    found = await client.read(module.BEHIND_MAX + 1)
    assert all("delta" in message["data"] for message in found[:-1])
    assert found[-1]["data"]["snapshot"]["sequence"] == str(module.BEHIND_MAX + 19)
    client.of_book.publish(client.book.take(100))
    (after,) = await client.read(1)
    assert after["data"]["previous_sequence"] == str(module.BEHIND_MAX + 19)


async def test_a_full_box_conflates_books_and_ends_other_streams(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "UNREAD_MAX", 3)
    client = Client()
    for number in (1, 2, 3):
        client.of_trades.publish(client.trades.take(number))
    client.of_book.publish(client.book.take(1))
    assert not client.ended
    client.of_trades.publish(client.trades.take(4))
    (error,) = client.ended
    assert (error.reason, error.metadata) == ("SLOW_READER", {"resume_from": "3"})
    assert client.counts == {"conflated": 1, "slow_readers": 1}
    found = await client.read(4)
    assert [message["channel"] for message in found] == ["trades"] * 3 + ["book"]
    assert found[-1]["data"]["snapshot"]["sequence"] == "1"


async def test_bytes_are_bounded_too(monkeypatch: pytest.MonkeyPatch) -> None:
    client = Client()
    text = client.trades.take(1)
    monkeypatch.setattr(module, "UNREAD_BYTES_MAX", 2 * len(text))
    client.of_trades.publish(text)
    client.of_trades.publish(client.trades.take(2))
    assert not client.ended
    client.of_trades.publish(client.trades.take(3))
    assert len(client.ended) == 1


async def test_who_asks_waits_until_there_is_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "UNREAD_MAX", 2)
    client = Client()
    client.outbox.answer(b"1")
    await client.outbox.room()
    client.outbox.answer(b"2")
    waiting = asyncio.create_task(client.outbox.room())
    await asyncio.sleep(0)
    assert not waiting.done()
    await client.read(2)
    await asyncio.wait_for(waiting, WITHIN_S)


async def test_what_was_given_up_does_not_come_back() -> None:
    client = Client()
    for number in range(1, module.BEHIND_MAX + 5):
        client.of_book.publish(client.book.take(number))
    client.outbox.forget(client.of_book)
    await client.read(module.BEHIND_MAX)
    client.outbox.answer(b"{}")
    assert (await client.read(1))[0] == {}
