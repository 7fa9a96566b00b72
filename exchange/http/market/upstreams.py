"""The exchange's streams, each opened once for all who watch the same.

A message is written as JSON once, and the same bytes go to every subscriber. The streams are the
server's own, without a key: each subscriber's key is checked, and held, by his socket.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final

import structlog

from exchange.http.calls import Calls
from exchange.http.market.channels import CHANNELS, Topic, data
from exchange.http.market.outbox import Subscription
from exchange.rpc.errors import Code, RpcError, busy, draining

UPSTREAMS_MAX: Final = 512
"""Streams of the exchange that are open: different topics that are watched at the same time."""

_log = structlog.get_logger(__name__)


class Upstream:
    """One stream and those who share it.

    Args:
        topic: What it is about.
        calls: Opens it.
        on_end: Told once it can have no more subscribers.
    """

    def __init__(
        self, topic: Topic, calls: Calls, on_end: Callable[[Topic, Upstream], None]
    ) -> None:
        self._topic = topic
        self._channel = CHANNELS[topic.channel]
        self._calls = calls
        self._on_end = on_end
        self._subscriptions: dict[Subscription, None] = {}
        self._state = b""
        self._ready = asyncio.Event()
        self._error: RpcError | None = None
        self.users = 0
        self.image = self._channel.image()
        self.sequence_before = 0
        self._task = asyncio.create_task(self._run())

    def __len__(self) -> int:
        """Its subscribers."""
        return len(self._subscriptions)

    async def ready(self) -> None:
        """Return once newcomers can be told where they begin.

        Raises:
            RpcError: the stream has ended.
        """
        await self._ready.wait()
        if self._error is not None:
            raise self._error

    def state(self) -> bytes:
        """The state now as a message, written once however many ask; of a conflated channel."""
        if not self._state:
            (message,) = self.image.begin(0)
            self._state = data(self._topic, message)
        return self._state

    def join(self, subscription: Subscription) -> None:
        """From now on this one gets what comes."""
        self._subscriptions[subscription] = None

    def leave(self, subscription: Subscription) -> None:
        """Nothing more for this one."""
        self._subscriptions.pop(subscription, None)

    def close(self) -> None:
        """End the stream."""
        self._task.cancel()

    async def _run(self) -> None:
        try:
            request = self._channel.request(self._topic)
            async with self._calls.stream(self._channel.path, request, {}) as messages:
                async for message in messages:
                    self._take(message)
            error = draining()
        except RpcError as known:
            error = known
        except Exception:
            _log.exception("a stream of market data failed", topic=self._topic)
            error = RpcError(Code.INTERNAL, "INTERNAL", "the stream failed; subscribe again")
        self._error = error
        self._ready.set()
        self._on_end(self._topic, self)
        for subscription in tuple(self._subscriptions):
            subscription.end(error)

    def _take(self, message: Any) -> None:
        self.sequence_before = self.image.sequence
        self.image.take(message)
        self._state = b""
        if self._subscriptions:
            text = data(self._topic, message)
            for subscription in tuple(self._subscriptions):
                subscription.publish(text)
        if self.image.complete:
            self._ready.set()


class Upstreams:
    """All streams by what they are about.

    Args:
        calls: Opens them.
    """

    def __init__(self, calls: Calls) -> None:
        self._calls = calls
        self._open: dict[Topic, Upstream] = {}

    def __len__(self) -> int:
        """Streams that are open."""
        return len(self._open)

    async def enter(self, topic: Topic) -> Upstream:
        """The stream of a topic, once newcomers can be told where they begin; `leave` it again.

        Raises:
            RpcError: the exchange refuses it, or too many are open.
        """
        upstream = self._open.get(topic)
        if upstream is None:
            if len(self._open) >= UPSTREAMS_MAX:
                raise busy(f"{UPSTREAMS_MAX} different streams are watched")
            upstream = Upstream(topic, self._calls, self._forget)
            self._open[topic] = upstream
        upstream.users += 1
        try:
            await upstream.ready()
        except BaseException:
            self.leave(topic, upstream)
            raise
        return upstream

    def leave(self, topic: Topic, upstream: Upstream) -> None:
        """One user less; after the last one the stream ends."""
        upstream.users -= 1
        if not upstream.users:
            upstream.close()
            self._forget(topic, upstream)

    def _forget(self, topic: Topic, upstream: Upstream) -> None:
        # Another may have been opened since.
        if self._open.get(topic) is upstream:
            del self._open[topic]
