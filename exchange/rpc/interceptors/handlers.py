"""Wrapping of gRPC method handlers: one wrapper for unary calls, one for streams."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from typing import Any, Final, NoReturn

import grpc
from google.protobuf.message import DecodeError

Context = grpc.aio.ServicerContext[Any, Any]
Handler = Any  # grpc.RpcMethodHandler is generic in the stubs only
Unary = Callable[[Any, Context], Awaitable[Any]]
Stream = Callable[[Any, Context], AsyncGenerator[Any, None]]


class Malformed:
    """Stands for a request whose bytes are not the message: reading it raises where it is used."""


MALFORMED: Final = Malformed()


def wrap(
    handler: Handler,
    around_unary: Callable[[Unary], Unary],
    around_stream: Callable[[Stream], Stream],
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

    make = _MAKERS[bool(handler.request_streaming), bool(handler.response_streaming)]
    found = handler.unary_unary or handler.unary_stream
    found = found or handler.stream_unary or handler.stream_stream
    behaviour: Any = found
    around: Any = around_stream if handler.response_streaming else around_unary
    wrapped: Handler = make(
        around(behaviour), request_deserializer=lenient, response_serializer=encode
    )
    return wrapped


_MAKERS: Final[dict[tuple[bool, bool], Callable[..., Any]]] = {
    (False, False): grpc.unary_unary_rpc_method_handler,
    (False, True): grpc.unary_stream_rpc_method_handler,
    (True, False): grpc.stream_unary_rpc_method_handler,
    (True, True): grpc.stream_stream_rpc_method_handler,
}


async def well_formed(
    requests: AsyncIterator[Any], refuse: Callable[[], NoReturn]
) -> AsyncIterator[Any]:
    """The requests of a stream; calls `refuse` for a malformed one."""
    async for request in requests:
        if request is MALFORMED:
            refuse()
        yield request
