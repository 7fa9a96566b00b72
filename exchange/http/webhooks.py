"""Webhooks and price alerts: /v1/webhooks and /v1/alerts."""

from __future__ import annotations

import json
import re
from typing import Any, Final

from aiohttp import web
from google.protobuf.wrappers_pb2 import BytesValue

from exchange.http.bodies import read_json
from exchange.http.calls import Calls
from exchange.http.errors import ApiError
from exchange.rpc.inside import webhooks

_ID: Final = re.compile(r"[0-9]{1,18}", re.ASCII)


class _Action:
    """Answers the requests of one route.

    Args:
        calls: Makes the call.
        name: Of the method.
        status: Of the answer.
    """

    def __init__(self, calls: Calls, name: str, status: int = 200) -> None:
        self._calls = calls
        self._path = webhooks(name)
        self._status = status

    async def serve(self, request: web.Request) -> web.Response:
        """Read a request, make the call, send what comes back."""
        for name in request.query:
            raise ApiError(400, "FIELD_UNKNOWN", f"there is no parameter {name!r} here", name)
        asked: Any = await read_json(request) if request.method == "POST" else {}
        number = request.match_info.get("number")
        if number is not None:
            if not _ID.fullmatch(number) or asked:
                raise ApiError(400, "FIELD_INVALID", "the id stands in the path, in digits, alone")
            asked = {"id": int(number)}
        metadata = {"authorization": request.headers.get("Authorization", "")}
        # Whatever it is, the servicer judges it: no number is too long to be handed on.
        message = BytesValue(value=json.dumps(asked).encode())
        answer = await self._calls.unary(self._path, message, metadata)
        return web.Response(
            body=answer.value,
            status=self._status,
            content_type="application/json",
            headers={"Cache-Control": "no-store"},
        )


def routes(calls: Calls) -> list[web.RouteDef]:
    """All routes of both.

    Args:
        calls: Makes the calls of the API.
    """
    found = (
        ("POST", "/v1/webhooks", _Action(calls, "AddWebhook", 201)),
        ("GET", "/v1/webhooks", _Action(calls, "ListWebhooks")),
        ("DELETE", "/v1/webhooks/{number}", _Action(calls, "RemoveWebhook")),
        ("POST", "/v1/webhooks/{number}/test", _Action(calls, "TestWebhook", 202)),
        ("POST", "/v1/alerts", _Action(calls, "AddAlert", 201)),
        ("GET", "/v1/alerts", _Action(calls, "ListAlerts")),
        ("DELETE", "/v1/alerts/{number}", _Action(calls, "RemoveAlert")),
    )
    return [web.RouteDef(verb, path, action.serve, {}) for verb, path, action in found]
