"""The interceptor around every call.

In this order: a request id, the key, whether the message can be read, a deadline, and what becomes
of exceptions. Unexpected ones are logged with the request id; the client learns the id, no more.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any, Final, NoReturn, cast

import grpc
import structlog

from exchange.core.reasons import Reason
from exchange.core.records import RecordError
from exchange.rpc import auth
from exchange.rpc.errors import RpcError, refusal
from exchange.rpc.interceptors.handlers import (
    MALFORMED,
    Context,
    Handler,
    Stream,
    Unary,
    well_formed,
    wrap,
)
from exchange.rpc.services import DEADLINE_DEFAULT_S, Services

OPEN_SERVICES: Final = ("/grpc.health.v1.Health/", "/grpc.reflection.")
"""Services that need no key: they say nothing about accounts."""

_log = structlog.get_logger(__name__)


class CallInterceptor(grpc.aio.ServerInterceptor):
    """Checks keys, sets deadlines, counts calls, and turns exceptions into typed errors."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._wrapped: dict[str, Handler] = {}

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        """See grpc.aio. Wrapped handlers are kept, as methods are few and fixed."""
        method = handler_call_details.method
        if method.startswith(OPEN_SERVICES):
            return await continuation(handler_call_details)
        found = self._wrapped.get(method)
        if found is None:
            handler: Handler | None = await continuation(handler_call_details)
            if handler is None:
                return None
            guard = _Guard(self._services, method)
            found = self._wrapped[method] = wrap(handler, guard.unary, guard.stream)
        return found


class _Guard:
    """What surrounds one method."""

    def __init__(self, services: Services, method: str) -> None:
        self._services = services
        self._method = method.removeprefix("/")

    def unary(self, inner: Unary) -> Unary:
        async def call(request: Any, context: Context) -> Any:
            try:
                request = self._begin(request, context)
                # None without a deadline, whatever the stubs say.
                left: float | None = cast("float | None", context.time_remaining())
                if left is not None:
                    return await inner(request, context)
                async with asyncio.timeout(DEADLINE_DEFAULT_S):
                    return await inner(request, context)
            except Exception as error:
                await self._fail(error, context)

        return call

    def stream(self, inner: Stream) -> Stream:
        async def call(request: Any, context: Context) -> AsyncGenerator[Any, None]:
            try:
                request = self._begin(request, context)
                async with contextlib.aclosing(inner(request, context)) as responses:
                    async for response in responses:
                        yield response
            except Exception as error:
                await self._fail(error, context)

        return call

    def _begin(self, request: Any, context: Context) -> Any:
        self._services.counters[f"calls {self._method}"] += 1
        auth.set_caller(auth.authenticate(self._services.core, context.invocation_metadata()))
        if request is MALFORMED:
            self._refuse_malformed()
        if hasattr(request, "__aiter__"):
            return well_formed(request, self._refuse_malformed)
        return request

    def _refuse_malformed(self) -> NoReturn:
        raise RpcError(
            grpc.StatusCode.INVALID_ARGUMENT,
            "MESSAGE_MALFORMED",
            "the bytes are not this method's message; text fields must be valid UTF-8",
        )

    async def _fail(self, error: Exception, context: Context) -> NoReturn:
        if isinstance(error, grpc.aio.AbortError):
            raise error
        known = self._known(error)
        self._services.counters[f"errors {self._method} {known.reason}"] += 1
        await known.send(context)

    def _known(self, error: Exception) -> RpcError:
        if isinstance(error, RpcError):
            return error
        if isinstance(error, RecordError):
            return refusal(Reason.FIELD_INVALID, "a value does not fit its field")
        if isinstance(error, TimeoutError):
            return RpcError(
                grpc.StatusCode.DEADLINE_EXCEEDED,
                "DEADLINE_DEFAULT",
                f"the call stated no deadline and took over {DEADLINE_DEFAULT_S:g} s",
                {"deadline_s": DEADLINE_DEFAULT_S},
            )
        request_id = secrets.token_hex(8)
        _log.error(
            "a call failed unexpectedly",
            request_id=request_id,
            method=self._method,
            exc_info=error,
        )
        return RpcError(
            grpc.StatusCode.INTERNAL,
            "INTERNAL",
            f"something is wrong with the exchange; its log tells more under {request_id}",
            {"request_id": request_id},
        )
