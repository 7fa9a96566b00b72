"""An event loop on a thread of its own, for callers that have none."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import os
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine, Iterator
from typing import Any, Final, TypeVar

from exchange.client.errors import ClientClosed

JOIN_S: Final = 5.0
"""How long closing waits for the thread."""
INTERRUPT_S: Final = 5.0
"""How long an interrupted call may clean up after itself, such as cancel its job."""

SIGNAL_S: Final = 0.5
"""How long a signal may go unheard by a caller who waits."""

R = TypeVar("R")
_END: Final = object()


class LoopThread:
    """Runs coroutines of any thread on one loop. A daemon: it never keeps a process alive."""

    def __init__(self) -> None:
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._closed = False
        self._closers: set[asyncio.Task[None]] = set()
        self.loop = asyncio.new_event_loop()
        self.loop.set_exception_handler(_ignore_poller_noise)
        self._thread = threading.Thread(target=self._serve, name="flopex-client", daemon=True)
        self._thread.start()

    @property
    def closed(self) -> bool:
        """Whether it takes no more work."""
        return self._closed

    def _serve(self) -> None:
        asyncio.set_event_loop(self.loop)
        try:
            self.loop.run_forever()
            tasks = asyncio.all_tasks(self.loop)
            for task in tasks:
                task.cancel()
            self.loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
            self.loop.run_until_complete(self.loop.shutdown_asyncgens())
        finally:
            self.loop.close()

    def start(self, coroutine: Coroutine[Any, Any, R]) -> concurrent.futures.Future[R]:
        """Begin a coroutine on the loop.

        Raises:
            ClientClosed: the loop has ended.
            RuntimeError: called in a forked child, or on the loop's own thread.
        """
        try:
            if os.getpid() != self._pid:
                raise RuntimeError("a Client does not survive a fork: make one in each process")
            if threading.current_thread() is self._thread:
                raise RuntimeError("a blocking call in a callback would wait for itself")
            with self._lock:
                if self._closed:
                    raise ClientClosed("the client is closed")
                return asyncio.run_coroutine_threadsafe(coroutine, self.loop)
        except BaseException:
            coroutine.close()
            raise

    def run(self, coroutine: Coroutine[Any, Any, R]) -> R:
        """Run a coroutine to its end.

        Where the caller is interrupted (Ctrl-C), the coroutine is cancelled, and its clean-up is
        waited for.

        Raises:
            ClientClosed: the loop has ended.
        """
        future = self.start(coroutine)
        try:
            return _result(future)
        except concurrent.futures.CancelledError:
            raise ClientClosed("the client was closed during a call") from None
        except BaseException:
            if not future.done():
                self._interrupt(future)
            raise

    def _interrupt(self, future: concurrent.futures.Future[Any]) -> None:
        future.cancel()
        # A cancelled future does not wait for its task; the loop's tasks do.
        with contextlib.suppress(Exception):
            self.start(_settled()).result(INTERRUPT_S)

    def iterate(self, items: AsyncIterator[R]) -> Iterator[R]:
        """The items of an asynchronous iterator, which is closed when this one is."""
        try:
            while (item := self.run(_next(items))) is not _END:
                yield item  # type: ignore[misc]
        finally:
            self._close_iterator(items)

    def _close_iterator(self, items: AsyncIterator[Any]) -> None:
        if self._closed or os.getpid() != self._pid:
            return  # the loop's end closes, or has closed, what is left
        if threading.current_thread() is self._thread:
            # The garbage collector may run anywhere, here too.
            self._closers.add(closer := self.loop.create_task(_close(items)))
            closer.add_done_callback(self._closers.discard)
        else:
            with contextlib.suppress(ClientClosed):
                self.run(_close(items))

    def close(self) -> None:
        """End what still runs, and the thread. A second call does nothing."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
        if os.getpid() == self._pid:
            self.loop.call_soon_threadsafe(self.loop.stop)
            self._thread.join(JOIN_S)


def _result(future: concurrent.futures.Future[R]) -> R:
    """What a future comes to.

    Waiting for it without an end, a caller might never hear of a Ctrl-C that came just before, or
    that the kernel gave to another thread: only between waits does Python call its handler.
    """
    while True:
        try:
            return future.result(SIGNAL_S)
        except TimeoutError:
            if future.done():  # else it was ours
                return future.result()


async def _next(items: AsyncIterator[Any]) -> object:
    return await anext(items, _END)


async def _close(items: AsyncIterator[Any]) -> None:
    if isinstance(items, AsyncGenerator):
        await items.aclose()


async def _settled() -> None:
    """Return once every cancelled task has ended."""
    ours = asyncio.current_task()
    tasks = [t for t in asyncio.all_tasks() if t is not ours and t.cancelling()]
    await asyncio.gather(*tasks, return_exceptions=True)


def _ignore_poller_noise(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Older grpcio wakes every loop of a process for one event; all but one then find nothing."""
    if not isinstance(context.get("exception"), BlockingIOError):
        loop.default_exception_handler(context)
