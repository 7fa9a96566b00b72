"""Errors as HTTP clients see them: `{"error": {"message", "type", "code", "param"}}`.

The shape is that of OpenAI's API, which clients of the coming endpoints parse.
"""

from __future__ import annotations

import msgspec
from aiohttp import web


class ApiError(Exception):
    """A request that is answered with an error.

    Args:
        status: HTTP status.
        code: Reason, UPPER_SNAKE_CASE, as over gRPC.
        message: For people: what is wrong and what to do.
    """

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code


def response(error: ApiError, headers: dict[str, str] | None = None) -> web.Response:
    """The error as a response."""
    kind = "server_error" if error.status >= 500 else "invalid_request_error"
    content = {"message": str(error), "type": kind, "code": error.code, "param": None}
    return web.Response(
        body=msgspec.json.encode({"error": content}),
        status=error.status,
        content_type="application/json",
        headers=headers,
    )
