"""gRPC's calls as calls of the API: bytes pass as they are.

A method with one request is given to gRPC as one with a stream of them, which looks the same on the
wire. So its behaviour begins before the message has come: the key is checked before anything is
read, and a call whose message never comes is counted and ends.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, NoReturn, cast

import grpc

from exchange.gateway.admission import Admission
from exchange.rpc.calls import Api
from exchange.rpc.errors import DETAILS_KEY, RpcError
from exchange.rpc.methods import METHODS, Method

STATUS: Final = {code.value[0]: code for code in grpc.StatusCode}
"""gRPC's statuses by their numbers."""

Context = grpc.aio.ServicerContext[Any, Any]
Handler = Any  # grpc.RpcMethodHandler is generic in the stubs only


class GrpcCall:
    """One call of gRPC's as an `IncomingCall`."""

    __slots__ = ("_context", "method")

    single = False

    def __init__(self, method: str, context: Context) -> None:
        self.method = method
        self._context = context

    @property
    def metadata(self) -> Mapping[str, str]:
        """See `IncomingCall`: what is text of it."""
        pairs = self._context.invocation_metadata() or ()
        return {name: value for name, value in pairs if isinstance(value, str)}

    @property
    def left_s(self) -> float | None:
        """See `IncomingCall`."""
        # None without a deadline, whatever the stubs say.
        return cast("float | None", self._context.time_remaining())

    async def read(self) -> bytes | None:
        """See `IncomingCall`."""
        message: Any = await self._context.read()
        return None if message is grpc.aio.EOF else cast("bytes", message)

    async def write(self, message: bytes) -> None:
        """See `IncomingCall`."""
        await self._context.write(message)

    def on_end(self, callback: Callable[[], object]) -> None:
        """See `IncomingCall`."""
        self._context.add_done_callback(lambda _: callback())  # type: ignore[arg-type]


class UnaryGrpcCall(GrpcCall):
    """A call with one response, which gRPC sends together with the status."""

    __slots__ = ("response",)

    single = True

    def __init__(self, method: str, context: Context) -> None:
        super().__init__(method, context)
        self.response = b""

    async def write(self, message: bytes) -> None:
        """See `IncomingCall`."""
        self.response = message


class ApiHandlers(grpc.GenericRpcHandler):
    """Handlers of all methods of the API."""

    def __init__(self, api: Api, admission: Admission) -> None:
        self._api = api
        self._admission = admission
        self._handlers = {path: self._handler(method) for path, method in METHODS.items()}

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Handler:
        """See gRPC: who serves this method; None where nobody does."""
        return self._handlers.get(handler_call_details.method)

    def _handler(self, method: Method) -> Handler:
        path = method.path

        async def unary(_: object, context: Context) -> bytes:
            call = UnaryGrpcCall(path, context)
            await self._serve(call, context)
            return call.response

        async def stream(_: object, context: Context) -> None:
            await self._serve(GrpcCall(path, context), context)

        if method.responses_stream:
            return grpc.stream_stream_rpc_method_handler(cast("Any", stream))
        return grpc.stream_unary_rpc_method_handler(cast("Any", unary))

    async def _serve(self, call: GrpcCall, context: Context) -> None:
        try:
            with self._admission.admit():
                await self._api.serve(call)
        except RpcError as error:
            await send(error, context)


async def send(error: RpcError, context: Context) -> NoReturn:
    """End a call with an error and its details."""
    await context.abort(STATUS[error.code], error.message, ((DETAILS_KEY, error.details()),))
