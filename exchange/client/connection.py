"""What all parts of a client share: the channel, deadlines, retries, streams that come back."""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator, Sequence
from typing import Any, Final, TypeVar

import grpc

from exchange.client.channel import Tls, clean_key, open_channel
from exchange.client.errors import (
    CallFailed,
    ClientClosed,
    Overloaded,
    SlowReader,
    Unavailable,
    call_failed,
)
from exchange.client.retry import RETRY_DEFAULT, RetryPolicy, may_repeat

TIMEOUT_DEFAULT_S: Final = 10.0
"""Time that a call gets unless told, all its tries together."""
PAGE_SIZE: Final = 1_000
"""Items asked for at once where a list is walked."""
STOOD_S: Final = 10.0
"""A stream that lasted longer than this stood, though it may have said nothing."""

S = TypeVar("S")
R = TypeVar("R")
T = TypeVar("T")


class Connection:
    """One channel, opened at first use, and how calls are made over it.

    Args:
        target: host:port of the exchange.
        key: API key; empty for calls that need none.
        timeout_s: Seconds that a call gets, all its tries together.
        tls: See `open_channel`.
        retry: When to try again.
        channel: A ready channel instead of the target and the key; it is not closed here.

    Raises:
        ValueError: the key holds a character that cannot be sent.
    """

    def __init__(
        self,
        target: str,
        key: str,
        *,
        timeout_s: float = TIMEOUT_DEFAULT_S,
        tls: Tls | bool = False,
        retry: RetryPolicy = RETRY_DEFAULT,
        channel: grpc.aio.Channel | None = None,
    ) -> None:
        self.target = target
        self.retry = retry
        self._key = clean_key(key)
        self._tls = tls
        self._timeout_s = timeout_s
        self._given = channel
        self._opened: grpc.aio.Channel | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stubs: dict[object, Any] = {}
        self._closed = False

    @property
    def channel(self) -> grpc.aio.Channel:
        """The channel, for stubs of one's own; it adds the key to every call.

        Raises:
            ClientClosed: the client is closed.
            RuntimeError: there is no running event loop, or another one than at first.
        """
        if self._closed:
            raise ClientClosed("the client is closed")
        loop = asyncio.get_running_loop()
        if self._loop is None:
            self._loop = loop
            self._opened = self._given or open_channel(self.target, self._key, tls=self._tls)
        if loop is not self._loop:
            raise RuntimeError("an AsyncClient belongs to the event loop that used it first")
        assert self._opened is not None
        return self._opened

    def stub(self, factory: Callable[[grpc.aio.Channel], S]) -> S:
        """The stub of a service, made once."""
        channel = self.channel
        found: S | None = self._stubs.get(factory)
        if found is None:
            found = self._stubs[factory] = factory(channel)
        return found

    async def close(self) -> None:
        """End every call that is under way, and the channel. A second call does nothing."""
        self._closed = True
        opened, self._opened = self._opened, None
        self._stubs.clear()
        if opened is not None and self._given is None:
            await opened.close()

    async def call(
        self,
        method: Callable[..., Awaitable[R]],
        request: object,
        *,
        timeout_s: float | None = None,
        repeatable: bool = True,
    ) -> R:
        """Make a unary call; repeat it with the same bytes while that may help.

        Args:
            method: A method of a stub.
            request: The message.
            timeout_s: Seconds, all tries together; None for the client's own.
            repeatable: Whether carrying it out twice is the same as once.

        Raises:
            CallFailed: it failed for good, or time ran out.
            ClientClosed: the client was closed.
        """
        loop = asyncio.get_running_loop()
        give_up = loop.time() + (self._timeout_s if timeout_s is None else timeout_s)
        failures = 0
        while True:
            try:
                with self._closing():
                    return await method(request, timeout=max(give_up - loop.time(), 0.0))
            except grpc.aio.AioRpcError as rpc_error:
                error = call_failed(rpc_error)
                failures += 1
                wait_s = self.retry.wait_s(failures, error)
                out_of_tries = failures >= self.retry.attempts or loop.time() + wait_s >= give_up
                if out_of_tries or not may_repeat(error, repeatable):
                    if isinstance(error, Unavailable) and not error.reason:  # nobody answered
                        error.add_note(
                            f"tried {failures} times: is an exchange running at {self.target}?"
                        )
                    raise error from None
            await asyncio.sleep(wait_s)
            self._refuse_closed()

    async def messages(
        self,
        call: grpc.aio.UnaryStreamCall[Any, R] | grpc.aio.StreamStreamCall[Any, R],
        silence_s: float | None = None,
    ) -> AsyncGenerator[R, None]:
        """The messages of a stream, which is cancelled once they are not read any more.

        Args:
            call: An open stream.
            silence_s: Seconds without a message after which it counts as broken.

        Raises:
            CallFailed: the stream broke.
            ClientClosed: the client was closed.
        """
        try:
            while True:
                with self._closing():
                    async with asyncio.timeout(silence_s):
                        message = await call.read()
                if message is grpc.aio.EOF:
                    return
                yield message  # type: ignore[misc]
        except TimeoutError:
            raise Unavailable(
                grpc.StatusCode.UNAVAILABLE, "", f"the stream was silent for {silence_s} s"
            ) from None
        except grpc.aio.AioRpcError as error:
            raise call_failed(error) from None
        finally:
            call.cancel()

    async def walk(
        self, page: Callable[[str], Awaitable[tuple[Sequence[T], str]]], limit: int | None
    ) -> AsyncIterator[T]:
        """The items of a list in pages, up to a limit.

        Args:
            page: Gives the items at a page token, and the next token.
            limit: At most this many items; None for all.
        """
        token, count = "", 0
        while limit is None or count < limit:
            items, token = await page(token)
            for item in items:
                if limit is not None and count >= limit:
                    return
                count += 1
                yield item
            if not token:
                return

    def _refuse_closed(self) -> None:
        if self._closed:
            raise ClientClosed("the client is closed")

    @contextlib.contextmanager
    def _closing(self) -> Iterator[None]:
        """Tell a call that ended because the client closes from a cancelled task."""
        try:
            yield
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if self._closed and task is not None and not task.cancelling():
                raise ClientClosed("the client was closed during a call") from None
            raise
        except grpc.aio.UsageError:
            self._refuse_closed()
            raise


class Reconnector:
    """Decides whether and when a broken stream is opened again.

    Args:
        policy: How long to try.
    """

    def __init__(self, policy: RetryPolicy) -> None:
        self._policy = policy
        self._failures = 0
        self._give_up: float | None = None
        self._opened_at = math.inf

    def alive(self) -> None:
        """The stream gave something: begin counting anew."""
        self._failures = 0
        self._give_up = None

    async def failed(self, error: CallFailed) -> None:
        """Wait before the next try, or give up.

        Raises:
            CallFailed: the error, where trying again cannot help or has not for too long.
        """
        if not isinstance(error, Unavailable | Overloaded | SlowReader):
            raise error
        loop = asyncio.get_running_loop()
        now = loop.time()
        if now - self._opened_at > STOOD_S:
            self.alive()
        if self._give_up is None:
            self._give_up = now + self._policy.reconnect_s
        self._failures += 1
        wait_s = self._policy.wait_s(self._failures, error)
        if now + wait_s > self._give_up:
            raise error
        await asyncio.sleep(wait_s)
        self._opened_at = loop.time()


def ended_early(what: str) -> Unavailable:
    """The error of a stream that the other side ended without a reason."""
    return Unavailable(grpc.StatusCode.UNAVAILABLE, "", f"the stream of {what} ended early")
