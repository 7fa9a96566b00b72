"""The journal's next segment is written ahead, so that no group has to wait for all of it.

A segment is 64 MiB of zeros before it is a journal's. Written by the engine itself, between its
groups, they made orders wait for tenths of a second (docs/adr/0046). So a thread writes them, in
the same small steps; each is mostly a system call, in which the interpreter is the engine's.
Without a thread the engine takes the steps itself: in a simulation the order of all changes must be
the seed's.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

import structlog

from exchange.journal import LogStore

_log = structlog.get_logger(__name__)


class SegmentAhead:
    """Has a log prepared, step by step, in the measure in which its segment is used up.

    All methods belong to the engine's loop.

    Args:
        log: Whose next segment.
        in_thread: Whether the caller goes on while a step is taken.

    Attributes:
        steps: That were taken so far.
    """

    def __init__(self, log: LogStore, *, in_thread: bool) -> None:
        self.steps = 0
        self._log = log
        self._thread = ThreadPoolExecutor(1, "segment-ahead") if in_thread else None
        self._step: Future[None] | None = None
        self._closing = False

    def prepare(self, busy: bool, wake: Callable[[], None]) -> bool:
        """Take what steps are due: one where nothing waits, else those that can wait no longer.

        Args:
            busy: Whether commands wait.
            wake: Called when the caller should look again.

        Returns:
            Whether the caller was held up, and should look first at what has come in meanwhile.

        Raises:
            JournalWriteFailed: A step failed; the log takes nothing more.
        """
        if self._thread is None:
            return self._take_steps(busy)
        if self._step is not None:
            if not self._step.done():
                return False
            self._step.result()
            self._step = None
        if self._due(busy):
            self._step = self._begin_step(self._thread, wake)
        return False

    def close(self) -> None:
        """End the thread, once its step is taken: only then may the log be closed."""
        self._closing = True
        if self._thread is not None:
            self._thread.shutdown()
        if self._step is not None and (error := self._step.exception()) is not None:
            _log.error("the next segment could not be written", error=str(error))

    def _due(self, busy: bool) -> bool:
        return self._log.must_prepare if busy else self._log.wants_preparing

    def _take_steps(self, busy: bool) -> bool:
        before = self.steps
        while self._due(busy):
            self._log.prepare()
            self.steps += 1
            if not busy:
                break
        return self.steps > before

    def _begin_step(self, thread: ThreadPoolExecutor, wake: Callable[[], None]) -> Future[None]:
        loop = asyncio.get_running_loop()
        step = thread.submit(self._step_in_thread)
        step.add_done_callback(lambda _: _call_soon(loop, wake))
        return step

    def _step_in_thread(self) -> None:
        """One step, and more where large groups use up the segment faster than it is made."""
        self._log.prepare()
        self.steps += 1
        while self._log.must_prepare and not self._closing:
            self._log.prepare()
            self.steps += 1


def _call_soon(loop: asyncio.AbstractEventLoop, wake: Callable[[], None]) -> None:
    with contextlib.suppress(RuntimeError):  # The loop has ended, and nobody waits.
        loop.call_soon_threadsafe(wake)
