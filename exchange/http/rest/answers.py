"""Serves the routes of the table: one answer as JSON, many as events or as lines."""

from __future__ import annotations

from importlib import resources

from aiohttp import web
from google.protobuf.message import Message

from exchange.http import pages
from exchange.http.bodies import require_key
from exchange.http.calls import Calls
from exchange.http.rest import messages, requests, streams
from exchange.http.rest.export import Exports
from exchange.http.rest.table import ROUTES, Route


def routes(calls: Calls) -> list[web.RouteDef]:
    """Every route of the table, the exports, and the document that describes them.

    Args:
        calls: Makes the calls of the API.
    """
    found = [
        web.RouteDef(route.verb, _pattern(route.path), _Answer(route, calls).serve, _kwargs(route))
        for route in ROUTES
    ]
    return [*found, *Exports(calls).routes, web.get("/v1/openapi.json", _Document().serve)]


def _kwargs(route: Route) -> dict[str, object]:
    """How aiohttp is to serve it: a HEAD has no body, and a stream is nothing else."""
    return {"allow_head": False} if route.verb == "GET" and route.method.responses_stream else {}


def _pattern(path: str) -> str:
    """A path as aiohttp has it: a last parameter is none of the words that stand in its place."""
    outer, _, last = path.rpartition("/")
    words = {other.path.rpartition("/") for other in ROUTES}
    taken = sorted(word for before, _, word in words if before == outer and "{" not in word)
    if "{" not in last or not taken:
        return path
    return f"{outer}/{{{last.strip('{}')}:(?!(?:{'|'.join(taken)})$)[^/]+}}"


class _Answer:
    """Answers the requests of one route."""

    def __init__(self, route: Route, calls: Calls) -> None:
        self._route = route
        self._calls = calls
        self._path = route.method.path

    async def serve(self, request: web.Request) -> web.StreamResponse:
        """Read a request, make the call, send what comes back."""
        # First of all, and before a stranger's body is read.
        metadata = requests.read_key(request)
        if self._route.verb == "POST":
            await require_key(self._calls, metadata)
        message = await requests.read(self._route, request)
        if not self._route.method.responses_stream:
            answer = await self._calls.unary(self._path, message, metadata)
            return _json(request, answer)
        async with self._calls.stream(self._path, message, metadata) as answers:
            form = streams.lines(self._route.lines) if self._route.lines else streams.EVENTS
            return await streams.send(request, answers, form)


class _Document:
    """The OpenAPI document, as it was written by `exchange.http.rest.openapi`."""

    def __init__(self) -> None:
        found = resources.files("exchange.http.rest").joinpath("openapi.json")
        self._file = pages.page_file(found.read_bytes(), "application/json")

    async def serve(self, request: web.Request) -> web.Response:
        """Send it."""
        return pages.respond(request, self._file)


def _json(request: web.Request, answer: Message) -> web.Response:
    headers = {"Cache-Control": "no-store"}
    token = getattr(answer, "next_page_token", "")
    if token:
        headers["Link"] = f'<{request.rel_url.update_query(page_token=token)}>; rel="next"'
    return web.Response(
        body=messages.to_json(answer), content_type="application/json", headers=headers
    )
