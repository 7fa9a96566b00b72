"""The client's end of a virtual network: a channel that real stubs and the real SDK take.

Example:
    channel = KeyedChannel(VirtualChannel(network, process, "exchange"), key)
    client = AsyncClient(channel=channel)
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from typing import Any, Final

import grpc

from exchange.testing.network import (
    CANCELLED,
    REFUSED,
    Opening,
    Status,
    VirtualCall,
    VirtualNetwork,
)
from exchange.testing.virtual import Process

LATE: Final = Status(grpc.StatusCode.DEADLINE_EXCEEDED, "Deadline Exceeded")


class ClientCall:
    """What a stub's method returns: awaitable for one response, readable for a stream of them."""

    def __init__(self, channel: VirtualChannel, decode: Callable[[bytes], Any]) -> None:
        self._channel = channel
        self._decode = decode
        self._inbox: deque[bytes] = deque()
        self._news = asyncio.Event()
        self._status: Status | None = None
        self._cancelled = False
        self._call: VirtualCall | None = None
        self._encode: Callable[[Any], bytes] = bytes

    def open(
        self, opening: Opening, encode: Callable[[Any], bytes], *, ghost: bool = False
    ) -> None:
        """Begin; a ghost's responses reach nobody."""
        network, process = self._channel.network, self._channel.process
        self._encode = encode
        server = network.find(self._channel.address)
        if server is None:
            network.counts["refused"] += 1
            delay_s = process.random.uniform(*network.faults.delay_s)
            process.call_at(network.loop.time() + delay_s, self.end, REFUSED)
            return
        call = self._call = VirtualCall(network, process, server)
        call.client = None if ghost else self
        call.up.send(lambda: server.accept(call, opening))
        if opening.deadline_s is not None and not ghost:
            process.call_at(opening.deadline_s, self._expire)

    def send_now(self, message: Any) -> None:
        """Send a request."""
        if self._call is not None:
            data = self._encode(message)
            self._call.send_up(lambda served: served.receive(data))

    def half_close(self) -> None:
        """Send no more requests."""
        if self._call is not None:
            self._call.send_up(lambda served: served.receive(None))

    def receive(self, data: bytes) -> None:
        """A response came."""
        if self._status is None:
            self._inbox.append(data)
            self._news.set()

    def end(self, status: Status) -> None:
        """The call ended."""
        if self._status is None:
            self._status = status
            self._news.set()
            if self._call is not None:
                self._call.forget()

    def cancel(self) -> bool:
        """See grpc.aio."""
        if self._status is not None:
            return False
        self._cancelled = True
        self._tell_server()
        self.end(CANCELLED)
        return True

    def _expire(self) -> None:
        if self._status is None:
            self._tell_server()
            self.end(LATE)

    def _tell_server(self) -> None:
        if self._call is not None:
            self._call.send_up(lambda served: served.cancel(), may_break=False)

    async def read(self) -> Any:
        """See grpc.aio: a response, or EOF.

        Raises:
            grpc.aio.AioRpcError: the call failed.
        """
        while not self._inbox and self._status is None:
            self._news.clear()
            await self._news.wait()
        if self._inbox:
            return self._decode(self._inbox.popleft())
        self._raise_failure()
        return grpc.aio.EOF

    async def write(self, message: Any) -> None:
        """See grpc.aio.

        Raises:
            asyncio.InvalidStateError: the call has ended.
        """
        if self._status is not None:
            raise asyncio.InvalidStateError("RPC already finished.")
        self.send_now(message)
        await asyncio.sleep(0)

    async def done_writing(self) -> None:
        """See grpc.aio."""
        if self._status is None:
            self.half_close()

    def __await__(self) -> Any:
        return self._one().__await__()

    async def _one(self) -> Any:
        try:
            response = await self.read()
            if response is grpc.aio.EOF:
                raise _error(Status(grpc.StatusCode.INTERNAL, "the answer is missing"))
        except asyncio.CancelledError:
            self.cancel()
            raise
        while self._status is None:
            self._news.clear()
            await self._news.wait()
        self._raise_failure()
        return response

    def __aiter__(self) -> AsyncIterator[Any]:
        return self._all()

    async def _all(self) -> AsyncIterator[Any]:
        while (message := await self.read()) is not grpc.aio.EOF:
            yield message

    def _raise_failure(self) -> None:
        if self._cancelled:
            raise asyncio.CancelledError
        assert self._status is not None
        if self._status.code is not grpc.StatusCode.OK:
            raise _error(self._status)


class VirtualChannel(grpc.aio.Channel):
    """A channel for real stubs."""

    def __init__(self, network: VirtualNetwork, process: Process, address: str) -> None:
        self.network = network
        self.process = process
        self.address = address

    def unary_unary(self, method: str, *codecs: Any, **named: Any) -> Any:
        """See grpc.aio.Channel."""
        return self._method(method, True, *codecs, **named)

    def unary_stream(self, method: str, *codecs: Any, **named: Any) -> Any:
        """See grpc.aio.Channel."""
        return self._method(method, True, *codecs, **named)

    def stream_unary(self, method: str, *codecs: Any, **named: Any) -> Any:
        """See grpc.aio.Channel."""
        return self._method(method, False, *codecs, **named)

    def stream_stream(self, method: str, *codecs: Any, **named: Any) -> Any:
        """See grpc.aio.Channel."""
        return self._method(method, False, *codecs, **named)

    def _method(
        self,
        method: str,
        one_request: bool,
        request_serializer: Callable[[Any], bytes],
        response_deserializer: Callable[[bytes], Any],
        _registered_method: bool = False,
    ) -> Callable[..., ClientCall]:
        def call(
            request: Any = None, *, timeout: float | None = None, metadata: Any = None
        ) -> ClientCall:
            deadline_s = None if timeout is None else self.network.loop.time() + timeout
            opening = Opening(method, tuple(metadata or ()), deadline_s)
            made = ClientCall(self, response_deserializer)
            twice = one_request and self.process.random.random() < self.network.faults.twice_share
            for ghost in (False, True) if twice else (False,):
                self.network.counts["twice"] += ghost
                one = ClientCall(self, response_deserializer) if ghost else made
                one.open(opening, request_serializer, ghost=ghost)
                if one_request:
                    one.send_now(request)
                    one.half_close()
            return made

        return call

    async def __aenter__(self) -> VirtualChannel:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self, grace: float | None = None) -> None:
        """See grpc.aio.Channel; calls are cancelled by those who made them."""

    def get_state(self, try_to_connect: bool = False) -> grpc.ChannelConnectivity:
        """See grpc.aio.Channel."""
        del try_to_connect
        return grpc.ChannelConnectivity.READY

    async def wait_for_state_change(self, last_observed_state: grpc.ChannelConnectivity) -> None:
        """See grpc.aio.Channel; this one's state never changes, so this never returns."""
        del last_observed_state
        await asyncio.get_running_loop().create_future()

    async def channel_ready(self) -> None:
        """See grpc.aio.Channel."""


def _error(status: Status) -> grpc.aio.AioRpcError:
    return grpc.aio.AioRpcError(
        status.code,
        initial_metadata=grpc.aio.Metadata(),
        trailing_metadata=grpc.aio.Metadata(*status.trailing),
        details=status.details,
    )
