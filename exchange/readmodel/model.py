"""Answers from the read model, without holding anybody up: few threads, as fresh as can be.

A question waits a little until the read model contains everything that was durable when it was
asked, so that who has just traded finds his trade. Where it is further behind than that, it answers
with what it has; each answer says up to which sequence it is complete.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from queue import Empty, SimpleQueue
from typing import Final, Generic, NamedTuple, TypeVar

from exchange.readmodel.database import Database, connect
from exchange.readmodel.errors import (
    ReadModelBehind,
    ReadModelBusy,
    ReadModelMissing,
    ReadModelUnavailable,
)
from exchange.readmodel.progress import read_progress

READERS: Final = 4
"""Questions answered at the same time, each in a thread with a connection of its own."""
QUESTIONS_MAX: Final = 1_024
"""Questions under way; one more is refused with ReadModelBusy."""
FRESH_WITHIN_S: Final = 1.0
"""How long a question waits, where nothing else is said, for the read model to contain what was
durable when it was asked."""
LOOK_EVERY_S: Final = 0.003
"""How often the progress is looked at while a question waits for it."""
LOOK_IDLE_S: Final = 1.0
"""How often it is looked at otherwise, for the metrics."""

T = TypeVar("T")


class Answer(NamedTuple, Generic[T]):
    """What was found.

    Attributes:
        sequence: The journal's sequence up to which it is complete.
        found: The rows.
    """

    sequence: int
    found: T


class ReadModel:
    """Asks the read model on behalf of one event loop. Use `start`, then `ask`, then `close`.

    Args:
        url: Which database.
        head: The last durable sequence now.
        fresh_within_s: How long a question waits for what was durable when it was asked, seconds.
    """

    def __init__(
        self, url: str, head: Callable[[], int], fresh_within_s: float = FRESH_WITHIN_S
    ) -> None:
        self._url = url
        self._fresh_within_s = fresh_within_s
        self._head = head
        self._threads = ThreadPoolExecutor(READERS, thread_name_prefix="read-model")
        self._idle: SimpleQueue[Database] = SimpleQueue()
        self._questions = 0
        self._waiting: dict[asyncio.Future[None], int] = {}
        self._woken = asyncio.Event()
        self._looking: asyncio.Task[None] | None = None
        self.sequence = 0
        self.errors = 0

    @property
    def lag(self) -> int:
        """Commands that were durable and not in it when it was last looked at."""
        return max(0, self._head() - self.sequence)

    @property
    def questions(self) -> int:
        """Questions under way."""
        return self._questions

    def start(self) -> None:
        """Begin to look at how far it has come."""
        self._looking = asyncio.create_task(self._look())

    async def close(self) -> None:
        """End the threads and give the connections back."""
        if self._looking is not None:
            self._looking.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._looking
        await asyncio.to_thread(self._threads.shutdown)
        with contextlib.suppress(Empty):
            while True:
                self._idle.get_nowait().close()

    async def ask(
        self,
        question: Callable[[Database], T],
        *,
        wait: bool = True,
        must_be_fresh: bool = False,
    ) -> Answer[T]:
        """Put a question, which reads one state of all tables.

        Args:
            question: Called in a thread; see `exchange.readmodel.queries`.
            wait: Whether to wait up to `fresh_within_s` for what is durable now.
            must_be_fresh: An answer without that is no use.

        Raises:
            ReadModelBehind: it must be fresh and is not.
            ReadModelBusy: too many questions wait.
            ReadModelUnavailable: the database cannot be reached, or is not made yet.
        """
        if self._questions >= QUESTIONS_MAX:
            raise ReadModelBusy(f"{QUESTIONS_MAX} questions wait for the read model")
        self._questions += 1
        try:
            target = self._head()
            if wait:
                await self._fresh(target)
            answer = await self._in_thread(question)
        finally:
            self._questions -= 1
        if must_be_fresh and answer.sequence < target:
            raise ReadModelBehind(
                f"the read model is {target - answer.sequence} commands behind the journal"
            )
        return answer

    async def _fresh(self, sequence: int) -> None:
        """Return once it contains this sequence, or the time is over."""
        if self.sequence >= sequence:
            return
        reached: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting[reached] = sequence
        self._woken.set()
        try:
            async with asyncio.timeout(self._fresh_within_s):
                await reached
        except TimeoutError:
            pass
        finally:
            del self._waiting[reached]

    async def _look(self) -> None:
        """See how far it has come: often while somebody waits for it."""
        while True:
            try:
                self.sequence = (await self._in_thread(lambda _: None)).sequence
            except ReadModelMissing:
                # At the start its feed has yet to make it; later it must not go away.
                self.errors += bool(self.sequence)
            except ReadModelUnavailable:
                self.errors += 1
            for reached, sequence in self._waiting.items():
                if sequence <= self.sequence and not reached.done():
                    reached.set_result(None)
            self._woken.clear()
            if any(not reached.done() for reached in self._waiting):
                await asyncio.sleep(LOOK_EVERY_S)
                continue
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK_IDLE_S):
                    await self._woken.wait()

    async def _in_thread(self, question: Callable[[Database], T]) -> Answer[T]:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, self._answer, question)

    def _answer(self, question: Callable[[Database], T]) -> Answer[T]:
        try:
            database = self._idle.get_nowait()
        except Empty:
            database = connect(self._url, read_only=True)
        try:
            with database.transaction(write=False):
                progress = read_progress(database)
                if progress is None or not progress.usable:
                    raise ReadModelMissing("the read model is not made yet")
                answer = Answer(progress.sequence, question(database))
        except BaseException:
            # Whatever it was, another connection begins without it.
            database.close()
            raise
        self._idle.put(database)
        return answer
