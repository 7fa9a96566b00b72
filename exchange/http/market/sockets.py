"""WebSockets of market data: who connects, who he is, what he watches."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Iterator
from typing import Any, Final

from aiohttp import WSCloseCode, WSMsgType, web
from google.protobuf.empty_pb2 import Empty
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from exchange.http import errors
from exchange.http.calls import Calls
from exchange.http.errors import ApiError
from exchange.http.market import asyncapi, requests
from exchange.http.market.channels import CHANNELS, SOCKET_PATH, head
from exchange.http.market.outbox import Outbox, Subscription
from exchange.http.market.requests import Auth, Ping, Request, Subscribe, Unsubscribe
from exchange.http.market.upstreams import Upstreams
from exchange.http.sockets import require_same_origin
from exchange.rpc.errors import Code, RpcError, draining
from exchange.rpc.inside import HOLD_KEY

SOCKETS_MAX: Final = 1_100
"""WebSockets of market data open at the same time; one more is refused with 503."""
UNKNOWN_MAX: Final = 128
"""Those among them that have not given a key yet."""
SUBSCRIPTIONS_MAX: Final = 64
"""Subscriptions of one socket."""
MESSAGE_BYTES_MAX: Final = 4_096
"""Longest message that is taken from a client."""
AUTH_WITHIN_S: Final = 10
"""A client that gave no key with its request must have given one by then."""
SEND_WITHIN_S: Final = 10
"""A client that takes nothing for so long, while there is something to take, is cut off."""
PING_S: Final = 20.0
"""A connection is pinged this often and closed where no answer comes in half of it."""

_CLOSE_CODES: Final = {
    Code.UNAUTHENTICATED: WSCloseCode.POLICY_VIOLATION,
    Code.UNAVAILABLE: WSCloseCode.GOING_AWAY,
    Code.RESOURCE_EXHAUSTED: WSCloseCode.TRY_AGAIN_LATER,
}


class MarketSockets(Collector):
    """All WebSockets of market data, and their metrics.

    Args:
        calls: Makes the calls of the API.
    """

    def __init__(self, calls: Calls) -> None:
        self._calls = calls
        self._upstreams = Upstreams(calls)
        self._open: dict[Connection, None] = {}
        self._counts: Counter[str] = Counter()
        self._closing = False

    def __len__(self) -> int:
        """Sockets that are open."""
        return len(self._open)

    @property
    def routes(self) -> list[web.RouteDef]:
        """What it serves."""
        return [web.get(SOCKET_PATH, self.handle, allow_head=False), *asyncapi.routes()]

    async def handle(self, request: web.Request) -> web.WebSocketResponse:
        """Serve one connection until either side ends it.

        Raises:
            ApiError: another site's page asks, too many are open, or the exchange closes.
            RpcError: the key that came with the request is refused.
        """
        require_same_origin(request)
        if self._closing or len(self._open) >= SOCKETS_MAX:
            self._counts["refused"] += 1
            raise ApiError(503, "OVERLOADED", f"{len(self._open)} watchers; try again later")
        if sum(not found.account_id for found in self._open) >= UNKNOWN_MAX:
            self._counts["refused"] += 1
            raise ApiError(503, "OVERLOADED", f"{UNKNOWN_MAX} watchers have not said who they are")
        connection = Connection(request, self._calls, self._upstreams, self._counts)
        self._open[connection] = None
        try:
            await connection.serve()
        finally:
            del self._open[connection]
        return connection.socket

    async def close(self) -> None:
        """Say goodbye to all; no new one is taken."""
        self._closing = True
        goodbye = (
            found.socket.close(code=WSCloseCode.GOING_AWAY, message=b"the exchange closes")
            for found in tuple(self._open)
            if found.socket.prepared
        )
        await asyncio.gather(*goodbye, return_exceptions=True)

    def describe(self) -> Iterable[Metric]:
        """Nothing is computed at registration."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """All metrics now. O(sockets + subscriptions)."""
        connections = tuple(self._open)
        for name, text, value in (
            ("sockets", "Open WebSockets of market data", len(connections)),
            ("streams", "Streams of the exchange that they share", len(self._upstreams)),
            (
                "unread_messages",
                "Messages that wait for the client that is furthest behind",
                max((len(found.outbox) for found in connections), default=0),
            ),
        ):
            yield GaugeMetricFamily(f"flopex_market_{name}", text, value=value)
        watched = Counter(name for found in connections for name, _ in found.subscriptions)
        family = GaugeMetricFamily(
            "flopex_market_subscriptions", "Subscriptions by channel", labels=["channel"]
        )
        for channel in CHANNELS:
            family.add_metric([channel], watched[channel])
        yield family
        for name, text in (
            ("conflated", "Times that a slow client was given the newest state instead of all"),
            ("slow_readers", "Subscriptions ended because they were read too slowly"),
            ("refused", "WebSockets refused because too many are open"),
        ):
            yield CounterMetricFamily(f"flopex_market_{name}", text, value=self._counts[name])


class Connection:
    """One client.

    Attributes:
        socket: Its WebSocket.
        outbox: What it has not read.
        account_id: Whose key it gave; 0 before.
        subscriptions: What it watches, by channel and instrument.
    """

    def __init__(
        self, request: web.Request, calls: Calls, upstreams: Upstreams, counts: Counter[str]
    ) -> None:
        self._request = request
        self._calls = calls
        self._upstreams = upstreams
        self._held = contextlib.AsyncExitStack()
        self._guard: asyncio.Task[None] | None = None
        self.socket = web.WebSocketResponse(
            heartbeat=PING_S, max_msg_size=MESSAGE_BYTES_MAX, compress=False
        )
        self.outbox = Outbox(counts)
        self.account_id = 0
        self.subscriptions: dict[tuple[str, str], Subscription] = {}

    async def serve(self) -> None:
        """Until either side ends it.

        Raises:
            RpcError: the key that came with the request is refused.
        """
        try:
            given = self._request.headers.get("Authorization")
            if given is not None:
                await self._hold_key(given)
            await self.socket.prepare(self._request)
            if given is None:
                self._guard = asyncio.create_task(self._expect_key())
            writer = asyncio.create_task(self._write())
            try:
                await self._read()
            finally:
                writer.cancel()
                await asyncio.gather(writer, return_exceptions=True)
        finally:
            for subscription in tuple(self.subscriptions.values()):
                self._leave(subscription)
            if self._guard is not None:
                self._guard.cancel()
            await self._held.aclose()

    # ---- who ----

    async def _hold_key(self, authorization: str) -> None:
        """Find out whose the key is, and close the socket once it is revoked.

        Raises:
            RpcError: it is refused.
        """
        holding = self._calls.stream(HOLD_KEY, Empty(), {"authorization": authorization})
        async with contextlib.AsyncExitStack() as stack:
            held = await stack.enter_async_context(holding)
            self.account_id = (await anext(held)).value
            self._held = stack.pop_all()
        if self._guard is not None:
            self._guard.cancel()
        self._guard = asyncio.create_task(self._watch_key(held))

    async def _watch_key(self, held: AsyncIterator[Any]) -> None:
        error = draining()
        try:
            async for _ in held:
                pass
        except RpcError as known:
            error = known
        code = _CLOSE_CODES.get(error.code, WSCloseCode.INTERNAL_ERROR)
        await self.socket.close(code=code, message=error.reason.encode())

    async def _expect_key(self) -> None:
        await asyncio.sleep(AUTH_WITHIN_S)
        text = f"no key within {AUTH_WITHIN_S} s".encode()
        await self.socket.close(code=WSCloseCode.POLICY_VIOLATION, message=text)

    async def _authenticate(self, request: Auth) -> None:
        if self.account_id:
            raise ApiError(409, "AUTHENTICATED", "this socket has its key already")
        await self._hold_key(f"Bearer {request.key}")
        self.outbox.answer(requests.result(request.id, {"account_id": str(self.account_id)}))

    # ---- in ----

    async def _read(self) -> None:
        async for message in self.socket:
            if message.type != WSMsgType.TEXT:
                text = b"messages are text"
                await self.socket.close(code=WSCloseCode.UNSUPPORTED_DATA, message=text)
                return
            await self._hear(message.data)
            await self.outbox.room()

    async def _hear(self, text: str) -> None:
        try:
            decode = requests.decode if self.account_id else requests.decode_stranger
            request = decode(text)
        except ApiError as error:
            self.outbox.answer(requests.refusal(requests.of_id(text), error))
            return
        try:
            await self._do(request)
        except ApiError as error:
            self.outbox.answer(requests.refusal(request.id, error))
        except RpcError as error:
            self.outbox.answer(requests.refusal(request.id, errors.of_rpc(error)))

    async def _do(self, request: Request) -> None:
        """Do what the client says.

        Raises:
            ApiError: it cannot be done.
            RpcError: the exchange refuses it.
        """
        if isinstance(request, Ping):
            self.outbox.answer(requests.result(request.id, {}))
        elif isinstance(request, Auth):
            await self._authenticate(request)
        elif isinstance(request, Subscribe):
            await self._subscribe(request)
        else:
            self._unsubscribe(request)

    async def _subscribe(self, request: Subscribe) -> None:
        topic = request.topic()
        name = topic.channel, topic.instrument
        if name in self.subscriptions:
            raise ApiError(409, "SUBSCRIBED", "this is watched already; unsubscribe first")
        if len(self.subscriptions) >= SUBSCRIPTIONS_MAX:
            text = f"a socket has at most {SUBSCRIPTIONS_MAX} subscriptions; open another"
            raise ApiError(429, "OVERLOADED", text)
        upstream = await self._upstreams.enter(topic)
        # From here to the end nothing waits, so what it begins with and what follows fit together.
        subscription = Subscription(topic, upstream, self.outbox, self._on_end)
        self.subscriptions[name] = subscription
        upstream.join(subscription)
        shown = {"depth": topic.depth} if topic.depth else {}
        self.outbox.answer(requests.result(request.id, head(*name) | shown))
        self.outbox.begin(subscription, request.recent or 0)

    def _unsubscribe(self, request: Unsubscribe) -> None:
        subscription = self.subscriptions.get((request.channel, request.instrument))
        if subscription is None:
            raise ApiError(404, "NOT_SUBSCRIBED", "this is not watched here")
        self._leave(subscription)
        found = head(request.channel, request.instrument)
        self.outbox.answer(requests.result(request.id, found))

    def _leave(self, subscription: Subscription) -> None:
        topic = subscription.topic
        del self.subscriptions[topic.channel, topic.instrument]
        self.outbox.forget(subscription)
        subscription.upstream.leave(subscription)
        self._upstreams.leave(topic, subscription.upstream)

    def _on_end(self, subscription: Subscription, error: RpcError) -> None:
        """The exchange ends a subscription."""
        self._leave(subscription)
        self.outbox.answer(requests.ending(subscription.topic, error))

    # ---- out ----

    async def _write(self) -> None:
        async with contextlib.aclosing(self.outbox.texts()) as texts:
            async for text in texts:
                try:
                    async with asyncio.timeout(SEND_WITHIN_S):
                        await self.socket.send_frame(text, WSMsgType.TEXT)
                except TimeoutError:
                    # Its buffers are full: a close frame would not get through either.
                    if self._request.transport is not None:
                        self._request.transport.abort()
                    return
                except ConnectionError:
                    return
