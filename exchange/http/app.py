"""The HTTP server: routes, what surrounds each request, start and stop."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

import msgspec
import structlog
from aiohttp import web
from aiohttp.http import HttpProcessingError
from aiohttp.log import server_logger
from prometheus_client.registry import Collector

from exchange.http import errors, pages, rest
from exchange.http.addresses import split_address
from exchange.http.bodies import (
    BODIES,
    BODIES_BYTES_MAX,
    BODY_BYTES_MAX,
    READ_AHEAD_BYTES,
    Bodies,
)
from exchange.http.calls import UNREAD_MAX, Calls
from exchange.http.errors import ApiError
from exchange.http.feed import OverviewFeed
from exchange.http.listener import CONNECTIONS_MAX, KEEPALIVE_S, Listener
from exchange.http.market.sockets import MarketSockets
from exchange.http.metrics import CONTENT_TYPE, EdgeMetrics
from exchange.http.openai import OpenAiApi
from exchange.http.openai.runs import LINGERING_MAX
from exchange.http.sockets import OverviewSockets
from exchange.http.views import Views
from exchange.rpc.errors import RpcError

CLOSE_WITHIN_S: Final = 2.0
"""How long requests get to finish when the server stops."""

SECURITY_HEADERS: Final = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
"""On every response."""

_log = structlog.get_logger(__name__)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class HttpServer:
    """Serves the page, the overview, health and metrics until stopped.

    Args:
        calls: Makes the calls of the API that requests ask for.
        views: Where to read what is no call.
        address: host:port to listen on; port 0 lets the system choose.
        connections: Connections open at the same time.
        collector: More metrics of this process, which another edge of it knows.
        default_values: By account, what an answer over the OpenAI-compatible API is worth where the
            request does not say, nano-dollars.
    """

    def __init__(
        self,
        calls: Calls,
        views: Views,
        address: str,
        connections: int = CONNECTIONS_MAX,
        collector: Collector | None = None,
        default_values: Mapping[str, int] | None = None,
    ) -> None:
        self._calls = calls
        self._views = views
        self._address = address
        self._listener = Listener(connections)
        self._feed = OverviewFeed(views)
        self._sockets = OverviewSockets(self._feed)
        self._market = MarketSockets(calls)
        self._bodies = Bodies()
        self._openai = OpenAiApi(calls, default_values or {})
        self._metrics = EdgeMetrics(
            lambda: len(self._sockets), self._queues, self._market, collector
        )
        self._files = pages.load()
        self._runner = web.AppRunner(
            self._application(),
            access_log=None,
            shutdown_timeout=CLOSE_WITHIN_S,
            # Who goes away wants no answer any more: its calls end, too.
            handler_cancellation=True,
            keepalive_timeout=KEEPALIVE_S,
            read_bufsize=READ_AHEAD_BYTES,
            # What is counted of a body is then what is held of it.
            auto_decompress=False,
            logger=_ServerLog(server_logger, {}),
        )

    def _application(self) -> web.Application:
        app = web.Application(
            middlewares=[self._note, _surround],
            client_max_size=BODY_BYTES_MAX,
        )
        app[BODIES] = self._bodies
        app.router.add_get("/", self._page)
        app.router.add_get("/static/{path:.+}", self._static)
        app.router.add_get("/healthz", self._healthz)
        app.router.add_get("/metrics", self._exposition)
        app.router.add_get("/v1/overview", self._overview)
        app.router.add_routes(self._openai.routes())
        app.router.add_get("/ws/v1/overview", self._sockets.handle, allow_head=False)
        app.router.add_routes(self._market.routes)
        app.router.add_routes(rest.routes(self._calls))
        app.on_response_prepare.append(_secure)
        return app

    async def start(self) -> int:
        """Begin to serve; the port.

        Raises:
            OSError: the address cannot be had.
            ValueError: the address is not host:port.
        """
        host, port = split_address(self._address)
        await self._runner.setup()
        server = self._runner.server
        assert server is not None
        try:
            return await self._listener.open(server, host, port)
        except OSError as error:
            await self._runner.cleanup()
            raise OSError(f"cannot listen for HTTP on {self._address}: {error}") from error

    async def stop(self) -> None:
        """Close the WebSockets and the port; may be called again."""
        self._listener.close()
        await asyncio.gather(self._sockets.close(), self._market.close())
        await self._runner.cleanup()
        await self._openai.close()

    def _queues(self) -> dict[str, tuple[int, int]]:
        """What can fill up here, by name: how full it is, and where it ends."""
        return {
            "connections": (len(self._listener), self._listener.most),
            "body_bytes": (self._bodies.held_bytes, BODIES_BYTES_MAX),
            "stream_messages": (self._calls.deepest(), UNREAD_MAX),
            "lingering_jobs": (self._openai.lingering, LINGERING_MAX),
        }

    @web.middleware
    async def _note(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        self._listener.spoke(request)
        return await handler(_with_known_scheme(request))

    async def _page(self, request: web.Request) -> web.Response:
        return pages.respond(request, self._files["index.html"])

    async def _static(self, request: web.Request) -> web.Response:
        file = self._files.get(request.match_info["path"])
        if file is None:
            raise web.HTTPNotFound
        return pages.respond(request, file)

    async def _healthz(self, _: web.Request) -> web.Response:
        status = self._views.state
        return _json(msgspec.json.encode({"status": status}), 200 if status == "ok" else 503)

    async def _exposition(self, _: web.Request) -> web.Response:
        body = await self._views.exposition() + self._metrics.exposition()
        return web.Response(body=body, headers={"Content-Type": CONTENT_TYPE})

    async def _overview(self, _: web.Request) -> web.Response:
        return _json((await self._views.overview(-1, 0)).text)


def _json(body: bytes, status: int = 200) -> web.Response:
    return web.Response(
        body=body,
        status=status,
        content_type="application/json",
        headers={"Cache-Control": "no-store"},
    )


@web.middleware
async def _surround(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Every failure as a typed error."""
    try:
        answer = await handler(request)
    except ApiError as error:
        answer = errors.response(error)
    except RpcError as error:
        answer = errors.response(_told(error))
    except web.HTTPException as error:
        answer = _refused(request, error)
    except Exception as error:
        answer = _failed(request, error)
    return answer


