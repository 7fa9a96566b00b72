"""What the OpenAPI document says beside the table of routes: errors, security, the rest of HTTP.

The OpenAI form and the public pages are told in outline; their own documents say more.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

Schema = dict[str, Any]

HEAD: Final[Schema] = {
    "openapi": "3.1.0",
    "info": {
        "title": "Flopex",
        "version": "1",
        "summary": "A real-time exchange for GPU compute.",
        "description": (
            "Every method of the gRPC API that is not a stream both ways, as ProtoJSON with the "
            "fields' own names. 64-bit integers are strings in answers; requests may write them as "
            "numbers, too. What is unknown, null, given twice or of another type is refused. Money "
            "is in nano-dollars, prices in nano-dollars per CU (10^12 FLOPs), compute in MFLOP, "
            "time in nanoseconds."
        ),
        "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
    },
    "servers": [{"url": "/"}],
    "security": [{"key": []}],
    "tags": [
        {"name": "Jobs", "description": "Inference requests that carry a compute budget."},
        {"name": "Orders", "description": "Explicit orders on continuous books."},
        {"name": "Market", "description": "Instruments, books, trades; a key of any role."},
        {"name": "Account", "description": "The caller's own account."},
        {"name": "Webhooks", "description": "What the account is told: webhooks, price alerts."},
        {"name": "Workers", "description": "What a worker's owner may ask and do."},
        {"name": "Operator", "description": "What only a key with the operator's role may do."},
        {"name": "OpenAI", "description": "The OpenAI form, in outline."},
        {"name": "Public", "description": "Needs no key."},
    ],
}
SECURITY_SCHEMES: Final[Schema] = {
    "key": {
        "type": "http",
        "scheme": "bearer",
        "description": "An API key: flx_ and 43 characters.",
    }
}
SCHEMAS: Final[Schema] = {
    "Error": {
        "type": "object",
        "description": "Why a request was refused.",
        "required": ["error"],
        "properties": {
            "error": {
                "type": "object",
                "required": ["message", "type", "code", "param"],
                "properties": {
                    "message": {
                        "type": "string",
                        "description": "For people: what is wrong and what to do.",
                    },
                    "type": {
                        "type": "string",
                        "enum": ["invalid_request_error", "server_error"],
                        "description": "Whose fault it is.",
                    },
                    "code": {
                        "type": "string",
                        "description": "The reason, as over gRPC, such as INSUFFICIENT_FUNDS.",
                    },
                    "param": {
                        "type": ["string", "null"],
                        "description": "The field or parameter that is wrong.",
                    },
                },
            }
        },
    },
    "Object": {
        "type": "object",
        "description": "Told in another document.",
        "additionalProperties": True,
    },
}
LINK: Final[Schema] = {
    "description": 'The next page: <address>; rel="next". Absent at the end.',
    "schema": {"type": "string"},
}
_RETRY: Final[Schema] = {
    "Retry-After": {
        "description": "Seconds after which to try again, where that helps.",
        "schema": {"type": "integer"},
    },
    "Retry-After-Ms": {
        "description": "The same in milliseconds.",
        "schema": {"type": "integer"},
    },
}
_REFUSALS: Final = {
    "400": ("Invalid", "The request is wrong, or the exchange's state does not allow it."),
    "401": ("Unauthenticated", "The key is missing or unknown."),
    "402": ("NoFunds", "The account's money does not cover it."),
    "403": ("Forbidden", "The key's roles do not allow it, or the thing is another account's."),
    "404": ("NotFound", "There is no such thing."),
    "408": ("BodyLate", "The body did not come in time."),
    "409": ("Conflict", "The client's id or the name was used before."),
    "413": ("BodyTooLarge", "The body is too large."),
    "415": ("MediaType", "The body is not JSON."),
    "429": ("TooMany", "The account or the exchange has too much of it."),
    "500": ("Failed", "A defect; the exchange's log tells more."),
    "501": ("Unimplemented", "It is specified and not built."),
    "503": ("Unavailable", "The exchange shuts down, or cannot answer this now."),
    "504": ("Late", "It took too long."),
}
_OF_BODIES: Final = ("408", "413", "415")
_RETRIED: Final = ("429", "503")


def _response(status: str, says: str) -> Schema:
    reference = {"$ref": "#/components/schemas/Error"}
    response: Schema = {
        "description": says,
        "content": {"application/json": {"schema": reference}},
    }
    return response | ({"headers": _RETRY} if status in _RETRIED else {})


RESPONSES: Final[Schema] = {
    name: _response(status, says) for status, (name, says) in _REFUSALS.items()
}


def refusals(*, body: bool) -> Schema:
    """The statuses of what is refused, by reference; some only where there is a body."""
    return {
        status: {"$ref": f"#/components/responses/{name}"}
        for status, (name, _) in _REFUSALS.items()
        if body or status not in _OF_BODIES
    }


_PUBLIC: Final = (
    ("/healthz", "Whether the exchange takes work", "application/json"),
    ("/metrics", "Metrics in Prometheus' text format", "text/plain"),
    ("/v1/overview", "The public state now", "application/json"),
    ("/v1/openapi.json", "This document", "application/json"),
    ("/v1/asyncapi.json", "The document of the WebSockets", "application/json"),
)
_EXPORT_PARAMETERS: Final = {
    "instrument": "Instrument's name; trades without it are those of all.",
    "width_s": "Width of candles, seconds; 60 by default.",
    "start_time_ns": "Only what is at or after this, nanoseconds since the epoch.",
    "end_time_ns": "Only what is before this, nanoseconds since the epoch.",
}
_OPENAI: Final = (
    ("get", "/v1/models", "The models that can be asked"),
    ("get", "/v1/models/{model}", "One model"),
    ("post", "/v1/chat/completions", "An answer to a conversation, streamed where `stream` is set"),
    ("post", "/v1/completions", "A continuation of a text, streamed where `stream` is set"),
    ("post", "/v1/responses", "An answer as typed events, streamed where `stream` is set"),
)


def operations() -> Iterator[tuple[str, str, Schema]]:
    """(path, verb, operation) of what is told in outline."""
    for path, says, kind in _PUBLIC:
        schema = {"$ref": "#/components/schemas/Object"} if "json" in kind else {"type": "string"}
        responses: Schema = {"200": {"description": says, "content": {kind: {"schema": schema}}}}
        if path == "/healthz":
            responses["503"] = responses["200"] | {"description": "It drains or has stopped."}
        operation: Schema = {"summary": says, "tags": ["Public"], "security": []}
        name = path.removeprefix("/v1").strip("/").replace(".", "_")
        yield path, "get", operation | {"operationId": f"get_{name}", "responses": responses}
    for name in ("trades", "candles", "quotes"):
        yield f"/v1/export/{name}", "get", _export(name)
    for verb, path, says in _OPENAI:
        yield path, verb, _openai(verb, path, says)


def _export(name: str) -> Schema:
    """An export: its own parameters, and its two forms."""
    times = ("start_time_ns", "end_time_ns")
    known = {"candles": ("instrument", "width_s", *times)}.get(name, ("instrument", *times))
    parameters: list[Schema] = [
        {
            "name": parameter,
            "in": "query",
            "description": _EXPORT_PARAMETERS[parameter],
            "schema": {"type": "string" if parameter == "instrument" else "integer"},
        }
        for parameter in known
    ]
    form = {"type": "string", "enum": ["csv", "parquet"], "default": "csv"}
    parameters.append(
        {"name": "format", "in": "query", "description": "The file's form.", "schema": form}
    )
    says = f"{name.capitalize()} as a file, newest first"
    content: Schema = {
        kind: {"schema": {"type": "string"}}
        for kind in ("text/csv", "application/vnd.apache.parquet")
    }
    return {
        "operationId": f"export_{name}",
        "tags": ["Market"],
        "summary": says,
        "description": "Columns and bounds: docs/reference/rest.md.",
        "parameters": parameters,
        "responses": {"200": {"description": says, "content": content}} | refusals(body=False),
    }


def _openai(verb: str, path: str, says: str) -> Schema:
    anything = {"schema": {"$ref": "#/components/schemas/Object"}}
    content: Schema = {"application/json": anything}
    if verb == "post":
        content["text/event-stream"] = {"schema": {"type": "string"}}
    name = path.removeprefix("/v1/").translate(str.maketrans("/", "_", "{}"))
    operation: Schema = {
        "operationId": f"openai_{verb}_{name}",
        "summary": says,
        "description": "In the shapes of OpenAI's API: docs/reference/openai.md.",
        "tags": ["OpenAI"],
        "responses": {"200": {"description": says, "content": content}}
        | refusals(body=verb == "post"),
    }
    if "{model}" in path:
        schema = {"type": "string"}
        operation["parameters"] = [
            {
                "name": "model",
                "in": "path",
                "required": True,
                "description": "The model's name.",
                "schema": schema,
            }
        ]
    if verb == "post":
        operation["requestBody"] = {"required": True, "content": {"application/json": anything}}
    return operation
