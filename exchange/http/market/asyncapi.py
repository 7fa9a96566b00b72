"""The AsyncAPI document of market data: made from the messages themselves, so that it cannot lag.

Payloads are the gRPC messages, whose schemas come from their descriptors; what clients say comes
from the structures that it is read with.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

import msgspec
from aiohttp import web
from google.protobuf.descriptor import FieldDescriptor

import exchange
from exchange.http.market.channels import CHANNELS, SOCKET_PATH
from exchange.http.market.requests import Auth, Ping, Request, Subscribe, Unsubscribe
from exchange.rpc.inside import INSIDE

PATH: Final = "/v1/asyncapi.json"

Json = dict[str, Any]

INSTRUMENT: Final = "smollm2-135m/cpu/interactive"
EXAMPLES: Final[Mapping[str, tuple[type[msgspec.Struct], tuple[Json, ...]]]] = {
    "auth": (Auth, ({"method": "auth", "key": "flx_" + 43 * "x", "id": 1},)),
    "subscribe": (
        Subscribe,
        tuple(
            {"method": "subscribe", "channel": channel, "instrument": INSTRUMENT, **more, "id": 2}
            for channel, more in (
                ("book", {"depth": 10}),
                ("best", {}),
                ("trades", {"recent": 50}),
                ("orders", {}),
            )
        ),
    ),
    "unsubscribe": (
        Unsubscribe,
        ({"method": "unsubscribe", "channel": "book", "instrument": INSTRUMENT, "id": 3},),
    ),
    "ping": (Ping, ({"method": "ping", "id": "any"},)),
}
"""What clients say, by its method, with examples that the exchange understands."""

_ID: Final[Json] = {"type": ["integer", "string", "null"]}
_ERROR: Final[Json] = {
    "type": "object",
    "required": ["message", "type", "code", "param"],
    "properties": {
        "message": {"type": "string"},
        "type": {"enum": ["invalid_request_error", "server_error"]},
        "code": {"type": "string", "description": "The reason, as over gRPC."},
        "param": {"type": ["string", "null"]},
        "retry_after_ms": {"type": "integer"},
        "resume_from": {"type": "string", "description": "Of SLOW_READER: what was sent last."},
    },
}
_SCALARS: Final[Mapping[int, Json]] = {
    FieldDescriptor.CPPTYPE_BOOL: {"type": "boolean"},
    FieldDescriptor.CPPTYPE_INT32: {"type": "integer"},
    FieldDescriptor.CPPTYPE_UINT32: {"type": "integer", "minimum": 0},
    FieldDescriptor.CPPTYPE_INT64: {"type": "string", "pattern": "^-?[0-9]+$"},
    FieldDescriptor.CPPTYPE_UINT64: {"type": "string", "pattern": "^[0-9]+$"},
    FieldDescriptor.CPPTYPE_STRING: {"type": "string"},
}


def routes() -> list[web.RouteDef]:
    """Serves the document."""
    made = document()

    async def serve(request: web.Request) -> web.Response:
        server = {**made["servers"]["exchange"], "host": request.host}
        found = {**made, "servers": {"exchange": server}}
        body = msgspec.json.encode(found)
        return web.Response(body=body, content_type="application/json")

    return [web.get(PATH, serve)]


def document() -> Json:
    """The whole document."""
    messages = dict([*_said(), *_told()])
    names = {name: {"$ref": f"#/components/messages/{name}"} for name in messages}
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Flopex market data",
            "version": exchange.__version__,
            "license": {"name": "Apache-2.0"},
            "description": "Books, best prices, trades and orders: gRPC's messages as ProtoJSON.",
        },
        "defaultContentType": "application/json",
        "servers": {
            "exchange": {
                "host": "127.0.0.1:7412",
                "protocol": "ws",
                "security": [{"$ref": "#/components/securitySchemes/key"}],
            }
        },
        "channels": {"market": {"address": SOCKET_PATH, "messages": names}},
        "operations": {
            "hear": _operation("receive", "What clients say.", EXAMPLES),
            "tell": _operation("send", "What they are told.", names.keys() - EXAMPLES.keys()),
        },
        "components": {
            "messages": messages,
            "schemas": {**_request_schemas(), **_payload_schemas(), "Error": _ERROR},
            "securitySchemes": {
                "key": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "In the request's header, or in a first message `auth`.",
                }
            },
        },
    }


def _operation(action: str, summary: str, names: Any) -> Json:
    return {
        "action": action,
        "summary": summary,
        "channel": {"$ref": "#/channels/market"},
        "messages": [{"$ref": f"#/channels/market/messages/{name}"} for name in sorted(names)],
    }


def _said() -> Iterator[tuple[str, Json]]:
    for name, (kind, examples) in EXAMPLES.items():
        yield (
            name,
            {
                "name": name,
                "summary": str(kind.__doc__).splitlines()[0],
                "payload": _schema(kind.__name__),
                "examples": [{"payload": example} for example in examples],
            },
        )


def _told() -> Iterator[tuple[str, Json]]:
    """Answers, then a message and an ending for each channel."""
    result = {"type": "object"}
    yield "result", _message("An answer.", id=_ID, result=result)
    yield "refusal", _message("An answer that is none.", id=_ID, error=_schema("Error"))
    for channel, how in CHANNELS.items():
        payload = _schema(INSIDE[how.path].response_class.DESCRIPTOR.name)
        about: Json = {"channel": {"const": channel}, "instrument": {"type": "string"}}
        yield channel, _message(f"The next message of {channel}.", **about, data=payload)
    about = {"channel": {"enum": list(CHANNELS)}, "instrument": {"type": "string"}}
    yield "ending", _message("The exchange ends a subscription.", **about, error=_schema("Error"))


def _message(summary: str, **properties: Json) -> Json:
    payload = {
        "type": "object",
        "required": list(properties),
        "properties": properties,
        "additionalProperties": False,
    }
    return {"summary": summary, "payload": payload}


def _schema(name: str) -> Json:
    return {"$ref": f"#/components/schemas/{name}"}


def _request_schemas() -> Json:
    _, found = msgspec.json.schema_components([Request], ref_template="#/components/schemas/{name}")
    return found


def _payload_schemas() -> Json:
    """Of every message that a channel sends, and those in it."""
    found: Json = {}
    waiting = [INSIDE[how.path].response_class.DESCRIPTOR for how in CHANNELS.values()]
    while waiting:
        kind = waiting.pop()
        if kind.name not in found:
            found[kind.name] = _payload(kind)
            waiting += [field.message_type for field in kind.fields if field.message_type]
    return found


def _payload(kind: Any) -> Json:
    properties = {field.name: _field(field) for field in kind.fields}
    # What has a presence of its own is left out where it is not set; all else is always there.
    required = [field.name for field in kind.fields if not field.has_presence]
    return {
        "type": "object",
        "required": required,
        "properties": properties,
        "additionalProperties": False,
    }


def _field(field: FieldDescriptor) -> Json:
    if field.message_type is not None:
        one = _schema(field.message_type.name)
    elif field.enum_type is not None:
        one = {"enum": [value.name for value in field.enum_type.values]}
    else:
        one = _SCALARS[field.cpp_type]
    return {"type": "array", "items": one} if field.is_repeated else one
