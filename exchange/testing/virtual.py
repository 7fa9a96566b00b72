"""Virtual time: an event loop that never waits, and processes in it that can be killed.

Real asynchronous code runs in it unmodified: where the loop would wait for a timer, its time jumps
there. Nothing in it is left to the machine: the time, the clocks, chance and threads are the
loop's, so the same seed gives the same run.

Example:
    loop = VirtualLoop(seed=7)
    with loop.installed():
        loop.run_until_complete(loop.process("client").spawn(act()))
"""

from __future__ import annotations

import asyncio
import contextvars
import gc
import heapq
import logging
import random
import sys
import time
from collections import deque
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager, suppress
from random import Random
from typing import Any, Final, TypeVar
from unittest import mock

from exchange.testing.clock import START_NS

T = TypeVar("T")

TURN_NS: Final = 20_000
"""Virtual time that each turn of the loop takes, so that code which polls gets somewhere."""
JUMP_S_MAX: Final = 86_400.0
"""The longest jump of a turn, as asyncio's own loops sleep no longer."""
RESOLUTION_S: Final = 1e-9
"""How much earlier than it is due a timer may fire."""
TIMERS_KEPT: Final = 100
"""With more timers, cancelled ones are taken out once they are more than half of them."""
THREAD_WORK_S: Final = (0.000_2, 0.005)
"""Shortest and longest time that work given to a thread takes."""
NS_PER_S: Final = 1_000_000_000
_CHANCE: Final = ("choice", "getrandbits", "randint", "random", "randrange", "uniform")
"""Functions of the module `random` that follow the seed."""

_PROCESS: contextvars.ContextVar[Process] = contextvars.ContextVar("process")


class StandsStill(Exception):
    """Nothing is left that could ever happen, and the awaited end has not come."""


