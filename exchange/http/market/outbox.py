"""What one client has not read yet: bounded, in order, conflated or cut off where it grows.

The exchange's side never waits. A message is one object for all its readers, so what waits here
costs little but its place in the line.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import AsyncGenerator, Callable, Iterator
from typing import TYPE_CHECKING, Final

from exchange.http.market.channels import CHANNELS, Topic, data
from exchange.rpc.errors import RpcError, slow_reader

if TYPE_CHECKING:
    from exchange.http.market.upstreams import Upstream

UNREAD_MAX: Final = 1_024
"""Messages that may wait for a client: beyond, a state is conflated and any other stream ends."""
UNREAD_BYTES_MAX: Final = 4 << 20
"""The same in bytes."""
BEHIND_MAX: Final = 32
"""Messages of one conflated stream that may wait: beyond, the newest state follows them."""


class Subscription:
    """One client's share in a stream.

    Args:
        topic: What about.
        upstream: The stream.
        outbox: The client's.
        on_end: Told where the exchange's side ends it, and why.
    """

    def __init__(
        self,
        topic: Topic,
        upstream: Upstream,
        outbox: Outbox,
        on_end: Callable[[Subscription, RpcError], None],
    ) -> None:
        self.topic = topic
        self.upstream = upstream
        self.conflates = CHANNELS[topic.channel].conflates
        self.waiting = 0
        self.behind = False
        self._outbox = outbox
        self._on_end = on_end

    def publish(self, text: bytes) -> None:
        """The stream's next message."""
        self._outbox.publish(self, text)

    def end(self, error: RpcError) -> None:
        """The stream is over for this client."""
        self._on_end(self, error)


class Outbox:
    """Messages for one client, oldest first.

    Args:
        counts: Of all clients: states "conflated" and "slow_readers" cut off.
    """

    def __init__(self, counts: Counter[str]) -> None:
        self._counts = counts
        # A snapshot of many orders is written piece by piece, once its turn has come.
        self._items: deque[tuple[Subscription | None, bytes | Iterator[bytes]]] = deque()
        self._behind: dict[Subscription, None] = {}
        self._snapshots = 0
        self._bytes = 0
        self._news = asyncio.Event()
        self._taken = asyncio.Event()

    def __len__(self) -> int:
        """Messages that wait."""
        return len(self._items)

    def answer(self, text: bytes) -> None:
        """Add an answer. It is always taken: who asks waits for `room` before he asks again."""
        self._add(None, text)

    def begin(self, subscription: Subscription, recent: int) -> None:
        """Add what a new subscription begins with."""
        topic, image = subscription.topic, subscription.upstream.image
        if subscription.conflates:
            self._add(subscription, subscription.upstream.state())
        else:
            messages = image.begin(recent)
            self._snapshots += 1
            self._add(subscription, (data(topic, message) for message in messages))

    def publish(self, subscription: Subscription, text: bytes) -> None:
        """Add the next message of a stream, or conflate it, or end the subscription."""
        if subscription.behind:
            return
        full = len(self._items) >= UNREAD_MAX or self._bytes + len(text) > UNREAD_BYTES_MAX
        if subscription.conflates and (full or subscription.waiting >= BEHIND_MAX):
            self._counts["conflated"] += 1
            subscription.behind = True
            self._behind[subscription] = None
        elif full:
            self._counts["slow_readers"] += 1
            # The image has taken this message already: the one before it was the last that is sent.
            last = subscription.upstream.sequence_before
            subscription.end(slow_reader("read too slowly; subscribe again", {"resume_from": last}))
        else:
            self._add(subscription, text)

    def forget(self, subscription: Subscription) -> None:
        """No more of this one; what waits of it is still sent."""
        self._behind.pop(subscription, None)

    async def room(self) -> None:
        """Return once an answer may be added."""
        while len(self._items) >= UNREAD_MAX or self._snapshots:
            self._taken.clear()
            await self._taken.wait()

    async def texts(self) -> AsyncGenerator[bytes, None]:
        """The messages, as they come; one that was taken counts as read with the next step."""
        while True:
            while self._items:
                subscription, item = self._items[0]
                if isinstance(item, bytes):
                    yield item
                    self._bytes -= len(item)
                else:
                    for text in item:
                        yield text
                    self._snapshots -= 1
                self._items.popleft()
                if subscription is not None:
                    subscription.waiting -= 1
                if self._behind:
                    self._catch_up()
                self._taken.set()
            self._news.clear()
            await self._news.wait()

    def check(self) -> None:
        """Assert that what is counted is what waits. O(messages)."""
        items = list(self._items)
        assert self._bytes == sum(len(item) for _, item in items if isinstance(item, bytes))
        assert self._snapshots == sum(not isinstance(item, bytes) for _, item in items)
        waiting = Counter(found for found, _ in items if found is not None)
        assert all(found.waiting == count for found, count in waiting.items())
        assert all(found.behind and found.conflates for found in self._behind)

    def _catch_up(self) -> None:
        """Who is behind gets the state now, once what he was sent before is read."""
        for subscription in tuple(self._behind):
            if not subscription.waiting and len(self._items) < UNREAD_MAX:
                del self._behind[subscription]
                subscription.behind = False
                self._add(subscription, subscription.upstream.state())

    def _add(self, subscription: Subscription | None, item: bytes | Iterator[bytes]) -> None:
        self._items.append((subscription, item))
        if isinstance(item, bytes):
            self._bytes += len(item)
        if subscription is not None:
            subscription.waiting += 1
        self._news.set()
