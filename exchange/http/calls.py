"""Calls of the API on behalf of HTTP: the same methods, guards and refusals as over gRPC.

A handler makes a message, names the method, and gets messages back. Who answers may be this process
or the engine's; whatever refuses a call raises `RpcError`, which `exchange.http.errors` turns into
a response.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any, Final

from google.protobuf.message import Message

from exchange.rpc.calls import MESSAGE_BYTES_MAX, Api
from exchange.rpc.errors import draining, too_large
from exchange.rpc.inside import INSIDE
from exchange.rpc.methods import METHODS, Method

UNREAD_MAX: Final = 64
"""Messages of a stream that wait for its reader; then the exchange waits, and its own bound for a
slow reader holds."""

Admit = Callable[[], contextlib.AbstractContextManager[None]]
"""Counts a call while it is under way; raises `RpcError` where too many are."""


class Calls:
    """Makes calls of the API.

    Args:
        api: Answers them.
        admit: Lets them in, gRPC's beside them.
    """

    def __init__(self, api: Api, admit: Admit) -> None:
        self._api = api
        self._admit = admit
        self._streams: set[asyncio.Queue[bytes | None]] = set()

    def deepest(self) -> int:
        """Messages that wait in the stream that is read slowest. O(streams)."""
        return max((unread.qsize() for unread in self._streams), default=0)

    async def unary(
        self, path: str, request: Message, metadata: Mapping[str, str], left_s: float | None = None
    ) -> Any:
        """The one response of a method.

        Args:
            path: The method, such as "/exchange.v1.JobService/SubmitJob".
            request: Its request.
            metadata: What goes with it; `authorization` above all.
            left_s: Seconds in which it must be answered; None: the exchange's default.

        Raises:
            RpcError: it was refused.
        """
        call = _Call(path, request, metadata, left_s)
        call.single = True
        answers: list[bytes] = []

        async def keep(message: bytes) -> None:
            answers.append(message)

        call.write = keep
        try:
            with self._admit():
                await self._api.serve(call)
        finally:
            call.end()
        (answer,) = answers
        return _method(path).parse_response(answer)

    @contextlib.asynccontextmanager
    async def stream(
        self, path: str, request: Message, metadata: Mapping[str, str]
    ) -> AsyncIterator[AsyncIterator[Any]]:
        """Inside, the responses of a method that streams them; the call ends with the block.

        Here and in `unary`, the method may be one of `exchange.rpc.inside`, too.

        Iterating raises `RpcError` where the exchange ends the stream with one.
        """
        call = _Call(path, request, metadata, None)
        unread: asyncio.Queue[bytes | None] = asyncio.Queue(UNREAD_MAX)
        call.write = unread.put

        async def serve() -> None:
            try:
                with self._admit():
                    await self._api.serve(call)
            finally:
                call.end()
                # Whoever waits learns of it; where the queue is full nobody does.
                with contextlib.suppress(asyncio.QueueFull):
                    unread.put_nowait(None)

        task = asyncio.create_task(serve())
        self._streams.add(unread)
        try:
            yield _responses(unread, task, _method(path).parse_response)
        finally:
            self._streams.discard(unread)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


class _Call:
    """One call with one request, as an `IncomingCall`.

    Raises:
        RpcError: the request is longer than gRPC would take: JSON may be shorter than its message.
    """

    single = False

    def __init__(
        self, path: str, request: Message, metadata: Mapping[str, str], left_s: float | None
    ) -> None:
        self.method = path
        # As over gRPC, where it is ASCII: what else HTTP lets through is no key of ours.
        self.metadata = {name: text for name, text in metadata.items() if text.isascii()}
        content = request.SerializeToString()
        if len(content) > MESSAGE_BYTES_MAX:
            raise too_large(len(content), MESSAGE_BYTES_MAX)
        self._request: bytes | None = content
        self._ends_at_s = None if left_s is None else _now_s() + left_s
        self._on_end: list[Callable[[], object]] = []
        self.write: Callable[[bytes], Any]

    @property
    def left_s(self) -> float | None:
        """See `IncomingCall`."""
        return None if self._ends_at_s is None else max(0.0, self._ends_at_s - _now_s())

    async def read(self) -> bytes | None:
        """See `IncomingCall`."""
        request, self._request = self._request, None
        return request

    def on_end(self, callback: Callable[[], object]) -> None:
        """See `IncomingCall`."""
        self._on_end.append(callback)

    def end(self) -> None:
        """The call is over."""
        for callback in self._on_end:
            callback()
        self._on_end.clear()


async def _responses(
    unread: asyncio.Queue[bytes | None], serving: asyncio.Task[None], parse: Callable[[bytes], Any]
) -> AsyncIterator[Any]:
    """What comes while the call runs; at its end, its error."""
    while not (serving.done() and unread.empty()):
        message = await unread.get()
        if message is None:
            await asyncio.wait((serving,))
            break
        yield parse(message)
    if serving.cancelled():
        # Not for its reader, who would not be here: the process ends.
        raise draining()
    serving.result()


def _method(path: str) -> Method:
    return METHODS.get(path) or INSIDE[path]


def _now_s() -> float:
    return asyncio.get_running_loop().time()
