"""gRPC's servicers as who answers the calls of a virtual network."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, cast

import grpc

from exchange.testing.network import ServedCall, Status


class Handlers:
    """Takes servicers as gRPC's server does.

    Args:
        interceptor: Wraps every handler.
    """

    def __init__(self, interceptor: grpc.aio.ServerInterceptor) -> None:
        self._interceptor = interceptor
        self._handlers: list[Any] = []

    def add_generic_rpc_handlers(self, handlers: Sequence[Any]) -> None:
        self._handlers += handlers

    def add_registered_method_handlers(self, service_name: str, handlers: object) -> None:
        """The same once more."""

    async def serve(self, call: ServedCall) -> Status:
        """Answer a call; how it ended."""
        details = cast(
            "grpc.HandlerCallDetails", _Details(call.method, tuple(call.metadata.items()))
        )
        handler: Any = await self._interceptor.intercept_service(self._by_name, details)
        if handler is None:
            return Status(grpc.StatusCode.UNIMPLEMENTED, "Method not found!")
        context = _Context(call, handler.request_deserializer, handler.response_serializer)
        try:
            if handler.stream_unary is not None:
                await context.write(await handler.stream_unary(None, context))
            else:
                async for response in handler.stream_stream(None, context):
                    await context.write(response)
        except grpc.aio.AbortError:
            return context.status
        return Status(grpc.StatusCode.OK)

    async def _by_name(self, details: grpc.HandlerCallDetails) -> Any:
        found = (handler.service(details) for handler in self._handlers)
        return next((handler for handler in found if handler is not None), None)


class _Details(NamedTuple):
    method: str
    invocation_metadata: tuple[tuple[str, str], ...]


class _Context:
    """What servicers use of grpc.aio.ServicerContext."""

    def __init__(
        self,
        call: ServedCall,
        decode: Callable[[bytes], Any],
        encode: Callable[[Any], bytes],
    ) -> None:
        self.status = Status(grpc.StatusCode.OK)
        self._call = call
        self._decode = decode
        self._encode = encode

    def invocation_metadata(self) -> tuple[tuple[str, str], ...]:
        return tuple(self._call.metadata.items())

    def time_remaining(self) -> float | None:
        return self._call.left_s

    def add_done_callback(self, callback: Callable[[Any], object]) -> None:
        self._call.on_end(lambda: callback(self))

    async def read(self) -> Any:
        data = await self._call.read()
        return grpc.aio.EOF if data is None else self._decode(data)

    async def write(self, message: Any) -> None:
        await self._call.write(self._encode(message))

    async def abort(self, code: grpc.StatusCode, details: str = "", trailing: Any = ()) -> None:
        self.status = Status(code, details, trailing)
        raise grpc.aio.AbortError
