"""The engine's views over the link: two methods that no caller from outside can reach.

The gateway serves the API's own methods only, so these are asked by the gateway alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, Protocol

import msgspec

from exchange.http.views import Built, Views
from exchange.rpc.calls import AskedCall, IncomingCall, PromptApi
from exchange.rpc.errors import Code, RpcError

OVERVIEW: Final = "/flopex.internal.Views/Overview"
EXPOSITION: Final = "/flopex.internal.Views/Exposition"


class _Wanted(msgspec.Struct, frozen=True, array_like=True):
    newer_than: int
    wait_s: float


_WANTED: Final = msgspec.msgpack.Decoder(_Wanted)
_BUILT: Final = msgspec.msgpack.Decoder(tuple[int, bytes, float])
_ENCODER: Final = msgspec.msgpack.Encoder()


class EngineApi:
    """The API's methods, and those of the views.

    Args:
        api: Answers the API's.
        views: Answer the others.
    """

    def __init__(self, api: PromptApi, views: Views) -> None:
        self._api = api
        self._views = views

    def take(self, call: AskedCall) -> bool:
        """See `PromptApi`."""
        return self._api.take(call)

    async def serve(self, call: IncomingCall) -> None:
        """See `Api`."""
        if call.method == OVERVIEW:
            wanted = _WANTED.decode(await call.read() or b"")
            built = await self._views.overview(wanted.newer_than, wanted.wait_s)
            await call.write(_ENCODER.encode(built))
        elif call.method == EXPOSITION:
            await call.write(await self._views.exposition())
        else:
            await self._api.serve(call)


class Gateway(Protocol):
    """What remote views want to know of the link."""

    @property
    def state(self) -> str:
        """As `Views.state`."""
        ...

    async def serve(self, call: IncomingCall) -> None:
        """See `Api`."""
        ...


class RemoteViews:
    """The views of the exchange at the link's other end."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    @property
    def state(self) -> str:
        """See `Views`."""
        return self._gateway.state

    async def overview(self, newer_than: int, wait_s: float) -> Built:
        """See `Views`; raises as `Api.serve`."""
        wanted = _ENCODER.encode(_Wanted(newer_than, wait_s))
        return Built(*_BUILT.decode(await self._ask(OVERVIEW, wanted)))

    async def exposition(self) -> bytes:
        """See `Views`; raises as `Api.serve`."""
        return await self._ask(EXPOSITION, b"")

    async def _ask(self, method: str, request: bytes) -> bytes:
        question = _Question(method, request)
        await self._gateway.serve(question)
        if question.answer is None:
            raise RpcError(Code.INTERNAL, "INTERNAL", f"{method} has no answer")
        return question.answer


class _Question:
    """A call of the gateway's own: one request, one response."""

    single = True
    metadata: Mapping[str, str] = {}
    left_s = None

    def __init__(self, method: str, request: bytes) -> None:
        self.method = method
        self.answer: bytes | None = None
        self._request: bytes | None = request

    async def read(self) -> bytes | None:
        """See `IncomingCall`."""
        request, self._request = self._request, None
        return request

    async def write(self, message: bytes) -> None:
        """See `IncomingCall`."""
        self.answer = message

    def on_end(self, callback: Callable[[], object]) -> None:
        """See `IncomingCall`; nobody asks."""
