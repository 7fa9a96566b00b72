"""Errors as HTTP clients see them: `{"error": {"message", "type", "code", "param"}}`.

The shape is that of OpenAI's API, whose clients choose their exception by the status and show the
message; `code` is the same reason as over gRPC.
"""

from __future__ import annotations

from typing import Final

import msgspec
from aiohttp import web

from exchange.rpc.errors import Code, RpcError

STATUS: Final = {
    Code.CANCELLED: 499,
    Code.INVALID_ARGUMENT: 400,
    Code.DEADLINE_EXCEEDED: 504,
    Code.NOT_FOUND: 404,
    Code.ALREADY_EXISTS: 409,
    Code.PERMISSION_DENIED: 403,
    Code.RESOURCE_EXHAUSTED: 429,
    Code.FAILED_PRECONDITION: 400,
    Code.ABORTED: 409,
    Code.OUT_OF_RANGE: 400,
    Code.UNIMPLEMENTED: 501,
    Code.INTERNAL: 500,
    Code.UNAVAILABLE: 503,
    Code.UNAUTHENTICATED: 401,
}
"""The HTTP status of a gRPC one, as google.rpc.Code has it; 500 for what is not here."""
STATUS_OF_REASON: Final = {"INSUFFICIENT_FUNDS": 402, "MESSAGE_TOO_LARGE": 413}
"""Where HTTP tells more exactly what is wrong."""


class ApiError(Exception):
    """A request that is answered with an error.

    Args:
        status: HTTP status.
        code: Reason, UPPER_SNAKE_CASE, as over gRPC.
        message: For people: what is wrong and what to do.
        param: The field or parameter that is wrong; None where it is none.
        retry_after_ms: When repeating may help; 0 where it does not.
    """

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        param: str | None = None,
        retry_after_ms: int = 0,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.param = param
        self.retry_after_ms = retry_after_ms


def of_rpc(error: RpcError) -> ApiError:
    """A refusal of the API as HTTP has it."""
    status = STATUS_OF_REASON.get(error.reason) or STATUS.get(error.code, 500)
    return ApiError(
        status,
        error.reason,
        error.message,
        error.metadata.get("field"),
        -(-error.retry_after_ns // 1_000_000),
    )


def fields(error: ApiError) -> dict[str, str | int | None]:
    """What is told of the error."""
    kind = "server_error" if error.status >= 500 else "invalid_request_error"
    param = None if error.param is None else _writable(error.param)
    return {"message": _writable(str(error)), "type": kind, "code": error.code, "param": param}


def _writable(text: str) -> str:
    """The text, as UTF-8 can hold it: names that clients invent may be halves of characters."""
    return text.encode(errors="backslashreplace").decode()


def content(error: ApiError) -> bytes:
    """The error as JSON."""
    return msgspec.json.encode({"error": fields(error)})


def response(error: ApiError, headers: dict[str, str] | None = None) -> web.Response:
    """The error as a response; when to come back stands in its headers, in seconds and exactly."""
    headers = dict(headers or {})
    if error.retry_after_ms:
        headers["Retry-After"] = str(-(-error.retry_after_ms // 1_000))
        headers["Retry-After-Ms"] = str(error.retry_after_ms)
    return web.Response(
        body=content(error),
        status=error.status,
        content_type="application/json",
        headers=headers,
    )
