"""Bodies of requests: whose, how long each and all may be, and how soon one must be here.

A body is read once its key has been looked up. What comes of it is counted as it comes, until it
has been decoded: these bounds are all that stands between what is sent and the process's memory.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from aiohttp import web
from aiohttp.http import HttpProcessingError

from exchange.http.calls import Calls
from exchange.http.errors import ApiError
from exchange.rpc.calls import MESSAGE_BYTES_MAX
from exchange.v1.account_service_pb2 import GetAccountRequest

BODY_BYTES_MAX: Final = MESSAGE_BYTES_MAX + (64 << 10)
"""Longest body: a message of the API and what HTTP adds."""
BODIES_BYTES_MAX: Final = 32 * BODY_BYTES_MAX
"""Bytes of all bodies that are being read and decoded."""
READ_AHEAD_BYTES: Final = 16 << 10
"""Once so much of a body waits to be read, nothing more is taken from its connection."""
BODY_WITHIN_S: Final = 30.0
"""A body must have come by then."""
RETRY_AFTER_MS: Final = 1_000

_GET_ACCOUNT: Final = "/exchange.v1.AccountService/GetAccount"


async def require_key(calls: Calls, metadata: Mapping[str, str]) -> None:
    """Go on only with a key of this exchange: nothing of a stranger's body is read.

    Raises:
        RpcError: the key is refused, or nobody can say.
    """
    # Any key may ask this, and no call is cheaper.
    await calls.unary(_GET_ACCOUNT, GetAccountRequest(), metadata)


class Bodies:
    """Counts what is held of the bodies that are being read."""

    def __init__(self) -> None:
        self.held_bytes = 0

    @contextlib.contextmanager
    def reading(self) -> Iterator[Callable[[int], None]]:
        """Inside, one more body is read: tell the function how many bytes more have come.

        It raises `ApiError` (503, OVERLOADED) where there is no room for them.
        """
        own = 0

        def hold(count: int) -> None:
            nonlocal own
            if self.held_bytes + count > BODIES_BYTES_MAX:
                text = "too many large requests are under way; try again later"
                raise ApiError(503, "OVERLOADED", text, retry_after_ms=RETRY_AFTER_MS)
            self.held_bytes += count
            own += count

        try:
            yield hold
        finally:
            self.held_bytes -= own


BODIES: Final = web.AppKey("bodies", Bodies)
"""Where an application keeps its own."""


async def read_json(request: web.Request) -> Any:
    """The JSON of a body; an empty one is an empty object.

    Raises:
        ApiError: 400, 408, 413, 415 or 503: it is no JSON, late, too long, said to be something
            else, or one too many.
    """
    if not request.can_read_body:
        return {}
    if request.content_type != "application/json":
        raise ApiError(415, "MEDIA_TYPE", "send JSON, and Content-Type: application/json")
    _refuse_encoded(request)
    with request.app[BODIES].reading() as hold:
        return _decode(await _read(request, hold))


def _refuse_encoded(request: web.Request) -> None:
    """Take no body in another form: a few bytes of it may stand for very many."""
    for given in request.headers.getall("Content-Encoding", ()):
        for coding in given.split(","):
            if coding.strip().lower() not in ("", "identity"):
                text = "send the body as it is: no Content-Encoding is taken"
                raise ApiError(415, "MEDIA_TYPE", text)


async def _read(request: web.Request, hold: Callable[[int], None]) -> bytearray:
    body = bytearray()
    too_large = ApiError(413, "BODY_TOO_LARGE", f"a body has at most {BODY_BYTES_MAX} bytes")
    if (request.content_length or 0) > BODY_BYTES_MAX:
        raise too_large
    try:
        async with asyncio.timeout(BODY_WITHIN_S):
            while chunk := await request.content.readany():
                if len(body) + len(chunk) > BODY_BYTES_MAX:
                    raise too_large
                hold(len(chunk))
                body += chunk
    except TimeoutError as error:
        text = f"the body was not here within {BODY_WITHIN_S:g} s"
        raise ApiError(408, "BODY_LATE", text) from error
    except (web.RequestPayloadError, HttpProcessingError) as error:
        text = f"the body cannot be read: {error}"
        raise ApiError(400, "BODY_MALFORMED", text) from error
    return body


def _decode(body: bytearray) -> Any:
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
