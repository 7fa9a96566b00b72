"""Wrapping of gRPC method handlers: one wrapper for unary answers, one for streams of them.

A method with one request is given to gRPC as one with a stream of them, which looks the same on the
wire. So its behaviour begins before the message has come: the key is checked before anything is
read, and a call whose message never comes is counted and ends.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from typing import Any, Final

import grpc
from google.protobuf.message import DecodeError

from exchange.rpc.errors import RpcError

Context = grpc.aio.ServicerContext[Any, Any]
Handler = Any  # grpc.RpcMethodHandler is generic in the stubs only
Requests = AsyncIterator[Any]
Take = Callable[[Requests, Context], Awaitable[Any]]
"""Makes of the requests what the method wants: the one request, or all of them."""
Unary = Callable[[Any, Context], Awaitable[Any]]
Stream = Callable[[Any, Context], AsyncGenerator[Any, None]]


class Malformed:
    """Stands for a request whose bytes are not the message: reading it raises where it is used."""


MALFORMED: Final = Malformed()


def wrap(
    handler: Handler,
    around_unary: Callable[[Unary, Take], Unary],
    around_stream: Callable[[Stream, Take], Stream],
) -> Handler:
    """The same method with other behaviour, and malformed requests as `MALFORMED`.

    gRPC itself would answer those with INTERNAL and a stack trace in the log.
    """
    decode = handler.request_deserializer
    assert decode is not None
    encode = handler.response_serializer

    def lenient(data: bytes) -> Any:
        try:
            return decode(data)
        except DecodeError:
            return MALFORMED

    found = handler.unary_unary or handler.unary_stream
    found = found or handler.stream_unary or handler.stream_stream
    behaviour: Any = found
    take = _all if handler.request_streaming else _only
    if handler.response_streaming:
        return grpc.stream_stream_rpc_method_handler(
            around_stream(behaviour, take),
            request_deserializer=lenient,
            response_serializer=encode,
        )
    return grpc.stream_unary_rpc_method_handler(
        around_unary(behaviour, take), request_deserializer=lenient, response_serializer=encode
    )


async def _only(requests: Requests, context: Context) -> Any:
    del requests
    # Quicker than the iterator. A call that states a deadline ends by it; who states none gets one.
    request: Any = await context.read()
    if request is MALFORMED or request is grpc.aio.EOF:
        raise _malformed()
    return request


async def _all(requests: Requests, context: Context) -> Any:
    del requests
    return _WellFormed(context)


class _WellFormed:
    """The requests of a stream, read from the call itself: quicker than through two generators."""

    def __init__(self, context: Context) -> None:
        self._context = context

    def __aiter__(self) -> _WellFormed:
        return self

    async def __anext__(self) -> Any:
        request: Any = await self._context.read()
        if request is grpc.aio.EOF:
            raise StopAsyncIteration
        if request is MALFORMED:
            raise _malformed()
        return request


def _malformed() -> RpcError:
    return RpcError(
        grpc.StatusCode.INVALID_ARGUMENT,
        "MESSAGE_MALFORMED",
        "the bytes are not this method's message; text fields must be valid UTF-8",
    )
