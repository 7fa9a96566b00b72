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
import logging
import random
import sys
import time
from asyncio import events
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager, suppress
from random import Random
from typing import Any, Final, TypeVar
from unittest import mock

from exchange.testing.clock import START_NS

T = TypeVar("T")

TURN_NS: Final = 20_000
"""Virtual time that each turn of the loop takes, so that code which polls gets somewhere."""
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
        self._clock_resolution = 1e-9
        self._selector = _Jump(self)
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
        for handle in (*self._ready, *self._scheduled):  # type: ignore[attr-defined]
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
        super().close()
        with _silence():
            for task in left:
                task._log_destroy_pending = False  # type: ignore[attr-defined] # noqa: SLF001
                with suppress(BaseException):
                    task.get_coro().close()
            left.clear()
            gc.collect()

    # What asyncio's own loops leave to their subclasses.

    def _call_soon(self, callback: Any, args: Any, context: Any) -> events.Handle:
        handle: events.Handle = super()._call_soon(callback, args, context)  # type: ignore[misc]
        _drop_dead(handle)
        return handle

    def call_at(  # type: ignore[override]
        self, when: float, callback: Any, *args: Any, context: Any = None
    ) -> asyncio.TimerHandle:
        """See asyncio; a dead process's timers never fire."""
        handle = super().call_at(when, callback, *args, context=context)
        _drop_dead(handle)
        return handle

    def _process_events(self, event_list: object) -> None:
        """There are no files, so there are no events."""

    def _write_to_self(self) -> None:
        """There are no threads that could wake the loop."""


class _Jump:
    """Stands where a loop has its selector: it does not wait, the time jumps."""

    def __init__(self, loop: VirtualLoop) -> None:
        self._loop = loop

    def select(self, timeout: float | None) -> tuple[()]:
        if timeout is None:
            raise StandsStill(f"nothing happens any more after {self._loop.time():.3f} s")
        self._loop.now_ns += max(TURN_NS, int(timeout * NS_PER_S) + 1 if timeout > 0 else 0)
        return ()

    def close(self) -> None:
        pass


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
