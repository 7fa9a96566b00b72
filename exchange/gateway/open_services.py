"""Services that need no key and say nothing about accounts: health and reflection.

gRPC brings them. What surrounds their methods here: few of them at a time, a message that must come
soon, and an end once the exchange drains.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Any, Final, cast

import grpc
from google.protobuf.message import DecodeError

from exchange.gateway.admission import Admission
from exchange.gateway.handlers import Context, Handler, send
from exchange.rpc.drain import Drain
from exchange.rpc.errors import Code, RpcError, draining
from exchange.rpc.methods import malformed

REQUEST_WITHIN_S: Final = 10.0
"""The message of a call must have come within this time."""
OPEN_STREAMS_LAST_S: Final = 0.2
"""Once the exchange drains, watchers of its health get this long to hear of it; then they end."""


class OpenServices(grpc.GenericRpcHandler):
    """Handlers of the methods that need no key, guarded.

    To the functions that add gRPC's servicers to a server it is the server. A method that is not
    registered with the real one costs every other call less: the server waits for each registered
    method by itself, and looks at all of them whenever a call of any comes.
    """

    def __init__(self, admission: Admission, drain: Drain) -> None:
        self._admission = admission
        self._drain = drain
        self._handlers: dict[str, Handler] = {}

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Handler:
        """See gRPC: who serves this method; None where nobody does."""
        return self._handlers.get(handler_call_details.method)

    def add_registered_method_handlers(self, service: str, handlers: Mapping[str, Handler]) -> None:
        """See `grpc.aio.Server`: the service's methods by name."""
        for name, handler in handlers.items():
            self._handlers[f"/{service}/{name}"] = self._wrap(handler)

    def add_generic_rpc_handlers(self, handlers: object) -> None:
        """See `grpc.aio.Server`: the same methods once more, in another form."""

    def _wrap(self, handler: Handler) -> Handler:
        """The same method, given to gRPC as one with many requests."""
        inner: Any = handler.unary_unary or handler.unary_stream or handler.stream_stream
        decode = handler.request_deserializer

        async def unary(_: object, context: Context) -> Any:
            try:
                with self._admission.admit_without_key():
                    return await inner(await _only(decode, context), context)
            except RpcError as error:
                await send(error, context)

        async def stream(_: object, context: Context) -> None:
            try:
                await self._stream(inner, decode, handler.request_streaming, context)
            except RpcError as error:
                await send(error, context)

        if handler.response_streaming:
            return grpc.stream_stream_rpc_method_handler(
                cast("Any", stream), response_serializer=handler.response_serializer
            )
        return grpc.stream_unary_rpc_method_handler(
            cast("Any", unary), response_serializer=handler.response_serializer
        )

    async def _stream(self, inner: Any, decode: Any, many: bool, context: Context) -> None:
        task = asyncio.current_task()
        assert task is not None
        later = asyncio.get_running_loop().call_later

        def end_soon() -> None:
            later(OPEN_STREAMS_LAST_S, task.cancel)

        try:
            with self._admission.admit_without_key(), self._drain.calls(end_soon):
                request = _all(decode, context) if many else await _only(decode, context)
                answering = inner(request, context)
                # Servicers that gRPC brings yield their responses or write them.
                if hasattr(answering, "__aiter__"):
                    async for response in answering:
                        await context.write(response)
                else:
                    await answering
        except asyncio.CancelledError:
            if not self._drain.active:
                raise
            task.uncancel()
            raise draining() from None


async def _only(decode: Any, context: Context) -> Any:
    """The one request.

    Raises:
        RpcError: it does not come, or is not the message.
    """
    try:
        async with asyncio.timeout(REQUEST_WITHIN_S):
            data: Any = await context.read()
    except TimeoutError as error:
        raise RpcError(
            Code.DEADLINE_EXCEEDED,
            "MESSAGE_MISSING",
            f"the call's message did not come within {REQUEST_WITHIN_S:g} s",
        ) from error
    if data is grpc.aio.EOF:
        raise malformed()
    return _decoded(decode, data)


async def _all(decode: Any, context: Context) -> AsyncIterator[Any]:
    while (data := await context.read()) is not grpc.aio.EOF:
        yield _decoded(decode, data)


def _decoded(decode: Any, data: Any) -> Any:
    try:
        return decode(data)
    except DecodeError as error:
        raise malformed() from error
