"""Answers in parts: server-sent events, or a JSON object a line."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any, Final

import msgspec
from aiohttp import web

from exchange.http import errors
from exchange.http.rest import messages
from exchange.rpc.errors import RpcError

KEEP_ALIVE_S: Final = 15.0
"""A stream of events that has no news says so this often."""
FIRST_WITHIN_S: Final = 0.5
"""So long a stream waits for its first message before it begins: a refusal that comes by then is a
plain error with a status of its own."""
SEND_WITHIN_S: Final = 10.0
"""A client that leaves what it is sent unread for so long is cut off."""
HEADERS: Final = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
"""A proxy in between must not collect a stream before it passes it on."""


@dataclass(frozen=True, slots=True)
class Form:
    """How a stream is written.

    Attributes:
        content_type: Of the whole.
        part: One message of the call.
        failure: What comes last where the call ends with this error, given as JSON.
        keep_alive: What comes where there is no news; may be nothing.
    """

    content_type: str
    part: Callable[[Any], bytes]
    failure: Callable[[bytes], bytes]
    keep_alive: bytes


EVENTS: Final = Form(
    content_type="text/event-stream",
    part=lambda answer: b"data: %b\n\n" % messages.to_json(answer),
    failure=lambda error: b"event: error\ndata: %b\n\n" % error,
    keep_alive=b": keep-alive\n\n",
)
"""Server-sent events, a message each."""


def lines(field: str) -> Form:
    """The items of a repeated field, a JSON object a line."""

    def part(answer: Any) -> bytes:
        items = (msgspec.json.encode(item) for item in messages.to_values(answer)[field])
        return b"".join(item + b"\n" for item in items)

    return Form("application/x-ndjson", part, lambda error: error + b"\n", b"")


async def send(request: web.Request, answers: AsyncIterator[Any], form: Form) -> web.StreamResponse:
    """Send all that comes, until the call or the client ends.

    Raises:
        RpcError: the call was refused before anything was sent.
    """
    reader = _Reader(answers)
    try:
        await reader.wait(FIRST_WITHIN_S)
        response = web.StreamResponse(headers=HEADERS)
        response.content_type = form.content_type
        await response.prepare(request)
        try:
            async for part in _parts(reader, form):
                async with asyncio.timeout(SEND_WITHIN_S):
                    await response.write(part)
            await response.write_eof()
        except TimeoutError:
            # Its buffers are full: nothing more would get through.
            if request.transport is not None:
                request.transport.abort()
        except ConnectionError:
            pass
    finally:
        reader.close()
    return response


async def _parts(reader: _Reader, form: Form) -> AsyncIterator[bytes]:
    """What is written, one after the other."""
    try:
        while (answer := await reader.take(KEEP_ALIVE_S)) is not _END:
            yield form.keep_alive if answer is _SILENCE else form.part(answer)
    except RpcError as error:
        yield form.failure(errors.content(errors.of_rpc(error)))


_SILENCE: Final = object()
_END: Final = object()


class _Reader:
    """Reads a call's answers, and knows how long none has come."""

    def __init__(self, answers: AsyncIterator[Any]) -> None:
        self._answers = answers
        self._next = self._ask()

    def _ask(self) -> asyncio.Future[Any]:
        return asyncio.ensure_future(anext(self._answers, _END))

    async def wait(self, seconds: float) -> None:
        """Wait so long for an answer; a refusal that has come by then is raised."""
        await asyncio.wait((self._next,), timeout=seconds)
        if self._next.done():
            self._next.result()

    async def take(self, seconds: float) -> Any:
        """The next answer, or that there was silence, or the end; raises the call's error."""
        done, _ = await asyncio.wait((self._next,), timeout=seconds)
        if not done:
            return _SILENCE
        answer = self._next.result()
        if answer is not _END:
            self._next = self._ask()
        return answer

    def close(self) -> None:
        """Nothing more is read."""
        self._next.cancel()
