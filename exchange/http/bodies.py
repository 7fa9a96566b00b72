"""Bodies of requests: how long each and all may be, and how soon one must be here.

Nobody's key has been looked at when a body is read: these bounds are all that stands between a
stranger and the process's memory.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any, Final

from aiohttp import web

from exchange.http.errors import ApiError
from exchange.rpc.calls import MESSAGE_BYTES_MAX

BODY_BYTES_MAX: Final = MESSAGE_BYTES_MAX + (64 << 10)
"""Longest body: a message of the API and what HTTP adds."""
BODIES_BYTES_MAX: Final = 32 * BODY_BYTES_MAX
"""Bytes of the bodies of all requests under way."""
BODY_WITHIN_S: Final = 30.0
"""A body must have come by then."""
RETRY_AFTER_MS: Final = 1_000

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Bodies:
    """Counts what is held of the bodies of requests under way."""

    def __init__(self) -> None:
        self.held_bytes = 0

    @web.middleware
    async def bound(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Let a request in where there is room for its body.

        Raises:
            ApiError: 503 (OVERLOADED).
        """
        size = _size(request)
        if self.held_bytes + size > BODIES_BYTES_MAX:
            text = "too many large requests are under way; try again later"
            raise ApiError(503, "OVERLOADED", text, retry_after_ms=RETRY_AFTER_MS)
        self.held_bytes += size
        try:
            return await handler(request)
        finally:
            self.held_bytes -= size


def _size(request: web.Request) -> int:
    """Bytes that may come to be held of a body: only a POST's is read."""
    if request.method != "POST" or not request.can_read_body:
        return 0
    stated = request.content_length
    return BODY_BYTES_MAX if stated is None else min(stated, BODY_BYTES_MAX)


async def read_json(request: web.Request) -> Any:
    """The JSON of a body; an empty one is an empty object.

    Raises:
        ApiError: 400, 408, 413 or 415: it is no JSON, late, too long, or said to be something else.
    """
    if not request.can_read_body:
        return {}
    if request.content_type != "application/json":
        raise ApiError(415, "MEDIA_TYPE", "send JSON, and Content-Type: application/json")
    try:
        async with asyncio.timeout(BODY_WITHIN_S):
            body = await request.read()
    except TimeoutError as error:
        text = f"the body was not here within {BODY_WITHIN_S:g} s"
        raise ApiError(408, "BODY_LATE", text) from error
    except web.HTTPRequestEntityTooLarge as error:
        text = f"a body has at most {BODY_BYTES_MAX} bytes"
        raise ApiError(413, "BODY_TOO_LARGE", text) from error
    try:
        return json.loads(body.decode(), object_pairs_hook=_object, parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise ApiError(400, "BODY_MALFORMED", f"the body is no JSON: {error}") from error


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("an object has the same name twice")
    return found


def _no_number(text: str) -> None:
    raise ValueError(f"{text} is no number")
