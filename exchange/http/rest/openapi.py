"""Writes the OpenAPI document of everything that HTTP serves: `make openapi`.

It is made from the table of routes, the descriptors of the messages and the comments of the .proto
files, and committed as openapi.json; a test makes it again and compares.

    python -m exchange.http.rest.openapi proto/exchange/v1 > exchange/http/rest/openapi.json
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any, Final

from exchange.http.rest import outline
from exchange.http.rest.comments import read_comments
from exchange.http.rest.requests import KEY_HEADER
from exchange.http.rest.schemas import Schema, Schemas
from exchange.http.rest.table import ROUTES, Route

TAGS: Final = {
    "JobService": "Jobs",
    "OrderService": "Orders",
    "MarketDataService": "Market",
    "AccountService": "Account",
    "WebhookService": "Webhooks",
    "WorkerService": "Workers",
    "AdminService": "Operator",
}


def document(protos: Path) -> Schema:
    """The document.

    Args:
        protos: The folder of the .proto files.
    """
    comments = read_comments(path.read_text() for path in sorted(protos.glob("*.proto")))
    schemas = Schemas(comments, _answered())
    paths: dict[str, Schema] = {}
    for route in ROUTES:
        operation = _Operation(route, schemas, comments).schema()
        paths.setdefault(route.path, {})[route.verb.lower()] = operation
    for path, verb, operation in outline.operations():
        paths.setdefault(path, {})[verb] = operation
    named = outline.SCHEMAS | dict(sorted(schemas.named.items()))
    return outline.HEAD | {
        "paths": paths,
        "components": {
            "securitySchemes": outline.SECURITY_SCHEMES,
            "responses": outline.RESPONSES,
            "schemas": named,
        },
    }


def _answered() -> frozenset[str]:
    """Full names of the messages that answers hold."""
    found: set[str] = set()

    def add(message: Any) -> None:
        if message.full_name not in found:
            found.add(message.full_name)
            for field in message.fields:
                if field.message_type is not None:
                    add(field.message_type)

    for route in ROUTES:
        add(route.method.response_class.DESCRIPTOR)
    return frozenset(found)


class _Operation:
    """One route as an operation of the document."""

    def __init__(self, route: Route, schemas: Schemas, comments: dict[str, str]) -> None:
        self._route = route
        self._schemas = schemas
        self._comments = comments
        self._request = route.method.request_class.DESCRIPTOR
        self._answer = route.method.response_class.DESCRIPTOR

    def schema(self) -> Schema:
        """The operation."""
        route = self._route
        service, name = route.call.split("/")
        says = self._comments[f"exchange.v1.{service}.{name}"]
        operation: Schema = {
            "operationId": operation_id(route.verb, route.path),
            "tags": [TAGS[service]],
            "summary": says.partition(". ")[0].rstrip("."),
            "description": f"{says}\n\nIt is the method `{service}.{name}` of the gRPC API.",
            "parameters": [*self._path_parameters(), *self._query(), *self._key()],
            "responses": self._responses(),
        }
        if route.verb == "POST":
            operation["requestBody"] = {"content": {"application/json": {"schema": self._body()}}}
        return operation

    def _path_parameters(self) -> list[Schema]:
        found = []
        for name in self._route.parameters:
            path = self._route.field_of(name)
            field = _field(self._request, path)
            schema = self._schemas.parameter(field)
            says = self._comments[field.full_name]
            if self._route.by_uuid:
                uuid = {"type": "string", "format": "uuid"}
                schema = {"anyOf": [schema, uuid]}
                says = "The exchange's id, or the client's own, a UUID."
            found.append(_parameter(name, "path", schema, says, required=True))
        return found

    def _query(self) -> list[Schema]:
        """What a GET or DELETE takes from its query: the fields that are not in the path."""
        if self._route.verb == "POST":
            return []
        return [
            _parameter(
                path, "query", self._schemas.parameter(field), self._comments[field.full_name]
            )
            for path, field in _flat(self._request)
            if path not in self._route.in_path
        ]

    def _key(self) -> list[Schema]:
        route = self._route
        if not route.key:
            return []
        without = "the request is refused" if route.key_needed else "a fresh one is made"
        says = (
            f"A UUIDv7 that makes a repeat harmless: `{route.key}` of the body. Without either, "
            f"{without}."
        )
        schema = {"type": "string", "format": "uuid"}
        return [_parameter(KEY_HEADER, "header", schema, says)]

    def _body(self) -> Schema:
        if not self._route.in_path:
            return self._schemas.reference(self._request, sent=True)
        return self._schemas.message(self._request, sent=True, without=self._route.in_path)

    def _responses(self) -> Schema:
        answer = self._schemas.reference(self._answer, sent=False)
        method = self._route.method
        ok: Schema = {"description": self._comments[self._answer.full_name]}
        if not method.responses_stream:
            ok["content"] = {"application/json": {"schema": answer}}
        else:
            item, kind = answer, "text/event-stream"
            if self._route.lines:
                lines = self._answer.fields_by_name[self._route.lines]
                item = self._schemas.reference(lines.message_type, sent=False)
                kind = "application/x-ndjson"
            ok["content"] = {kind: {"schema": {"type": "string"}, "x-item": item}}
        if "next_page_token" in self._answer.fields_by_name:
            ok["headers"] = {"Link": outline.LINK}
        return {"200": ok} | outline.refusals(body=self._route.verb == "POST")


def operation_id(verb: str, path: str) -> str:
    """A name for a verb and a path.

    >>> operation_id("GET", "/v1/jobs/{job_id}/why")
    'get_jobs_job_id_why'
    """
    words = re.sub(r"[^a-z0-9]+", "_", path.removeprefix("/v1/").lower()).strip("_")
    return f"{verb.lower()}_{words}"


def _parameter(name: str, place: str, schema: Schema, says: str, required: bool = False) -> Schema:
    return {
        "name": name,
        "in": place,
        "required": required,
        "description": says,
        "schema": schema,
    }


def _field(message: Any, path: str) -> Any:
    *outer, name = path.split(".")
    for step in outer:
        message = message.fields_by_name[step].message_type
    return message.fields_by_name[name]


def _flat(message: Any, prefix: str = "") -> list[tuple[str, Any]]:
    """The fields of a message and of those in it, by their paths."""
    found: list[tuple[str, Any]] = []
    for field in message.fields:
        if field.message_type is not None:
            found += _flat(field.message_type, f"{prefix}{field.name}.")
        else:
            found.append((prefix + field.name, field))
    return found


if __name__ == "__main__":
    (folder,) = sys.argv[1:]
    sys.stdout.write(json.dumps(document(Path(folder)), indent=1, ensure_ascii=False) + "\n")