class Process:
    """What dies together: tasks, timers and callbacks that began in it, and all that they began.

    Args:
        loop: Where it runs.
        name: Its name; its chance follows from the loop's seed and it.

    Attributes:
        random: Its own chance.
        alive: Whether it has not been killed.
        clock_ahead_ns: How far its wall clock is ahead of true time, nanoseconds.
        clock_drift_ppm: By how many parts in a million its wall clock is too fast.
        on_kill: Called once it is dead, in order.
    """

    def __init__(self, loop: VirtualLoop, name: str) -> None:
        self.name = name
        self.random = Random(f"{loop.seed} {name}")
        self.alive = True
        self.clock_ahead_ns = 0
        self.clock_drift_ppm = 0
        self.on_kill: list[Callable[[], object]] = []
        self._loop = loop
        self._context = contextvars.copy_context()
        self._context.run(_PROCESS.set, self)

    def spawn(self, coroutine: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Run a coroutine in this process."""
        return self._loop.create_task(coroutine, context=self._context.copy())

    def call_at(self, when_s: float, callback: Callable[..., object], *args: Any) -> None:
        """Call something in this process at a time of the loop; never, where it is dead then."""
        self._loop.call_at(when_s, callback, *args, context=self._context.copy())

    def kill(self) -> None:
        """End it as SIGKILL does: nothing of it ever runs again, no `finally` either."""
        if self.alive:
            self.alive = False
            self._loop.bury()
            for callback in self.on_kill:
                callback()

    def now_ns(self) -> int:
        """Its wall clock, nanoseconds since the epoch; it is the process's `Clock`, too."""
        passed_ns = self._loop.now_ns
        drifted_ns = passed_ns * self.clock_drift_ppm // 1_000_000
        return START_NS + passed_ns + drifted_ns + self.clock_ahead_ns


class VirtualLoop(asyncio.BaseEventLoop):
    """An event loop without files and sockets whose time jumps to what is due next.

    Args:
        seed: Of all chance in it.

    Attributes:
        now_ns: Virtual time since the start, nanoseconds. Moving it on lets time pass within a
            callback, as a call that blocks does.
    """

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        self.seed = seed
        self.now_ns = 0
        self._ready: deque[asyncio.Handle] = deque()
        self._timers: list[tuple[float, _Timer]] = []  # a heap
        self._cancelled = 0  # of these
        self._main = Process(self, "main")
        self._graveyard: list[asyncio.Task[Any]] = []

    def time(self) -> float:
        """Virtual seconds since the start."""
        return self.now_ns / NS_PER_S

    def process(self, name: str) -> Process:
        """A new process; one that restarts is another one, and has another name."""
        return Process(self, name)

    def current(self) -> Process:
        """The process that runs now."""
        return _PROCESS.get(self._main)

    def bury(self) -> None:
        """Forget what dead processes would still do."""
        # Held, so that no `finally` runs because a task is found to be garbage.
        self._graveyard += asyncio.all_tasks(self)
        for handle in (*self._ready, *(timer for _, timer in self._timers)):
            _drop_dead(handle)

    def run_in_executor(  # type: ignore[override]
        self, executor: object, func: Callable[..., T], *args: Any
    ) -> asyncio.Future[T]:
        """Do a thread's work at once, and tell of it a little later."""
        del executor
        future: asyncio.Future[T] = self.create_future()
        try:
            settle = _settle_with(future.set_result, func(*args))
        except Exception as error:
            settle = _settle_with(future.set_exception, error)
        delay_s = self.current().random.uniform(*THREAD_WORK_S)
        self.call_later(delay_s, lambda: None if future.done() else settle())
        return future

    @contextmanager
    def installed(self) -> Iterator[None]:
        """Inside, `time`, `random` and `secrets` are the loop's, everywhere in the interpreter."""
        chance: dict[str, Any] = {name: self._chance(name) for name in _CHANCE}
        with (
            mock.patch.multiple(
                time,
                time=lambda: self.current().now_ns() / NS_PER_S,
                time_ns=lambda: self.current().now_ns(),
                monotonic=self.time,
                monotonic_ns=lambda: self.now_ns,
                perf_counter=self.time,
                perf_counter_ns=lambda: self.now_ns,
                thread_time_ns=lambda: self.now_ns,
            ),
            mock.patch.multiple(random, **chance),
            # All of `secrets` comes from here.
            mock.patch.object(random, "_urandom", self._chance("randbytes")),
        ):
            yield

    def _chance(self, name: str) -> Callable[..., Any]:
        """A function of `random` as the process that calls it has it."""

        def draw(*args: Any) -> Any:
            return getattr(self.current().random, name)(*args)

        return draw

    def close(self) -> None:
        """Close it, and let go of what never ended without a word."""
        left = [*self._graveyard, *asyncio.all_tasks(self)]
        self._graveyard.clear()
        self._timers.clear()
        super().close()
        with _silence():
            for task in left:
                task._log_destroy_pending = False  # type: ignore[attr-defined] # noqa: SLF001
                with suppress(BaseException):
                    task.get_coro().close()
            left.clear()
            gc.collect()

    # What asyncio's own loops leave to their subclasses.

    # The turn is the loop's own, too: asyncio's took a tenth of a simulation's time.

    def call_soon(  # type: ignore[override]
        self, callback: Any, *args: Any, context: Any = None
    ) -> asyncio.Handle:
        """See asyncio; what a dead process would do never happens."""
        self._check_closed()  # type: ignore[attr-defined]
        handle = asyncio.Handle(callback, args, self, context)
        _drop_dead(handle)
        self._ready.append(handle)
        return handle

    def call_soon_threadsafe(  # type: ignore[override]
        self, callback: Any, *args: Any, context: Any = None
    ) -> asyncio.Handle:
        """See asyncio; there are no threads."""
        return self.call_soon(callback, *args, context=context)

    def call_at(  # type: ignore[override]
        self, when: float, callback: Any, *args: Any, context: Any = None
    ) -> asyncio.TimerHandle:
        """See asyncio; a dead process's timers never fire."""
        self._check_closed()  # type: ignore[attr-defined]
        timer = _Timer(when, callback, args, self, context)
        heapq.heappush(self._timers, (when, timer))
        _drop_dead(timer)
        return timer

    def _timer_handle_cancelled(self, timer: _Timer) -> None:
        self._cancelled += timer.waits

    def _run_once(self) -> None:
        """One turn: the time goes on, to the next timer where nothing is ready."""
        ready, timers = self._ready, self._timers
        if self._cancelled:
            self._forget_cancelled()
        self.now_ns += TURN_NS if ready or self._stopping else self._ahead_ns()  # type: ignore[attr-defined]
        end = self.time() + RESOLUTION_S
        while timers and timers[0][0] < end:
            _, timer = heapq.heappop(timers)
            timer.waits = False
            self._cancelled -= timer._cancelled  # noqa: SLF001 - as one behind another may be
            ready.append(timer)
        for _ in range(len(ready)):
            handle = ready.popleft()
            if not handle._cancelled:  # noqa: SLF001 - its run would fail
                handle._run()  # noqa: SLF001 - as asyncio's loops do

    def _ahead_ns(self) -> int:
        if not self._timers:
            raise StandsStill(f"nothing happens any more after {self.time():.3f} s")
        ahead_s = min(self._timers[0][0] - self.time(), JUMP_S_MAX)
        return max(TURN_NS, int(ahead_s * NS_PER_S) + 1)

    def _forget_cancelled(self) -> None:
        """Take cancelled timers out: all where they are many, else those that come first."""
        timers = self._timers
        if len(timers) > TIMERS_KEPT and self._cancelled > len(timers) / 2:
            for _, timer in timers:
                timer.waits = not timer.cancelled()
            timers[:] = [(when, timer) for when, timer in timers if timer.waits]
            heapq.heapify(timers)
            self._cancelled = 0
        while timers and timers[0][1]._cancelled:  # noqa: SLF001 - asked at every turn
            _, timer = heapq.heappop(timers)
            timer.waits = False
            self._cancelled -= 1


class _Timer(asyncio.TimerHandle):
    """A timer of a virtual loop; `waits` until it is due or is taken out."""

    __slots__ = ("waits",)

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.waits = True


@contextmanager
def _silence() -> Iterator[None]:
    """Inside, `finally` blocks of the dead may fail: what they would do is of no concern."""
    level = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with mock.patch.object(sys, "unraisablehook"):
            yield
    finally:
        logging.disable(level)


def _settle_with(settle: Callable[[Any], object], value: Any) -> Callable[[], object]:
    return lambda: settle(value)


def _drop_dead(handle: Any) -> None:
    process = handle._context.get(_PROCESS)  # noqa: SLF001 - asyncio has no other way to it
    if process is not None and not process.alive:
        handle.cancel()
