"""Ctrl-C: it always ends a command, at once and without a traceback.

Before a command runs and after its end it ends the process as it stands (`leave_at_ctrl_c` in
flopex.leaving). While one runs, the first Ctrl-C cancels it, so that it cleans up; the second
breaks off the cleaning up as well.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import threading
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, Final, ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")

SIGNALS_MAX: Final = 4_096
"""Signals that are taken note of at once; more say nothing new."""


def run(coroutine: Coroutine[Any, Any, None]) -> None:
    """Run a command on a loop of its own.

    Raises:
        KeyboardInterrupt, asyncio.CancelledError: Ctrl-C, before it was done.
    """
    # The loop is closed outside of `_interruptible`: a Ctrl-C then leaves what does not end.
    with asyncio.Runner() as runner, _interruptible(), _woken_by_signals(runner.get_loop()):
        runner.run(_cancelled_by_interrupt(coroutine))


async def _cancelled_by_interrupt(coroutine: Coroutine[Any, Any, None]) -> None:
    """A task that fails of KeyboardInterrupt would be logged with its traceback."""
    try:
        await coroutine
    except KeyboardInterrupt:
        raise asyncio.CancelledError from None


async def interruptible(function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Call a function that computes or waits for long; Ctrl-C interrupts it where it is.

    The loop stands still meanwhile. In a thread beside it nothing could interrupt the function, and
    the process would not end before it does.

    Raises:
        asyncio.CancelledError: Ctrl-C.
    """
    await asyncio.sleep(0)  # a Ctrl-C before it is heard here
    task = asyncio.current_task()
    try:
        with _interruptible():
            if task is not None and task.cancelling():
                raise KeyboardInterrupt
            return function(*args, **kwargs)
    except KeyboardInterrupt:
        raise asyncio.CancelledError from None


@contextlib.contextmanager
def _interruptible() -> Iterator[None]:
    """Let Ctrl-C raise KeyboardInterrupt, unless the process was started to ignore it."""
    ours = threading.current_thread() is threading.main_thread()
    before = signal.getsignal(signal.SIGINT)
    if not ours or before is signal.SIG_IGN:
        yield
        return
    try:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@contextlib.contextmanager
def _woken_by_signals(loop: asyncio.AbstractEventLoop) -> Iterator[None]:
    """Let a signal wake the loop, whenever it comes and whichever thread gets it.

    The kernel's part is over in an instant: Python notes the signal, and calls its handler once the
    main thread runs Python again. Where it comes just before the loop goes to sleep, or to a thread
    of gRPC's, nothing would wake the main thread but the next event, and a quiet stream has none.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    hearing, telling = socket.socketpair()
    with hearing, telling:
        hearing.setblocking(False)
        telling.setblocking(False)
        loop.add_reader(hearing, hearing.recv, SIGNALS_MAX)
        before = signal.set_wakeup_fd(telling.fileno(), warn_on_full_buffer=False)
        try:
            yield
        finally:
            signal.set_wakeup_fd(before)
            loop.remove_reader(hearing)
