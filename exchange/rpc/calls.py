"""A call of the API, whatever carries it, and who answers calls.

The servicers know nothing of gRPC. What carries a call hands it to an `Api` as an `IncomingCall`:
in one process that is gRPC's own call, between two processes one that comes over a socket.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, Protocol, runtime_checkable

from exchange.rpc.errors import RpcError

MESSAGE_BYTES_MAX: Final = 4 << 20
"""Longest request that is taken. A response may be twice as long."""


class IncomingCall(Protocol):
    """One call under way: its messages are the API's bytes.

    It is served by one task, which is cancelled where the caller goes away.
    """

    @property
    def method(self) -> str:
        """Such as "/exchange.v1.OrderService/Trade"."""
        ...

    @property
    def single(self) -> bool:
        """Whether it is sure to have one request and at most one response.

        Such a call may travel in one piece; False is always right.
        """
        ...

    @property
    def metadata(self) -> Mapping[str, str]:
        """What the caller sent before its messages."""
        ...

    @property
    def left_s(self) -> float | None:
        """Seconds to the caller's deadline; None without one."""
        ...

    async def read(self) -> bytes | None:
        """The next message; None where the caller has said that nothing follows."""
        ...

    async def write(self, message: bytes) -> None:
        """Send a message; returns once there is room for another."""
        ...

    def on_end(self, callback: Callable[[], object]) -> None:
        """Call this once the call is over, even while its task hangs in a `write`."""
        ...


@runtime_checkable
class PromptCall(IncomingCall, Protocol):
    """A call whose messages can pass without waking its task, as long as nothing holds them up."""

    def offer(self, take: Callable[[bytes], bool]) -> None:
        """Offer each message to `take` as it comes, while the task waits in `read` for it.

        What `take` does not take, by returning False, is read. It must not raise.
        """
        ...

    def write_now(self, message: bytes) -> bool:
        """Send a message where there is room for it; whether it was sent."""
        ...


class AskedCall(Protocol):
    """A call that came with its only request, and may be answered at any time, once."""

    @property
    def method(self) -> str:
        """See `IncomingCall`."""
        ...

    @property
    def metadata(self) -> Mapping[str, str]:
        """See `IncomingCall`."""
        ...

    @property
    def left_s(self) -> float | None:
        """See `IncomingCall`."""
        ...

    @property
    def request(self) -> bytes:
        """The request."""
        ...

    def answer(self, response: bytes) -> None:
        """End it with this response; nothing where it has ended."""
        ...

    def fail(self, error: RpcError) -> None:
        """End it with an error; nothing where it has ended."""
        ...

    def on_end(self, callback: Callable[[], object]) -> None:
        """See `IncomingCall`."""
        ...


class Api(Protocol):
    """Answers calls."""

    async def serve(self, call: IncomingCall) -> None:
        """Answer a call; returns when it is over.

        Raises:
            RpcError: it ends with an error.
        """
        ...


class PromptApi(Api, Protocol):
    """Answers some calls without a task for each."""

    def take(self, call: AskedCall) -> bool:
        """Begin with a call, if its method is of that kind; otherwise `serve` is to.

        Where it is, this has read the request, and whatever happens the call will be answered.
        """
        ...
