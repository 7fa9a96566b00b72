"""Serves the routes of the table: one answer as JSON, many as events or as lines."""

from __future__ import annotations

from aiohttp import web
from google.protobuf.message import Message

from exchange.http.calls import Calls
from exchange.http.rest import messages, requests, streams
from exchange.http.rest.table import ROUTES, Route


def routes(calls: Calls) -> list[web.RouteDef]:
    """Every route of the table.

    Args:
        calls: Makes the calls of the API.
    """
    return [
        web.RouteDef(route.verb, route.path, _Answer(route, calls).serve, {}) for route in ROUTES
    ]


class _Answer:
    """Answers the requests of one route."""

    def __init__(self, route: Route, calls: Calls) -> None:
        self._route = route
        self._calls = calls
        self._path = route.method.path

    async def serve(self, request: web.Request) -> web.StreamResponse:
        """Read a request, make the call, send what comes back."""
        message = await requests.read(self._route, request)
        metadata = {"authorization": request.headers.get("Authorization", "")}
        if not self._route.method.responses_stream:
            answer = await self._calls.unary(self._path, message, metadata)
            return _json(request, answer)
        async with self._calls.stream(self._path, message, metadata) as answers:
            form = streams.lines(self._route.lines) if self._route.lines else streams.EVENTS
            return await streams.send(request, answers, form)


def _json(request: web.Request, answer: Message) -> web.Response:
    headers = {"Cache-Control": "no-store"}
    token = getattr(answer, "next_page_token", "")
    if token:
        headers["Link"] = f'<{request.rel_url.update_query(page_token=token)}>; rel="next"'
    return web.Response(
        body=messages.to_json(answer), content_type="application/json", headers=headers
    )