def _with_known_scheme(request: web.Request) -> web.Request:
    """The request with "Bearer" as everything behind here expects it: HTTP takes it in any case."""
    scheme, space, key = request.headers.get("Authorization", "").partition(" ")
    if not space or scheme == "Bearer" or scheme.lower() != "bearer":
        return request
    headers = [item for item in request.headers.items() if item[0].lower() != "authorization"]
    headers.append(("Authorization", f"Bearer {key.strip()}"))
    try:
        return request.clone(headers=headers)
    except UnicodeEncodeError:
        # Another header is no text, and aiohttp cannot write that down again: it stays as it is.
        return request


def _told(error: RpcError) -> ApiError:
    """A refusal, in HTTP's words."""
    known = errors.of_rpc(error)
    if error.reason == "KEY_MISSING":
        text = "send the header 'Authorization: Bearer flx_...' with an API key of 47 characters"
        return ApiError(known.status, error.reason, text)
    return known


async def _secure(_: web.Request, answer: web.StreamResponse) -> None:
    answer.headers.update(SECURITY_HEADERS)


def _refused(request: web.Request, error: web.HTTPException) -> web.Response:
    """What aiohttp itself refuses, in our form."""
    if error.status == 404:
        known = ApiError(404, "NOT_FOUND", f"there is nothing at {request.path}")
        return errors.response(known)
    if isinstance(error, web.HTTPMethodNotAllowed):
        allowed = error.headers["Allow"]
        known = ApiError(405, "METHOD_NOT_ALLOWED", f"{request.path} takes {allowed} only")
        return errors.response(known, {"Allow": allowed})
    return errors.response(ApiError(error.status, "BAD_REQUEST", error.reason))


def _failed(request: web.Request, error: Exception) -> web.Response:
    request_id = secrets.token_hex(8)
    _log.error("a request failed", request_id=request_id, path=request.path, exc_info=error)
    text = f"something is wrong with the exchange; its log tells more under {request_id}"
    return errors.response(ApiError(500, "INTERNAL", text))


class _ServerLog(logging.LoggerAdapter[logging.Logger]):
    """aiohttp's log, without the noise that strangers make: what is no HTTP is no fault of ours."""

    def exception(self, msg: object, *args: object, exc_info: Any = True, **kwargs: Any) -> None:
        """See `logging.Logger`."""
        log = self.debug if isinstance(exc_info, HttpProcessingError) else self.error
        log(msg, *args, exc_info=exc_info, **kwargs)
