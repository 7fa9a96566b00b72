"""What a client asks for, as the message of the method that its route calls."""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Mapping
from typing import Final

from aiohttp import web
from google.protobuf.message import Message

from exchange.http.bodies import read_json
from exchange.http.errors import ApiError
from exchange.http.rest import messages
from exchange.http.rest.messages import UUID_TEXT, invalid
from exchange.http.rest.table import Route

KEY_HEADER: Final = "Idempotency-Key"


def read_key(request: web.Request) -> dict[str, str]:
    """What calls send to be known.

    Raises:
        ApiError: 401: the request has no key; others are the exchange's to refuse.
    """
    authorization = request.headers.get("Authorization", "")
    if not authorization.startswith("Bearer "):
        raise ApiError(401, "KEY_MISSING", "send 'Authorization: Bearer flx_...'")
    return {"authorization": authorization}


async def read(route: Route, request: web.Request) -> Message:
    """The message.

    Raises:
        ApiError: 400, or as `read_json`: something in the request is wrong.
    """
    message = route.method.request_class()
    if route.verb == "POST":
        _refuse_query(request)
        body = await read_json(request)
        for path in sorted(route.in_path):
            _refuse_twice(body, path)
        messages.fill(message, body)
    else:
        for path in sorted(route.in_path):
            _refuse_twice(request.query, path)
        _fill_from_query(message, request)
    for parameter in route.parameters:
        _fill_from_path(message, route, parameter, request.match_info[parameter])
    _fill_key(message, route, request)
    return message


def _refuse_query(request: web.Request) -> None:
    for name in request.query:
        raise ApiError(
            400, "FIELD_UNKNOWN", f"{name!r} belongs into the body: a POST takes no query", name
        )


def _refuse_twice(given: object, path: str) -> None:
    """Refuse a field that the path says, or stands in place of."""
    *outer, name = path.split(".")
    for step in outer:
        given = given.get(step) if isinstance(given, dict) else given
    if isinstance(given, Mapping) and (name in given or path in given):
        raise invalid(path, "names what the path names already")


def _fill_from_query(message: Message, request: web.Request) -> None:
    for name in dict.fromkeys(request.query):
        texts = request.query.getall(name)
        if len(texts) > 1 and not messages.is_repeated(message, name):
            raise invalid(name, "is given more than once")
        for text in texts:
            messages.fill_text(message, name, text, name)


def _fill_from_path(message: Message, route: Route, parameter: str, text: str) -> None:
    """Fill the field that a parameter of the path stands for: a UUID is the client's own id."""
    path = route.field_of(parameter)
    if route.by_uuid and UUID_TEXT.fullmatch(text):
        path = route.by_uuid
    messages.fill_text(message, path, text, parameter)


def _fill_key(message: Message, route: Route, request: web.Request) -> None:
    """The client's own id, from the body or the header; else a fresh one, where it may be."""
    sent = request.headers.getall(KEY_HEADER, [])
    if sent and not route.key:
        raise invalid(KEY_HEADER, "has no meaning for this request: repeat it as it is")
    if not route.key or _is_set(message, route.key):
        if sent:
            raise invalid(KEY_HEADER, f"is given, and {route.key} in the body: send one of them")
        return
    if len(sent) > 1:
        raise invalid(KEY_HEADER, "is given more than once")
    if sent:
        messages.fill_text(message, route.key, _uuid7(sent[0]), KEY_HEADER)
    elif route.key_needed:
        raise invalid(
            KEY_HEADER, f"must be a UUIDv7, or {route.key} in the body: it makes a repeat harmless"
        )
    else:
        messages.fill_text(message, route.key, str(fresh_id()), KEY_HEADER)


def _uuid7(text: str) -> str:
    try:
        found = uuid.UUID(text) if UUID_TEXT.fullmatch(text) else None
    except ValueError:
        found = None
    if found is None or found.version != 7:
        raise ApiError(
            400,
            "CLIENT_ID_INVALID",
            f"{KEY_HEADER} must be a UUIDv7, such as {fresh_id()}",
            KEY_HEADER,
        )
    return text


def fresh_id() -> uuid.UUID:
    """A new UUIDv7: milliseconds since the epoch, then chance (RFC 9562, section 5.7)."""
    head = (time.time_ns() // 1_000_000).to_bytes(6, "big")
    tail = bytearray(os.urandom(10))
    tail[0] = tail[0] & 0x0F | 0x70
    tail[2] = tail[2] & 0x3F | 0x80
    return uuid.UUID(bytes=head + bytes(tail))


def _is_set(message: Message, path: str) -> bool:
    *outer, name = path.split(".")
    for step in outer:
        if not message.HasField(step):
            return False
        message = getattr(message, step)
    return bool(getattr(message, name))
