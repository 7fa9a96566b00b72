"""The interceptor around every call.

In this order: the key, how much its account has open, a deadline, whether the message can be read,
and what becomes of exceptions. Unexpected ones are logged with a request id; the client learns the
id, no more.
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
from exchange.rpc.errors import RpcError, draining, refusal
from exchange.rpc.interceptors.handlers import (
    Context,
    Handler,
    Requests,
    Stream,
    Take,
    Unary,
    wrap,
)
from exchange.rpc.open_calls import Call
from exchange.rpc.services import DEADLINE_DEFAULT_S, Services

OPEN_SERVICES: Final = ("/grpc.health.v1.Health/", "/grpc.reflection.")
"""Services that need no key: they say nothing about accounts."""

REQUEST_WITHIN_S: Final = 10.0
"""The request of a stream of responses must have come within this time."""
OPEN_STREAMS_LAST_S: Final = 0.2
"""Once the exchange drains, watchers of its health get this long to hear of it; then they end."""

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
        found = self._wrapped.get(method)
        if found is None:
            handler: Handler | None = await continuation(handler_call_details)
            if handler is None:
                return None
            of_open_service = method.startswith(OPEN_SERVICES)
            guard = (_OpenGuard if of_open_service else _Guard)(self._services, method)
            found = self._wrapped[method] = wrap(handler, guard.unary, guard.stream)
        return found


class _Guard:
    """What surrounds one method."""

    def __init__(self, services: Services, method: str) -> None:
        self._services = services
        self._method = method.removeprefix("/")

    def unary(self, inner: Unary, take: Take) -> Unary:
        """The method's behaviour between the checks; `take` reads its request."""

        async def call(requests: Requests, context: Context) -> Any:
            try:
                with self._hold(context):
                    # None without a deadline, whatever the stubs say.
                    left: float | None = cast("float | None", context.time_remaining())
                    if left is not None:
                        return await inner(await take(requests, context), context)
                    async with asyncio.timeout(DEADLINE_DEFAULT_S):
                        return await inner(await take(requests, context), context)
            except Exception as error:
                await self._fail(error, context)

        return call

    def stream(self, inner: Stream, take: Take) -> Stream:
        """The same for a stream of responses, which ends once its key is revoked."""

        async def call(requests: Requests, context: Context) -> AsyncGenerator[Any, None]:
            self._services.streams += 1
            task = asyncio.current_task()
            held = None
            try:
                with self._hold(context, task) as held:
                    request = await self._take_soon(take, requests, context)
                    async with contextlib.aclosing(inner(request, context)) as responses:
                        async for response in responses:
                            yield response
            except asyncio.CancelledError:
                if task is None or held is None or not held.revoked:
                    raise
                task.uncancel()
                await self._fail(auth.key_unknown(), context)
            except Exception as error:
                await self._fail(error, context)
            finally:
                self._services.streams -= 1

        return call

    async def _take_soon(self, take: Take, requests: Requests, context: Context) -> Any:
        """The request of a stream of responses: it may last for ever once that has come."""
        try:
            async with asyncio.timeout(REQUEST_WITHIN_S):
                return await take(requests, context)
        except TimeoutError as error:
            raise RpcError(
                grpc.StatusCode.DEADLINE_EXCEEDED,
                "MESSAGE_MISSING",
                f"the call's message did not come within {REQUEST_WITHIN_S:g} s",
            ) from error

    def _hold(
        self, context: Context, task: asyncio.Task[Any] | None = None
    ) -> contextlib.AbstractContextManager[Call]:
        """Check the key and count the call."""
        self._services.counters[f"calls {self._method}"] += 1
        caller = auth.authenticate(self._services.core, context.invocation_metadata())
        auth.set_caller(caller)
        return self._services.open_calls.hold(caller, task)

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


class _OpenGuard(_Guard):
    """What surrounds a method that needs no key: few of them at a time."""

    def stream(self, inner: Stream, take: Take) -> Stream:
        """Servicers that gRPC brings yield their responses or write them; so this one writes."""

        async def call(requests: Requests, context: Context) -> None:
            task = asyncio.current_task()
            assert task is not None
            drain = self._services.drain
            later = asyncio.get_running_loop().call_later

            def end_soon() -> None:
                later(OPEN_STREAMS_LAST_S, task.cancel)

            try:
                with self._hold(context), drain.calls(end_soon):
                    request = await self._take_soon(take, requests, context)
                    answering: Any = inner(request, context)
                    if hasattr(answering, "__aiter__"):
                        async for response in answering:
                            await context.write(response)
                    else:
                        await answering
            except asyncio.CancelledError:
                if not drain.active:
                    raise
                task.uncancel()
                await self._fail(draining(), context)
            except Exception as error:
                await self._fail(error, context)

        return cast("Stream", call)

    def _hold(
        self, context: Context, task: asyncio.Task[Any] | None = None
    ) -> contextlib.AbstractContextManager[Call]:
        del context, task
        return self._services.open_calls.hold_without_key()
