"""Answers calls of the API beside the core: finds the method and guards it.

In this order: the key, how much its account has open, a deadline, whether the message can be read,
and what becomes of exceptions. Unexpected ones are logged with a request id; the client learns the
id, no more.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, TypeVar

import structlog
from google.protobuf.message import Message

from exchange.core.reasons import Reason
from exchange.core.records import RecordError
from exchange.engine import PENDING_BYTES_MAX, PENDING_COMMANDS_MAX, Outcome
from exchange.rpc import auth
from exchange.rpc.accounts import AccountServicer
from exchange.rpc.admin import AdminServicer
from exchange.rpc.calls import AskedCall, IncomingCall
from exchange.rpc.errors import Code, RpcError, refusal
from exchange.rpc.inside import INSIDE, JOBS, KEYS, PUBLIC, KeyServicer
from exchange.rpc.job_blobs import JobBlobs
from exchange.rpc.jobs import JobServicer
from exchange.rpc.market_data import MarketDataServicer
from exchange.rpc.methods import METHODS, WEBHOOKS, Behaviour, Method
from exchange.rpc.open_calls import Call
from exchange.rpc.orders import OrderServicer
from exchange.rpc.services import DEADLINE_DEFAULT_S, Intent, Services
from exchange.rpc.sessions import SessionConfig, SessionHub
from exchange.rpc.streams import Queue
from exchange.rpc.workers import WorkerServicer

REQUEST_WITHIN_S: Final = 10.0
"""The request of a stream of responses must have come within this time."""

_NOTHING: Final = contextlib.nullcontext[None]()
_log = structlog.get_logger(__name__)
T = TypeVar("T")
Intend = Callable[[auth.Caller, Any], Intent | Message]
"""What a servicer makes of a request that is one command, or the response where it is none."""


class LocalApi:
    """The API's methods, answered here.

    Args:
        services: What the servicers work with; its hubs are made here.
        sessions: How long workers may be silent or away.
        webhooks: Who answers `WEBHOOKS`; None: nobody here.
    """

    def __init__(
        self,
        services: Services,
        sessions: SessionConfig | None = None,
        webhooks: object | None = None,
    ) -> None:
        self._services = services
        engine = services.engine
        services.queues["engine_commands"] = Queue(lambda: engine.pending, PENDING_COMMANDS_MAX)
        services.queues["engine_bytes"] = Queue(lambda: engine.pending_bytes, PENDING_BYTES_MAX)
        services.job_blobs = JobBlobs(services)
        services.sessions = SessionHub(services, sessions)
        # Before the servicers' own readers, so that what those read is up to date.
        for reader in (
            services.history,
            services.outputs,
            services.job_blobs,
            services.sessions,
            services.open_calls,
        ):
            services.engine.subscribe(reader.on_group)
        market_data, jobs = MarketDataServicer(services), JobServicer(services)
        orders = OrderServicer(services)
        self._intents = {
            f"/exchange.v1.OrderService/{name}": intent for name, intent in orders.intents().items()
        }
        self._behaviours = _behaviours(
            {
                "exchange.v1.AccountService": AccountServicer(services),
                "exchange.v1.AdminService": AdminServicer(services),
                "exchange.v1.JobService": jobs,
                "exchange.v1.MarketDataService": market_data,
                "exchange.v1.OrderService": orders,
                "exchange.v1.WorkerService": WorkerServicer(services),
                JOBS: jobs,
                KEYS: KeyServicer(services.drain),
                PUBLIC: market_data,
                **({WEBHOOKS: webhooks} if webhooks is not None else {}),
            }
        )

    def start(self) -> None:
        """Begin what goes on beside calls."""
        self._services.job_blobs.start()
        self._services.sessions.start()

    def drain(self) -> None:
        """Take no new work from now on, and let streams say goodbye."""
        self._services.drain.begin()

    async def stop(self) -> None:
        """End what goes on beside calls. The engine must run until this returns."""
        self._services.drain.begin()
        await self._services.sessions.stop()
        await self._services.job_blobs.stop()

    async def serve(self, call: IncomingCall) -> None:
        """See `Api`."""
        method = METHODS.get(call.method) or INSIDE.get(call.method)
        if method is None or method.path not in self._behaviours:
            raise _unanswered(method)
        name = call.method.removeprefix("/")
        self._services.counters[f"calls {name}"] += 1
        try:
            if method.responses_stream:
                await self._stream(method, call)
            else:
                await self._unary(method, call)
        except Exception as error:
            raise self._failed(error, name) from error

    def take(self, call: AskedCall) -> bool:
        """See `PromptApi`: what is one command needs no task to wait for it."""
        intend = self._intents.get(call.method)
        if intend is None:
            return False
        name = call.method.removeprefix("/")
        self._services.counters[f"calls {name}"] += 1
        try:
            self._begin(call, name, intend)
        except Exception as error:
            call.fail(self._failed(error, name))
        return True

    def _begin(self, call: AskedCall, name: str, intend: Intend) -> None:
        began_ns = time.perf_counter_ns()
        caller = auth.authenticate(self._services.core, call.metadata)
        held = self._services.open_calls.hold(caller)
        held.begin()
        call.on_end(held.end)
        if call.left_s is None:
            late = _late(DEADLINE_DEFAULT_S, "DEADLINE_DEFAULT", "a call that states no deadline")
            loop = asyncio.get_running_loop()
            expiry = loop.call_later(
                DEADLINE_DEFAULT_S, lambda: call.fail(self._failed(late, name))
            )
            call.on_end(expiry.cancel)
        intent = intend(caller, METHODS[call.method].decode(call.request))
        self._services.engine.stats.decode_ns += time.perf_counter_ns() - began_ns
        if isinstance(intent, Message):
            call.answer(intent.SerializeToString())
            return
        respond = intent.respond

        def done(result: Outcome | RpcError) -> None:
            try:
                if isinstance(result, RpcError):
                    raise result
                call.answer(respond(result).SerializeToString())
            except Exception as error:
                call.fail(self._failed(error, name))

        self._services.begin(intent.command, done)

    def _failed(self, error: Exception, name: str) -> RpcError:
        known = _known(error, name)
        self._services.counters[f"errors {name} {known.reason}"] += 1
        return known

    async def _unary(self, method: Method, call: IncomingCall) -> None:
        behaviour = self._behaviours[method.path]
        with self._hold(call) if method.needs_key else _NOTHING:
            # A call that states a deadline ends by it; who states none gets one.
            answering = _answer(method, behaviour, call)
            if call.left_s is not None:
                await answering
            else:
                await _within(
                    DEADLINE_DEFAULT_S,
                    answering,
                    "DEADLINE_DEFAULT",
                    "a call that states no deadline",
                )

    async def _stream(self, method: Method, call: IncomingCall) -> None:
        """A stream of responses, which ends once its key is revoked."""
        behaviour = self._behaviours[method.path]
        self._services.streams += 1
        task = asyncio.current_task()
        held = None
        try:
            with self._hold(call, task) if method.needs_key else _NOTHING as held:
                if method.requests_stream:
                    request = method.requests(call)
                else:
                    request = await _within(
                        REQUEST_WITHIN_S,
                        method.only_request(call),
                        "MESSAGE_MISSING",
                        "the call's message",
                    )
                async with contextlib.aclosing(behaviour(request, call)) as responses:
                    async for response in responses:
                        writing = call.write(response.SerializeToString())
                        await (writing if held is None else held.through(writing))
        except asyncio.CancelledError:
            if task is None or held is None or not held.revoked:
                raise
            task.uncancel()
            raise auth.key_unknown() from None
        finally:
            self._services.streams -= 1

    def _hold(
        self, call: IncomingCall, task: asyncio.Task[object] | None = None
    ) -> contextlib.AbstractContextManager[Call]:
        """Check the key and count the call."""
        caller = auth.authenticate(self._services.core, call.metadata)
        auth.set_caller(caller)
        return self._services.open_calls.hold(caller, task)


def _behaviours(servicers: Mapping[str, object]) -> dict[str, Behaviour]:
    """What each method does; one of the API that no servicer has fails here."""
    return {
        path: getattr(servicers[method.service], method.name)
        for path, method in {**METHODS, **INSIDE}.items()
        if method.service != WEBHOOKS or method.service in servicers
    }


async def _answer(method: Method, behaviour: Behaviour, call: IncomingCall) -> None:
    request = await method.only_request(call)
    response = await behaviour(request, call)
    await call.write(response.SerializeToString())


async def _within(seconds: float, doing: Awaitable[T], reason: str, what: str) -> T:
    """Wait for it so long.

    Raises:
        RpcError: DEADLINE_EXCEEDED, for this reason.
    """
    try:
        async with asyncio.timeout(seconds):
            return await doing
    except TimeoutError as error:
        raise _late(seconds, reason, what) from error


def _late(seconds: float, reason: str, what: str) -> RpcError:
    return RpcError(
        Code.DEADLINE_EXCEEDED,
        reason,
        f"{what} took over {seconds:g} s",
        {"deadline_s": seconds},
    )


def _unanswered(method: Method | None) -> RpcError:
    """Nobody here answers this method."""
    text = "there is no such method"
    if method is not None and method.service == WEBHOOKS:
        text = "this exchange keeps no read model, so it has neither webhooks nor alerts"
    return RpcError(Code.UNIMPLEMENTED, "UNIMPLEMENTED", text)


def _known(error: Exception, method: str) -> RpcError:
    if isinstance(error, RpcError):
        return error
    if isinstance(error, RecordError):
        return refusal(Reason.FIELD_INVALID, "a value does not fit its field")
    request_id = secrets.token_hex(8)
    _log.error("a call failed unexpectedly", request_id=request_id, method=method, exc_info=error)
    return RpcError(
        Code.INTERNAL,
        "INTERNAL",
        f"something is wrong with the exchange; its log tells more under {request_id}",
        {"request_id": request_id},
    )
